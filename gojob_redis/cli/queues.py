"""What waits for each handler, who serves it, and what did not go as planned."""

from typing import Annotated, Any, Final, Literal

import typer

from gojob_redis.cli.bulk import show_row
from gojob_redis.cli.calls import below_app, call, part
from gojob_redis.cli.options import (
    App,
    AsJson,
    Cursor,
    Limit,
    OnceKey,
    SomeApp,
    SomeNamespace,
    in_scope,
    read_retention,
    read_span,
)
from gojob_redis.domain.retention import OF_HANDLER
from gojob_redis.domain.states import WorkerState
from gojob_redis.runtime.terminal import say, show

queues = typer.Typer(
    name="queues", help="What waits for handlers, and why; pause, resume and purge it.", no_args_is_help=True
)

handlers = typer.Typer(
    name="handlers", help="What a handler's versions tell of it, and how long its tasks are kept.", no_args_is_help=True
)

workers = typer.Typer(name="workers", help="The connected workers; drain, resume and disconnect.", no_args_is_help=True)


WAITS: Final = ("backlog", "oldest", "in_per_s", "out_per_s", "workers")
COLUMNS: Final = {
    "handler": ("namespace", "app", "handler", *WAITS, "free_seats", "wanted_workers", "paused_ms", "why"),
    "app": ("namespace", "app", "queues", *WAITS),
    "namespace": ("namespace", "queues", *WAITS),
    "label": ("labels", "require", "queues", "backlog", "oldest"),
}
"""What is shown of a queue, by what a row is."""


@queues.command("list")
def list_queues(
    app: SomeApp = "",
    namespace: SomeNamespace = "",
    handler: Annotated[str, typer.Option("--handler", help="Only the handler of this name.")] = "",
    q: Annotated[str, typer.Option("--text", help="Only handlers with this text in their name.")] = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="Only what waits for workers with this label, name=value.")
    ] = None,
    waiting: Annotated[
        bool | None, typer.Option("--waiting/--empty", help="Only where something waits, or not.")
    ] = None,
    paused: Annotated[bool | None, typer.Option("--paused/--not-paused", help="Only what is paused, or not.")] = None,
    sort: Annotated[Literal["backlog", "oldest", "name"], typer.Option(help="Which come first.")] = "backlog",
    by: Annotated[
        Literal["handler", "app", "namespace", "label"], typer.Option(help="One line for each of these.")
    ] = "handler",
    limit: Limit = 100,
    cursor: Cursor = "",
    as_json: AsJson = False,
) -> None:
    """What waits for handlers, and why: the largest queues of all apps first."""
    asked: dict[str, Any] = {**in_scope(namespace, app), "handler": handler, "q": q, "label": label}
    asked |= {
        word: None if flag is None else str(flag).lower() for word, flag in (("waiting", waiting), ("paused", paused))
    }
    answer = call("GET", "/queues", **asked, sort=sort, group_by=by, limit=limit, cursor=cursor)
    if not as_json:
        answer = {**answer, "items": [_row(each) for each in answer["items"]]}
        if not answer["is_whole"]:
            say(f"There are more than these {answer['looked_at']}: name an app, or take --sort name.")
    show(answer, as_json, COLUMNS[by], paged=True)


def _row(queue: dict[str, Any]) -> dict[str, Any]:
    """A queue as a line: its reason as a sentence, its age in seconds."""
    oldest_ms, why = queue["oldest_ms"], queue["why"]
    return {**queue, "oldest": None if oldest_ms is None else f"{oldest_ms / 1000:.1f}s", "why": why and why["says"]}


@handlers.command("show")
def show_handler(handler: str, app: App, as_json: AsJson = False) -> None:
    """One handler: who serves it, what waits for it, and what its versions tell."""
    answer = call("GET", f"{below_app(app)}/handlers/{part(handler)}")
    show(answer if as_json else _row(answer), as_json)


@queues.command("show")
def show_queue(
    handler: str,
    app: App,
    within: Annotated[
        str, typer.Option("--within", metavar="SPAN", help="How soon the backlog is to be gone, such as 5m.")
    ] = "1m",
    as_json: AsJson = False,
) -> None:
    """The queue of one handler, and how many workers it wants: from what waits, comes in, and how long it takes."""
    within_ms = read_span(within, "--within")
    show(call("GET", f"{below_app(app)}/queues/{part(handler)}", within_ms=within_ms), as_json)


