"""gojob_redis/domain/fingerprint.py: failures that differ only in numbers and ids are one."""

import pytest

from gojob_redis.domain.fingerprint import MESSAGE_CHARS, TYPE_CHARS, failure_of, packed, unpacked


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("order 17 not found", "order 4711 not found"),
        ("took 1.5 s", "took 20.25 s"),
        ("no user 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "no user 9b2504e0-4f89-11d3-9a0c-0305e82c3aaa"),
        ("object at 0x7f3c2a", "object at 0x55aa"),
        ("task 03sabc123def456ghi01 is gone", "task 11sxyz987uvw654rst99 is gone"),
        ("10.0.0.1:5432 refused", "10.0.0.22:6000 refused"),
    ],
)
def test_numbers_and_ids_make_no_difference(one: str, two: str) -> None:
    assert failure_of("ValueError", one) == failure_of("ValueError", two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("ValueError", "no"), ("KeyError", "no")),
        (("ValueError", "cannot read"), ("ValueError", "cannot write")),
        (("ValueError", "step of order"), ("ValueError", "step of ordering")),
    ],
)
def test_another_type_or_text_is_another_failure(one: tuple[str, str], two: tuple[str, str]) -> None:
    assert failure_of(*one).digest != failure_of(*two).digest


def test_what_is_shown_is_short_and_on_one_line() -> None:
    failure = failure_of("T" * 500, "line\x1d one\n" + "word " * 1_000)

    assert len(failure.type) == TYPE_CHARS
    assert len(failure.message) <= MESSAGE_CHARS
    assert failure.message.isprintable()
    assert unpacked(packed(failure)) == failure


def test_another_version_of_the_handler_makes_no_other_failure() -> None:
    one, two = failure_of("E", "no", "specs-1"), failure_of("E", "no", "specs-2")

    assert (one.digest, unpacked(packed(one)).specs, unpacked(packed(two)).specs) == (two.digest, "specs-1", "specs-2")


def test_what_no_text_can_hold_is_replaced() -> None:
    assert unpacked(packed(failure_of("E", "half \ud800"))).message == "half ?"


@pytest.mark.parametrize("value", [b"", b"a\x1db", b"a\x1db\x1dc", b"a\x1db\x1dc\x1dd\x1de"])
def test_what_is_no_failure_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="unpack"):
        unpacked(value)
