"""``gojob stats``: how much happened, how long it waited and took."""

from typing import Annotated, Any, Literal

import typer

from gojob_redis.cli.calls import call
from gojob_redis.cli.options import AsJson, Cursor, Limit, SomeApp, SomeNamespace, in_scope
from gojob_redis.runtime.terminal import show

COUNTS = ("submitted", "fired", "completed", "faulted", "canceled", "retried", "lost", "skipped", "missed")
SPREADS = ("wait", "duration", "lateness")
WHO = ("namespace", "app", "handler")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def show_stats(
    app: SomeApp = "",
    namespace: SomeNamespace = "",
    handler: Annotated[str, typer.Option("--handler", "-H", help="Only this handler of the app.")] = "",
    since: Annotated[str, typer.Option("--from", metavar="MOMENT", help="RFC 3339; an hour ago unless set.")] = "",
    to: Annotated[str, typer.Option("--to", metavar="MOMENT", help="RFC 3339; now unless set.")] = "",
    step: Annotated[Literal["1m", "10m", "30m"] | None, typer.Option(help="Show each step.")] = None,
    by: Annotated[Literal["handler", "app"] | None, typer.Option(help="One line for each handler or app.")] = None,
    ever: Annotated[bool, typer.Option("--ever", help="All that ever happened, and what runs now.")] = False,
    week: Annotated[
        bool, typer.Option("--week", help="What faulted, by hour and day of the week; of four weeks unless --from.")
    ] = False,
    zone: Annotated[str, typer.Option("--zone", help="The time zone of these hours, such as Europe/Berlin.")] = "UTC",
    limit: Limit = 100,
    cursor: Cursor = "",
    as_json: AsJson = False,
) -> None:
    """How much happened, how long it waited and took."""
    scope: dict[str, Any] = {**in_scope(namespace, app), "handler": handler}
    if week:
        scope |= {"from": since, "to": to, "zone": zone}
        hours = call("GET", "/stats/week", **scope)
        show(hours if as_json else {"items": _hours(hours["faulted"])}, as_json, ("hour", *DAYS))
        return
    query = scope | {"limit": limit, "cursor": cursor}
    by_step = step is not None and not by and not ever
    columns: tuple[str, ...]
    if ever:
        answer = call("GET", "/stats/totals", **query)
        columns = (*WHO, "running", "unfinished", *COUNTS, "failure_rate", "mean", "max", "last_ended_ms")
    else:
        query |= {"from": since, "to": to, "step": step, "group_by": by, "buckets": "true" if step else "false"}
        answer = call("GET", "/stats", **query)
        columns = ("from_ms",) if by_step else WHO
        columns += (*COUNTS, "wait p50", "wait p99", "duration p50", "duration p99")
    if not as_json:
        answer = {**answer, "items": [_row(each) for each in _lines(answer["items"], by_step)]}
    show(answer, as_json, columns, paged=True)


def _hours(by_day: list[list[int]]) -> list[dict[str, Any]]:
    """A line for each hour of the day, with what is not zero of each day of the week."""
    return [
        {"hour": f"{hour:02}", **{day: counts[hour] or "" for day, counts in zip(DAYS, by_day, strict=True)}}
        for hour in range(24)
    ]


def _lines(series: list[Any], each_step: bool) -> list[Any]:
    return [bucket for each in series for bucket in each["buckets"]] if each_step else series


def _row(line: dict[str, Any]) -> dict[str, Any]:
    """One line of the table: what it is of, and its figures."""
    figures = line["figures"]
    row = {name: line.get(name) for name in (*WHO, "from_ms", "running", "unfinished")}
    row |= {name: figures[name] for name in (*COUNTS, "failure_rate", "last_ended_ms")}
    for spread in SPREADS:
        row |= {f"{spread} {share}": _shown(figures[spread][f"{share}_ms"]) for share in ("p50", "p95", "p99")}
    return row | {"mean": _shown(figures["duration"]["mean_ms"]), "max": _shown(figures["duration"]["max_ms"])}


def _shown(ms: float | None) -> str:
    if ms is None:
        return ""
    return f"{ms:.0f}ms" if ms < 1_000 else f"{ms / 1_000:.1f}s" if ms < 120_000 else f"{ms / 60_000:.1f}m"
