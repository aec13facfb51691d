"""The command budget: what one task life costs the engine, counted by the engine itself, against budget.json.

1. ``INFO commandstats`` counts every command a script calls, so a command more in Lua is seen here and nowhere else.
2. A *life* is what one task goes through, in batches of 1 and of 100, with a parameter of 30 bytes. Its cost is that of
   its steps, per task: commands (in scripts and beside them), round trips, and bytes over the socket in both ways.
3. Submissions and reports come from the gateway that has the session, as with one gateway always and with several
   mostly: what they bind comes with their answer. What is fired comes by the inbox; its trimming is not counted, as it
   is done four times a second, however many hints there were.
4. Everything is warm: lane, group and scripts are known, as they are for all but the first task.
5. Time is given to the scripts as a number. In production each call asks the engine instead, so one ``TIME`` a call is
   added. Nothing here is a latency: the figures are the same on every machine.

A figure that is higher than the file's fails. One that is lower is shown; ``GOJOB_BUDGET=write`` puts it in the file.
"""

import json
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gojob_redis import relay
from gojob_redis.domain import ids
from gojob_redis.domain.hints import Assignment, Hint
from gojob_redis.engine.client import Clients
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from tests import invariants
from tests.conftest import Partition
from tests.lua.world import HANDLER, T0, Dispatch, World

FILE = Path(__file__).with_name("budget.json")
PARAM = b"p" * 30
RESULT = b"\xc0"
IDLE_HANDLER = "default/shop/idle"  # nobody serves it
TOLERANCE = 1.005  # for rounding
SPACING_MS = 200_000  # between two slots: time for the first life to be retired
SCRIPT_CALLS = ("evalsha", "eval")
DIRECT_CALLS = ("xread",)
OURS = ("info", "config|resetstat", "hello", "client|setinfo", "client|setname")

Figures = dict[str, float]
Steps = dict[str, Figures]


@dataclass(frozen=True, slots=True)
class Cost:
    """What the engine counted."""

    commands: int
    round_trips: int
    bytes_in: int
    bytes_out: int

    def per_task(self, tasks: int) -> Figures:
        return {name: round(getattr(self, name) / tasks, 2) for name in self.__slots__}


@dataclass(slots=True)
class Meter:
    """Counts what happens between two looks at the engine."""

    client: Any
    empty: Cost = field(default=Cost(0, 0, 0, 0))

    async def calibrate(self) -> None:
        """Learn what looking itself costs."""
        await self.client.config_resetstat()
        self.empty = await self._read()

    async def count(self, step: Callable[[], Awaitable[Any]]) -> Cost:
        await self.client.config_resetstat()
        await step()
        now = await self._read()
        return Cost(
            now.commands,
            now.round_trips,
            now.bytes_in - self.empty.bytes_in,
            now.bytes_out - self.empty.bytes_out,
        )

    async def _read(self) -> Cost:
        facts = await self.client.info("everything")
        calls = {name.removeprefix("cmdstat_"): facts[name]["calls"] for name in facts if name.startswith("cmdstat_")}
        scripts = sum(calls.pop(name, 0) for name in SCRIPT_CALLS)
        for name in OURS:
            calls.pop(name, 0)
        direct = sum(calls.get(name, 0) for name in DIRECT_CALLS)
        return Cost(
            commands=sum(calls.values()) + scripts,  # + scripts: the TIME each of them reads in production
            round_trips=scripts + direct,
            bytes_in=facts["total_net_input_bytes"],
            bytes_out=facts["total_net_output_bytes"],
        )


