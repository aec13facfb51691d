"""Row 11: everything that stands in the inboxes, or comes with an answer, is lost. Only the hashes carry truth."""

import asyncio
import threading

from gojob_redis.engine.keys import K
from tests.faults.rig import Rig, now_ms, redis_by, until, wait
from tests.faults.scenario import Figures, Scale, row
from tests.tools.proxy import Faults

LOST_S = 3.0
CANCELED = 20


@row(
    11,
    "all hints lost",
    targets={"refused": "== 0", "emptied": ">= 1", "late_s": "<= 6", "cancel_late_s": "<= 3", "sessions_lost": "== 0"},
)
async def lost_hints(rig: Rig, scale: Scale) -> Figures:
    """Tasks run later by at most the accept limit (5 s), cancels by at most their repetition (2 s)."""
    tasks = scale.of(1_000, 100)
    rig.system.start_engine()
    network = rig.engine_proxy()
    for _ in range(2):
        rig.system.start_gateway(env=redis_by(network))
    rig.system.start_trigger()
    await rig.ready(workers=4, concurrency=100)
    stubborn = await rig.submitter.burst(CANCELED, "work", {"ms": 600_000})
    await until(lambda: len(rig.lines()) >= CANCELED, 10.0, "the begin of what is to be canceled")
    with _Trimmed(rig):
        network.faults = Faults(lose_hints=True)
        network.reset()  # reads that are under way would still be answered
        await wait(0.5)
        late = set(await rig.submitter.burst(tasks, "work", {"ms": 10}))
        for task in stubborn:
            await asyncio.to_thread(rig.request, "POST", f"/v1/tasks/{task}/cancel", json={})
        await wait(LOST_S)
    network.faults = Faults()
    healed = now_ms()
    settled_s = await rig.settle()
    records = rig.collect()
    begins = [executions[0].begin.at_ms for executions in records.by_run.values() if executions[0].begin.task in late]
    ends = [line.at_ms for line in records.lines if line.what == "canceled"]
    return {
        "refused": len(rig.submitter.refused),
        "blanked": network.counts["blank"],
        "emptied": network.counts["emptied"],
        "begun": len(begins),
        "late_s": (max(begins) - healed) / 1000 if len(begins) == tasks else None,
        "cancel_late_s": (max(ends) - healed) / 1000 if len(ends) == CANCELED else None,
        "sessions_lost": rig.count_events("session_lost"),
        "unaccepted": rig.count_events("unaccepted"),
        "settled_s": round(settled_s, 1),
    }


class _Trimmed:
    """While it lasts, the inboxes are emptied all the time."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._trim, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _trim(self) -> None:
        while not self._stop.wait(0.02):
            for inbox in self.rig.engine.scan_iter(
                match=K.inbox(self.rig.prefix, "*").replace("{", "\\{"), count=10_000
            ):
                self.rig.engine.xtrim(inbox, maxlen=0, approximate=False)
