"""``gojob events``: what did not go as planned."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gojob_redis.cli import calls
from gojob_redis.cli.calls import call
from gojob_redis.cli.options import AsJson, Cursor, Limit, SomeApp, SomeNamespace, in_scope
from gojob_redis.runtime.terminal import say, show, show_line

COLUMNS = ("at_ms", "kind", "app", "handler", "task", "trigger", "about")


def list_events(
    app: SomeApp = "",
    namespace: SomeNamespace = "",
    kind: Annotated[list[str], typer.Option("--kind", help="Only this kind, such as lost; several times.")] = [],  # noqa: B006
    handler: Annotated[str, typer.Option("--handler", "-H", help="Only of handlers with this name.")] = "",
    task: Annotated[str, typer.Option("--task", help="Only of this task.")] = "",
    trigger: Annotated[str, typer.Option("--trigger", "-t", help="Only of this trigger: its name, or its uid.")] = "",
    since: Annotated[str, typer.Option("--from", metavar="MOMENT", help="From then on; RFC 3339 with an offset.")] = "",
    to: Annotated[str, typer.Option("--to", metavar="MOMENT", help="Before; RFC 3339 with an offset.")] = "",
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest first.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    limit: Limit = 50,
    cursor: Cursor = "",
    as_json: AsJson = False,
) -> None:
    """What did not go as planned, newest first. docs/events.md says what each kind means."""
    query: dict[str, Any] = {
        **in_scope(namespace, app),
        "handler": handler,
        "kind": kind,
        "task": task,
        "trigger": trigger,
        "from": since,
        "to": to,
        "order": "oldest" if oldest else "",
        "limit": limit,
        "cursor": cursor,
        "live": "true" if follow else "",
    }
    page = call("GET", "/events", **query)
    if not follow:
        show(page, as_json, COLUMNS, paged=True)
        return
    for event in page["items"] if oldest else reversed(page["items"]):
        show_line(event, as_json, COLUMNS)
    chosen = {"handler": handler, "task": task, "trigger": trigger}
    for message_kind, message in calls.follow([_topic(query)], page["live"]):
        if message_kind == "resync":
            say("gojob: Too much happened to tell all of it; 'gojob events' lists it.")
        for event in message.get("items", ()):
            if (not kind or event["kind"] in kind) and _is_chosen(event, chosen):
                show_line(event, as_json, COLUMNS)


def _topic(query: Mapping[str, Any]) -> str:
    """What the stream tells of them: those of an app, of a namespace, or all."""
    namespace, app = query.get("namespace"), query.get("app")
    where = f"{namespace or 'default'}/{app}" if app else namespace
    return f"events:{where}" if where else "events"


def _is_chosen(event: Mapping[str, Any], chosen: Mapping[str, str]) -> bool:
    """Whether the API would list it: the stream knows apps only."""
    handler, trigger = chosen["handler"], chosen["trigger"]
    return (
        (not handler or event["handler"].rpartition("/")[2] == handler)
        and chosen["task"] in ("", event["task"])
        and (not trigger or trigger in (event["trigger"], event["about"].get("uid")))
    )
