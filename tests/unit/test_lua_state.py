"""lua/lib/state.lua: every verb writes what it has gathered, before it ends."""

import re

import pytest

from gojob_redis.engine.inlining import code_of
from gojob_redis.engine.scripts import LUA, load_all

STATE = (LUA / "lib/state.lua").read_text("utf-8")
ROWS = [[cell.split() for cell in row.split("|")[1:4]] for row in re.findall(r"^-- (\| [a-z].*)$", STATE, re.MULTILINE)]
FILLERS = {name: written[0] for _, filled, written in ROWS[1:] for name in filled if written[0].startswith("settle_")}
WITHOUT = {
    ("bump", "settle_lanes"): "a move writes the lane before it shows its head",
    ("retire", "settle_due"): "what it ends waits in a lane",
    ("retire", "settle_lanes"): "nothing is enqueued, and what leaves a lane writes it",
    ("retire", "settle_seats"): "no session is kept for what waits in a lane",
}
"""What a verb need not write, though it could be filled."""


def test_the_table_names_what_is_declared() -> None:
    named = [name for names, *_ in ROWS[1:] for name in names]

    assert named == re.findall(r"^local (\w+) =", STATE, re.MULTILINE)


def test_no_other_file_declares_what_the_state_holds() -> None:
    names = set(re.findall(r"^local (\w+) =", STATE, re.MULTILINE))
    declared = [
        (path.name, name)
        for path in LUA.rglob("*.lua")
        if path.name != "state.lua"
        for names_of_line in re.findall(r"^local (\w+(?:, \w+)*) =", path.read_text("utf-8"), re.MULTILINE)
        for name in names & set(names_of_line.split(", "))
    ]

    assert declared == []


@pytest.mark.parametrize("name", load_all())
def test_a_verb_writes_at_its_end_what_it_fills(name: str) -> None:
    main = [code_of(line) for line in (LUA / f"{name}.lua").read_text("utf-8").splitlines()]
    body = load_all()[name].body
    filled = {
        settle
        for filler, settle in FILLERS.items()
        if re.search(rf"^(?:local )?function {filler}\(", body, re.MULTILINE)
    }
    last_item = max((at for at, line in enumerate(main) if "item(i)" in line), default=0)
    called = {match[1] for line in main[last_item:] if (match := re.match(r"(settle\w*)\(", line))}
    if "settle" in called:
        called |= set(FILLERS.values()) - {"settle_due"}

    assert filled - called == {settle for verb, settle in WITHOUT if verb == name}
