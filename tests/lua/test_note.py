"""lua/note.lua: chunks of a log, and progress, of the attempt that writes them."""

from typing import Any

import pytest

from gojob_redis.domain import limits
from tests import invariants
from tests.lua.world import APP, Dispatch, World

CHUNK = limits.LOG_CHUNK_COST_BYTES
SUMS = invariants.SUMS


async def bound(world: World) -> Dispatch:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    return run


async def log_of(world: World, run: str = "t1") -> dict[str, str]:
    """Chunks by their numbers."""
    fields = (await world.dump()).get(f"log:{run}", {})
    return {name: fields[name] for name in sorted(filter(str.isdigit, fields), key=int)}


async def sums_of(world: World, run: str = "t1") -> dict[str, int]:
    words = (await world.dump())[f"log:{run}"]["sums"].split()
    return dict(zip(SUMS, map(int, words), strict=True))


async def sound(world: World) -> None:
    assert [line for line in invariants.violations(await world.dump()) if "log" in line] == []


# ---- whose lines count, and for how long -----------------------------------------------------------------------------


async def test_lines_of_a_run_that_is_nowhere_or_unreadable_are_gone(world: World) -> None:
    run = await bound(world)
    await world.partition.client.hdel(world.partition.prefix + "task:t1", "lane")

    assert await world.note(run) == "gone"
    assert await world.note(Dispatch("s1", "nobody", 1, "", "")) == "gone"

    assert "log:t1" not in await world.dump()


@pytest.mark.parametrize("outcome", ["ok", "error", "canceled"])
async def test_a_line_that_a_report_overtook_counts_until_10_s_after_the_end(world: World, outcome: str) -> None:
    run = await bound(world)
    await world.start(run)
    await world.report(run, outcome=outcome)

    await world.pass_steadily(10_000, renew=("s1",))
    assert await world.note(run, b"last") == "ok"
    world.pass_ms(1)
    assert await world.note(run, b"late") == "gone"

    assert await log_of(world) == {"0": "0 1 last"}
    await sound(world)


async def test_a_long_run_writes_for_as_long_as_it_runs(world: World) -> None:
    run = await bound(world)
    await world.start(run)
    await world.pass_steadily(60_000, renew=("s1",))

    assert await world.note(run) == "ok"


async def test_a_line_of_an_attempt_that_failed_counts_until_the_next_begins(world: World) -> None:
    await world.enlist()
    await world.submit("t1", retries=1, retry_interval=1_000)
    [first] = await world.dispatches()
    await world.report(first, outcome="error")

    assert await world.note(first) == "ok"
    await world.pass_steadily(1_000, renew=("s1",))
    await world.expire()
    [second] = await world.dispatches()
    assert [await world.note(first), await world.note(second)] == ["gone", "ok"]


async def test_a_run_that_does_not_say_when_it_ended_takes_no_lines(world: World) -> None:
    run = await bound(world)
    await world.report(run)
    await world.partition.client.hdel(world.partition.prefix + "task:t1", "ended")

    assert await world.note(run) == "gone"


async def test_the_newest_progress_is_kept_and_is_no_line(world: World) -> None:
    run = await bound(world)

    assert [await world.note(run, b"50", "progress"), await world.note(run, b"60", "progress")] == ["ok", "ok"]

    assert (await world.task("t1"))["progress"] == "60"
    assert not [name for name in await world.dump() if name.startswith("log")]


# ---- one log ---------------------------------------------------------------------------------------------------------


async def test_chunks_are_numbered_and_say_which_lines_they_have(world: World) -> None:
    run = await bound(world)

    await world.note(run, b"abc", lines=3)
    await world.note(run, b"de", lines=2, by_gateway=7, by_worker=5)

    assert await log_of(world) == {"0": "0 3 abc", "1": "3 2 de"}
    size = len("0 3 abc") + len("3 2 de") + 2 * CHUNK
    expected = {"chunks": 2, "lines": 5, "kept": 5, "bytes": size, "head": 2, "oldest": 2, "by_gateway": 7}
    assert await sums_of(world) == dict.fromkeys(SUMS, 0) | expected | {"by_worker": 5}
    dump = await world.dump()
    assert (dump["log:t1"]["app"], dump["log_bytes"]) == (APP, {APP: str(size)})
    assert dump[f"logs:{APP}"] == {"t1": float(world.now)}
    await sound(world)


