"""Each guard of the scripts has a test that goes red when the guard is deleted.

A mutant is a copy of the Lua files with one guard taken out. The named test runs on it in a process of its own and must
fail; on the untouched files the same test passes as part of the suite.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gojob_redis.engine.scripts import LUA
from tests.tools import guarded


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard: where it stands, what is left when it is deleted, and the test that must notice."""

    name: str
    file: str
    text: str
    without: str
    test: str
    case: str = ""
    """Which of its cases, where it has several."""


STRANGER = "test_strangers.py::test_"

GUARDS = (
    Guard(
        "slot: a slot below the watermark is never fired",
        "fire.lua",
        "if slot > trigger.last_slot then fire_slot(trigger, slot) end",
        "fire_slot(trigger, slot)",
        "test_fire.py::test_a_slot_below_the_watermark_is_never_fired_again",
    ),
    Guard(
        "revision: a plan continues only what it was made for",
        "plan.lua",
        "tonumber(facts[2]) ~= after",
        "false",
        "test_fire.py::test_a_plan_continues_only_what_it_was_made_for",
    ),
    Guard(
        "fence: a report of a former owner is not accepted",
        "lib/record.lua",
        "fields.session == session and fields.fence == fence",
        "fields.session == session",
        "test_report.py::test_a_report_of_an_attempt_before_is_fenced_where_the_next_is_the_same_sessions",
    ),
    Guard(
        "fence: a start of a former owner is not accepted",
        "start.lua",
        "fields.corrupt or not is_owned(fields, session, fence)",
        "fields.corrupt",
        "test_release.py::test_a_dispatch_nobody_accepts_in_5_s_goes_to_another_session",
    ),
    Guard(
        "state: a report of a run that is over changes nothing",
        "report.lua",
        "elseif not is_bound(fields) then",
        "elseif false then",
        "test_report.py::test_the_same_report_twice_is_answered_duplicate_and_changes_nothing",
    ),
    Guard(
        "lease end: a session is reaped only when its lease ended",
        "reap.lua",
        "redis.call('ZRANGE', key.leases, '-inf', int(steady), 'BYSCORE'",
        "redis.call('ZRANGE', key.leases, '-inf', '+inf', 'BYSCORE'",
        "test_session.py::test_a_lease_ends_15_s_after_the_worker_was_heard_and_its_runs_go_elsewhere",
    ),
    Guard(
        "accept limit: a dispatch is watched",
        "lib/match.lua",
        "  arm(lane.handler, fields.run, steady + ACCEPT_MS)\n",
        "",
        "test_release.py::test_a_dispatch_nobody_accepts_in_5_s_goes_to_another_session",
    ),
    Guard(
        "accept limit: a session that did not accept is put out of waiting",
        "expire.lua",
        "if holder then turn_off(holder, 'unaccepted') end",
        "",
        "test_release.py::test_a_session_that_did_not_accept_gets_nothing_until_it_and_the_engine_agree",
    ),
    Guard(
        "accept limit: a session that did not accept is asked for its list",
        "expire.lua",
        "if holder and holder.off ~= 'unaccepted' then tell_sync(holder) end",
        "",
        "test_release.py::test_a_session_that_did_not_accept_gets_nothing_until_it_and_the_engine_agree",
    ),
    Guard(
        "resume: what its worker had begun and knows no more is lost",
        "resume.lua",
        "elseif (tonumber(fields.started) or 0) + LIST_MS < wall and",
        "elseif false and",
        "test_session.py::test_a_run_that_its_worker_had_begun_and_knows_no_more_is_lost",
    ),
    Guard(
        "seat: a session takes no more than its capacity",
        "lib/seat.lua",
        "return not session.off and session.used < session.capacity",
        "return not session.off",
        "test_session.py::test_a_session_takes_no_more_than_its_seats",
    ),
    Guard(
        "seat: what the engine gave up keeps its seat until the worker gives it back",
        "lib/finish.lua",
        "  disarm(handler, fields.run)\n  local reserved = fields.reserved",
        "  disarm(handler, fields.run)\n  if fields.session then give_seat(fields.session, seat_of(fields)) end\n"
        "  local reserved = fields.reserved",
        "test_cancel.py::test_a_worker_that_does_not_stop_is_overruled_after_the_grace_and_keeps_its_seat",
    ),
    Guard(
        "steady clock: an outage takes at most a second of a lease",
        "lib/clock.lua",
        "math.max(0, math.min(moved, 1000))",
        "moved",
        "test_session.py::test_an_engine_that_stood_still_ends_no_lease",
    ),
    Guard(
        "steady clock: a step back takes nothing",
        "lib/clock.lua",
        "math.max(0, math.min(moved, 1000))",
        "math.min(moved, 1000)",
        "test_session.py::test_a_clock_that_steps_back_ends_no_lease_and_none_lasts_for_ever",
    ),
    Guard(
        "gateway: nothing is bound to a session whose gateway is silent",
        "lib/match.lua",
        "if not gateway_heard(session.gateway) then",
        "if false then",
        "test_session.py::test_nothing_is_bound_to_a_session_of_a_silent_gateway",
    ),
    Guard(
        "holder: a session resumes only with its own token and app",
        "resume.lua",
        "if facts[1] ~= app or facts[2] ~= holder then return {'foreign'} end",
        "",
        "test_session.py::test_a_session_of_another_holder_or_app_is_foreign_and_an_ended_one_is_lost",
    ),
    Guard(
        "wall: only the session of a run reports it",
        "report.lua",
        "elseif not is_owned(fields, session, fence) then",
        "elseif fields.fence ~= fence then",
        STRANGER + "what_a_stranger_says_changes_nothing",
        "report ok-running",
    ),
    Guard(
        "wall: only the session of a run sets it aside",
        "report.lua",
        "if is_holder(fields, session, run .. '@' .. int(attempt)) then set_aside(run, nil) end",
        "set_aside(run, nil)",
        STRANGER + "a_stranger_sets_nothing_aside",
        "a string",
    ),
    Guard(
        "wall: only the session of a run starts it",
        "start.lua",
        "not is_owned(fields, session, fence)",
        "fields.fence ~= fence",
        STRANGER + "what_a_stranger_says_changes_nothing",
        "start-bound",
    ),
    Guard(
        "wall: only the session of a run hands it back",
        "release.lua",
        "not is_owned(fields, session, fence)",
        "fields.fence ~= fence",
        STRANGER + "a_stranger_hands_nothing_back_and_waits_itself_for_no_more",
        "draining-bound",
    ),
    Guard(
        "wall: only the session of a run keeps it when it comes home",
        "resume.lua",
        "not is_owned(fields, session, fence)",
        "fields.fence ~= fence",
        STRANGER + "a_stranger_begins_no_run_by_coming_home_with_it",
    ),
    Guard(
        "wall: only the session of a run has heard its cancel",
        "acknowledge.lua",
        "is_attempt_of(fields, session, attempt)",
        "fields.attempt == int(attempt)",
        STRANGER + "a_stranger_cannot_keep_a_cancel_from_being_sent_again",
    ),
    Guard(
        "wall: only the session of a run writes its log",
        "note.lua",
        "not is_attempt_of(fields, session, attempt)",
        "fields.attempt ~= int(attempt)",
        STRANGER + "what_a_stranger_says_changes_nothing",
        "note-running",
    ),
    Guard(
        "log: what comes more than 10 s after the end is not kept",
        "note.lua",
        " or is_over(fields)",
        "",
        "test_note.py::test_a_line_that_a_report_overtook_counts_until_10_s_after_the_end",
        "ok",
    ),
    Guard(
        "id: the same submission is one task",
        "submit.lua",
        "elseif records[task] or redis.call('EXISTS', key.task(task)) == 1 then",
        "elseif false then",
        "test_submit.py::test_the_same_task_twice_is_one_task",
    ),
    Guard(
        "release: a run that began is not taken back",
        "release.lua",
        "elseif fields.state ~= 'waiting_to_run' then",
        "elseif false then",
        "test_release.py::test_a_begun_run_cannot_be_released",
    ),
    Guard(
        "release: what was sent again is not taken back as never written",
        "release.lua",
        "fields.resent == int(attempt)",
        "false",
        "test_release.py::test_what_was_sent_again_is_not_taken_back_as_never_written",
    ),
    Guard(
        "resume: what is sent again is marked",
        "resume.lua",
        "    put(fields.run, 'resent', fields.attempt)\n",
        "",
        "test_release.py::test_what_was_sent_again_is_not_taken_back_as_never_written",
    ),
    Guard(
        "floor: nothing terminal is retired before 60 s",
        "retire.lua",
        "age < FLOOR_MS or ",
        "",
        "test_retire.py::test_nothing_terminal_is_retired_before_60_s",
    ),
    Guard(
        "overlap: a live task skips the slot",
        "fire.lua",
        "if #live > 0 then return 'overlap' end",
        "",
        "test_fire.py::test_overlap_skip_skips_while_a_task_lives_and_says_so",
    ),
    Guard(
        "fire: a call that has worked long enough leaves the rest to the next",
        "fire.lua",
        "enough = has_clock and handled % LOOK_EVERY == 0 and (clock() - began) * 1e6 >= cpu_us",
        "enough = false",
        "test_fire.py::test_a_call_that_took_long_leaves_the_rest_to_the_next",
    ),
    Guard(
        "epoch: an emptied partition is not worked on",
        "lib/clock.lua",
        "if not meta[1] then return {'no_epoch'} end",
        "",
        "test_fire.py::test_an_emptied_partition_answers_no_epoch",
    ),
    Guard(
        "schema: data of another schema is not worked on",
        "lib/clock.lua",
        "  if schema ~= SCHEMA then return {schema > SCHEMA and 'newer_schema' or 'older_schema', schema} end\n",
        "",
        "test_bootstrap.py::test_data_of_another_schema_is_not_touched",
        "1-1-older_schema",
    ),
    Guard(
        "id: the same submission twice in one call is one task",
        "submit.lua",
        "records[task] or ",
        "",
        "test_submit.py::test_the_same_task_twice_in_one_call_is_one_task",
    ),
    Guard(
        "timer: a queue limit that is not over ends nothing",
        "expire.lua",
        "if steady < expires then",
        "if false then",
        "test_spoiled.py::test_a_queue_limit_that_is_looked_at_too_early_is_looked_at_again",
    ),
    Guard(
        "timer: one that was left over ends nothing",
        "expire.lua",
        "  if not expires then return end\n",
        "  expires = expires or 0\n",
        "test_spoiled.py::test_a_timer_that_was_left_over_ends_no_run_that_waits_in_its_lane",
    ),
    Guard(
        "record: what nobody can read goes before another takes its place",
        "lib/record.lua",
        "    if replaced[run] then redis.call('UNLINK', key.task(run)) end\n",
        "",
        "test_scrub.py::test_a_key_of_another_type_goes_and_a_record_of_another_type_is_corrupt",
    ),
    Guard(
        "record: a name that no hint can carry is not handed out",
        "lib/record.lua",
        "fields.trigger and string.find(fields.trigger, '\\31', 1, true)",
        "false",
        "test_spoiled.py::test_a_trigger_name_that_no_hint_can_carry_faults_its_run",
    ),
    Guard(
        "history: a date that cannot be is not believed",
        "lib/scrub_runs.lua",
        "    if ended > wall or ended < (tonumber(fields.made) or 0) then ended = wall end\n",
        "",
        "test_scrub.py::test_tasks_whose_end_is_nonsense_are_remembered_from_now_on",
    ),
    Guard(
        "quota: an app has no more lanes than it may",
        "lib/quotas.lua",
        "redis.call('SCARD', key.app_lanes(app)) >= quotas_of(app).lanes",
        "false",
        "test_quotas.py::test_a_task_makes_no_lane_beyond_those_of_its_app",
    ),
    Guard(
        "quota: an app has no more handlers than it may",
        "lib/quotas.lua",
        "redis.call('ZCARD', key.app_handlers(app)) + fresh <= quotas_of(app).handlers",
        "true",
        "test_quotas.py::test_a_worker_announces_no_more_handlers_than_its_app_may_have",
    ),
    Guard(
        "quota: an app has no more delayed tasks than it may",
        "submit.lua",
        "at > wall and is_delayed_full(app)",
        "false",
        "test_quotas.py::test_delayed_tasks_of_an_app_are_counted_and_those_that_are_due_are_not",
    ),
    Guard(
        "quota: an app has no more triggers than it may",
        "define.lua",
        "redis.call('HLEN', key.triggers(app)) >= most",
        "false",
        "test_quotas.py::test_a_trigger_beyond_those_of_its_app_is_refused_and_one_that_is_there_is_changed",
    ),
    Guard(
        "quota: a namespace has no more apps than it may",
        "place.lua",
        "count >= most or ",
        "",
        "test_place.py::test_a_namespace_has_no_more_apps_than_it_may_have_and_others_have_theirs",
    ),
    Guard(
        "uid: a new trigger takes nobody's place",
        "define.lua",
        "redis.call('EXISTS', key.trigger(uid), key.ledger(uid), key.removed(uid)) > 0",
        "false",
        "test_define.py::test_a_uid_that_another_trigger_has_is_taken_and_changes_nothing",
    ),
    Guard(
        "trigger: one whose words nobody could have written fires nothing",
        "lib/facts.lua",
        "if not values[i] then return nil end",
        "values[i] = values[i] or ''",
        "test_fire.py::test_a_trigger_whose_words_nobody_could_have_written_fires_no_more",
        "labels-None",
    ),
    Guard(
        "trigger: required labels that are no pairs are offered by nobody",
        "lib/facts.lua",
        " or not are_pairs(labels)",
        "",
        "test_fire.py::test_a_trigger_whose_words_nobody_could_have_written_fires_no_more",
        "labels-env=?",
    ),
    Guard(
        "facts: a definition writes them itself",
        "define.lua",
        "facts_anew(uid, int(seen + 1))\n",
        "",
        "test_fire.py::test_a_trigger_fires_as_it_was_defined_whatever_became_of_its_fields",
    ),
    Guard(
        "watermark: one that is nothing stops no partition",
        "fire.lua",
        "tonumber(last_slot) or 0",
        "tonumber(last_slot)",
        "test_fire.py::test_a_number_that_is_nothing_stops_no_other_trigger",
        "last_slot",
    ),
    Guard(
        "facts: those of another revision are not what was defined",
        "lib/facts.lua",
        "revision ~= wanted",
        "not revision",
        "test_fire.py::test_a_definition_by_a_release_that_knows_no_facts_is_what_fires",
    ),
    Guard(
        "accept limit: what no worker ever accepts has an end",
        "expire.lua",
        "if times < UNACCEPTED_CAP then",
        "if true then",
        "test_expire.py::test_what_was_never_accepted_in_a_hundred_times_is_given_to_nobody_any_more",
        "99-faulted",
    ),
    Guard(
        "list: one that is read after a standstill loses nothing",
        "resume.lua",
        " and jumped_at + STALE_MS < steady",
        "",
        "test_session.py::test_nothing_is_lost_by_a_list_that_an_engine_reads_when_it_goes_on_after_it_stood_still",
    ),
    Guard(
        "answers: the worker of a report that comes twice is asked for its list",
        "report.lua",
        "    doubt(session)\n",
        "",
        "test_answers.py::test_a_report_that_comes_twice_asks_the_worker_what_it_knows_of",
    ),
    Guard(
        "answers: the worker of a submission that comes twice is asked for its list",
        "submit.lua",
        "if fields and fields.state == 'waiting_to_run' and fields.session then doubt(fields.session) end",
        "",
        "test_answers.py::test_a_submission_that_comes_twice_asks_the_worker_only_while_the_run_has_not_begun",
    ),
    Guard(
        "answers: hints of another gateway go to its inbox",
        "lib/inbox.lua",
        "gateway == asking",
        "asking",
        "test_answers.py::test_a_gateway_that_submits_gets_what_was_bound_for_it_with_the_reply",
    ),
)


