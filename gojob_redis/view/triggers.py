"""Triggers as users see them: the definition, when it fires next, and what became of each slot."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import msgpack

from gojob_redis.domain import ids, limits
from gojob_redis.domain.errors import NotFound
from gojob_redis.domain.names import nearest
from gojob_redis.domain.states import SlotReason, SlotWord, TriggerState
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.cards import Card, uid_in
from gojob_redis.view.pages import Index, Page, names_near
from gojob_redis.view.records import home, number, some, text
from gojob_redis.view.values import Turn, at_once

NEXT_TIMES = 10
_REASONS = frozenset(SlotReason)

_FACTS = (
    "name",
    "revision",
    "handler",
    "changed",
    "last_slot",
    "definition",
    "live",
    "over",
    "shards",
    "policies",
    "state",
    "owner",
    "paused",
    "sources",
)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A stored trigger."""

    uid: str
    app: str
    """namespace/app"""
    name: str
    handler: str
    """namespace/app/handler"""
    revision: int
    state: TriggerState
    owner: str
    paused: bool
    """Somebody paused it, perhaps besides disabling it."""
    changed_ms: int
    """When somebody changed it last. Its schedule may begin earlier, as a single moment in the past does."""
    last_slot_ms: int | None
    next_times: list[int]
    schedule: dict[str, Any]
    body: bytes
    """What the user wrote, as it was given to ``trigger.define``."""
    is_over: bool
    """The schedule has no slot after the next times."""
    shards: int
    policies: str
    """Those that hold for it, as ``policies.write`` makes them."""
    sources: str
    """Who said each, as ``defaults.write_sources`` makes it."""
    live: list[str]
    """Tasks its overlap policy watches; some may have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One ledger entry: what became of a slot, or of a range of slots."""

    word: SlotWord
    slot_ms: int
    """The slot; the last of a range; for ``manual`` when it was asked for."""
    task: str = ""
    late_ms: int | None = None
    reason: SlotReason = SlotReason.NONE
    first_ms: int | None = None
    count: int = 1


async def count(space: Partitions, app: str) -> int:
    """How many triggers an app has."""
    partition = await home(space, app)
    return 0 if partition is None else int((await partition.read([("HLEN", K.triggers(partition.prefix, app))]))[0])


async def find(space: Partitions, app: str, name: str) -> tuple[Partition, str] | None:
    """The partition and uid of a trigger; None when there is no such trigger."""
    partition = await home(space, app)
    if partition is None:
        return None
    [card] = await partition.read([("HGET", K.triggers(partition.prefix, app), name)])
    uid = uid_in(card)
    return None if uid is None else (partition, uid)


async def uid_of(space: Partitions, app: str, name: str) -> tuple[Partition, str]:
    """The partition and uid of a trigger; raises NotFound ``unknown_trigger`` with the nearest names."""
    place = await find(space, app, name)
    if place is not None:
        return place
    partition = await home(space, app)
    near: list[str] = []
    if partition is not None:
        near = await names_near(partition, K.trigger_names(partition.prefix, app), name)
    likely = nearest(name, near)
    raise NotFound(
        "unknown_trigger",
        f"App {app} has no trigger {name!r}.",
        field="trigger",
        hint=f"Did you mean {' or '.join(likely)}?" if likely else "Define it with PUT.",
    )


async def home_of_uid(space: Partitions, app: str, uid: str) -> Partition:
    """The partition that keeps the ledger of this app's trigger, also of a removed one.

    Raises BadRequest ``bad_id``, NotFound ``unknown_trigger``, also for a trigger of another app.
    """
    ids.parse_trigger_uid(uid)
    partition = await home(space, app)
    if partition is not None:
        prefix = partition.prefix
        asked = [("HGET", K.trigger(prefix, uid), "app"), ("HGET", K.removed(prefix, uid), "app")]
        if app in map(text, await partition.read(asked)):
            return partition
    raise NotFound(
        "unknown_trigger",
        f"App {app} has no trigger with this uid.",
        field="uid",
        hint="Its ledger may be gone: it is kept for 30 days.",
    )


@dataclass(frozen=True, slots=True)
class Removed:
    """A trigger that was removed, and whose ledger is kept."""

    uid: str
    name: str
    handler: str
    """Its name in its app."""
    owner: str
    removed_ms: int


