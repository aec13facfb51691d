"""The limits fit each other."""

import re
from pathlib import Path

import pytest

from gojob_redis.domain import limits
from gojob_redis.engine.inlining import code_of
from gojob_redis.engine.scripts import LUA
from gojob_redis.ops import documents
from gojob_sdk import protocol

LITERALS = {
    ("bootstrap.lua", 1_000): "ms of a second, µs of a ms",
    ("gauge.lua", 1_000): "ms of a second, µs of a ms",
    ("lib/clock.lua", 1_000): "ms of a second, µs of a ms",
    ("lib/finish.lua", 1_000): "thousandths of a ratio",
    ("lib/seat.lua", 20): "digits of two numbers",
    ("lib/seat.lua", 1_000): "what `unpack` takes at a time",
    ("lib/seat.lua", 4_096): "bytes that the sum of a group looks at",
    ("watch.lua", 1_000): "ms of a second, µs of a ms",
    ("lib/words.lua", 1_000): "what `unpack` takes at a time",
}
"""Numbers of the scripts that are no limit, though one has the same value."""

SAID_IN_SDK = {
    "FRAME_BYTES": protocol.MAX_FRAME_BYTES,
    "BATCH_ITEMS": protocol.BATCH_ITEMS,
    "BATCH_BYTES": protocol.BATCH_BYTES,
    "PARAM_BYTES": protocol.MAX_PARAM_BYTES,
    "HANDLERS_PER_SESSION": protocol.MAX_HANDLERS,
    "LABELS_PER_SESSION": protocol.MAX_LABELS,
    "ATTRIBUTES_PER_SESSION": protocol.MAX_ATTRIBUTES,
    "SHARDS": protocol.MAX_SHARDS,
    "REPORT_DELAY_MS": protocol.MAX_REPORT_DELAY_MS,
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


def test_no_script_repeats_a_limit() -> None:
    values = {value for name, value in vars(limits).items() if name.isupper() and value > 15}
    repeated = {
        (path.relative_to(LUA).as_posix(), int(number))
        for path in LUA.rglob("*.lua")
        for line in path.read_text("utf-8").splitlines()
        for number in re.findall(r"(?<![\w.])\d+(?![\w.])", re.sub(r"'[^']*'", "", code_of(line)))
        if int(number) in values
    }

    assert repeated == LITERALS.keys()


@pytest.mark.parametrize("name", SAID_IN_SDK)
def test_the_sdk_goes_by_the_same_limits(name: str) -> None:
    assert getattr(limits, name) == SAID_IN_SDK[name]


def test_nothing_is_written_down_that_nothing_goes_by() -> None:
    """What the service, the SDK and the benchmark are made of; a test that knows a limit keeps nothing to it.

    Except those that the SDK keeps under a name of its own, see above.
    """
    code = [path for folder in ("gojob_redis", "sdk/gojob_sdk", "bench") for path in (ROOT / folder).rglob("*.py")]
    code.remove(Path(limits.__file__))
    used = {
        word for path in [*code, *LUA.rglob("*.lua")] for word in re.findall(r"\b[A-Z_]+\b", path.read_text("utf-8"))
    }

    assert {name for name in vars(limits) if name.isupper()} - used - SAID_IN_SDK.keys() == set()


def test_every_limit_says_what_it_limits() -> None:
    told = {name: said for _, entries in documents.limits_of(limits) for name, _, said in entries}

    assert told.keys() == {name for name in vars(limits) if name.isupper()} - UNITS
    assert {name for name, said in told.items() if not said} == set()
