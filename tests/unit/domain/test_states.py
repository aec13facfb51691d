"""The table of states: the scripts declare exactly its moves."""

from gojob_redis.domain import states
from gojob_redis.engine.scripts import load_all


def test_the_moves_that_scripts_declare_are_exactly_the_table() -> None:
    declared = {move for verb in load_all().values() for move in verb.header.moves}

    assert declared == {(str(before), str(after)) for before, after in states.MOVES}


def test_nothing_leaves_a_terminal_state() -> None:
    assert not [move for move in states.MOVES if move[0] in states.TERMINAL]
