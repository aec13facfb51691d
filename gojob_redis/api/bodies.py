"""What callers send, and what becomes of it: pydantic at the border, plain values inside."""

import math
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgpack
from pydantic import BaseModel, ConfigDict, FailFast, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from gojob_redis.api.schedules import Moment, ScheduleBody
from gojob_redis.domain import limits, names, policies, quotas
from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.jobs import Kind, Verb
from gojob_redis.domain.policies import Policy
from gojob_redis.domain.states import State, TriggerState
from gojob_redis.task import pack_shard_params
from gojob_redis.view.values import elements

Labels = Annotated[
    dict[str, str],
    Field(description="both sides must agree: `env=gray` work goes only to `env=gray` workers", max_length=1_000),
]
Require = Annotated[
    str,
    Field(description="one attribute that the worker has to offer, such as `host=db7`", max_length=limits.PARAM_BYTES),
]


class Body(BaseModel):
    """A body; a field that does not exist is refused."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_narrow(cls, value: Any) -> Any:
        """One error for thousands of unknown fields."""
        if isinstance(value, dict) and len(value) > limits.BODY_FIELDS:
            raise PydanticCustomError(
                "too_many_fields", "an object has at most {most} fields", {"most": limits.BODY_FIELDS}
            )
        return value


class Work(Body):
    """What a task and a trigger have in common besides their policies: parameters and requirements."""

    params: Any = Field(default=None, description="any JSON, at most 256 KiB as MessagePack")
    labels: Labels = {}
    require: Require = ""
    shards: Annotated[int, Field(ge=1, le=limits.SHARDS)] | None = Field(
        default=None, description="1 unless set, or the number of shard_params"
    )
    shard_params: Annotated[list[Any], Field(max_length=limits.SHARDS)] | None = Field(
        default=None, description="one value per shard, together at most 256 KiB"
    )
    allow_unknown: bool = Field(default=False, description="also for a handler that no worker announced yet")


def _field(policy: Policy) -> tuple[Any, Any]:
    """A policy as a field of a body: its type, its bounds, its default and what it does."""
    if policy.kind == "word":
        return Literal[policy.words], Field(default=policy.default, description=policy.about)
    kind, bounds = (float, (policy.low, policy.high)) if policy.kind == "ratio" else (int, policy.whole_bounds)
    return kind, Field(default=policy.default, ge=bounds[0], le=bounds[1], description=policy.about)


def _with_policies(name: str, setter: policies.Setter) -> Any:
    fields: Any = {policy.name: _field(policy) for policy in policies.set_by(setter)}
    return create_model(name, __base__=Work, **fields)


_TaskWork: Any = _with_policies("TaskWork", "task")
_TriggerWork: Any = _with_policies("TriggerWork", "trigger")


def said_in(body: Work) -> dict[str, policies.Value]:
    """The policies that a body names, by name: what it leaves out is the namespace's default, or the usual one."""
    return {name: getattr(body, name) for name in policies.NAMES & body.model_fields_set}


OwnKey = Annotated[
    str,
    Field(
        max_length=limits.KEY_CHARS,
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/@+=#-]*)?$",
        description="what you find it by, such as `order-4711`; several tasks may have the same",
    ),
]
Unique = Annotated[
    bool, Field(description="refused with `key_live` while another task of the app with this key is not over")
]


Traceparent = Annotated[
    str,
    Field(
        max_length=limits.TRACEPARENT_CHARS,
        description="W3C Trace Context: the trace that it belongs to, handed to its handler; as the header",
    ),
]


class TaskBody(_TaskWork):  # type: ignore[misc]
    """A task to be run now, or later."""

    key: OwnKey = ""
    unique: Unique = False
    traceparent: Traceparent = ""

    delay_ms: Annotated[int, Field(ge=0, le=limits.LATEST_MS)] | None = Field(
        default=None, description="not before this time has passed"
    )
    at: Moment | None = Field(
        default=None,
        description="not before this moment: ms since 1970, or RFC 3339; not with delay_ms",
    )


class BatchItem(TaskBody):
    """One of many tasks."""

    idempotency_key: Annotated[str, Field(max_length=limits.IDEMPOTENCY_KEY_CHARS)] = Field(
        default="", description="as Idempotency-Key, for this task"
    )


class BatchBody(Body):
    """Up to 1,000 tasks; all are checked before any is taken in."""

    tasks: Annotated[list[BatchItem], Field(min_length=1, max_length=1_000), FailFast()]


