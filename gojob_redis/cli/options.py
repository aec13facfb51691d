"""Options that several commands share, and how their values are read.

An option that was not given is None and is not sent: the API's default stays, or the value that a trigger has already.
An empty text clears a field.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gojob_redis.domain import policies
from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.policies import BY_FIELD, Policy, set_by

Command = Callable[..., None]
ONLY = Parameter.KEYWORD_ONLY

App = Annotated[
    str, typer.Option("--app", "-a", envvar="GOJOB_APP", help="namespace/app, or app of namespace default.")
]
SomeApp = Annotated[
    str, typer.Option("--app", "-a", envvar="GOJOB_APP", help="namespace/app; all that the token covers, unless set.")
]
SomeNamespace = Annotated[str, typer.Option("--namespace", "-n", help="Of all apps of this namespace.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's answer.")]
Cursor = Annotated[str, typer.Option("--cursor", help="Where the page before ended.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="Most lines.")]
OnceKey = Annotated[
    str, typer.Option("--idempotency-key", help="Idempotency-Key: the same key within 24 h is the same task.")
]
OwnKey = Annotated[str | None, typer.Option("--key", help="What you find it by, such as order-4711.")]
Traceparent = Annotated[
    str | None, typer.Option("--traceparent", help="The trace that it belongs to (W3C Trace Context).")
]
Unique = Annotated[
    bool | None, typer.Option("--unique", help="Refused while another task of the app with this key is not over.")
]

Params = Annotated[str | None, typer.Option("--params", "-p", help="JSON, @FILE, or @- for standard input.")]
Label = Annotated[list[str], typer.Option("--label", "-l", help="KEY=VALUE, several times; KEY= takes it away.")]
Require = Annotated[
    str | None, typer.Option("--require", help="One attribute that the worker has to offer, such as host=db7.")
]
Shards = Annotated[int | None, typer.Option("--shards", min=1, help="Number of shards.")]
ShardParams = Annotated[
    str | None, typer.Option("--shard-params", help="JSON list with one value per shard, or @FILE.")
]
AllowUnknown = Annotated[bool, typer.Option("--allow-unknown", help="Also for a handler that no worker announced yet.")]

Cron = Annotated[str | None, typer.Option("--cron", help="5 fields, or 6 with seconds first.")]
Zone = Annotated[str | None, typer.Option("--zone", help="IANA time zone of the cron spec; UTC unless set.")]
EverySpan = Annotated[str | None, typer.Option("--every", metavar="SPAN", help="Such as 90s, 5m, 2h.")]
At = Annotated[str | None, typer.Option("--at", metavar="MOMENT", help="RFC 3339 with an offset: fire once.")]
StartAt = Annotated[str | None, typer.Option("--start-at", metavar="MOMENT", help="First moment; '' takes it away.")]
EndAt = Annotated[str | None, typer.Option("--end-at", metavar="MOMENT", help="Last moment; '' takes it away.")]


def _option(policy: Policy) -> Any:
    """The option that sets a policy."""
    about = f"{policy.about[0].upper()}{policy.about[1:]}."
    if policy.kind == "word":
        return Annotated[Literal[policy.words] | None, typer.Option(policy.flag, help=about)]
    if policy.kind == "ms":
        return Annotated[str | None, typer.Option(policy.flag, metavar="SPAN", help=about)]
    kind: Any = policy.type
    return Annotated[kind | None, typer.Option(policy.flag, min=policy.low, max=policy.high, help=about)]


def with_policies(setter: policies.Setter) -> Callable[[Command], Command]:
    """Gives a command an option for each policy, between its own; it gets them as ``**policies``."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def called(**options: Any) -> None:
            command(**options)

        options = [Parameter(each.field, ONLY, default=None, annotation=_option(each)) for each in set_by(setter)]
        own = [each.replace(kind=ONLY) for each in signature(command, eval_str=True).parameters.values()]
        called.__signature__ = Signature([*own[:-2], *options, own[-2]])  # type: ignore[attr-defined]
        return called

    return decorate


def work(label: Sequence[str], **options: Any) -> dict[str, Any]:
    """The fields of a body from options: JSON is parsed, spans become milliseconds, absent options are left out."""
    body: dict[str, Any] = {"labels": read_pairs(label)} if label else {}
    for name, value in options.items():
        if value is None:
            continue
        if name in ("params", "shard_params"):
            body[name] = read_json(value, f"--{name.replace('_', '-')}")
        elif name in BY_FIELD and BY_FIELD[name].kind == "ms":
            body[BY_FIELD[name].name] = read_span(value, BY_FIELD[name].flag)
        else:
            body[name] = value
    return body


