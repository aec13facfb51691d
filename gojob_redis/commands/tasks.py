"""Commands on the HTTP API: GOJOB_URL says where, GOJOB_TOKEN who.

Every command prints a table for people, or with ``--json`` what the API answered.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gojob_redis import limits
from gojob_redis.errors import BadRequest, GojobError, Unavailable

DEFAULT_URL = f"http://127.0.0.1:{limits.HTTP_PORT}"
REQUEST_S = 30.0
LONGEST_WAIT_S = 30

App = Annotated[
    str, typer.Option("--app", "-a", envvar="GOJOB_APP", help="namespace/app, or app of namespace default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's answer.")]
Params = Annotated[str, typer.Option("--params", "-p", help="JSON, or @FILE.")]
Labels = Annotated[list[str], typer.Option("--label", "-l", help="KEY=VALUE, several times.")]

triggers = typer.Typer(name="triggers", help="Define, look at and run triggers.", no_args_is_help=True)
tasks = typer.Typer(name="tasks", help="Submit tasks, look at them, wait, cancel.", no_args_is_help=True)
handlers = typer.Typer(name="handlers", help="What waits for each handler; pause and resume.", no_args_is_help=True)
tokens = typer.Typer(name="token", help="Make, list and revoke tokens.", no_args_is_help=True)
namespaces = typer.Typer(name="namespaces", help="Make and list namespaces.", no_args_is_help=True)


# ---- the API ---------------------------------------------------------------------------------------------------------


class Answered(GojobError):
    """The API refused."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        detail = str(problem.get("detail", f"The API answered {status}."))
        super().__init__(str(problem.get("code", "refused")), detail, hint=str(problem.get("hint", "")))
        self.status = status


def call(method: str, path: str, body: Any = None, *, wait_s: float = 0, **query: Any) -> Any:
    """Ask the API; raises Answered, Unavailable."""
    import httpx2

    url, token = os.environ.get("GOJOB_URL", DEFAULT_URL).rstrip("/"), os.environ.get("GOJOB_TOKEN", "")
    if not token:
        raise BadRequest(
            "no_token", "GOJOB_TOKEN is not set.", field="GOJOB_TOKEN", hint="'gojob dev' prints a token; export it."
        )
    wanted = {name: value for name, value in query.items() if value not in (None, "", [])}
    try:
        answer = httpx2.request(
            method,
            f"{url}/v1{path}",
            json=body,
            params=wanted,
            headers={"Authorization": f"Bearer {token}"},
            timeout=REQUEST_S + wait_s,
        )
    except httpx2.HTTPError as error:
        raise Unavailable(f"{url} does not answer: {error}.", 1.0, hint="Is it running? Set GOJOB_URL.") from None
    found = answer.json() if answer.content else {}
    if answer.status_code >= 400:
        raise Answered(answer.status_code, found if isinstance(found, dict) else {})
    return found


def below_app(app: str) -> str:
    """The path of ``namespace/app``."""
    namespace, slash, name = app.rpartition("/")
    if not name:
        raise BadRequest("bad_app", "No app is named.", field="--app", hint="Pass --app NAME or set GOJOB_APP.")
    return f"/apps/{namespace if slash else 'default'}/{name}"


def show(answer: Any, as_json: bool, columns: Sequence[str] = (), *, paged: bool = False) -> None:
    """Print an answer: a page as a table of these columns, anything else as fields.

    paged: the command takes the cursor of the next page.
    """
    from rich.console import Console
    from rich.table import Table

    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    if isinstance(answer, dict) and isinstance(answer.get("items"), list):
        for column in columns:
            table.add_column(column.removesuffix("_ms"), no_wrap=column in ("id", "task", "key_id"))
        for item in answer["items"]:
            table.add_row(*(_text(item.get(column), column) for column in columns))
        console.print(table)
        if answer.get("next") and paged:
            console.print(f"More: --cursor {answer['next']}")
        return
    table.show_header = False
    for name, value in answer.items():
        if value not in (None, "", [], {}):
            table.add_row(name, _text(value, name))
    console.print(table)


def _text(value: Any, name: str = "") -> str:
    from datetime import datetime

    from rich.markup import escape

    if value is None:
        return ""
    if name.endswith("_ms") and name not in DURATIONS and isinstance(value, int) and value > 10**11:
        return datetime.fromtimestamp(value / 1000).astimezone().isoformat(" ", "seconds")
    if name == "next_times":
        return "\n".join(escape(each["local"]) for each in value)
    return escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


