"""worker: what a real worker says on a real socket, to a gateway that does what the test says."""

import asyncio
import logging
import random
import threading
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from gojob_sdk import (
    BadConfig,
    Canceled,
    Context,
    FinalError,
    Refused,
    Snooze,
    Uncounted,
    Worker,
    connection,
    reconnect,
)
from gojob_sdk.protocol import pack_value, read_spec, spec_digest, unpack_value
from tests.tools.waiting import until
from tests.unit.sdk import frames
from tests.unit.sdk.gateway import DEADLINE_S, Gateway, running


@pytest.fixture(autouse=True)
def _quick_reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "HOLDING_PAUSE_S", 0.01)
    monkeypatch.setattr(reconnect, "IDLE_PAUSE_S", 0.01)
    monkeypatch.setattr(reconnect, "LET_PAST_S", (0.0, 0.01))


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with Gateway() as gateway:
        yield gateway


def make(gateway: Gateway, **settings: Any) -> Worker:
    return Worker(**{"app": "shop", "url": gateway.url, "token": "secret", "concurrency": 4, "drain_s": 5, **settings})


# --- connecting -------------------------------------------------------------------------------------------------------


async def test_a_worker_says_who_it_is(gateway: Gateway) -> None:
    worker = make(gateway, namespace="n1", labels={"env": "gray"}, attributes=["host=db7"], name="w1")
    worker.add("send", lambda ctx: None)
    worker.add("mail", lambda ctx: None)

    async with running(worker):
        hello = await (await gateway.conversation()).welcome()

    assert gateway.requests[0].path == "/v1/worker"
    assert gateway.requests[0].headers["Authorization"] == "Bearer secret"
    assert "Sec-WebSocket-Extensions" not in gateway.requests[0].headers
    assert (hello["namespace"], hello["app"], hello["worker"]) == ("n1", "shop", "w1")
    assert (hello["labels"], hello["attributes"]) == ({"env": "gray"}, ["host=db7"])
    assert (hello["handlers"], hello["capacity"], hello["held"]) == (["mail", "send"], 4, [])


async def test_a_worker_tells_what_it_is_asked_for_once_and_what_fits_no_handler_is_final(gateway: Gateway) -> None:
    worker = make(gateway)

    @worker.handler("send", version="1.4", retries=3)
    def send(ctx: Context, order_id: int) -> None:
        """Send an order."""

    worker.add("mail", lambda ctx: None)
    async with running(worker):
        talk = await gateway.conversation()
        hello = await talk.welcome()
        [none, digest] = hello["specs"]
        await talk.send({"type": "describe", "specs": [digest, "x" * 22]})
        [packed] = (await talk.expect("described"))["specs"]
        await talk.send(frames.assign("r1", handler="send", param=pack_value({"order_id": "x"})))
        outcome = await talk.outcome()

    assert (none, spec_digest(packed)) == ("", digest)
    spec = read_spec(packed)
    assert (spec["version"], spec["defaults"], spec["description"]) == ("1.4", {"retries": 3}, "Send an order.")
    assert (outcome["outcome"], outcome["disposition"]) == ("params_invalid", "final")
    assert "order_id" in outcome["error"]["message"]


