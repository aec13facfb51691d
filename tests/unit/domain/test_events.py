"""domain/events.py: the catalogue holds what the scripts tell, and nothing else."""

import re

from gojob_redis.domain.events import KINDS, EventKind, kind_of
from gojob_redis.engine.scripts import LUA

TOLD = re.compile(r"\b(?:event|tell_finding)\('(\w+)'")


def test_the_catalogue_holds_what_the_scripts_tell_and_nothing_else() -> None:
    told = {kind for path in LUA.rglob("*.lua") for kind in TOLD.findall(path.read_text("utf-8"))}

    assert {str(kind) for kind in KINDS} - {"other"} == told
    assert KINDS.keys() == set(EventKind)


def test_every_kind_says_what_it_means_and_what_to_do() -> None:
    for about in KINDS.values():
        assert about.means.endswith(".")
        assert about.to_do.endswith(".")


def test_a_kind_of_a_later_release_is_another() -> None:
    assert kind_of("rate_limited") is EventKind.OTHER
    assert kind_of("other") is EventKind.OTHER
    assert kind_of("lost") is EventKind.LOST