class TriggerBody(_TriggerWork):  # type: ignore[misc]
    """A trigger, whole: what is left out is set to its default."""

    handler: Annotated[str, Field(max_length=255)]
    schedule: ScheduleBody = Field(
        description="kind cron (spec, time_zone), every (every_ms), once (at) or manual; start_at and end_at bound it",
        examples=[{"kind": "cron", "spec": "30 2 * * MON-FRI", "time_zone": "Europe/Berlin"}],
    )
    enabled: bool = True
    description: Annotated[str, Field(max_length=1_024)] = ""
    owner: Annotated[str, Field(max_length=limits.OWNER_BYTES)] = Field(
        default="", description="who or what made it, as it says itself: at most 128 bytes"
    )
    revision: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="the revision this change is made for, 0 = must be new; as If-Match"
    )


class RunBody(Body):
    """A run by hand; without parameters, those of the trigger."""

    params: Any = None
    key: OwnKey = ""
    unique: Unique = False
    traceparent: Traceparent = ""


class PreviewBody(Body):
    """An unsaved schedule."""

    schedule: ScheduleBody
    after: Moment | None = Field(default=None, description="show the times after this moment instead of now")


class CancelBody(Body):
    """Why a task is cancelled."""

    reason: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")] = "canceled"


class BumpBody(Body):
    """Where a task that waits is to stand."""

    priority: Annotated[int, Field(ge=0, le=9)] | None = Field(
        default=None, description="its new priority; left out: the head of its lane, whatever the priorities"
    )


class PurgeBody(CancelBody):
    """Why what waits is canceled."""

    dry_run: bool = Field(default=False, description="only count")


def _kept(what: str, most: int) -> Any:
    return Field(default=None, ge=0, le=most, description=f"{what}; null goes back to the usual")


class HandlerRetentionBody(Body):
    """How long ended tasks of a handler are kept; what is left out stays as it is."""

    done_ms: int | None = _kept("how long a task is kept that ran to completion", limits.RETENTION_MAX_MS)
    done_count: int | None = _kept("how many of them are kept of a handler", limits.RETENTION_MAX)
    done_bytes: int | None = _kept("how much memory they may take; 0 = not bounded", limits.RETENTION_MAX_BYTES)
    failed_ms: int | None = _kept("how long a task is kept that faulted or was canceled", limits.RETENTION_MAX_MS)


class RetentionBody(HandlerRetentionBody):
    """How long ended tasks of a namespace are kept; what is left out stays as it is."""

    failed_count: int | None = _kept("how many of them are kept of an app", limits.RETENTION_MAX)
    failed_bytes: int | None = _kept("how much memory they may take; 0 = not bounded", limits.RETENTION_MAX_BYTES)


class KeepBody(Body):
    """Whether a task is kept until somebody lets it go."""

    keep: Literal["always", "usual"] = "always"


Word = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f,]*$")]


class FilterBody(Body):
    """Which tasks or triggers a job is for: those for which all of this holds."""

    handler: Annotated[str, Field(max_length=255)] = Field(default="", description="of this handler of the app")
    state: Annotated[list[State | TriggerState], Field(max_length=len(State))] = Field(
        default=[], description="in one of these: states of tasks, or of triggers"
    )
    trigger: Annotated[str, Field(max_length=255)] = Field(default="", description="of tasks: made by this trigger")
    reason: Annotated[list[Word], Field(max_length=20)] = Field(default=[], description="of tasks: one of these")
    worker: Word = Field(default="", description="of tasks: this worker had it last")
    parent: Annotated[str, Field(max_length=64)] = Field(
        default="", description="of tasks: was made by this task, or repeats it"
    )
    error: Annotated[str, Field(max_length=64)] = Field(
        default="", description="of tasks: the fingerprint of the failure that it faulted with"
    )
    labels: Labels = Field(default={}, description="of tasks: it requires these, perhaps among others")
    from_: Moment | None = Field(
        default=None,
        alias="from",
        description="of tasks: ended, or while it is not over was made, at this moment or later",
    )
    to: Moment | None = Field(default=None, description="of tasks: the same, before this moment")
    owner: Annotated[Word, Field(max_length=limits.OWNER_BYTES)] = Field(
        default="", description="of triggers: has this owner"
    )
    prefix: Annotated[Word, Field(max_length=limits.NAME_CHARS)] = Field(
        default="", description="of triggers: its name begins with it"
    )
    q: Annotated[Word, Field(max_length=limits.NAME_CHARS)] = Field(
        default="", description="of triggers: a text in its name, handler, owner or schedule"
    )


