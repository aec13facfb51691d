"""The limits fit each other."""

from gojob_redis import limits


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
