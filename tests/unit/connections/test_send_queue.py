"""gojob_redis/connections/send_queue.py: what waits together leaves together, within the bounds of a frame."""

from typing import Any

import pytest

from gojob_redis.connections.send_queue import Kind, Outbound
from gojob_redis.domain import hints
from gojob_sdk import protocol


def assignment(run: str = "00s0000000000000000a", *, param: bytes = b"", **changes: Any) -> hints.Assignment:
    made = hints.Assignment("s1", 1, run, 1, "5-abc", "default/shop/send", 1, 0, 0, 0, False, "", 1, "", 0, param, b"")
    return made._replace(**changes)


def frames(outbound: Outbound) -> list[Any]:
    """Everything that leaves, as the worker reads it."""
    got = []
    while (data := outbound.take()) is not None:
        got.append(protocol.decode_gateway(data))
    return got


def test_items_of_a_kind_share_a_frame_and_kinds_keep_their_order() -> None:
    outbound = Outbound()
    verdict: protocol.RunVerdict = {"run": "a", "attempt": 1, "verdict": "accepted"}
    outbound.put("report", verdict)
    outbound.put("assign", assignment())
    outbound.put("report", verdict)
    outbound.put("renewed", {"type": "renewed", "seq": 1})
    outbound.put("renewed", {"type": "renewed", "seq": 2})

    first, second, third = frames(outbound)

    assert first == {"type": "verdict", "of": "report", "runs": [verdict, verdict]}
    assert second["type"] == "assign"
    assert third == {"type": "renewed", "seq": 2}
    assert (outbound.size, bool(outbound)) == (0, False)


@pytest.mark.parametrize("kind", ["report", "release"])
def test_verdicts_that_free_seats_leave_before_the_assignments_to_them(kind: Kind) -> None:
    outbound = Outbound()
    outbound.put("assign", assignment())
    outbound.put(kind, {"run": "a", "attempt": 1, "verdict": "accepted"})
    outbound.put("assign", assignment())

    assert [frame["type"] for frame in frames(outbound)] == ["verdict", "assign"]


def test_a_frame_holds_at_most_a_hundred_items() -> None:
    outbound = Outbound()
    outbound.put("assign", *[assignment()] * 205)

    assert [len(frame["runs"]) for frame in frames(outbound)] == [100, 100, 5]


def test_a_frame_holds_at_most_a_quarter_mebibyte_unless_one_item_is_larger() -> None:
    outbound = Outbound()
    outbound.put("assign", *[assignment(param=bytes(size)) for size in (200_000, 50_000, 100_000, 262_144, 1)])

    assert [len(frame["runs"]) for frame in frames(outbound)] == [2, 1, 1, 1]
    assert outbound.size == 0


def test_a_fired_shard_tells_its_slot_and_its_own_parameter() -> None:
    outbound = Outbound()
    outbound.put("assign", assignment("0Kfabcdefg00000zzz.7".lower(), shards=9, shard_param=b"\x07", trigger="nightly"))

    [frame] = frames(outbound)
    [one] = frame["runs"]

    assert (one["task"], one["shard"], one["shards"]) == ("0kfabcdefg00000zzz", 7, 9)
    assert (one["shard_param"], one["trigger"], one["slot"]) == (b"\x07", "nightly", 36**3 - 1)


def test_what_was_never_written_is_given_up_whole() -> None:
    outbound = Outbound()
    unwritten = [assignment(f"00s0000000000000000{letter}") for letter in "ab"]
    outbound.put("welcome", {"type": "sync"})
    outbound.put("assign", *unwritten)

    assert outbound.give_up() == unwritten
    assert (outbound.take(), outbound.size) == (None, 0)
