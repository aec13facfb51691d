"""``gojob tasks``: submit tasks, look at them, wait for them, cancel them."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import typer

from gojob_redis.cli.calls import as_command, below_app, call, follow, part
from gojob_redis.cli.logs import show_logs
from gojob_redis.cli.options import (
    AllowUnknown,
    App,
    AsJson,
    Cursor,
    Label,
    Limit,
    OnceKey,
    OwnKey,
    Params,
    Require,
    ShardParams,
    Shards,
    SomeApp,
    Traceparent,
    Unique,
    in_scope,
    read_span,
    with_policies,
    work,
)
from gojob_redis.domain.errors import BadRequest, Unavailable
from gojob_redis.runtime.terminal import say, show, show_line, span, visible_line

group = typer.Typer(name="tasks", help="Submit tasks, look at them, wait, cancel.", no_args_is_help=True)

ROW = ("id", "app", "handler", "state", "reason", "worker", "made_ms", "started_ms", "ended_ms")
SLOW_ROW = ("took", *ROW)
NOW = ("id", "handler", "state", "reason", "worker", "attempt", "progress", "ended_ms")
LINK = ("link", "id", "app", "handler", "state", "reason", "made_ms", "started_ms", "ended_ms")
LINKS: Final = {"parent": "parent", "child": "children", "sibling": "siblings", "before": "before", "after": "after"}
TERMINAL = ("run_to_completion", "faulted", "canceled")

EXIT_NOT_DONE: Final = 1
"""The task faulted or was canceled."""
EXIT_TIMEOUT: Final = 5
"""The task was not over in time; it goes on."""
LOOK_S: Final = 2.0
"""How often a waiting command looks for a change; it notices the end at once."""
QUIET_LOOK_S: Final = 30.0
AWAY_S: Final = 60.0
"""How long a waiting command asks again while no gateway answers."""
AWAY_PAUSE_S: Final = 1.0

Timeout = Annotated[
    str | None,
    typer.Option(
        "--timeout", metavar="SPAN", help="Wait so long at most, such as 90s; then exit code 5, and the task goes on."
    ),
]


@group.command("submit")
@with_policies("task")
def submit_task(
    handler: str,
    app: App,
    params: Params = None,
    label: Label = [],  # noqa: B006  typer copies it
    require: Require = None,
    shards: Shards = None,
    shard_params: ShardParams = None,
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="SPAN", help="Not before this time has passed.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="MOMENT", help="Not before; RFC 3339 with an offset.")
    ] = None,
    key: OwnKey = None,
    unique: Unique = None,
    traceparent: Traceparent = None,
    idempotency_key: OnceKey = "",
    allow_unknown: AllowUnknown = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, as 'tasks wait' does.")] = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
    **policies: Any,
) -> None:
    """Submit one task. With --wait: exit 1 when it faulted or was canceled, 5 when --timeout ran out."""
    if timeout is not None and not wait:
        raise BadRequest("bad_timeout", "--timeout belongs to --wait.", field="--timeout", hint="Add --wait.")
    limit_s = _limit_s(timeout)
    body = work(
        label,
        params=params,
        require=require,
        shards=shards,
        shard_params=shard_params,
        at=at,
        key=key,
        unique=unique,
        traceparent=traceparent,
        **policies,
    )
    body |= {"delay_ms": read_span(delay, "--delay")} if delay is not None else {}
    body |= {"allow_unknown": True} if allow_unknown else {}
    path = f"{below_app(app)}/handlers/{part(handler)}/tasks"
    created = call("POST", path, body, headers={"Idempotency-Key": idempotency_key} if idempotency_key else None)
    if wait:
        _wait(created["id"], limit_s, as_json)
    else:
        show(created, as_json)


@group.command("show")
def show_task(
    task: str,
    links: Annotated[
        bool, typer.Option("--links", help="With its parent, children and siblings, and its trigger's neighbours.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """One task, why it is not running, and which workers there are for it."""
    answer = call("GET", f"/tasks/{part(task)}", include="links" if links else "")
    if not as_json and (why := answer["why"]):
        groups = "; ".join(map(_workers, why["groups"]))
        answer = {**answer, "why": why["says"], "to do": as_command(why["call"]), "workers": groups}
    if as_json or not links:
        show(answer, as_json)
        return
    show({name: value for name, value in answer.items() if name != "links"}, as_json)
    print()
    show({"items": list(_linked(answer["links"]))}, as_json, LINK)
    for kin, parent in (("children", task), ("siblings", answer["parent"])):
        if answer["links"][f"has_more_{kin}"]:
            say(f"There are more {kin}: 'gojob tasks list --parent {parent}' lists them.")


def _linked(links: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for each task that one belongs to, with what it is to it."""
    for link, name in LINKS.items():
        linked = links[name]
        for each in linked if isinstance(linked, list) else filter(None, [linked]):
            yield {**each, "link": link}