async def test_a_disabled_handler_is_not_announced(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_WORKER__HANDLERS__mail__DISABLE", "true")
    worker = make(gateway)
    worker.add("send", lambda ctx: None)
    worker.add("mail", lambda ctx: None)

    async with running(worker):
        hello = await (await gateway.conversation()).welcome()

    assert hello["handlers"] == ["send"]


async def test_a_disabled_worker_does_not_connect(gateway: Gateway) -> None:
    worker = make(gateway, disable=True)
    worker.add("send", lambda ctx: None)

    worker.start()
    worker.stop()

    assert await asyncio.to_thread(worker.wait, DEADLINE_S)
    assert gateway.requests == []


async def test_a_worker_tells_what_happens_to_its_connection(gateway: Gateway) -> None:
    worker = make(gateway)
    worker.add("send", lambda ctx: None)
    heard: list[str] = []

    async def hear(event: connection.ConnectionEvent) -> None:
        heard.append(event.name)

    worker.on("connected", lambda event: heard.append(f"{event.name} {event.session}"))
    for name in ("reconnecting", "reconnected", "disconnected"):
        worker.on(name, hear)

    async with running(worker):
        first = await gateway.welcomed()
        await first.socket.close(1012)
        await gateway.welcomed(resumed=True)
        await until(lambda: "reconnected" in heard)

    assert heard == ["connected s1", "disconnected", "reconnecting", "reconnected", "disconnected"]


async def test_several_addresses_are_tried_in_turn(gateway: Gateway) -> None:
    worker = make(gateway, url=f"ws://127.0.0.1:1, {gateway.url}")
    worker.add("send", lambda ctx: None)

    async with running(worker):
        await gateway.welcomed()


def pauses(caplog: pytest.LogCaptureFixture) -> list[str]:
    """How long the worker waited before each attempt."""
    return [found for _, sign, found in (text.rpartition("next attempt in ") for text in caplog.messages) if sign]


async def test_a_reason_that_lasts_is_told_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _least, most: 0.001)
    worker = Worker(app="shop", url="http://127.0.0.1:1,http://127.0.0.1:2", token="secret")
    worker.add("send", lambda ctx: None)

    with caplog.at_level(logging.DEBUG, "gojob_sdk"):
        async with running(worker):
            await until(lambda: len(pauses(caplog)) >= 10)

    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["127.0.0.1:1" in warned[0], "127.0.0.1:2" in warned[1], len(warned)] == [True, True, 2]


async def test_an_idle_worker_is_in_no_hurry_only_after_it_tried_all_addresses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _least, most: most)
    monkeypatch.setattr(reconnect, "HOLDING_PAUSE_S", 0.1)
    monkeypatch.setattr(reconnect, "IDLE_PAUSE_S", 0.3)
    worker = Worker(app="shop", url="http://127.0.0.1:1,http://127.0.0.1:2,http://127.0.0.1:3", token="secret")
    worker.add("send", lambda ctx: None)

    with caplog.at_level(logging.DEBUG, "gojob_sdk"):
        async with running(worker):
            await until(lambda: len(pauses(caplog)) >= 4)

    assert pauses(caplog)[:4] == ["0.1 s", "0.1 s", "0.1 s", "0.3 s"]


async def test_a_worker_without_runs_lets_those_past_whose_runs_depend_on_it(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(random, "uniform", lambda least, _most: least)
    monkeypatch.setattr(reconnect, "LET_PAST_S", (0.2, 0.4))
    worker = make(gateway)
    gate = threading.Event()
    worker.add("send", lambda ctx: gate.wait(DEADLINE_S))

    with caplog.at_level(logging.DEBUG, "gojob_sdk"):
        async with running(worker):
            idle = await gateway.welcomed()
            await idle.socket.close(1012)
            holding = await gateway.welcomed(resumed=True)
            await holding.send(frames.assign("r1"))
            await holding.skip_to("start")
            await holding.socket.close(1012)
            home = await gateway.welcomed(resumed=True)
            gate.set()
            await home.outcome()

    assert pauses(caplog)[:2] == ["0.2 s", "0.0 s"]


async def test_a_worker_moves_when_told(gateway: Gateway) -> None:
    async with Gateway() as other:
        worker = make(gateway, url=f"{gateway.url},{other.url}")
        worker.add("send", lambda ctx: None)

        async with running(worker):
            first = await gateway.welcomed()
            await first.send({"type": "move", "reason": "draining", "within_ms": 20})
            hello = await (await other.conversation()).welcome(resumed=True)

    assert hello["session"] == "s1"


async def test_a_server_that_speaks_something_else_is_not_talked_to(caplog: pytest.LogCaptureFixture) -> None:
    async with Gateway(speaks="chat") as gateway:
        worker = make(gateway)
        worker.add("send", lambda ctx: None)

        with caplog.at_level(logging.WARNING, "gojob_sdk"):
            async with running(worker):
                conversation = await gateway.conversation()
                async with asyncio.timeout(DEADLINE_S):
                    await conversation.closed.wait()
                await until(lambda: "does not speak gojob.v2.msgpack" in caplog.text)


@pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN])
async def test_a_refused_token_ends_the_worker_with_a_clear_error(status: HTTPStatus) -> None:
    def refuse(socket: ServerConnection, request: Request) -> Response:
        return socket.respond(status, "no\n")

    async with Gateway(refuse=refuse) as gateway:
        worker = make(gateway)
        worker.add("send", lambda ctx: None)
        worker.start()

        with pytest.raises(Refused, match=f"answered HTTP {status.value}: .*token"):
            await asyncio.to_thread(worker.wait, DEADLINE_S)


