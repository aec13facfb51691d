"""One field of one hash is nonsense, each field and each nonsense in its turn: every verb goes on."""

import os
import random
from functools import partial
from typing import Any

from gojob_redis import view
from gojob_redis.domain import limits
from gojob_redis.domain.errors import GojobError
from gojob_redis.maintenance.deadlines import Deadlines
from gojob_redis.maintenance.ledger_audit import Audit
from gojob_redis.planning.planner import Planner
from gojob_redis.trigger import Fire
from tests import invariants
from tests.stages.conftest import Clock
from tests.stages.test_fuzz import NONSENSE, everything
from tests.stages.test_scrub import APP, Shop, shop

__all__ = ["shop"]

SHARE = float(os.environ.get("GOJOB_TEST_FUZZ_SHARE", "0.01"))
GONE = b"(gone)"


async def spots(shop: Shop) -> list[tuple[str, bytes, bytes]]:
    found = []
    for name in sorted(await shop.client.keys(shop.prefix + "*")):
        if await shop.client.type(name) != b"hash" or name.endswith(b":meta"):
            continue
        for field in sorted(await shop.client.hkeys(name)):
            found += [(name.decode(), field, value) for value in (*NONSENSE, GONE, b"inf", b"0x10")]
    return found


async def read_all(shop: Shop) -> list[str]:
    """Look at everything as a user would; returns what broke."""
    space, failed = shop.space, []
    tasks = [name.removeprefix("task:") for name in await shop.dump() if name.startswith("task:")]
    looks: list[Any] = [partial(view.task, space, task) for task in tasks if "." not in task]
    looks += [partial(view.runs, space, task) for task in tasks if "." not in task]
    looks += [partial(look, space, APP) for look in (partial(view.queues_of_app, limit=100), view.workers)]
    looks += [partial(view.find_triggers, view.Apps(space), lambda _app: True, view.Search(q="a", never_fired=True))]
    looks += [partial(view.find_tasks, space, view.TaskSearch(app=APP), lambda _app: True)]
    for look in looks:
        try:
            await look()
        except GojobError:
            continue
        except Exception as error:  # noqa: BLE001  what is asked is exactly which look breaks, and how
            failed.append(f"{look.func.__name__}: {error!r}")
    return failed


async def keep(shop: Shop) -> dict[bytes, bytes]:
    return {name: await shop.client.dump(name) for name in await shop.client.keys(shop.prefix + "*")}


async def put_back(shop: Shop, kept: dict[bytes, bytes]) -> None:
    async with shop.client.pipeline(transaction=False) as pipe:
        for name in set(await shop.client.keys(shop.prefix + "*")) - kept.keys():
            pipe.unlink(name)
        for name, dumped in kept.items():
            pipe.restore(name, 0, dumped, replace=True)
        await pipe.execute()


async def test_nonsense_in_any_field_stops_nobody(shop: Shop, clock: Clock) -> None:
    kept, began_ms = await keep(shop), clock.ms
    everywhere = await spots(shop)
    chosen = random.Random(1).sample(everywhere, max(1, int(SHARE * len(everywhere))))
    failures: list[Any] = []
    for key, field, value in chosen:
        await put_back(shop, kept)
        clock.ms = began_ms
        if value == GONE:
            await shop.client.hdel(key, field)
        else:
            await shop.client.hset(key, field, value)
        try:
            fire, audit, deadlines = Fire(shop.space, Planner(shop.space)), Audit(shop.space), Deadlines(shop.space)
            failed: list[str] = []
            for step in (10, 700, 6_000, 61_000):
                clock.ms += step
                failed += await everything(shop, random.Random(step))
                for heads in range(4):
                    fire.heads.at[heads] = 0.0
                await fire.run_once()
                await fire.planner.run_once()
                await audit.run_once()
                await deadlines.run_once()
                await shop.submit(f"fresh-{step}")
                failed += await read_all(shop)
            for _ in range(7):
                if not await shop.scrub.whole():
                    break
            else:
                failed.append("never whole")
            clock.ms += limits.LEASE_MS
            failed += invariants.violations(await shop.dump())
        except Exception as error:  # noqa: BLE001  every spot gets its turn, and all that broke is told
            failed.append(repr(error))
        if failed:
            failures.append((key, field, value, failed[:3]))
            print(failures[-1], flush=True)
    await put_back(shop, kept)
    assert not failures
    print(len(everywhere), len(chosen))
