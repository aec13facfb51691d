"""tests/tools/mutants.py: which changes it makes, and which tests look at them first."""

from tests.tools.mutants import Order, all_mutants, mutants_of, stale_equivalents

SOURCE = """-- if this then
if a and f(b or c) then
  stop(a) -- or go
end
"""


def test_a_condition_holds_always_or_never_or_loses_an_operand_and_a_statement_goes() -> None:
    assert [(mutant.line, mutant.change, mutant.short) for mutant in mutants_of("x.lua", SOURCE)] == [
        (2, "if a and f(b or c) → true", "true"),
        (2, "if a and f(b or c) → false", "false"),
        (2, "if a and f(b or c) → without 'a and'", "without 1"),
        (2, "if a and f(b or c) → without 'and f(b or c)'", "without 2"),
        (3, "delete stop(a)", "deleted"),
    ]


def test_a_mutant_is_the_source_but_for_its_change() -> None:
    changed = [mutant.apply(SOURCE).splitlines() for mutant in mutants_of("x.lua", SOURCE)]

    assert changed[1][1].split() == ["if", "false", "then"]
    assert changed[3][1].split() == ["if", "a", "then"]
    assert changed[4][2].strip() == "-- or go"


def test_the_test_that_caught_a_neighbour_comes_first_and_then_the_one_that_comes_by_the_fewest_lines() -> None:
    *_, mutant = mutants_of("x.lua", SOURCE)
    order = Order({"x.lua:1": ["wide", "near"], "x.lua:3": ["wide", "narrow", "near"], "x.lua:4": ["wide"]})
    assert order.tests(mutant) == ["narrow", "near", "wide"]

    order.caught["x.lua"] += [(9, "wide"), (2, "near")]

    assert order.tests(mutant) == ["near", "wide", "narrow"]


def test_what_is_said_to_change_nothing_can_still_be_changed() -> None:
    assert stale_equivalents(all_mutants()) == []