def mutant(directory: Path, guard: Guard) -> Path:
    """A copy of the Lua files without this guard."""
    copy = directory / "lua"
    shutil.copytree(LUA, copy)
    file = copy / guard.file
    source = file.read_text("utf-8")
    assert source.count(guard.text) == 1, f"{guard.file} has {source.count(guard.text)} places that read {guard.text!r}"
    file.write_text(source.replace(guard.text, guard.without), "utf-8")
    return copy


@pytest.fixture(scope="module")
def host() -> Iterator[guarded.Host]:
    """Where the tests of the guards run: started once, as that takes longer than they do."""
    with guarded.host() as host:
        yield host


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_the_test_of_a_guard_goes_red_when_the_guard_is_deleted(
    guard: Guard, host: guarded.Host, tmp_path: Path
) -> None:
    case = f"fakeredis-{guard.case}" if guard.case else "fakeredis"

    verdict = host.run(f"tests/lua/{guard.test}[{case}]", mutant(tmp_path, guard), guard.file)

    assert verdict.red, f"nobody noticed that the guard is gone: {verdict.said}"
    assert "BadScript" not in verdict.said, verdict.said


def test_a_test_that_still_passes_has_noticed_nothing(host: guarded.Host, tmp_path: Path) -> None:
    untouched = shutil.copytree(LUA, tmp_path / "lua")

    verdict = host.run(
        "tests/lua/test_report.py::test_the_same_report_twice_is_answered_duplicate_and_changes_nothing[fakeredis]",
        untouched,
        "report.lua",
    )

    assert verdict == guarded.Verdict(red=False, said="")
