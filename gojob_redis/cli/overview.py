"""``gojob overview``: how it goes, on one screen."""

from collections.abc import Mapping
from typing import Any

from gojob_redis.cli.calls import call
from gojob_redis.cli.options import AsJson, SomeApp, SomeNamespace, in_scope
from gojob_redis.runtime.terminal import show, span

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
    tiles |= {"success_24h": _share(answer["success_24h"])}
    tiles["lateness_p99"] = _length(tiles.pop("lateness_p99_ms"))
    tiles["planned, next hour"] = f"{sum(answer['planned'])} (of {answer['covered']} of {answer['triggers']} triggers)"
    show(tiles, as_json)
    for title, columns in LISTS.items():
        if answer[title]:
            print(f"\n{title.removesuffix('_first')}")
            show({"items": [_row(each) for each in answer[title]]}, as_json, columns)


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    """One line of a table: times and shares as people read them."""
    row = dict(line)
    if "oldest_ms" in row:
        row["oldest"] = _length(row["oldest_ms"])
    if "failure_rate" in row:
        row["failure_rate"] = _share(row["failure_rate"])
    if duration := row.pop("duration", None):
        row |= {"p95": _length(duration["p95_ms"]), "max": _length(duration["max_ms"])}
        row["max_task"] = duration["max_task"]
    return row


def _share(of_one: float | None) -> str:
    return "" if of_one is None else f"{of_one:.1%}"


def _length(ms: float | None) -> str:
    return "" if ms is None else span(round(ms / 100) * 100 if ms >= 1_000 else round(ms))
