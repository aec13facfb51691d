"""Hashes that somebody wrote nonsense into: one bad record stops no verb and no loop, and is told."""

import os
import random
from collections.abc import Sequence
from typing import Any

import pytest

from gojob_redis.domain import limits, verbs
from gojob_redis.engine.partitions import Partitions
from gojob_redis.engine.scripts import Reply
from gojob_redis.maintenance.ledger_audit import Audit
from gojob_redis.planning.planner import Planner
from gojob_redis.trigger import Fire
from tests import invariants
from tests.stages.conftest import Clock
from tests.stages.test_scrub import APP, PACK, SEND, Shop, shop

__all__ = ["shop"]

NONSENSE = (b"", b"\x00\xff", b"nan", b"-1", b"1e999", b"9" * 40, b"?", b"a/b/c", b"running", b"lane", b"none")
KINDS = ("task", "trigger", "session", "lane", "group", "handler", "log", "log_bytes")


async def spoil(shop: Shop, rng: random.Random, kinds: Sequence[str] = KINDS) -> str:
    """Write nonsense into one hash; returns its name."""
    names = sorted(name for name in await shop.dump() if name.partition(":")[0] in kinds)
    key = shop.prefix + rng.choice(names)
    if await shop.client.type(key) != b"hash":
        return key
    fields = sorted(await shop.client.hkeys(key))
    match rng.randrange(8):
        case 0:
            await shop.client.unlink(key)
            await shop.client.set(key, b"x")
        case 1 | 2 | 3:
            await shop.client.hdel(key, *rng.sample(fields, min(len(fields), rng.randint(1, 3))))
        case _:
            for field in rng.sample(fields, min(len(fields), rng.randint(1, 3))):
                await shop.client.hset(key, field, rng.choice(NONSENSE))
    return key


async def everything(shop: Shop, rng: random.Random) -> list[str]:
    """Call every verb of the system once; returns the names of those that the engine could not run."""
    space, failed = shop.space, []
    facts = await shop.dump()
    runs = [name.removeprefix("task:") for name in facts if name.startswith("task:")]
    fences = [
        str(facts[f"task:{run}"].get("fence", "")) if isinstance(facts[f"task:{run}"], dict) else "" for run in runs
    ]
    attempts = list(zip(runs, fences, strict=True))
    session = rng.choice([name.removeprefix("session:") for name in facts if name.startswith("session:")] or ["s1"])
    uid = shop.uid
    calls: list[tuple[str, Any, dict[str, Any]]] = [
        ("start", [(session, run, 1, fence) for run, fence in attempts[:5]], {}),
        ("report", [(session, run, 1, fence, "error", 0, b"e", "", b"") for run, fence in attempts[:4]],
         {"reply_to": rng.choice(["", "g1"])}),
        ("release", [(session, run, 1, fence, "draining", 0) for run, fence in attempts[4:6]], {}),
        ("note", [(session, run, 1, "log", b"x", 3, 1, 1, 5, 500, 5_000) for run in runs], {}),
        ("acknowledge", [(session, run, 1) for run in runs], {}),
        ("cancel", [(run, "canceled") for run in rng.sample(runs, min(2, len(runs))) if "." not in run], {}),
        ("renew", [(session, 1, 0, 3, -1, "")], {"gateway": "g1"}),
        ("resume", [(run, 1, fence, 1) for run, fence in attempts[:3]],
         {"session": session, "app": APP, "holder": "key", "gateway": "g1", "conn": 0, "capacity": -1, "compare": 1}),
        ("fire", (), {"limit": 100, "cpu_us": 2_000}),
        ("plan", [(uid, 1, 0, "", 0, 0, 1, 0, 0, 0)], {}),
        ("expire", (), {"limit": 100}),
        ("reap", (), {"limit": 100}),
        ("match", (), {"cursor": "0", "repair": 1}),
        ("pause", [(SEND, 1)], {}),
        ("pause", [(SEND, 0)], {}),
        ("keep", [(run, rng.choice(["always", "usual"])) for run in runs if "." not in run], {}),
        ("retire", [("handler", name, 0, 0, 0, 0, 0) for name in (SEND, PACK, "?")], {"limit": 100, "wait_ms": 10**12}),
        ("retire", [("app", name, 0, 0, 0, 0, 0) for name in (APP, "?")], {"limit": 100, "wait_ms": 10**12}),
    ]  # fmt: skip
    rng.shuffle(calls)
    for verb, items, scalars in calls:
        [reply] = await _tried(space, shop.partition, verb, items, scalars)
        if isinstance(reply, Exception):
            failed.append(f"{verb}: {reply}")
    return failed


async def _tried(
    space: Partitions, partition: int, verb: str, items: Any, scalars: dict[str, Any]
) -> list[Reply | Exception]:
    try:
        return [await space[partition].call(verbs.Call(verb, items, scalars, lambda reply, _items: reply))]
    except Exception as error:  # noqa: BLE001  what is asked is exactly which verbs fail, and how
        return [error]


@pytest.mark.parametrize("seed", range(int(os.environ.get("GOJOB_TEST_FUZZ", "12"))))
async def test_nonsense_in_any_hash_stops_nobody(shop: Shop, clock: Clock, seed: int) -> None:
    rng = random.Random(seed)
    fire, audit = Fire(shop.space, Planner(shop.space)), Audit(shop.space)
    for _ in range(12):
        spoiled = [await spoil(shop, rng) for _ in range(rng.randint(1, 4))]

        failed = await everything(shop, rng)

        assert failed == [], f"seed {seed}: {spoiled}"
        clock.ms += rng.choice([10, 700, 6_000])
        await fire.run_once()
        await fire.planner.run_once()
        await audit.run_once()
        await shop.submit(f"fresh-{clock.ms}-{rng.randrange(10**6)}")

    for _ in range(7):
        if not await shop.scrub.whole():
            break
    clock.ms += limits.LEASE_MS
    assert invariants.violations(await shop.dump()) == []
