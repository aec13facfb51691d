"""The verbs of the engine: what each takes, and what it replies.

Written by ``make docs`` from the headers in ``lua/``, which say what the fields mean. ``Partition.call`` makes a call,
``Partitions.call_in`` makes it in many partitions; both add what a caller never gives, the time and the nonce.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

R = TypeVar("R")


class Call(NamedTuple, Generic[R]):
    """A verb and what it is called with."""

    verb: str
    items: Sequence[tuple[Any, ...]]
    scalars: dict[str, str | bytes | int | None]
    read: Callable[[list[Any], int], R]
    """Makes the typed reply of what the engine replied to so many items."""


def text(value: bytes) -> str:
    """Names and ids, whatever somebody wrote into them."""
    return value.decode("utf-8", "surrogateescape")


WORDS: dict[bytes, Any] = {
    b"accepted": "accepted",
    b"already": "already",
    b"app_lanes_full": "app_lanes_full",
    b"apps_full": "apps_full",
    b"busy": "busy",
    b"canceled": "canceled",
    b"children_full": "children_full",
    b"conflict": "conflict",
    b"delayed_full": "delayed_full",
    b"differs": "differs",
    b"duplicate": "duplicate",
    b"exists": "exists",
    b"fenced": "fenced",
    b"foreign": "foreign",
    b"full": "full",
    b"gap": "gap",
    b"gone": "gone",
    b"handlers_full": "handlers_full",
    b"jobs_full": "jobs_full",
    b"keep": "keep",
    b"kept": "kept",
    b"key_live": "key_live",
    b"lanes_full": "lanes_full",
    b"late": "late",
    b"later": "later",
    b"lost": "lost",
    b"more": "more",
    b"moved": "moved",
    b"not_queued": "not_queued",
    b"not_waiting": "not_waiting",
    b"ok": "ok",
    b"other_body": "other_body",
    b"over": "over",
    b"overtaken": "overtaken",
    b"queue_full": "queue_full",
    b"requested": "requested",
    b"rest": "rest",
    b"stale": "stale",
    b"taken": "taken",
    b"triggers_full": "triggers_full",
    b"unknown": "unknown",
    b"worker_groups_full": "worker_groups_full",
}
word = WORDS.__getitem__


class Heard(NamedTuple):
    """An item of ``acknowledge``."""

    session: str
    run: str
    attempt: int


AcknowledgeWord = Literal["ok", "gone"]


class AcknowledgeReply(NamedTuple):
    """What ``acknowledge`` replies."""

    status: Literal["ok"]
    words: list[AcknowledgeWord]


def _read_acknowledge(reply: list[Any], items: int) -> AcknowledgeReply:
    end = 1 + items
    return AcknowledgeReply(word(reply[0]), [*map(word, reply[1:end])])


def acknowledge(items: Sequence[Heard]) -> Call[AcknowledgeReply]:
    """Record that a worker heard a cancel, so that it is not sent again."""
    return Call("acknowledge", items, {}, _read_acknowledge)


class AmendItem(NamedTuple):
    """An item of ``amend``."""

    uid: str
    revision: int
    audited: str
    kind: str
    first: int
    last: int
    slots: int
    detail: str


AmendWord = Literal["ok", "stale", "gone"]


class AmendReply(NamedTuple):
    """What ``amend`` replies."""

    status: Literal["ok"]
    words: list[AmendWord]


def _read_amend(reply: list[Any], items: int) -> AmendReply:
    end = 1 + items
    return AmendReply(word(reply[0]), [*map(word, reply[1:end])])


def amend(items: Sequence[AmendItem]) -> Call[AmendReply]:
    """Write down what an audit found, and mend it: a slot that nobody handled enters the ledger as missed (it is not
    fired any more), an agenda that passes over a slot is planned anew."""
    return Call("amend", items, {}, _read_amend)


class AuditReply(NamedTuple):
    """What ``audit`` replies."""

    status: Literal["ok", "more"]
    wall: int
    looked: int
    moved: list[list[Any]]


def _read_audit(reply: list[Any], items: int) -> AuditReply:
    return AuditReply(word(reply[0]), reply[1], reply[2], reply[3])


def audit(*, limit: int, entries: int, every: int, grace: int, overdue: int) -> Call[AuditReply]:
    """Look at the triggers whose turn it is: put back what stands in no index, tell what is overdue, and answer
    those that moved since their last audit with the part of their ledger that was not compared with their
    rule yet."""
    return Call("audit", (), locals(), _read_audit)


class BootstrapReply(NamedTuple):
    """What ``bootstrap`` replies."""

    status: Literal["ok", "kept"]
    epoch: str


def _read_bootstrap(reply: list[Any], items: int) -> BootstrapReply:
    return BootstrapReply(word(reply[0]), text(reply[1]))


def bootstrap(*, epoch: str, tell: int) -> Call[BootstrapReply]:
    """Begin a partition: its epoch, its data schema and its clocks."""
    return Call("bootstrap", (), locals(), _read_bootstrap)


class BulkCancelItem(NamedTuple):
    """An item of ``bulk_cancel``."""

    unit: str


class BulkCancelReply(NamedTuple):
    """What ``bulk_cancel`` replies."""

    status: Literal["ok", "more"]
    state: str
    unit: int
    waits: int
    looked: int


def _read_bulk_cancel(reply: list[Any], items: int) -> BulkCancelReply:
    return BulkCancelReply(word(reply[0]), text(reply[1]), reply[2], reply[3], reply[4])


def bulk_cancel(
    items: Sequence[BulkCancelItem],
    *,
    job: str,
    scope: str,
    walks: int,
    conditions: str,
    as_of: int,
    reason: str,
    first: int,
    last: int,
    cpu_us: int,
) -> Call[BulkCancelReply]:
    """Cancel some more of the tasks that a job is for: what waits ends now, what runs is asked to stop."""
    return Call(
        "bulk_cancel",
        items,
        {
            "job": job,
            "scope": scope,
            "walks": walks,
            "conditions": conditions,
            "as_of": as_of,
            "reason": reason,
            "first": first,
            "last": last,
            "cpu_us": cpu_us,
        },
        _read_bulk_cancel,
    )


class BulkCountItem(NamedTuple):
    """An item of ``bulk_count``."""

    unit: str


class BulkCountReply(NamedTuple):
    """What ``bulk_count`` replies."""

    status: Literal["ok"]
    place: str
    tasks: list[str]


def _read_bulk_count(reply: list[Any], items: int) -> BulkCountReply:
    return BulkCountReply(word(reply[0]), text(reply[1]), [*map(text, reply[2])])


def bulk_count(
    items: Sequence[BulkCountItem],
    *,
    scope: str,
    walks: int,
    conditions: str,
    as_of: int,
    is_over: int,
    place: str,
    cpu_us: int,
) -> Call[BulkCountReply]:
    """Which tasks a job would be for, some a call: its dry run."""
    return Call(
        "bulk_count",
        items,
        {
            "scope": scope,
            "walks": walks,
            "conditions": conditions,
            "as_of": as_of,
            "is_over": is_over,
            "place": place,
            "cpu_us": cpu_us,
        },
        _read_bulk_count,
    )


class BulkForgetItem(NamedTuple):
    """An item of ``bulk_forget``."""

    unit: str


class BulkForgetReply(NamedTuple):
    """What ``bulk_forget`` replies."""

    status: Literal["ok"]
    state: str
    unit: int
    waits: int
    looked: int


def _read_bulk_forget(reply: list[Any], items: int) -> BulkForgetReply:
    return BulkForgetReply(word(reply[0]), text(reply[1]), reply[2], reply[3], reply[4])


def bulk_forget(
    items: Sequence[BulkForgetItem],
    *,
    job: str,
    scope: str,
    walks: int,
    conditions: str,
    as_of: int,
    pinned: int,
    first: int,
    last: int,
    cpu_us: int,
) -> Call[BulkForgetReply]:
    """Delete some more of the tasks that a job is for, which are over, with everything that hangs on their records."""
    return Call(
        "bulk_forget",
        items,
        {
            "job": job,
            "scope": scope,
            "walks": walks,
            "conditions": conditions,
            "as_of": as_of,
            "pinned": pinned,
            "first": first,
            "last": last,
            "cpu_us": cpu_us,
        },
        _read_bulk_forget,
    )


class BulkListItem(NamedTuple):
    """An item of ``bulk_list``."""

    unit: str


class BulkListReply(NamedTuple):
    """What ``bulk_list`` replies."""

    status: Literal["ok"]
    place: str
    triggers: list[str]


def _read_bulk_list(reply: list[Any], items: int) -> BulkListReply:
    return BulkListReply(word(reply[0]), text(reply[1]), [*map(text, reply[2])])


def bulk_list(
    items: Sequence[BulkListItem],
    *,
    scope: str,
    walks: int,
    conditions: str,
    as_of: int,
    first: int,
    last: int,
    place: str,
    cpu_us: int,
) -> Call[BulkListReply]:
    """Which triggers a job would be for, some a call: its dry run."""
    return Call(
        "bulk_list",
        items,
        {
            "scope": scope,
            "walks": walks,
            "conditions": conditions,
            "as_of": as_of,
            "first": first,
            "last": last,
            "place": place,
            "cpu_us": cpu_us,
        },
        _read_bulk_list,
    )


class BulkPauseItem(NamedTuple):
    """An item of ``bulk_pause``."""

    unit: str


class BulkPauseReply(NamedTuple):
    """What ``bulk_pause`` replies."""

    status: Literal["ok"]
    state: str
    unit: int
    waits: int
    looked: int


def _read_bulk_pause(reply: list[Any], items: int) -> BulkPauseReply:
    return BulkPauseReply(word(reply[0]), text(reply[1]), reply[2], reply[3], reply[4])


def bulk_pause(
    items: Sequence[BulkPauseItem],
    *,
    job: str,
    scope: str,
    walks: int,
    conditions: str,
    as_of: int,
    paused: int,
    first: int,
    last: int,
    cpu_us: int,
) -> Call[BulkPauseReply]:
    """Pause some more of the triggers that a job is for, or let them go on."""
    return Call(
        "bulk_pause",
        items,
        {
            "job": job,
            "scope": scope,
            "walks": walks,
            "conditions": conditions,
            "as_of": as_of,
            "paused": paused,
            "first": first,
            "last": last,
            "cpu_us": cpu_us,
        },
        _read_bulk_pause,
    )


class BulkRemoveItem(NamedTuple):
    """An item of ``bulk_remove``."""

    unit: str


class BulkRemoveReply(NamedTuple):
    """What ``bulk_remove`` replies."""

    status: Literal["ok"]
    state: str
    unit: int
    waits: int
    looked: int


def _read_bulk_remove(reply: list[Any], items: int) -> BulkRemoveReply:
    return BulkRemoveReply(word(reply[0]), text(reply[1]), reply[2], reply[3], reply[4])


def bulk_remove(
    items: Sequence[BulkRemoveItem],
    *,
    job: str,
    scope: str,
    walks: int,
    conditions: str,
    as_of: int,
    first: int,
    last: int,
    cpu_us: int,
) -> Call[BulkRemoveReply]:
    """Delete some more of the triggers that a job is for."""
    return Call(
        "bulk_remove",
        items,
        {
            "job": job,
            "scope": scope,
            "walks": walks,
            "conditions": conditions,
            "as_of": as_of,
            "first": first,
            "last": last,
            "cpu_us": cpu_us,
        },
        _read_bulk_remove,
    )


class BulkRetryItem(NamedTuple):
    """An item of ``bulk_retry``."""

    unit: str


class BulkRetryReply(NamedTuple):
    """What ``bulk_retry`` replies."""

    status: Literal["ok", "more"]
    state: str
    unit: int
    waits: int
    looked: int


def _read_bulk_retry(reply: list[Any], items: int) -> BulkRetryReply:
    return BulkRetryReply(word(reply[0]), text(reply[1]), reply[2], reply[3], reply[4])


def bulk_retry(
    items: Sequence[BulkRetryItem],
    *,
    job: str,
    scope: str,
    walks: int,
    conditions: str,
    as_of: int,
    first: int,
    last: int,
    cpu_us: int,
) -> Call[BulkRetryReply]:
    """Do the work of some more of the tasks that a job is for once more: each becomes a new task with it as its
    parent."""
    return Call(
        "bulk_retry",
        items,
        {
            "job": job,
            "scope": scope,
            "walks": walks,
            "conditions": conditions,
            "as_of": as_of,
            "first": first,
            "last": last,
            "cpu_us": cpu_us,
        },
        _read_bulk_retry,
    )


class BulkRunItem(NamedTuple):
    """An item of ``bulk_run``."""

    unit: str


class BulkRunReply(NamedTuple):
    """What ``bulk_run`` replies."""

    status: Literal["ok", "more"]
    state: str
    unit: int
    waits: int
    looked: int


def _read_bulk_run(reply: list[Any], items: int) -> BulkRunReply:
    return BulkRunReply(word(reply[0]), text(reply[1]), reply[2], reply[3], reply[4])


def bulk_run(
    items: Sequence[BulkRunItem],
    *,
    job: str,
    scope: str,
    walks: int,
    conditions: str,
    as_of: int,
    first: int,
    last: int,
    cpu_us: int,
) -> Call[BulkRunReply]:
    """Run some more of the triggers that a job is for once by hand, whatever their schedules and states."""
    return Call(
        "bulk_run",
        items,
        {
            "job": job,
            "scope": scope,
            "walks": walks,
            "conditions": conditions,
            "as_of": as_of,
            "first": first,
            "last": last,
            "cpu_us": cpu_us,
        },
        _read_bulk_run,
    )


class BumpItem(NamedTuple):
    """An item of ``bump``."""

    task: str
    priority: int


BumpWord = Literal["ok", "already", "not_waiting", "not_queued", "gone", "later"]


class BumpReply(NamedTuple):
    """What ``bump`` replies."""

    status: Literal["ok"]
    words: list[BumpWord]


def _read_bump(reply: list[Any], items: int) -> BumpReply:
    end = 1 + items
    return BumpReply(word(reply[0]), [*map(word, reply[1:end])])


def bump(items: Sequence[BumpItem]) -> Call[BumpReply]:
    """Let tasks that wait come earlier or later: at the head of their lane, or with another priority."""
    return Call("bump", items, {}, _read_bump)


class CancelItem(NamedTuple):
    """An item of ``cancel``."""

    task: str
    reason: str


CancelWord = Literal["canceled", "requested", "already", "gone", "later"]


class CancelReply(NamedTuple):
    """What ``cancel`` replies."""

    status: Literal["ok", "more"]
    words: list[CancelWord]


def _read_cancel(reply: list[Any], items: int) -> CancelReply:
    end = 1 + items
    return CancelReply(word(reply[0]), [*map(word, reply[1:end])])


def cancel(items: Sequence[CancelItem]) -> Call[CancelReply]:
    """Cancel tasks: what waits ends now, what runs is asked to stop and ended after a grace of 10 s."""
    return Call("cancel", items, {}, _read_cancel)


class ChangeJobReply(NamedTuple):
    """What ``change_job`` replies."""

    status: Literal["ok", "already", "gone", "over"]
    state: str


def _read_change_job(reply: list[Any], items: int) -> ChangeJobReply:
    return ChangeJobReply(word(reply[0]), text(reply[1]))


def change_job(*, job: str, change: str, at: int) -> Call[ChangeJobReply]:
    """Pause a job, let it go on, cancel it; or close it, when every partition is done with it or was told to stop."""
    return Call("change_job", (), locals(), _read_change_job)


class LiveIndex(NamedTuple):
    """An item of ``count_live``."""

    kind: str
    name: str


class CountLiveReply(NamedTuple):
    """What ``count_live`` replies."""

    status: Literal["ok", "more"]
    looked: int
    walked: int
    at: str
    member: str
    counts: list[list[Any]]
    sharded: list[list[Any]]


def _read_count_live(reply: list[Any], items: int) -> CountLiveReply:
    return CountLiveReply(word(reply[0]), reply[1], reply[2], text(reply[3]), text(reply[4]), reply[5], reply[6])


def count_live(
    items: Sequence[LiveIndex], *, conditions: str, at: str, member: str, looks: int
) -> Call[CountLiveReply]:
    """Count tasks that are not over by their state, handler and failure, where they stand."""
    return Call(
        "count_live", items, {"conditions": conditions, "at": at, "member": member, "looks": looks}, _read_count_live
    )


class OverIndex(NamedTuple):
    """An item of ``count_over``."""

    kind: str
    name: str


class CountOverReply(NamedTuple):
    """What ``count_over`` replies."""

    status: Literal["ok", "more"]
    looked: int
    at: int
    member: str
    counts: list[list[Any]]


def _read_count_over(reply: list[Any], items: int) -> CountOverReply:
    return CountOverReply(word(reply[0]), reply[1], reply[2], text(reply[3]), reply[4])


def count_over(
    items: Sequence[OverIndex], *, conditions: str, from_ms: int, to_ms: int, place: str, looks: int
) -> Call[CountOverReply]:
    """Count tasks that are over by their state, handler and failure, newest first, in several indexes as if they
    were one."""
    return Call(
        "count_over",
        items,
        {"conditions": conditions, "from_ms": from_ms, "to_ms": to_ms, "place": place, "looks": looks},
        _read_count_over,
    )


class DefineReply(NamedTuple):
    """What ``define`` replies."""

    status: Literal[
        "ok", "app_lanes_full", "conflict", "exists", "handlers_full", "overtaken", "taken", "triggers_full"
    ]
    uid: str
    revision: int


def _read_define(reply: list[Any], items: int) -> DefineReply:
    return DefineReply(word(reply[0]), text(reply[1]), reply[2])


def define(
    *,
    app: str,
    name: str,
    uid: str,
    change: str,
    revision: int,
    active: int,
    state: str = "active",
    paused: int = 0,
    owner: str = "",
    rule: str = "",
    handler: str,
    labels: str,
    attribute: str,
    shards: int,
    shard_params: bytes,
    policies: str,
    sources: str = "",
    defaults_rev: str = "",
    param: bytes,
    definition: bytes,
    times: str,
    planned: int,
    low_at: int,
    over: int,
    most: int,
    quotas: str = "",
) -> Call[DefineReply]:
    """Store a trigger whole, new or changed, with the agenda that was computed for it."""
    return Call("define", (), locals(), _read_define)


class Telling(NamedTuple):
    """An item of ``describe``."""

    app: str
    handler: str
    digest: str
    spec: bytes = b""


DescribeWord = Literal["ok", "unknown"]


class DescribeReply(NamedTuple):
    """What ``describe`` replies."""

    status: Literal["ok"]
    words: list[DescribeWord]


def _read_describe(reply: list[Any], items: int) -> DescribeReply:
    end = 1 + items
    return DescribeReply(word(reply[0]), [*map(word, reply[1:end])])


def describe(items: Sequence[Telling]) -> Call[DescribeReply]:
    """Keep what workers tell of their handlers, and when each version was heard."""
    return Call("describe", items, {}, _read_describe)


class DisconnectReply(NamedTuple):
    """What ``disconnect`` replies."""

    status: Literal["ok", "gone", "more", "rest"]


def _read_disconnect(reply: list[Any], items: int) -> DisconnectReply:
    return DisconnectReply(word(reply[0]))


def disconnect(*, app: str, session: str) -> Call[DisconnectReply]:
    """End a session because somebody says so."""
    return Call("disconnect", (), locals(), _read_disconnect)


class DrainItem(NamedTuple):
    """An item of ``drain``."""

    app: str
    session: str
    drained: int


DrainWord = Literal["ok", "already", "gone"]


class DrainReply(NamedTuple):
    """What ``drain`` replies."""

    status: Literal["ok", "more"]
    words: list[DrainWord]


def _read_drain(reply: list[Any], items: int) -> DrainReply:
    end = 1 + items
    return DrainReply(word(reply[0]), [*map(word, reply[1:end])])


def drain(items: Sequence[DrainItem]) -> Call[DrainReply]:
    """Keep sessions from taking anything new, or let them take work again."""
    return Call("drain", items, {}, _read_drain)


class Enlistment(NamedTuple):
    """An item of ``enlist``."""

    session: str
    app: str
    group: str
    handlers: str
    labels: str
    attributes: str
    capacity: int
    gateway: str
    conn: int
    holder: str
    name: str
    facts: bytes


EnlistWord = Literal["ok", "more", "worker_groups_full", "handlers_full"]


class EnlistReply(NamedTuple):
    """What ``enlist`` replies."""

    status: Literal["ok", "more"]
    words: list[EnlistWord]


def _read_enlist(reply: list[Any], items: int) -> EnlistReply:
    end = 1 + items
    return EnlistReply(word(reply[0]), [*map(word, reply[1:end])])


def enlist(items: Sequence[Enlistment], *, quotas: str = "") -> Call[EnlistReply]:
    """Register a session: who it is, what it serves and how much it can take."""
    return Call("enlist", items, {"quotas": quotas}, _read_enlist)


class ExpireReply(NamedTuple):
    """What ``expire`` replies."""

    status: Literal["ok", "more"]
    looked: int
    next_alarm: int
    steady: int
    wall: int


def _read_expire(reply: list[Any], items: int) -> ExpireReply:
    return ExpireReply(word(reply[0]), reply[1], reply[2], reply[3], reply[4])


def expire(*, limit: int) -> Call[ExpireReply]:
    """Look at the runs whose timer is due: delays and retries that are ready, dispatches nobody accepted, run
    limits, queue limits, cancels to send again or to end."""
    return Call("expire", (), locals(), _read_expire)


class FireReply(NamedTuple):
    """What ``fire`` replies."""

    status: Literal["ok", "more"]
    fired: int
    skipped: int
    next_due: int
    wall: int
    steady: int
    lateness: list[int]
    low: list[str]
    micros: int


def _read_fire(reply: list[Any], items: int) -> FireReply:
    return FireReply(
        word(reply[0]), reply[1], reply[2], reply[3], reply[4], reply[5], reply[6], [*map(text, reply[7])], reply[8]
    )


def fire(*, limit: int, cpu_us: int) -> Call[FireReply]:
    """Turn due slots into tasks, and bind what a waiting session can take."""
    return Call("fire", (), locals(), _read_fire)


class FoldItem(NamedTuple):
    """An item of ``fold``."""

    kind: str
    one: str
    two: str
    value: bytes
    number: int


class FoldReply(NamedTuple):
    """What ``fold`` replies."""

    status: Literal["ok", "stale"]
    gap: int


def _read_fold(reply: list[Any], items: int) -> FoldReply:
    return FoldReply(word(reply[0]), reply[1])


def fold(items: Sequence[FoldItem], *, turn: int, upto: str = "", entries: int = 0) -> Call[FoldReply]:
    """Write what a replica made of entries of the tally, and take them away."""
    return Call("fold", items, {"turn": turn, "upto": upto, "entries": entries}, _read_fold)


class Follow(NamedTuple):
    """An item of ``follow``."""

    uid: str
    revision: int
    seen: str
    policies: str
    sources: str
    defaults_rev: str


FollowWord = Literal["ok", "stale", "gone"]


class FollowReply(NamedTuple):
    """What ``follow`` replies."""

    status: Literal["ok"]
    words: list[FollowWord]


def _read_follow(reply: list[Any], items: int) -> FollowReply:
    end = 1 + items
    return FollowReply(word(reply[0]), [*map(word, reply[1:end])])


def follow(items: Sequence[Follow]) -> Call[FollowReply]:
    """Let triggers go by the defaults of policies that hold now, where nobody said otherwise."""
    return Call("follow", items, {}, _read_follow)


class ForgetItem(NamedTuple):
    """An item of ``forget``."""

    app: str


ForgetWord = Literal["gone", "busy", "more"]


class ForgetReply(NamedTuple):
    """What ``forget`` replies."""

    status: Literal["ok"]
    words: list[ForgetWord]


def _read_forget(reply: list[Any], items: int) -> ForgetReply:
    end = 1 + items
    return ForgetReply(word(reply[0]), [*map(word, reply[1:end])])


def forget(items: Sequence[ForgetItem]) -> Call[ForgetReply]:
    """Forget what apps have of handlers and queues that have nothing any more: no trigger, no worker, no task, no
    history."""
    return Call("forget", items, {}, _read_forget)


class GaugeItem(NamedTuple):
    """An item of ``gauge``."""

    handler: str


class GaugeReply(NamedTuple):
    """What ``gauge`` replies."""

    status: Literal["ok", "more"]
    wall: int
    gauged: int
    handlers: list[list[Any]]
    lanes: list[list[Any]]


def _read_gauge(reply: list[Any], items: int) -> GaugeReply:
    return GaugeReply(word(reply[0]), reply[1], reply[2], reply[3], reply[4])


def gauge(items: Sequence[GaugeItem], *, idle: int) -> Call[GaugeReply]:
    """Tell what waits for handlers: how much there is in which of their lanes, and since when the next in turn is
    ready."""
    return Call("gauge", items, {"idle": idle}, _read_gauge)


class KeepItem(NamedTuple):
    """An item of ``keep``."""

    task: str
    keep: str


KeepWord = Literal["ok", "already", "full", "gone", "later"]


class KeepReply(NamedTuple):
    """What ``keep`` replies."""

    status: Literal["ok"]
    words: list[KeepWord]


def _read_keep(reply: list[Any], items: int) -> KeepReply:
    end = 1 + items
    return KeepReply(word(reply[0]), [*map(word, reply[1:end])])


def keep(items: Sequence[KeepItem]) -> Call[KeepReply]:
    """Keep tasks until somebody lets them go, or have them kept as others are again."""
    return Call("keep", items, {}, _read_keep)


class LeaveItem(NamedTuple):
    """An item of ``leave``."""

    session: str
    conn: int


LeaveWord = Literal["ok", "more", "moved", "gone"]


class LeaveReply(NamedTuple):
    """What ``leave`` replies."""

    status: Literal["ok", "more"]
    words: list[LeaveWord]


def _read_leave(reply: list[Any], items: int) -> LeaveReply:
    end = 1 + items
    return LeaveReply(word(reply[0]), [*map(word, reply[1:end])])


def leave(items: Sequence[LeaveItem], *, gateway: str) -> Call[LeaveReply]:
    """End a session that says goodbye."""
    return Call("leave", items, {"gateway": gateway}, _read_leave)


class MatchReply(NamedTuple):
    """What ``match`` replies."""

    status: Literal["ok", "more"]
    cursor: str
    bound: int


def _read_match(reply: list[Any], items: int) -> MatchReply:
    return MatchReply(word(reply[0]), text(reply[1]), reply[2])


def match(*, cursor: str, repair: int) -> Call[MatchReply]:
    """Bind what can be bound in the given groups: the rest of a call that answered ``more``, and the repair of a
    lost wake-up."""
    return Call("match", (), locals(), _read_match)


class Note(NamedTuple):
    """An item of ``note``."""

    session: str
    run: str
    attempt: int
    kind: str
    text: bytes
    lines: int = 0
    by_gateway: int = 0
    by_worker: int = 0
    most_lines: int = 0
    most_bytes: int = 0
    app_bytes: int = 0


NoteWord = Literal["ok", "gone"]


class NoteReply(NamedTuple):
    """What ``note`` replies."""

    status: Literal["ok"]
    words: list[NoteWord]


def _read_note(reply: list[Any], items: int) -> NoteReply:
    end = 1 + items
    return NoteReply(word(reply[0]), [*map(word, reply[1:end])])


def note(items: Sequence[Note]) -> Call[NoteReply]:
    """Keep what runs log, packed, and their progress."""
    return Call("note", items, {}, _read_note)


class NowReply(NamedTuple):
    """What ``now`` replies."""

    status: Literal["ok"]
    wall: int
    steady: int


def _read_now(reply: list[Any], items: int) -> NowReply:
    return NowReply(word(reply[0]), reply[1], reply[2])


def now() -> Call[NowReply]:
    """Tell the two clocks of a partition."""
    return Call("now", (), locals(), _read_now)


class JobUnits(NamedTuple):
    """An item of ``open_job``."""

    partition: int
    units: str


class OpenJobReply(NamedTuple):
    """What ``open_job`` replies."""

    status: Literal["ok", "duplicate", "jobs_full", "other_body"]
    id: str


def _read_open_job(reply: list[Any], items: int) -> OpenJobReply:
    return OpenJobReply(word(reply[0]), text(reply[1]))


def open_job(
    items: Sequence[JobUnits],
    *,
    job: str,
    namespace: str,
    made_ms: int,
    oldest: str,
    record: bytes,
    once_key: str,
    digest: str,
) -> Call[OpenJobReply]:
    """Record a job on many tasks or triggers, with what it is for in each partition."""
    return Call(
        "open_job",
        items,
        {
            "job": job,
            "namespace": namespace,
            "made_ms": made_ms,
            "oldest": oldest,
            "record": record,
            "once_key": once_key,
            "digest": digest,
        },
        _read_open_job,
    )


class PauseItem(NamedTuple):
    """An item of ``pause``."""

    handler: str
    paused: int


PauseWord = Literal["ok", "already"]


class PauseReply(NamedTuple):
    """What ``pause`` replies."""

    status: Literal["ok", "more"]
    words: list[PauseWord]


def _read_pause(reply: list[Any], items: int) -> PauseReply:
    end = 1 + items
    return PauseReply(word(reply[0]), [*map(word, reply[1:end])])


def pause(items: Sequence[PauseItem]) -> Call[PauseReply]:
    """Pause handlers, or let them go on: a paused handler's lanes keep their tasks and give none."""
    return Call("pause", items, {}, _read_pause)


