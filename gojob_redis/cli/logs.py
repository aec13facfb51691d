"""``gojob tasks logs``: what a run logged, and what it goes on to log."""

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import typer

from gojob_redis.cli.calls import call, part
from gojob_redis.cli.options import UNITS, AsJson, read_span
from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest, Unavailable
from gojob_redis.runtime.terminal import say, visible, visible_line

FOLLOW_S: Final = 2.0
"""How long one request waits for more, before the task is looked at."""
LAST_S: Final = 1.0
"""How long after the end of a task its last lines are waited for."""
AWAY_PAUSE_S: Final = 1.0
TERMINAL: Final = ("run_to_completion", "faulted", "canceled")
STYLES: Final = {"warning": "yellow", "error": "red", "debug": "dim"}


def show_logs(
    task: str,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until the task is over.")
    ] = False,
    level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option("--level", "-l", help="This level and worse ones.")
    ] = "debug",
    grep: Annotated[str, typer.Option("--grep", "-g", help="Lines with this text, in upper or lower case.")] = "",
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Of one attempt alone.")] = None,
    shard: Annotated[
        int | None, typer.Option("--shard", min=0, help="Of a sharded task; the first unless set.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="SPAN|MOMENT", help="The last 10m, or from a moment in RFC 3339 on."),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="SPAN|MOMENT", help="The same for the end.")] = None,
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="Newest first.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="So many lines at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a task logged. With --json a line is an object of its own."""
    if follow and reverse:
        raise BadRequest(
            "bad_request", "--follow and --reverse exclude each other.", field="--reverse", hint="Drop one."
        )
    query: dict[str, Any] = {
        "level": level,
        "text": grep,
        "attempt": attempt,
        "shard": shard,
        "since_ms": _moment(since, "--since"),
        "until_ms": _moment(until, "--until"),
        "order": "newest" if reverse else "oldest",
    }
    reader = _Reader(task, query, as_json=as_json, left=limit)
    reader.read()
    if follow:
        reader.follow()
    reader.tell_missing()


class _Reader:
    """Prints page after page."""

    def __init__(self, task: str, query: Mapping[str, Any], *, as_json: bool, left: int | None) -> None:
        self.task = task
        self.query = query
        self.as_json = as_json
        self.left = left
        self.cursor = ""
        self.page: Mapping[str, Any] = {}
        self.shown = 0

    def read(self, wait_s: float = 0.0) -> None:
        """Print what is there; with a wait, what comes next."""
        more = True
        while more and self.left != 0:
            limit = limits.PAGE_ITEMS if self.left is None else min(limits.PAGE_ITEMS, self.left)
            wait = f"{round(wait_s * 1000)}ms" if wait_s else ""
            path = f"/tasks/{part(self.task)}/log"
            self.page = call("GET", path, cursor=self.cursor, limit=limit, wait=wait, wait_s=wait_s, **self.query)
            for line in self.page["items"]:
                self._print(line)
            self.cursor, more = self.page["cursor"] or "", self.page["more"]
            wait_s = 0.0
        sys.stdout.flush()

    def follow(self) -> None:
        """Print what comes until the task is over, and its last lines with it."""
        while not self.page["over"] and self.left != 0:
            try:
                if call("GET", f"/tasks/{part(self.task)}")["state"] in TERMINAL:
                    time.sleep(LAST_S)
                    self.read()
                    return
                self.read(FOLLOW_S)
            except Unavailable as error:
                say(f"{error.message} Trying again.")
                time.sleep(AWAY_PAUSE_S)

    def _print(self, line: Mapping[str, Any]) -> None:
        self.shown += 1
        if self.left is not None:
            self.left -= 1
        if self.as_json:
            from json import dumps

            print(dumps(line, ensure_ascii=False))
            return
        print(_text(line))

    def tell_missing(self) -> None:
        """Say what is not there, after what is."""
        if self.as_json:
            return
        if not self.shown:
            say("Nothing to show.")
        if "." in self.page.get("run", "") and self.query["shard"] is None:
            say("This is shard 0 alone; --shard N shows another.")
        dropped = self.page.get("dropped", {})
        if dropped.get("ring"):
            say(f"{dropped['ring']} lines gave way to newer ones of this run.")
        if dropped.get("budget"):
            say(f"{dropped['budget']} lines gave way to the logs of other runs of the app.")


def _text(line: Mapping[str, Any]) -> str:
    """A line as a terminal may show it."""
    at = datetime.fromtimestamp(min(line["at_ms"], limits.LATEST_MS) / 1000).astimezone()
    logger = f" {visible_line(line['logger'])}" if line["logger"] else ""
    written = visible(line["text"]).replace("\n", "\n    ")
    text = f"{at.isoformat(' ', 'milliseconds')} {line['level'].upper():7} [{line['attempt']}]{logger} {written}"
    if not sys.stdout.isatty() or line["level"] not in STYLES:
        return text
    from rich.style import Style

    return Style.parse(STYLES[line["level"]]).render(text)


def _moment(written: str | None, option: str) -> int | None:
    """Milliseconds since 1970 of a moment, or of a time ago."""
    if written is None:
        return None
    if written.endswith(tuple(unit for unit, _ in UNITS)) and written[0].isdigit() and "T" not in written:
        return max(0, time.time_ns() // 1_000_000 - read_span(written, option))
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise BadRequest(
            "bad_moment",
            f"{option} {written!r} is no time.",
            field=option,
            hint="Write 10m, 2h, or a moment such as 2026-01-31T09:00:00Z.",
        ) from None
    return max(0, round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))
