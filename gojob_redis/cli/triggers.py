"""``gojob triggers``: define, look at and run triggers."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from gojob_redis.cli.calls import Answered, as_command, below_app, call, part, parts_of
from gojob_redis.cli.options import (
    AllowUnknown,
    App,
    AsJson,
    At,
    Cron,
    Cursor,
    EndAt,
    EverySpan,
    Label,
    Limit,
    OnceKey,
    OwnKey,
    Params,
    Require,
    ShardParams,
    Shards,
    StartAt,
    Traceparent,
    Unique,
    Zone,
    read_file,
    read_json,
    read_pairs,
    schedule,
    with_policies,
    work,
)
from gojob_redis.domain.address import name_of
from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.policies import set_by
from gojob_redis.runtime.terminal import say, show

group = typer.Typer(name="triggers", help="Define, look at and run triggers.", no_args_is_help=True)

TRIES = 5
POLICIES = frozenset(policy.name for policy in set_by("trigger"))
SETTABLE = POLICIES | {
    *("handler", "schedule", "params", "labels", "require", "shards", "shard_params"),
    *("enabled", "description", "owner", "revision", "allow_unknown"),
}
"""The fields of a trigger that can be set."""


@group.command("list")
def list_triggers(
    app: Annotated[
        str, typer.Option("--app", "-a", envvar="GOJOB_APP", help="namespace/app, or app of namespace default.")
    ] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="All apps of a namespace.")] = "",
    handler: Annotated[str, typer.Option("--handler", "-H", help="Only triggers of this handler.")] = "",
    q: Annotated[str, typer.Option("--text", "-t", help="Only with this in name, handler, owner or schedule.")] = "",
    prefix: Annotated[str, typer.Option("--prefix", help="Only names that begin so.")] = "",
    state: Annotated[list[str], typer.Option("--state", help="Only in this state; several times.")] = [],  # noqa: B006
    owner: Annotated[str, typer.Option("--owner", help="Only of this owner.")] = "",
    never_fired: Annotated[
        bool | None, typer.Option("--never-fired/--has-fired", help="Whether a slot was ever decided.")
    ] = None,
    last: Annotated[
        Literal["run_to_completion", "faulted", "canceled"] | None,
        typer.Option("--last", help="How its last task ended."),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = "",
    as_json: AsJson = False,
) -> None:
    """Triggers of an app, of a namespace, or all; found by what they are."""
    where, app_name = (namespace, "") if namespace else parts_of(app)
    fired = None if never_fired is None else str(never_fired).lower()
    answer = call("GET", "/triggers", namespace=where, app=app_name, handler=handler, q=q, prefix=prefix, state=state,
        owner=owner, never_fired=fired, last=last, include=["next", "last"], limit=limit, cursor=cursor)  # fmt: skip
    if not as_json:
        for item in answer["items"]:
            item["app"] = f"{item['namespace']}/{item['app']}"
            item["next"] = item["next"]["local"] if item["next"] else ""
    show(answer, as_json, ("app", "name", "handler", "state", "owner", "last_slot_ms", "last", "next"), paged=True)


@group.command("removed")
def list_removed(app: App, limit: Limit = 100, cursor: Cursor = "", as_json: AsJson = False) -> None:
    """Triggers of an app that were deleted in the last 30 days; 'slots --uid' shows their ledgers."""
    answer = call("GET", f"{below_app(app)}/removed-triggers", limit=limit, cursor=cursor)
    show(answer, as_json, ("name", "uid", "removed_ms", "handler", "owner"), paged=True)


@group.command("show")
def show_trigger(name: str, app: App, as_json: AsJson = False) -> None:
    """One trigger, and when it fires next; 'set --file' takes what --json prints."""
    path = _path(app, name)
    show(_whole(path) if as_json else call("GET", path), as_json)


def _whole(path: str) -> dict[str, Any]:
    """A trigger with the values that the API left out because they are large."""
    trigger: dict[str, Any] = call("GET", path)
    for field in trigger["left_out"]:
        trigger[field] = call("GET", f"{path}/values/{part(field)}")
    return trigger | {"left_out": {}}


@group.command("set")
@with_policies("trigger")
def set_trigger(
    name: Annotated[str, typer.Argument(help="Its name; the one in --file, unless given.")] = "",
    app: Annotated[
        str, typer.Option("--app", "-a", envvar="GOJOB_APP", help="namespace/app, or app; the one in --file.")
    ] = "",
    handler: Annotated[str | None, typer.Option("--handler", "-H", help="A new trigger needs one.")] = None,
    cron: Cron = None,
    zone: Zone = None,
    every: EverySpan = None,
    at: At = None,
    manual: Annotated[bool, typer.Option("--manual", help="Fires by 'triggers run' only.")] = False,
    start_at: StartAt = None,
    end_at: EndAt = None,
    params: Params = None,
    label: Label = [],  # noqa: B006  typer copies it
    require: Require = None,
    shards: Shards = None,
    shard_params: ShardParams = None,
    enabled: Annotated[bool | None, typer.Option("--enabled/--disabled", help="Whether it fires.")] = None,
    description: Annotated[str | None, typer.Option("--description")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Who or what made it.")] = None,
    revision: Annotated[
        int | None, typer.Option("--revision", min=0, help="Only if it is at this revision; 0 = it must be new.")
    ] = None,
    allow_unknown: AllowUnknown = False,
    file: Annotated[str, typer.Option("--file", "-f", help="A definition as JSON: a file, or - .")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Set what is not said to its default.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; tell what it would.")] = False,
    as_json: AsJson = False,
    **policies: Any,
) -> None:
    """Define a trigger, new or changed; what is not said stays as it is."""
    document = _definition(read_json(read_file(file, "--file") if file else "{}", "--file"))
    name, app = name or document.get("name", ""), app or _app_of(document)
    if not name:
        raise BadRequest("no_name", "No trigger is named.", field="name", hint="Pass its name, or a --file with it.")
    path = _path(app, name)
    if document.get("name", name) != name or name_of(_app_of(document) or app) != name_of(app):
        document.pop("revision", None)  # it is that of the trigger it was copied from
    options = work((), params=params, require=require, shards=shards, shard_params=shard_params, enabled=enabled,
        description=description, owner=owner, revision=revision, handler=handler, **policies)  # fmt: skip
    check_whole(document, options)
    changes = settable(document) | options
    timing = {
        "cron": cron, "zone": zone, "every": every, "at": at, "manual": manual, "start_at": start_at, "end_at": end_at
    }  # fmt: skip
    for tried in range(TRIES):
        stored = {} if replace else _held(path)
        body = _merged(stored, changes, label, timing, allow_unknown=allow_unknown)
        if dry_run:
            _show_dry_run(call("PUT", path, body, dry_run="true"), as_json)
            return
        try:
            show(call("PUT", path, body), as_json)
        except Answered as error:
            if error.code in ("conflict", "exists") and "revision" not in changes and tried + 1 < TRIES:
                continue
            raise
        return


def _show_dry_run(answer: dict[str, Any], as_json: bool) -> None:
    """What a definition would change; ends with code 2 where something is wrong with it."""
    if as_json:
        show(answer, as_json)
    else:
        fires, minutes = answer["fires"] or {}, answer["crowd"]["minutes"]
        fields: dict[str, Any] = {change["pointer"]: _change(change) for change in answer["changes"]}
        fields |= {f"fires {word}": fires.get(f"{word}_count") for word in ("added", "removed", "moved")}
        fields["first fire"] = answer["next_times"][0]["local"] if answer["next_times"] else None
        fields["others due then"] = minutes[0]["in_app"] if minutes else None
        fields["workers now"] = answer["workers"]["workers"] if answer["workers"] else None
        show({**fields, "note": answer["note"]}, as_json)
        for error in answer["errors"]:
            say(f"{error['pointer'] or 'name'}: {error['detail']} {as_command(error['hint'])}")
    if answer["errors"]:
        raise typer.Exit(2)


def _change(change: Mapping[str, Any]) -> str:
    before, after = (json.dumps(change[which], ensure_ascii=False) for which in ("before", "after"))
    return after if change["before"] is None else f"{before} -> {after}"


def _definition(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise BadRequest("bad_file", "--file holds no JSON object.", field="--file", hint="See 'triggers show --json'.")
    return dict(document)


def check_whole(document: Mapping[str, Any], anew: Mapping[str, Any]) -> None:
    """Refuse a document that left out a value which no option gives anew."""
    for field in document.get("left_out") or ():
        if field not in anew:
            raise BadRequest(
                "left_out",
                f"The {field.replace('_', ' ')} are too large for that answer, so they are not in the file.",
                field=field,
                hint=f"Make the file with 'gojob triggers show --json', or pass --{field.replace('_', '-')} @FILE.",
            )


def settable(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields to send: those that can be set from an answer, all from a user's file, so that typos are refused."""
    answered = "uid" in document
    if answered:
        unset = POLICIES.difference(document.get("policies_set", POLICIES))
        document = {field: value for field, value in document.items() if field not in unset}
    return {field: value for field, value in document.items() if field in SETTABLE or not (answered or field in WHERE)}


