"""Each guard of the scripts has a test that goes red when the guard is deleted.

A guard is marked where it stands: ``-- guard: <name>``. ``tests/tools/marks.py`` says what its deletion means. A mutant
is a copy of the Lua files without one guard. Each test that the table names for it runs on the mutant in a process of
its own and must fail; on the untouched files the same test passes as part of the suite.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gojob_redis.engine.scripts import LUA
from tests.tools import guarded, marks


@dataclass(frozen=True, slots=True)
class Guard:
    """The tests that must notice when it is gone, as ``file::test`` or ``file::test[case]``, and what gone means."""

    tests: tuple[str, ...]
    always: bool = False
    """It lets something through, so its condition holds always."""
    swap: tuple[str, str] | None = None
    """It cannot be taken out; this text of its line is replaced by that."""


def red(*tests: str, always: bool = False, swap: tuple[str, str] | None = None) -> Guard:
    """A guard whose deletion turns these tests red."""
    return Guard(tests, always, swap)


STRANGER = "test_strangers.py::test_"

GUARDS = {
    # --- what an operator says of a worker ----------------------------------------------------------------------------
    "a drained session takes nothing new": red(
        "test_drain.py::test_a_drained_session_takes_nothing_new_and_keeps_what_it_has"
    ),
    "only the app of a session says what becomes of it": red(
        "test_drain.py::test_another_app_says_nothing_of_it[default/other]"
    ),
    "only the app of a session ends it": red("test_drain.py::test_another_app_says_nothing_of_it[default/other]"),
    # --- apps that have nothing any more ------------------------------------------------------------------------------
    "an app that has something stays": red("test_forget.py::test_an_app_that_has_something_stays_whole[a trigger]"),
    "a worker may come back with a handler": red(
        "test_forget.py::test_a_handler_that_was_announced_lately_keeps_its_app"
    ),
    "work that waits keeps its app": red("test_forget.py::test_it_begins_anew_when_work_comes"),
    "a call forgets so many handlers": red("test_forget.py::test_a_call_takes_so_many_handlers_and_the_next_go_on"),
    "an app that is elsewhere stays": red("test_place.py::test_an_app_that_is_elsewhere_is_not_forgotten"),
    # --- jobs ---------------------------------------------------------------------------------------------------------
    "what came after the job is not its": red("test_bulk_cancel.py::test_what_was_made_after_the_job_is_left_alone"),
    "what ended after the job began is not its": red(
        "test_bulk_retry.py::test_what_is_not_over_is_told_and_left_alone"
    ),
    "what ended after the job began is not deleted by it": red(
        "test_bulk_forget.py::test_what_ended_after_the_job_began_stays"
    ),
    "what somebody wants kept stays, unless that is asked for": red(
        "test_bulk_forget.py::test_what_is_over_goes_with_all_that_hangs_on_it_and_what_is_kept_is_told"
    ),
    "nothing is deleted before 60 s": red(
        "test_bulk_forget.py::test_what_ended_less_than_a_minute_ago_is_deleted_when_it_is_that_old"
    ),
    "what is let go is found by a job that has passed the history of its handler": red(
        "test_bulk_forget.py::test_what_is_let_go_behind_a_job_is_deleted"
    ),
    "what is moved to the head is found by a job that has passed it": red(
        "test_bump.py::test_what_goes_to_the_head_behind_a_job_is_canceled"
    ),
    "what has a worker, or is over, stands in no lane": red("test_bump.py::test_what_does_not_wait_stays_where_it_is"),
    "what was moved to the head has not waited as long as its place says": red(
        "test_bump.py::test_what_was_moved_to_the_head_has_its_own_queue_limit"
    ),
    "a task is made of another once for a job": red(
        "test_bulk_retry.py::test_the_new_ids_follow_from_the_job_and_the_parent"
    ),
    "an older word about a job changes nothing": red("test_jobs.py::test_an_older_word_about_a_job_changes_nothing"),
    "what is done stays done": red("test_jobs.py::test_a_partition_that_is_done_stays_done"),
    "a repeated call is one job": red("test_jobs.py::test_a_call_that_comes_twice_is_one_job"),
    "a namespace has no more jobs at once than it may": red("test_jobs.py::test_a_namespace_has_ten_jobs_at_once"),
    "a job that is closed changes no more": red("test_jobs.py::test_a_closed_job_changes_no_more"),
    "a job that was paused, canceled or is done does nothing": red("test_jobs.py::test_a_paused_job_does_nothing"),
    "what was lost is found by a job that has passed its lane": red(
        "test_bulk_cancel.py::test_what_a_job_has_passed_and_a_worker_loses_is_canceled"
    ),
    "what is tried again is found by a job that has passed its timers": red(
        "test_bulk_cancel.py::test_what_a_job_has_passed_and_is_tried_again_is_canceled"
    ),
    "what has waited for its retry is found by a job that has passed its lane": red(
        "test_bulk_cancel.py::test_what_comes_from_its_timer_into_a_lane_that_a_job_has_passed_is_canceled"
    ),
    "what is mended is found by a job that has passed its lane": red(
        "test_scrub_cases.py::test_a_job_that_goes_through_an_app_is_told_of_what_was_put_back_into_its_lane"
    ),
    "a job that was told nothing for a while looks at all of the app again": red(
        "test_bulk_cancel.py::test_a_job_that_was_told_nothing_for_a_while_looks_at_all_of_the_app_again"
    ),
    "a trigger that came after the job is not its": red(
        "test_bulk_triggers.py::test_ids_are_taken_where_the_job_may_and_what_is_gone_or_newer_is_told"
    ),
    "a job reaches no trigger outside of where it may": red(
        "test_bulk_triggers.py::test_ids_are_taken_where_the_job_may_and_what_is_gone_or_newer_is_told"
    ),
    "a trigger is run once for a job": red("test_bulk_triggers.py::test_a_run_that_comes_again_makes_nothing_twice"),
    "a job touches nothing outside of where it was allowed": red(
        "test_bulk_cancel.py::test_ids_are_canceled_one_by_one_and_what_cannot_be_is_told"
    ),
    # --- slots and triggers -------------------------------------------------------------------------------------------
    "a slot is fired at most once": red(
        "test_fire.py::test_a_slot_below_the_watermark_is_never_fired_again", always=True
    ),
    "a plan continues only what it was made for": red("test_fire.py::test_a_plan_continues_only_what_it_was_made_for"),
    "a live task skips the slot": red("test_fire.py::test_overlap_skip_skips_while_a_task_lives_and_says_so"),
    "a call that has worked long enough leaves the rest to the next": red(
        "test_fire.py::test_a_call_that_took_long_leaves_the_rest_to_the_next"
    ),
    "a watermark that is nothing stops no partition": red(
        "test_fire.py::test_a_number_that_is_nothing_stops_no_other_trigger[last_slot]"
    ),
    "a trigger whose fields are gone fires nothing": red(
        "test_fire.py::test_a_trigger_whose_words_nobody_could_have_written_fires_no_more[labels-None]"
    ),
    "required labels that are no pairs fire nothing": red(
        "test_fire.py::test_a_trigger_whose_words_nobody_could_have_written_fires_no_more[labels-env=?]"
    ),
    "policies that nobody could have written fire nothing": red(
        "test_fire.py::test_a_trigger_whose_words_nobody_could_have_written_fires_no_more[policies-on_lost=?]"
    ),
    "facts of another revision are not what was defined": red(
        "test_fire.py::test_a_definition_by_a_release_that_knows_no_facts_is_what_fires"
    ),
    "a definition writes its facts itself": red(
        "test_fire.py::test_a_trigger_fires_as_it_was_defined_whatever_became_of_its_fields"
    ),
    "a uid is used once": red("test_define.py::test_a_uid_that_another_trigger_has_is_taken_and_changes_nothing"),
    # --- defaults that changed ----------------------------------------------------------------------------------------
    "a trigger that was removed stays so": red("test_follow.py::test_a_trigger_that_was_removed_stays_so"),
    "what somebody said meanwhile is newer than what was read": red(
        "test_follow.py::test_what_somebody_changed_meanwhile_stays"
    ),
    "defaults that were read earlier do not go over newer ones": red(
        "test_follow.py::test_defaults_that_were_read_earlier_do_not_go_over_newer_ones"
    ),
    "what a slot reads of a trigger is made anew": red("test_follow.py::test_what_fires_then_goes_by_them"),
    # --- submissions --------------------------------------------------------------------------------------------------
    "the same submission is one task": red("test_submit.py::test_the_same_task_twice_is_one_task"),
    "the same submission twice in one call is one task": red(
        "test_submit.py::test_the_same_task_twice_in_one_call_is_one_task"
    ),
    # --- statistics ---------------------------------------------------------------------------------------------------
    "what did nothing leaves nothing": red("test_submit.py::test_the_same_task_twice_is_one_task"),
    "sums that were made of older ones are not written": red(
        "test_fold.py::test_sums_that_were_made_of_older_ones_are_not_written"
    ),
    "what is left of a removed trigger begins no ring": red("test_fold.py::test_a_removed_trigger_begins_no_ring"),
    "what is left of a removed trigger begins no days": red("test_fold.py::test_a_removed_trigger_begins_no_days"),
    # --- owners -------------------------------------------------------------------------------------------------------
    "a former owner is not heard": red(
        "test_report.py::test_a_report_of_an_attempt_before_is_fenced_where_the_next_is_the_same_sessions"
    ),
    "a start is its owner's": red("test_release.py::test_a_dispatch_nobody_accepts_in_5_s_goes_to_another_session"),
    "only the session of a run speaks for it": red(
        f"{STRANGER}what_a_stranger_says_changes_nothing[report ok-running]",
        f"{STRANGER}what_a_stranger_says_changes_nothing[start-bound]",
        f"{STRANGER}a_stranger_hands_nothing_back_and_waits_itself_for_no_more[draining-bound]",
        f"{STRANGER}a_stranger_begins_no_run_by_coming_home_with_it",
    ),
    "only the session of an attempt speaks of it": red(
        f"{STRANGER}a_stranger_cannot_keep_a_cancel_from_being_sent_again",
        f"{STRANGER}what_a_stranger_says_changes_nothing[note-running]",
    ),
    "only the session of a run sets it aside": red(f"{STRANGER}a_stranger_sets_nothing_aside[a string]", always=True),
    "a report of a run that is over changes nothing": red(
        "test_report.py::test_the_same_report_twice_is_answered_duplicate_and_changes_nothing"
    ),
    "what comes long after the end is not kept": red(
        "test_note.py::test_a_line_that_a_report_overtook_counts_until_10_s_after_the_end[ok]"
    ),
    "what stays is bounded": red("test_note.py::test_long_lines_at_the_beginning_do_not_all_stay"),
    "what is shed more slowly than it comes is not let in": red(
        "test_note.py::test_what_comes_faster_than_old_logs_go_is_counted_and_not_kept"
    ),
    # --- binding ------------------------------------------------------------------------------------------------------
    "what was bound is watched": red("test_release.py::test_a_dispatch_nobody_accepts_in_5_s_goes_to_another_session"),
    "nothing is bound to a session of a silent gateway": red(
        "test_session.py::test_nothing_is_bound_to_a_session_of_a_silent_gateway"
    ),
    "a session that did not accept is given nothing more": red(
        "test_release.py::test_a_session_that_did_not_accept_gets_nothing_until_it_and_the_engine_agree"
    ),
    "a session that did not accept is asked for its list": red(
        "test_release.py::test_a_session_that_did_not_accept_gets_nothing_until_it_and_the_engine_agree"
    ),
    "what no worker ever accepts has an end": red(
        "test_expire.py::test_what_was_never_accepted_in_a_hundred_times_is_given_to_nobody_any_more[99-faulted]",
        always=True,
    ),
    "a session takes no more than its capacity": red("test_session.py::test_a_session_takes_no_more_than_its_seats"),
    "what the engine gave up keeps its seat until the worker gives it back": red(
        "test_cancel.py::test_a_worker_that_does_not_stop_is_overruled_after_the_grace_and_keeps_its_seat",
        swap=("watch(", "if fields.session then give_seat(fields.session, seat_of(fields)) end watch("),
    ),
    "a run that began is not taken back": red("test_release.py::test_a_begun_run_cannot_be_released"),
    "what was sent again is not taken back as never written": red(
        "test_release.py::test_what_was_sent_again_is_not_taken_back_as_never_written"
    ),
    # --- sessions, and what they hold ---------------------------------------------------------------------------------
    "a session is reaped only when its lease ended": red(
        "test_session.py::test_a_lease_ends_15_s_after_the_worker_was_heard_and_its_runs_go_elsewhere",
        swap=("int(steady)", "'+inf'"),
    ),
    "a session resumes only with its own token and app": red(
        "test_session.py::test_a_session_of_another_holder_or_app_is_foreign_and_an_ended_one_is_lost"
    ),
    "what its worker had begun and knows no more is lost": red(
        "test_session.py::test_a_run_that_its_worker_had_begun_and_knows_no_more_is_lost"
    ),
    "a list that is read after a standstill loses nothing": red(
        "test_session.py::test_nothing_is_lost_by_a_list_that_an_engine_reads_when_it_goes_on_after_it_stood_still"
    ),
    "what is sent again is marked": red("test_release.py::test_what_was_sent_again_is_not_taken_back_as_never_written"),
    # --- answers ------------------------------------------------------------------------------------------------------
    "the worker of a report that comes twice is asked for its list": red(
        "test_answers.py::test_a_report_that_comes_twice_asks_the_worker_what_it_knows_of"
    ),
    "the worker of a submission that comes twice is asked for its list": red(
        "test_answers.py::test_a_submission_that_comes_twice_asks_the_worker_only_while_the_run_has_not_begun"
    ),
    "hints of another gateway go to its inbox": red(
        "test_answers.py::test_a_gateway_that_submits_gets_what_was_bound_for_it_with_the_reply", always=True
    ),
    # --- clocks, timers, retention ------------------------------------------------------------------------------------
    "an outage takes at most a second of a lease": red(
        "test_session.py::test_an_engine_that_stood_still_ends_no_lease"
    ),
    "a clock that steps back takes nothing of a lease": red(
        "test_session.py::test_a_clock_that_steps_back_ends_no_lease_and_none_lasts_for_ever"
    ),
    "an emptied partition is not worked on": red("test_fire.py::test_an_emptied_partition_answers_no_epoch"),
    "data of another schema is not worked on": red(
        "test_bootstrap.py::test_data_of_another_schema_is_not_touched[1-1-older_schema]"
    ),
    "a queue limit that is not over ends nothing": red(
        "test_spoiled.py::test_a_queue_limit_that_is_looked_at_too_early_is_looked_at_again"
    ),
    "what is not over is watched on": red(
        "test_deadlines.py::test_a_run_without_a_limit_that_begins_after_its_cancel_has_the_grace_alone"
    ),
    "a cancel hides no limit": red("test_deadlines.py::test_a_cancel_does_not_hide_that_a_worker_did_not_accept"),
    "an entry under a wrong handler ends nothing that has its own": red(
        "test_spoiled.py::test_a_timer_that_another_handler_holds_goes_and_the_right_one_stays"
    ),
    "nothing terminal is retired before 60 s": red("test_retire.py::test_nothing_terminal_is_retired_before_60_s"),
    "no more tasks of a handler are kept for ever than may be": red(
        "test_keep.py::test_no_more_than_a_thousand_tasks_of_a_handler_are_kept"
    ),
    # --- records that somebody spoiled --------------------------------------------------------------------------------
    "what nobody can read goes before another takes its place": red(
        "test_scrub.py::test_a_key_of_another_type_goes_and_a_record_of_another_type_is_corrupt"
    ),
    "a name that no hint can carry is not handed out": red(
        "test_spoiled.py::test_a_trigger_name_that_no_hint_can_carry_faults_its_run"
    ),
    "a trace that no hint can carry is not handed out": red(
        "test_spoiled.py::test_a_trace_that_no_hint_can_carry_faults_its_run"
    ),
    "a date that cannot be is not believed": red(
        "test_scrub.py::test_tasks_whose_end_is_nonsense_are_remembered_from_now_on"
    ),
    "while a task lives, there is no other with its key": red(
        "test_keyed.py::test_a_unique_key_is_refused_while_a_task_with_it_lives"
    ),
    "a task has no more children than it may": red(
        "test_children.py::test_a_parent_with_too_many_children_gets_no_more"
    ),
    "a job makes no more children of a task than it may have": red(
        "test_bulk_retry.py::test_a_task_with_too_many_children_is_told_as_failed"
    ),
    # --- searches -----------------------------------------------------------------------------------------------------
    "nobody searches an emptied partition": red("test_search.py::test_no_search_goes_through_an_emptied_partition"),
    "nobody searches data of another schema": red("test_search.py::test_no_search_goes_through_data_of_another_schema"),
    # --- quotas -------------------------------------------------------------------------------------------------------
    "an app has no more lanes than it may": red("test_quotas.py::test_a_task_makes_no_lane_beyond_those_of_its_app"),
    "an app has no more handlers than it may": red(
        "test_quotas.py::test_a_worker_announces_no_more_handlers_than_its_app_may_have"
    ),
    "an app has no more delayed tasks than it may": red(
        "test_quotas.py::test_delayed_tasks_of_an_app_are_counted_and_those_that_are_due_are_not"
    ),
    "an app has no more triggers than it may": red(
        "test_quotas.py::test_a_trigger_beyond_those_of_its_app_is_refused_and_one_that_is_there_is_changed"
    ),
    "a namespace has no more apps than it may": red(
        "test_place.py::test_a_namespace_has_no_more_apps_than_it_may_have_and_others_have_theirs"
    ),
    # --- watching -----------------------------------------------------------------------------------------------------
    "what nobody watched is not passed over": red("test_watch.py::test_after_a_while_nobody_watches_and_that_is_told"),
    "who could never get on begins anew": red("test_watch.py::test_a_millisecond_too_full_to_get_on_is_a_gap"),
}
"""What is guarded, by the name in the mark."""

MARKED = {mark.name: mark for mark in marks.all_marks() if not mark.changes}
CASES = [pytest.param(name, test, id=f"{name}: {test}") for name, guard in GUARDS.items() for test in guard.tests]


def mutant(directory: Path, name: str) -> Path:
    """A copy of the Lua files without this guard."""
    copy = directory / "lua"
    shutil.copytree(LUA, copy)
    mark, guard = MARKED[name], GUARDS[name]
    file = copy / mark.file
    source = file.read_text("utf-8")
    file.write_text(marks.without(source, mark.line, always=guard.always, swap=guard.swap), "utf-8")
    return copy


@pytest.fixture(scope="module")
def host() -> Iterator[guarded.Host]:
    """Where the tests of the guards run: started once, as that takes longer than they do."""
    with guarded.host() as host:
        yield host


def node(test: str) -> str:
    """The id that pytest has for a test of the table on fakeredis."""
    function, _, case = test.partition("[")
    return f"tests/lua/{function}[fakeredis-{case}" if case else f"tests/lua/{function}[fakeredis]"


def test_each_guard_is_marked_once_and_has_a_test() -> None:
    named = Counter(mark.name for mark in marks.all_marks() if not mark.changes)

    assert [name for name, count in named.items() if count > 1] == []
    assert named.keys() == GUARDS.keys()


@pytest.mark.parametrize(("name", "test"), CASES)
def test_the_test_of_a_guard_goes_red_when_the_guard_is_deleted(
    name: str, test: str, host: guarded.Host, tmp_path: Path
) -> None:
    verdict = host.run(node(test), mutant(tmp_path, name), MARKED[name].file)

    assert verdict.red, f"nobody noticed that the guard is gone: {verdict.said}"
    assert "BadScript" not in verdict.said, verdict.said


def test_a_test_that_still_passes_has_noticed_nothing(host: guarded.Host, tmp_path: Path) -> None:
    untouched = shutil.copytree(LUA, tmp_path / "lua")
    test = next(iter(GUARDS.values())).tests[0]

    verdict = host.run(node(test), untouched, "fire.lua")

    assert verdict == guarded.Verdict(red=False, said="")
