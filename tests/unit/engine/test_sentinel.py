"""gojob_redis/engine/sentinel.py: which sentinel is believed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Sentinel
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ConnectionError as NotConnected

from gojob_redis.engine import sentinel as sentinel_client
from gojob_redis.engine.sentinel import TOGETHER_S, SentinelPool

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


class Line:
    """A connection that is opened to whatever its pool names."""

    def __init__(self, *, connection_pool: SentinelPool, **_options: Any) -> None:
        self.pool = connection_pool
        self.host: str | None = None
        self.port = 0

    async def connect(self) -> None:
        if self.host is None:
            self.host, self.port = await self.pool.get_master_address()

    async def disconnect(self, *_: Any, **__: Any) -> None:
        self.host = None

    async def can_read(self) -> bool:
        return False

    def should_reconnect(self) -> bool:
        return False

    async def re_auth(self) -> None:
        pass


@pytest.fixture
def pool_of() -> Callable[..., SentinelPool]:
    def make(*watchers: Watcher, **options: Any) -> SentinelPool:
        manager: Any = Sentinel([])  # type: ignore[no-untyped-call]
        manager.sentinels = list(watchers)
        return SentinelPool("main", manager, **options)

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

    async with asyncio.timeout(0.2):  # every call would wait as long
        assert await pool.get_master_address() == NEW


async def test_late_sentinels_are_waited_for_when_no_other_answers(pool_of: Any) -> None:
    pool = pool_of(Watcher(None), Watcher(NEW, late_s=TOGETHER_S + 0.05))

    assert await pool.get_master_address() == NEW


async def test_without_any_sentinel_there_is_no_primary(pool_of: Any) -> None:
    pool = pool_of(Watcher(None), Watcher(None))

    with pytest.raises(MasterNotFoundError):
        await pool.get_master_address()


async def test_a_connection_that_was_in_use_while_the_primary_changed_is_opened_anew(
    pool_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentinel_client, "ASK_EVERY_S", 0)
    sentinel = Watcher(OLD)
    pool = pool_of(sentinel, connection_class=Line)
    before, idle = await pool.get_connection(), await pool.get_connection()
    await pool.release(idle)
    sentinel.address, sentinel.epoch = NEW, 2
    other = await pool.get_connection()
    await pool.release(before)

    after = await pool.get_connection()

    assert after is before
    assert [(each.host, each.port) for each in (other, after)] == [NEW, NEW]
