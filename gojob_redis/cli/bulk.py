"""Jobs on many tasks or triggers: begin one, look, wait, pause, cancel."""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from gojob_redis.cli.calls import call, part
from gojob_redis.cli.options import AsJson, Cursor, OnceKey, read_file, read_pairs, read_span
from gojob_redis.cli.tasks import AWAY_S, EXIT_NOT_DONE, EXIT_TIMEOUT, Tell, Timeout, telling
from gojob_redis.domain.errors import BadRequest, Unavailable
from gojob_redis.domain.jobs import REASONS, Kind, Verb, kinds_of
from gojob_redis.runtime.terminal import say, show, visible_line

group = typer.Typer(name="bulk", help="Do one thing to many tasks; jobs and how far they are.", no_args_is_help=True)

COLUMNS = (
    "id",
    "namespace",
    "app",
    "kind",
    "verb",
    "state",
    "matched",
    "done",
    "skipped",
    "failed",
    "made_ms",
    "ended_ms",
)
OVER: Final = ("canceled", "done")
LOOK_S: Final = 0.5
"""How often a waiting command looks."""
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="All of one namespace.")]
App = Annotated[str, typer.Option("--app", "-a", help="One app: namespace/app, or app of the namespace.")]


@group.command("start")
def start_job(
    verb: Annotated[Verb, typer.Argument(help="What is done to each.")],
    ids: Annotated[list[str] | None, typer.Argument(help="Ids; left out: those that the options mean.")] = None,
    namespace: Namespace = "default",
    app: App = "",
    every: Annotated[bool, typer.Option("--all", help="All of them, where no option chooses some.")] = False,
    handler: Annotated[str, typer.Option("--handler", "-H", help="Only of this handler.")] = "",
    trigger: Annotated[str, typer.Option("--trigger", "-t", help="Only of this trigger.")] = "",
    state: Annotated[list[str], typer.Option("--state", "-s", help="Only in this state; several times.")] = [],  # noqa: B006
    why: Annotated[list[str], typer.Option("--why", help="Only those with this reason, such as timeout.")] = [],  # noqa: B006
    worker: Annotated[str, typer.Option("--worker", help="Only those a worker had last.")] = "",
    parent: Annotated[str, typer.Option("--parent", help="Only what was made of this task.")] = "",
    error: Annotated[str, typer.Option("--error", help="Only those with this fingerprint of 'failures'.")] = "",
    label: Annotated[list[str], typer.Option("--label", "-l", help="Only with this KEY=VALUE; several times.")] = [],  # noqa: B006
    since: Annotated[
        str, typer.Option("--from", metavar="MOMENT", help="Only what ended, or was made, from then on.")
    ] = "",
    until: Annotated[str, typer.Option("--to", metavar="MOMENT", help="Only what ended, or was made, before.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="Only triggers of this owner.")] = "",
    prefix: Annotated[str, typer.Option("--prefix", help="Only triggers whose names begin with it.")] = "",
    text: Annotated[str, typer.Option("--text", help="Only triggers with this in name, handler, owner or rule.")] = "",
    ids_file: Annotated[str, typer.Option("--ids", metavar="FILE", help="A file with an id a line, or - .")] = "",
    as_of: Annotated[str, typer.Option("--as-of", metavar="MOMENT", help="Nothing that came later.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Of a cancel: a few words, kept with each task.")] = "",
    kind: Annotated[Kind | None, typer.Option("--kind", help="Of a delete: tasks that are over, or triggers.")] = None,
    pinned: Annotated[bool, typer.Option("--pinned", help="Of a delete: also tasks that are kept.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, as 'bulk wait' does.")] = False,
    timeout: Timeout = None,
    idempotency_key: OnceKey = "",
    as_json: AsJson = False,
) -> None:
    """Do one thing to many tasks or triggers: those with the ids (of triggers namespace/app/name), or all that fit."""
    of_namespace, _, name = app.rpartition("/")
    conditions = {
        "handler": handler, "trigger": trigger, "state": state, "reason": why, "worker": worker, "parent": parent,
        "labels": read_pairs(label), "from": since, "to": until, "owner": owner, "prefix": prefix, "q": text,
    } | {"error": error}  # fmt: skip
    body: dict[str, Any] = {
        "verb": verb,
        "kind": _kind(verb, kind),
        "namespace": of_namespace or namespace,
        "app": name,
    }
    names = [*(ids or []), *(read_file(ids_file, "--ids").split() if ids_file else [])]
    body |= {"ids": names} if names else {"filter": {name: value for name, value in conditions.items() if value}}
    body |= {name: value for name, value in (("as_of", as_of), ("reason", reason), ("pinned", pinned)) if value}
    if not names and not every and not app and not body["filter"]:
        raise BadRequest(
            "bad_filter",
            f"Nothing chooses what to {verb}.",
            field="--all",
            hint="Pass ids, --app, another condition, or --all for the whole namespace.",
        )
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
    begun = call("POST", "/bulk", {**body, "dry_run": dry_run}, headers=headers)
    if wait and not dry_run:
        _wait(begun["id"], timeout, as_json)
    else:
        show_row(begun, as_json)


@group.command("list")
def list_jobs(
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only jobs of this namespace.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="Most lines.")] = 20,
    cursor: Cursor = "",
    as_json: AsJson = False,
) -> None:
    """Jobs, newest first."""
    show(call("GET", "/bulk", namespace=namespace, limit=limit, cursor=cursor), as_json, COLUMNS, paged=True)


