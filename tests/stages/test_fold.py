"""gojob_redis/maintenance/fold.py: what happened is added up once, whoever does it and whatever happens meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgpack
import pytest

from gojob_redis.domain import ids, limits, verbs
from gojob_redis.domain.fingerprint import failure_of, packed
from gojob_redis.domain.names import group_id
from gojob_redis.domain.tally import Failures, Sum, unpack_ends
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.engine.sums import failures_in, unpack, unpack_day, unpack_sum
from gojob_redis.maintenance import versions
from gojob_redis.maintenance.fold import ENTRIES, Fold
from gojob_redis.planning.define import Definition, define, remove
from gojob_redis.planning.planner import Planner
from gojob_redis.schedules.schedule import Cron, Every, Schedule
from gojob_redis.trigger import Fire
from tests import invariants
from tests.lua.world import with_policies
from tests.stages.conftest import T0, Clock
from tests.tools import keyspace

APP = "default/shop"
SEND = f"{APP}/send"
MINUTE = T0 // limits.MINUTE_MS
TEN = T0 // (10 * limits.MINUTE_MS)
DAY, AT = divmod(TEN, 144)


@dataclass(slots=True)
class Stats:
    """A partition in which things happen, and what is known of them."""

    space: Partitions
    clock: Clock
    partition: Partition
    fold: Fold

    @property
    def prefix(self) -> str:
        return self.partition.prefix

    async def read(self, *command: str | int) -> Any:
        return (await self.partition.read([command]))[0]

    async def submit(self, count: int = 1) -> list[str]:
        tasks = [ids.submitted_id(self.partition.number, self.clock.ms) for _ in range(count)]
        await self.partition.call(verbs.submit([verbs.Submission(task, SEND, APP) for task in tasks]))
        return list(tasks)

    async def enlist(self) -> None:
        given = {"labels": "", "attributes": "", "capacity": 100, "gateway": "g1", "conn": 1, "holder": "key"}
        group = group_id(APP, [SEND], {})
        await self.partition.call(
            verbs.enlist([verbs.Enlistment("s1", APP, group, SEND, name="w", facts=b"", **given)])  # type: ignore[arg-type]
        )

    async def end(self, tasks: Sequence[str], outcome: str = "ok", *, after_ms: int = 100) -> None:
        """Start all of these that are bound, and end them some time later."""
        records = [await self.read("HGETALL", K.task(self.prefix, task)) for task in tasks]
        held = [
            ("s1", task, int(record[b"attempt"]), record[b"fence"].decode())
            for task, record in zip(tasks, records, strict=True)
        ]
        await self.partition.call(verbs.start([verbs.Start(*each) for each in held]))
        self.clock.ms += after_ms
        await self.partition.call(verbs.report([verbs.Report(*each, outcome, 0, b"", "final") for each in held]))

    async def define(self, name: str, schedule: Schedule, **policies: Any) -> str:
        given = with_policies({"overlap": "allow", **policies})["policies"]
        definition = Definition(app=APP, name=name, handler=SEND, schedule=schedule, policies=given)
        return (await define(self.space, definition)).uid

    async def fire(self) -> list[str]:
        """Fire what is due; returns the tasks."""
        before = {name async for name in self.space.clients.admin.scan_iter(match="*task:*")}
        fire = Fire(self.space, Planner(self.space))
        await fire.run_once()
        names = {name async for name in self.space.clients.admin.scan_iter(match="*task:*")} - before
        return sorted(name.decode().rpartition(":")[2] for name in names)

    async def total(self, subject: str = SEND) -> Sum:
        return unpack_sum(await self.read("GET", K.totals(self.prefix, subject)))

    async def minute(self, minute: int = MINUTE, subject: str = SEND) -> Sum:
        return unpack_sum(await self.read("HGET", K.minute(self.prefix, str(minute)), subject))


@pytest.fixture
async def stats(space: Partitions, clock: Clock) -> Stats:
    partition = await space.of_app(APP)
    return Stats(space, clock, partition, Fold(space))


async def test_what_happened_is_counted_by_handler_and_by_app(stats: Stats) -> None:
    await stats.enlist()
    tasks = await stats.submit(3)
    await stats.end(tasks)

    await stats.fold.run_once()

    for subject in (SEND, APP):
        own = await stats.total(subject)
        assert own.counts == {"submitted": 3, "started": 3, "stopped": 3, "completed": 3}
        assert (own.duration.count, own.duration.sum_ms, own.last_ended_ms) == (3, 300, T0 + 100)
        assert own == await stats.minute(subject=subject)
    assert not await stats.read("XLEN", K.tally(stats.prefix))
    assert invariants.miscounts(await keyspace.dump(stats.space.clients.admin, stats.prefix)) == []


async def test_what_is_folded_twice_is_counted_once(stats: Stats) -> None:
    await stats.submit(2)
    await stats.fold.run_once()

    await stats.fold.run_once()
    await Fold(stats.space).run_once()

    assert (await stats.total()).counts == {"submitted": 2}


async def test_sums_that_another_replica_overtook_are_not_written(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stats.submit(2)
    slow, read = Fold(stats.space), Fold.items_of

    async def overtaken(self: Fold, partition: Partition, tallied: Any) -> Any:
        items = await read(self, partition, tallied)
        monkeypatch.setattr(Fold, "items_of", read)
        await stats.fold.run_once()
        await stats.submit(1)
        return items

    monkeypatch.setattr(Fold, "items_of", overtaken)
    await slow.run_once()

    assert (await stats.total()).counts == {"submitted": 2}
    await slow.run_once()
    assert (await stats.total()).counts == {"submitted": 3}


async def test_a_call_that_is_repeated_changes_nothing(stats: Stats) -> None:
    item = verbs.FoldItem("total", SEND, "", b"x", 0)
    first = await stats.partition.call(verbs.fold([item], turn=0))

    again = await stats.partition.call(verbs.fold([item._replace(value=b"y")], turn=0))

    assert (first.status, again.status) == ("ok", "stale")
    assert await stats.read("GET", K.totals(stats.prefix, SEND)) == b"x"


async def test_a_minute_is_added_to_by_what_comes_later(stats: Stats) -> None:
    for _ in range(3):
        await stats.submit()
        await stats.fold.run_once()

    stats.clock.ms += limits.MINUTE_MS
    await stats.submit()
    await stats.fold.run_once()

    assert [(await stats.minute(at)).counts["submitted"] for at in (MINUTE, MINUTE + 1)] == [3, 1]
    assert (await stats.total()).counts == {"submitted": 4}


async def test_more_than_one_call_takes_is_folded_by_several(stats: Stats) -> None:
    for _ in range(ENTRIES + 1):
        await stats.submit()

    await stats.fold.run_once()

    assert (await stats.total()).counts == {"submitted": ENTRIES + 1}
    assert stats.fold.folded == ENTRIES + 1


async def test_entries_that_were_lost_unfolded_are_counted_and_told(stats: Stats) -> None:
    for _ in range(5):
        await stats.submit()
    await stats.space.clients.admin.xtrim(K.tally(stats.prefix), maxlen=2, approximate=False)

    await stats.fold.run_once()
    await stats.submit()
    await stats.fold.run_once()

    assert (await stats.total()).counts == {"submitted": 3}
    assert await stats.read("HGET", K.meta(stats.prefix), "stats_gap") == b"3"
    [event] = keyspace.events(await keyspace.dump(stats.space.clients.admin, stats.prefix))
    assert (event["kind"], event["entries"]) == ("stats_gap", "3")


async def test_the_others_fold_only_what_the_preferred_replica_leaves(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_000.0
    monkeypatch.setattr("gojob_redis.maintenance.fold.time.monotonic", lambda: now_s)
    other = Fold(stats.space, prefers=lambda _partition: False)
    await stats.submit()

    await other.run_once()
    now_s += 9.0
    await other.run_once()
    assert other.folded == 0
    now_s += 1.0
    await other.run_once()

    assert other.folded == 1


# ---- longer times ----------------------------------------------------------------------------------------------------


async def test_ten_minutes_and_half_an_hour_are_the_sum_of_their_minutes(stats: Stats) -> None:
    for _ in range(4):
        await stats.submit()
        await stats.fold.run_once()
        stats.clock.ms += 9 * limits.MINUTE_MS
    await stats.partition.call(verbs.now())
    for _ in range(5):
        await stats.fold.run_once()

    tens = unpack_day(await stats.read("GET", K.tens(stats.prefix, SEND, str(DAY))))
    halves = unpack_day(await stats.read("GET", K.halves(stats.prefix, SEND, str(DAY))))

    assert {at: Sum.of(part).counts["submitted"] for at, part in tens.items()} == {AT: 2, AT + 1: 1, AT + 2: 1}
    assert sum(Sum.of(part).counts["submitted"] for part in halves.values()) == 4
    assert await stats.read("ZCARD", K.unrolled(stats.prefix)) == 0


async def test_ten_minutes_that_are_not_over_are_not_rolled(stats: Stats) -> None:
    await stats.submit()
    await stats.fold.run_once()

    await stats.fold.run_once()

    assert await stats.read("ZCARD", K.unrolled(stats.prefix)) == 1


async def test_more_handlers_than_one_call_writes_are_rolled_in_several(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ROLL_SUBJECTS", 3)
    handlers = [f"{APP}/h{number}" for number in range(7)]
    for handler in handlers:
        task = ids.submitted_id(stats.partition.number, stats.clock.ms)
        await stats.partition.call(verbs.submit([verbs.Submission(task, handler, APP)]))
    await stats.fold.run_once()
    stats.clock.ms += 11 * limits.MINUTE_MS
    await stats.partition.call(verbs.now())

    await stats.fold.run_once()

    for subject in (*handlers, APP):
        tens = unpack_day(await stats.read("GET", K.tens(stats.prefix, subject, str(DAY))))
        assert Sum.of(tens[AT]).counts["submitted"] == (7 if subject == APP else 1)
    assert await stats.read("ZCARD", K.unrolled(stats.prefix)) == 0


async def test_everything_that_is_kept_of_a_time_has_an_end(stats: Stats) -> None:
    await stats.enlist()
    await stats.end(await stats.submit())
    await stats.fold.run_once()
    stats.clock.ms += 11 * limits.MINUTE_MS
    await stats.partition.call(verbs.now())
    await stats.fold.run_once()

    names = [
        K.minute(stats.prefix, str(MINUTE)),
        K.totals(stats.prefix, SEND),
        K.tens(stats.prefix, SEND, str(DAY)),
        K.halves(stats.prefix, SEND, str(DAY)),
        K.slowest(stats.prefix, SEND, str(T0 // limits.HOUR_MS)),
    ]
    assert all([await stats.read("PTTL", name) > limits.HOUR_MS for name in names])


async def test_the_longest_of_an_hour_are_kept(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STATS_SLOWEST", 2)
    await stats.enlist()
    tasks = await stats.submit(3)
    for task, after_ms in zip(tasks, (300, 100, 200), strict=True):
        await stats.end([task], after_ms=after_ms)
        await stats.fold.run_once()

    longest = unpack(await stats.read("GET", K.slowest(stats.prefix, SEND, str(T0 // limits.HOUR_MS))))

    assert longest == [[300, tasks[0]], [200, tasks[2]]]


# ---- by trigger ------------------------------------------------------------------------------------------------------


async def test_a_trigger_has_a_ring_of_its_last_ends(stats: Stats) -> None:
    await stats.enlist()
    uid = await stats.define("t", Every(1_000, T0))
    for outcome in ("ok", "error"):
        stats.clock.ms += 1_000
        await stats.end(await stats.fire(), outcome)
        await stats.fold.run_once()

    ends = list(unpack_ends(await stats.read("GET", K.ring(stats.prefix, uid))))

    assert [end.state for end in ends] == ["completed", "faulted"]
    assert [end.slot_ms - ends[0].slot_ms for end in ends] == [0, 1_000]
    assert all(abs(end.duration_ms - 100) <= 1 for end in ends)


async def test_a_ring_keeps_200_ends_at_least_and_never_400(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = await stats.define("t", Every(3_600_000, T0))
    ends = b"".join(b"c\x00\x00\x00" + number.to_bytes(4, "big") for number in range(450))
    kept = []
    for turn, at in enumerate(range(0, 450, 50)):
        item = verbs.FoldItem("ring", uid, APP, ends[8 * at : 8 * at + 400], 0)
        await stats.partition.call(verbs.fold([item], turn=turn))
        kept.append(await stats.read("STRLEN", K.ring(stats.prefix, uid)) // 8)

    assert kept == [50, 100, 150, 200, 250, 300, 350, 200, 250]
    assert (await stats.read("GET", K.ring(stats.prefix, uid))) == ends[-250 * 8 :]


async def test_a_trigger_is_troubled_until_a_task_of_it_ends_well(stats: Stats) -> None:
    await stats.enlist()
    uid = await stats.define("t", Every(500, T0))
    troubled = []
    for outcome in ("ok", "error", "error", "ok"):
        stats.clock.ms += 500
        await stats.end(await stats.fire(), outcome)
        await stats.fold.run_once()
        troubled.append(await stats.read("SMEMBERS", K.troubled(stats.prefix, APP)))

    assert troubled == [set(), {uid.encode()}, {uid.encode()}, set()]


async def test_the_days_of_a_trigger_are_those_of_its_zone(stats: Stats) -> None:
    # T0 is 8:00 in Greenwich, 21:00 in Tokyo is 12:00 there; 00:30 in Tokyo is 15:30 of the day before.
    await stats.enlist()
    uid = await stats.define("t", Cron("30 0 * * *", "Asia/Tokyo"))
    day = limits.DAY_MS
    half_past = T0 - T0 % day + 15 * limits.HOUR_MS + 30 * limits.MINUTE_MS
    stats.clock.ms = half_past if half_past > T0 else half_past + day
    slot_day = stats.clock.ms // day
    await stats.partition.call(verbs.now())
    await stats.end(await stats.fire(), "error")

    await stats.fold.run_once()

    local = slot_day + 1
    days = await stats.read("HGETALL", K.days(stats.prefix, uid, str(local // 32)))
    assert days == {f"{local}f".encode(): b"1"}


async def test_a_skipped_slot_is_counted_on_its_day(stats: Stats) -> None:
    uid = await stats.define("t", Every(1_000, T0), overlap="skip")
    stats.clock.ms += 1_000
    await stats.fire()
    stats.clock.ms += 1_000
    await stats.fire()

    await stats.fold.run_once()

    today = T0 // limits.DAY_MS
    assert await stats.read("HGETALL", K.days(stats.prefix, uid, str(today // 32))) == {f"{today}k".encode(): b"1"}
    assert (await stats.total()).reasons("skipped") == {"overlap": 1}


async def test_slots_that_the_planner_passed_over_are_counted_by_handler_app_and_day(stats: Stats) -> None:
    uid = await stats.define("t", Every(1_000, T0))
    planned = limits.AGENDA_MAX
    stats.clock.ms += 1_000 * (planned + 500)
    await stats.fire()
    await Planner(stats.space).run_once()
    await stats.fire()

    await stats.fold.run_once()

    days = await stats.read("HGETALL", K.days(stats.prefix, uid, str(T0 // limits.DAY_MS // 32)))
    assert days == {f"{T0 // limits.DAY_MS}m".encode(): str(planned + 499).encode()}
    for subject in (SEND, APP):
        assert (await stats.total(subject)).counts == {"missed": planned + 499, "fired": 1}
    assert invariants.miscounts(await keyspace.dump(stats.space.clients.admin, stats.prefix)) == []


async def test_a_removed_trigger_leaves_nothing_that_is_counted_by_trigger(stats: Stats) -> None:
    await stats.enlist()
    uid = await stats.define("t", Every(1_000, T0))
    tasks = []
    for _ in range(2):
        stats.clock.ms += 1_000
        tasks += await stats.fire()
    await stats.end(tasks[:1], "error")
    await stats.fold.run_once()
    assert await stats.read("SCARD", K.troubled(stats.prefix, APP)) == 1

    await remove(stats.space, APP, "t")
    await stats.end(tasks[1:], "error")
    await stats.fold.run_once()

    names = {name async for name in stats.space.clients.admin.scan_iter(match=f"*{uid}*")}
    left = {name.decode().rpartition("}:")[2].partition(":")[0] for name in names}
    assert not left & {"ring", "days"}
    assert await stats.read("SCARD", K.troubled(stats.prefix, APP)) == 0
    assert (await stats.total()).total("faulted") == 2


async def test_canceled_tasks_are_told_once_and_many_of_them_by_their_number(stats: Stats) -> None:
    tasks = await stats.submit(130)
    for first in (0, 100):
        items = [verbs.CancelItem(task, "by a person") for task in tasks[first : first + 100]]
        await stats.partition.call(verbs.cancel(items))

    await stats.fold.run_once()
    await Fold(stats.space).run_once()

    found = [fields for _id, fields in await stats.read("XRANGE", K.app_events(stats.prefix, APP), "-", "+")]
    assert {fields[b"kind"] for fields in found} == {b"canceled"}
    assert {fields[b"task"].decode() for fields in found if b"task" in fields} == set(tasks[:100])
    assert [fields[b"count"] for fields in found if b"count" in fields] == [b"30"]


# ---- failures --------------------------------------------------------------------------------------------------------


def failure(word: str, task: str = "t", specs: str = "") -> bytes:
    """What a call that failed so writes down."""
    item = packed(failure_of("ValueError", f"no {word}", specs))
    return b"\x1e".join([str(T0).encode(), b"\x1f".join([SEND.encode(), b"p" + task.encode() + b" " + item])])


async def kinds(stats: Stats) -> dict[str, Failures]:
    """The failures that are kept, by message."""
    stored = await stats.read("HGETALL", K.failures(stats.prefix, APP))
    return {own.message: own for own in map(failures_in, stored.values())}


async def test_failures_that_are_alike_are_counted_together(stats: Stats) -> None:
    client = cast(Any, stats.space.clients.admin)
    for word, task in (("order 1", "t1"), ("user", "t2"), ("order 22", "t3")):
        await client.xadd(K.tally(stats.prefix), {"t": failure(word, task)})
        await stats.fold.run_once()

    counted = await kinds(stats)

    assert {message: (own.count, own.task) for message, own in counted.items()} == {
        "no order #": (2, "t3"),
        "no user": (1, "t2"),
    }
    assert await stats.read("PTTL", K.failures(stats.prefix, APP)) > limits.DAY_MS


async def test_the_failure_that_was_seen_longest_ago_makes_room(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FAILURES_PER_APP", 2)
    client = cast(Any, stats.space.clients.admin)
    for seconds, word in enumerate("abcb"):
        entry = failure(word).replace(str(T0).encode(), str(T0 + seconds).encode())
        await client.xadd(K.tally(stats.prefix), {"t": entry})
        await stats.fold.run_once()

    assert {message: own.count for message, own in (await kinds(stats)).items()} == {"no b": 2, "no c": 1}


async def deploy(stats: Stats, version: str, *, is_named: bool = True) -> str:
    """Workers tell that they have this version of the handler; what stands for all they told."""
    spec = msgpack.packb({"version": version} if is_named else {"description": version})
    digest, told = f"digest-{version}", f"told-{version}"
    document = msgpack.packb({"send": digest})
    items = [verbs.Telling(APP, "", told, document), verbs.Telling(APP, SEND, digest, spec)]
    await stats.partition.call(verbs.describe(items))
    return told


async def fail(stats: Stats, specs: str) -> Failures:
    """A failure of a worker that told this is added up; what is known of all that are alike."""
    client = cast(Any, stats.space.clients.admin)
    await client.xadd(K.tally(stats.prefix), {"t": failure("order", specs=specs)})
    await stats.fold.run_once()
    return (await kinds(stats))["no order"]


async def test_a_failure_is_kept_with_the_versions_in_which_it_was_first_and_last_seen(stats: Stats) -> None:
    await fail(stats, await deploy(stats, "1.0"))
    newer = await deploy(stats, "1.1")

    both = await fail(stats, newer)

    assert (both.count, both.first_in, both.last_in) == (2, ("digest-1.0", "1.0"), ("digest-1.1", "1.1"))
    await cast(Any, stats.space.clients.admin).unlink(K.spec(stats.prefix, APP, "digest-1.1"))
    assert (await fail(stats, newer)).last_in == ("digest-1.1", "1.1")


async def test_a_version_without_a_name_is_told_by_its_digest_and_a_worker_that_told_nothing_by_none(
    stats: Stats,
) -> None:
    unnamed = await fail(stats, await deploy(stats, "x", is_named=False))
    silent = await fail(stats, "")
    forgotten = await fail(stats, "never-told")

    assert (unnamed.last_in, silent.last_in, forgotten.last_in) == (("digest-x", ""), ("", ""), ("", ""))
    assert forgotten.first_in == ("digest-x", "")


async def test_a_version_that_was_not_told_yet_is_named_when_it_was(stats: Stats) -> None:
    document = msgpack.packb({"send": "digest-2"})
    await stats.partition.call(verbs.describe([verbs.Telling(APP, "", "told-2", document)]))
    before = await fail(stats, "told-2")
    await stats.partition.call(verbs.describe([verbs.Telling(APP, SEND, "digest-2", msgpack.packb({"version": "2"}))]))

    after = await fail(stats, "told-2")

    assert (before.last_in, after.last_in) == (("digest-2", ""), ("digest-2", "2"))


async def test_what_is_remembered_of_versions_is_bounded(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "REMEMBERED", 1)
    asked = [(SEND, await deploy(stats, version)) for version in ("1", "2")]
    known = versions.Versions(1.0)

    for each in (*asked, asked[0]):
        assert await known.of(stats.partition, [each]) == {each: (f"digest-{each[1][-1]}", each[1][-1])}