class PlaceReply(NamedTuple):
    """What ``place`` replies."""

    status: Literal["ok", "apps_full"]
    placed: int


def _read_place(reply: list[Any], items: int) -> PlaceReply:
    return PlaceReply(word(reply[0]), reply[1])


def place(*, app: str, namespace: str, partition: int, most: int, most_all: int) -> Call[PlaceReply]:
    """Record the partition of an app when it is first seen, unless there are as many apps as there may be."""
    return Call("place", (), locals(), _read_place)


class Plan(NamedTuple):
    """An item of ``plan``."""

    uid: str
    revision: int
    after: int
    times: str
    planned: int
    low_at: int
    over: int
    gap_first: int
    gap_last: int
    gap_count: int


PlanWord = Literal["ok", "stale", "gone"]


class PlanReply(NamedTuple):
    """What ``plan`` replies."""

    status: Literal["ok"]
    words: list[PlanWord]


def _read_plan(reply: list[Any], items: int) -> PlanReply:
    end = 1 + items
    return PlanReply(word(reply[0]), [*map(word, reply[1:end])])


def plan(items: Sequence[Plan]) -> Call[PlanReply]:
    """Continue agendas."""
    return Call("plan", items, {}, _read_plan)


class ReapReply(NamedTuple):
    """What ``reap`` replies."""

    status: Literal["ok", "more"]
    ended: int
    next_lease: int
    steady: int