async def test_a_refused_hello_ends_the_worker_with_the_gateways_words(gateway: Gateway) -> None:
    worker = make(gateway)
    worker.add("send", lambda ctx: None)
    worker.start()

    conversation = await gateway.conversation()
    await conversation.expect("hello")
    await conversation.send({"type": "error", "code": "forbidden", "message": "Not this app.", "hint": "Ask for it."})
    await conversation.socket.close(4403)

    with pytest.raises(Refused, match=r"forbidden: Not this app\. Ask for it\."):
        await asyncio.to_thread(worker.wait, DEADLINE_S)


async def test_a_worker_that_was_welcome_once_is_patient_when_refused(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconnect, "REFUSED_PAUSE_S", 0.01)
    worker = make(gateway)
    worker.add("send", lambda ctx: None)

    async with running(worker):
        first = await gateway.welcomed()
        await first.socket.close(4401)
        await gateway.welcomed(resumed=True)


async def test_a_frame_that_makes_no_sense_costs_only_the_connection(gateway: Gateway) -> None:
    worker = make(gateway)
    worker.add("send", lambda ctx: None)

    async with running(worker):
        first = await gateway.welcomed()
        await first.socket.send(b"\xc1")
        await gateway.welcomed(resumed=True)


# --- running ----------------------------------------------------------------------------------------------------------


