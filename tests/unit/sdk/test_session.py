"""session: what seats, lease and outbox do together, without a socket and without a clock."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gojob_sdk.events import Begin, Event, Interrupt, Moved, Refused, Regained, Silent, Welcomed
from gojob_sdk.outbox import START_LINGER_S
from gojob_sdk.protocol import Frame, Outcome, decode_worker, encode
from gojob_sdk.session import Identity, Session
from tests.unit.sdk import frames


def make(concurrency: int = 3) -> Session:
    return Session(
        Identity(
            namespace="default",
            app="shop",
            worker="w1",
            host="h1",
            pid=1,
            sdk="test",
            handlers=("send",),
            concurrency=concurrency,
        )
    )


def online(concurrency: int = 3) -> Session:
    """A session welcomed at time 0."""
    session = make(concurrency)
    session.hello(0.0)
    session.receive(frames.welcome(), 0.0)
    return session


def reconnect(session: Session, now: float, /, **about: Any) -> list[Event]:
    session.offline()
    session.hello(now)
    return session.receive(frames.welcome(**{"resumed": True, **about}), now)


def runs_in(sent: list[Frame], word: str) -> list[str]:
    """The runs named in the frames of a type."""
    found: list[str] = []
    for frame in sent:
        if frame["type"] == word:
            items: Any = frame.get("runs") or frame.get("outcomes") or frame.get("entries")
            found += [item["run"] for item in items]
    return found


def types(sent: list[Frame]) -> list[str]:
    return [frame["type"] for frame in sent]


# --- hello and welcome ------------------------------------------------------------------------------------------------


def test_the_first_hello_names_no_session_and_the_next_one_does() -> None:
    session = make()

    first = session.hello(0.0)
    session.receive(frames.welcome(session="s9"), 0.0)
    session.offline()
    second = session.hello(1.0)

    assert "session" not in first
    assert second["session"] == "s9"
    assert decode_worker(encode(second)) == second


def test_nothing_but_the_hello_is_sent_before_the_welcome() -> None:
    session = online()
    session.receive(frames.assign("r1"), 0.0)
    session.finish([frames.outcome("r1")])
    session.offline()

    offline = session.flush(1.0)
    session.hello(1.0)
    greeting = session.flush(1.0)
    session.receive(frames.welcome(resumed=True), 1.0)

    assert offline == greeting == []
    assert runs_in(session.flush(1.0), "report") == ["r1"]


def test_a_welcome_is_an_event() -> None:
    session = make()
    session.hello(0.0)

    assert session.receive(frames.welcome(), 0.0) == [Welcomed("s1", "g1", False)]


def test_a_resuming_hello_lists_what_runs_and_what_is_unacknowledged() -> None:
    session = online()
    session.receive(frames.assign("runs"), 0.0)
    session.receive(frames.assign("ended"), 0.0)
    session.receive(frames.assign("asked", confirm=True), 0.0)
    session.finish([frames.outcome("ended")])
    session.offline()

    held = session.hello(1.0)["held"]

    assert [(run["run"], run["started"]) for run in held] == [("runs", True), ("ended", True), ("asked", False)]


# --- beginning --------------------------------------------------------------------------------------------------------


def test_an_optimistic_run_begins_at_once() -> None:
    session = online()

    events = session.receive(frames.assign("r1"), 0.0)

    assert events == [Begin([frames.assignment("r1")])]


def test_its_start_waits_a_moment_for_the_report() -> None:
    session = online()
    session.receive(frames.assign("long", "short"), 1.0)
    session.finish([frames.outcome("short")])

    at_once = session.flush(1.0)
    assert session.flush_at == 1.0 + START_LINGER_S
    later = session.flush(1.0 + START_LINGER_S)

    assert (types(at_once), runs_in(at_once, "report")) == (["report"], ["short"])
    assert (types(later), runs_in(later, "start")) == (["start"], ["long"])


def test_a_confirmed_run_begins_at_its_verdict() -> None:
    session = online()

    on_tasks = session.receive(frames.assign("r1", confirm=True), 0.0)
    sent = session.flush(0.0)
    on_verdict = session.receive(frames.verdict("start", "ok", "r1"), 0.0)

    assert on_tasks == []
    assert runs_in(sent, "start") == ["r1"]
    assert on_verdict == [Begin([frames.assignment("r1", confirm=True)])]


@pytest.mark.parametrize("word", ["late", "fenced", "gone"])
def test_a_confirmed_run_that_is_not_ours_is_given_back_unbegun(word: Any) -> None:
    session = online()
    session.receive(frames.assign("r1", confirm=True), 0.0)
    session.flush(0.0)

    events = session.receive(frames.verdict("start", word, "r1"), 0.0)
    sent = session.flush(0.0)
    session.receive(frames.verdict("release", "fenced", "r1"), 0.0)

    assert events == []
    assert runs_in(sent, "release") == ["r1"]
    assert session.idle


def test_a_confirmed_run_canceled_before_it_began_is_reported_canceled() -> None:
    session = online()
    session.receive(frames.assign("r1", confirm=True), 0.0)

    session.receive(frames.verdict("start", "canceled", "r1"), 0.0)

    report = next(frame for frame in session.flush(0.0) if frame["type"] == "report")
    assert report["outcomes"][0]["outcome"] == "canceled"


def test_a_start_whose_verdict_was_lost_is_asked_for_again() -> None:
    session = online()
    session.receive(frames.assign("r1", confirm=True), 0.0)
    session.flush(0.0)

    reconnect(session, 1.0)

    assert runs_in(session.flush(1.0), "start") == ["r1"]


@pytest.mark.parametrize("confirm", [False, True])
def test_a_double_is_dropped_while_held_and_after(confirm: bool) -> None:
    session = online()
    session.receive(frames.assign("r1", confirm=confirm), 0.0)

    held = session.receive(frames.assign("r1", confirm=confirm), 0.0)
    session.receive(frames.verdict("start", "ok", "r1"), 0.0)
    session.finish([frames.outcome("r1")])
    session.receive(frames.verdict("report", "accepted", "r1"), 0.0)
    given_back = session.receive(frames.assign("r1", confirm=confirm), 0.0)
    next_attempt = session.receive(frames.assign("r1", attempt=2), 0.0)

    assert held == given_back == []
    assert next_attempt == [Begin([frames.assignment("r1", attempt=2)])]


# --- handing back -----------------------------------------------------------------------------------------------------


def test_what_no_handler_serves_is_handed_back_and_the_worker_announces_its_capacity_again() -> None:
    session = online()

    events = session.receive(frames.assign("r1", handler="nobody"), 5.0)
    sent = session.flush(5.0)
    session.receive(frames.verdict("release", "accepted", "r1"), 5.0)

    assert events == []
    assert sent[0] == {"type": "release", "runs": [frames_ref("r1")], "reason": "unknown_handler"}
    assert {"type": "renew", "capacity": 3} in session.flush(session.flush_at)
    assert session.idle


def test_more_than_there_are_seats_is_released() -> None:
    session = online(concurrency=1)

    session.receive(frames.assign("r1", "r2"), 0.0)

    assert runs_in(session.flush(0.0), "release") == ["r2"]


def test_a_release_is_sent_again_until_acknowledged() -> None:
    session = online(concurrency=1)
    session.receive(frames.assign("r1", "r2"), 0.0)
    session.flush(0.0)

    reconnect(session, 1.0)

    assert runs_in(session.flush(1.0), "release") == ["r2"]


def test_draining_takes_nothing_new_and_hands_back_what_was_not_begun() -> None:
    session = online()
    session.receive(frames.assign("runs"), 0.0)
    session.receive(frames.assign("asked", confirm=True), 0.0)

    session.drain(0.0)
    session.receive(frames.assign("late"), 0.0)
    sent = session.flush(0.0)

    assert {"type": "renew", "capacity": 0} in sent
    assert sorted(runs_in(sent, "release")) == ["asked", "late"]
    assert not session.idle


def test_a_start_that_is_under_way_when_draining_is_waited_for() -> None:
    session = online()
    session.receive(frames.assign("asked", confirm=True), 0.0)
    session.flush(0.0)

    session.drain(0.0)
    events = session.receive(frames.verdict("start", "ok", "asked"), 0.0)

    assert events == [Begin([frames.assignment("asked", confirm=True)])]


# --- reports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["accepted", "duplicate", "fenced", "gone"])
def test_every_verdict_ends_a_report(word: Any) -> None:
    session = online()
    session.receive(frames.assign("r1"), 0.0)
    session.finish([frames.outcome("r1")])

    session.receive(frames.verdict("report", word, "r1"), 0.0)

    assert session.idle
    assert session.flush(0.0) == []


def test_a_report_is_sent_once_per_connection_until_acknowledged() -> None:
    session = online()
    session.receive(frames.assign("r1"), 0.0)
    session.finish([frames.outcome("r1")])

    sent = [runs_in(session.flush(0.0), "report") for _ in range(2)]
    reconnect(session, 1.0)
    again = runs_in(session.flush(1.0), "report")

    assert (sent, again) == ([["r1"], []], ["r1"])


def test_a_verdict_for_a_run_that_still_runs_is_ignored() -> None:
    session = online()
    session.receive(frames.assign("r1"), 0.0)

    session.receive(frames.verdict("report", "gone", "r1"), 0.0)

    assert session.seats.held == 1


# --- a session that is over -------------------------------------------------------------------------------------------


def test_when_the_session_is_over_what_runs_is_lost_and_takes_room_until_it_ends() -> None:
    session = online()
    session.receive(frames.assign("runs", "ended"), 0.0)
    session.receive(frames.assign("asked", confirm=True), 0.0)
    session.finish([frames.outcome("ended")])

    events = reconnect(session, 1.0, resumed=False, session="s2")
    sent = session.flush(1.0)
    session.finish([frames.outcome("runs")])
    later = session.flush(1.0)

    assert events[1:] == [Interrupt("lost", [("runs", 1)])]
    assert runs_in(sent, "report") == ["ended"]
    assert {"type": "renew", "capacity": 2} in sent
    assert runs_in(later, "report") == ["runs"]
    assert {"type": "renew", "capacity": 3} in later


def test_an_orphan_is_not_counted_as_a_seat_of_the_new_session() -> None:
    session = online()
    session.receive(frames.assign("runs", "ended"), 0.0)
    session.finish([frames.outcome("ended")])

    reconnect(session, 1.0, resumed=False, session="s2")
    session.offline()

    assert session.seats.held == 0
    assert session.hello(2.0)["held"] == []


def test_what_a_resumed_session_no_longer_owns_is_lost() -> None:
    session = online()
    session.receive(frames.assign("runs", "ended", "kept"), 0.0)
    session.finish([frames.outcome("ended")])

    drop = [{"run": run, "attempt": 1, "why": "fenced"} for run in ("runs", "ended", "never")]
    events = reconnect(session, 1.0, drop=drop)

    assert events[1:] == [Interrupt("lost", [("runs", 1)])]
    assert runs_in(session.flush(1.0), "report") == []
    assert session.seats.held == 1


def test_what_was_not_begun_leaves_its_place_when_the_session_is_over() -> None:
    session = online(concurrency=1)
    session.receive(frames.assign("asked", confirm=True), 0.0)

    reconnect(session, 1.0, resumed=False, session="s2")

    assert session.idle
    assert session.receive(frames.assign("next"), 1.0) == [Begin([frames.assignment("next")])]


def test_a_new_session_has_a_lease_of_its_own() -> None:
    session = online()
    session.offline()
    session.tick(15.0)
    reconnect(session, 20.0, resumed=False, session="s2")
    session.receive(frames.assign("r1"), 20.0)

    assert session.tick(35.0)[0] == Interrupt("lost", [("r1", 1)])


# --- cancel and limits ------------------------------------------------------------------------------------------------


def cancel(*runs: str, reason: str = "canceled") -> Any:
    cancellations = [{"run": run, "attempt": 1, "reason": reason, "grace_ms": 10_000} for run in runs]
    return {"type": "cancel", "runs": cancellations}


def test_a_cancel_is_passed_on_once_and_acknowledged_each_time() -> None:
    session = online()
    session.receive(frames.assign("r1"), 0.0)

    first = session.receive(cancel("r1", "unknown"), 0.0)
    sent = session.flush(0.0)
    second = session.receive(cancel("r1"), 0.0)

    assert (first, second) == ([Interrupt("canceled", [("r1", 1)])], [])
    assert runs_in(sent, "acknowledge") == ["r1"]
    assert runs_in(session.flush(0.0), "acknowledge") == ["r1"]


def test_a_run_canceled_before_it_began_is_reported_at_once() -> None:
    session = online()
    session.receive(frames.assign("r1", confirm=True), 0.0)

    events = session.receive(cancel("r1"), 0.0)

    assert events == []
    assert types(session.flush(0.0)) == ["acknowledge", "report"]


def test_a_cancel_by_the_engines_timer_is_a_timeout() -> None:
    session = online()
    session.receive(frames.assign("r1"), 0.0)

    assert session.receive(cancel("r1", reason="run_limit"), 0.0) == [Interrupt("timeout", [("r1", 1)])]


def test_a_run_over_its_limit_is_interrupted_once_and_keeps_its_seat() -> None:
    session = online()
    session.receive(frames.assign("r1", run_limit_ms=2_000), 1.0)

    assert session.tick_at == 3.0
    early = session.tick(2.9)
    over = session.tick(3.0)
    later = session.tick(4.0)

    assert (early, over, later) == ([], [Interrupt("timeout", [("r1", 1)])], [])
    assert session.seats.held == 1


def test_a_run_that_ended_in_time_has_no_limit_left() -> None:
    session = online()
    session.receive(frames.assign("r1", run_limit_ms=2_000), 1.0)
    session.finish([frames.outcome("r1")])

    assert session.tick(3.0) == []


@pytest.mark.parametrize(("word", "cause"), [("fenced", "lost"), ("gone", "lost"), ("canceled", "canceled")])
def test_a_run_whose_start_came_too_late_is_interrupted(word: Any, cause: Any) -> None:
    session = online()
    session.receive(frames.assign("r1"), 0.0)

    assert session.receive(frames.verdict("start", word, "r1"), 0.0) == [Interrupt(cause, [("r1", 1)])]


# --- the lease --------------------------------------------------------------------------------------------------------


def test_the_lease_counts_from_the_sending_of_the_last_answered_renewal() -> None:
    session = online()
    session.receive(frames.assign("r1"), 0.0)

    assert session.lease.ends == 15.0
    renewal = session.flush(5.0)[-1]
    assert renewal == {"type": "renew", "seq": 1, "held": 1}
    session.receive({"type": "renewed", "seq": 1}, 9.0)

    assert session.lease.ends == 20.0
    assert session.tick(19.9) == [Silent()]
    assert session.tick(20.0) == [Interrupt("lost", [("r1", 1)])]
    assert session.tick(21.0) == []


def test_an_answer_to_an_unknown_or_older_renewal_moves_nothing() -> None:
    session = online()
    session.flush(5.0)
    session.flush(10.0)

    session.receive({"type": "renewed", "seq": 2}, 10.0)
    session.receive({"type": "renewed", "seq": 1}, 10.0)
    session.receive({"type": "renewed", "seq": 99}, 10.0)

    assert session.lease.ends == 25.0


def test_a_resumed_session_takes_its_runs_back() -> None:
    session = online()
    session.receive(frames.assign("r1"), 0.0)
    session.offline()
    session.tick(15.0)

    events = reconnect(session, 20.0)

    assert events[1:] == [Regained([("r1", 1)])]
    assert not session.lease.lost


def test_a_gateway_that_does_not_answer_is_silent_before_the_lease_ends() -> None:
    session = online()

    assert session.tick(11.9) == []
    assert session.tick(12.0) == [Silent()]
    assert session.tick(12.1) == []


def test_a_welcome_is_not_waited_for_longer_than_ten_seconds() -> None:
    session = make()
    session.hello(0.0)

    assert session.tick(10.0) == [Silent()]


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_a_sync_is_answered_with_everything_held() -> None:
    session = online()
    session.receive(frames.assign("r1"), 0.0)

    session.receive({"type": "sync"}, 0.0)

    assert session.flush(0.0)[0] == {"type": "resume", "runs": [{**frames_ref("r1"), "started": True}]}


def test_a_move_and_an_error_are_passed_on() -> None:
    session = online()
    error: Any = {"type": "error", "code": "busy", "message": "", "hint": ""}

    assert session.receive({"type": "move", "reason": "draining", "within_ms": 4_000}, 0.0) == [Moved("draining", 4.0)]
    assert session.receive(error, 0.0) == [Refused(error)]


def test_notes_go_before_the_report() -> None:
    session = online()
    session.receive(frames.assign("r1"), 0.0)
    session.note([{"run": "r1", "attempt": 1, "dropped": 1}])
    session.finish([frames.outcome("r1")])

    assert types(session.flush(0.0)) == ["note", "report"]


def frames_ref(run: str) -> Any:
    return {"run": run, "attempt": 1, "fence": frames.FENCE}


# --- the whole life, against a gateway that forgets nothing -----------------------------------------------------------


class Life(RuleBasedStateMachine):
    """A worker and an ideal gateway over a socket that loses whatever is in flight when it breaks.

    The gateway knows which seats it gave out. However the steps interleave, no outcome may be lost, no run may begin
    twice, and once everything is quiet the seats agree.
    """

    CONCURRENCY = 4

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.session = make(self.CONCURRENCY)
        self.made = 0
        self.bound: dict[str, bool] = {}
        self.started: set[str] = set()
        self.reported: dict[str, Outcome] = {}
        self.running: list[str] = []
        self.begun: list[str] = []
        self.ended: set[str] = set()
        self.to_worker: list[Any] = []
        self.to_gateway: list[Any] = []
        self.connected = False

    def take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Begin):
                runs = [assignment["run"] for assignment in event.assignments]
                assert not set(runs) & set(self.begun)
                self.begun += runs
                self.running += runs

    @rule()
    def break_and_connect(self) -> None:
        """Everything in flight is gone; the gateway sends every bound run again."""
        self.session.offline()
        hello = self.session.hello(self.now)
        known = {held["run"] for held in hello["held"]}
        drop = [{"run": run, "attempt": 1, "why": "gone"} for run in known - set(self.bound)]
        self.started |= {held["run"] for held in hello["held"] if held["started"]}
        self.to_gateway = []
        self.to_worker = [frames.assign(run, confirm=confirm) for run, confirm in self.bound.items()]
        self.connected = True
        self.take(self.session.receive(frames.welcome(resumed="session" in hello, drop=drop), self.now))

    @precondition(lambda self: self.connected)
    @rule(confirm=st.booleans())
    def bind(self, confirm: bool) -> None:
        if len(self.bound) < self.CONCURRENCY:
            self.made += 1
            run = f"r{self.made}"
            self.bound[run] = confirm
            self.to_worker.append(frames.assign(run, confirm=confirm))

    @precondition(lambda self: self.to_worker)
    @rule()
    def arrive_at_worker(self) -> None:
        self.take(self.session.receive(self.to_worker.pop(0), self.now))

    @precondition(lambda self: self.connected)
    @rule(later=st.sampled_from([0.0, START_LINGER_S, 1.0]))
    def flush(self, later: float) -> None:
        self.now += later
        for frame in self.session.flush(self.now):
            assert decode_worker(encode(frame)) == frame
            self.to_gateway.append(frame)

    @precondition(lambda self: self.to_gateway)
    @rule()
    def arrive_at_gateway(self) -> None:
        frame = self.to_gateway.pop(0)
        if frame["type"] == "start":
            confirmed = [item["run"] for item in frame["runs"] if self.bound.get(item["run"])]
            self.started |= {item["run"] for item in frame["runs"]}
            self.to_worker.append(frames.verdict("start", "ok", *confirmed))
        elif frame["type"] == "report":
            for outcome in frame["outcomes"]:
                self.accept(outcome)
        elif frame["type"] == "release":
            for item in frame["runs"]:
                assert item["run"] not in self.begun
                self.bound.pop(item["run"], None)
            self.to_worker.append(frames.verdict("release", "accepted", *[item["run"] for item in frame["runs"]]))
        elif frame["type"] == "renew" and "seq" in frame:
            self.to_worker.append({"type": "renewed", "seq": frame["seq"]})

    def accept(self, outcome: Outcome) -> None:
        run = outcome["run"]
        assert run in self.ended
        word: Any = "duplicate" if run in self.reported else "accepted"
        self.reported[run] = outcome
        self.bound.pop(run, None)
        self.to_worker.append(frames.verdict("report", word, run))

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 100))
    def end(self, which: int) -> None:
        run = self.running.pop(which % len(self.running))
        self.ended.add(run)
        self.session.finish([frames.outcome(run)])

    @rule()
    def time_passes(self) -> None:
        self.now += 3.0
        self.take(self.session.tick(self.now))

    @invariant()
    def what_runs_has_a_seat(self) -> None:
        held = {run for run, _ in self.session.seats.by_key}
        assert set(self.running) <= held
        assert len(self.running) <= self.CONCURRENCY

    def teardown(self) -> None:
        """Heal the connection and let everything end: every outcome arrived, and nobody holds anything."""
        if not hasattr(self, "session"):
            return
        self.break_and_connect()
        for _ in range(20):
            while self.to_worker:
                self.arrive_at_worker()
            while self.running:
                self.end(0)
            self.flush(START_LINGER_S)
            while self.to_gateway:
                self.arrive_at_gateway()
        assert set(self.reported) >= self.ended
        assert self.bound == {}
        assert self.session.idle
        assert self.session.seats.held == 0


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
