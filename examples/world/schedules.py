"""The triggers of the world: some fired all along, most were made lately and stand for what is planned."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from random import Random
from typing import Final

import msgpack

from examples.world.plan import SEED, Handler, Size, World
from gojob_redis.domain import ids, limits, policies, verbs
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.planning.planner import Agenda, plan_agenda
from gojob_redis.schedules.schedule import Cron, Every, Manual, Schedule, as_line, as_mapping

FIRED_PART: Final = 0.25
"""Of all tasks of the past, as many came from triggers."""
OFTEN_PART: Final = 0.7
"""Of these, from triggers that fire every other hour; the others fire once a day."""
OFTEN: Final = "0 */2 * * *"
QUICK_MS: Final = 300
"""Handlers of such triggers last no longer as a rule: what fires together can be reported together."""
ZONES: Final = ("UTC", "UTC", "Europe/Berlin", "Asia/Shanghai", "America/New_York")
AT_ONCE: Final = 50
"""So many definitions are under way at a time."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One trigger that is to be defined."""

    name: str
    handler: Handler
    schedule: Schedule
    active: bool = True


def old(world: World) -> list[Planned]:
    """Those that fire in the past: on every other full hour, so that many are due at a time."""
    random, size = Random(f"{SEED} old"), world.size
    fired = size.tasks * FIRED_PART
    often = min(round(fired * OFTEN_PART / (12 * size.days)), size.triggers // 2)
    daily = min(round(fired * (1 - OFTEN_PART) / size.days), size.triggers // 2)
    specs = [OFTEN] * often + [f"0 {2 * int(random.triangular(0, 11.99, 1))} * * *" for _ in range(daily)]
    quick = [handler for handler in world.handlers if handler.typical_ms <= QUICK_MS]
    return list(_named("old", specs, quick, random))


def fired_by(planned: Sequence[Planned], size: Size) -> int:
    """How many tasks these make in the past."""
    return sum(size.days * (12 if each.schedule == _cron(OFTEN, "UTC") else 1) for each in planned)


def _named(prefix: str, specs: Sequence[str], handlers: Sequence[Handler], random: Random) -> Iterator[Planned]:
    for number, spec in enumerate(specs):
        handler = random.choice(handlers)
        yield Planned(f"{prefix}-{handler.name}-{number:05d}", handler, _cron(spec, "UTC"))


def new(world: World, number: int, now_ms: int) -> Iterator[Planned]:
    """Those that were made lately: daily at any minute, mostly by night, weekly, monthly, and some without a rule."""
    random = Random(f"{SEED} new")
    for at in range(number):
        handler = random.choice(world.handlers)
        minute, hour = random.choice((0, 0, 0, 30, random.randrange(0, 60, 5))), int(random.triangular(0, 23.99, 2))
        kind = random.random()
        schedule: Schedule
        if kind < 0.55:
            schedule = _cron(f"{minute} {hour} * * *", random.choice(ZONES))
        elif kind < 0.8:
            schedule = _cron(f"{minute // 30 * 30} {hour} * * {random.randrange(7)}", random.choice(ZONES))
        elif kind < 0.95:
            schedule = _cron(f"0 {hour} {random.randrange(1, 29)} * *", random.choice(ZONES))
        elif kind < 0.97:
            schedule = Every(6 * limits.HOUR_MS, now_ms + random.randrange(360) * limits.MINUTE_MS)
        else:
            schedule = Manual()
        yield Planned(f"{handler.name}-{at:06d}", handler, schedule, active=random.random() > 0.02)


@cache
def _cron(spec: str, time_zone: str) -> Cron:
    return Cron(spec, time_zone)


async def define_all(space: Partitions, planned: Iterator[Planned], now_ms: int) -> int:
    """Define them as the planner would, the agenda of each rule computed once; how many there were."""
    total, gate, tasks = 0, asyncio.Semaphore(AT_ONCE), set[asyncio.Task[None]]()
    agendas = lru_cache(maxsize=100_000)(lambda schedule: plan_agenda(schedule, now_ms))

    async def define(partition: Partition, each: Planned) -> None:
        try:
            await partition.call(_definition(each, agendas(each.schedule), now_ms))
        finally:
            gate.release()

    for each in planned:
        await gate.acquire()
        task = asyncio.create_task(define(await space.of_app(each.handler.app), each))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        total += 1
    await asyncio.gather(*tasks)
    return total


def _definition(each: Planned, agenda: Agenda, now_ms: int) -> verbs.Call[verbs.DefineReply]:
    return verbs.define(
        app=each.handler.app,
        name=each.name,
        uid=ids.new_trigger_uid(),
        change=ids.new_session_id(),
        revision=-1,
        active=int(each.active),
        state="active" if each.active else "paused",
        handler=each.handler.address,
        owner=each.handler.app,
        rule=as_line(each.schedule),
        labels="",
        attribute="",
        shards=1,
        shard_params=b"",
        policies=policies.write({"overlap": "allow"}),
        param=msgpack.packb({"trigger": each.name}),
        definition=msgpack.packb({"schedule": as_mapping(each.schedule), "body": b"", "changed_ms": now_ms}),
        times=",".join(map(str, agenda.times)),
        planned=agenda.planned,
        low_at=agenda.low_at,
        over=int(agenda.over),
        most=limits.TRIGGERS_PER_APP,
        quotas="",
    )