def _read_reap(reply: list[Any], items: int) -> ReapReply:
    return ReapReply(word(reply[0]), reply[1], reply[2], reply[3])


def reap(*, limit: int) -> Call[ReapReply]:
    """End the sessions whose lease ended and forget the gateways that stayed silent for a minute."""
    return Call("reap", (), locals(), _read_reap)


class Release(NamedTuple):
    """An item of ``release``."""

    session: str
    run: str
    attempt: int
    fence: str
    reason: str
    conn: int = 0


ReleaseWord = Literal["accepted", "fenced", "gone"]


class ReleaseReply(NamedTuple):
    """What ``release`` replies."""

    status: Literal["ok", "more"]
    words: list[ReleaseWord]


def _read_release(reply: list[Any], items: int) -> ReleaseReply:
    end = 1 + items
    return ReleaseReply(word(reply[0]), [*map(word, reply[1:end])])


def release(items: Sequence[Release]) -> Call[ReleaseReply]:
    """Hand back runs that were bound and not begun."""
    return Call("release", items, {}, _read_release)


class RemoveReply(NamedTuple):
    """What ``remove`` replies."""

    status: Literal["ok", "gone"]
    uid: str


def _read_remove(reply: list[Any], items: int) -> RemoveReply:
    return RemoveReply(word(reply[0]), text(reply[1]))