@group.command("show")
def show_job(job: str, as_json: AsJson = False) -> None:
    """One job: what it did, skipped and failed to do, and why."""
    show_row(call("GET", f"/bulk/{part(job)}"), as_json)


@group.command("wait")
def wait_for_job(job: str, timeout: Timeout = None, as_json: AsJson = False) -> None:
    """Wait for the end of a job: exit 1 when it was canceled or something failed, 5 when --timeout ran out."""
    _wait(job, timeout, as_json)


@group.command("pause")
def pause_job(job: str, as_json: AsJson = False) -> None:
    """Do nothing more until it is resumed."""
    show_row(call("POST", f"/bulk/{part(job)}:pause"), as_json)


@group.command("resume")
def resume_job(job: str, as_json: AsJson = False) -> None:
    """Go on where it was paused."""
    show_row(call("POST", f"/bulk/{part(job)}:resume"), as_json)


@group.command("cancel")
def cancel_job(job: str, as_json: AsJson = False) -> None:
    """Do nothing more, for good; what it did stays."""
    show_row(call("POST", f"/bulk/{part(job)}:cancel"), as_json)


def _kind(verb: Verb, kind: Kind | None) -> Kind:
    """What a job is on; raises BadRequest ``bad_verb`` where the verb alone does not say it."""
    kinds = kinds_of(verb)
    if kind is None and len(kinds) > 1:
        raise BadRequest(
            "bad_verb",
            f"A {verb} can be of tasks or of triggers.",
            field="--kind",
            hint="Pass --kind tasks or triggers.",
        )
    return kind or kinds[0]


def show_row(row: Mapping[str, Any], as_json: bool) -> None:
    """A job as fields, and what it could not do, in sentences."""
    if as_json:
        show(row, as_json)
        return
    if "text" in row:
        show({"matched": row["text"]}, as_json)
        return
    lists = {"reasons", "samples", "partitions", "filter"} | (set() if row["ids"] else {"ids"})
    conditions = {name: value for name, value in row.get("filter", {}).items() if value not in (None, "", [], {})}
    show({**{name: value for name, value in row.items() if name not in lists}, "filter": conditions}, as_json)
    for each in row.get("reasons", []):
        names = [sample["id"] for sample in row["samples"] if sample["reason"] == each["reason"]]
        say(
            visible_line(
                f"{each['count']} {each['outcome']}, {REASONS[each['reason']]}; such as {', '.join(names[:3])}"
            )
        )


def _wait(job: str, timeout: str | None, as_json: bool) -> None:
    ends = None if timeout is None else time.monotonic() + read_span(timeout, "--timeout") / 1000
    with telling(quiet=as_json) as tell:
        row = _follow(job, ends, tell)
    show_row(row, as_json)
    if row["state"] not in OVER:
        say(f"gojob: Job {job} is not over yet; it goes on. Wait again with 'gojob bulk wait {job}'.")
        raise typer.Exit(EXIT_TIMEOUT)
    if row["state"] == "canceled" or row["failed"]:
        raise typer.Exit(EXIT_NOT_DONE)


def _follow(job: str, ends: float | None, tell: Tell) -> Any:
    """The job when it is over, or as it is when the time is up."""
    heard_at = time.monotonic()
    while True:
        try:
            row = call("GET", f"/bulk/{part(job)}")
        except Unavailable as error:
            if time.monotonic() - heard_at > AWAY_S:
                raise
            tell(f"{error.message} Trying again.")
        else:
            heard_at = time.monotonic()
            if row["ended_ms"] or (ends is not None and heard_at >= ends):
                return row
            tell(f"{row['state']}: {row['done']} done, {row['skipped']} skipped, {row['failed']} failed")
        time.sleep(LOOK_S if ends is None else max(0.0, min(LOOK_S, ends - time.monotonic())))
