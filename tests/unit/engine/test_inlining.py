"""gojob_redis/engine/inlining.py: what is written out, what is left out, and that scripts mean the same afterwards."""

import pytest

from gojob_redis.engine.inlining import inlined, without_unused
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