def schedule(
    stored: Mapping[str, Any],
    *,
    cron: str | None = None,
    zone: str | None = None,
    every: str | None = None,
    at: str | None = None,
    manual: bool = False,
    start_at: str | None = None,
    end_at: str | None = None,
) -> dict[str, Any] | None:
    """The stored schedule as the options change it; None if no option concerns it."""
    kinds = {"--cron": cron, "--every": every, "--at": at, "--manual": manual or None}
    given = [name for name, value in kinds.items() if value is not None]
    if len(given) > 1:
        raise BadRequest("bad_schedule", f"{' and '.join(given)} exclude each other.", field=given[1], hint="Keep one.")
    if not given and zone is None and start_at is None and end_at is None:
        return None
    changed = _of_kind(stored, cron, zone, every, at, manual)
    if zone is not None and changed.get("kind") != "cron":
        raise BadRequest(
            "bad_schedule", "--zone belongs to --cron.", field="--zone", hint="Add --cron, or leave it out."
        )
    window = {"start_at": start_at, "end_at": end_at}
    if any(window.values()) and changed.get("kind") not in ("cron", "every"):
        raise BadRequest(
            "bad_schedule",
            "--start-at and --end-at belong to --cron and --every.",
            field="--start-at",
            hint="Add one of these.",
        )
    for name, value in window.items():
        if value is not None:
            changed.pop(name, None)
            changed |= {name: value} if value else {}
    return changed


def _of_kind(
    stored: Mapping[str, Any], cron: str | None, zone: str | None, every: str | None, at: str | None, manual: bool
) -> dict[str, Any]:
    """The stored schedule, or one of another kind within the same window."""
    window = {name: stored[name] for name in ("start_at", "end_at") if name in stored}
    if cron is not None:
        return {"kind": "cron", "spec": cron, "time_zone": zone or stored.get("time_zone", "UTC"), **window}
    if every is not None:
        anchor = {name: stored[name] for name in ("anchor_at",) if name in stored}
        return {"kind": "every", "every_ms": read_span(every, "--every"), **anchor, **window}
    if at is not None:
        return {"kind": "once", "at": at}
    if manual:
        return {"kind": "manual"}
    return {**stored, "time_zone": zone} if zone is not None and stored.get("kind") == "cron" else dict(stored)


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_json(text: str, option: str = "--params") -> Any:
    """JSON of an option, or of the file it names after an @; @- is standard input."""
    if text.startswith("@"):
        text = read_file(text[1:], option)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(
            "bad_json",
            f"{option} is not JSON: {error}.",
            field=option,
            hint="Name a file of JSON, or - ." if option == "--file" else "Put single quotes around it, or use @FILE.",
        ) from None


def in_scope(namespace: str, app: str) -> dict[str, str]:
    """The query of a list across apps: of one namespace, of one app, or of all; a namespace goes before GOJOB_APP."""
    of_app, slash, name = app.rpartition("/")
    if namespace and app == os.environ.get("GOJOB_APP"):
        return {"namespace": namespace}
    if namespace and slash and of_app != namespace:
        raise BadRequest(
            "bad_app",
            f"--app {app!r} is not in namespace {namespace!r}.",
            field="--app",
            hint="Leave out --namespace, or the namespace before the app.",
        )
    return {"namespace": of_app or namespace, "app": name}


def read_file(name: str, option: str) -> str:
    """What a file holds, or standard input for -."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except (OSError, ValueError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadRequest(
            "bad_file", f"{option}: {name!r} cannot be read: {why}.", field=option, hint="Name a file of JSON, or - ."
        ) from None


def read_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` options as a mapping; a value may be empty."""
    labels: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise BadRequest(
                "bad_label", f"--label {pair!r} is no pair.", field="--label", hint="Write it as env=gray."
            )
        labels[key] = value
    return labels


UNITS = (("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000))


def read_span(text: str, option: str = "--every") -> int:
    """Milliseconds of ``90s``, ``5m``, ``2h``, ``1d``, ``250ms`` or ``0``."""
    if text == "0":
        return 0
    for unit, size in UNITS:
        number = text.removesuffix(unit)
        if number != text and number.isascii() and number.replace(".", "", 1).isdecimal() and len(number) < 16:
            return round(float(number) * size)
    raise BadRequest(
        "bad_span", f"{option} {text!r} is no length of time.", field=option, hint="Write 250ms, 90s, 5m, 2h or 1d."
    )


def read_retention(options: Sequence[str], flag: str, names: Sequence[str]) -> dict[str, int | None]:
    """Settings of a retention by their names in the API: ``done=30d`` is ``done_ms``; nothing after = takes it away."""
    values: dict[str, int | None] = {}
    for option in options:
        word, sign, value = option.partition("=")
        name = word.replace("-", "_")
        name = name if name in names else f"{name}_ms"
        if not sign or name not in names:
            names_here = ", ".join(each.removesuffix("_ms").replace("_", "-") for each in names)
            raise BadRequest(
                "bad_setting", f"{option!r} sets nothing.", field=flag, hint=f"Use NAME=VALUE of {names_here}."
            )
        if not value:
            values[name] = None
        elif name.endswith("_ms") and not value.isdigit():
            values[name] = read_span(value, flag)
        elif value.isdecimal() and len(value) <= 15:
            values[name] = int(value)
        else:
            raise BadRequest(
                "bad_setting", f"{option!r} has no number.", field=flag, hint="Write it as done-count=500."
            )
    return values