class BulkBody(Body):
    """One thing to be done to many tasks or triggers: to those with the ids, or to those that the filter means."""

    kind: Kind = Kind.TASKS
    verb: Verb
    namespace: Annotated[str, Field(max_length=64)] = "default"
    app: Annotated[str, Field(max_length=64)] = Field(
        default="", description="its name; left out: all of the namespace"
    )
    ids: (
        Annotated[list[Annotated[str, Field(max_length=255)]], Field(min_length=1, max_length=limits.JOB_IDS)] | None
    ) = None
    filter: FilterBody | None = Field(default=None, description="{} = all of them")
    as_of: Moment | None = Field(
        default=None, description="what came, or ended, later is left alone; left out: the moment of the call"
    )
    reason: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")] = Field(
        default="canceled", description="of a cancel, kept with each task"
    )
    pinned: bool = Field(default=False, description="of a delete: also tasks that somebody wants kept")
    dry_run: bool = Field(default=False, description="only count")


class NamespaceBody(Body):
    """What is set for a namespace; what is left out stays as it is."""

    description: Annotated[str, Field(max_length=1_024)] | None = None
    durability: Literal["fast", "replicated", "synced"] | None = Field(
        default=None,
        description="how safe something is before it is acknowledged: taken in, on a replica too, or on the disk; "
        "left out: as before, `fast` for a new one",
    )
    limits: Annotated[dict[str, int], Field(max_length=len(quotas.NAMES))] | None = Field(
        default=None,
        description="how much of something it may have; those that are left out stay as they are",
        examples=[{"polls_per_token": 200}],
    )
    defaults: Annotated[dict[str, int | float | str | None], Field(max_length=len(policies.NAMES))] | None = Field(
        default=None,
        description="policies of tasks and triggers that do not say otherwise; those that are left out stay as they "
        "are, null goes back to the usual one",
        examples=[{"retries": 3, "run_limit_ms": 60_000}],
    )
    retention: RetentionBody | None = Field(
        default=None, description="how long ended tasks are kept; what is left out of it stays as it is"
    )


class TokenBody(Body):
    """A token to be made."""

    kind: Literal["admin", "api", "worker"]
    name: Annotated[str, Field(max_length=255)] = ""
    scope: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=100)] = ["*"]
    expires_ms: Annotated[int, Field(ge=0, le=limits.LATEST_MS)] = Field(default=0, description="0 = never")


FIELDS: Final = sorted(
    {
        name
        for model in (
            BatchItem,
            BatchBody,
            TriggerBody,
            RunBody,
            PreviewBody,
            CancelBody,
            BumpBody,
            PurgeBody,
            KeepBody,
            RetentionBody,
            BulkBody,
            FilterBody,
            NamespaceBody,
            TokenBody,
        )
        for name in model.model_fields
    }
)
"""Every name a body may hold, to suggest one for a name that does not exist."""


# ---- checks that JSON types cannot say -------------------------------------------------------------------------------


def pack(value: Any, field: str, limit: int = limits.PARAM_BYTES) -> bytes:
    """A payload as MessagePack, nothing for null; raises BadRequest ``bad_params``, ``too_large``."""
    if value is None:
        return b""
    try:
        packed: bytes = msgpack.packb(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadRequest(
            "bad_params",
            f"{field} cannot be written as MessagePack: {error}.",
            field=field,
            hint="Whole numbers have at most 64 bits; send larger ones as text.",
        ) from None
    if _looks_infinite(packed) and _is_infinite(value):
        raise BadRequest(
            "bad_params",
            f"{field} holds a number that is too large.",
            field=field,
            hint="Numbers reach to about 1.8e308; send larger ones as text.",
        )
    if len(packed) > limit:
        raise too_large(field, len(packed), limit)
    check_elements([packed], field)
    return packed


_INFINITIES = (struct.pack(">Bd", 0xCB, math.inf), struct.pack(">Bd", 0xCB, -math.inf))


def _looks_infinite(packed: bytes) -> bool:
    """Whether these bytes are in it: what JSON writes as 1e400 became them. They may be part of something else."""
    return any(written in packed for written in _INFINITIES)


def _is_infinite(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_infinite, value.values()))
    if isinstance(value, list):
        return any(map(_is_infinite, value))
    return isinstance(value, float) and math.isinf(value)


