"""The limits fit each other."""

import re
from math import prod

import pytest

from gojob_redis import limits
from gojob_redis.scripts import LUA

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
}
"""Constants of the scripts, which have no way to read this module."""


def test_every_limit_is_a_positive_whole_number_in_capitals() -> None:
    table = {name: value for name, value in vars(limits).items() if name.isupper()}

    assert table
    assert {name for name, value in table.items() if type(value) is not int or value < 0} == set()
    assert {name for name, value in table.items() if value == 0} == {"PRIORITY_MIN"}


def test_a_worker_misses_more_than_one_heartbeat_before_its_lease_ends() -> None:
    assert limits.LEASE_MS >= 3 * limits.HEARTBEAT_MS
    assert limits.HEARTBEAT_MS + limits.RENEW_DEADLINE_MS < limits.LEASE_MS - limits.HEARTBEAT_MS


def test_workers_are_told_to_move_while_their_lease_lasts() -> None:
    assert limits.RENEW_EVERY_MS + limits.GATEWAY_DARK_MS < limits.LEASE_MS


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
