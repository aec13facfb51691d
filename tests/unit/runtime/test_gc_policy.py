"""garbage: Python looks at everything only once the process has doubled."""

import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from gojob_redis.runtime import gc_policy
from gojob_redis.runtime.gc_policy import Garbage, paced


class Socket:
    """Something that only a look at everything frees once it grew old."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def whole_looks() -> int:
    return int(gc.get_stats()[2]["collections"])


def test_growing_costs_no_look_at_everything() -> None:
    with paced():
        before = whole_looks()

        kept: list[list[int]] = [[] for _ in range(300_000)]

        assert whole_looks() == before
    assert kept


def test_what_was_there_at_the_beginning_is_never_looked_at() -> None:
    with paced():
        assert gc.get_freeze_count() > 10_000


async def test_everything_is_looked_at_once_the_process_has_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc_policy, "FLOOR", 1_000)
    monkeypatch.setattr(gc_policy, "GROWTH", 1.0)
    with paced():
        pace = Garbage()
        old = Socket()
        dead = weakref.ref(old)
        gc.collect(1)  # it is among the old ones now
        del old
        await pace.run_once()
        assert pace.looks == 0
        assert dead() is not None

        kept: list[list[int]] = [[] for _ in range(5_000)]
        await pace.run_once()
        assert pace.looks == 1
        assert dead() is None

        await pace.run_once()
        assert pace.looks == 1
    assert kept


def test_a_process_may_double_and_a_little_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getallocatedblocks", lambda: 2_000_000)

    assert gc_policy.enough() == 4_500_000
