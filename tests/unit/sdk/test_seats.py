"""seats: what is bound to a worker and how much more it can take."""

from typing import Any

import pytest

from gojob_sdk.events import Key
from gojob_sdk.seats import KEPT_BYTES, KEPT_RUNS, RECENT_KEYS, Seat, Seats
from tests.unit.sdk import frames


def seats(concurrency: int = 2) -> Seats:
    return Seats(["send"], concurrency)


def take(seats: Seats, run: str, **about: Any) -> Seat:
    """A new seat, not begun."""
    seat = seats.take((run, 1), frames.assignment(run, **about))
    assert seat is not None
    return seat


def begin(seats: Seats, run: str, now: float = 0.0, **about: Any) -> Seat:
    """A new seat whose handler runs."""
    seat = take(seats, run, **about)
    seats.begin((run, 1), seat, now)
    return seat


def key(run: str) -> Key:
    return run, 1


def test_a_seat_that_the_worker_cannot_fill_is_released_at_once() -> None:
    room = seats(concurrency=1)

    taken = take(room, "r1")
    too_many = take(room, "r2")
    unknown = take(room, "r3", handler="nobody")
    room.draining = True
    late = take(room, "r4")

    assert [seat.released for seat in (taken, too_many, unknown, late)] == [
        None,
        "rejected",
        "unknown_handler",
        "draining",
    ]


def test_a_double_gets_no_seat_while_the_first_is_held_nor_after() -> None:
    room = seats()
    seat = take(room, "r1")

    held = room.take(key("r1"), frames.assignment("r1"))
    room.forget(key("r1"), seat)
    given_back = room.take(key("r1"), frames.assignment("r1"))

    assert held is given_back is None
    assert room.take(("r1", 2), frames.assignment("r1", attempt=2)) is not None


def test_only_so_many_keys_are_remembered() -> None:
    room = seats()
    for number in range(RECENT_KEYS + 1):
        room.forget(key(f"r{number}"), take(room, f"r{number}"))

    assert room.take(key("r1"), frames.assignment("r1")) is None
    assert room.take(key("r0"), frames.assignment("r0")) is not None


@pytest.mark.parametrize("how", ["released", "ended", "forgotten"])
def test_a_place_is_free_again_once_its_run_is_over(how: str) -> None:
    room = seats(concurrency=1)
    seat = take(room, "r1")

    if how == "released":
        room.release(seat, "rejected")
        room.forget(key("r1"), seat)
    elif how == "ended":
        room.end([frames.outcome("r1")])
    else:
        room.forget(key("r1"), seat)

    assert [take(room, run).released for run in ("r2", "r3")] == [None, "rejected"]


def test_a_run_limit_counts_from_the_beginning_and_is_told_once() -> None:
    room = seats()
    begin(room, "short", 1.0, run_limit_ms=2_000)
    begin(room, "long", 1.0, run_limit_ms=9_000)

    assert room.limit_at == 3.0
    assert (room.over_limit(2.9), room.over_limit(3.0), room.over_limit(3.1)) == ([], [key("short")], [])
    assert room.limit_at == 10.0


def test_a_seat_is_interrupted_only_while_it_executes_and_only_once() -> None:
    room = seats()
    seat = take(room, "r1")

    confirming = seat.interrupt()
    room.begin(key("r1"), seat, 0.0)
    executing = [seat.interrupt() for _ in range(2)]
    room.end([frames.outcome("r1")])

    assert (confirming, executing, seat.interrupt()) == (False, [True, False], False)


def test_an_orphan_takes_up_a_place_but_is_not_held() -> None:
    room = seats(concurrency=2)
    begin(room, "runs")
    begin(room, "ended")
    room.end([frames.outcome("ended")])

    orphans = room.disown_all()

    assert orphans == [key("runs")]
    assert (room.capacity, room.held, room.held_runs(), room.executing()) == (1, 0, [], [])
    room.end([frames.outcome("runs")])
    assert room.capacity == 2


def test_what_is_disowned_and_does_not_run_leaves_its_seat() -> None:
    room = seats()
    begin(room, "runs")
    take(room, "asked")
    begin(room, "kept")

    orphans = room.disown([key("runs"), key("asked"), key("never")])
    again = room.disown([key("runs")])

    assert (orphans, again) == ([key("runs")], [])
    assert [held["run"] for held in room.held_runs()] == ["kept"]


def test_too_many_unacknowledged_outcomes_stop_new_work_until_half_are_gone() -> None:
    room = seats(concurrency=KEPT_RUNS + 1)
    runs = [f"r{number}" for number in range(KEPT_RUNS + 1)]
    held = {run: begin(room, run) for run in runs}
    room.end([frames.outcome(run) for run in runs])

    full = room.capacity
    for run in runs[: KEPT_RUNS // 2 + 1]:
        room.forget(key(run), held[run])
    half = room.capacity
    room.forget(key(runs[-1]), held[runs[-1]])

    assert (full, half, room.capacity) == (0, 0, KEPT_RUNS + 1)


def test_too_many_unacknowledged_bytes_stop_new_work_until_they_are_gone() -> None:
    room = seats(concurrency=1_000)
    runs = [f"r{number}" for number in range(KEPT_BYTES // 200_000 + 1)]
    held = {run: begin(room, run) for run in runs}

    room.end([frames.outcome(run, result=bytes(200_000)) for run in runs])
    full = room.capacity
    for run, seat in held.items():
        room.forget(key(run), seat)

    assert (full, room.capacity) == (0, 1_000)