@dataclass(slots=True)
class Lives:
    """Takes tasks through their lives, ``batch`` at a time, and counts each step."""

    world: World
    meter: Meter
    inbox: relay.Inbox
    batch: int
    got: list[Dispatch] = field(default_factory=list)

    async def submitted(self) -> Steps:
        """Submitted while a seat is free."""
        alone = await self._count(lambda: self._submit(IDLE_HANDLER))
        both = await self._count(self._submit)
        return {"submit": alone, "bind": _less(both, alone), **await self._from_start_on()}

    async def merged(self) -> Steps:
        """The same, ended before its start was sent: the report says both."""
        steps = {"submit + bind": await self._count(self._submit)}
        steps["start + report"] = await self._count(lambda: self._report(started=self.world.now))
        return steps | {"retire": await self._retired()}

    async def drained(self) -> Steps:
        """Queued first, and bound by the report that frees its seat."""
        await self._submit()
        submit = await self._count(self._submit)
        both = await self._count(self._report)
        steps = {"submit": submit, "bind + report": both, "start": await self._count(self._start)}
        await self._report()
        return steps | {"retire": await self._retired(2)}

    async def fired(self) -> Steps:
        """Fired by a trigger of its own while a seat is free."""
        self.world.now = T0 + SPACING_MS * (1 + (self.world.now - T0) // SPACING_MS)
        await self.world.renew("s1")
        fire = await self._count(self._fire)
        return {"fire + bind": fire, "relay": await self._count(self._relay), **await self._from_start_on()}

    async def _from_start_on(self) -> Steps:
        steps = {"start": await self._count(self._start)}
        steps["report"] = await self._count(self._report)
        return steps | {"retire": await self._retired()}

    async def define(self, overlap: str) -> None:
        """As many triggers as a batch has tasks, all with the same slots."""
        first = T0 + SPACING_MS * (1 + (self.world.now - T0) // SPACING_MS)
        slots = [first + SPACING_MS * n for n in range(5)]
        for number in range(self.batch):
            name, uid = f"{overlap}-{number}", ids.new_trigger_uid()
            await self.world.define(*slots, name=name, uid=uid, overlap=overlap, param=PARAM)

    async def _count(self, step: Callable[[], Awaitable[Any]]) -> Figures:
        return (await self.meter.count(step)).per_task(self.batch)

    async def _submit(self, handler: str = HANDLER) -> None:
        tasks = [ids.submitted_id(0, self.world.now) for _ in range(self.batch)]
        items = [self.world.submission(task, handler, param=PARAM) for task in tasks]
        *words, hints = await self.world.call("submit", items, reply_to=self.inbox.gateway)
        assert set(words[1::2]) == {"ok"}
        self._hear(relay.hints(hints))

    async def _fire(self) -> None:
        reply = await self.world.fire()
        assert reply[:3] == ["ok", self.batch, 0]

    async def _relay(self) -> None:
        read = await self.inbox.read()
        self._hear(hint for _, hints in read for hint in hints)
        assert len(self.got) == self.batch

    def _hear(self, hints: Iterable[Hint]) -> None:
        self.got += [
            Dispatch(hint.session, hint.run, hint.attempt, hint.fence, "")
            for hint in hints
            if isinstance(hint, Assignment)
        ]

    async def _start(self) -> None:
        assert set(await self.world.start(*self.got)) == {"ok"}

    async def _report(self, started: int = 0) -> None:
        ended, self.got = self.got, []
        items = [(run.session, run.run, run.attempt, run.fence, "ok", started, RESULT, "", b"") for run in ended]
        _ok, *words, hints = await self.world.call("report", items, reply_to=self.inbox.gateway)
        assert words == ["accepted"] * self.batch
        self._hear(relay.hints(hints))

    async def _retired(self, times: int = 1) -> Figures:
        """Time passes, and the history goes; counted is one call, which retires a batch."""
        self.world.pass_ms(61_000)
        await self.world.renew("s1")
        for _ in range(times - 1):
            await self._retire()
        return await self._count(self._retire)

    async def _retire(self) -> None:
        reply = await self.world.call(
            "retire", [("handler", HANDLER, 0, 0, 0, 0, 0)], limit=self.batch, wait_ms=7 * 86_400_000
        )
        assert reply[1] == self.batch


def _less(both: Figures, alone: Figures) -> Figures:
    return {name: round(both[name] - alone[name], 2) for name in both}


def total(steps: Steps) -> Figures:
    """The whole life."""
    return {name: round(sum(step[name] for step in steps.values()), 2) for name in next(iter(steps.values()))}


@pytest.fixture
async def world(partition: Partition) -> World:
    """A world on the real Valkey whose clock stands at T0."""
    client: Any = partition.client
    await client.hset(K.meta(partition.prefix), mapping={"raw": T0, "steady": T0})
    return World(partition, nonces=10_000)  # all of one length, or bytes would depend on the order of the lives


@pytest.mark.parametrize("batch", [1, 100])
async def test_a_life_costs_no_more_than_its_budget(
    world: World, batch: int, capsys: pytest.CaptureFixture[str]
) -> None:
    client = world.partition.client
    space = Partitions(Clients(client, client, client), 16)
    lives = Lives(world, Meter(client), relay.Inbox(space, "g1", (space[0],)), batch)
    await lives.meter.calibrate()
    await world.enlist(capacity=batch)
    await lives.submitted()  # opens the connections; from then on nothing is new

    measured = {
        "submitted": await _warm(lives.submitted),
        "submitted, start merged": await _warm(lives.merged),
        "drained": await _warm(lives.drained),
        "fired, overlap allow": await _fired(lives, "allow"),
        "fired": await _fired(lives, "skip"),
    }

    assert not invariants.violations(await world.dump())
    compare(measured, str(batch), capsys.disabled())


async def _warm(life: Callable[[], Awaitable[Steps]]) -> Steps:
    await life()
    return await life()


async def _fired(lives: Lives, overlap: str) -> Steps:
    """``skip`` is the default; its trigger remembers the task before, ``allow`` does not."""
    for name in ("allow", "skip"):
        for number in range(lives.batch):
            await lives.world.call("remove", app="default/shop", name=f"{name}-{number}")
    await lives.define(overlap)
    return await _warm(lives.fired)


def compare(measured: dict[str, Steps], batch: str, shown: AbstractContextManager[None]) -> None:
    """Fail for what is higher than the file says; show what is lower, or write it."""
    budget = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    found = {life: {"total": total(steps), **steps} for life, steps in measured.items()}
    if os.environ.get("GOJOB_BUDGET") == "write":
        budget[batch] = found
        FILE.write_text(_pretty(budget), "utf-8")
        return
    allowed = budget[batch]
    higher = [
        f"{life}: {name} is {now}, its budget {most}"
        for life, name, now, most in _totals(found, allowed)
        if now > most * TOLERANCE
    ]
    lower = [
        f"{life}: {name} {now} < {most}" for life, name, now, most in _totals(found, allowed) if now < most / TOLERANCE
    ]
    if lower:
        with shown:
            print(f"\nbatch {batch} got cheaper; GOJOB_BUDGET=write puts it in {FILE.name}:", *lower, sep="\n  ")
    assert not higher, "\n".join([*higher, _pretty({batch: found})])


def _totals(found: dict[str, Steps], allowed: dict[str, Steps]) -> Iterator[tuple[str, str, float, float]]:
    for life, steps in found.items():
        for name, now in steps["total"].items():
            yield life, name, now, allowed[life]["total"][name]


def _pretty(budget: dict[str, Any]) -> str:
    """JSON with one line a step."""
    text = json.dumps(budget, indent=2)
    for figures in (step for lives in budget.values() for steps in lives.values() for step in steps.values()):
        spread = json.dumps(figures, indent=2).replace("\n", "\n      ")
        text = text.replace(spread, json.dumps(figures))
    return text + "\n"
