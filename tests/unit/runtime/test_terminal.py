"""terminal: what others wrote is shown, and steers nothing."""

import json
import re

import pytest

from gojob_redis.cli.options import read_span
from gojob_redis.runtime.terminal import show, span, visible, visible_line

STEERING = "\x1b]0;title\x07 \x9b31m red\r\x00 \u202etxt.exe"


def test_characters_that_steer_a_terminal_are_written_out() -> None:
    assert visible(STEERING) == r"\x1b]0;title\x07 \x9b31m red\r\x00 \u202etxt.exe"


def test_other_characters_stay_as_they_are() -> None:
    text = "line\n\tnext 价格 café 👩‍👧"

    assert visible(text) == text
    assert visible_line(text).startswith("line\\n")


@pytest.mark.parametrize(
    "answer",
    [
        {"items": [{"text": STEERING, "level": "info"}], "next": STEERING},
        {"text": STEERING, "params": {STEERING: [STEERING]}, "error": {"type": "E", "message": STEERING}},
    ],
)
def test_nothing_of_an_answer_reaches_the_terminal_unseen(
    answer: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    show(answer, False, ("level", "text"), paged=True)

    told = capsys.readouterr()
    assert "title" in told.out
    assert [each for each in told.out + told.err if visible(each) != each] == []


def test_markup_in_an_answer_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    show({"result": "[red]no[/red] [link=x]y"}, False)

    assert "[red]no[/red] [link=x]y" in capsys.readouterr().out


def test_json_is_not_touched(capsys: pytest.CaptureFixture[str]) -> None:
    show({"text": STEERING}, True)

    assert json.loads(capsys.readouterr().out) == {"text": STEERING}


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (0, "0"),
        (250, "250ms"),
        (10_000, "10s"),
        (90_000, "90s"),
        (300_000, "5m"),
        (7_200_000, "2h"),
        (20_513, "20.513s"),
    ],
)
def test_a_length_of_time_is_shown_as_the_options_take_it(ms: int, shown: str) -> None:
    assert span(ms) == shown
    assert read_span(shown) == ms


def test_of_a_long_time_only_days_are_shown() -> None:
    assert span(218_030_644_123) == "2523.5d"


def test_a_token_that_does_not_expire_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    show({"expires_ms": 0}, False)
    show({"items": [{"key_id": "k", "expires_ms": 0}]}, False, ("key_id", "expires_ms"))

    told = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in told] == ["never", "expires", "never"]
    assert told[0].split()[0] == "expires"


def test_an_error_is_shown_with_its_traceback_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    show({"error": {"type": "ValueError", "message": "no", "traceback": "Traceback:\n  File x\n"}}, False)

    lines = [line.removeprefix("error").strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["ValueError: no", "Traceback:", "File x"]


FACTS = {"labels": {"env": "gray", "zone": ""}, "handlers": ["a", "b"], "load": {"lag_ms": 3}, "attributes": []}
ATTEMPTS = [
    {"attempt": 1, "ended_ms": 1_795_904_593_123, "error": {"type": "E", "message": "no", "traceback": "Traceback:"}},
    {"attempt": 2, "interval_ms": 90_000},
]


def test_objects_and_lists_are_shown_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    show({**FACTS, "attempts": ATTEMPTS}, False)

    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [" ".join(line).strip() for line in lines[:3]] == ["labels env=gray", "handlers a, b", "load lag_ms=3"]
    [[title, first], [*second]] = lines[3:]
    assert title == "attempts"
    assert first.startswith("attempt=1 ended=2026-")
    assert first.rstrip().endswith("error=E: no")
    assert " ".join(second).strip() == "attempt=2 interval=90s"


def test_a_table_shows_objects_and_lists_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    show({"items": [FACTS]}, False, ("labels", "handlers", "attributes"))

    assert capsys.readouterr().out.splitlines()[1].split("  ")[0] == "env=gray"


@pytest.mark.parametrize("name", ["params", "param", "shard_params", "result"])
def test_what_users_made_is_shown_as_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    show({name: [{"a": ""}, 1]}, False)
    show({"versions": [{name: {"a": ""}}]}, False)

    [alone, within] = capsys.readouterr().out.splitlines()
    assert alone.split(maxsplit=1)[1].strip() == '[{"a": ""}, 1]'
    assert within.split(maxsplit=1)[1].strip() == f'{name}={{"a": ""}}'


def test_a_moment_stays_in_one_line_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    words = {name: name * 60 for name in "abcdefghijkl"}
    show({"items": [{"last_ms": 1_795_904_593_123, **words}]}, False, ("last_ms", *words))

    first = capsys.readouterr().out.splitlines()[1]
    assert re.match(r"2026-11-2\d \d\d:\d\d:\d3", first)