def remove(*, app: str, name: str) -> Call[RemoveReply]:
    """Delete a trigger: it fires no more from this call on."""
    return Call("remove", (), locals(), _read_remove)


class Renewal(NamedTuple):
    """An item of ``renew``."""

    session: str
    conn: int
    age: int
    held: int
    capacity: int
    load: str = ""


RenewWord = Literal["ok", "differs", "moved", "lost"]


class RenewReply(NamedTuple):
    """What ``renew`` replies."""

    status: Literal["ok", "more"]
    words: list[RenewWord]


def _read_renew(reply: list[Any], items: int) -> RenewReply:
    end = 1 + items
    return RenewReply(word(reply[0]), [*map(word, reply[1:end])])


def renew(items: Sequence[Renewal], *, gateway: str) -> Call[RenewReply]:
    """Keep a gateway and its sessions alive; a session may announce another capacity with it."""
    return Call("renew", items, {"gateway": gateway}, _read_renew)


class Report(NamedTuple):
    """An item of ``report``."""

    session: str
    run: str
    attempt: int
    fence: str
    outcome: str
    started: int
    value: bytes
    disposition: str = ""
    failure: bytes = b""


ReportWord = Literal["accepted", "duplicate", "fenced", "gone"]


class ReportReply(NamedTuple):
    """What ``report`` replies."""

    status: Literal["ok", "more"]
    words: list[ReportWord]
    hints: list[bytes]


