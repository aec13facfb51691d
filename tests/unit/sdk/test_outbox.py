"""outbox: what waits to be sent, and the frames that become of it."""

from math import inf
from typing import Any

from gojob_sdk.outbox import Outbox
from gojob_sdk.protocol import Frame, LogLine, RunNote, decode_worker, encode
from gojob_sdk.seats import Seat, Seats
from tests.unit.sdk import frames


def seat_of(run: str, seats: Seats | None = None) -> Seat:
    seat = (no_seats() if seats is None else seats).take((run, 1), frames.assignment(run))
    assert seat is not None
    return seat


def no_seats() -> Seats:
    return Seats(["send"], 1_000)


def summary(sent: list[Frame]) -> list[tuple[str, list[str]]]:
    """Type and runs of each frame, which have to be frames that a gateway can read."""
    assert [decode_worker(encode(frame)) for frame in sent] == sent
    bodies: list[Any] = list(sent)
    return [
        (body["type"], [item["run"] for item in body.get("runs") or body.get("outcomes") or body.get("entries")])
        for body in bodies
    ]


def test_everything_that_waits_leaves_together_in_order_and_once() -> None:
    outbox = Outbox()
    released = seat_of("released")
    released.released = "rejected"
    outbox.release(("released", 1), released)
    outbox.report([frames.outcome("ended")])
    outbox.start(("begun", 1), seat_of("begun"), 0.0)
    outbox.note([RunNote(run="noted", attempt=1, dropped=1)])
    outbox.acknowledge(("canceled", 1))

    sent = outbox.flush(0.0, no_seats())

    assert summary(sent) == [
        ("acknowledge", ["canceled"]),
        ("note", ["noted"]),
        ("start", ["begun"]),
        ("report", ["ended"]),
        ("release", ["released"]),
    ]
    assert outbox.flush(0.0, no_seats()) == []


def test_a_start_waits_for_its_moment_and_is_not_urgent() -> None:
    outbox = Outbox()
    outbox.start(("late", 1), seat_of("late"), 2.0)
    outbox.start(("soon", 1), seat_of("soon"), 1.0)

    assert (outbox.urgent, outbox.start_at) == (False, 1.0)
    assert outbox.flush(0.9, no_seats()) == []
    assert summary(outbox.flush(1.0, no_seats())) == [("start", ["late", "soon"])]
    assert outbox.start_at == inf


def test_a_report_takes_the_place_of_the_start() -> None:
    outbox = Outbox()
    outbox.start(("r1", 1), seat_of("r1"), 1.0)

    outbox.report([frames.outcome("r1")])

    assert outbox.urgent
    assert summary(outbox.flush(0.0, no_seats())) == [("report", ["r1"])]
    assert outbox.start_at == inf


def test_releases_for_different_reasons_leave_in_different_frames() -> None:
    outbox = Outbox()
    seats = Seats(["send"], 1)
    for run, handler in (("r1", "send"), ("r2", "send"), ("r3", "nobody")):
        seat = seats.take((run, 1), frames.assignment(run, handler=handler))
        if seat is not None and seat.released:
            outbox.release((run, 1), seat)

    sent: list[Any] = outbox.flush(0.0, seats)

    assert {(frame["reason"], frame["runs"][0]["run"]) for frame in sent} == {
        ("rejected", "r2"),
        ("unknown_handler", "r3"),
    }


def test_many_reports_are_cut_into_frames() -> None:
    outbox = Outbox()

    outbox.report(frames.outcome(f"r{number}") for number in range(250))

    assert [len(runs) for _, runs in summary(outbox.flush(0.0, no_seats()))] == [100, 100, 50]


def test_a_frame_of_notes_has_no_more_lines_than_it_may() -> None:
    outbox = Outbox()
    line: LogLine = {"at": 1, "level": "info", "text": ""}

    outbox.note([{"run": "r1", "attempt": 1, "log": [line] * 100}] * 25)

    sent: list[Any] = [decode_worker(encode(frame)) for frame in outbox.flush(0.0, no_seats())]
    assert sum(len(entry["log"]) for frame in sent for entry in frame["entries"]) == 2_500


def test_a_new_connection_gets_what_the_last_one_left_unacknowledged() -> None:
    outbox, seats = Outbox(), Seats(["send"], 3)
    for run in ("asked", "ended", "runs"):
        seat_of(run, seats)
    seats.begin(("runs", 1), seats.by_key["runs", 1], 0.0)
    seats.end([frames.outcome("ended")])
    seats.take(("released", 1), frames.assignment("released", handler="nobody"))
    outbox.acknowledge(("runs", 1))
    outbox.resume()

    outbox.refill(seats)

    assert summary(outbox.flush(0.0, seats)) == [
        ("start", ["asked"]),
        ("report", ["ended"]),
        ("release", ["released"]),
    ]


def test_what_was_acknowledged_is_not_sent() -> None:
    outbox = Outbox()
    outbox.report([frames.outcome("r1")])
    outbox.release(("r2", 1), seat_of("r2"))

    outbox.forget(("r1", 1))
    outbox.forget(("r2", 1))

    assert not outbox.urgent
    assert outbox.flush(0.0, no_seats()) == []


def test_a_resume_lists_what_is_held_when_it_is_sent() -> None:
    outbox, seats = Outbox(), no_seats()
    outbox.resume()
    seat_of("r1", seats)

    assert summary(outbox.flush(0.0, seats)) == [("resume", ["r1"])]


def test_only_starts_that_wait_for_permission_and_were_not_sent_are_unconfirmed() -> None:
    outbox, seats = Outbox(), no_seats()
    asked, begun = seat_of("asked", seats), seat_of("begun", seats)
    seats.begin(("begun", 1), begun, 0.0)
    outbox.start(("asked", 1), asked, 0.0)
    outbox.start(("begun", 1), begun, 0.0)

    before = outbox.unconfirmed()
    outbox.flush(0.0, seats)

    assert (before, outbox.unconfirmed()) == ([(("asked", 1), asked)], [])
