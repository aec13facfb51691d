"""gojob_redis/engine/inlining.py: what is written out, what is left out, and that scripts mean the same afterwards."""

import pytest

from gojob_redis.engine.inlining import in_blocks, inlined, locals_of, without_unused
from gojob_redis.engine.keys import CATALOGUE
from gojob_redis.engine.scripts import load_all


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("redis.call('GET', key.param(task))", "redis.call('GET', (P .. 'param:' .. task))"),
        ("key.task(a .. '.' .. int(b))", "(P .. 'task:' .. (a .. '.' .. int(b)))"),
        ("key.ready(group, match(name, '(,)$'))", "(P .. 'ready:' .. group .. '|' .. (match(name, '(,)$')))"),
        ("key.lane(id_of(key.task(run)))", "(P .. 'lane:' .. (id_of((P .. 'task:' .. run))))"),
        ("x = key.meta", "x = key.meta"),
        ("monkey.task(run)", "monkey.task(run)"),
        ("key.task(", "key.task("),
        ("key.nobody(run)", "key.nobody(run)"),
    ],
)
def test_a_builder_is_written_out_where_it_is_called(line: str, written: str) -> None:
    assert inlined(line, CATALOGUE) == written


def test_a_wrong_number_of_arguments_is_found_when_the_script_is_loaded() -> None:
    with pytest.raises(ValueError, match=r"key\.task takes 1 arguments, not 2"):
        inlined("key.task(run, 1)", CATALOGUE)


def test_functions_that_nothing_names_are_left_out_with_what_only_they_named() -> None:
    lines = [
        "local function a() return b() end",
        "local function b()",
        "  return 1",
        "end",
        "local function used() return 2 end -- like a and b",
        "return used()",
    ]

    assert without_unused(lines) == ["", "", "", "", lines[4], lines[5]]


def test_state_that_nothing_names_is_left_out() -> None:
    lines = ["local a = {}", "local b = 0", "local c, d = {}, {}", "local function f() return a end", "return b"]

    assert without_unused(lines) == ["", "local b = 0", "local c, d = {}, {}", "", "return b"]


def test_no_call_of_a_verb_makes_a_function_that_it_does_not_name() -> None:
    for verb in load_all().values():
        texts = [line.text for line in verb.lines]
        assert without_unused(texts) == texts, verb.name


def test_what_only_its_own_fragment_names_is_local_to_a_block() -> None:
    fragment = [
        "local a, b = 1, 2",
        "local c",
        "local d = 3",
        "local function e() return c + d end",
        "function f() end",
    ]

    assert in_blocks([["local f"], fragment, ["return e() + b"]]) == [
        ["local f"],
        ["local a, b, e do", "a, b = 1, 2", *fragment[1:3], "function e() return c + d end", fragment[4], "end"],
        ["return e() + b"],
    ]


def test_a_block_of_one_name_or_that_shows_nothing_needs_no_head() -> None:
    hidden = ["local a = 1", "local b = 2"]

    assert in_blocks([["local a = 1"], ["return 2"]]) == [["local a = 1"], ["return 2"]]
    assert in_blocks([hidden, ["return 2"]]) == [["do", *hidden, "end"], ["return 2"]]


def test_what_was_announced_before_a_block_is_not_announced_in_it() -> None:
    fragment = ["local a, b", "local c = 1", "local d = 2", "function a() return c + d end"]

    [block, _] = in_blocks([fragment, ["return a()"]])

    assert block == ["local a, b do", "", *fragment[1:], "end"]


def test_every_name_at_the_left_margin_is_a_local_of_the_script() -> None:
    assert locals_of(["local a, b = 1, 2", "local c", "local function d(e, f)", "  local g = 1", "end"]) == 4