DURATIONS = frozenset({"retry_interval_ms", "run_limit_ms", "queue_limit_ms", "misfire_after_ms", "oldest_ms"})


def read_json(text: str, option: str = "--params") -> Any:
    """JSON of an option, or of the file it names after an @; - is standard input."""
    if text.startswith("@"):
        text = sys.stdin.read() if text == "@-" else Path(text[1:]).read_text("utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRequest("bad_json", f"{option} is not JSON: {error}.", field=option, hint="Quote it once.") from None


def read_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` options as a mapping."""
    return dict(pair.partition("=")[::2] for pair in pairs)


def read_schedule(cron: str, zone: str, every: str, at: str) -> dict[str, Any]:
    """The schedule that the options describe; manual when there is none."""
    given = [name for name, value in (("--cron", cron), ("--every", every), ("--at", at)) if value]
    if len(given) > 1:
        raise BadRequest("bad_schedule", f"{' and '.join(given)} exclude each other.", field=given[1], hint="Keep one.")
    if cron:
        return {"kind": "cron", "spec": cron, "time_zone": zone}
    if every:
        return {"kind": "every", "every_ms": read_span(every)}
    return {"kind": "once", "at": at} if at else {"kind": "manual"}


def read_span(text: str) -> int:
    """Milliseconds of ``90s``, ``5m``, ``2h``, ``1d`` or ``250ms``."""
    for unit, size in (("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)):
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdecimal():
            return round(float(number) * size)
    raise BadRequest(
        "bad_span", f"{text!r} is no length of time.", field="time", hint="Write 250ms, 90s, 5m, 2h or 1d."
    )


Cron = Annotated[str, typer.Option("--cron", help="5 or 6 fields.")]
Zone = Annotated[str, typer.Option("--zone", help="IANA time zone of the cron spec.")]
EverySpan = Annotated[str, typer.Option("--every", help="Such as 90s, 5m, 2h.")]
At = Annotated[str, typer.Option("--at", help="RFC 3339 with an offset.")]


# ---- triggers --------------------------------------------------------------------------------------------------------


@triggers.command("list")
def list_triggers(app: App, cursor: str = "", as_json: AsJson = False) -> None:
    """The triggers of an app."""
    columns = ("name", "handler", "enabled", "paused", "revision", "last_slot_ms", "next_times")
    answer = call("GET", f"{below_app(app)}/triggers", cursor=cursor)
    if not as_json:
        for item in answer["items"]:
            item["next_times"] = item["next_times"][:1]
    show(answer, as_json, columns, paged=True)


@triggers.command("show")
def show_trigger(name: str, app: App, as_json: AsJson = False) -> None:
    """One trigger, and when it fires next."""
    show(call("GET", f"{below_app(app)}/triggers/{name}"), as_json)


@triggers.command("set")
def set_trigger(
    name: str,
    app: App,
    handler: Annotated[str, typer.Option("--handler", "-H")] = "",
    cron: Cron = "",
    zone: Zone = "UTC",
    every: EverySpan = "",
    at: At = "",
    params: Params = "null",
    label: Labels = [],  # noqa: B006  typer copies it
    retries: int = 0,
    shards: int = 1,
    overlap: str = "skip",
    disabled: bool = False,
    allow_unknown: bool = False,
    file: Annotated[str, typer.Option("--file", "-f", help="The whole definition as JSON: a file, or - .")] = "",
    as_json: AsJson = False,
) -> None:
    """Define a trigger, new or changed."""
    body = {
        "handler": handler,
        "schedule": read_schedule(cron, zone, every, at),
        "params": read_json(params),
        "labels": read_pairs(label),
        "retries": retries,
        "shards": shards,
        "overlap": overlap,
        "enabled": not disabled,
        "allow_unknown": allow_unknown,
    }
    if file:
        body = read_json(f"@{file}", "--file")
    show(call("PUT", f"{below_app(app)}/triggers/{name}", body), as_json)


@triggers.command("rm")
def remove_trigger(name: str, app: App) -> None:
    """Delete a trigger; its tasks go on."""
    call("DELETE", f"{below_app(app)}/triggers/{name}")


@triggers.command("run")
def run_trigger(name: str, app: App, params: Params = "", as_json: AsJson = False) -> None:
    """Run its work once, now."""
    body = {"params": read_json(params)} if params else None
    show(call("POST", f"{below_app(app)}/triggers/{name}/run", body), as_json)


@triggers.command("pause")
def pause_trigger(name: str, app: App, as_json: AsJson = False) -> None:
    """Fire no more until it is resumed."""
    show(call("POST", f"{below_app(app)}/triggers/{name}/pause"), as_json)


@triggers.command("resume")
def resume_trigger(name: str, app: App, as_json: AsJson = False) -> None:
    """Fire again, from now on."""
    show(call("POST", f"{below_app(app)}/triggers/{name}/resume"), as_json)


@triggers.command("slots")
def list_slots(name: str, app: App, limit: int = 20, cursor: str = "", as_json: AsJson = False) -> None:
    """What became of each slot, newest first."""
    columns = ("word", "slot_ms", "late_ms", "task", "reason", "count")
    show(
        call("GET", f"{below_app(app)}/triggers/{name}/slots", limit=limit, cursor=cursor), as_json, columns, paged=True
    )


def preview(cron: Cron = "", zone: Zone = "UTC", every: EverySpan = "", at: At = "", as_json: AsJson = False) -> None:
    """When a schedule would fire: the next 10 times."""
    show(call("POST", "/schedules/preview", {"schedule": read_schedule(cron, zone, every, at)}), as_json)


# ---- tasks -----------------------------------------------------------------------------------------------------------

ROW = ("id", "handler", "state", "reason", "worker", "made_ms", "started_ms", "ended_ms")


@tasks.command("submit")
def submit_task(
    handler: str,
    app: App,
    params: Params = "null",
    label: Labels = [],  # noqa: B006  typer copies it
    delay: Annotated[str, typer.Option(help="Such as 90s.")] = "",
    require: str = "",
    priority: int = 5,
    shards: int = 1,
    retries: int = 0,
    allow_unknown: bool = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit one task."""
    body = {
        "params": read_json(params),
        "labels": read_pairs(label),
        "require": require,
        "priority": priority,
        "shards": shards,
        "retries": retries,
        "allow_unknown": allow_unknown,
        **({"delay_ms": read_span(delay)} if delay else {}),
    }
    made = call("POST", f"{below_app(app)}/handlers/{handler}/tasks", body)
    show(_wait(made["id"]) if wait else made, as_json)


@tasks.command("show")
def show_task(task: str, as_json: AsJson = False) -> None:
    """One task, and why it is not running."""
    show(call("GET", f"/tasks/{task}"), as_json)


@tasks.command("wait")
def wait_for_task(task: str, as_json: AsJson = False) -> None:
    """Wait for the end of a task; exit 1 when it did not run to completion."""
    found = _wait(task)
    show(found, as_json)
    if found["state"] != "run_to_completion":
        raise typer.Exit(1)


def _wait(task: str) -> Any:
    while True:
        found = call("GET", f"/tasks/{task}", wait=f"{LONGEST_WAIT_S}s", wait_s=LONGEST_WAIT_S)
        if found["state"] in ("run_to_completion", "faulted", "canceled"):
            return found


@tasks.command("cancel")
def cancel_task(task: str, as_json: AsJson = False) -> None:
    """Cancel a task: what waits ends now, what runs is told."""
    show(call("POST", f"/tasks/{task}/cancel", {}), as_json)


@tasks.command("again")
def run_again(task: str, as_json: AsJson = False) -> None:
    """The same work as a new task."""
    show(call("POST", f"/tasks/{task}/again"), as_json)


@tasks.command("list")
def list_tasks(
    app: App,
    handler: str = "",
    trigger: str = "",
    state: Annotated[list[str], typer.Option(help="Several times for several states.")] = [],  # noqa: B006
    limit: int = 50,
    cursor: str = "",
    as_json: AsJson = False,
) -> None:
    """Tasks of a handler or of a trigger; those that are not over, unless a state is named."""
    path = f"{below_app(app)}/tasks"
    query: dict[str, Any] = {"handler": handler, "trigger": trigger, "state": state, "limit": limit, "cursor": cursor}
    show(call("GET", path, **query), as_json, ROW, paged=True)


@tasks.command("log")
def show_log(task: str, shard: int = 0, as_json: AsJson = False) -> None:
    """What a run logged."""
    show(call("GET", f"/tasks/{task}/log", shard=shard), as_json, ("at_ms", "level", "attempt", "text"))


@tasks.command("runs")
def list_runs(task: str, as_json: AsJson = False) -> None:
    """The runs of a task, one per shard."""
    columns = ("shard", "state", "reason", "attempt", "worker", "started_ms", "ended_ms", "result")
    show(call("GET", f"/tasks/{task}/runs"), as_json, columns)


# ---- handlers, workers, namespaces -----------------------------------------------------------------------------------


@handlers.command("list")
def list_handlers(app: App, as_json: AsJson = False) -> None:
    """The known handlers of an app, and what waits for each."""
    columns = ("handler", "depth", "oldest_ms", "workers", "seats", "free_seats", "paused_ms")
    show(call("GET", f"{below_app(app)}/handlers"), as_json, columns)


@handlers.command("pause")
def pause_handler(handler: str, app: App, as_json: AsJson = False) -> None:
    """Give none of its tasks to workers."""
    show(call("POST", f"{below_app(app)}/handlers/{handler}/pause"), as_json)


@handlers.command("resume")
def resume_handler(handler: str, app: App, as_json: AsJson = False) -> None:
    """Give its tasks to workers again."""
    show(call("POST", f"{below_app(app)}/handlers/{handler}/resume"), as_json)


def list_workers(app: App, as_json: AsJson = False) -> None:
    """The connected workers of an app."""
    columns = ("name", "host", "labels", "attributes", "handlers", "capacity", "taken", "state", "gateway", "since_ms")
    show(call("GET", f"{below_app(app)}/workers"), as_json, columns)


def list_events(
    app: Annotated[str, typer.Option("--app", "-a", help="namespace/app; all that the token covers, unless set.")] = "",
    kind: Annotated[str, typer.Option(help="Only this kind, such as lost, overdue, mended.")] = "",
    limit: int = 50,
    cursor: str = "",
    as_json: AsJson = False,
) -> None:
    """What was not the plain course of things, newest first."""
    namespace, slash, name = app.rpartition("/")
    query: dict[str, Any] = {
        "namespace": namespace if slash else "",
        "app": name,
        "kind": kind,
        "limit": limit,
        "cursor": cursor,
    }
    show(call("GET", "/events", **query), as_json, ("at_ms", "kind", "app", "about"), paged=True)


@namespaces.command("list")
def list_namespaces(as_json: AsJson = False) -> None:
    """The namespaces that the token covers."""
    show(call("GET", "/namespaces"), as_json, ("name", "description", "made_ms"))


@namespaces.command("set")
def set_namespace(name: str, description: str = "", as_json: AsJson = False) -> None:
    """Make a namespace, or change its description."""
    show(call("PUT", f"/namespaces/{name}", {"description": description}), as_json)


# ---- tokens ----------------------------------------------------------------------------------------------------------


@tokens.command("create")
def create_token(
    kind: Annotated[str, typer.Argument(help="admin, api or worker")],
    name: str = "",
    scope: Annotated[list[str], typer.Option(help="*, NAMESPACE or NAMESPACE/APP, several times.")] = ["*"],  # noqa: B006
    redis: Annotated[
        str, typer.Option("--redis", help="Make it in this engine, without the API: when no admin token is left.")
    ] = "",
    redis_mode: Annotated[
        str, typer.Option("--redis-mode", envvar="GOJOB_REDIS__MODE", help="standalone, cluster or sentinel.")
    ] = "standalone",
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown this once."""
    if redis:
        import asyncio

        show(asyncio.run(_create_in(redis, redis_mode, kind, name, scope)), as_json)
        return
    show(call("POST", "/tokens", {"kind": kind, "name": name, "scope": scope}), as_json)


async def _create_in(url: str, mode: str, kind: str, name: str, scope: Sequence[str]) -> dict[str, Any]:
    from gojob_redis import config, control
    from gojob_redis.partitions import Partitions
    from gojob_redis.redis_client import connected

    if kind not in control.PERMISSIONS:
        raise BadRequest("bad_kind", f"{kind!r} is no kind of token.", field="kind", hint="Use admin, api or worker.")
    settings = config.overridden(config.Settings(), {"url": url, "mode": mode})
    async with connected(url, mode=settings.redis.mode) as clients:
        issued = await control.create_token(Partitions(clients, limits.PARTITIONS), kind, name=name, scope=scope)
    return {"key_id": issued.facts.key_id, "kind": kind, "scope": list(issued.facts.scope), "token": issued.token}


@tokens.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """All tokens, without what makes them usable."""
    show(call("GET", "/tokens"), as_json, ("key_id", "kind", "name", "scope", "made_ms", "expires_ms"))


@tokens.command("revoke")
def revoke_token(key_id: str) -> None:
    """Revoke a token; its sockets are closed within 10 s."""
    call("DELETE", f"/tokens/{key_id}")
