"""``gojob events``: what did not go as planned."""

from typing import Annotated, Any

import typer

from gojob_redis.cli.calls import call
from gojob_redis.cli.options import AsJson, Cursor, Limit
from gojob_redis.runtime.terminal import show

COLUMNS = ("at_ms", "kind", "app", "handler", "task", "trigger", "about")


def list_events(
    app: Annotated[str, typer.Option("--app", "-a", help="namespace/app; all that the token covers, unless set.")] = "",
    kind: Annotated[list[str], typer.Option("--kind", help="Only this kind, such as lost; several times.")] = [],  # noqa: B006
    handler: Annotated[str, typer.Option("--handler", "-H", help="Only of handlers with this name.")] = "",
    task: Annotated[str, typer.Option("--task", help="Only of this task.")] = "",
    trigger: Annotated[str, typer.Option("--trigger", "-t", help="Only of this trigger: its name, or its uid.")] = "",
    since: Annotated[str, typer.Option("--from", metavar="MOMENT", help="From then on; RFC 3339 with an offset.")] = "",
    to: Annotated[str, typer.Option("--to", metavar="MOMENT", help="Before; RFC 3339 with an offset.")] = "",
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest first.")] = False,
    limit: Limit = 50,
    cursor: Cursor = "",
    as_json: AsJson = False,
) -> None:
    """What did not go as planned, newest first. docs/events.md says what each kind means."""
    namespace, slash, name = app.rpartition("/")
    query: dict[str, Any] = {
        "namespace": namespace if slash else "",
        "app": name,
        "handler": handler,
        "kind": kind,
        "task": task,
        "trigger": trigger,
        "from": since,
        "to": to,
        "order": "oldest" if oldest else "",
        "limit": limit,
        "cursor": cursor,
    }
    show(call("GET", "/events", **query), as_json, COLUMNS, paged=True)
