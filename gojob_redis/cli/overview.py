"""``gojob overview``: how it goes, on one screen."""

from collections.abc import Mapping
from typing import Any

from gojob_redis.cli.calls import call
from gojob_redis.cli.options import AsJson, SomeApp, SomeNamespace, in_scope
from gojob_redis.runtime.terminal import show

TILES = ("running", "backlog", "workers", "seats", "taken_seats", "success_24h", "lateness_p99_ms", "troubled")
WHO = ("namespace", "app", "handler")
LISTS = {
    "backlogs": (*WHO, "waiting", "oldest"),
    "failing": (*WHO, "faulted", "completed", "failure_rate"),
    "slowest": (*WHO, "p95", "max", "max_task"),
    "troubled_first": ("app", "name"),
    "events": ("at_ms", "kind", "handler", "task", "trigger"),
}


def show_overview(
    app: SomeApp = "",
    namespace: SomeNamespace = "",
    as_json: AsJson = False,
) -> None:
    """How it goes: what runs, waits, fails, is slow and is planned; the figures are those of the last hour."""
    query: dict[str, Any] = in_scope(namespace, app)
    answer = call("GET", "/overview", **query)
    if as_json:
        show(answer, as_json)
        return
    tiles = {name: answer[name] for name in TILES}
    tiles["planned, next hour"] = f"{sum(answer['planned'])} (of {answer['covered']} of {answer['triggers']} triggers)"
    show(tiles, as_json)
    for title, columns in LISTS.items():
        if answer[title]:
            print(f"\n{title.removesuffix('_first')}")
            show({"items": [_row(each) for each in answer[title]]}, as_json, columns)


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    """One line of a table: times in seconds."""
    row = dict(line)
    if "oldest_ms" in row:
        row["oldest"] = f"{row['oldest_ms'] / 1000:.1f}s"
    if duration := row.pop("duration", None):
        row |= {"p95": _seconds(duration["p95_ms"]), "max": _seconds(duration["max_ms"])}
        row["max_task"] = duration["max_task"]
    return row


def _seconds(ms: float | None) -> str:
    return "" if ms is None else f"{ms / 1000:.2f}s"
