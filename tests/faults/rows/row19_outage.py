"""Row 19: nobody fires for six hours.

The triggers are defined while no replica runs, then the engine's clock is set six hours ahead (libfaketime), and two
replicas start: for the installation that is an outage of six hours. The rules end a few seconds after it, so that every
slot of every rule can be compared with its ledger.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from gojob_redis.domain import limits
from gojob_redis.engine.keys import K
from tests.faults.rig import Rig, until, wait
from tests.faults.rows.row10_clock_steps import Clock
from tests.faults.scenario import Figures, Scale, row
from tests.tools.history import Rule, ledger

OUTAGE_S = 6 * 3_600
AFTER_S = 30
EVERY_MS = 1_000
DEFINERS = 4


@row(
    19,
    "six hours without a trigger replica",
    targets={
        "wrong_ledgers": "== 0",
        "ranges_most": "== 1",
        "newest_not_fired": "== 0",
        "recovered_s": "<= 10",
        "holes": "== 0",
        "troubles": "== 0",
    },
    short=False,
)
async def outage(rig: Rig, scale: Scale) -> Figures:
    """Each trigger fires the newest slot it missed, one entry holds the others, and it goes on as if nothing was."""
    rig.steps = True
    clock = Clock(rig.system.directory / "engine-clock")
    await rig.start(gateways=1, triggers=0, workers=4, concurrency=50, env=clock.env)
    count = scale.of(1_000, 100)
    begin_s = _engine_s(rig)
    end_s = begin_s + OUTAGE_S + AFTER_S
    with ThreadPoolExecutor(DEFINERS) as pool:
        loop = asyncio.get_running_loop()
        definitions = [loop.run_in_executor(pool, _define, rig, f"every-{n}", end_s * 1_000) for n in range(count)]
        rig.rules = list(await asyncio.gather(*definitions))
    clock.set(OUTAGE_S)
    await until(lambda: _engine_s(rig) >= begin_s + OUTAGE_S, 10.0, "the engine's new time")
    back_ms = _engine_s(rig) * 1_000
    began = time.monotonic()
    for _ in range(2):
        rig.system.start_trigger()
    await until(lambda: _watermark(rig) >= back_ms, 120.0, "the first slots after the outage", look_s=0.05)
    recovered_s = time.monotonic() - began
    await wait(max(0.0, end_s - _engine_s(rig)))
    await until(lambda: _watermark(rig) >= end_s * 1_000, 60.0, "the last slots")
    await rig.settle()
    await wait(2 * limits.AUDIT_EVERY_MS / 1_000)  # every trigger was audited once more
    records = rig.collect()
    wrong, ranges, newest_not_fired = 0, 0, 0
    for rule in rig.rules:
        entries = sorted(ledger(records, rule), key=lambda entry: entry.last)
        missed = [at for at, entry in enumerate(entries) if entry.word == "coalesced"]
        wrong += sum(entry.count for entry in entries) != len(rule.slots) or not missed
        ranges = max(ranges, len(missed))
        newest_not_fired += any(entries[at + 1].word != "fired" for at in missed)
    return {
        "triggers": count,
        "slots": sum(len(rule.slots) for rule in rig.rules),
        "wrong_ledgers": wrong,
        "ranges_most": ranges,
        "newest_not_fired": newest_not_fired,
        "recovered_s": round(recovered_s, 2),
        "overdue_told": rig.count_events("overdue"),
        "holes": sum(rig.count_events(kind) for kind in ("ledger_hole", "ledger_double", "ledger_stray")),
        "mended": rig.count_events("mended"),
        "troubles": len(rig.troubles()),
    }


def _define(rig: Rig, name: str, end_ms: int) -> Rule:
    """A trigger at 1 Hz on whole seconds, which ends by itself."""
    start_ms = end_ms - (OUTAGE_S + 3_600) * 1_000
    schedule = {"kind": "every", "every_ms": EVERY_MS, "start_at": start_ms, "end_at": end_ms}
    rule = rig.trigger(name, EVERY_MS, schedule=schedule)
    rig.rules.remove(rule)
    return replace(rule, until_ms=end_ms)


def _engine_s(rig: Rig) -> int:
    return int(rig.engine.time()[0])


def _watermark(rig: Rig) -> int:
    """The slot up to which every trigger is done."""
    pipe = rig.engine.pipeline(transaction=False)
    for rule in rig.rules:
        pipe.hget(K.trigger(rig.prefix, rule.uid), "last_slot")
    slots: list[Any] = pipe.execute()
    return min(int(slot or 0) for slot in slots)
