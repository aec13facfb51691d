"""Whatever a person may type to get somewhere: an id, the key of a task, or a part of a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from gojob_redis.domain import ids, limits
from gojob_redis.domain.address import app_of, name_of
from gojob_redis.domain.errors import BadRequest, NotFound
from gojob_redis.domain.states import State, TriggerState
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.view.apps import Sees
from gojob_redis.view.cards import Card
from gojob_redis.view.names import Kind, Name, Names
from gojob_redis.view.records import text
from gojob_redis.view.task_search import TaskSearch, find_tasks, rows_in_order
from gojob_redis.view.tasks import TaskRow, address_of, states_of

SPARE: Final = 20
"""So many more names are looked at than shown, because some may be gone."""
KEYED: Final = 5
"""So many tasks are shown by their key: names should have room, too."""


class ResultKind(StrEnum):
    """What was found."""

    TASK = "task"
    TRIGGER = "trigger"
    REMOVED_TRIGGER = "removed_trigger"
    HANDLER = "handler"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Something that has this id or name."""

    kind: ResultKind
    name: str
    namespace: str
    app: str
    id: str = ""
    """Of a task, of a session; the uid of a trigger."""
    handler: str = ""
    state: State | TriggerState | None = None
    """Of a task or a trigger."""
    path: str
    """The call that shows it."""


async def search(space: Partitions, names: Names, sees: Sees, q: str, *, limit: int) -> list[Result]:
    """What the caller may see and has this id or key, or this text in its name; ids first, then tasks with this key,
    newest first, or with one that begins with it, then names, likeliest first."""
    results = [*await _by_task(space, sees, q), *await _by_uid(space, sees, q), *await _by_key(space, sees, q)]
    listed = list(islice(await names.find(q.lower(), sees), limit + SPARE))
    return [*results, *await _still_there(space, listed)][:limit]


async def _by_task(space: Partitions, sees: Sees, q: str) -> list[Result]:
    try:
        task = ids.parse_task_id(q)
        handler = await address_of(space, task)
    except (BadRequest, NotFound):
        return []
    if not sees(app_of(handler)):
        return []
    [state] = await states_of(space.of_task(task), [task])
    return [
        _result(ResultKind.TASK, app_of(handler), task, id=task, handler=name_of(handler), state=_task_state(state))
    ]


async def _by_key(space: Partitions, sees: Sees, q: str) -> list[Result]:
    """The newest tasks with this very key, which ``GET /v1/tasks?key=`` has all; then keys that begin with it."""
    if not q.isprintable():
        return []
    rows = (await find_tasks(space, TaskSearch(key=q), sees, limit=KEYED)).items
    if len(q) >= limits.KEY_PREFIX_LETTERS and len(rows) < KEYED:
        rows = [*rows, *await _with_longer_key(space, sees, q)][:KEYED]
    return [
        _result(
            ResultKind.TASK,
            row.full_app,
            row.key or row.id,
            id=row.id,
            handler=row.handler,
            state=_task_state(row.state),
        )
        for row in rows
    ]


async def _with_longer_key(space: Partitions, sees: Sees, q: str) -> list[TaskRow]:
    """Tasks whose key begins with this text, in the order of keys; looks at 500 in each partition."""
    first = q.encode()
    asked = [
        ("ZRANGE", K.keyed(prefix), b"[" + first, b"(" + first + b"\xff", "BYLEX", "LIMIT", 0, limits.PAGE_ITEMS)
        for prefix in space.prefixes
    ]
    members = []
    for number, answer in enumerate(await space.read_all(asked)):
        for key, app, task in (text(member).split("\x1f") for member in answer):
            if key != q and sees(app):
                members.append((key, number, task))
    return await rows_in_order([(space[number], task) for _key, number, task in sorted(members)[:KEYED]])


async def _by_uid(space: Partitions, sees: Sees, q: str) -> list[Result]:
    try:
        uid = ids.parse_trigger_uid(q)
    except BadRequest:
        return []
    asked: list[tuple[str, ...]] = []
    for prefix in space.prefixes:
        asked += [("HMGET", K.trigger(prefix, uid), "app", "name", "handler", "state")]
        asked += [("HMGET", K.removed(prefix, uid), "app", "name", "card", "state")]
    results = []
    for at, (app, name, handler, state) in enumerate(await space.read_all(asked)):
        if app is None or not sees(text(app)):
            continue
        kind = ResultKind.REMOVED_TRIGGER if at % 2 else ResultKind.TRIGGER
        own = Card.read(handler or b"").handler if at % 2 else name_of(text(handler))
        results.append(
            _result(
                kind,
                text(app),
                text(name),
                id=uid,
                handler=own,
                state=TriggerState.of(text(state)) if not at % 2 else None,
            )
        )
    return results


async def _still_there(space: Partitions, listed: Sequence[Name]) -> list[Result]:
    """Names as results; triggers only where they are still there."""
    apps = dict.fromkeys(name.app for name in listed if name.kind is Kind.TRIGGER)
    homes = {app: await space.of_app(app) for app in apps}
    triggers = [name for name in listed if name.kind is Kind.TRIGGER]
    asked = [("HGET", K.triggers(homes[name.app].prefix, name.app), name.name) for name in triggers]
    cards = dict(zip(triggers, await space.read_all(asked), strict=True))
    results = []
    for name in listed:
        if name.kind is not Kind.TRIGGER:
            results.append(_result(ResultKind(name.kind), name.app, name.name, id=name.id))
        elif cards[name] is not None:
            card = Card.read(cards[name])
            results.append(
                _result(ResultKind.TRIGGER, name.app, name.name, id=card.uid, handler=card.handler, state=card.state)
            )
    return results


def _task_state(word: str) -> State | None:
    """None for a task that just went, or one of a later release."""
    return State(word) if word in frozenset(State) else None


def _result(
    kind: ResultKind, app: str, name: str, *, id: str = "", handler: str = "", state: State | TriggerState | None = None
) -> Result:
    namespace, _, app_name = app.partition("/")
    below = f"/v1/apps/{app}"
    path = {
        ResultKind.TASK: f"/v1/tasks/{id}",
        ResultKind.TRIGGER: f"{below}/triggers/{name}",
        ResultKind.REMOVED_TRIGGER: f"{below}/slots?uid={id}",
        ResultKind.HANDLER: f"{below}/handlers/{name}",
        ResultKind.WORKER: f"/v1/workers?namespace={namespace}&app={app_name}",
    }[kind]
    return Result(
        kind=kind, name=name, namespace=namespace, app=app_name, id=id, handler=handler, state=state, path=path
    )