WHERE = frozenset({"name", "namespace", "app"})
"""Which trigger a file is about."""


def _app_of(document: Mapping[str, Any]) -> str:
    return f"{document.get('namespace', 'default')}/{document['app']}" if document.get("app") else ""


def _held(path: str) -> dict[str, Any]:
    """The stored trigger as a body with its revision; the body of a new one if there is none."""
    try:
        stored = _whole(path)
    except Answered as error:
        if error.code != "unknown_trigger":
            raise
        return {"revision": 0}
    return settable(stored)


def _merged(
    stored: Mapping[str, Any],
    changes: Mapping[str, Any],
    label: list[str],
    timing: Mapping[str, Any],
    *,
    allow_unknown: bool,
) -> dict[str, Any]:
    """The body of the request: the changes, over what is stored."""
    body = {**stored, **changes}
    if "shards" in changes and "shard_params" not in changes:
        body.pop("shard_params", None)
    elif "shard_params" in changes and "shards" not in changes:
        body.pop("shards", None)
    if label:
        labels = {**body.get("labels", {}), **read_pairs(label)}
        body["labels"] = {key: value for key, value in labels.items() if value}
    body["schedule"] = schedule(body.get("schedule", {}), **timing) or body.get("schedule") or {"kind": "manual"}
    if "handler" not in body:
        raise BadRequest("no_handler", "A new trigger needs a handler.", field="--handler", hint="Pass --handler NAME.")
    if allow_unknown or body["handler"] == stored.get("handler"):
        body["allow_unknown"] = True
    return body


