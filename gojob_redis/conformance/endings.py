"""Cancels, and the end of the worker."""

import signal
from typing import Final

from gojob_redis.conformance import frames
from gojob_redis.conformance.conversation import SOON_S, Conversation
from gojob_redis.conformance.scenario import Failed, Scenario, scenario
from gojob_redis.conformance.stage import Stage
from gojob_sdk.protocol import Assignment

EXITS_S: Final = 5.0


async def _acknowledged(talk: Conversation, run: Assignment, times: int = 1) -> None:
    await talk.until(
        lambda: len(talk.items("acknowledge", run)) >= times,
        SOON_S,
        f"an acknowledge of the cancel of {frames.named(run)}",
    )


@scenario("cancel", "Acknowledges a cancel, each time it comes, and reports the run canceled", "§4 cancel")
async def cancel(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.sleep(30_000)
    await talk.assign(one)
    await talk.started(one)
    await talk.send(frames.cancel(one))
    await _acknowledged(talk, one)
    await talk.outcome(one)
    await talk.send(frames.cancel(one))  # the engine has not heard of it yet
    await _acknowledged(talk, one, 2)
    await talk.ended(one, "canceled")
    if len(talk.items("report", one)) > 1:
        raise Failed("one report", "another one for the second cancel")


@scenario("cancel-timeout", "Reports timeout where a cancel says run_limit", "§4 cancel")
async def cancel_timeout(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.sleep(30_000)
    await talk.assign(one)
    await talk.started(one)
    await talk.send(frames.cancel(one, reason="run_limit"))
    await _acknowledged(talk, one)
    await talk.ended(one, "timeout")


@scenario("cancel-unknown", "Minds no cancel of a run that it does not hold", "§4 cancel")
async def cancel_unknown(stage: Stage) -> None:
    talk = await stage.home()
    stranger, one = frames.sleep(1), frames.assignment("echo", 1)
    talk.expects([stranger])
    await talk.send(frames.cancel(stranger))
    await talk.assign(one)
    await talk.ended(one)
    if talk.items("report", stranger) or talk.items("release", stranger):
        raise Failed("no report and no release of a run that was never assigned", talk.told())


@scenario(
    "drain",
    "Leaves in good order at SIGTERM: no more work, the rest ended, leave, exit 0",
    "§2 Leaving",
    needs_command=True,
)
async def drain(stage: Stage) -> None:
    assert stage.command is not None
    talk = await stage.home()
    running, crossing = frames.sleep(1_000), frames.assignment("echo", 1)
    await talk.assign(running)
    await talk.started(running)
    stage.command.signal(signal.SIGTERM)
    await talk.until(lambda: talk.says(capacity=0), SOON_S, "a renew with capacity 0")
    await talk.assign(crossing)  # bound before the engine knew of it
    await talk.released(crossing, "draining")
    if talk.all_of("leave"):
        raise Failed("that the worker waits for the run it began", "leave")
    await talk.outcome(running, 5)
    await talk.quiet(0.3)
    if talk.all_of("leave") or not talk.is_open:
        raise Failed("that the worker waits for the verdict on its report", "leave, or the end of the connection")
    await talk.judge("report", "accepted", running)
    await talk.until(lambda: talk.all_of("leave"), SOON_S, "a leave")
    code = await stage.command.exit_code(EXITS_S)
    if code != 0:
        raise Failed("the exit code 0", "no exit" if code is None else f"the exit code {code}")


SCENARIOS: Final[tuple[Scenario, ...]] = (cancel, cancel_timeout, cancel_unknown, drain)
