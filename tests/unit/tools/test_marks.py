"""tests/tools/marks.py: what a mark is about, and what is left without a guard."""

import pytest

from tests.tools.marks import Mark, marks_of, without

SOURCE = """-- Says how a guard: is written.
if a then -- guard: at the end
  -- equivalent if true, without 2: only the cost differs
  -- guard: above

  stop(a)
end
"""


def test_a_mark_is_about_the_code_of_its_line_or_the_next_that_has_any() -> None:
    assert list(marks_of("x.lua", SOURCE)) == [
        Mark("x.lua", 2, "at the end"),
        Mark("x.lua", 6, "only the cost differs", ("true", "without 2")),
        Mark("x.lua", 6, "above"),
    ]


@pytest.mark.parametrize(
    ("source", "line", "left"),
    [
        ("if a then return end -- why", 1, ""),
        ("  stop(a)", 1, ""),
        ("if a then -- why\n  stop()\nend", 1, "if false then\n  stop()\nend"),
        ("elseif f(a) then", 1, "elseif false then"),
        ("if a -- why\n  or b then", 2, "if a -- why\n then"),
        ("if a\n  or b then return 1 end", 2, "if a\n then return 1 end"),
        ("if a -- why\n  or b then", 1, "if\n b then"),
        ("return a\n  and b -- why\n", 1, "return\n b -- why"),
        ("return a\n  and b -- why", 2, "return a\n"),
    ],
)
def test_without_a_guard_its_operand_its_condition_or_its_line_is_gone(source: str, line: int, left: str) -> None:
    assert without(source, line) == left + "\n"


def test_a_guard_that_lets_something_through_holds_always() -> None:
    assert without("if a then b() end", 1, always=True) == "if true then b() end\n"
    assert without("if a then\n  b()\nend", 1, always=True) == "if true then\n  b()\nend\n"


def test_what_cannot_be_taken_out_is_swapped() -> None:
    assert without("f(steady)", 1, swap=("steady", "wall")) == "f(wall)\n"
    with pytest.raises(AssertionError, match="does not read"):
        without("f(steady)", 1, swap=("now", "wall"))
