"""Who is alive: renewals, seats, silence, slow readers, revoked tokens, an unreachable engine, the drain."""

import asyncio
from typing import Any

import msgpack
import pytest

from gojob_redis import match
from gojob_redis.api.crowd import Guest
from gojob_redis.connections.connection import LIGHT_BURST, LIGHT_BYTES, LIGHT_PER_S
from gojob_redis.connections.exchange import WINDOW
from gojob_redis.domain import ids, verbs
from gojob_redis.domain.errors import Unavailable
from gojob_redis.engine.partitions import Partition
from gojob_sdk import protocol
from tests.edge.conftest import APP, HANDLER, Edge, Worker, greeting, held
from tests.edge.gates import Failing, Gate
from tests.tools.waiting import until


def at(call: verbs.Call[Any], now_ms: int) -> verbs.Call[Any]:
    """A call at another time."""
    return call._replace(scalars=call.scalars | {"now_ms": now_ms})


async def test_a_renewal_is_answered_after_it_was_committed(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    gate = Gate(gateway.batchers.renew(gateway.space[0]))

    await worker.send("renew", seq=7, held=0)
    await gate.reached.wait()
    await worker.send("start", runs=[{"run": "00s0000000000000000a", "attempt": 1, "fence": "1-a"}])

    assert (await worker.receive("verdict"))["of"] == "start"  # written while the renewal has no answer
    gate.open()
    assert await worker.receive("renewed") == {"type": "renewed", "seq": 7}


async def test_a_renewal_that_was_not_committed_is_not_answered(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    failing = Failing(gateway.batchers.renew(gateway.space[0]), 1)

    await worker.send("renew", seq=1, held=0)
    await until(lambda: not failing.left)
    await worker.send("renew", seq=2, held=0)

    assert (await worker.receive("renewed"))["seq"] == 2


async def test_a_renewal_counts_the_lease_from_when_the_worker_was_heard(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    gate = Gate(gateway.batchers.renew(gateway.space[0]))
    await worker.send("renew", seq=1, held=0)
    await gate.reached.wait()
    gateway.registry.connections[worker.session].session.heard_at -= 4

    gate.open()
    await worker.receive("renewed")

    dump = await edge.dump()
    left = dump["leases"][worker.session] - int(dump["meta"]["steady"])
    assert 10_700 < left <= 11_000 + 100


async def test_a_new_capacity_takes_effect_at_once(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker(capacity=0)
    [task_id] = await edge.submit()

    await worker.send("renew", capacity=2)

    assert (await worker.tasks())[0]["run"] == task_id
    assert (await edge.dump())[f"session:{worker.session}"]["capacity"] == "2"


async def test_a_capacity_that_was_not_committed_is_announced_again(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker(capacity=1)
    failing = Failing(gateway.batchers.renew(gateway.space[0]), 1)
    await worker.send("renew", capacity=9)
    await until(lambda: not failing.left)

    await worker.renew()

    assert (await edge.dump())[f"session:{worker.session}"]["capacity"] == "9"


async def test_seats_that_differ_twice_are_compared_with_the_workers_list(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker(capacity=3)
    await edge.submit(2)
    known, lost = await worker.tasks(2)
    await worker.renew(1, held=1)

    await worker.send("renew", seq=2, held=1)

    await worker.frames("sync", "renewed")
    await worker.send("resume", runs=[held(known)])
    assert await worker.tasks() == [lost]  # the engine sends again what the worker does not list
    await worker.renew(3, held=2)
    assert (await edge.task(known["run"]))["state"] == "running"


async def test_a_worker_that_took_a_dispatch_unaccepted_is_asked_for_its_list_at_once(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    [run] = await edge.submit()
    await worker.tasks()
    steady = int((await edge.dump())["meta"]["steady"])

    for passed_ms in range(0, 6_000, 500):  # no pause is longer than a second for the steady clock
        await gateway.space[0].call(at(verbs.expire(limit=100), steady + passed_ms))
        await gateway.space[0].call(at(verbs.renew([], gateway="g1"), steady + passed_ms))
    await worker.receive("sync")
    await worker.send("resume", runs=[])

    assert [(each["run"], each["attempt"]) for each in await worker.tasks()] == [(run, 2)]


async def test_a_single_difference_asks_nothing(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    await worker.renew(1, held=3)
    await worker.renew(2, held=0)
    await worker.renew(3, held=3)
    await worker.renew(4, held=0)


async def test_what_is_answered_while_seats_are_compared_takes_no_seat_again(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    await edge.submit()
    [assignment] = await worker.tasks()
    await worker.renew(1, held=5)
    await worker.send("renew", seq=2, held=5)
    await worker.frames("sync", "renewed")
    gate = Gate(gateway.batchers.report(gateway.space[0]))
    await worker.report(assignment)
    await gate.reached.wait()

    await worker.send("resume", runs=[held(assignment)])  # written before the verdict came
    gate.open()

    assert await worker.words() == ["accepted"]
    await worker.renew(3, held=0)
    assert await edge.seats(worker.session) == set()


async def test_a_list_nobody_asked_for_changes_nothing(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    stranger = {"run": "00s0000000000000000a", "attempt": 1, "fence": "1-a"}

    await worker.send("resume", runs=[held(stranger)])

    await worker.renew()
    assert await edge.seats(worker.session) == set()


async def test_a_worker_whose_session_is_over_is_told_to_connect_again(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    await _end_session(edge, worker)

    await worker.send("renew", seq=1, held=0)

    assert await worker.receive("move") == {"type": "move", "reason": "lost", "within_ms": 0}
    await worker.send("renew", seq=2, held=0)
    assert (await worker.refusal())[0] == protocol.CLOSE_RESTARTING
    assert gateway.sessions == 0


async def test_a_renewal_of_a_session_that_moved_closes_the_socket(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    await match.resume(
        edge.space[0], session=worker.session, app="default/shop", holder="one", gateway="elsewhere", conn=0,
        capacity=1, runs=[],
    )  # fmt: skip

    code, error = await worker.refusal()

    assert (code, error["code"]) == (protocol.CLOSE_MOVED, "moved")


async def test_a_session_that_is_heard_but_does_not_renew_is_renewed(edge: Edge) -> None:
    gateway = await edge.gateway(stamp_s=0.02, renew_s=0.02)
    worker = await edge.worker()
    before = gateway.registry.connections[worker.session].session.renewed_at

    await worker.send("note", entries=[])

    await until(lambda: gateway.registry.connections[worker.session].session.renewed_at > before)


async def test_a_silent_socket_is_cut_when_its_lease_is_over(edge: Edge) -> None:
    gateway = await edge.gateway(stamp_s=0.02, lease_ms=50)
    worker = await edge.worker()

    code, _ = await worker.refusal()

    assert code == protocol.CLOSE_RESTARTING
    assert gateway.counters.cut == {protocol.CLOSE_RESTARTING: 1}


async def test_a_gateway_stamps_itself_where_it_has_sessions(edge: Edge) -> None:
    gateway = await edge.gateway(stamp_s=0.01)
    await edge.worker()
    before = (await edge.dump())["gateways"][gateway.id]

    async def stamped() -> bool:
        later = (await edge.dump())["gateways"][gateway.id]
        return bool(later > before)

    await edge.until(stamped)


async def test_a_worker_that_does_not_read_is_cut_off_and_its_work_given_back(edge: Edge) -> None:
    gateway = await edge.gateway(queue_bytes=1 << 20, write_s=0.2)
    worker = await edge.connect(max_queue=1)
    await worker.hello(capacity=1000)
    worker.socket.transport.pause_reading()

    tasks = await edge.submit(100, param=bytes(200_000))

    await until(lambda: gateway.counters.cut.get(protocol.CLOSE_SLOW_READER) or gateway.sessions == 0)
    await until(lambda: gateway.counters.unwritten > 0)

    async def given_back() -> bool:
        dump = await edge.dump()
        return [dump[f"task:{one}"]["place"] for one in tasks].count("lane") == gateway.counters.unwritten

    await edge.until(given_back)
    worker.socket.transport.resume_reading()


async def test_a_slow_reader_that_reads_again_learns_why(edge: Edge) -> None:
    gateway = await edge.gateway(queue_bytes=1)
    worker = await edge.connect()
    await worker.send("hello", **greeting())

    code, error = await worker.refusal()

    assert (code, error["code"]) == (protocol.CLOSE_SLOW_READER, "slow_reader")
    assert gateway.counters.cut == {protocol.CLOSE_SLOW_READER: 1}


async def test_who_takes_no_goodbye_loses_his_descriptor_at_once(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    aborted: list[Guest] = []
    monkeypatch.setattr("gojob_redis.connections.socket.GOODBYE_S", 0.05)
    monkeypatch.setattr(Guest, "abort", lambda guest: aborted.append(guest))
    await edge.gateway(recheck_s=0.02)
    await edge.worker()
    [guest] = edge.server.crowd.guests
    socket: Any = guest.transport.get_protocol()

    socket.pause_writing()
    del edge.tokens.holders["Bearer one"]

    await until(lambda: aborted == [guest])


async def test_the_sockets_of_a_revoked_token_are_closed(edge: Edge) -> None:
    await edge.gateway(recheck_s=0.02)
    worker, other = await edge.worker(token="one"), await edge.worker(token="two")

    del edge.tokens.holders["Bearer one"]

    code, error = await worker.refusal()
    assert (code, error["code"]) == (protocol.CLOSE_BAD_TOKEN, "bad_token")
    await other.renew()


async def test_workers_are_told_to_move_when_the_engine_does_not_answer(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await edge.gateway(stamp_s=0.02, unreachable_s=0.1)
    worker = await edge.worker()
    away = True

    async def call_in(partitions: list[Partition], call: verbs.Call[Any]) -> list[object]:
        return [Unavailable("away", 1.0) if away else [b"ok"] for _ in partitions]

    monkeypatch.setattr(type(edge.space), "call_in", staticmethod(call_in))

    assert (await worker.receive("move"))["reason"] == "engine out of reach"
    assert not gateway.ready
    away = False
    await until(lambda: gateway.ready)


async def test_a_slow_engine_is_not_asked_again_and_again_to_renew_the_same_session(edge: Edge) -> None:
    gateway = await edge.gateway(stamp_s=0.01, renew_s=0.0)
    worker = await edge.worker()
    gate = Gate(gateway.batchers.renew(gateway.space[0]))
    await worker.send("renew", seq=1, held=0)
    await gate.reached.wait()

    for seq in range(2, 6):
        await worker.send("renew", seq=seq, held=0)
    looked = gateway.health.tended_at
    await until(lambda: gateway.health.tended_at > looked + 0.1)

    assert gateway.batchers.renew(gateway.space[0]).queued <= 1
    gate.open()
    assert (await worker.receive("renewed"))["seq"] == 1
    assert (await worker.receive("renewed"))["seq"] == 2
    await worker.renew(7)


async def test_a_link_that_ends_while_it_is_tended_disturbs_nobody(edge: Edge, log_lines: Any) -> None:
    gateway = await edge.gateway(stamp_s=0.01, renew_s=0.0)
    worker = await edge.worker()
    ending = gateway.registry.connections[worker.session]
    async with asyncio.TaskGroup() as over:
        pass
    ending.exchange.tasks = over
    looked = gateway.health.tended_at

    await until(lambda: gateway.health.tended_at > looked + 0.1)

    assert "loop.failed" not in log_lines()


async def test_a_gateway_whose_workers_left_stays_unready_and_refuses_at_once_until_the_engine_answers(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await edge.gateway(stamp_s=0.02, unreachable_s=0.1)
    worker = await edge.worker()
    away = True

    async def call_in(partitions: list[Partition], call: verbs.Call[Any]) -> list[object]:
        return [Unavailable("away", 1.0) if away else [b"ok"] for _ in partitions]

    monkeypatch.setattr(type(edge.space), "call_in", staticmethod(call_in))
    await worker.receive("move")
    await worker.send("leave")
    await until(lambda: gateway.sessions == 0)
    looked = gateway.health.tended_at

    await until(lambda: gateway.health.tended_at > looked + 0.1)

    assert not gateway.ready
    with pytest.raises(Unavailable) as refused:
        await gateway.submit(
            gateway.space[0], [verbs.Submission(ids.submitted_id(0, 1_800_000_000_000), HANDLER, APP)], APP
        )
    assert "has not answered for" in refused.value.message
    away = False
    await until(lambda: gateway.ready)


async def test_a_draining_gateway_sends_its_workers_elsewhere_and_flushes(edge: Edge) -> None:
    gateway, other = await edge.gateway("g1"), await edge.gateway("g2")
    worker = await edge.worker("g1")
    await edge.submit()
    [assignment] = await worker.tasks()
    draining = asyncio.create_task(gateway.drain(5))

    assert await worker.receive("move") == {"type": "move", "reason": "restarting", "within_ms": 5_000}
    assert not gateway.ready
    late = await edge.connect("g1")
    assert (await late.refusal())[0] == protocol.CLOSE_RESTARTING
    await worker.report(assignment)
    assert await worker.words() == ["accepted"]  # it goes on working while it moves
    moved = await edge.connect("g2")
    assert (await moved.hello(session=worker.session))["resumed"]

    await draining
    await edge.finished(gateway)
    assert (gateway.sessions, other.sessions) == (0, 1)


async def test_workers_that_do_not_move_are_cut_when_the_drain_is_over(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()

    await gateway.drain(0.01)

    await edge.finished(gateway)
    assert (await worker.refusal())[0] == protocol.CLOSE_RESTARTING
    assert (await edge.dump())[f"session:{worker.session}"]["capacity"] == "0"


async def _end_session(edge: Edge, worker: Worker) -> None:
    assert await match.leave(edge.space[0], "g1", [verbs.LeaveItem(worker.session, 1)]) == ["ok"]


async def test_a_gateway_that_stood_still_does_not_take_its_workers_for_silent(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    session = gateway.registry.connections[worker.session].session
    gateway.health.tended_at = gateway.clock()

    gateway.health.look_for_silence(session.heard_at + 60)

    assert gateway.counters.cut == {}
    gateway.health.tended_at = session.heard_at + 59
    gateway.health.look_for_silence(session.heard_at + 60)
    assert gateway.counters.cut == {protocol.CLOSE_RESTARTING: 1}


async def test_progress_is_dropped_and_counted_while_the_engine_is_away(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    Failing(gateway.batchers.note(gateway.space[0]), 1)
    progress = {"percent": 50.0, "message": "half"}

    await worker.send("note", entries=[{"run": "00s0000000000000000a", "attempt": 1, "progress": progress}])

    await until(lambda: gateway.counters.progress_dropped == 1)
    await worker.renew()


async def test_a_worker_whose_frames_pile_up_waits_at_its_own_socket(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    gate = Gate(gateway.batchers.start(gateway.space[0]))
    stranger = {"run": "00s0000000000000000a", "attempt": 1, "fence": "1-a"}

    for _ in range(3 * WINDOW):
        await worker.send("start", runs=[stranger])
    most = 1 + WINDOW + 1  # the hello, the window, and the one that waits for it
    await until(lambda: gateway.counters.frames_in >= most)

    assert gateway.counters.frames_in == most
    gate.open()
    assert await worker.words(3 * WINDOW) == ["gone"] * 3 * WINDOW


async def test_what_no_work_stands_behind_is_read_at_a_pace(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    monkeypatch.setattr(gateway.registry.connections[worker.session], "clock", lambda: 1_000.0)
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr("gojob_redis.connections.connection.asyncio.sleep", noted)
    frame = msgpack.packb({"type": "renew", "seq": 1, "held": 0, "mood": bytes(100_000)})
    cost = 1 + len(frame) / LIGHT_BYTES

    for _ in range(int(LIGHT_BURST / cost) + 1):
        await worker.send_bytes(frame)
        await worker.receive("renewed")

    over = (int(LIGHT_BURST / cost) + 1) * cost - LIGHT_BURST
    assert [pause for pause in pauses if pause == pytest.approx(over / LIGHT_PER_S)]