STATES: Final = ("free", "busy", "drained", "backoff", "silent", "leaving", "alone")


def _workers(group: Mapping[str, Any]) -> str:
    """A worker group in a few words: how many have which labels, and what they do or why they do not fit."""
    labels = ",".join(f"{name}={value}" for name, value in group["labels"].items()) or "no labels"
    states = ", ".join(f"{group[state]} {state}" for state in STATES if group[state])
    misfit = {"none": "", "attribute": "other attributes", "labels": "other labels", "handler": "other handlers"}
    what = ", ".join(each for each in (misfit.get(group["misfit"], group["misfit"]), states) if each)
    return f"{group['sessions']} with {labels} ({what})"


@group.command("value")
def show_value(
    task: str,
    name: Annotated[Literal["params", "result", "error", "progress"], typer.Argument(help="Which.")],
    shard: Annotated[int | None, typer.Option("--shard", min=0, help="Of a sharded task.")] = None,
) -> None:
    """One value as JSON, also one that is too large for 'tasks show'."""
    show(call("GET", f"/tasks/{part(task)}/values/{name}", shard=shard), True)


@group.command("wait")
def wait_for_task(task: str, timeout: Timeout = None, as_json: AsJson = False) -> None:
    """Wait for the end of a task: exit 1 when it faulted or was canceled, 5 when --timeout ran out."""
    _wait(task, _limit_s(timeout), as_json)


def _limit_s(timeout: str | None) -> float | None:
    return None if timeout is None else read_span(timeout, "--timeout") / 1000


def _wait(task: str, limit_s: float | None, as_json: bool) -> None:
    """Follow a task to its end, print it, and end with the exit code that says how it went."""
    with telling(quiet=as_json) as tell:
        record = _follow(task, limit_s, tell, look_s=QUIET_LOOK_S if as_json else LOOK_S)
    if record["state"] not in TERMINAL:
        if as_json:
            show(record, as_json)
        say(f"gojob: Task {task} is not over after {limit_s:g} s ({_status(record).rstrip('.')}); it goes on.")
        say(f"       Wait again with 'gojob tasks wait {task}', or end it with 'gojob tasks cancel {task}'.")
        raise typer.Exit(EXIT_TIMEOUT)
    show(record, as_json)
    if record["state"] != "run_to_completion":
        raise typer.Exit(EXIT_NOT_DONE)


def _follow(task: str, limit_s: float | None, tell: "Tell", *, look_s: float) -> Any:
    """The task when it is over, or as it is when the time is up. Each look prints what the task is doing."""
    ends = None if limit_s is None else time.monotonic() + limit_s
    path, wait_s, heard_at = f"/tasks/{part(task)}", 0.0, time.monotonic()
    while True:
        left_s = look_s if ends is None else min(look_s, ends - time.monotonic())
        wait_s = min(wait_s, max(left_s, 0.0))
        try:
            record = call("GET", path, wait=f"{round(wait_s * 1000)}ms" if wait_s else "", wait_s=wait_s)
        except Unavailable as error:
            if time.monotonic() - heard_at > AWAY_S:
                raise
            tell(f"{error.message} Trying again.")
            time.sleep(AWAY_PAUSE_S)
            continue
        heard_at, wait_s = time.monotonic(), look_s
        if record["state"] in TERMINAL or (ends is not None and time.monotonic() >= ends):
            return record
        tell(_status(record))


