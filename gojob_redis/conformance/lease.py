"""Renewals, the lease, and the list of what is held."""

import asyncio
from typing import Any, Final

from gojob_redis.conformance import frames
from gojob_redis.conformance.conversation import HEARTBEAT_MS, LEASE_MS, SOON_S
from gojob_redis.conformance.scenario import Failed, Scenario, scenario
from gojob_redis.conformance.stage import Stage

RENEWALS: Final = 5
HEARTBEAT_S: Final = HEARTBEAT_MS / 1000
LEASE_S: Final = LEASE_MS / 1000
MEMORY_LEAST: Final = 100_000
MEMORY_MOST: Final = 1 << 44
"""No process that speaks this protocol takes less, or so much: who says so counts in other units."""


@scenario("renew", "Renews every heartbeat_ms, with seq growing by one", "§3 renew")
async def renew(stage: Stage) -> None:
    talk = await stage.home()

    def beats() -> list[tuple[float, int]]:
        return [(at, frame["seq"]) for at, frame in talk.since_mark() if frame["type"] == "renew" and "seq" in frame]

    await talk.until(
        lambda: len(beats()) > RENEWALS, (RENEWALS + 3) * 2 * HEARTBEAT_S, f"{RENEWALS + 1} renewals, one each 250 ms"
    )
    times, seqs = zip(*beats(), strict=True)
    if list(seqs) != list(range(seqs[0], seqs[0] + len(seqs))):
        raise Failed("a seq that grows by one", ", ".join(map(str, seqs)))
    pause = (times[-1] - times[0]) / (len(times) - 1)
    if pause < HEARTBEAT_S / 2:
        raise Failed(f"a renewal each {HEARTBEAT_S * 1000:.0f} ms", f"one each {pause * 1000:.0f} ms")


@scenario("load", "Tells nothing of its load, or numbers within their bounds", "§3 renew")
async def load(stage: Stage) -> None:
    """A frame that breaks a bound is refused by the codec; this looks at what the numbers say."""
    talk = await stage.home()

    def beats() -> list[Any]:
        return [frame for frame in talk.all_of("renew") if "seq" in frame]

    await talk.until(lambda: len(beats()) > 1, 8 * HEARTBEAT_S, "two renewals")
    for frame in beats():
        memory = frame.get("load", {}).get("memory_bytes")
        if memory is not None and not MEMORY_LEAST < memory < MEMORY_MOST:
            raise Failed("the memory of its process in bytes, or none", f"memory_bytes {memory}")
    if any("load" in frame for frame in talk.all_of("renew") if "seq" not in frame):
        raise Failed("load with a seq only", "a load in a renew without a seq")


@scenario("held", "Counts its seats in every renewal: those whose verdict it has not read", "§3 renew")
async def held(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("echo", 1)
    await talk.assign(one)
    await talk.outcome(one)
    await talk.until(lambda: talk.says(held=1), SOON_S, "a renew with held 1: its report is not answered yet")
    await talk.judge("report", "accepted", one)
    talk.mark = len(talk.heard)
    await talk.until(lambda: talk.says(held=0), SOON_S, "a renew with held 0 after the verdict")


@scenario("sync", "Answers sync with resume, listing everything it holds", "§4 sync")
async def sync(stage: Stage) -> None:
    talk = await stage.home()
    one, two = frames.sleep(20_000), frames.assignment("echo", 1)
    await talk.assign(one, two)
    await talk.outcome(two)
    await talk.send({"type": "sync"})
    [answer] = await talk.until(lambda: talk.all_of("resume"), SOON_S, "a resume")
    listed = {frames.key(run): run for run in answer["runs"]}
    for run in (one, two):
        if frames.key(run) not in listed:
            raise Failed(f"{frames.named(run)} in the list: its verdict has not come", f"{answer['runs']}")
        if listed[frames.key(run)]["fence"] != run["fence"] or not listed[frames.key(run)]["started"]:
            raise Failed("its fence, and started true", f"{listed[frames.key(run)]}")
    await talk.judge("report", "accepted", two)
    await talk.send(frames.cancel(one))
    await talk.ended(one, "canceled")


@scenario("silence", "Connects again when no renew was answered for 80 % of the lease", "§2 Reconnecting")
async def silence(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.sleep(20_000)
    await talk.assign(one)
    await talk.started(one)
    talk.answers_renewals = False
    again = await stage.arrival(2 * LEASE_S, f"another connection after about {0.8 * LEASE_S:g} s without an answer")
    again.expects([one])
    await stage.welcome(again)
    if frames.key(one) not in map(frames.key, again.hello["held"]):
        raise Failed(f"a hello that holds {frames.named(one)}", f"{again.hello['held']}")
    await again.send(frames.cancel(one))
    await again.ended(one, "canceled")


@scenario("lease", "Stops a run with confirm when its lease is over, and lets the others go on", "§2 Lease")
async def lease(stage: Stage) -> None:
    talk = await stage.home()
    once, often = frames.sleep(60_000, confirm=True), frames.sleep(int(LEASE_MS * 1.6))
    await talk.assign(once, often)
    await talk.started(once)
    await talk.judge("start", "ok", once)
    stage.is_shut = True
    talk.cut()
    await asyncio.sleep(1.3 * LEASE_S)
    stage.is_shut = False
    again = await stage.arrival(ARRIVES_HOLDING_S, "another connection when the gateway is there again")
    again.expects([once, often])
    await stage.welcome(again)
    outcome = await again.outcome(once, SOON_S)
    await again.judge("report", "accepted", once)
    if outcome["outcome"] == "ok":
        raise Failed("an error: the run was stopped when the lease was over", "the outcome ok")
    await again.ended(often, "ok", LEASE_S * 2)


ARRIVES_HOLDING_S: Final = 12.0
"""A worker that holds runs waits up to 1 s between its attempts; some libraries take their time to give one up."""

SCENARIOS: Final[tuple[Scenario, ...]] = (renew, load, held, sync, silence, lease)