def _read_report(reply: list[Any], items: int) -> ReportReply:
    end = 1 + items
    return ReportReply(word(reply[0]), [*map(word, reply[1:end])], reply[end] if len(reply) > end else [])


def report(items: Sequence[Report], *, reply_to: str = "") -> Call[ReportReply]:
    """Record how attempts ended, give their seats back, and bind what these seats can take."""
    return Call("report", items, {"reply_to": reply_to}, _read_report)


class HeldRun(NamedTuple):
    """An item of ``resume``."""

    run: str
    attempt: int
    fence: str
    started: int


ResumeWord = Literal["keep", "fenced", "gone"]


class ResumeReply(NamedTuple):
    """What ``resume`` replies."""

    status: Literal["ok", "foreign", "lost", "more", "moved"]
    conn: int
    unlisted: str
    words: list[ResumeWord]


def _read_resume(reply: list[Any], items: int) -> ResumeReply:
    if len(reply) == 1:
        return ResumeReply(word(reply[0]), 0, "", [])
    end = 3 + items
    return ResumeReply(word(reply[0]), reply[1], text(reply[2]), [*map(word, reply[3:end])])


def resume(
    items: Sequence[HeldRun],
    *,
    session: str,
    app: str,
    holder: str,
    gateway: str,
    conn: int,
    capacity: int,
    compare: int,
) -> Call[ResumeReply]:
    """Give a session a home at this gateway, or compare its seats with what the worker says it holds."""
    return Call(
        "resume",
        items,
        {
            "session": session,
            "app": app,
            "holder": holder,
            "gateway": gateway,
            "conn": conn,
            "capacity": capacity,
            "compare": compare,
        },
        _read_resume,
    )


