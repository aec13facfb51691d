"""The table of policies: what a text says, what a namespace may have as a default, what scripts know."""

import pytest

from gojob_redis.domain import policies
from gojob_redis.domain.errors import BadRequest


def test_a_text_says_only_what_is_not_at_its_default_in_the_order_of_the_table() -> None:
    said: dict[str, policies.Value] = {"misfire_after_ms": 5_000, "retries": 3, "priority": 5, "on_lost": "fault"}

    assert policies.write(said) == "retries=3 on_lost=fault misfire_after=5000"


def test_what_is_written_is_read_again_with_the_defaults_and_without_what_is_of_a_later_release() -> None:
    read = policies.read("retries=3 run_limit=nan flow=fair overlap=allow")

    assert {name: read[name] for name in ("retries", "run_limit_ms", "overlap", "priority")} == {
        "retries": 3, "run_limit_ms": 0, "overlap": "allow", "priority": 5,
    }  # fmt: skip
    assert read.keys() == policies.NAMES


def test_what_is_said_goes_before_the_default_of_the_namespace_and_that_before_the_usual_one() -> None:
    defaults: dict[str, policies.Value] = {"retries": 3, "priority": 7, "overlap": "allow"}

    assert policies.text_for("task", {"retries": 0}, defaults) == "priority=7"
    assert policies.text_for("trigger", {}, defaults) == "priority=7 retries=3 overlap=allow"


@pytest.mark.parametrize(
    ("name", "value", "code", "limit"),
    [
        ("retries", 101, "bad_policy", 100),
        ("retries", True, "bad_policy", 100),
        ("retries", "3", "bad_policy", 100),
        ("run_limit_ms", -1, "bad_policy", 316_224_000_000),
        ("overlap", "ignore", "bad_policy", None),
        ("shards", 3, "unknown_policy", None),
    ],
)
def test_a_default_that_cannot_be_is_refused_with_its_field_and_limit(
    name: str, value: object, code: str, limit: int | None
) -> None:
    with pytest.raises(BadRequest) as refused:
        policies.changed_defaults({}, {"priority": 1, name: value})

    assert (refused.value.code, refused.value.field, refused.value.limit) == (code, f"defaults.{name}", limit)


def test_of_a_trigger_s_policies_the_first_that_says_it_is_the_source() -> None:
    sources = policies.sources(["retries"], ["retries", "priority"], ["priority", "overlap"])

    assert {name: sources[name] for name in ("retries", "priority", "overlap", "misfire")} == {
        "retries": "trigger", "priority": "handler", "overlap": "namespace", "misfire": "usual",
    }  # fmt: skip
    assert sources.keys() == policies.NAMES


def test_what_a_handler_may_not_set_is_left_out() -> None:
    said = {"retries": 3, "priority": 10, "overlap": "allow", "mood": 1, "retry_factor": 1.5, "run_limit_ms": True,
            "on_lost": "fault"}  # fmt: skip

    assert policies.lawful("handler", said) == {"retries": 3, "retry_factor": 1.5, "on_lost": "fault"}


def test_null_takes_a_default_away() -> None:
    assert policies.changed_defaults({"retries": 3, "priority": 1}, {"retries": None}) == {"priority": 1}
