"""How many instructions the engine executes for a task: a figure that a busy machine does not change.

``python -m bench.instructions`` runs the engine under valgrind's callgrind (``apt-get install valgrind``). It submits
tasks a hundred a call, and reports their ends a hundred a call, each of which binds as many others. It prints both, per
task, and the sum. Two trees are compared by running it in each. It takes a minute.
"""

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gojob_redis.control.installation import bootstrap_or_open
from gojob_redis.domain import ids, limits, verbs
from gojob_redis.domain.hints import Assignment, parse
from gojob_redis.engine import keys
from gojob_redis.engine.client import connected
from gojob_redis.engine.embedded import bundled_binary, free_port, ping, wait_for
from gojob_redis.engine.partitions import Partition, Partitions

APP, HANDLER, SESSION, GATEWAY = "default/bench", "default/bench/h", "s" * 12, "g1"
WARM_UP, CALLS = 5, 20


def main() -> None:
    """Start the engine, ask, and print."""
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: apt-get install valgrind")
    with tempfile.TemporaryDirectory(prefix="gojob-instructions-") as directory:
        engine = Engine(Path(directory))
        try:
            submit, report = asyncio.run(_ask(engine))
        finally:
            engine.process.kill()
            engine.process.wait()
    print(f"submit {submit:,.0f}, report and bind {report:,.0f}, together {submit + report:,.0f} instructions a task")


class Engine:
    """An engine under callgrind; some fifty times as slow as otherwise."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.process = subprocess.Popen(
            (
                *("valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out"),
                *(str(bundled_binary()), "--port", str(self.port), "--save", "", "--dir", str(directory)),
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if not wait_for(lambda: ping(("127.0.0.1", self.port)), 30):
            raise TimeoutError("no engine within 30 s")

    def begin(self) -> None:
        """Count from here."""
        self._control("--zero")

    def read(self, name: str) -> int:
        """What was executed since then."""
        self._control(f"--dump={name}")
        for _ in range(100):
            for path in self.directory.glob("out*"):
                text = path.read_text()
                if name in text and (total := re.search(r"^totals: (\d+)", text, re.MULTILINE)):
                    return int(total[1])
            time.sleep(0.1)
        raise TimeoutError("callgrind wrote nothing within 10 s")

    def _control(self, option: str) -> None:
        subprocess.run(("callgrind_control", option, str(self.process.pid)), check=True, capture_output=True)


async def _ask(engine: Engine) -> tuple[float, float]:
    # So slow an engine would take its gateway for silent, and the session for lost.
    vars(limits).update(GATEWAY_SILENT_MS=limits.DAY_MS)
    async with connected(f"redis://127.0.0.1:{engine.port}") as clients:
        space = Partitions(clients, limits.PARTITIONS)
        await bootstrap_or_open(space, intended=True)
        partition = await space.of_app(APP)
        await _submit(partition, WARM_UP)
        engine.begin()
        await _submit(partition, CALLS)
        submitted = engine.read("submitted")
        worker = Worker(partition, await _enlisted(partition))
        await worker.report(WARM_UP)
        engine.begin()
        await worker.report(CALLS // 2)
        reported = engine.read("reported")
    tasks = limits.BATCH_ITEMS * CALLS
    return submitted / tasks, 2 * reported / tasks


async def _submit(partition: Partition, calls: int) -> None:
    for _ in range(calls):
        tasks = [ids.submitted_id(partition.number, int(time.time() * 1_000)) for _ in range(limits.BATCH_ITEMS)]
        await partition.call(verbs.submit([verbs.Submission(task, HANDLER, APP) for task in tasks]))


async def _enlisted(partition: Partition) -> list[Assignment]:
    """What a session that is new is given, as it stands in the inbox of its gateway."""
    session = verbs.Enlistment(SESSION, APP, "group", HANDLER, "", "", 500, GATEWAY, 1, "key", "worker", b"")
    await partition.call(verbs.enlist([session]))
    inbox = keys.K.inbox(partition.prefix, GATEWAY)
    entries: Any = await partition.space.clients.commands.xrange(inbox)
    return _assignments([value for _, fields in entries for value in fields.values()])


def _assignments(hints: list[bytes]) -> list[Assignment]:
    return [hint for hint in map(parse, hints) if isinstance(hint, Assignment)]


class Worker:
    """Reports what it was given as done, and is given as much again."""

    def __init__(self, partition: Partition, given: list[Assignment]) -> None:
        self.partition, self.given = partition, given

    async def report(self, calls: int) -> None:
        for _ in range(calls):
            done, self.given = self.given[: limits.BATCH_ITEMS], self.given[limits.BATCH_ITEMS :]
            assert len(done) == limits.BATCH_ITEMS
            now_ms = int(time.time() * 1_000)
            ends = [verbs.Report(SESSION, run.run, run.attempt, run.fence, "ok", now_ms, b"\x01") for run in done]
            self.given += _assignments((await self.partition.call(verbs.report(ends, reply_to=GATEWAY))).hints)


if __name__ == "__main__":
    main()