class Setting(NamedTuple):
    """An item of ``retain``."""

    handler: str
    name: str
    value: int


class RetainReply(NamedTuple):
    """What ``retain`` replies."""

    status: Literal["ok"]


def _read_retain(reply: list[Any], items: int) -> RetainReply:
    return RetainReply(word(reply[0]))


def retain(items: Sequence[Setting]) -> Call[RetainReply]:
    """Set how long ended tasks of a handler are kept."""
    return Call("retain", items, {}, _read_retain)


class Retained(NamedTuple):
    """An item of ``retire``."""

    kind: str
    name: str
    keep_ms: int
    keep: int
    look_ms: int
    at: int = 0
    cards_ms: int = 0


class RetireReply(NamedTuple):
    """What ``retire`` replies."""

    status: Literal["ok", "more"]
    retired: int
    looked: int
    places: list[int]


def _read_retire(reply: list[Any], items: int) -> RetireReply:
    end = 3 + items
    return RetireReply(word(reply[0]), reply[1], reply[2], reply[3:end])


def retire(items: Sequence[Retained], *, limit: int, wait_ms: int) -> Call[RetireReply]:
    """Forget the oldest ended tasks of a handler or an app, record and everything that hangs on it together; and
    fault what has waited in the lanes of a handler longer than the default queue limit."""
    return Call("retire", items, {"limit": limit, "wait_ms": wait_ms}, _read_retire)


