"""gojob_redis/connections/session.py: frames in, intents out, words in, frames out. No socket, no clock."""

from typing import Any

import msgpack
import pytest

from gojob_redis.connections.session import (
    AWAY,
    DIFFERENCES,
    PATIENCE,
    UNKNOWN,
    Acknowledge,
    Hello,
    Leave,
    Note,
    Phase,
    Release,
    Renew,
    Report,
    Resume,
    Session,
    Start,
    disowned,
    kept_and_dropped,
)
from gojob_redis.domain import fingerprint, hints, verbs
from gojob_redis.domain.errors import Refused
from gojob_sdk import protocol

KEY = ("00s0000000000000000a", 1)
RUN: dict[str, Any] = {"run": KEY[0], "attempt": 1, "fence": "5-abc"}
WALL = 1_800_000_000_000
HELLO: dict[str, Any] = {
    "protocol": 2,
    "sdk": "raw",
    "namespace": "default",
    "app": "shop",
    "worker": "w1",
    "host": "here",
    "pid": 1,
    "labels": {},
    "attributes": [],
    "handlers": ["send"],
    "capacity": 3,
    "held": [],
}


def said(session: Session, type: str, *, now: float = 1.0, wall_ms: int = WALL, **fields: Any) -> Any:
    """What the session makes of one frame."""
    return session.receive(msgpack.packb({"type": type, **fields}), now, wall_ms)


def at_home(**hello: Any) -> Session:
    """A session that is welcome."""
    session = Session(0.0)
    assert isinstance(said(session, "hello", **(HELLO | hello)), Hello)
    session.come_home("s1", 1, "default/shop", 1.0)
    return session


def outcome(**changes: Any) -> dict[str, Any]:
    return RUN | {"outcome": "ok", "started_ms": 100, "ended_ms": 350} | changes


def assignment(*, confirm: bool) -> hints.Assignment:
    return hints.Assignment(
        "s1", 1, KEY[0], 1, "5-abc", "default/shop/send", 1, 0, 0, 0, confirm, "", 1, "", 0, b"", b""
    )


# ---- the order of things ---------------------------------------------------------------------------------------------


def test_the_first_frame_is_a_hello() -> None:
    session = Session(0.0)

    intent = said(session, "hello", **HELLO)

    assert isinstance(intent, Hello)
    assert intent.frame == {"type": "hello", **HELLO}
    assert (session.phase, session.capacity, session.heard_at) == (Phase.ARRIVING, 3, 1.0)


@pytest.mark.parametrize("type", ["renew", "leave"])
def test_anything_before_hello_is_refused(type: str) -> None:
    fields = {"seq": 1, "held": 0} if type == "renew" else {}

    with pytest.raises(Refused) as refused:
        said(Session(0.0), type, **fields)

    assert refused.value.close_code == protocol.CLOSE_BAD_FRAME


def test_a_second_hello_is_refused() -> None:
    with pytest.raises(Refused):
        said(at_home(), "hello", **HELLO)


def test_an_unknown_frame_is_ignored_and_counts_as_heard() -> None:
    session = at_home()

    assert said(session, "invented", now=9.0) is None
    assert session.heard_at == 9.0


def test_many_unknown_frames_within_a_minute_are_refused() -> None:
    session = at_home()
    for _ in range(UNKNOWN):
        said(session, "invented", now=9.0)

    with pytest.raises(Refused) as refused:
        said(session, "invented", now=69.0)

    assert refused.value.close_code == protocol.CLOSE_BAD_FRAME


def test_an_unknown_frame_now_and_then_is_ignored_for_ever() -> None:
    session = at_home()

    for number in range(10 * UNKNOWN):
        assert said(session, "invented", now=5.0 * number) is None


@pytest.mark.parametrize(
    ("data", "code", "field"),
    [
        (b"\xc1", protocol.CLOSE_BAD_FRAME, "frame"),
        (msgpack.packb({"type": "renew", "held": 1}), protocol.CLOSE_BAD_FRAME, "renew"),
        (bytes(protocol.MAX_FRAME_BYTES + 1), protocol.CLOSE_TOO_LARGE, "frame"),
    ],
)
def test_what_is_no_frame_is_refused_with_its_field(data: bytes, code: int, field: str) -> None:
    with pytest.raises(Refused) as refused:
        at_home().receive(data, 1.0, WALL)

    assert (refused.value.close_code, refused.value.field) == (code, field)


def test_a_goodbye_ends_the_session() -> None:
    session = at_home()

    assert said(session, "leave") == Leave()
    assert session.phase is Phase.GONE


# ---- starts and reports ----------------------------------------------------------------------------------------------


def test_a_report_carries_the_result_and_how_long_it_took() -> None:
    session = at_home()

    intent = said(session, "report", outcomes=[outcome(result=b"\x01")])

    assert intent == Report([verbs.Report("s1", *KEY, "5-abc", "ok", WALL - 250, b"\x01")], [250])


