"""The limits fit each other."""

import re
from math import prod
from pathlib import Path

import pytest

from gojob_redis.domain import limits
from gojob_redis.engine.scripts import LUA
from gojob_redis.ops import documents
from gojob_sdk import protocol, reconnect

SAID_IN_LUA = {
    "LEASE_MS": limits.LEASE_MS,
    "FORGET_MS": limits.GATEWAY_BURY_MS,
    "ACCEPT_MS": limits.ACCEPT_MS,
    "GRACE_MS": limits.CANCEL_GRACE_MS,
    "RESEND_MS": limits.CANCEL_RESEND_MS,
    "REJECT_CAP": limits.REJECTS,
    "UNACCEPTED_CAP": limits.UNACCEPTED,
    "MATCH_ITEMS": limits.BATCH_ITEMS,
    "MATCH_BYTES": limits.BATCH_BYTES,
    "LEDGER_KEEP": limits.LEDGER_ENTRIES,
    "LEDGER_MS": limits.LEDGER_MS,
    "FLOOR_MS": limits.HISTORY_MIN_MS,
    "NOTE_BYTES": limits.LOG_PER_RUN_BYTES,
    "DAY": limits.IDEMPOTENCY_MS,
    "GROUPS": limits.GROUPS_PER_LANE,
}
"""Constants of the scripts, which have no way to read this module."""

WRITTEN_IN_LUA = {
    "EVENTS_PER_PARTITION": r"'XADD', key\.events, 'MAXLEN', '~', (\d+)",
    "EVENTS_PER_APP": r"'XADD', stream, 'MAXLEN', '~', (\d+)",
    "EVENTS_KEPT_MS": r"keep_ms = (\d+)",
    "EVENTS_EACH_MINUTE": r"if count <= (\d+)",
    "INBOX_ITEMS": r"'XADD', key\.inbox\(gateway\), 'MAXLEN', '~', (\d+)",
    "ABNORMAL_ATTEMPTS": r"'LTRIM', key\.attempts\(fields\.run\), -(\d+), -1",
    "HANDLERS_PER_APP": r"USUAL = \{handlers = (\d+)",
    "LANES_PER_APP": r"USUAL = \{.*lanes = (\d+)",
    "DELAYED_PER_APP": r"USUAL = \{.*delayed = (\d+)",
    "INLINE_PARAM_BYTES": r"if #(?:param|value) > (\d+)",
    "INBOX_PARAM_BYTES": r"size <= (\d+) then param =",
    "STEADY_WRITE_MS": r"moved >= (\d+)",
    "STEADY_STEP_MS": r"math\.min\(moved, (\d+)\)",
    "WAKE_AHEAD_MS": r"(?:steady|wall) \+ (\d+)(?: and .*)? then wake",
}
"""Where a script has the number itself."""

SAID_IN_SDK = {
    "FRAME_BYTES": protocol.MAX_FRAME_BYTES,
    "BATCH_ITEMS": protocol.BATCH_ITEMS,
    "BATCH_BYTES": protocol.BATCH_BYTES,
    "PARAM_BYTES": protocol.MAX_PARAM_BYTES,
    "RESULT_BYTES": protocol.MAX_RESULT_BYTES,
    "ERROR_BYTES": protocol.MAX_ERROR_BYTES,
    "LOG_LINE_BYTES": protocol.MAX_LOG_LINE_BYTES,
    "CAPACITY_PER_SESSION": protocol.MAX_CAPACITY,
    "HANDLERS_PER_SESSION": protocol.MAX_HANDLERS,
    "LABELS_PER_SESSION": protocol.MAX_LABELS,
    "ATTRIBUTES_PER_SESSION": protocol.MAX_ATTRIBUTES,
    "SHARDS": protocol.MAX_SHARDS,
    "RECONNECT_BUSY_MS": reconnect.HOLDING_PAUSE_S * limits.SECOND_MS,
    "RECONNECT_IDLE_MS": reconnect.IDLE_PAUSE_S * limits.SECOND_MS,
}
"""Constants of the SDK, which knows nothing of the server."""

UNITS = {"SECOND_MS", "MINUTE_MS", "HOUR_MS", "DAY_MS", "KIB", "MIB"}
ROOT = Path(__file__).parents[3]


def test_every_limit_is_a_positive_whole_number_in_capitals() -> None:
    table = {name: value for name, value in vars(limits).items() if name.isupper()}

    assert table
    assert {name for name, value in table.items() if type(value) is not int or value < 0} == set()
    assert {name for name, value in table.items() if value == 0} == {"PRIORITY_MIN"}


def test_a_worker_misses_more_than_one_heartbeat_before_its_lease_ends() -> None:
    assert limits.LEASE_MS >= 3 * limits.HEARTBEAT_MS
    assert limits.HEARTBEAT_MS + limits.RENEW_DEADLINE_MS < limits.LEASE_MS - limits.HEARTBEAT_MS


def test_workers_are_told_to_move_while_their_lease_lasts() -> None:
    assert limits.RENEW_EVERY_MS + limits.GATEWAY_UNREACHABLE_MS < limits.LEASE_MS


def test_a_cancel_is_sent_several_times_within_its_grace() -> None:
    assert limits.CANCEL_GRACE_MS >= 3 * limits.CANCEL_RESEND_MS


def test_a_batch_holds_the_largest_payload_and_a_frame_holds_a_batch() -> None:
    assert limits.PARAM_BYTES <= limits.BATCH_BYTES < limits.FRAME_BYTES


def test_terminal_work_is_kept_until_late_reports_have_come() -> None:
    assert limits.HISTORY_MIN_MS > limits.LEASE_MS + limits.REDIS_DEADLINE_MS


@pytest.mark.parametrize("name", SAID_IN_LUA)
def test_the_scripts_go_by_the_same_limits(name: str) -> None:
    said = [
        prod(map(int, value.split(" * ")))
        for path in LUA.rglob("*.lua")
        for names, values in re.findall(r"^local ([A-Z_, ]+) = ([\d *,]+)$", path.read_text("utf-8"), re.MULTILINE)
        for each, value in zip(names.split(", "), values.split(", "), strict=True)
        if each == name
    ]

    assert said
    assert set(said) == {SAID_IN_LUA[name]}


@pytest.mark.parametrize("name", WRITTEN_IN_LUA)
def test_the_scripts_have_the_same_numbers(name: str) -> None:
    said = [found for path in LUA.rglob("*.lua") for found in re.findall(WRITTEN_IN_LUA[name], path.read_text("utf-8"))]

    assert set(map(int, said)) == {getattr(limits, name)}


@pytest.mark.parametrize("name", SAID_IN_SDK)
def test_the_sdk_goes_by_the_same_limits(name: str) -> None:
    assert getattr(limits, name) == SAID_IN_SDK[name]


def test_nothing_is_written_down_that_nothing_goes_by() -> None:
    """Code, or a test such as the tables above."""
    code = [path for folder in ("gojob_redis", "bench", "tests") for path in (ROOT / folder).rglob("*.py")]
    code.remove(Path(limits.__file__))
    used = {word for path in code for word in re.findall(r"\b[A-Z_]+\b", path.read_text("utf-8"))}

    assert {name for name in vars(limits) if name.isupper()} - used == set()


def test_every_limit_says_what_it_limits() -> None:
    told = {name: said for _, entries in documents.limits_of(limits) for name, _, said in entries}

    assert told.keys() == {name for name in vars(limits) if name.isupper()} - UNITS
    assert {name for name, said in told.items() if not said} == set()
