"""What runs log, over a worker's socket: packed, in order, bounded, and what is missing is said."""

from typing import Any

import pytest

from gojob_redis import view
from gojob_redis.connections import logbook
from gojob_redis.domain import limits
from gojob_redis.engine.log_chunks import Line
from gojob_redis.view import LogPage
from tests.edge.conftest import Edge
from tests.edge.gates import Breaking, Failing, Gate
from tests.tools.waiting import until


def line(text: str = "x", **more: Any) -> dict[str, Any]:
    return {"at": 1_000, "level": "info", "text": text, **more}


def note(run: str, *lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"run": run, "attempt": 1, "log": list(lines), **more}


async def page_of(edge: Edge, run: str) -> LogPage:
    return await view.log(edge.space[0], run)


async def lines_of(edge: Edge, run: str) -> list[Line]:
    """What is kept of a run's log."""
    return (await page_of(edge, run)).items


async def texts(edge: Edge, run: str) -> list[str]:
    return [one.text for one in await lines_of(edge, run)]


async def bound(edge: Edge) -> tuple[Any, Any, str]:
    """A gateway, a worker, and the run that it has."""
    gateway = await edge.gateway()
    worker = await edge.worker()
    [task_id] = await edge.submit()
    await worker.tasks()
    return gateway, worker, task_id


async def test_a_line_is_kept_with_all_that_is_said_of_it(edge: Edge) -> None:
    _gateway, worker, run = await bound(edge)

    await worker.send("note", entries=[note(run, line("half", level="warning", logger="shop.orders"))])

    await edge.until(lambda: lines_of(edge, run))
    assert await lines_of(edge, run) == [Line(0, 1, 1_000, "warning", "shop.orders", "w1", "half")]  # type: ignore[arg-type]


async def test_lines_of_many_frames_leave_in_one_chunk_and_in_order(edge: Edge) -> None:
    gateway, worker, run = await bound(edge)
    gate = Gate(gateway.batchers.note(gateway.space[0]))
    await worker.send("note", entries=[note(run, line("0"))])
    await until(lambda: gateway.logbook.bytes > 0)

    for number in range(1, 50):
        await worker.send("note", entries=[note(run, line(str(number)))])
    gate.open()

    await edge.until(lambda: _has(edge, run, 50))
    assert await texts(edge, run) == [str(number) for number in range(50)]
    assert gateway.batchers.note(gateway.space[0]).sent < 10
    await until(lambda: gateway.logbook.bytes == 0)
    assert gateway.counters.log_lines == 50


async def _has(edge: Edge, run: str, lines: int) -> bool:
    return len(await lines_of(edge, run)) >= lines


async def test_long_lines_are_chunks_of_their_own(edge: Edge) -> None:
    _gateway, worker, run = await bound(edge)
    texts_sent = ["a" * 10_000, "b" * 10_000, "é" * 8_000, "c"]

    await worker.send("note", entries=[note(run, *map(line, texts_sent))])

    await edge.until(lambda: _has(edge, run, 4))
    assert await texts(edge, run) == texts_sent
    chunks = (await edge.dump())[f"log:{run}"]
    assert {name for name in chunks if name.isdigit()} == {"0", "1", "2"}


