"""A session outlives its sockets and its gateways; nothing that it holds is run twice because it moved."""

import asyncio

from gojob_redis.domain import hints
from gojob_sdk import protocol
from tests.edge.conftest import HANDLER, Edge, Worker, greeting, held, ref
from tests.edge.gates import Standstill
from tests.tools.waiting import until


async def test_a_session_resumes_at_another_gateway_with_everything_it_held(edge: Edge) -> None:
    first, _ = await edge.gateway("g1"), await edge.gateway("g2")
    old = await edge.worker("g1", capacity=2)
    await edge.submit(2)
    known, unknown = await old.tasks(2)

    new = await edge.connect("g2")
    welcome = await new.hello(session=old.session, capacity=2, held=[held(known)])

    assert (welcome["session"], welcome["conn"], welcome["resumed"]) == (old.session, 2, True)
    assert (welcome["keep"], welcome["drop"]) == ([f"{known['run']}@1"], [])
    assert await new.tasks() == [unknown]
    code, error = await old.refusal()
    assert (code, error["code"]) == (protocol.CLOSE_MOVED, "moved")
    record = (await edge.dump())[f"session:{old.session}"]
    assert (record["gateway"], record["conn"], record["capacity"]) == ("g2", "2", "2")
    assert (await edge.task(known["run"]))["state"] == "running"

    await new.report(known, unknown)

    assert await new.words(2) == ["accepted", "accepted"]
    assert first.sessions == 0


async def test_a_session_resumes_at_the_same_gateway(edge: Edge) -> None:
    gateway = await edge.gateway()
    old = await edge.worker()
    await edge.submit()
    [assignment] = await old.tasks()

    new = await edge.connect()
    welcome = await new.hello(session=old.session)

    assert (welcome["conn"], welcome["resumed"]) == (2, True)
    assert await new.tasks() == [assignment]
    assert (await old.refusal())[0] == protocol.CLOSE_MOVED
    assert gateway.sessions == 1
    assert (await edge.dump())[f"session:{old.session}"]["capacity"] == "10"


async def test_what_a_resumed_worker_does_not_own_any_more_is_dropped(edge: Edge) -> None:
    await edge.gateway()
    old = await edge.worker()
    await edge.submit()
    [assignment] = await old.tasks()
    await old.report(assignment)
    await old.words()
    stranger = {"run": "00s0000000000000000a", "attempt": 1, "fence": "1-a"}

    new = await edge.connect()
    welcome = await new.hello(session=old.session, held=[held(assignment), held(stranger)])

    assert welcome["drop"] == [
        {"run": assignment["run"], "attempt": 1, "why": "fenced"},
        {"run": stranger["run"], "attempt": 1, "why": "gone"},
    ]
    await new.report(assignment, stranger)
    assert await new.words(2) == ["duplicate", "gone"]


async def test_a_session_that_is_over_becomes_a_new_one(edge: Edge) -> None:
    await edge.gateway()

    worker = await edge.connect()
    welcome = await worker.hello(session="nobody000000")

    assert (welcome["resumed"], welcome["conn"]) == (False, 1)
    assert welcome["session"] != "nobody000000"