def test_there_is_room_for_a_run_when_the_verdict_on_the_report_before_it_was_told() -> None:
    session = at_home(capacity=1)
    session.assigned(assignment(confirm=False))
    assert session.has_room()  # nothing is under way, so the worker may have a seat that we do not know of

    said(session, "report", outcomes=[outcome()])
    assert not session.has_room()
    session.answered([KEY], ["accepted"])
    assert session.has_room()


def test_what_a_resumed_worker_may_go_on_with_occupies_its_seats() -> None:
    session = Session(0.0)
    said(session, "hello", **(HELLO | {"capacity": 1}))
    session.come_home("s1", 2, "default/shop", 1.0, [("other", 1)])

    said(session, "release", runs=[RUN], reason="draining")

    assert not session.has_room()


@pytest.mark.parametrize(
    ("fields", "disposition"),
    [
        ({}, ""),
        ({"disposition": "uncounted"}, "uncounted"),
        ({"disposition": "snooze", "delay_ms": 0}, "snooze 0"),
        ({"delay_ms": 500}, "retry 500"),
    ],
)
def test_what_is_to_become_of_a_run_is_one_text(fields: dict[str, Any], disposition: str) -> None:
    intent = said(at_home(), "report", outcomes=[outcome(outcome="error", **fields)])

    assert isinstance(intent, Report)
    assert intent.reports[0].disposition == disposition


@pytest.mark.parametrize(("disposition", "is_counted"), [("snooze", False), ("uncounted", True), ("final", True)])
def test_what_was_put_off_is_counted_among_no_failures(disposition: str, is_counted: bool) -> None:
    error = {"type": "ValueError", "message": "no", "traceback": "here"}

    intent = said(at_home(), "report", outcomes=[outcome(outcome="error", error=error, disposition=disposition)])

    assert isinstance(intent, Report)
    assert bool(intent.reports[0].failure) is is_counted


def test_a_failure_names_what_its_worker_told_of_its_handlers() -> None:
    session, error = at_home(), {"type": "ValueError", "message": "no", "traceback": "here"}
    session.specs = "what-it-told"

    intent = said(session, "report", outcomes=[outcome(outcome="error", error=error)])

    assert isinstance(intent, Report)
    assert fingerprint.unpacked(intent.reports[0].failure).specs == "what-it-told"


def test_an_error_is_packed_and_may_be_final() -> None:
    error = {"type": "ValueError", "message": "no", "traceback": "here"}

    intent = said(at_home(), "report", outcomes=[outcome(outcome="error", error=error, disposition="final")])

    [report] = intent.reports
    assert (report.outcome, report.disposition, msgpack.unpackb(report.value)) == ("error", "final", error)


@pytest.mark.parametrize("times", [(350, 100), (0, protocol.MAX_INT)])
def test_times_that_make_no_sense_stay_within_bounds(times: tuple[int, int]) -> None:
    intent = said(at_home(), "report", outcomes=[outcome(started_ms=times[0], ended_ms=times[1])])

    assert 1 <= intent.reports[0].started <= WALL


def test_a_report_takes_its_held_start_along() -> None:
    session = at_home()
    start = said(session, "start", runs=[RUN], wall_ms=WALL - 99)
    assert isinstance(start, Start)

    intent = said(session, "report", outcomes=[outcome()])

    assert intent.reports[0].started == WALL - 99
    assert start.starts[0].reported
    assert session.started(start.starts, ["late"]) == []


@pytest.mark.parametrize(
    ("confirm", "word", "told"),
    [(False, "ok", False), (False, "fenced", True), (False, "late", True), (True, "ok", True), (True, "gone", True)],
)
def test_a_worker_hears_only_the_start_verdicts_it_needs(confirm: bool, word: str, told: bool) -> None:
    session = at_home()
    session.assigned(assignment(confirm=confirm))
    start = said(session, "start", runs=[RUN])

    verdicts = session.started(start.starts, [word])

    assert verdicts == ([{"run": KEY[0], "attempt": 1, "verdict": word}] if told else [])


def test_a_run_that_was_listed_unbegun_waits_for_its_start_verdict() -> None:
    session = at_home(held=[RUN | {"started": False}])
    start = said(session, "start", runs=[RUN])

    assert [one["verdict"] for one in session.started(start.starts, ["ok"])] == ["ok"]


def test_releases_cancels_and_notes_become_the_engines_items() -> None:
    session = at_home()
    line = {"at": 1, "level": "info", "text": "hi"}
    progress = {"percent": 5.0, "message": "a"}
    entry = {"run": KEY[0], "attempt": 1, "log": [line], "dropped": 2, "progress": progress}

    assert said(session, "release", runs=[RUN], reason="draining") == Release(
        [verbs.Release("s1", *KEY, "5-abc", "draining")]
    )
    assert said(session, "acknowledge", runs=[{"run": KEY[0], "attempt": 1}]) == Acknowledge([verbs.Heard("s1", *KEY)])
    notes = said(session, "note", entries=[entry])
    assert isinstance(notes, Note)
    assert notes.logs == [entry]
    assert [(note.run, note.kind, msgpack.unpackb(note.text)) for note in notes.progress] == [
        (KEY[0], "progress", progress)
    ]


# ---- renewals --------------------------------------------------------------------------------------------------------


