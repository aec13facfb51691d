"""gojob_redis/domain/retention.py: what is said, and what holds."""

import pytest

from gojob_redis.domain import limits, retention
from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.retention import OF_HANDLER, USUAL, Retention


def test_a_handler_goes_before_its_namespace_and_that_before_the_usual() -> None:
    namespace = USUAL.changed({"done_ms": 5, "failed_count": 7})

    own = retention.of_handler(namespace, [None, b"3", None, b"junk"])

    assert own == Retention(done_ms=5, done_count=3, failed_count=7)
    assert own.failed_ms == limits.FAILED_MS


def test_none_goes_back_to_the_usual_and_only_what_moved_is_stored() -> None:
    changed = USUAL.changed({"done_ms": 5, "failed_bytes": 9})

    assert changed.moved == {"done_ms": 5, "failed_bytes": 9}
    assert changed.changed({"done_ms": None}).moved == {"failed_bytes": 9}


def test_a_record_of_a_later_release_gives_what_is_known() -> None:
    assert retention.of_record(b'{"retention": {"done_ms": 5, "cold_ms": 1}}') == Retention(done_ms=5)
    assert retention.of_record(b"{}") == retention.of_record(None) == USUAL


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"cold_ms": 1}, "unknown_setting"),
        ({"failed_count": 1}, "unknown_setting"),
        ({"done_ms": -1}, "bad_setting"),
        ({"done_ms": limits.RETENTION_MAX_MS + 1}, "bad_setting"),
        ({"done_count": limits.RETENTION_MAX + 1}, "bad_setting"),
        ({"done_bytes": limits.RETENTION_MAX_BYTES + 1}, "bad_setting"),
    ],
)
def test_nonsense_is_refused(values: dict[str, int | None], code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        retention.checked(values, OF_HANDLER)

    assert refused.value.code == code
