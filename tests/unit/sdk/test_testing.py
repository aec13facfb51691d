"""testing: what ``call`` shows of a handler."""

import sys

import pytest

from gojob_sdk import Canceled, Context, testing
from gojob_sdk.errors import BadConfig, BadResult
from gojob_sdk.testing import call, embedded


async def send(ctx: Context, order_id: int) -> dict[str, object]:
    ctx.log.info(f"sent order {order_id}")
    ctx.progress(10)
    ctx.progress(100, "sent")
    return {"order": order_id, "shard": (ctx.shard, ctx.shards)}


def test_a_call_shows_result_log_and_progress() -> None:
    called = call(send, {"order_id": 7}, shard=1, shards=4)

    assert called.result == {"order": 7, "shard": [1, 4]}
    assert called.log == [("info", "sent order 7")]
    assert called.progress == (100.0, "sent")


async def test_a_call_works_in_an_async_test() -> None:
    assert call(send, {"order_id": 7}).result["order"] == 7


async def test_what_a_handler_raises_is_raised_also_there() -> None:
    async def fail(ctx: Context) -> None:
        raise ValueError("no such order")

    with pytest.raises(ValueError, match="no such order"):
        call(fail)


def test_a_context_says_what_the_test_gave() -> None:
    def tell(ctx: Context) -> list[object]:
        return [ctx.shard_param, ctx.attempt, ctx.retry, ctx.fence, ctx.trigger, ctx.slot, ctx.lost, ctx.run_limit_s]

    called = call(tell, shard_param="d", attempt=2, retry=1, fence=9, trigger="t", slot=5, lost=True, run_limit_s=1.5)

    assert called.result == ["d", 2, 1, 9, "t", 5, True, 1.5]


def test_a_canceled_call_sees_it() -> None:
    def stop(ctx: Context) -> None:
        ctx.check()

    with pytest.raises(Canceled):
        call(stop, canceled=True)


def test_a_result_that_cannot_travel_is_refused() -> None:
    with pytest.raises(BadResult, match="262149 bytes"):
        call(lambda: "x" * 262_144)
    with pytest.raises(BadResult, match="cannot be sent"):
        call(lambda: object())


READY = """
import json, signal, sys
print("starting")
told = {"url": f"http://127.0.0.1:{sys.argv[1]}", "admin_token": "a", "worker_token": "w", "redis_url": "redis:"}
print(json.dumps(told), flush=True)
print("x" * 1_000_000, flush=True)
signal.pause()
"""


def test_an_embedded_server_is_told_when_ready_and_stopped_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "dev_command", lambda port, directory: (sys.executable, "-c", READY, str(port)))

    with embedded() as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert (server.admin_token, server.worker_token) == ("a", "w")
        assert server.process.poll() is None

    assert server.process.poll() is not None


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "import signal; signal.pause()"])
def test_an_embedded_server_that_does_not_come_up_is_an_error(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(testing, "dev_command", lambda port, directory: (sys.executable, "-c", program))

    with pytest.raises(RuntimeError, match="gojob dev ended with"), embedded(ready_within_s=0.5):
        pass


def test_a_call_shows_what_the_handler_submitted() -> None:
    def spread(ctx: Context) -> list[str]:
        return [ctx.submit("pack", {"order": number}, app="stock", retries=number).id for number in range(2)]

    called = call(spread, task_id="t1")

    assert called.result == ["t1-child-1", "t1-child-2"]
    assert called.submitted[1] == ("stock", "pack", {"order": 1}, {"retries": 1})


async def test_an_async_handler_submits_without_stopping_its_loop() -> None:
    async def spread(ctx: Context) -> str:
        with pytest.raises(BadConfig, match="submit_async"):
            ctx.submit("pack")
        return (await ctx.submit_async("pack")).id

    called = call(spread)

    assert called.result == "test-child-1"
    assert called.submitted == [("test", "pack", None, {})]