def _status(task: Mapping[str, Any]) -> str:
    """What a task is doing, in one line."""
    waiting, progress = (task.get("why") or {}).get("says"), task.get("progress")
    more = waiting or (f"on {task['worker']}" if task.get("worker") else "")
    if progress:
        more += f", {progress['percent']:g} % {progress.get('message') or ''}".rstrip()
    return f"{task['state']}: {more}" if more else str(task["state"])


class Tell:
    """Tells on stderr what a task is doing: one line that changes on a terminal, a line per change elsewhere."""

    def __init__(self, status: Any = None, *, quiet: bool = False) -> None:
        self._status = status
        self._quiet = quiet
        self._last = ""

    def __call__(self, text: str) -> None:
        if self._quiet or text == self._last:
            return
        self._last = text
        if self._status is None:
            say(visible_line(text))
        else:
            from rich.markup import escape

            self._status.update(escape(visible_line(text)))


@contextmanager
def telling(*, quiet: bool) -> Iterator[Tell]:
    """Tells on stderr what goes on while a command waits."""
    if quiet or not sys.stderr.isatty():
        yield Tell(quiet=quiet)
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False).status("submitted") as status:
        yield Tell(status)


@group.command("watch")
def watch_tasks(
    tasks: Annotated[list[str], typer.Argument(help="Ids; 32 at most.")] = [],  # noqa: B006
    app: Annotated[str, typer.Option("--app", "-a", help="All tasks of namespace/app instead, until Ctrl-C.")] = "",
    handler: Annotated[str, typer.Option("--handler", "-H", help="Of the app only this handler.")] = "",
    as_json: AsJson = False,
) -> None:
    """Tell each change of some tasks until all are over, or of all tasks of an app."""
    if bool(tasks) == bool(app):
        raise BadRequest(
            "bad_request", "Either ids or --app have to be given.", field="--app", hint="Pass one of them."
        )
    name = f"{'' if '/' in app else 'default/'}{app}" + (f"/{handler}" if handler else "")
    going = set(tasks)
    for kind, message in follow([f"task:{task}" for task in tasks] or [f"tasks:{name}"]):
        if kind == "resync" or message.get("left_out"):
            say("gojob: More changed than can be told; 'gojob tasks list' lists it.")
        for row in message.get("items") or filter(None, [message.get("task")]):
            show_line(row, as_json, NOW)
            going -= {row["id"]} if row["state"] in TERMINAL else set()
        if kind == "task" and message["task"] is None:
            task = message["topic"].partition(":")[2]
            say(f"gojob: There is no task {task}.")
            going.discard(task)
        if tasks and not going:
            return


