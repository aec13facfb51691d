"""gojob_redis/cli/overview.py: figures as people read them."""

from typing import Any

import pytest

from gojob_redis.cli import overview

NOBODY: dict[str, Any] = dict.fromkeys(overview.TILES, 0) | {name: [] for name in overview.LISTS}
PLANNED = {"planned": [1, 2], "covered": 1, "triggers": 2}
SEND = {"namespace": "default", "app": "shop", "handler": "send"}


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **answer: Any) -> list[list[str]]:
    monkeypatch.setattr(overview, "call", lambda *_, **__: NOBODY | PLANNED | answer)
    overview.show_overview()
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_shares_are_percents_and_times_have_units(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spread = {"p95_ms": 3.6, "max_ms": 82_840.0, "max_task": "t1"}
    lists = {
        "failing": [SEND | {"faulted": 1, "completed": 2, "failure_rate": 0.3333}],
        "slowest": [SEND | {"duration": spread}],
        "backlogs": [SEND | {"waiting": 3, "oldest_ms": 1_250}],
    }

    lines = shown(monkeypatch, capsys, success_24h=0.7143, lateness_p99_ms=4.2, **lists)

    assert ["success_24h", "71.4%"] in lines
    assert ["lateness_p99", "4ms"] in lines
    assert ["default", "shop", "send", "1", "2", "33.3%"] in lines
    assert ["default", "shop", "send", "4ms", "82.8s", "t1"] in lines
    assert ["default", "shop", "send", "3", "1.2s"] in lines


def test_a_figure_that_nobody_knows_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(monkeypatch, capsys, success_24h=None, lateness_p99_ms=None)

    assert [line for line in lines if line[0] in ("success_24h", "lateness_p99")] == []
    assert ["planned,", "next", "hour", "3", "(of", "1", "of", "2", "triggers)"] in lines