async def removed(space: Partitions, app: str, *, cursor: str = "", limit: int = limits.PAGE_ITEMS) -> Page[Removed]:
    """The triggers of an app that were removed in the last 30 days, newest first."""
    partition = await home(space, app)
    if partition is None:
        return Page([], None)
    prefix = partition.prefix
    rows, after = await Index(K.removals(prefix, app), newest_first=True).page(partition, cursor, limit)
    answers = await partition.read([("HMGET", K.removed(prefix, uid), "name", "at", "card") for uid, _at in rows])
    kept = [
        Removed(uid, text(name), (of := Card.read(card or b"")).handler, of.owner, number(at))
        for (uid, _at), (name, at, card) in zip(rows, answers, strict=True)
        if name is not None
    ]
    return Page(kept, after)


async def find_trigger(space: Partitions, app: str, name: str, turn: Turn = at_once) -> Trigger | None:
    """One trigger; None if there is no such trigger. Looks for no similar names."""
    place = await find(space, app, name)
    return None if place is None else (await _read(place[0], app, [place[1]], turn))[0]


async def trigger(space: Partitions, app: str, name: str, turn: Turn = at_once) -> Trigger:
    """One trigger; raises NotFound ``unknown_trigger``."""
    partition, uid = await uid_of(space, app, name)
    [stored] = await _read(partition, app, [uid], turn)
    if stored is None:  # removed between the two reads
        raise NotFound("unknown_trigger", f"App {app} has no trigger {name!r} any more.", field="trigger", hint="")
    return stored


async def _read(partition: Partition, app: str, uids: list[str], turn: Turn) -> list[Trigger | None]:
    prefix = partition.prefix
    commands: list[tuple[str | int, ...]] = []
    for uid in uids:
        commands += [
            ("HMGET", K.trigger(prefix, uid), *_FACTS),
            ("ZSCORE", K.due(prefix, app), uid),
            ("LRANGE", K.agenda(prefix, uid), 0, NEXT_TIMES - 2),
        ]
    answers = await turn(partial(partition.read, commands))
    return [_trigger(uid, app, *answers[3 * at : 3 * at + 3]) for at, uid in enumerate(uids)]


def _unpacked(definition: bytes | None) -> dict[str, Any]:
    """The stored definition; empty if it cannot be read."""
    try:
        unpacked = msgpack.unpackb(definition) if definition else {}
    except (ValueError, msgpack.UnpackException):
        return {}
    return unpacked if isinstance(unpacked, dict) else {}


def _trigger(uid: str, app: str, facts: list[bytes | None], due: Any, agenda: list[bytes]) -> Trigger | None:
    (name, revision, handler, changed, last_slot, definition, live, over, shards, said_policies, state, owner, paused,
     sources) = facts  # fmt: skip
    if name is None:
        return None
    stored = _unpacked(definition)
    return Trigger(
        uid=uid,
        app=app,
        name=text(name),
        handler=text(handler),
        revision=number(revision),
        state=TriggerState.of(text(state)),
        owner=text(owner),
        paused=paused == b"1",
        changed_ms=max(said_at if isinstance(said_at := stored.get("changed_ms"), int) else 0, number(changed)),
        last_slot_ms=some(last_slot),
        next_times=[] if due is None else [int(float(due)), *map(int, agenda)],
        schedule=stored.get("schedule", {}),
        body=stored.get("body", b""),
        is_over=over == b"1",
        shards=number(shards) or 1,
        policies=text(said_policies),
        sources=text(sources),
        live=text(live).split(),
    )


async def slots(partition: Partition, uid: str, *, cursor: str = "", limit: int = limits.PAGE_ITEMS) -> Page[Slot]:
    """The ledger of a trigger, newest first."""
    index = Index(K.ledger(partition.prefix, uid), newest_first=True)
    rows, after = await index.page(partition, cursor, limit)
    return Page([slot_of(partition.number, uid, member, score) for member, score in rows], after)


def slot_of(partition: int, uid: str, entry: str, at: int) -> Slot:
    """What an entry of a ledger says; partition: by its number."""
    match entry.split(" "):
        case ["fired", slot, late]:
            task = ids.fired_id(partition, ids.TriggerUid(uid), int(slot))
            return Slot(word=SlotWord.FIRED, slot_ms=int(slot), late_ms=int(late), task=task)
        case ["skipped", slot, reason]:
            return Slot(word=SlotWord.SKIPPED, slot_ms=int(slot), reason=_reason(reason))
        case ["coalesced", last, first, count, reason]:
            word, why = SlotWord.COALESCED, _reason(reason)
            return Slot(word=word, slot_ms=int(last), first_ms=int(first), count=int(count), reason=why)
        case ["manual", task]:
            return Slot(word=SlotWord.MANUAL, slot_ms=at, task=task)
    return Slot(word=SlotWord.UNKNOWN, slot_ms=at)


def _reason(word: str) -> SlotReason:
    return SlotReason(word) if word in _REASONS else SlotReason.UNKNOWN