async def test_what_was_dropped_is_counted_where_no_line_came(world: World) -> None:
    run = await bound(world)

    await world.note(run, b"", lines=0, by_gateway=9)

    assert await sums_of(world) == dict.fromkeys(SUMS, 0) | {"by_gateway": 9}
    assert f"logs:{APP}" not in await world.dump()
    await sound(world)


async def test_the_first_100_lines_stay_and_just_enough_of_the_others_go(world: World) -> None:
    run = await bound(world)
    for number in range(10):
        await world.note(run, b"%d" % number, lines=50)

    await world.note(run, b"x", lines=50, most_lines=300)

    assert [text.split()[2] for text in (await log_of(world)).values()] == ["0", "1", "7", "8", "9", "x"]
    sums = await sums_of(world)
    assert (sums["lines"], sums["kept"], sums["by_ring"], sums["head"], sums["oldest"]) == (550, 300, 250, 2, 7)
    await sound(world)


async def test_the_ring_is_bounded_in_bytes_and_its_newest_chunk_stays(world: World) -> None:
    run = await bound(world)
    await world.note(run, b"h" * 1_000, lines=100)
    for number in range(5):
        await world.note(run, b"%d" % number + b"x" * 999, most_bytes=3 * (1_000 + CHUNK + 10))

    assert [text.split()[2][0] for text in (await log_of(world)).values()] == ["h", "3", "4"]
    await world.note(run, b"y" * 9_000, most_bytes=2_000)
    assert [text.split()[2][0] for text in (await log_of(world)).values()] == ["h", "y"]
    await sound(world)


async def test_long_lines_at_the_beginning_do_not_all_stay(world: World) -> None:
    run = await bound(world)
    for _ in range(12):
        await world.note(run, b"x" * limits.LOG_CHUNK_BYTES, most_bytes=limits.LOG_HEAD_BYTES)

    sums = await sums_of(world)
    assert sums["head"] == 8
    assert sums["by_ring"] == 3
    await sound(world)


async def test_a_ring_of_many_small_chunks_gives_way_in_several_calls(world: World) -> None:
    run = await bound(world)
    await world.note(run, lines=100)
    for _ in range(120):
        await world.note(run)

    await world.note(run, most_lines=101)
    assert (await sums_of(world))["by_ring"] == limits.BATCH_ITEMS
    await world.note(run, most_lines=101)

    assert (await sums_of(world))["kept"] == 101
    await sound(world)


async def test_chunks_that_somebody_took_away_are_not_waited_for(world: World) -> None:
    run = await bound(world)
    for _ in range(5):
        await world.note(run, lines=100)
    await world.partition.client.hdel(world.partition.prefix + "log:t1", "1", "2", "3")

    assert await world.note(run, lines=100, most_lines=200) == "ok"

    assert set(await log_of(world)) == {"0", "5"}
    await repaired(world)


@pytest.mark.parametrize("sums", ["", "x y z", "9" * 40, "-1 nan 1e999", "1 2 3", " ".join(["9" * 40] * 11)])
async def test_counts_that_nobody_can_read_stop_no_line(world: World, sums: str) -> None:
    run = await bound(world)
    await world.note(run)
    await world.partition.client.hset(world.partition.prefix + "log:t1", "sums", sums)

    assert await world.note(run) == "ok"

    assert (await sums_of(world))["kept"] == 1
    assert await world.report(run) == ["accepted"]
    await repaired(world)


async def test_a_log_that_is_no_hash_is_begun_anew(world: World) -> None:
    run = await bound(world)
    await world.partition.client.set(world.partition.prefix + "log:t1", "x")

    assert await world.note(run) == "ok"

    assert await log_of(world) == {"0": "0 1 line"}


async def repaired(world: World) -> None:
    """Take away what a test spoiled."""
    client: Any = world.partition.client
    for name in ("log:t1", f"logs:{APP}", "log_bytes"):
        await client.unlink(world.partition.prefix + name)


