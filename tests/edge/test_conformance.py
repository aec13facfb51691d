"""gojob conformance: the SDK passes it, and a worker that breaks a rule is told which one."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gojob_redis.conformance.run import Result, chosen, play
from gojob_redis.conformance.stage import Stage
from tests.edge.conftest import WITHIN_S

WORKERS = (sys.executable, "-m", "tests.edge.workers")
GOJOB = (str(Path(sys.executable).parent / "gojob"), "conformance")
WRONG = ("--", *WORKERS, "raw", "hello")


async def results(only: str, *argv: str) -> dict[str, Result]:
    """How these scenarios ended, by id."""
    async with Stage([*WORKERS, *argv]) as stage:
        return {result.id: result for result in await play(stage, chosen(only), as_json=True)}


async def test_the_sdk_passes() -> None:
    got = await results("", "sdk")

    assert {id: (one.expected, one.came) for id, one in got.items() if one.verdict != "pass"} == {}
    assert sum(one.seconds for one in got.values()) < 90


async def test_a_worker_without_faults_passes_what_the_wrong_ones_fail() -> None:
    wanted = "handshake,hello,welcome-first,unknown,renew,held,sync,report,start,capacity,repeat,cancel,doubles,move"
    got = await results(wanted, "raw")

    assert {id: (one.expected, one.came) for id, one in got.items() if one.verdict != "pass"} == {}


@pytest.mark.parametrize(
    ("wrong", "scenario", "expected", "came"),
    [
        ("token", "handshake", "nowhere else", "token="),
        ("hello", "hello", "only frames as docs/protocol.md §3 defines them", "hello.capacity: Field required"),
        ("anybody", "subprotocol", "no frame to a server that is no gateway", "hello"),
        ("impatient", "welcome-first", "nothing between hello and welcome", "renew"),
        ("strict", "unknown", "a report of", "then the"),
        ("seq", "renew", "a seq that grows by one", "2, 4, 6"),
        ("load", "load", "in bytes", "memory_bytes 50000"),
        ("leaks", "held", "held 0 after the verdict", "renew"),
        ("fence", "report", "echoed", "1-wrong"),
        ("secretive", "describe", "the specs of dddddd", "0 others"),
        ("start", "start", "a start (or already the report)", "renew"),
        ("confirm", "confirm", "a start of", "report of"),
        ("seats", "capacity", "a report of", "release of"),
        ("doubles", "doubles", "one report of", "reports"),
        ("large", "large-result", "§3 defines them", "result: Data should have at most 262144 bytes"),
        ("huge", "large-result", "messages of at most 1 MiB", "a larger one"),
        ("held", "repeat", "a hello that holds", "[]"),
        ("session", "repeat", "the session of the last welcome in hello", "none"),
        ("forgets", "repeat", "a report of", "renew"),
        ("move", "move", "another connection within within_ms", "no further connection"),
        ("acknowledge", "cancel", "an acknowledge of", "report of"),
        ("deaf", "cancel", "a report of", "acknowledge of"),
        ("drain", "drain", "a renew with capacity 0", "then the"),
    ],
)
async def test_a_worker_that_breaks_a_rule_is_told_which(wrong: str, scenario: str, expected: str, came: str) -> None:
    got = (await results(scenario, "raw", wrong))[scenario]

    assert got.verdict == "fail"
    assert expected in got.expected, got
    assert came in got.came, got


async def test_a_scenario_that_failed_does_not_spoil_the_next() -> None:
    got = await results("report,move,cancel", "raw", "move")

    assert {id: one.verdict for id, one in got.items()} == {"report": "pass", "move": "fail", "cancel": "pass"}


async def test_a_command_that_ends_is_told_with_what_it_wrote() -> None:
    async with Stage([sys.executable, "-c", "raise SystemExit('no such module')"]) as stage:
        [got] = await play(stage, chosen("hello"), as_json=True)

    assert got.verdict == "fail"
    assert got.expected.startswith("a connection and its hello")
    assert "no such module" in got.came


def test_a_command_that_does_not_exist_is_told_in_a_sentence() -> None:
    told = subprocess.run([*GOJOB, "--", "no-such-program"], capture_output=True, text=True, timeout=WITHIN_S)

    assert told.returncode == 2
    assert "gojob: there is no command 'no-such-program'" in told.stderr


async def test_a_worker_that_was_started_by_hand_is_waited_for() -> None:
    async with Stage() as stage:
        playing = asyncio.create_task(play(stage, chosen("report,drain"), as_json=True))
        worker = await asyncio.create_subprocess_exec(*WORKERS, "sdk", env=stage.environment)
        try:
            async with asyncio.timeout(4 * WITHIN_S):
                got = await playing
        finally:
            worker.kill()
            await worker.wait()

    assert [(one.id, one.verdict) for one in got] == [("report", "pass"), ("drain", "skip")]


def test_the_command_tells_programs_and_people() -> None:
    told = subprocess.run((*GOJOB, "--json", "--only", "hello", *WRONG), capture_output=True, text=True, check=False)
    shown = subprocess.run((*GOJOB, "--only", "hello", *WRONG), capture_output=True, text=True, check=False)
    listed = subprocess.run((*GOJOB, "--list"), capture_output=True, text=True, check=True)
    unknown = subprocess.run((*GOJOB, "--only", "nothing"), capture_output=True, text=True, check=False)

    assert (told.returncode, json.loads(told.stdout)["passed"]) == (1, False)
    assert json.loads(told.stdout)["scenarios"][0]["section"] == "§3 hello"
    assert shown.returncode == 1
    assert "see       docs/protocol.md §3 hello" in shown.stdout
    assert "GOJOB_WORKER_TOKEN=" in shown.stdout
    assert "seat-at-verdict" in listed.stdout
    assert (unknown.returncode, unknown.stderr) == (2, "gojob: there is no scenario nothing; --list names them\n")