def test_a_renewal_carries_the_age_and_what_the_worker_counts() -> None:
    session = at_home()
    assert said(session, "renew", seq=4, held=2, now=10.0) == Renew(4)

    assert session.renewal(10.25) == verbs.Renewal("s1", 1, 250, 2, -1)
    assert session.renewal(11.0).held == -1  # a count is compared once


def test_a_capacity_is_announced_until_a_renewal_committed() -> None:
    session = at_home()
    assert said(session, "renew", capacity=7) == Renew(None)

    assert [session.renewal(1.0).capacity, session.renewal(2.0).capacity] == [7, 7]
    session.renewed("ok")
    assert session.renewal(3.0).capacity == -1


def test_a_capacity_that_changes_while_one_is_committed_is_announced_too() -> None:
    session = at_home()
    said(session, "renew", capacity=7)
    session.renewal(1.0)
    said(session, "renew", capacity=0)

    session.renewed("ok")

    assert session.renewal(2.0).capacity == 0


def test_a_release_announces_the_capacity_again() -> None:
    session = at_home()

    session.released()

    assert session.renewal(1.0).capacity == 3


def test_a_session_without_socket_takes_no_more_work() -> None:
    session = at_home()

    session.go()

    assert session.renewal(1.0).capacity == AWAY


def renewed(session: Session, word: str) -> str:
    said(session, "renew", seq=1, held=1)
    session.renewal(1.0)
    return session.renewed(word)


def test_two_differences_in_a_row_ask_for_the_list() -> None:
    session = at_home()

    assert [renewed(session, word) for word in ("differs", "ok", "differs", "differs")] == ["ok", "ok", "ok", "sync"]


def test_a_renewal_without_a_count_proves_nothing() -> None:
    session = at_home()
    renewed(session, "differs")
    session.renewal(1.0)
    session.renewed("ok")

    assert renewed(session, "differs") == "sync"


def test_a_question_without_answer_is_asked_again_later() -> None:
    session = at_home()
    words = [renewed(session, "differs") for _ in range(DIFFERENCES + DIFFERENCES + PATIENCE)]

    assert words.count("sync") == 2
    assert (words[DIFFERENCES - 1], words[-1]) == ("sync", "sync")


@pytest.mark.parametrize("word", ["moved", "lost"])
def test_a_session_that_is_not_ours_is_told_apart(word: str) -> None:
    assert renewed(at_home(), word) == word


def test_what_was_answered_since_the_question_is_taken_off_the_list() -> None:
    session = at_home()
    renewed(session, "differs")
    renewed(session, "differs")
    session.answered([KEY], ["accepted"])
    other = RUN | {"run": "00s0000000000000000b"}
    intent = said(session, "resume", runs=[RUN | {"started": True}, other | {"started": False}])
    assert isinstance(intent, Resume)

    assert session.resumable(intent.held) == [verbs.HeldRun("00s0000000000000000b", 1, "5-abc", 0)]


def test_the_engine_may_ask_for_the_list_once() -> None:
    session = at_home()

    assert [session.request_sync(), session.request_sync()] == [True, False]
    session.resumable([])
    assert session.request_sync()


def test_a_list_nobody_asked_for_is_ignored() -> None:
    session = at_home()

    assert said(session, "resume", runs=[RUN | {"started": True}]) is None


# ---- what a resumed worker hears -------------------------------------------------------------------------------------


def test_a_list_of_runs_is_kept_or_dropped() -> None:
    runs = [verbs.HeldRun(name, 2, "5-a", 1) for name in ("a", "b", "c")]

    keep, drop = kept_and_dropped(runs, ["keep", "fenced", "gone"])

    assert keep == ["a@2"]
    assert drop == [{"run": "b", "attempt": 2, "why": "fenced"}, {"run": "c", "attempt": 2, "why": "gone"}]
    assert [one["verdict"] for one in disowned(runs, ["keep", "fenced", "gone"])] == ["fenced", "gone"]


# ---- load ------------------------------------------------------------------------------------------------------------


def test_a_load_is_written_when_it_is_another_and_again_until_it_was_committed() -> None:
    session = at_home()
    said(session, "renew", seq=1, load={"cpu_percent": 12, "memory_bytes": 100 << 20, "lag_ms": 27}, now=10.0)

    assert session.renewal(10.0).load == "12 100 20"
    assert session.renewal(10.1).load == "12 100 20"
    session.renewed("ok")
    assert session.renewal(10.2).load == ""
    said(session, "renew", seq=2, load={"cpu_percent": 12, "memory_bytes": (100 << 20) + 9, "lag_ms": 21}, now=11.0)
    assert session.renewal(11.0).load == ""
    said(session, "renew", seq=3, load={"lag_ms": 5_000}, now=12.0)
    assert session.renewal(12.0).load == "- - 5000"


def test_a_worker_that_tells_no_load_has_none() -> None:
    session = at_home()
    said(session, "renew", seq=1, now=10.0)
    said(session, "renew", seq=2, load={}, now=10.0)

    assert (session.load, session.renewal(10.0).load) == (None, "")
