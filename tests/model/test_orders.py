"""Every order of a few moves on one task: cancel, start, reports, releases, limits and losses, against the real Lua.

1. Orders that lead to the same keyspace at the same time, with the same messages on their way, go on as one: so all
   orders of 5 moves (59,049) are a few thousand calls. ``GOJOB_MODEL_MOVES=7`` looks at all 4,782,969 orders of 7.
2. The oracle watches each call; besides, the state of the run moves only as ``gojob_redis.domain.states.MOVES`` allows.
"""

import copy
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gojob_redis.domain import states
from gojob_redis.engine import keys
from gojob_redis.engine.client import Client
from tests.lua.world import Dispatch
from tests.model.oracle import Broken, closed
from tests.model.quick import QuickPartition, Snapshot
from tests.model.watched import Watched

MOVES = int(os.environ.get("GOJOB_MODEL_MOVES", "5"))
LEGAL = closed(set(states.MOVES))
TASK = "task-1"
Move = Callable[[Watched], Awaitable[object]]


def quick(world: Watched) -> QuickPartition:
    """The world's partition, which can be put back."""
    assert isinstance(world.partition, QuickPartition)
    return world.partition


def newest(world: Watched) -> Dispatch:
    """What the worker that was asked last knows."""
    return world.messages[-1]


async def cancel(world: Watched) -> None:
    await world.cancel(TASK)


async def start(world: Watched) -> None:
    await world.start(newest(world))


async def report_ok(world: Watched) -> None:
    await world.report(newest(world), value=b"done")


async def report_error(world: Watched) -> None:
    await world.report(newest(world), outcome="error", value=b"boom")


async def report_of_the_first_attempt(world: Watched) -> None:
    """A duplicate, or a report that comes much too late."""
    await world.report(world.messages[0], value=b"done")


async def release(world: Watched) -> None:
    await world.release(newest(world), reason="rejected")


async def accept_limit_passes(world: Watched) -> None:
    await world.pass_by(5_000)
    await renew(world, *(one.session for one in world.sessions()))
    await world.expire()


async def lease_ends(world: Watched) -> None:
    """Of the session that was asked last; the other one is heard."""
    silent = newest(world).session
    await world.pass_by(10_000)
    await renew(world, *(one.session for one in world.sessions() if one.session != silent))
    await world.pass_by(5_000)
    await renew(world, *(one.session for one in world.sessions() if one.session != silent))
    await world.reap()


async def resume_elsewhere(world: Watched) -> None:
    """Its worker loses its gateway and comes home at another one with the run it holds."""
    await world.resume(newest(world).session, newest(world), gateway="g3")


async def renew(world: Watched, *sessions: str) -> None:
    for gateway in sorted({one.gateway for one in world.sessions()}):
        items = [
            (one.session, one.conn, 0, -1, -1, "")
            for one in world.sessions()
            if one.gateway == gateway and one.session in sessions
        ]
        await world.call("renew", items, gateway=gateway)


ALL: tuple[Move, ...] = (
    cancel, start, report_ok, report_error, report_of_the_first_attempt, release, accept_limit_passes, lease_ends,
    resume_elsewhere,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """A world that can be gone back to, and one of the orders that lead there."""

    world: Watched
    engine: Snapshot
    order: tuple[str, ...]

    async def then(self, move: Move, *, last: bool) -> "Point":
        """The point this move leads to; from the ``last`` one nobody goes on."""
        partition = quick(self.world)
        world = copy.copy(self.world)
        world.oracle, world.messages, world.calls = copy.deepcopy(self.world.oracle), [*self.world.messages], []
        order = (*self.order, move.__name__)
        try:
            await move(world)
        except Broken as broken:
            raise Broken(f"{' → '.join(order)}\n{broken}") from None
        before, after = (one.last[f"task:{TASK}"]["state"] for one in (self.world, world))
        assert before == after or (before, after) in LEGAL, f"{' → '.join(order)}: {before} → {after}"
        unchanged = last or world.last == self.world.last
        return Point(world, self.engine if unchanged else await partition.snapshot(), order)

    def key(self) -> object:
        """Equal for points from which the same can happen."""
        oracle, kept = self.world.oracle, {**self.world.last}
        for stream in [name for name in kept if name.startswith(("inbox:", "event", "wake", "attempts:"))]:
            del kept[stream]
        history = (self.world.now, *self.world.messages, *sorted(oracle.settled), *sorted(oracle.explained.items()))
        return repr((history, {name: _ordered(value) for name, value in kept.items()}))


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted(value.items())
    return sorted(value) if isinstance(value, set) else value


async def begun(client: Client, options: dict[str, Any]) -> Point:
    """A task that was just bound, and a second worker for whatever comes back."""
    tag = keys.tags(16)[0]
    partition = QuickPartition(client, tag, keys.prefix(tag))
    world = await Watched.begun(partition, nonce="n")
    for session in ("s1", "s2"):
        await world.fresh_worker(session, labels={}, attributes=(), capacity=1, gateway="g1")
    await world.submit(TASK, **options)
    return Point(world, await partition.snapshot(), ())


@pytest.mark.parametrize(
    ("options", "moves"),
    [
        pytest.param({"retries": 1}, MOVES, id="one retry"),
        pytest.param({"on_lost": "fault", "run_limit": 4_000, "queue_limit": 12_000}, MOVES - 1, id="with limits"),
    ],
)
async def test_every_order_of_moves_on_one_task_is_legal(client: Client, options: dict[str, Any], moves: int) -> None:
    points = [await begun(client, options)]
    ended: set[str] = set()
    for left in reversed(range(moves)):
        found: dict[object, Point] = {}
        for point in points:
            changed = True
            for move in ALL:
                if changed:
                    await quick(point.world).restore(point.engine)
                reached = await point.then(move, last=not left)
                changed = reached.world.last != point.world.last
                ended.add(reached.world.last[f"task:{TASK}"]["state"])
                if left:
                    found.setdefault(reached.key(), reached)
        points = list(found.values())

    assert ended >= {"run_to_completion", "canceled", "faulted", "created"}