async def test_handlers_of_both_kinds_run_and_report(gateway: Gateway) -> None:
    worker = make(gateway)

    @worker.handler("sync")
    def add(ctx: Context, a: int, b: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        return a + b

    @worker.handler("async")
    async def add_later(ctx: Context, a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    async with running(worker):
        conversation = await gateway.welcomed()
        for name in ("sync", "async"):
            await conversation.send(frames.assign(name, handler=name, param=pack_value({"a": 1, "b": 2})))
            outcome = await conversation.outcome()
            assert (outcome["run"], outcome["outcome"], unpack_value(outcome["result"])) == (name, "ok", 3)
            assert outcome["fence"] == frames.FENCE


async def test_many_runs_travel_in_few_frames(gateway: Gateway) -> None:
    worker = make(gateway, concurrency=100)

    @worker.handler("send")
    async def send(ctx: Context) -> None: ...

    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign(*[f"r{n}" for n in range(100)]))
        report = await conversation.skip_to("report")

    assert len(report["outcomes"]) == 100


async def test_a_failing_handler_reports_its_error(gateway: Gateway) -> None:
    worker = make(gateway, final=(KeyError,))

    def fail(ctx: Context, how: str) -> None:
        errors: dict[str, BaseException] = {
            "plain": ValueError("no such order"),
            "final": FinalError("never"),
            "declared": KeyError("k"),
            "exit": SystemExit(3),
        }
        raise errors[how]

    async def fail_later(ctx: Context, how: str) -> None:
        fail(ctx, how)

    worker.add("sync", fail)
    worker.add("async", fail_later)

    async with running(worker):
        conversation = await gateway.welcomed()
        for handler in ("sync", "async"):
            for how, kind, final in [
                ("plain", "ValueError", False),
                ("final", "FinalError", True),
                ("declared", "KeyError", True),
                ("exit", "SystemExit", False),
                (7, "BadParams", True),
            ]:
                param = pack_value({"how": how})
                await conversation.send(frames.assign(f"{handler}.{how}", handler=handler, param=param))
                outcome = await conversation.outcome()
                word = "params_invalid" if kind == "BadParams" else "error"
                assert (outcome["outcome"], outcome["error"]["type"]) == (word, kind)
                assert (outcome.get("disposition") == "final") is final
                assert "gojob_sdk/runner.py" not in outcome["error"]["traceback"].split("test_sdk_worker.py")[0]


@pytest.mark.parametrize(
    ("error", "disposition", "delay_ms"),
    [
        (Snooze(1.5, "no file yet"), "snooze", 1_500),
        (Snooze(-1), "snooze", 0),
        (Snooze(float("nan")), "snooze", 0),
        (Snooze(float("inf")), "snooze", 7 * 86_400_000),
        (Uncounted("the shop is down"), "uncounted", None),
        (Uncounted(seconds=30), "uncounted", 30_000),
    ],
)
async def test_a_handler_may_put_its_run_off_or_not_be_counted(
    gateway: Gateway, error: Exception, disposition: str, delay_ms: int | None
) -> None:
    worker = make(gateway)

    @worker.handler("send")
    async def send(ctx: Context) -> None:
        raise error

    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1"))
        outcome = await conversation.outcome()

    assert (outcome["outcome"], outcome["disposition"], outcome.get("delay_ms")) == ("error", disposition, delay_ms)
    assert outcome["error"]["type"] == type(error).__name__


async def test_errors_and_results_beyond_the_limits_still_report(gateway: Gateway) -> None:
    worker = make(gateway)

    @worker.handler("shout")
    def shout(ctx: Context) -> None:
        raise ValueError("é\ud800" * 100_000)

    @worker.handler("flood")
    def flood(ctx: Context) -> str:
        return "x" * 300_000

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    @worker.handler("mute")
    async def mute(ctx: Context) -> None:
        raise Mute

    async with running(worker):
        conversation = await gateway.welcomed()
        for handler, kind in [("shout", "ValueError"), ("flood", "BadResult"), ("mute", "Mute")]:
            await conversation.send(frames.assign(handler, handler=handler))
            outcome = await conversation.outcome()
            assert outcome["error"]["type"].endswith(kind)


async def test_logs_and_progress_arrive_with_the_report(gateway: Gateway) -> None:
    worker = make(gateway)

    @worker.handler("send")
    def send(ctx: Context) -> None:
        ctx.log.info("half")
        ctx.progress(50, "half")

    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1"))
        notes = await conversation.expect("note")
        await conversation.expect("report")

    entries = notes["entries"]
    assert [line["text"] for line in entries[0]["log"]] == ["half"]
    assert entries[1]["progress"] == {"percent": 50.0, "message": "half"}


async def test_what_handlers_give_to_logging_arrives_with_their_runs(gateway: Gateway) -> None:
    logger = logging.getLogger("shop.orders")
    worker = make(gateway, log_level="warning")

    @worker.handler("blocks")
    def blocks(ctx: Context) -> None:
        logger.warning("blocks %s", ctx.task_id)
        thread = threading.Thread(target=ctx.bind(logger.warning), args=("thread %s", ctx.task_id))
        thread.start()
        thread.join()

    @worker.handler("awaits")
    async def awaits(ctx: Context) -> None:
        logger.info("not asked for")
        await asyncio.gather(
            asyncio.create_task(later(f"task {ctx.task_id}")),
            asyncio.to_thread(logger.warning, "to_thread %s", ctx.task_id),
        )

    async def later(text: str) -> None:
        logger.error(text)

    texts: dict[str, set[str]] = {}
    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1", "r2", handler="blocks"))
        await conversation.send(frames.assign("r3", "r4", handler="awaits"))
        while sum(map(len, texts.values())) < 8:
            for entry in (await conversation.skip_to("note"))["entries"]:
                assert {line["logger"] for line in entry["log"]} == {"shop.orders"}
                texts.setdefault(entry["run"], set()).update(line["text"] for line in entry["log"])

    assert texts == {
        **{run: {f"blocks {run}", f"thread {run}"} for run in ("r1", "r2")},
        **{run: {f"task {run}", f"to_thread {run}"} for run in ("r3", "r4")},
    }


async def test_logging_may_be_kept_out_of_runs(gateway: Gateway) -> None:
    worker = make(gateway, log_level="off")

    @worker.handler("send")
    def send(ctx: Context) -> None:
        logging.getLogger("shop").error("mine")
        ctx.log.info("kept")

    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1"))
        notes = await conversation.skip_to("note")

    assert [line["text"] for entry in notes["entries"] for line in entry["log"]] == ["kept"]


async def test_a_flood_of_lines_holds_no_report_up_and_all_of_it_comes(gateway: Gateway) -> None:
    worker = make(gateway)

    @worker.handler("send")
    def send(ctx: Context) -> None:
        for number in range(120):
            ctx.log.info(f"{number:03} " + "x" * 8_000)

    lines: list[str] = []
    before_report = 0
    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1"))
        while len(lines) < 120 or not before_report:
            frame = await conversation.expect("note", "report", "start", "leave")
            if frame["type"] == "report":
                before_report = len(lines)
                await conversation.accept(frame)
            for entry in frame.get("entries", ()):
                lines += [line["text"][:3] for line in entry["log"]]

    assert lines == [f"{number:03}" for number in range(120)]
    assert before_report < 100


async def test_a_confirmed_run_begins_after_its_verdict(gateway: Gateway) -> None:
    worker = make(gateway)
    begun = threading.Event()

    @worker.handler("send")
    def send(ctx: Context) -> None:
        begun.set()

    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1", confirm=True))
        await conversation.expect("start")
        assert not begun.is_set()
        await conversation.send(frames.verdict("start", "ok", "r1"))
        assert (await conversation.outcome())["outcome"] == "ok"


async def test_doubles_run_once(gateway: Gateway) -> None:
    worker = make(gateway)
    runs: list[str] = []

    @worker.handler("send")
    async def send(ctx: Context) -> None:
        runs.append(ctx.run_instance_id)

    async with running(worker):
        conversation = await gateway.welcomed()
        for _ in range(3):
            await conversation.send(frames.assign("r1"))
        await conversation.outcome()
        await conversation.send(frames.assign("r1"))
        await conversation.send(frames.assign("r2"))
        await conversation.outcome()

    assert runs == ["r1.0.1", "r2.0.1"]


# --- a connection that breaks -----------------------------------------------------------------------------------------


async def test_a_run_survives_its_gateway_and_reports_to_the_next(gateway: Gateway) -> None:
    worker = make(gateway)
    go_on = threading.Event()

    @worker.handler("send")
    def send(ctx: Context) -> str:
        go_on.wait(DEADLINE_S)
        return "sent"

    async with running(worker):
        first = await gateway.welcomed()
        await first.send(frames.assign("r1"))
        await first.expect("start")
        first.socket.transport.abort()
        second = await gateway.conversation()
        hello = await second.welcome(resumed=True, keep=["r1@1"])
        await second.send(frames.assign("r1"))
        go_on.set()
        outcome = await second.outcome()

    assert hello["session"] == "s1"
    assert hello["held"] == [{"run": "r1", "attempt": 1, "fence": frames.FENCE, "started": True}]
    assert unpack_value(outcome["result"]) == "sent"


async def test_a_report_is_sent_on_every_connection_until_it_is_acknowledged(gateway: Gateway) -> None:
    worker = make(gateway)

    @worker.handler("send")
    async def send(ctx: Context) -> None: ...

    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1"))
        for _ in range(3):
            await conversation.skip_to("report")
            conversation.socket.transport.abort()
            conversation = await gateway.welcomed(resumed=True)
        await conversation.outcome()
        conversation.socket.transport.abort()
        hello = await (await gateway.conversation()).welcome(resumed=True)

    assert hello["held"] == []


async def test_what_ends_while_nobody_is_connected_is_reported_later(gateway: Gateway) -> None:
    worker = make(gateway)
    go_on, ended = threading.Event(), threading.Event()

    @worker.handler("send")
    def send(ctx: Context) -> None:
        go_on.wait(DEADLINE_S)
        ended.set()

    async with running(worker):
        first = await gateway.welcomed()
        await first.send(frames.assign("r1"))
        await first.expect("start")
        first.socket.transport.abort()
        second = await gateway.conversation()
        go_on.set()
        assert await asyncio.to_thread(ended.wait, DEADLINE_S)
        await second.welcome(resumed=True)
        assert (await second.outcome())["run"] == "r1"


async def test_a_blocking_async_handler_does_not_stop_the_renewals(gateway: Gateway) -> None:
    worker = make(gateway)
    go_on = threading.Event()

    @worker.handler("send")
    async def send(ctx: Context) -> None:
        go_on.wait(DEADLINE_S)

    async with running(worker):
        conversation = await gateway.welcomed(heartbeat_ms=10)
        await conversation.send(frames.assign("r1"))
        await conversation.expect("start")
        seen = conversation.renewals
        await until(lambda: conversation.renewals > seen + 5)
        go_on.set()
        await conversation.outcome()


async def test_a_gateway_that_stops_answering_is_left(gateway: Gateway) -> None:
    worker = make(gateway)
    worker.add("send", lambda ctx: None)

    async with running(worker):
        first = await gateway.conversation()
        first.answers_renewals = False
        await first.welcome(heartbeat_ms=10, lease_ms=100)
        second = await gateway.conversation()
        await second.welcome(resumed=True)


async def test_when_the_lease_ends_only_runs_that_may_happen_once_are_stopped(gateway: Gateway) -> None:
    worker = make(gateway)
    lost = asyncio.Event()
    loop = asyncio.get_running_loop()

    @worker.handler("once")
    async def once(ctx: Context) -> None:
        await asyncio.sleep(DEADLINE_S)

    @worker.handler("again")
    def again(ctx: Context) -> str:
        ends = time.monotonic() + DEADLINE_S
        while not ctx.lost and time.monotonic() < ends:
            time.sleep(0.001)
        loop.call_soon_threadsafe(lost.set)
        return "went on"

    @worker.handler("later")
    async def later(ctx: Context) -> str:
        ends = time.monotonic() + DEADLINE_S
        while not ctx.lost and time.monotonic() < ends:  # noqa: ASYNC110 - the flag is what a handler has
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        return "went on too"

    async with running(worker):
        first = await gateway.conversation()
        first.answers_renewals = False
        await first.welcome(heartbeat_ms=60, lease_ms=120)
        await first.send(frames.assign("r1", handler="once", confirm=True))
        await first.expect("start")
        await first.send(frames.verdict("start", "ok", "r1"))
        await first.send(frames.assign("r2", handler="again"))
        await first.send(frames.assign("r3", handler="later"))
        async with asyncio.timeout(DEADLINE_S):
            await lost.wait()
        second = await gateway.conversation()
        await second.welcome(resumed=False, session="s2")
        outcomes: dict[str, Any] = {}
        while len(outcomes) < 3:
            report = await second.skip_to("report")
            await second.accept(report)
            outcomes |= {outcome["run"]: outcome for outcome in report["outcomes"]}

    assert (outcomes["r1"]["error"]["type"], outcomes["r1"]["disposition"]) == ("LeaseLost", "final")
    assert unpack_value(outcomes["r2"]["result"]) == "went on"
    assert unpack_value(outcomes["r3"]["result"]) == "went on too"


# --- cancel and limits ------------------------------------------------------------------------------------------------


def cancel(run: str) -> Any:
    return {"type": "cancel", "runs": [{"run": run, "attempt": 1, "reason": "canceled", "grace_ms": 10_000}]}


async def test_an_async_handler_is_canceled(gateway: Gateway) -> None:
    worker = make(gateway)
    cleaned = asyncio.Event()
    loop = asyncio.get_running_loop()

    @worker.handler("send")
    async def send(ctx: Context) -> None:
        try:
            await asyncio.sleep(DEADLINE_S)
        finally:
            loop.call_soon_threadsafe(cleaned.set)

    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1"))
        await conversation.expect("start")
        await conversation.send(cancel("r1"))
        await conversation.send(cancel("r1"))
        assert (await conversation.expect("acknowledge"))["runs"] == [{"run": "r1", "attempt": 1}]
        assert (await conversation.outcome())["outcome"] == "canceled"
        async with asyncio.timeout(DEADLINE_S):
            await cleaned.wait()


async def test_a_cancel_before_the_first_step_still_reports(gateway: Gateway) -> None:
    worker = make(gateway)
    go_on = threading.Event()
    begun: list[str] = []

    @worker.handler("block")
    async def block(ctx: Context) -> None:
        go_on.wait(DEADLINE_S)

    @worker.handler("send")
    async def send(ctx: Context) -> None:
        begun.append(ctx.task_id)

    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r0", handler="block"))
        await conversation.expect("start")
        await conversation.send(frames.assign("r1"))
        await conversation.expect("start")
        await conversation.send(cancel("r1"))
        await conversation.expect("acknowledge")
        go_on.set()
        outcomes: dict[str, str] = {}
        while len(outcomes) < 2:
            report = await conversation.skip_to("report")
            outcomes |= {outcome["run"]: outcome["outcome"] for outcome in report["outcomes"]}

    assert outcomes == {"r0": "ok", "r1": "canceled"}
    assert begun == []


async def test_a_blocking_handler_sees_the_cancel(gateway: Gateway) -> None:
    worker = make(gateway)

    @worker.handler("send")
    def send(ctx: Context) -> None:
        ends = time.monotonic() + DEADLINE_S
        try:
            while time.monotonic() < ends:
                ctx.check()
                time.sleep(0.001)
        except Canceled:
            assert ctx.canceled
            raise

    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1"))
        await conversation.expect("start")
        await conversation.send(cancel("r1"))
        assert (await conversation.outcome())["outcome"] == "canceled"


async def test_success_in_spite_of_a_cancel_stands(gateway: Gateway) -> None:
    worker = make(gateway)

    @worker.handler("send")
    def send(ctx: Context) -> str:
        ends = time.monotonic() + DEADLINE_S
        while not ctx.canceled and time.monotonic() < ends:
            time.sleep(0.001)
        return "done anyway"

    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1"))
        await conversation.expect("start")
        await conversation.send(cancel("r1"))
        assert (await conversation.outcome())["outcome"] == "ok"


async def test_the_run_limit_cancels_an_async_handler_and_flags_a_blocking_one(gateway: Gateway) -> None:
    worker = make(gateway)

    @worker.handler("async")
    async def wait_long(ctx: Context) -> None:
        await asyncio.sleep(DEADLINE_S)

    @worker.handler("sync")
    def block_long(ctx: Context) -> None:
        ends = time.monotonic() + DEADLINE_S
        while not ctx.timed_out and time.monotonic() < ends:
            time.sleep(0.001)

    async with running(worker):
        conversation = await gateway.welcomed()
        for handler in ("async", "sync"):
            await conversation.send(frames.assign(handler, handler=handler, run_limit_ms=20))
            assert (await conversation.outcome())["outcome"] == "timeout"


async def test_a_timed_out_thread_keeps_its_seat_until_it_ends(gateway: Gateway) -> None:
    worker = make(gateway, concurrency=1)
    go_on, over = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @worker.handler("send")
    def send(ctx: Context) -> None:
        ends = time.monotonic() + DEADLINE_S
        while not ctx.timed_out and time.monotonic() < ends:
            time.sleep(0.001)
        loop.call_soon_threadsafe(over.set)
        go_on.wait(DEADLINE_S)

    async with running(worker):
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1", run_limit_ms=10))
        async with asyncio.timeout(DEADLINE_S):
            await over.wait()
        await conversation.send(frames.assign("r2"))
        release = await conversation.skip_to("release")
        go_on.set()
        outcome = await conversation.outcome()

    assert [(run["run"], release["reason"]) for run in release["runs"]] == [("r2", "rejected")]
    assert (outcome["run"], outcome["outcome"]) == ("r1", "timeout")


# --- stopping ---------------------------------------------------------------------------------------------------------


async def test_stopping_waits_for_what_runs_and_for_its_verdict(gateway: Gateway) -> None:
    worker = make(gateway)
    go_on = threading.Event()

    @worker.handler("send")
    def send(ctx: Context) -> None:
        go_on.wait(DEADLINE_S)

    worker.start()
    conversation = await gateway.welcomed()
    await conversation.send(frames.assign("r1"))
    await conversation.expect("start")
    await conversation.send(frames.assign("asked", confirm=True))
    await conversation.expect("start")

    worker.stop()
    assert await conversation.skip_to("renew") == {"type": "renew", "capacity": 0}
    await conversation.send(frames.assign("late"))
    assert (await conversation.expect("release"))["runs"][0]["run"] == "late"
    await conversation.send(frames.verdict("release", "accepted", "late"))
    await conversation.send(frames.verdict("start", "fenced", "asked"))
    assert (await conversation.expect("release"))["runs"][0]["run"] == "asked"
    await conversation.send(frames.verdict("release", "fenced", "asked"))
    go_on.set()
    await conversation.outcome()
    await conversation.expect("leave")

    assert await asyncio.to_thread(worker.wait, DEADLINE_S)


async def test_stopping_gives_up_in_the_end(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    worker = make(gateway, drain_s=0.01)
    go_on = threading.Event()
    unwound: list[str] = []

    @worker.handler("sync")
    def block(ctx: Context) -> None:
        go_on.wait(DEADLINE_S)

    @worker.handler("async")
    async def wait_long(ctx: Context) -> None:
        try:
            await asyncio.sleep(DEADLINE_S)
        finally:
            unwound.append(ctx.task_id)

    worker.start()
    conversation = await gateway.welcomed()
    await conversation.send(frames.assign("r1", handler="sync"))
    await conversation.expect("start")
    await conversation.send(frames.assign("r2", handler="async"))
    await conversation.expect("start")
    with caplog.at_level(logging.WARNING, "gojob_sdk"):
        worker.stop()
        await conversation.skip_to("leave")
        assert await asyncio.to_thread(worker.wait, DEADLINE_S)
    go_on.set()

    assert unwound == ["r2"]
    assert sorted(message.split(":")[0] for message in caplog.messages) == [
        "gave up run r1.0.1 of sync",
        "gave up run r2.0.1 of async",
    ]


async def test_a_report_made_while_draining_offline_is_still_delivered(gateway: Gateway) -> None:
    worker = make(gateway)
    go_on = threading.Event()

    @worker.handler("send")
    def send(ctx: Context) -> None:
        go_on.wait(DEADLINE_S)

    worker.start()
    first = await gateway.welcomed()
    await first.send(frames.assign("r1"))
    await first.expect("start")
    worker.stop()
    await first.expect("renew")
    first.socket.transport.abort()
    go_on.set()
    second = await gateway.conversation()
    hello = await second.welcome(resumed=True)
    await second.outcome()
    await second.expect("leave")

    assert hello["capacity"] == 0
    assert await asyncio.to_thread(worker.wait, DEADLINE_S)


async def test_serving_in_a_loop_of_the_users_runs_handlers_there(gateway: Gateway) -> None:
    worker = make(gateway)
    here = asyncio.get_running_loop()
    loops: list[Any] = []

    @worker.handler("send")
    async def send(ctx: Context) -> None:
        loops.append(asyncio.get_running_loop())

    serving = asyncio.create_task(worker.serve())
    conversation = await gateway.welcomed()
    await conversation.send(frames.assign("r1"))
    await conversation.outcome()
    worker.stop()
    await conversation.expect("renew", "leave")
    async with asyncio.timeout(DEADLINE_S):
        await serving

    assert loops == [here]


async def test_canceling_serve_stops_at_once(gateway: Gateway) -> None:
    worker = make(gateway)

    @worker.handler("send")
    async def send(ctx: Context) -> None:
        await asyncio.sleep(DEADLINE_S)

    serving = asyncio.create_task(worker.serve())
    conversation = await gateway.welcomed()
    await conversation.send(frames.assign("r1"))
    await conversation.expect("start")
    serving.cancel()

    with pytest.raises(asyncio.CancelledError):
        await serving
    await conversation.skip_to("leave")


def test_a_worker_is_started_once_and_with_handlers() -> None:
    worker = Worker(app="shop", disable=True)

    with pytest.raises(BadConfig, match="no handlers"):
        worker.run()
    worker.add("send", lambda: None)
    worker.stop()
    worker.run()
    with pytest.raises(BadConfig, match="only once"):
        worker.run()
    with pytest.raises(BadConfig, match="too late"):
        worker.add("mail", lambda: None)


def test_an_event_that_never_happens_cannot_be_listened_for() -> None:
    with pytest.raises(BadConfig, match="'welcomed' never happens"):
        Worker(app="shop").on("welcomed", print)  # type: ignore[arg-type]
