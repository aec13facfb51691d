"""How a run begins, ends and is reported."""

from typing import Final

from gojob_redis.conformance import frames
from gojob_redis.conformance.conversation import SOON_S, STARTED_S, Conversation
from gojob_redis.conformance.scenario import Failed, Scenario, scenario
from gojob_redis.conformance.stage import Stage
from gojob_sdk.protocol import MAX_RESULT_BYTES, RunKey, RunNote, pack_value, unpack_value


@scenario("report", "Runs a handler and reports its result, echoing the fence", "§3 report")
async def report(stage: Stage) -> None:
    talk = await stage.home()
    params = {"text": "Grüße", "list": [1, -1, 2.5, None, True], "number": 2**40}
    one = frames.assignment("echo", params)
    await talk.assign(one)
    outcome = await talk.ended(one)
    _same_result(outcome.get("result"), params)


@scenario("none", "Takes empty parameters for none, and leaves out a result that is none", "§1 document")
async def none(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("echo")
    await talk.assign(one)
    outcome = await talk.ended(one)
    if unpack_value(outcome.get("result", b"")) is not None:
        raise Failed("no result", f"{outcome.get('result')!r}")


@scenario("error", "Reports a handler's error with its type and message", "§3 report")
async def error(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("fail", {"message": "no such order"})
    await talk.assign(one)
    outcome = await talk.ended(one, "error")
    if "no such order" not in outcome.get("error", {"message": ""})["message"]:
        raise Failed("an error whose message is 'no such order'", f"{outcome.get('error')}")


@scenario("start", "Says start within the accept limit of 5 s for a run that lasts", "§2 Starting")
async def start(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.sleep(30_000)
    await talk.assign(one)
    await talk.started(one, STARTED_S)
    if talk.items("report", one):
        raise Failed("a run that sleeps 30 s", "its report")
    await talk.send(frames.cancel(one))
    await talk.ended(one, "canceled")


@scenario("confirm", "Begins a run with confirm only at the verdict ok, and asks for it at once", "§2 Starting")
async def confirm(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("echo", 1, confirm=True)
    await talk.assign(one)
    await talk.until(lambda: talk.items("start", one), SOON_S, f"a start of {frames.named(one)}, which has confirm")
    await talk.quiet(0.5)
    if talk.items("report", one):
        raise Failed("nothing before the verdict ok: another worker may have begun the run", "its report")
    await talk.judge("start", "ok", one)
    await talk.ended(one)


@scenario("confirm-fenced", "Hands a run back, unbegun, whose start is answered fenced", "§2 Starting")
async def confirm_fenced(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("echo", 1, confirm=True)
    await talk.assign(one)
    await talk.until(lambda: talk.items("start", one), SOON_S, f"a start of {frames.named(one)}")
    await talk.judge("start", "fenced", one)
    await talk.released(one, "rejected")
    if talk.items("report", one):
        raise Failed("a release and no report", "a report: it ran")


@scenario("confirm-canceled", "Reports canceled, without running, where a start is answered canceled", "§2 Starting")
async def confirm_canceled(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("echo", 1, confirm=True)
    await talk.assign(one)
    await talk.until(lambda: talk.items("start", one), SOON_S, f"a start of {frames.named(one)}")
    await talk.judge("start", "canceled", one)
    await talk.ended(one, "canceled")


@scenario("late", "Minds no verdict on the start of a run that it reported already", "§4 verdict")
async def late(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("echo", 1)
    await talk.assign(one)
    await talk.outcome(one)
    await talk.judge("start", "late", one)
    await talk.judge("report", "duplicate", one)
    talk.mark = len(talk.heard)
    await talk.until(lambda: talk.says(held=0), SOON_S, "a renew with held 0: duplicate is final, too")


@scenario("shards", "Takes the shards of a task for runs of their own", "§1 Types")
async def shards(stage: Stage) -> None:
    talk = await stage.home()
    count = min(4, talk.hello["capacity"])
    parts = [
        frames.assignment("echo", 0, run=f"shards.{number}", shards=count, shard_param=pack_value(number))
        for number in range(count)
    ]
    await talk.assign(*parts)
    for part in parts:
        await talk.ended(part)


@scenario("attempts", "Takes another attempt of the same run for another run", "§1 Types")
async def attempts(stage: Stage) -> None:
    talk = await stage.home()
    first = frames.assignment("echo", 1)
    await talk.assign(first)
    await talk.ended(first)
    second = frames.assignment("echo", 2, run=first["run"], attempt=2)
    await talk.assign(second)
    _same_result((await talk.ended(second)).get("result"), 2)


@scenario("large-params", "Takes parameters of 256 KiB, two in one message", "§1 Types")
async def large_params(stage: Stage) -> None:
    talk = await stage.home()
    text = "x" * (MAX_RESULT_BYTES - 5)
    pair = [frames.assignment("echo", text) for _ in range(2)]
    await talk.assign(*pair)
    for one in pair:
        outcome = await talk.ended(one, within_s=5)
        if outcome.get("result") != pack_value(text):
            raise Failed("the same 256 KiB as the result", f"{len(outcome.get('result', b''))} bytes")


@scenario("large-result", "Reports an error instead of a result over 256 KiB", "§3 report")
async def large_result(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("large", {"bytes": MAX_RESULT_BYTES + 1})
    await talk.assign(one)
    outcome = await talk.ended(one, "error", 5)
    if outcome.get("disposition") != "final":
        disposition = outcome.get("disposition", "none")
        raise Failed("disposition 'final': running again would give the same result", f"disposition {disposition}")


@scenario("note", "Sends log lines and progress as notes", "§3 note")
async def note(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.assignment("log", {"line": "halfway"})
    await talk.assign(one)
    await talk.ended(one)
    await talk.until(
        lambda: any("halfway" in line["text"] for entry in _entries(talk, one) for line in entry.get("log", ())),
        SOON_S,
        "a note with the line 'halfway'",
    )
    await talk.until(
        lambda: any("progress" in entry and entry["progress"]["percent"] == 50 for entry in _entries(talk, one)),
        SOON_S,
        "a note with progress of 50 percent",
    )


def _entries(talk: Conversation, one: RunKey) -> list[RunNote]:
    entries = (entry for frame in talk.all_of("note") for entry in frame["entries"])
    return [entry for entry in entries if frames.key(entry) == frames.key(one)]


@scenario("run-limit", "Ends a run at its run_limit_ms by itself, and reports timeout", "§4 assign")
async def run_limit(stage: Stage) -> None:
    talk = await stage.home()
    one = frames.sleep(30_000, run_limit_ms=300)
    await talk.assign(one)
    await talk.ended(one, "timeout", 3)


def _same_result(result: bytes | None, expected: object) -> None:
    value = unpack_value(result or b"")
    if value != expected:
        raise Failed(f"the result {expected!r}", repr(value))


SCENARIOS: Final[tuple[Scenario, ...]] = (
    *(report, none, error, start, confirm, confirm_fenced, confirm_canceled, late),
    *(shards, attempts, large_params, large_result, note, run_limit),
)
