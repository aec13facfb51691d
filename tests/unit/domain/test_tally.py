"""gojob_redis/domain/tally.py: what the scripts wrote down is read, and added up."""

import random

import pytest

from gojob_redis.domain import limits
from gojob_redis.domain.ids import TriggerUid, fired_id
from gojob_redis.domain.tally import (
    CELLS,
    Canceled,
    End,
    Failures,
    Spread,
    Sum,
    Tallied,
    Version,
    cell_of,
    least_of,
    pack_end,
    unpack_ends,
)

T0 = 1_800_000_000_000
SEND = "default/shop/send"
UID = TriggerUid("abcdefg")
TASK = fired_id(3, UID, T0)


def tallied(*items: str, handler: str = SEND, wall: int = T0) -> Tallied:
    found = Tallied()
    found.take("\x1e".join([str(wall), "\x1f".join([handler, *items])]).encode())
    return found


def sum_of(*items: str) -> Sum:
    [own] = tallied(*items).minutes.values()
    return own


@pytest.mark.parametrize("ms", [0, 1, 2, 3, 7, 1_000, 4_095, 4_096, 4_097, 86_399, 43_199_999])
def test_a_cell_holds_what_is_at_least_its_beginning_and_below_the_next(ms: int) -> None:
    cell = cell_of(ms)

    assert least_of(cell) <= ms < least_of(cell + 1)


def test_what_takes_longer_than_12_hours_is_in_the_last_cell() -> None:
    assert cell_of(12 * limits.HOUR_MS) == cell_of(10**12) == CELLS - 1


def test_a_percentile_is_wrong_by_a_tenth_at_most() -> None:
    rng = random.Random(7)
    times = sorted(int(rng.lognormvariate(6, 1.5)) + 1 for _ in range(5_000))
    spread = Spread()
    for ms in times:
        spread.observe(ms)

    for share in (0.5, 0.95, 0.99):
        assert spread.quantile(share) == pytest.approx(times[int(share * len(times)) - 1], rel=0.1)
    assert spread.quantile(1.0) == max(times)


def test_nothing_has_no_percentile() -> None:
    assert Spread().quantile(0.5) is None


def test_the_sum_of_two_spreads_is_the_spread_of_both() -> None:
    one, two, both = Spread(), Spread(), Spread()
    for spread, ms, task in ((one, 5, "a"), (two, 700, "b"), (one, 90, "c")):
        spread.observe(ms, task)
        both.observe(ms, task)

    one.add(two)

    assert one == both
    assert (one.count, one.sum_ms, one.max_ms, one.max_task) == (3, 795, 700, "b")


def test_what_happened_is_counted() -> None:
    own = sum_of(
        *("u", "u", "f12", f"koverlap {UID} {T0}", f"m4 {UID} {T0}"),
        *("b", "b300", "rerror", "s", "l", "j", "o", "d7"),
    )

    assert own.counts == {
        "submitted": 2, "fired": 1, "skipped overlap": 1, "missed": 4, "started": 2, "retried error": 1, "stopped": 2,
        "lost": 1, "rejected": 1, "unaccepted": 1, "retired": 7,
    }  # fmt: skip
    assert (own.lateness.max_ms, own.wait.max_ms, own.wait.count) == (12, 300, 1)


def test_an_end_says_how_long_the_task_took() -> None:
    own = sum_of(f"eC t1 {T0 - 900} {T0 - 400} ", f"ef t2 {T0 - 900} {T0 - 800} timeout", f"ex t3 {T0} 0 by a person")

    assert own.counts == {"completed": 1, "stopped": 1, "faulted timeout": 1, "canceled": 1}
    assert own.duration.count == 2
    assert (own.duration.sum_ms, own.duration.max_ms, own.duration.max_task) == (1_200, 800, "t2")
    assert own.last_ended_ms == T0


def test_what_was_canceled_is_told_of_its_handler() -> None:
    found = tallied(f"ex t3 {T0} 0 by a person", f"ef t2 {T0} 0 error", wall=T0 + 5)

    assert found.canceled == {SEND: [Canceled("t3", b"by a person", T0 + 5)]}


def test_a_start_by_a_clock_that_goes_ahead_makes_no_negative_time() -> None:
    assert sum_of(f"ec t1 {T0} {T0 + 50} ").duration.sum_ms == 0


