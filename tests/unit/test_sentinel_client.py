"""gojob_redis/sentinel_client.py: which sentinel is believed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Sentinel
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ConnectionError as NotConnected

from gojob_redis.sentinel_client import ANSWER_S, SentinelPool

OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6379)


class Watcher:
    """A sentinel that says this; None: it is down."""

    def __init__(
        self, address: tuple[str, int] | None, epoch: int = 1, *, down: bool = False, late_s: float = 0
    ) -> None:
        self.address = address
        self.epoch = epoch
        self.down = down
        self.late_s = late_s

    async def sentinel_masters(self) -> dict[str, dict[str, Any]]:
        await asyncio.sleep(self.late_s)
        if self.address is None:
            raise NotConnected("it is down")
        ip, port = self.address
        flags = {"is_master": True, "is_sdown": self.down, "is_odown": False, "num-other-sentinels": 2}
        return {"main": {"ip": ip, "port": port, "config-epoch": self.epoch, **flags}}


@pytest.fixture
def pool_of() -> Callable[..., SentinelPool]:
    def make(*watchers: Watcher) -> SentinelPool:
        manager: Any = Sentinel([])  # type: ignore[no-untyped-call]
        manager.sentinels = list(watchers)
        return SentinelPool("main", manager)

    return make


async def test_the_newest_configuration_counts_however_many_have_not_heard_of_it(pool_of: Any) -> None:
    pool = pool_of(Watcher(OLD), Watcher(NEW, epoch=2), Watcher(OLD))

    assert await pool.get_master_address() == NEW


async def test_the_former_primary_is_not_named_while_the_new_one_is_down(pool_of: Any) -> None:
    pool = pool_of(Watcher(OLD), Watcher(NEW, epoch=2, down=True))

    with pytest.raises(MasterNotFoundError):
        await pool.get_master_address()


async def test_a_sentinel_that_is_down_or_late_holds_nobody_up(pool_of: Any) -> None:
    pool = pool_of(Watcher(None), Watcher(NEW), Watcher(OLD, late_s=60))

    async with asyncio.timeout(2 * ANSWER_S):
        assert await pool.get_master_address() == NEW


async def test_late_sentinels_are_waited_for_when_no_other_answers(pool_of: Any) -> None:
    pool = pool_of(Watcher(None), Watcher(NEW, late_s=ANSWER_S + 0.05))

    assert await pool.get_master_address() == NEW


async def test_without_any_sentinel_there_is_no_primary(pool_of: Any) -> None:
    pool = pool_of(Watcher(None), Watcher(None))

    with pytest.raises(MasterNotFoundError):
        await pool.get_master_address()