@group.command("rm")
def remove_trigger(name: str, app: App, as_json: AsJson = False) -> None:
    """Delete a trigger; its tasks go on. 'slots --uid' shows its ledger for 30 days."""
    uid = call("GET", _path(app, name))["uid"]
    call("DELETE", _path(app, name))
    show({"name": name, "uid": uid, "deleted": True}, as_json)


@group.command("run")
def run_trigger(
    name: str,
    app: App,
    params: Params = None,
    key: OwnKey = None,
    unique: Unique = None,
    traceparent: Traceparent = None,
    idempotency_key: OnceKey = "",
    as_json: AsJson = False,
) -> None:
    """Run its work once, now."""
    body = work([], params=params, key=key, unique=unique, traceparent=traceparent)
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
    show(call("POST", f"{_path(app, name)}/run", body or None, headers=headers), as_json)


@group.command("pause")
def pause_trigger(name: str, app: App, as_json: AsJson = False) -> None:
    """Fire no more until it is resumed."""
    show(call("POST", f"{_path(app, name)}/pause"), as_json)


@group.command("resume")
def resume_trigger(name: str, app: App, as_json: AsJson = False) -> None:
    """Fire again, from now on."""
    show(call("POST", f"{_path(app, name)}/resume"), as_json)


@group.command("slots")
def list_slots(
    app: App,
    name: Annotated[str, typer.Argument(help="Its name.")] = "",
    uid: Annotated[str, typer.Option(help="Its uid instead of its name: of one that was deleted.")] = "",
    limit: Limit = 20,
    cursor: Cursor = "",
    as_json: AsJson = False,
) -> None:
    """What became of each slot, newest first; of a deleted trigger for 30 days, by its uid."""
    if bool(name) == bool(uid):
        raise typer.BadParameter("Give either a name or --uid.")
    columns = ("word", "slot_ms", "late_ms", "task", "reason", "count")
    path = f"{_path(app, name)}/slots" if name else f"{below_app(app)}/slots"
    show(call("GET", path, uid=uid, limit=limit, cursor=cursor), as_json, columns, paged=True)


def preview(
    cron: Cron = None,
    zone: Zone = None,
    every: EverySpan = None,
    at: At = None,
    start_at: StartAt = None,
    end_at: EndAt = None,
    after: Annotated[str, typer.Option("--after", metavar="MOMENT", help="Times after this one instead of now.")] = "",
    as_json: AsJson = False,
) -> None:
    """When a schedule would fire: the next 10 times."""
    rule = schedule({}, cron=cron, zone=zone, every=every, at=at, start_at=start_at, end_at=end_at)
    if rule is None:
        raise BadRequest("bad_schedule", "No schedule is named.", field="--cron", hint="Pass --cron, --every or --at.")
    show(call("POST", "/schedules/preview", {"schedule": rule, **({"after": after} if after else {})}), as_json)


def _path(app: str, name: str) -> str:
    return f"{below_app(app)}/triggers/{part(name)}"