async def test_what_comes_too_fast_is_dropped_and_said(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_RUN_LINES_EACH_SECOND", 10)
    gateway, worker, run = await bound(edge)
    monkeypatch.setattr(gateway.logbook, "clock", lambda: 5_000.0)

    await worker.send("note", entries=[note(run, *(line(str(number)) for number in range(70)))])

    kept = int(10 * logbook.BURST_S / (1 + 1 / logbook.LINE_COST_BYTES))
    await edge.until(lambda: _has(edge, run, kept + 1))
    *lines, said = await lines_of(edge, run)
    assert [one.text for one in lines] == [str(number) for number in range(kept)]
    assert said.text.startswith(f"{70 - kept} lines were dropped here: a run may log ")
    assert (said.level, said.logger) == ("warning", "gojob")
    assert (await page_of(edge, run)).dropped.gateway == 70 - kept
    assert gateway.counters.log_lines_dropped == 70 - kept


async def test_an_app_has_a_rate_of_its_own(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_APP_LINES_EACH_SECOND", 10)
    gateway, worker, run = await bound(edge)
    monkeypatch.setattr(gateway.logbook, "clock", lambda: 5_000.0)

    await worker.send("note", entries=[note(run, *(line() for _ in range(70)))])

    await edge.until(lambda: lines_of(edge, run))
    assert (await page_of(edge, run)).dropped.gateway > 0


async def test_what_the_worker_dropped_is_said_in_its_place(edge: Edge) -> None:
    _gateway, worker, run = await bound(edge)

    await worker.send("note", entries=[note(run, line("before"), dropped=7)])
    await worker.send("note", entries=[{"run": run, "attempt": 1, "dropped": 5}, note(run, line("after"))])

    await edge.until(lambda: _has_lost(edge, run, 12))
    assert {*await texts(edge, run)} >= {"before", "after"}
    assert await _says(edge, run, "lines were dropped here: the worker had too many to send")
    assert (await page_of(edge, run)).dropped.gateway == 0


async def _has_lost(edge: Edge, run: str, lines: int) -> bool:
    return (await page_of(edge, run)).dropped.worker == lines


async def test_lines_that_the_engine_did_not_take_are_told_by_the_next_chunk(edge: Edge) -> None:
    gateway, worker, run = await bound(edge)
    Failing(gateway.batchers.note(gateway.space[0]), 1)

    await worker.send("note", entries=[note(run, line(), line())])

    await edge.until(lambda: lines_of(edge, run))
    assert await texts(edge, run) == ["2 lines were dropped here: the engine did not take them"]
    assert gateway.counters.log_lines_dropped == 2
    assert (await page_of(edge, run)).dropped.gateway == 2


async def test_a_chunk_that_breaks_the_script_is_lost_alone(edge: Edge) -> None:
    gateway, worker, run = await bound(edge)
    Breaking(gateway.batchers.note(gateway.space[0]), run)
    [other] = await edge.submit()
    await worker.tasks()

    await worker.send("note", entries=[note(run, line("lost")), note(other, line("kept"))])
    await until(lambda: gateway.counters.log_lines_dropped == 1)

    await edge.until(lambda: lines_of(edge, other))
    assert (await texts(edge, run), await texts(edge, other)) == ([], ["kept"])


async def test_what_waits_is_bounded_while_the_engine_stands_still(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_WAITING_BYTES", 1_000)
    gateway, worker, run = await bound(edge)
    gate = Gate(gateway.batchers.note(gateway.space[0]))

    for _ in range(10):
        await worker.send("note", entries=[note(run, line("x" * 300))])
    await until(lambda: gateway.counters.log_lines_dropped >= 5)
    assert gateway.logbook.bytes < 2_000
    gate.open()

    await edge.until(lambda: lines_of(edge, run))
    await until(lambda: gateway.logbook.bytes == 0)
    await edge.until(lambda: _says(edge, run, "too many lines wait for the engine"))


async def _says(edge: Edge, run: str, text: str) -> bool:
    return any(text in one for one in await texts(edge, run))


async def test_a_gateway_that_closes_sends_what_it_has(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, worker, run = await bound(edge)
    await worker.send("note", entries=[note(run, line("first"))])
    await edge.until(lambda: lines_of(edge, run))
    monkeypatch.setattr(gateway.logbook, "asleep", False)  # no pass comes
    await worker.send("note", entries=[note(run, line("last"))])
    await until(lambda: gateway.logbook.bytes > 0)

    await gateway.logbook.close()

    assert await texts(edge, run) == ["first", "last"]


async def test_a_run_that_logs_no_more_is_forgotten(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, worker, run = await bound(edge)
    await worker.send("note", entries=[note(run, line())])
    await until(lambda: gateway.counters.log_lines == 1)
    assert len(gateway.logbook.runs) == len(gateway.logbook.apps) == 1

    monkeypatch.setattr(gateway.logbook, "clock", lambda: 2**40)
    await gateway.logbook.run_once()

    assert not gateway.logbook.runs
    assert not gateway.logbook.apps