# ---- all logs of an app ----------------------------------------------------------------------------------------------


async def several(world: World, count: int) -> list[Dispatch]:
    await world.enlist(capacity=count)
    await world.submit(*(f"t{number}" for number in range(count)))
    return await world.dispatches()


SIZE = len("0 1 ") + 1_000 + CHUNK


async def test_over_its_budget_an_app_loses_the_oldest_logs_of_runs_that_are_over(world: World) -> None:
    runs = await several(world, 4)
    for run in runs:
        await world.note(run, b"x" * 1_000)
        world.pass_ms(1)
    await world.report(runs[1], runs[2])

    await world.note(runs[3], b"y" * 1_000, app_bytes=4 * SIZE)

    kept = {run.run: len(await log_of(world, run.run)) for run in runs}
    assert kept == {"t0": 1, "t1": 0, "t2": 1, "t3": 2}
    assert await sums_of(world, "t1") == dict.fromkeys(SUMS, 0) | {
        "chunks": 1, "lines": 1, "first": 1, "head": 1, "oldest": 1, "by_budget": 1,
    }  # fmt: skip
    assert (await world.dump())[f"logs:{APP}"].keys() == {"t0", "t2", "t3"}
    await sound(world)


async def test_where_no_run_is_over_the_one_that_wrote_last_the_longest_ago_loses_its_log(world: World) -> None:
    runs = await several(world, 3)
    for run in runs:
        await world.note(run, b"x" * 1_000)
        world.pass_ms(1)
    await world.note(runs[0], b"x" * 1_000)
    world.pass_ms(1)

    await world.note(runs[2], b"y" * 1_000, app_bytes=4 * SIZE)

    assert {run.run: len(await log_of(world, run.run)) for run in runs} == {"t0": 2, "t1": 0, "t2": 2}
    await world.note(runs[1], b"z")
    assert (await log_of(world, "t1")) == {"1": "1 1 z"}
    await sound(world)


async def test_a_log_whose_task_is_gone_goes_first(world: World) -> None:
    first, second = await several(world, 2)
    await world.note(first, b"x" * 1_000)
    await world.note(second, b"x" * 1_000)
    await world.partition.client.unlink(world.partition.prefix + f"task:{second.run}")

    await world.note(first, b"y" * 1_000, app_bytes=2 * SIZE)

    assert await log_of(world, second.run) == {}
    await world.partition.client.unlink(world.partition.prefix + f"log:{second.run}")


async def test_what_comes_faster_than_old_logs_go_is_counted_and_not_kept(world: World) -> None:
    first, second = await several(world, 2)
    await world.note(first, b"x" * 10_000)

    await world.note(second, b"y" * 10_000, lines=5, app_bytes=5_000)

    assert await log_of(world, second.run) == {}
    sums = await sums_of(world, second.run)
    assert (sums["lines"], sums["by_budget"], sums["chunks"]) == (5, 5, 0)
    await sound(world)


async def test_logs_of_another_app_do_not_count(world: World) -> None:
    [mine] = await several(world, 1)
    await world.enlist("s2", app="default/other", handlers=("default/other/send",))
    await world.submit("o1", handler="default/other/send")
    [theirs] = await world.dispatches()
    await world.note(mine, b"x" * 1_000)

    await world.note(theirs, b"y" * 1_000, app_bytes=SIZE)

    assert len(await log_of(world, "t0")) == len(await log_of(world, "o1")) == 1
    await sound(world)


async def test_runs_that_go_on_are_passed_over_once(world: World) -> None:
    runs = await several(world, limits.LOG_SHED_RUNS + 2)
    for run in runs:
        await world.note(run, b"x" * 1_000)
        world.pass_ms(1)
    *live, last, writer = runs
    await world.report(last)
    budget = len(runs) * SIZE

    await world.note(writer, b"y" * 1_000, app_bytes=budget)
    assert await log_of(world, live[0].run) == {}
    world.pass_ms(1)
    await world.note(writer, b"y" * 1_000, app_bytes=budget)

    assert await log_of(world, last.run) == {}
    assert len(await log_of(world, live[1].run)) == 1
    await sound(world)
