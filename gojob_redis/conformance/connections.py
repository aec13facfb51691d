"""What happens when a connection breaks, ends or moves."""

import asyncio
from typing import Final

from gojob_redis.conformance import frames
from gojob_redis.conformance.conversation import SOON_S, Conversation
from gojob_redis.conformance.scenario import Failed, Scenario, scenario
from gojob_redis.conformance.stage import Stage
from gojob_sdk.protocol import CLOSE_BAD_TOKEN, CLOSE_BUSY, Assignment

HOLDING_S: Final = 4.0
"""A worker that holds runs comes again within 1 s; the rest is for slow machines."""


async def _broken_while_holding(stage: Stage, *runs: Assignment) -> Conversation:
    """Break the connection; the next one, with these runs in its hello."""
    again = await stage.arrival(HOLDING_S, "another connection, soon, since the worker holds runs")
    again.expects(runs)
    listed = {frames.key(one): one for one in again.hello["held"]}
    for run in runs:
        if frames.key(run) not in listed:
            raise Failed(f"a hello that holds {frames.named(run)}: it was not answered", f"{again.hello['held']}")
    if "session" not in again.hello:
        raise Failed("the session of the last welcome in hello", "none")
    return again


@scenario("repeat", "Keeps a report until its verdict, and repeats it on the next connection", "§2 Reports")
async def repeat(stage: Stage) -> None:
    talk = await stage.home()
    one, running = frames.assignment("echo", {"kept": True}), frames.sleep(20_000)
    await talk.assign(one, running)
    first = await talk.outcome(one)
    await talk.started(running)
    talk.cut()
    again = await _broken_while_holding(stage, one, running)
    if not all(run["started"] for run in again.hello["held"]):
        raise Failed("started true for runs whose handlers began", f"{again.hello['held']}")
    await stage.welcome(again)
    second = await again.outcome(one)
    if {**first} != {**second}:
        raise Failed("the same report again", f"{second} after {first}")
    await again.judge("report", "accepted", one)
    await again.quiet(0.3)
    again.cut()
    third = await _broken_while_holding(stage, running)
    if frames.key(one) in map(frames.key, third.hello["held"]):
        raise Failed("no word of a run whose report was accepted", f"{frames.named(one)} in held")
    await stage.welcome(third)
    await third.quiet(0.5)
    if third.items("report", one):
        raise Failed("an accepted report never again", "it once more")
    await third.send(frames.cancel(running))
    await third.ended(running, "canceled")


@scenario("repeat-confirm", "Asks again for a start with confirm that was not answered", "§2 Reconnecting")
async def repeat_confirm(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("echo", 1, confirm=True)
    await talk.assign(one)
    await talk.until(lambda: talk.items("start", one), SOON_S, f"a start of {frames.named(one)}")
    talk.cut()
    again = await _broken_while_holding(stage, one)
    if any(run["started"] for run in again.hello["held"]):
        raise Failed("started false: the run waits for its verdict", f"{again.hello['held']}")
    await stage.welcome(again)
    await again.until(lambda: again.items("start", one), SOON_S, f"the start of {frames.named(one)} again")
    await again.judge("start", "ok", one)
    await again.ended(one)


@scenario("drop", "Takes a drop in the welcome for the verdict on a report it kept", "§4 welcome")
async def drop(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("echo", 1)
    await talk.assign(one)
    await talk.outcome(one)
    talk.cut()
    again = await _broken_while_holding(stage, one)
    await stage.welcome(again, drop=[{"run": one["run"], "attempt": one["attempt"], "why": "gone"}])
    await again.until(lambda: again.says(held=0), SOON_S, "a renew with held 0")
    if again.items("report", one):
        raise Failed("no report of what was dropped", "it again")


@scenario("over", "Reports all the same, and announces less, where the welcome says resumed false", "§4 welcome")
async def over(stage: Stage) -> None:
    talk = await stage.home()
    done, running = frames.assignment("echo", 1), frames.sleep(2_500)
    await talk.assign(done, running)
    await talk.outcome(done)
    await talk.started(running)
    talk.cut()
    again = await _broken_while_holding(stage, done, running)
    announced = again.hello["capacity"]
    await stage.welcome(again, resumed=False)
    await again.ended(done)
    await again.until(
        lambda: any(frame.get("capacity", announced) < announced for frame in again.all_of("renew")),
        SOON_S,
        "a renew with less capacity: a run of the old session still occupies a seat",
    )
    await again.outcome(running, 6)
    await again.judge("report", "fenced", running)
    await again.until(
        lambda: (
            again.all_of("renew")[-1].get("capacity") == announced
            or any(frame.get("capacity") == announced for frame in again.all_of("renew"))
        ),
        SOON_S,
        "a renew with the whole capacity when that run has ended",
    )


@scenario("move", "Connects anew when it is told to move, and goes on working", "§4 move")
async def move(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.sleep(1_500)
    await talk.assign(one)
    await talk.started(one)
    await talk.send({"type": "move", "reason": "restarting", "within_ms": 1_000})
    again = await stage.arrival(HOLDING_S, "another connection within within_ms")
    again.expects([one])
    await stage.welcome(again)
    if frames.key(one) not in map(frames.key, again.hello["held"]):
        raise Failed(f"a hello that holds {frames.named(one)}", f"{again.hello['held']}")
    await again.ended(one, within_s=4)


@scenario("busy", "Comes again after about retry_ms when it holds nothing", "§4 error")
async def busy(stage: Stage) -> None:
    talk = await stage.home()
    await talk.until(lambda: talk.all_of("renew"), SOON_S, "a renew")
    before = asyncio.get_running_loop().time()
    await _refuse(talk, "busy", CLOSE_BUSY, retry_ms=2_000)
    again = await stage.arrival(8, "another connection after about 2 s")
    waited = asyncio.get_running_loop().time() - before
    if waited < 1:
        raise Failed("a pause of about retry_ms, 2 s", f"a connection after {waited:.1f} s")
    await stage.welcome(again)


@scenario("busy-holding", "Comes again within about 1 s, whatever retry_ms says, when it holds runs", "§4 error")
async def busy_holding(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.sleep(20_000)
    await talk.assign(one)
    await talk.started(one)
    await _refuse(talk, "busy", CLOSE_BUSY, retry_ms=20_000)
    again = await _broken_while_holding(stage, one)
    await stage.welcome(again)
    await again.send(frames.cancel(one))
    await again.ended(one, "canceled")


@scenario("refused", "Does not hurry back after a refusal that somebody has to mend", "§5", needs_command=True)
async def refused(stage: Stage) -> None:
    await stage.begin_anew()
    talk = await stage.arrival()
    await _refuse(talk, "bad_token", CLOSE_BAD_TOKEN)
    await stage.none_arrives(
        3, "no connection for about 30 s, or the end of the process: a refused token stays refused"
    )
    await stage.begin_anew()


async def _refuse(talk: Conversation, code: str, close_code: int, **more: int) -> None:
    await talk.send({"type": "error", "code": code, "message": "The kit refuses.", "hint": "Nothing.", **more})
    await talk.hang_up(close_code, code)


SCENARIOS: Final[tuple[Scenario, ...]] = (repeat, repeat_confirm, drop, over, move, busy, busy_holding, refused)