@queues.command("pause")
def pause_queue(handler: str, app: App, as_json: AsJson = False) -> None:
    """Give no more tasks of a handler to workers; what runs goes on."""
    show(call("POST", f"{below_app(app)}/handlers/{part(handler)}/pause"), as_json)


@queues.command("resume")
def resume_queue(handler: str, app: App, as_json: AsJson = False) -> None:
    """Give the tasks of a handler to workers again."""
    show(call("POST", f"{below_app(app)}/handlers/{part(handler)}/resume"), as_json)


@queues.command("purge")
def purge_queue(
    handler: str,
    app: App,
    reason: Annotated[str, typer.Option("--reason", help="A few words, kept with each task.")] = "purged",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    idempotency_key: OnceKey = "",
    as_json: AsJson = False,
) -> None:
    """Cancel all that waits for a handler, not what has a worker; 'bulk wait' follows the job."""
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
    body = {"reason": reason, "dry_run": dry_run}
    show_row(call("POST", f"{below_app(app)}/queues/{part(handler)}:purge", body, headers=headers), as_json)


@handlers.command("retention")
def show_retention(
    handler: str,
    app: App,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Such as done=30d or done-count=500, several times; NAME= takes it away.",
        ),
    ] = [],  # noqa: B006  typer copies it
    as_json: AsJson = False,
) -> None:
    """How long its ended tasks are kept; with --set, what is named is changed first."""
    path = f"{below_app(app)}/handlers/{part(handler)}/retention"
    if settings:
        show(call("PUT", path, read_retention(settings, "--set", OF_HANDLER)), as_json)
    else:
        show(call("GET", path), as_json)


@workers.command("list")
def list_workers(
    app: SomeApp = "",
    namespace: SomeNamespace = "",
    handler: Annotated[str, typer.Option("--handler", help="Only those that serve it.")] = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="Only those with this label, name=value.")
    ] = None,
    state: Annotated[WorkerState | None, typer.Option("--state", help="Only those in this state.")] = None,
    q: Annotated[str, typer.Option("--text", help="Only those with this text in name or host.")] = "",
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Count them by app, version, host, sdk, labels, state or label:NAME."),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = "",
    as_json: AsJson = False,
) -> None:
    """The connected workers, or how many there are by what they share."""
    asked: dict[str, Any] = {**in_scope(namespace, app), "handler": handler, "label": label, "q": q}
    asked["state"] = state
    if by:
        groups = [call("GET", "/workers", limit=1, group_by=one, **asked)["groups"] for one in by]
        rows = [{"by": group["by"], **row} for group in groups for row in group["counts"]]
        show({"items": rows, "next": None}, as_json, ("by", "value", "workers", "seats", "taken"), paged=True)
        if not as_json and not all(group["is_whole"] for group in groups):
            say("There are more.")
        return
    columns = (
        "namespace",
        "app",
        "session",
        "name",
        "host",
        "labels",
        "attributes",
        "handlers",
        "capacity",
        "taken",
        "state",
        "load",
        "gateway",
        "since_ms",
    )
    show(call("GET", "/workers", limit=limit, cursor=cursor, **asked), as_json, columns, paged=True)


@workers.command("drain")
def drain_worker(session: str, app: App, as_json: AsJson = False) -> None:
    """Give a worker nothing new; what it runs goes on."""
    show(call("POST", f"{below_app(app)}/workers/{part(session)}:drain"), as_json)


@workers.command("resume")
def resume_worker(session: str, app: App, as_json: AsJson = False) -> None:
    """Give a drained worker work again."""
    show(call("POST", f"{below_app(app)}/workers/{part(session)}:resume"), as_json)


@workers.command("disconnect")
def disconnect_worker(session: str, app: App) -> None:
    """End a worker's session: what it runs goes to others, and it may connect anew."""
    call("POST", f"{below_app(app)}/workers/{part(session)}:disconnect")