@group.command("cancel")
def cancel_task(
    task: str,
    reason: Annotated[str, typer.Option("--reason", help="Why: a few words, kept with it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Cancel a task: what waits ends now, what runs is told."""
    show(call("POST", f"/tasks/{part(task)}/cancel", {"reason": reason} if reason else {}), as_json)


@group.command("bump")
def bump_task(
    task: str,
    priority: Annotated[int | None, typer.Option("--priority", min=0, max=9, help="Its new priority.")] = None,
    as_json: AsJson = False,
) -> None:
    """Move a task that waits to the head of its lane, or give it another priority."""
    show(call("POST", f"/tasks/{part(task)}:bump", {} if priority is None else {"priority": priority}), as_json)


@group.command("keep")
def keep_task(
    task: str,
    usual: Annotated[bool, typer.Option("--usual", help="Let it go: keep it only as long as others.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a task after its end until somebody lets it go."""
    show(call("PUT", f"/tasks/{part(task)}/keep", {"keep": "usual" if usual else "always"}), as_json)


@group.command("retry")
def retry_task(task: str, idempotency_key: OnceKey = "", as_json: AsJson = False) -> None:
    """The same work as a new task."""
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
    show(call("POST", f"/tasks/{part(task)}/retry", headers=headers), as_json)


@group.command("list")
def list_tasks(
    app: SomeApp = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of all apps of this namespace.")] = "",
    handler: Annotated[str, typer.Option("--handler", "-H", help="Of this handler of the app.")] = "",
    trigger: Annotated[str, typer.Option("--trigger", "-t", help="Of this trigger of the app.")] = "",
    worker: Annotated[str, typer.Option("--worker", "-w", help="That this worker had last.")] = "",
    parent: Annotated[str, typer.Option("--parent", help="That runs of this task submitted, or that repeat it.")] = "",
    key: Annotated[str, typer.Option("--key", help="With this key, newest first.")] = "",
    state: Annotated[list[str], typer.Option("--state", "-s", help="Several times for several states.")] = [],  # noqa: B006
    reason: Annotated[str, typer.Option("--reason", help="Such as error, timeout, lost.")] = "",
    error: Annotated[str, typer.Option("--error", help="With this fingerprint of 'failures'.")] = "",
    label: Annotated[list[str], typer.Option("--label", "-l", help="That require KEY=VALUE, several times.")] = [],  # noqa: B006
    since: Annotated[
        str,
        typer.Option("--from", metavar="MOMENT", help="Ended, or if not over made, then or later; RFC 3339, or ms."),
    ] = "",
    to: Annotated[str, typer.Option("--to", metavar="MOMENT", help="The same, before then.")] = "",
    sort: Annotated[
        Literal["newest", "slowest"], typer.Option("--sort", help="slowest: those that took longest in the last day.")
    ] = "newest",
    by: Annotated[
        list[str], typer.Option("--by", help="Count them instead, by state, handler or error; several times.")
    ] = [],  # noqa: B006
    limit: Limit = 50,
    cursor: Cursor = "",
    as_json: AsJson = False,
) -> None:
    """Tasks by what is known of them: first what is not over, then the rest, newest first."""
    query: dict[str, Any] = {"handler": handler, "trigger": trigger, "worker": worker, "parent": parent, "key": key}
    query |= {"state": state, "reason": reason, "error": error, "label": label, "from": since, "to": to, "sort": sort}
    query |= in_scope(namespace, app)
    if by:
        _count(query, by, as_json)
        return
    page = call("GET", "/tasks", **query, limit=limit, cursor=cursor)
    if sort == "slowest" and not as_json:
        page = {**page, "items": [{**each, "took": span(_took_ms(each))} for each in page["items"]]}
    show(page, as_json, SLOW_ROW if sort == "slowest" else ROW, paged=True)
    if not as_json and (page["next"] or sort == "slowest"):
        say(_how_far(page["looked"]))


def _count(query: Mapping[str, Any], by: Sequence[str], as_json: bool) -> None:
    """How many tasks there are of which kind; a count that is not exact ends with a plus."""
    facets = call("GET", "/tasks", **query, facets=by, limit=1)["facets"]
    rows = [{"by": facet["by"], **row} for facet in facets for row in facet["counts"]]
    if not as_json:
        rows = [row | {"tasks": f"{row['count']}{'' if row['is_exact'] else '+'}"} for row in rows]
    show({"items": rows}, as_json, ("by", "value", "tasks", "about"))
    if not as_json and not all(facet["is_whole"] for facet in facets):
        say("There are more.")


def _took_ms(task: Mapping[str, Any]) -> int:
    """How long a task that is over took from its first attempt to its end."""
    return int(task["ended_ms"] or 0) - int(task["started_ms"] or task["ended_ms"] or 0)


def _how_far(looked: Mapping[str, Any]) -> str:
    """How far a page looked that does not show all there is."""
    back = looked["back_to_ms"]
    until = "" if back is None else f", back to {datetime.fromtimestamp(back / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"Looked at {looked['tasks']} tasks{until}."


group.command("logs")(show_logs)


@group.command("runs")
def list_runs(
    task: str,
    limit: Limit = 100,
    after: Annotated[int, typer.Option("--after", min=-1, help="The shard that the page before ended with.")] = -1,
    as_json: AsJson = False,
) -> None:
    """The runs of a task, one per shard."""
    columns = ("shard", "state", "reason", "attempt", "worker", "started_ms", "ended_ms", "result")
    show(call("GET", f"/tasks/{part(task)}/runs", limit=limit, after=after), as_json, columns)
