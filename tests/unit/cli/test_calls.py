"""calls: an address or a token that cannot be right, and refusals in the words of the command line."""

import ast
import re
from pathlib import Path

import pytest

from gojob_redis.cli.calls import Answered, as_command, below_app, call, in_flags, part
from gojob_redis.domain.errors import BadRequest, Unavailable

HTTP = re.compile(
    r"\b(GET|PUT|POST|DELETE|PATCH)\b|/docs|/v1|If-(None-)?Match|Content-Type|Authorization|\?\w+=|allow_unknown"
)
SOURCES = ("api", "view", "control", "domain", "schedules", "task.py", "trigger.py", "planning")


def hints() -> set[str]:
    """All fixed texts behind ``hint=`` in what answers requests."""
    root = Path(__file__).parents[3] / "gojob_redis"
    files = [
        file for name in SOURCES for file in ([root / name] if name.endswith(".py") else (root / name).glob("*.py"))
    ]
    found: set[str] = set()
    for file in files:
        for made in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(made, ast.Call):
                for each in (word.value for word in made.keywords if word.arg == "hint"):
                    found |= {
                        node.value
                        for node in ast.walk(each)
                        if isinstance(node, ast.Constant) and isinstance(node.value, str)
                    }
    return found


def test_no_hint_of_the_api_speaks_http_on_the_command_line() -> None:
    assert len(hints()) > 30
    assert {hint for hint in hints() if HTTP.search(as_command(hint))} == set()


def test_a_refused_field_is_told_by_its_option() -> None:
    refused = Answered(
        400,
        {
            "detail": "retry_interval_ms: Input should be greater than or equal to 0.",
            "field": "retry_interval_ms",
            "hint": "See /docs for what is allowed.",
        },
    )

    assert refused.message == "--retry-interval: Input should be greater than or equal to 0."
    assert refused.hint == "See --help."


@pytest.mark.parametrize("url", ["localhost:8700", "redis://h", "http://", "http://h:x", "http://["])
def test_an_address_that_is_none_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_URL", url)
    monkeypatch.setenv("GOJOB_TOKEN", "gj_x")

    with pytest.raises(BadRequest, match=r"GOJOB_URL .* is no address"):
        call("GET", "/info")


@pytest.mark.parametrize("token", ["", " ", "gj_ü", "a\nb"])
def test_a_token_that_is_none_is_told(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_TOKEN", token)

    with pytest.raises(BadRequest, match="GOJOB_TOKEN is"):
        call("GET", "/info")


def test_a_gateway_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_URL", "http://127.0.0.1:1,http://127.0.0.1:2")
    monkeypatch.setenv("GOJOB_TOKEN", "gj_x")

    with pytest.raises(Unavailable, match=r"http://127.0.0.1:1, http://127.0.0.1:2 does not answer"):
        call("GET", "/info")


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    assert below_app("a/b") == "/apps/a/b"
    assert below_app("b") == "/apps/default/b"
    assert part("x?y#z \ud800") == "x%3Fy%23z%20%3F"
    for bad in ("", ".", "..", "a/b", "../x"):
        with pytest.raises(BadRequest):
            part(bad)
    for bad in ("", "/", "a/", "a/b/c"):
        with pytest.raises(BadRequest):
            below_app(bad)


@pytest.mark.parametrize("body", [float("nan"), [float("inf")]])
def test_what_json_does_not_know_is_not_sent(body: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_TOKEN", "gj_x")

    with pytest.raises(BadRequest, match="cannot be sent as JSON"):
        call("POST", "/x", {"params": body})


def test_a_key_that_no_header_can_hold_is_told_by_its_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_TOKEN", "gj_x")

    with pytest.raises(BadRequest, match="--idempotency-key is not printable ASCII"):
        call("POST", "/x", headers={"Idempotency-Key": "ключ"})


def test_what_a_handler_takes_is_shown_by_its_command() -> None:
    hint = "See what it takes with GET /v1/apps/default/shop/handlers/send, or set allow_unknown to leave that."

    assert as_command(hint) == (
        "See what it takes with 'gojob handlers show send --app default/shop', or pass --allow-unknown to leave that."
    )


@pytest.mark.parametrize(
    ("call", "command"),
    [
        ("POST /v1/apps/lab/shop/handlers/send.now/resume", "gojob queues resume send.now --app lab/shop"),
        ("GET /v1/workers?namespace=lab&app=shop&handler=send", "gojob workers list --app lab/shop --handler send"),
        ("GET /v1/workers?namespace=lab&app=shop", "gojob workers list --app lab/shop"),
    ],
)
def test_what_ends_a_wait_is_shown_by_its_command(call: str, command: str) -> None:
    assert as_command(call) == command


@pytest.mark.parametrize(
    ("detail", "field", "told"),
    [
        ("facets[0]: Input should be 'state'.", "facets[0]", "--by: Input should be 'state'."),
        ("error 'xyz' is no fingerprint.", "error", "--error 'xyz' is no fingerprint."),
        ("filter.error 'xyz' is no fingerprint.", "filter.error", "--error 'xyz' is no fingerprint."),
        ("from 'now' is no moment.", "from", "--from 'now' is no moment."),
    ],
)
def test_a_filter_is_refused_by_its_option(detail: str, field: str, told: str) -> None:
    assert in_flags(detail, field) == told
