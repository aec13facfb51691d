"""What each durability level loses: acknowledged submissions, and what is left of them after a crash.

The submissions go through the gateway's own group commit, at the rate one process reaches, without HTTP before it.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from gojob_redis.connections.batchers import Batchers
from gojob_redis.control import installation
from gojob_redis.domain import ids, verbs
from gojob_redis.domain.errors import GojobError
from gojob_redis.engine.client import connected
from gojob_redis.engine.durability import Level
from gojob_redis.engine.embedded import Engine
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from tests.faults.rig import Rig, wait
from tests.faults.scenario import Figures, Scale, row
from tests.tools.proxy import Proxy

APP = "default/shop"
STREAMS = 64
LINK_S = 0.02
"""How long the way to the replica takes."""


class Acknowledged:
    """Submits from many callers until it is stopped; keeps what was acknowledged, and when."""

    def __init__(self, space: Partitions, level: Level) -> None:
        self.space = space
        self.level = level
        self.at: dict[str, float] = {}
        self.refused = 0
        self._batchers = Batchers(space, "g1", time.monotonic, deliver=lambda partition, values: None)
        self._stopped = False

    async def run(self) -> None:
        """Submit until ``stop``, or until the engine does not answer any more."""
        await asyncio.gather(*(self._stream(number) for number in range(STREAMS)))

    def stop(self) -> None:
        self._stopped = True

    async def _stream(self, number: int) -> None:
        partition = self.space[number % self.space.count]
        while not self._stopped:
            one = verbs.Submission(ids.submitted_id(partition.number, time.time_ns() // 1_000_000), f"{APP}/send", APP)
            try:
                await self._batchers.submit(partition, self.level).put(one, tenant=APP, size=400)
            except GojobError:
                self.refused += 1
            else:
                self.at[one.task] = time.monotonic()

    async def left(self, space: Partitions) -> set[str]:
        """Which of them an engine still has."""
        stored = set()
        names = list(self.at)
        for first in range(0, len(names), 1_000):
            page = names[first : first + 1_000]
            asked = [("EXISTS", K.task(space.prefixes[ids.partition_of(name)], name)) for name in page]
            # A connection from before the kill is found out by the first that uses it.
            answers = await space.read_all(asked)
            stored |= {name for name, there in zip(page, answers, strict=True) if there}
        return stored


@row(
    5,
    "what each level loses in a failover",
    targets={"fast_lost": ">= 1", "replicated_lost": "== 0", "replicated_acknowledged": ">= 1000"},
    short=False,
)
async def failover(rig: Rig, scale: Scale) -> Figures:
    """The primary is killed under load and its replica promoted: what was acknowledged, and what the replica has."""
    rig.system.start_engine()  # the one that is judged; nothing happens there
    figures: Figures = {"link_ms": round(LINK_S * 1000)}
    for level in (Level.FAST, Level.REPLICATED):
        async with _pair(rig.system.directory / level.value) as (primary, replica), connected(primary.url) as clients:
            submitting = Acknowledged(await _bootstrapped(clients, replicated=True), level)
            running = asyncio.create_task(submitting.run())
            await wait(scale.of(5.0, 2.0))
            primary.kill()
            submitting.stop()
            acknowledged = dict(submitting.at)
            async with connected(replica.url) as others:
                await others.admin.execute_command("REPLICAOF", "NO", "ONE")
                left = await submitting.left(Partitions(others, 4))
            with suppress(TimeoutError):
                async with asyncio.timeout(20):
                    await running
        figures[f"{level.value}_acknowledged"] = len(acknowledged)
        figures[f"{level.value}_lost"] = len(acknowledged.keys() - left)
    return figures


@row(
    4,
    "what each level leaves unsynced",
    targets={"everysec_lost_by_kill": "== 0", "synced_lost_by_kill": "== 0", "everysec_at_risk": ">= 1"},
    short=False,
)
async def unsynced(rig: Rig, scale: Scale) -> Figures:
    """What was acknowledged and stood on no disk yet when the process was killed: lost if it had been the machine.

    ``synced`` has no such figure: each of its acknowledgements came after WAITAOF said that it is on the disk.
    """
    rig.system.start_engine()
    figures: Figures = {}
    for level, fsync in ((Level.FAST, "everysec"), (Level.SYNCED, "always")):
        name = "synced" if level is Level.SYNCED else "everysec"
        with Engine(rig.system.directory / name, fsync=fsync) as engine:  # type: ignore[arg-type]
            async with connected(engine.url) as clients:
                submitting = Acknowledged(await _bootstrapped(clients, replicated=False), level)
                running = asyncio.create_task(submitting.run())
                synced = asyncio.create_task(_last_synced(clients.admin))
                await wait(scale.of(5.0, 3.0))
                synced_at = await _stop(synced)
                engine.kill()
                submitting.stop()
                acknowledged = dict(submitting.at)
                engine.start()
                left = await submitting.left(submitting.space)
                with suppress(TimeoutError):
                    async with asyncio.timeout(20):
                        await running
            # A marker that is on the disk says so for all that was written before it.
            at_risk = sum(at > synced_at for at in acknowledged.values())
        figures[f"{name}_acknowledged"] = len(acknowledged)
        figures[f"{name}_lost_by_kill"] = len(acknowledged.keys() - left)
        if level is Level.FAST:
            figures[f"{name}_at_risk"] = at_risk
    return figures


_synced_at = [0.0]


async def _last_synced(client: Any) -> None:
    """Write a marker, wait until it is on the disk, and again."""
    while True:
        began = time.monotonic()
        async with client.pipeline(transaction=False) as pipe:
            pipe.set("marker", "1")
            pipe.execute_command("WAITAOF", 1, 0, 0)
            await pipe.execute()
        _synced_at[0] = began


async def _stop(looking: "asyncio.Task[None]") -> float:
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    return _synced_at[0]


async def _bootstrapped(clients: Any, *, replicated: bool) -> Partitions:
    space = Partitions(clients, 4)
    await installation.bootstrap_or_open(space)
    if replicated:
        async with asyncio.timeout(20):
            while True:
                with suppress(GojobError):
                    await space[0].confirm(Level.REPLICATED)
                    break
    return space


@asynccontextmanager
async def _pair(directory: Path) -> AsyncIterator[tuple[Engine, Engine]]:
    """A primary, and a replica that is a slow link away."""
    with ExitStack() as stack:
        primary = stack.enter_context(Engine(directory / "primary", port=0, settings={"repl-diskless-sync-delay": "0"}))
        link = stack.enter_context(Proxy(primary.port or 0))
        follows = {"replicaof": f"127.0.0.1 {link.port}", "masterauth": primary.password}
        replica = stack.enter_context(Engine(directory / "replica", settings=follows))
        link.delay(LINK_S)
        yield primary, replica