def test_the_end_of_a_slot_is_told_of_its_trigger() -> None:
    found = tallied(f"ef {TASK} {T0 + 30} {T0 + 40} error", f"ec 03sxxxxxxxxyyyyyyyyy {T0} {T0} ", wall=T0 + 1_040)

    assert found.ends == {UID: [End("faulted", 30, 1_000, T0)]}
    assert found.apps == {UID: "default/shop"}


def test_the_longest_are_told_by_hour() -> None:
    found = tallied(f"ec t1 {T0} {T0 - 5} ", f"ec t2 {T0} {T0 - 9} ")

    assert found.slowest == {(SEND, T0 // limits.HOUR_MS): [(5, "t1"), (9, "t2")]}


@pytest.mark.parametrize(
    "item", ["", "?", "bx", "e", "eq t1 1 1 r", "ec t1", "kwhy", "pt1 half", "ec t1 x y ", "d", "\udcff"]
)
def test_an_item_that_says_nothing_is_passed_over_and_counted(item: str) -> None:
    found = Tallied()
    found.take(b"\x1f".join([f"{T0}\x1e{SEND}".encode(), item.encode("utf-8", "surrogateescape"), b"u"]))

    assert found.unread == 1
    assert found.minutes[T0 // limits.MINUTE_MS, SEND].counts == {"submitted": 1}


def test_an_entry_that_says_nothing_is_passed_over_and_counted() -> None:
    found = Tallied()
    found.take(b"now\x1e" + SEND.encode())

    assert (found.unread, found.minutes) == (1, {})


def test_what_nobody_could_be_called_is_counted_as_of_nobody() -> None:
    assert [*tallied("u", handler="a/b/c\x00d").minutes] == [(T0 // limits.MINUTE_MS, "?/?/?")]


def test_attempts_that_failed_alike_are_counted_together() -> None:
    found = tallied(
        "pt1 d1\x1dValueError\x1dno #\x1ds1", "pt2 d1\x1dValueError\x1dno #\x1ds2", "pt3 d2\x1dKeyError\x1d\x1d"
    )

    assert found.failures == {
        (SEND, "d1"): Failures("ValueError", "no #", 2, T0, T0, "t2", Version("s1"), Version("s2")),
        (SEND, "d2"): Failures("KeyError", "", 1, T0, T0, "t3"),
    }


def test_the_version_that_failed_first_is_that_of_the_first_moment_whatever_came_in_which_order() -> None:
    late = Failures("E", "", 1, 20, 20, "t2", Version("new"), Version("new"))
    early = Failures("E", "", 1, 10, 10, "t1", Version("old"), Version("old"))

    late.add(early)

    assert (late.first_ms, late.first_in, late.last_ms, late.last_in, late.task) == (
        10, Version("old"), 20, Version("new"), "t2",
    )  # fmt: skip


def test_failures_come_back_as_they_were_packed_and_as_nothing_from_what_is_no_such_thing() -> None:
    failures = Failures("E", "no", 2, 10, 20, "t", Version("d", "1.0"), Version("e"))

    assert Failures.of(failures.packed()) == failures
    assert {str(Failures.of(each)) for each in (None, 7, [], ["E", "no", 2], ["E", "no", 1, 1, 1, "t", 7, 8])} == {
        str(Failures("", ""))
    }


def test_an_app_has_the_sum_of_its_handlers() -> None:
    found = tallied("u", "u")
    found.take(f"{T0}\x1edefault/shop/pack\x1fu".encode())

    sums = {subject: own.counts["submitted"] for _minute, subject, own in found.subjects()}

    assert sums == {SEND: 2, "default/shop/pack": 1, "default/shop": 3}


def test_a_count_is_of_all_reasons_or_by_reason() -> None:
    own = sum_of(f"ef t1 {T0} 0 error", f"ef t2 {T0} 0 lost", "l")

    assert own.total("faulted") == 2
    assert own.reasons("faulted") == {"error": 1, "lost": 1}
    assert own.reasons("lost") == {}


def test_a_ring_tells_its_ends_nearly_as_they_were() -> None:
    ends = [End("completed", 0, 0, T0), End("faulted", 12_345, 86_400_000, T0 + 1_000), End("canceled", 7, 999, T0)]

    read = list(unpack_ends(b"".join(map(pack_end, ends)) + b"half"))

    assert [(end.state, end.slot_ms) for end in read] == [(end.state, end.slot_ms) for end in ends]
    for end, was in zip(read, ends, strict=True):
        assert end.lateness_ms == pytest.approx(was.lateness_ms, rel=0.06, abs=1)
        assert end.duration_ms == pytest.approx(was.duration_ms, rel=0.001, abs=1)
