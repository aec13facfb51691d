"""Who said the policies of a trigger, and what becomes of those that it did not say itself."""

import pytest

from gojob_redis.domain.defaults import (
    NO_DEFAULTS,
    Defaults,
    followed,
    of_namespace,
    read_sources,
    write_sources,
)
from gojob_redis.domain.policies import Source, Value


def defaults(handler: dict[str, Value] | None = None, **namespace: Value) -> Defaults:
    return Defaults(namespace, handler or {})


def test_a_handler_goes_before_its_namespace() -> None:
    assert defaults({"retries": 2}, retries=1, priority=7).merged == {"retries": 2, "priority": 7}


def test_revisions_tell_defaults_apart_and_where_there_are_none_it_is_empty() -> None:
    assert NO_DEFAULTS.revision == ""
    several = [
        defaults(retries=1), defaults(retries=2), defaults({"retries": 1}), defaults(priority=1),
        defaults({"retries": 2}, retries=1),
    ]  # fmt: skip
    assert len({each.revision for each in several}) == len(several)
    assert Defaults({"retries": 1, "priority": 2}, {}).revision == Defaults({"priority": 2, "retries": 1}, {}).revision


def test_of_a_namespace_that_is_not_there_or_says_nothing_there_are_none() -> None:
    assert of_namespace(None) == of_namespace(b"{}") == {}
    assert of_namespace(b'{"defaults": {"retries": 3}}') == {"retries": 3}


def test_who_said_what_is_written_without_what_nobody_said_and_read_again() -> None:
    sources: dict[str, Source] = {
        "retries": "trigger", "run_limit_ms": "handler", "overlap": "namespace", "priority": "usual",
    }  # fmt: skip

    text = write_sources(sources)

    assert text == "retries=trigger run_limit=handler overlap=namespace"
    read = read_sources(text)
    assert {name: read[name] for name in sources} == sources
    assert read["keep"] == "usual"


def test_a_source_of_a_later_release_is_shown_as_the_usual_one() -> None:
    assert read_sources("retries=planet flow=trigger")["retries"] == "usual"


def test_what_was_said_of_a_trigger_stays_and_the_rest_follows() -> None:
    anew = followed(
        "priority=7 retries=3 overlap=allow",
        "priority=namespace retries=trigger overlap=namespace",
        defaults({"run_limit_ms": 5_000, "retries": 9}, priority=2),
    )

    assert anew == ("priority=2 retries=3 run_limit=5000", "priority=namespace retries=trigger run_limit=handler")


def test_what_was_said_to_be_usual_stays_usual() -> None:
    assert followed("", "retries=trigger", defaults(retries=4)) == ("", "retries=trigger")


def test_a_ratio_that_was_said_stays_to_the_thousandth() -> None:
    assert followed("retry_factor=1375", "retry_factor=trigger", defaults(retry_factor=2.0)) == (
        "retry_factor=1375", "retry_factor=trigger",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("flow=fair", "flow=trigger"),
        ("", "flow=trigger"),
        ("overlap=queue", "overlap=trigger"),
        ("retries=many", "retries=trigger"),
        ("retries=3", "retries=planet"),
        ("retries=3", ""),
    ],
)
def test_a_trigger_of_which_this_release_does_not_know_all_is_left_alone(text: str, sources: str) -> None:
    assert followed(text, sources, defaults(priority=2)) is None
