"""options: what was said becomes fields of a body, and nothing else does."""

from typing import Any

import pytest

from gojob_redis.cli import options
from gojob_redis.domain.errors import BadRequest

CRON = {"kind": "cron", "spec": "0 8 * * *", "time_zone": "Europe/Berlin", "start_at": 1, "end_at": 2}
EVERY = {"kind": "every", "every_ms": 60_000, "anchor_at": 7}


@pytest.mark.parametrize(
    ("held", "said", "made"),
    [
        ({}, {}, None),
        (CRON, {}, None),
        ({}, {"cron": "0 9 * * *"}, {"kind": "cron", "spec": "0 9 * * *", "time_zone": "UTC"}),
        (CRON, {"cron": "0 9 * * *"}, {**CRON, "spec": "0 9 * * *"}),
        (CRON, {"zone": "Asia/Tokyo"}, {**CRON, "time_zone": "Asia/Tokyo"}),
        (CRON, {"every": "5m"}, {"kind": "every", "every_ms": 300_000, "start_at": 1, "end_at": 2}),
        (EVERY, {"every": "5m"}, {"kind": "every", "every_ms": 300_000, "anchor_at": 7}),
        (EVERY, {"end_at": "2027-01-01T00:00:00Z"}, {**EVERY, "end_at": "2027-01-01T00:00:00Z"}),
        (CRON, {"start_at": "", "end_at": ""}, {"kind": "cron", "spec": "0 8 * * *", "time_zone": "Europe/Berlin"}),
        (CRON, {"at": "2027-01-01T00:00:00Z"}, {"kind": "once", "at": "2027-01-01T00:00:00Z"}),
        (CRON, {"manual": True}, {"kind": "manual"}),
    ],
)
def test_a_schedule_changes_only_where_something_was_said(
    held: dict[str, Any], said: dict[str, Any], made: dict[str, Any] | None
) -> None:
    assert options.schedule(held, **said) == made


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({}, {"cron": "* * * * *", "every": "5m"}),
        (EVERY, {"zone": "Asia/Tokyo"}),
        ({}, {"at": "2027-01-01T00:00:00Z", "end_at": "2027-01-01T00:00:00Z"}),
    ],
)
def test_options_that_do_not_go_together_are_refused(held: dict[str, Any], said: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"(exclude|belongs?) "):
        options.schedule(held, **said)


def test_only_what_was_said_is_sent() -> None:
    assert options.work([], params=None, retries=None, require=None) == {}
    assert options.work(["env=gray"], params="null", retries=0, require="", run_limit="90s", shard_params="[1]") == {
        "labels": {"env": "gray"},
        "params": None,
        "retries": 0,
        "require": "",
        "run_limit_ms": 90_000,
        "shard_params": [1],
    }


@pytest.mark.parametrize(
    ("text", "ms"), [("250ms", 250), ("90s", 90_000), ("1.5h", 5_400_000), ("1d", 86_400_000), ("0", 0)]
)
def test_a_length_of_time_is_read(text: str, ms: int) -> None:
    assert options.read_span(text) == ms


@pytest.mark.parametrize("text", ["", "s", "90", "-5s", "1e3s", "5 m", "٣s", "nan" + "s", "9" * 400 + "d", ".s"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"--run-limit .* is no length of time"):
        options.read_span(text, "--run-limit")


@pytest.mark.parametrize("text", ["@nofile.json", "@.", "{", "[" * 100_000, "'{}'"])
def test_what_is_no_json_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BadRequest, match=r"--params(: '.*' cannot be read| is not JSON): "):
        options.read_json(text)


@pytest.mark.parametrize("pair", ["gray", "=gray", ""])
def test_what_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(BadRequest, match="is no pair"):
        options.read_pairs([pair])


@pytest.mark.parametrize(
    ("namespace", "app", "asked"),
    [
        ("", "", {"namespace": "", "app": ""}),
        ("", "shop", {"namespace": "", "app": "shop"}),
        ("", "lab/shop", {"namespace": "lab", "app": "shop"}),
        ("lab", "", {"namespace": "lab", "app": ""}),
        ("lab", "mail", {"namespace": "lab", "app": "mail"}),
        ("lab", "lab/mail", {"namespace": "lab", "app": "mail"}),
        ("lab", "default/shop", {"namespace": "lab"}),
    ],
)
def test_a_list_is_of_an_app_or_of_a_namespace_which_goes_before_the_app_of_the_environment(
    namespace: str, app: str, asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOJOB_APP", "default/shop")

    assert options.in_scope(namespace, app) == asked


def test_an_app_of_another_namespace_is_refused() -> None:
    with pytest.raises(BadRequest, match="'lab/shop' is not in namespace 'default'"):
        options.in_scope("default", "lab/shop")