class Look(NamedTuple):
    """An item of ``scrub``."""

    kind: str
    kept_as: str
    one: str
    two: str
    name: str
    cursor: str


class ScrubReply(NamedTuple):
    """What ``scrub`` replies."""

    status: Literal["ok", "more"]
    mends: int
    cursors: list[str]


def _read_scrub(reply: list[Any], items: int) -> ScrubReply:
    end = 2 + items
    return ScrubReply(word(reply[0]), reply[1], [*map(text, reply[2:end])])


def scrub(items: Sequence[Look], *, limit: int) -> Call[ScrubReply]:
    """Look at keys one by one, and mend what the records and the indexes do not agree about."""
    return Call("scrub", items, {"limit": limit}, _read_scrub)


class Searched(NamedTuple):
    """An item of ``search``."""

    kind: str
    name: str


class SearchReply(NamedTuple):
    """What ``search`` replies."""

    status: Literal["ok", "more"]
    looked: int
    at: int
    member: str
    found: list[list[Any]]


def _read_search(reply: list[Any], items: int) -> SearchReply:
    return SearchReply(word(reply[0]), reply[1], reply[2], text(reply[3]), reply[4])


def search(
    items: Sequence[Searched], *, conditions: str, from_ms: int, to_ms: int, place: str, looks: int, most: int
) -> Call[SearchReply]:
    """Find tasks that are over, newest first, in several indexes as if they were one: what handlers did, what failed
    in apps, or what became of the slots of one trigger."""
    return Call(
        "search",
        items,
        {"conditions": conditions, "from_ms": from_ms, "to_ms": to_ms, "place": place, "looks": looks, "most": most},
        _read_search,
    )


class Seated(NamedTuple):
    """An item of ``seats``."""

    session: str


class Seats(NamedTuple):
    """What ``seats`` replies to an item."""

    word: str
    capacity: int
    taken: int


class SeatsReply(NamedTuple):
    """What ``seats`` replies."""

    status: Literal["ok"]
    each: list[Seats]


def _read_seats(reply: list[Any], items: int) -> SeatsReply:
    end = 1 + 3 * items
    return SeatsReply(word(reply[0]), [*map(Seats, map(text, reply[1:end:3]), reply[2:end:3], reply[3:end:3])])


def seats(items: Sequence[Seated]) -> Call[SeatsReply]:
    """Say of some sessions how many seats they have, and how many of them are taken."""
    return Call("seats", items, {}, _read_seats)