def check_elements(packed: Sequence[bytes], field: str) -> None:
    """Refuse what is small and yet much to unpack; raises BadRequest ``too_many_values``."""
    most = limits.PARAM_ELEMENTS
    if sum(map(len, packed)) > most and sum(elements(part, most) or 0 for part in packed if part) > most:
        raise BadRequest(
            "too_many_values",
            f"{field} holds more than {most} numbers, texts, lists and maps.",
            field=field,
            hint="Send a reference to large data instead.",
            limit=most,
            status=413,
        )


def too_large(field: str, size: int, limit: int) -> BadRequest:
    return BadRequest(
        "too_large",
        f"{field} takes {size} bytes; at most {limit} are allowed.",
        field=field,
        hint="Send a reference to large data instead.",
        limit=limit,
        status=413,
    )


def pack_shards(work: Work, at: str = "") -> tuple[int, bytes]:
    """Number of shards and their packed parameters; raises BadRequest ``bad_shards``, ``too_large``."""
    if work.shard_params is None:
        return work.shards or 1, b""
    count = len(work.shard_params)
    if work.shards not in (None, count) or count == 0:
        raise BadRequest(
            "bad_shards",
            f"{at}shard_params has {count} values for {work.shards or 'no'} shards.",
            field=f"{at}shard_params",
            hint="Give one value per shard, or leave one of the two out.",
        )
    parts = _pack_each(work.shard_params, f"{at}shard_params")
    check_elements(parts, f"{at}shard_params")
    packed = pack_shard_params(parts)
    if len(packed) > limits.PARAM_BYTES:
        raise too_large(f"{at}shard_params", len(packed), limits.PARAM_BYTES)
    return count, packed


def _pack_each(values: Sequence[Any], field: str) -> list[bytes]:
    """Each value as ``pack`` does it, at a tenth of its price: there may be 10,000."""
    packb = msgpack.Packer().pack
    try:
        parts = [b"" if value is None else packb(value) for value in values]
    except (ValueError, TypeError, OverflowError):
        parts = []
    if parts and not _looks_infinite(b"".join(parts)):
        return parts
    return [pack(value, f"{field}[{shard}]") for shard, value in enumerate(values)]  # tells which one it is


def labels_of(labels: Mapping[str, str], at: str = "") -> str:
    """Required labels in their stored form; raises BadRequest ``bad_label``, ``too_many_labels``."""
    return names.canonical_labels(names.check_labels(labels, f"{at}labels", most=limits.LABELS_PER_TASK))


def attribute_of(require: str, at: str = "") -> str:
    """The required attribute in its stored form, "" for none; raises BadRequest ``bad_attribute``."""
    if not require:
        return ""
    field = f"{at}require"
    name, equals, value = require.partition("=")
    if not equals:
        raise BadRequest(
            "bad_attribute", f"{field} {require[:80]!r} is no pair.", field=field, hint="Write it as host=db7."
        )
    return names.canonical_labels(names.check_required_attribute({name: value}, field))


def moment_in(text: str, field: str) -> int:
    """A moment of a query as ms; 0 when there is none. Raises BadRequest ``bad_moment``."""
    if not text:
        return 0
    return moment_of(int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else text, field)


def moment_of(value: int | str, field: str) -> int:
    """A moment as ms; raises BadRequest ``bad_moment``."""
    hint = "Give milliseconds since 1970, or text such as 2027-01-31T09:00:00+01:00."
    at_ms: int | None = None
    if isinstance(value, int):
        at_ms = value
    else:
        try:
            moment = datetime.fromisoformat(value)
            at_ms = None if moment.tzinfo is None else round(moment.timestamp() * 1000)
        except (ValueError, OverflowError):
            at_ms = None
    if at_ms is None or not 0 <= at_ms < limits.LATEST_MS:
        raise BadRequest(
            "bad_moment", f"{field} {str(value)[:80]!r} is no moment between 1970 and 2100.", field=field, hint=hint
        )
    return at_ms


def moment_in_query(text: str, field: str) -> int:
    """The same of a query, where a number is text, too."""
    return moment_of(int(text) if text.isascii() and text.isdigit() else text, field)


def owner_of(owner: str) -> str:
    """The owner of a trigger; raises BadRequest ``bad_owner``, ``too_large``."""
    if not owner.isprintable():
        raise BadRequest(
            "bad_owner", "owner holds characters that cannot be shown.", field="owner", hint="Write it on one line."
        )
    if len(owner.encode()) > limits.OWNER_BYTES:
        raise too_large("owner", len(owner.encode()), limits.OWNER_BYTES)
    return owner


def all_or_none(values: Sequence[object]) -> bool:
    """Whether more than one of these is set."""
    return sum(value is not None for value in values) > 1