async def test_a_session_belongs_to_its_token(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker(token="one")
    thief = await edge.connect(token="two")

    await thief.send("hello", **(greeting() | {"session": worker.session}))

    code, error = await thief.refusal()
    assert (code, error["field"]) == (protocol.CLOSE_FORBIDDEN, "hello.session")
    await worker.renew()


async def test_a_socket_that_closes_keeps_its_session_but_gets_no_work(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    [running] = await edge.submit()
    [assignment] = await worker.tasks()

    await worker.socket.close()
    await edge.until(lambda: _capacity_is(edge, worker, "0"))
    [waiting] = await edge.submit()

    assert (await edge.task(running))["state"] == "waiting_to_run"  # it was written, so it may have begun
    assert (await edge.task(waiting))["place"] == "lane"
    assert gateway.sessions == 0

    again = await edge.connect()
    await again.hello(session=worker.session, held=[held(assignment)])

    assert [one["run"] for one in await again.tasks()] == [waiting]
    await again.report(assignment)
    assert await again.words() == ["accepted"]


async def test_what_was_never_written_goes_back_at_once(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker(capacity=3)
    connection = gateway.registry.connections[worker.session]
    blocked = asyncio.Event()
    released = asyncio.Event()

    async def send_bytes(data: bytes) -> None:
        blocked.set()
        await released.wait()

    connection.websocket.send_bytes = send_bytes  # type: ignore[method-assign]
    [being_written] = await edge.submit()
    await blocked.wait()
    unwritten = await edge.submit(2)
    await until(lambda: gateway.counters.assigned == 3)

    await worker.socket.close()

    await edge.until(lambda: _all_queued(edge, unwritten))
    assert (await edge.task(being_written))["state"] == "waiting_to_run"
    assert await edge.seats(worker.session) == {f"{being_written}@1"}
    assert gateway.counters.unwritten == 2


async def test_an_assignment_for_a_session_that_is_not_here_goes_back(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    connection = gateway.registry.connections.pop(worker.session)  # as after a restart under the same name

    [task_id] = await edge.submit()

    await edge.until(lambda: _all_queued(edge, [task_id]))
    assert gateway.counters.unwritten == 1
    gateway.registry.connect(connection)


async def test_an_old_gateway_takes_nothing_back_from_a_session_that_moved_on(edge: Edge) -> None:
    old_gateway, _ = await edge.gateway("g1"), await edge.gateway("g2")
    old = await edge.worker("g1")
    [task_id] = await edge.submit()
    [assignment] = await old.tasks()
    new = await edge.connect("g2")
    await new.hello(session=old.session)
    assert await new.tasks() == [assignment]
    await old.refusal()

    old_gateway.delivery.dispatch(old_gateway.space[0], [_hint(old.session, 1, assignment["run"], assignment["fence"])])

    await edge.until(lambda: _sent(old_gateway.batchers.counters_of_calls(), "release"))
    assert (await edge.task(task_id))["state"] == "waiting_to_run"
    await new.report(assignment)
    assert await new.words() == ["accepted"]


async def test_a_hello_read_late_gives_nothing_back_that_its_worker_has_begun_meanwhile(edge: Edge) -> None:
    """A partition stood still: one gateway was given up, another took the worker in, then the first was answered."""
    await edge.gateway("g1")
    slow = await edge.gateway("g2")
    standstill = Standstill(edge.space)
    slow.handshake.space = standstill
    old = await edge.worker("g1")
    given_up = await edge.connect("g2")
    await given_up.send("hello", **(greeting() | {"session": old.session}))
    await standstill.reached.wait()
    given_up.socket.transport.abort()

    live = await edge.connect("g1")
    await live.hello(session=old.session)
    [task_id] = await edge.submit()
    [assignment] = await live.tasks()
    standstill.open()
    assert (await live.refusal())[0] == protocol.CLOSE_MOVED
    await until(lambda: slow.counters.unwritten == 1)
    await edge.until(lambda: _sent(slow.batchers.counters_of_calls(), "release"))
    again = await edge.connect("g1")
    welcome = await again.hello(session=old.session, held=[held(assignment)])

    assert (welcome["conn"], welcome["keep"]) == (4, [f"{task_id}@1"])
    await again.report(assignment)
    assert await again.words() == ["accepted"]


async def test_a_hint_for_an_older_connection_is_dropped(edge: Edge) -> None:
    gateway = await edge.gateway()
    old = await edge.worker()
    new = await edge.connect()
    await new.hello(session=old.session)

    gateway.delivery.dispatch(gateway.space[0], [_hint(old.session, 1, "00s0000000000000000a", "1-a")])

    await new.renew()  # nothing came before this answer
    assert gateway.counters.assigned == 0
    assert gateway.counters.unwritten == 0


async def test_hints_that_overtake_the_welcome_wait_for_it(edge: Edge) -> None:
    gateway = await edge.gateway()
    [waiting] = await edge.submit()
    batcher = gateway.batchers.enlist(gateway.space[0])
    enlist = batcher.call

    async def answer_late(items: list[object]) -> object:
        words = await enlist(items)  # type: ignore[arg-type]
        await until(lambda: any(connection.early for connection in gateway.registry.arrivals.values()))
        return words

    batcher.call = answer_late  # type: ignore[assignment]

    worker = await edge.worker()

    assert [one["run"] for one in await worker.tasks()] == [waiting]


async def test_two_sockets_that_resume_one_session_leave_the_newer(edge: Edge) -> None:
    gateway = await edge.gateway()
    old = await edge.worker()
    rivals = [await edge.connect(), await edge.connect()]

    for rival in rivals:
        await rival.send("hello", **(greeting() | {"session": old.session}))

    await until(lambda: gateway.sessions == 1 and gateway.registry.connections[old.session].session.conn == 3)
    await old.refusal()
    await until(lambda: gateway.counters.cut == {protocol.CLOSE_MOVED: 2})
    assert (await edge.dump())[f"session:{old.session}"]["conn"] == "3"


async def test_a_goodbye_ends_the_session_and_gives_back_what_was_not_begun(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    [task_id] = await edge.submit()
    [assignment] = await worker.tasks()

    await worker.send("leave")

    assert (await worker.refusal())[0] == 1000
    dump = await edge.dump()
    assert f"session:{worker.session}" not in dump
    assert dump[f"task:{task_id}"]["state"] == "created"
    assert ref(assignment)["fence"] != dump[f"task:{task_id}"]["fence"]


def _hint(session: str, conn: int, run: str, fence: str) -> hints.Assignment:
    return hints.Assignment(session, conn, run, 1, fence, HANDLER, 1, 0, 0, 0, False, "", 1, "", 0, b"", b"")


def _sent(counters_of_calls: list[tuple[str, int, int, int, int]], verb: str) -> "asyncio.Future[bool]":
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    done.set_result(any(name == verb and sent for name, _, _, sent, _ in counters_of_calls))
    return done


async def _capacity_is(edge: Edge, worker: Worker, capacity: str) -> bool:
    record = (await edge.dump())[f"session:{worker.session}"]
    return bool(record["capacity"] == capacity)


async def _all_queued(edge: Edge, tasks: list[str]) -> bool:
    return all([(await edge.task(one))["place"] == "lane" for one in tasks])
