"""Seats: what a worker takes, what it hands back, what it ignores."""

from typing import Final

from gojob_redis.conformance import frames
from gojob_redis.conformance.conversation import Conversation
from gojob_redis.conformance.scenario import Failed, Scenario, scenario
from gojob_redis.conformance.stage import Stage

MOST: Final = 100
"""Seats that are filled; a worker may have more."""


@scenario("capacity", "Takes as many runs as it announced, and rejects none", "§2 Seats")
async def capacity(stage: Stage) -> None:
    talk = await stage.home()
    seats = min(MOST, talk.hello["capacity"])
    runs = [frames.sleep(100) for _ in range(seats)]
    await talk.assign(*runs)
    for one in runs:
        await talk.ended(one, within_s=10)
        following = frames.sleep(0)
        await talk.assign(following)  # to the seat that the verdict before it freed
        await talk.ended(following, within_s=10)
    _none_released(talk)


@scenario(
    "seat-at-verdict", "Frees a seat the moment it reads the verdict, in the same breath as the next assign", "§2 Seats"
)
async def seat_at_verdict(stage: Stage) -> None:
    talk = await stage.home()
    seats = min(MOST, talk.hello["capacity"])
    holding = [frames.sleep(30_000) for _ in range(seats - 1)]
    one = frames.assignment("echo", 0)
    await talk.assign(*holding, one)
    for number in range(10):
        await talk.outcome(one)
        following = frames.assignment("echo", number)
        talk.expects([following])
        await talk.judge("report", "accepted", one)
        await talk.send(frames.assign(following))
        one = following
    await talk.ended(one)
    _none_released(talk)
    if holding:
        await talk.send(frames.cancel(*holding))
    for run in holding:
        await talk.ended(run, "canceled")


def _none_released(talk: Conversation) -> None:
    if talk.all_of("release"):
        raise Failed("no release: the worker has a seat for every one of these runs", talk.told())


@scenario("unknown-handler", "Hands back a run of a handler it does not serve", "§3 release")
async def unknown_handler(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("nobody-serves-this")
    await talk.assign(one)
    await talk.released(one, "unknown_handler")
    await talk.until(
        lambda: any("capacity" in frame for frame in talk.all_of("renew")),
        5,
        "a renew with the capacity, a second or so after the release: without it the worker gets no more work",
    )


@scenario("doubles", "Ignores an attempt that it holds already, or gave back before", "§2 Doubles")
async def doubles(stage: Stage) -> None:
    talk = await stage.home()
    running, brief = frames.sleep(300), frames.assignment("echo", 1)
    await talk.assign(running, brief)
    await talk.assign(running)
    await talk.ended(brief)
    await talk.assign(brief)
    await talk.ended(running)
    await talk.assign(running)
    await talk.quiet(0.8)
    for one in (running, brief):
        if (count := len(talk.items("report", one))) > 1:
            raise Failed(f"one report of {frames.named(one)}, however often it is assigned", f"{count} reports")
        if talk.items("release", one):
            raise Failed("nothing in answer to a double", f"a release of {frames.named(one)}")


SCENARIOS: Final[tuple[Scenario, ...]] = (capacity, seat_at_verdict, unknown_handler, doubles)