class Start(NamedTuple):
    """An item of ``start``."""

    session: str
    run: str
    attempt: int
    fence: str


StartWord = Literal["ok", "late", "fenced", "gone", "canceled"]


class StartReply(NamedTuple):
    """What ``start`` replies."""

    status: Literal["ok"]
    words: list[StartWord]


def _read_start(reply: list[Any], items: int) -> StartReply:
    end = 1 + items
    return StartReply(word(reply[0]), [*map(word, reply[1:end])])


def start(items: Sequence[Start]) -> Call[StartReply]:
    """Record that attempts began."""
    return Call("start", items, {}, _read_start)


class SteerJobReply(NamedTuple):
    """What ``steer_job`` replies."""

    status: Literal["ok", "already"]
    stands: str


def _read_steer_job(reply: list[Any], items: int) -> SteerJobReply:
    return SteerJobReply(word(reply[0]), text(reply[1]))


def steer_job(*, job: str, state: str, revision: int) -> Call[SteerJobReply]:
    """Tell this partition that a job is paused, goes on, or is canceled: no call that comes later works on against
    it."""
    return Call("steer_job", (), locals(), _read_steer_job)


class Submission(NamedTuple):
    """An item of ``submit``."""

    task: str
    handler: str
    app: str
    param: bytes = b""
    once_key: str = ""
    digest: str = ""
    labels: str = ""
    policies: str = ""
    names: str = ""
    at: int = 0
    shards: int = 1
    shard_params: bytes = b""
    attribute: str = ""
    unique: int = 0
    trigger: str = ""
    uid: str = ""
    lineage: str = ""


SubmitWord = Literal[
    "ok",
    "duplicate",
    "other_body",
    "queue_full",
    "lanes_full",
    "app_lanes_full",
    "handlers_full",
    "delayed_full",
    "key_live",
    "children_full",
]


class Submitted(NamedTuple):
    """What ``submit`` replies to an item."""

    word: SubmitWord
    task: str


class SubmitReply(NamedTuple):
    """What ``submit`` replies."""

    status: Literal["ok", "more"]
    each: list[Submitted]
    hints: list[bytes]


def _read_submit(reply: list[Any], items: int) -> SubmitReply:
    end = 1 + 2 * items
    return SubmitReply(
        word(reply[0]),
        [*map(Submitted, map(word, reply[1:end:2]), map(text, reply[2:end:2]))],
        reply[end] if len(reply) > end else [],
    )


def submit(items: Sequence[Submission], *, reply_to: str = "", quotas: str = "") -> Call[SubmitReply]:
    """Take tasks in, without a trigger's schedule, and bind what a waiting session can take."""
    return Call("submit", items, {"reply_to": reply_to, "quotas": quotas}, _read_submit)


class Surveyed(NamedTuple):
    """An item of ``survey``."""

    handler: str
    labels: str
    attribute: str


class SurveyReply(NamedTuple):
    """What ``survey`` replies."""

    status: Literal["ok", "more"]
    surveyed: int
    serving: list[list[Any]]
    apps: list[list[Any]]
    groups: list[list[Any]]
    offers: list[list[Any]]


def _read_survey(reply: list[Any], items: int) -> SurveyReply:
    return SurveyReply(word(reply[0]), reply[1], reply[2], reply[3], reply[4], reply[5])


def survey(items: Sequence[Surveyed], *, sessions: int) -> Call[SurveyReply]:
    """Tell which workers there are for handlers, by worker group, and what holds these back."""
    return Call("survey", items, {"sessions": sessions}, _read_survey)


class TouchReply(NamedTuple):
    """What ``touch`` replies."""

    status: Literal["ok"]


def _read_touch(reply: list[Any], items: int) -> TouchReply:
    return TouchReply(word(reply[0]))


def touch() -> Call[TouchReply]:
    """Write something small, so that the wait that follows on this connection covers everything written before."""
    return Call("touch", (), locals(), _read_touch)


class UnplaceReply(NamedTuple):
    """What ``unplace`` replies."""

    status: Literal["ok", "already"]


def _read_unplace(reply: list[Any], items: int) -> UnplaceReply:
    return UnplaceReply(word(reply[0]))


def unplace(*, app: str, namespace: str, partition: int) -> Call[UnplaceReply]:
    """Forget where an app is: it has nothing there any more, and counts no longer among those of its namespace."""
    return Call("unplace", (), locals(), _read_unplace)


class Walked(NamedTuple):
    """An item of ``walk``."""

    kind: str
    name: str


class WalkReply(NamedTuple):
    """What ``walk`` replies."""

    status: Literal["ok", "more"]
    looked: int
    walked: int
    at: str
    member: str
    found: list[str]


def _read_walk(reply: list[Any], items: int) -> WalkReply:
    return WalkReply(word(reply[0]), reply[1], reply[2], text(reply[3]), text(reply[4]), [*map(text, reply[5])])


def walk(items: Sequence[Walked], *, conditions: str, at: str, member: str, looks: int, most: int) -> Call[WalkReply]:
    """Find tasks that are not over, where they stand: on the seats of sessions, in lanes, at timers, in due indexes."""
    return Call(
        "walk", items, {"conditions": conditions, "at": at, "member": member, "looks": looks, "most": most}, _read_walk
    )


class WatchReply(NamedTuple):
    """What ``watch`` replies."""

    status: Literal["ok", "gap"]
    now: int
    upto: int
    changes: list[list[Any]]


def _read_watch(reply: list[Any], items: int) -> WatchReply:
    return WatchReply(word(reply[0]), reply[1], reply[2], reply[3])


def watch(*, since: int) -> Call[WatchReply]:
    """Say that somebody watches what changes here, and tell what has changed."""
    return Call("watch", (), locals(), _read_watch)
