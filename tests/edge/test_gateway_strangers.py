"""Two workers of different namespaces at one gateway, their apps in one partition: neither touches the other's runs."""

from typing import Any

import pytest

from gojob_redis.domain import verbs
from gojob_sdk import protocol
from tests.edge.conftest import Edge, Frame, Worker, greeting, held, ref
from tests.edge.gates import Standstill
from tests.tools.waiting import until

THEIRS = {"namespace": "other", "app": "shop"}
LINE = {"at": 1, "level": "info", "text": "forged"}


async def strangers(edge: Edge, *, started: bool = True) -> tuple[Worker, Worker, Frame]:
    """Ours with a run, and theirs, who learnt all there is to know about it."""
    await edge.gateway()
    ours, theirs = await edge.worker(), await edge.worker(token="theirs", **THEIRS)
    [run] = await edge.submit()
    [assignment] = await ours.tasks()
    if started:
        await ours.send("start", runs=[ref(assignment)])
        await edge.until(lambda: _is(edge, run, "running"))
    return ours, theirs, assignment


async def _is(edge: Edge, run: str, state: str) -> bool:
    return (await edge.task(run)).get("state") == state


def said(verb: str, assignment: Frame) -> dict[str, Any]:
    """The fields of a forged frame."""
    key = {"run": assignment["run"], "attempt": assignment["attempt"]}
    outcome = ref(assignment) | {"outcome": "ok", "started_ms": 1, "ended_ms": 2, "result": b"\x01"}
    fields: dict[str, dict[str, Any]] = {
        "start": {"runs": [ref(assignment)]},
        "report": {"outcomes": [outcome]},
        "release": {"runs": [ref(assignment)], "reason": "rejected"},
        "acknowledge": {"runs": [key]},
        "note": {"entries": [key | {"log": [LINE], "progress": {"percent": 1.0, "message": "forged"}}]},
    }
    return fields[verb]


@pytest.mark.parametrize("verb", ["start", "report", "release"])
@pytest.mark.parametrize("started", [False, True], ids=["bound", "running"])
async def test_a_run_of_another_namespace_is_fenced(edge: Edge, verb: str, started: bool) -> None:
    ours, theirs, assignment = await strangers(edge, started=started)
    before = await edge.task(assignment["run"])

    await theirs.send(verb, **said(verb, assignment))

    assert await theirs.words() == ["fenced"]
    assert await edge.task(assignment["run"]) == before
    await ours.report(assignment)
    assert await ours.words() == ["accepted"]


@pytest.mark.parametrize(
    ("verb", "nothing"),
    [("acknowledge", verbs.Heard("nobody", "nothing", 1)), ("note", verbs.Note("nobody", "nothing", 1, "log", b""))],
    ids=["acknowledge", "note"],
)
async def test_nothing_is_written_down_for_a_run_of_another_namespace(
    edge: Edge, verb: str, nothing: verbs.Heard | verbs.Note
) -> None:
    ours, theirs, assignment = await strangers(edge)
    await edge.space[0].call(verbs.cancel([verbs.CancelItem(assignment["run"], "enough")]))
    await ours.receive("cancel")
    before = await edge.task(assignment["run"])

    await theirs.send(verb, **said(verb, assignment))
    batcher = getattr(edge.gateways["g1"].batchers, verb)(edge.space[0])
    await until(lambda: batcher.sent == {"acknowledge": 1, "note": 2}[verb])
    assert await batcher.put(nothing, tenant="", size=1) == "gone"  # so what was sent before was answered, too

    assert await edge.task(assignment["run"]) == before
    assert f"log:{assignment['run']}" not in await edge.dump()
    await ours.send(verb, **said(verb, assignment))
    field = {"acknowledge": "cancel_heard", "note": "progress"}[verb]
    await edge.until(lambda: _has(edge, assignment["run"], field))
    await ours.report(assignment, outcome="canceled")
    assert await ours.words() == ["accepted"]


async def _has(edge: Edge, run: str, field: str) -> bool:
    return field in await edge.task(run)


async def test_a_worker_does_not_come_home_with_a_run_of_another_namespace(edge: Edge) -> None:
    ours, theirs, assignment = await strangers(edge, started=False)
    again = await edge.connect(token="theirs")

    welcome = await again.hello(**THEIRS, session=theirs.session, held=[held(assignment)])

    assert (welcome["keep"], [one["why"] for one in welcome["drop"]]) == ([], ["fenced"])
    assert await _is(edge, assignment["run"], "waiting_to_run")
    await ours.report(assignment)
    assert await ours.words() == ["accepted"]


async def knocking(edge: Edge, session: str) -> tuple[Worker, Standstill]:
    """A worker of another namespace says that it comes home as this session; the engine has not answered yet."""
    gateway = edge.gateways["g1"]
    standstill = Standstill(edge.space)
    gateway.handshake.space = standstill
    theirs = await edge.connect(token="theirs")
    await theirs.send("hello", **(greeting() | THEIRS | {"session": session}))
    await standstill.reached.wait()
    return theirs, standstill


async def test_who_says_that_it_is_the_session_of_another_keeps_no_work_from_it(edge: Edge) -> None:
    gateway = await edge.gateway()
    ours = await edge.worker()
    theirs, standstill = await knocking(edge, ours.session)

    await edge.submit()
    [assignment] = await ours.tasks()

    standstill.open()
    assert (await theirs.refusal())[0] == protocol.CLOSE_FORBIDDEN
    await ours.report(assignment)
    assert await ours.words() == ["accepted"]
    assert gateway.counters.unwritten == 0


async def test_what_waited_for_who_was_no_session_of_ours_is_not_given_back(edge: Edge) -> None:
    """Its own worker is on its way home by another socket."""
    gateway = await edge.gateway()
    ours = await edge.worker()
    session = ours.session
    theirs, standstill = await knocking(edge, session)
    gateway.registry.connections.clear()
    await edge.submit()
    await until(lambda: any(connection.early for connection in gateway.registry.arrivals.values()))

    standstill.open()
    assert (await theirs.refusal())[0] == protocol.CLOSE_FORBIDDEN

    again = await edge.connect()
    await again.hello(session=session)
    [assignment] = await again.tasks()
    await again.report(assignment)
    assert await again.words() == ["accepted"]
    assert gateway.counters.unwritten == 0
