"""The table of states: the scripts declare exactly its moves."""

from gojob_redis import model
from gojob_redis.scripts import load_all


def test_the_moves_that_scripts_declare_are_exactly_the_table() -> None:
    declared = {move for verb in load_all().values() for move in verb.header.moves}

    assert declared == {(str(before), str(after)) for before, after in model.MOVES}


def test_nothing_leaves_a_terminal_state() -> None:
    assert not [move for move in model.MOVES if move[0] in model.TERMINAL]
