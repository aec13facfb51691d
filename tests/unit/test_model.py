"""The table of states: the scripts declare exactly its moves, and docs/states.md shows it."""

from pathlib import Path

from gojob_redis import documents, model
from gojob_redis.scripts import load_all

ROOT = Path(__file__).parents[2]


def test_the_moves_that_scripts_declare_are_exactly_the_table() -> None:
    declared = {move for verb in load_all().values() for move in verb.header.moves}

    assert declared == {(str(before), str(after)) for before, after in model.MOVES}


def test_nothing_leaves_a_terminal_state() -> None:
    assert not [move for move in model.MOVES if move[0] in model.TERMINAL]


def test_the_document_is_up_to_date() -> None:
    assert (ROOT / "docs" / "states.md").read_text() == documents.states()
