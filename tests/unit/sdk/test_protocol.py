"""protocol: the documented bytes, what is refused, and where the refusal points."""

import ast
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gojob_sdk import protocol
from gojob_sdk.protocol import BadFrame, TooLarge, batches, decode_gateway, decode_worker, encode
from tests.unit.sdk import frames

DOC = Path(__file__).parents[3] / "docs" / "protocol.md"
EXAMPLES = [
    (ast.literal_eval(frame), bytes.fromhex(text))
    for frame, text in re.findall(r"```python\n(.*?)```\n\n```hex\n(.*?)```", DOC.read_text("utf-8"), re.DOTALL)
]
FROM_WORKER = {protocol.frame_type(frame) for frame in get_args(protocol.WorkerFrame)}
FROM_GATEWAY = {protocol.frame_type(frame) for frame in get_args(protocol.GatewayFrame)}


def example(word: str) -> dict[str, Any]:
    return next(dict(frame) for frame, _ in EXAMPLES if frame["type"] == word)


def decode(frame: dict[str, Any]) -> Any:
    """Read a frame that ``encode`` would not have to accept."""
    data: Any = msgpack.packb(frame)
    return decode_worker(data) if frame["type"] in FROM_WORKER else decode_gateway(data)


# --- the documented bytes ---------------------------------------------------------------------------------------------


def test_every_frame_type_has_an_example_in_the_document() -> None:
    assert {frame["type"] for frame, _ in EXAMPLES} == FROM_WORKER | FROM_GATEWAY


@pytest.mark.parametrize(("frame", "data"), EXAMPLES, ids=[frame["type"] for frame, _ in EXAMPLES])
def test_an_example_is_its_bytes_and_the_bytes_are_the_example(frame: Any, data: bytes) -> None:
    assert encode(frame) == data
    assert decode(frame) == frame


@pytest.mark.parametrize("word", sorted(FROM_WORKER | FROM_GATEWAY))
def test_examples_show_every_field(word: str) -> None:
    kind = next(
        frame
        for frame in (*get_args(protocol.WorkerFrame), *get_args(protocol.GatewayFrame))
        if protocol.frame_type(frame) == word
    )

    assert set(example(word)) == set(kind.__annotations__)


# --- what is ignored --------------------------------------------------------------------------------------------------


def test_an_unknown_field_is_dropped() -> None:
    assert decode({**example("renew"), "mood": "good"}) == example("renew")


def test_an_unknown_type_is_no_frame_and_no_error() -> None:
    assert decode_gateway(msgpack.packb({"type": "praise"})) is None


def test_a_frame_of_the_other_side_is_an_unknown_type() -> None:
    assert decode_worker(encode({"type": "sync"})) is None


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "frame"),
        (b"\xc1", "frame"),
        (b"\x90", "frame"),
        (b"\x80\x80", "frame"),
        (b"\x80", "type"),
        (b"\x81\xa4type\x05", "type"),
        (b"\x81\xa4type\xa4\xff\xff\xff\xff", "frame"),
        (b"\x91" * 9_000, "frame"),
        (b"\x81\x01\x02", "frame"),
        (b"\xdd\xff\xff\xff\xff", "frame"),
        (msgpack.packb({"type": "renew", "more": list(range(5_000))}), "frame"),
    ],
)
def test_bytes_that_are_no_frame_are_refused(data: bytes, field: str) -> None:
    with pytest.raises(BadFrame) as caught:
        decode_worker(data)

    assert caught.value.field == field
    assert caught.value.close_code == protocol.CLOSE_BAD_FRAME


def test_a_message_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadFrame) as caught:
        decode_worker(b"\xc1" * (protocol.MAX_FRAME_BYTES + 1))

    assert caught.value.close_code == protocol.CLOSE_TOO_LARGE


REF = {"run": "r1", "attempt": 1, "fence": "17-ab"}
OUTCOME = frames.outcome("r1")
LONG_ERROR = {"type": "", "message": "é" * 9_000, "traceback": ""}


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        ({"type": "renew", "seq": -1, "held": 0}, "renew.seq"),
        ({"type": "renew"}, "renew"),
        ({"type": "renew", "held": 1}, "renew"),
        ({"type": "renew", "seq": 1, "held": True}, "renew.held"),
        ({"type": "renew", "seq": 1, "held": 1.0}, "renew.held"),
        ({"type": "renew", "seq": "1", "held": 1}, "renew.seq"),
        ({"type": "renew", "seq": 1 << 60, "held": 1}, "renew.seq"),
        ({"type": "renew", "capacity": 1_001}, "renew.capacity"),
        ({"type": "start", "runs": {}}, "start.runs"),
        ({"type": "start", "runs": [REF] * 101}, "start.runs"),
        ({"type": "start", "runs": [REF, 7]}, "start.runs[1]"),
        ({"type": "start", "runs": [REF, {**REF, "attempt": 0}]}, "start.runs[1].attempt"),
        ({"type": "start", "runs": [{**REF, "attempt": True}]}, "start.runs[0].attempt"),
        ({"type": "start", "runs": [{**REF, "run": b"r1"}]}, "start.runs[0].run"),
        ({"type": "start", "runs": [{**REF, "run": ""}]}, "start.runs[0].run"),
        ({"type": "start", "runs": [{**REF, "run": "r1\n"}]}, "start.runs[0].run"),
        ({"type": "start", "runs": [{**REF, "run": "r{1}"}]}, "start.runs[0].run"),
        ({"type": "start", "runs": [{**REF, "run": "r" * 65}]}, "start.runs[0].run"),
        ({"type": "start", "runs": [{**REF, "fence": "-ab"}]}, "start.runs[0].fence"),
        ({"type": "start", "runs": [{**REF, "fence": "17-"}]}, "start.runs[0].fence"),
        ({"type": "start", "runs": [{**REF, "fence": 17}]}, "start.runs[0].fence"),
        ({"type": "release", "runs": [REF], "reason": "bored"}, "release.reason"),
        ({"type": "report", "outcomes": [{**OUTCOME, "outcome": "fine"}]}, "report.outcomes[0].outcome"),
        ({"type": "report", "outcomes": [{**OUTCOME, "result": "text"}]}, "report.outcomes[0].result"),
        ({"type": "report", "outcomes": [{**OUTCOME, "result": None}]}, "report.outcomes[0].result"),
        ({"type": "report", "outcomes": [{**OUTCOME, "result": bytes(262_145)}]}, "report.outcomes[0].result"),
        ({"type": "report", "outcomes": [{**OUTCOME, "disposition": "later"}]}, "report.outcomes[0].disposition"),
        ({"type": "report", "outcomes": [{**OUTCOME, "delay_ms": -1}]}, "report.outcomes[0].delay_ms"),
        ({"type": "report", "outcomes": [{**OUTCOME, "delay_ms": 604_800_001}]}, "report.outcomes[0].delay_ms"),
        (
            {"type": "report", "outcomes": [{**OUTCOME, "error": {"type": "E", "message": ""}}]},
            "report.outcomes[0].error.traceback",
        ),
        (
            {
                "type": "report",
                "outcomes": [{**OUTCOME, "error": LONG_ERROR}],
            },
            "report.outcomes[0].error",
        ),
        (
            {"type": "note", "entries": [{**REF, "log": [{"at": 1, "level": "info", "text": "é" * 9_000}]}]},
            "note.entries[0].log[0].text",
        ),
        (
            {"type": "note", "entries": [{**REF, "log": [{"at": 1, "level": "loud", "text": ""}]}]},
            "note.entries[0].log[0].level",
        ),
        (
            {"type": "note", "entries": [{**REF, "progress": {"percent": float("nan"), "message": ""}}]},
            "note.entries[0].progress.percent",
        ),
        ({"type": "hello"}, "hello.protocol"),
        ({**example("hello"), "app": "Shop"}, "hello.app"),
        ({**example("hello"), "namespace": "a" * 65}, "hello.namespace"),
        ({**example("hello"), "handlers": []}, "hello.handlers"),
        ({**example("hello"), "handlers": ["a b"]}, "hello.handlers[0]"),
        ({**example("hello"), "handlers": ["a"] * 1_025}, "hello.handlers"),
        ({**example("hello"), "labels": {"env": ""}}, "hello.labels.env"),
        ({**example("hello"), "labels": {f"k{n}": "v" for n in range(17)}}, "hello.labels"),
        ({**example("hello"), "attributes": ["host"]}, "hello.attributes[0]"),
        ({**example("hello"), "attributes": ["a=b"] * 9}, "hello.attributes"),
        ({**example("hello"), "worker": "w" * 129}, "hello.worker"),
        ({**example("hello"), "worker": "w\x1fadmin"}, "hello.worker"),
        ({**example("hello"), "worker": "-w"}, "hello.worker"),
        ({**example("hello"), "worker": ""}, "hello.worker"),
        ({**example("hello"), "host": "db7\x1b[2J"}, "hello.host"),
        ({**example("hello"), "sdk": "raw\n"}, "hello.sdk"),
        ({**example("hello"), "held": [{**REF, "started": 1}]}, "hello.held[0].started"),
        ({**example("welcome"), "heartbeat_ms": 0}, "welcome.heartbeat_ms"),
        ({"type": "assign", "runs": [frames.assignment("r1", shards=0)]}, "assign.runs[0].shards"),
    ],
)
def test_a_field_that_is_wrong_is_named(frame: dict[str, Any], field: str) -> None:
    with pytest.raises(BadFrame) as caught:
        decode(frame)

    assert caught.value.field == field


def test_the_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(BadFrame) as caught:
        decode({"type": "start", "runs": [{**REF, "run": "secret secret"}]})

    assert "secret" not in str(caught.value)


def test_a_frame_of_ours_over_the_limit_is_not_sent() -> None:
    with pytest.raises(TooLarge, match="1048576"):
        encode({"type": "report", "outcomes": [frames.outcome("r1", result=bytes(1 << 20))]})


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (decode_worker, decode_gateway):
        try:
            read(data)
        except BadFrame:
            continue


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(EXAMPLES), st.integers(0, 1_000), st.binary(min_size=1, max_size=3))
def test_a_damaged_frame_is_read_or_refused(example: tuple[Any, bytes], at: int, damage: bytes) -> None:
    data = example[1]
    at %= len(data)
    damaged = data[:at] + damage + data[at + len(damage) :]

    for read in (decode_worker, decode_gateway):
        try:
            frame: Any = read(damaged)
        except BadFrame:
            continue
        if frame is not None:
            assert read(encode(frame)) == frame


# --- large frames -----------------------------------------------------------------------------------------------------

LISTS = b"\xdd" + (900_000).to_bytes(4, "big") + b"\x90" * 900_000
"""900 KB that would unfold into 60 MB."""


def named(name: str, value: bytes) -> bytes:
    packed: bytes = msgpack.packb(name)
    return packed + value


def grown_by(read: Callable[[], object]) -> int:
    """How many bytes reading takes at most, besides the frame."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_is_ignored_is_not_unfolded() -> None:
    kind, seq = named("type", msgpack.packb("renew")), named("seq", b"\x03")
    known = b"\x83" + named("mood", LISTS) + seq + kind
    unknown = b"\x82" + named("mood", LISTS) + named("type", msgpack.packb("praise"))

    assert decode_worker(known) == {"type": "renew", "seq": 3}
    assert decode_worker(unknown) is None
    assert grown_by(lambda: decode_worker(known)) < 2_000_000
    assert grown_by(lambda: decode_worker(unknown)) < 2_000_000
    assert grown_by(lambda: decode_gateway(unknown)) < 2_000_000


def test_a_batch_of_assignments_is_a_small_frame() -> None:
    """Nothing is counted in it, item by item; it comes from no stranger."""
    data = encode({"type": "assign", "runs": [frames.assignment(f"00s01234567{n:09}") for n in range(100)]})

    assert protocol.SMALL_FRAME_BYTES < len(data) <= protocol.TRUSTED_FRAME_BYTES


def test_a_large_frame_is_read_like_a_small_one() -> None:
    frame = {"type": "report", "outcomes": [frames.outcome(f"r{n}", result=bytes(5_000)) for n in range(100)]}

    assert decode(frame) == frame


@pytest.mark.parametrize(
    "item",
    [
        b"\x84" + named("more", b"\xdc\x00\x64" + (b"\xdc\x00\x64" + b"\x90" * 100) * 100),
        b"\x84" + named("more", b"\xdc\x00\x64" + (b"\xdc\x00\x64" + b"\x01" * 100) * 100),
        b"\x84" + named("more", b"\xdc\x00\xff" + b"\x01" * 255),
    ],
)
def test_an_item_that_unfolds_into_too_much_is_refused(item: bytes) -> None:
    run = item + named("run", msgpack.packb("r1")) + named("attempt", b"\x01") + named("fence", msgpack.packb("17-ab"))
    data = b"\x82" + named("type", msgpack.packb("start")) + named("runs", b"\xdc\x00\x64" + run * 100)

    with pytest.raises(BadFrame) as caught:
        decode_worker(data[: protocol.MAX_FRAME_BYTES])

    assert caught.value.field == "frame"


@pytest.mark.parametrize(
    "data",
    [
        b"\x81" + named("mood", LISTS),
        b"\x81" + named("mood", LISTS) + b"\x00",
        b"\x82" + named("mood", LISTS),
        b"\x82\x90\x01" + named("mood", LISTS),
        b"\x82\x01\x01" + named("mood", LISTS),
        b"\xde\x00\x41" + b"".join(named(f"f{n}", b"\x01") for n in range(64)) + named("mood", LISTS),
        b"\x82" + named("mood", LISTS) + named("type", b"\x05"),
        b"\x91" + LISTS,
        b"\x91" * 20_000,
    ],
)
def test_large_bytes_that_are_no_frame_are_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        decode_worker(data)


def test_what_a_worker_holds_takes_half_a_mebibyte_at_most() -> None:
    with pytest.raises(BadFrame) as caught:
        decode({**example("hello"), "mood": bytes(protocol.MAX_LIST_BYTES)})

    assert (caught.value.field, caught.value.close_code) == ("hello", protocol.CLOSE_TOO_LARGE)


def test_everything_a_worker_may_hold_fits() -> None:
    held = [
        {"run": f"00s{n:017}", "attempt": 1, "fence": "1764000000000-abcdefgh", "started": True}
        for n in range(protocol.MAX_HELD)
    ]
    handlers = [f"handler-{n:04}" for n in range(protocol.MAX_HANDLERS)]
    hello = {**example("hello"), "held": held, "handlers": handlers, "specs": ["d" * 22] * len(handlers)}

    assert decode(hello) == hello


def test_a_note_has_at_most_a_thousand_lines() -> None:
    line = {"at": 1, "level": "info", "text": ""}
    entries = [{"run": "r1", "attempt": 1, "log": [line] * 100}] * 10
    assert decode({"type": "note", "entries": entries})

    with pytest.raises(BadFrame) as caught:
        decode({"type": "note", "entries": [*entries, {"run": "r1", "attempt": 1, "log": [line]}]})

    assert caught.value.field == "note"


def test_a_hello_has_a_digest_or_nothing_for_each_handler() -> None:
    hello = {**example("hello"), "handlers": ["a", "b"]}
    assert decode({**hello, "specs": ["d" * 22, ""]})

    for specs, field in ((["d" * 22], "hello"), (["d" * 22, "d" * 21], "hello.specs[1]")):
        with pytest.raises(BadFrame) as caught:
            decode({**hello, "specs": specs})
        assert caught.value.field == field


# --- specs ------------------------------------------------------------------------------------------------------------


def nested(levels: int) -> dict[str, Any]:
    """A schema of so many levels."""
    schema: dict[str, Any] = {}
    for _ in range(levels - 1):
        schema = {"items": schema}
    return schema


def test_a_spec_is_read_as_it_was_packed_without_what_is_not_known_of_it() -> None:
    spec: Any = {"params": {"type": "object"}, "defaults": {"retries": 3}, "description": "Send.", "version": "1.4"}

    assert protocol.read_spec(msgpack.packb({**spec, "mood": "good"})) == spec


def test_the_digest_of_a_spec_is_22_characters_of_its_bytes() -> None:
    one, other = protocol.spec_digest(b"one"), protocol.spec_digest(b"other")

    assert one != other
    assert re.fullmatch(protocol.DIGEST_PATTERN, one)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x91" * 9_000,
        msgpack.packb({"params": []}),
        msgpack.packb({"params": {"allOf": [{}] * 1_000}}),
        msgpack.packb({"params": nested(33)}),
        msgpack.packb({"defaults": {"retries": [3]}}),
        msgpack.packb({"defaults": {f"p{'x' * n}": 1 for n in range(65)}}),
        msgpack.packb({"description": "x" * 4_097}),
        msgpack.packb({"version": "1\n"}),
    ],
)
def test_a_spec_that_is_none_or_too_large_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        protocol.read_spec(packed)


def test_a_spec_at_its_bounds_is_read_and_one_over_them_is_not_packed() -> None:
    for params in list[dict[str, Any]]([{"allOf": [{}] * 998}, nested(32)]):
        assert protocol.read_spec(protocol.pack_spec({"params": params})) == {"params": params}

    for spec in ({"params": nested(33)}, {"description": "x" * protocol.MAX_SPEC_BYTES}):
        with pytest.raises(protocol.TooLarge):
            protocol.pack_spec(spec)  # type: ignore[arg-type]


# --- batches and documents --------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 400_000), max_size=350))
def test_batches_keep_order_and_both_bounds(weights: list[int]) -> None:
    cut = list(batches(weights, lambda weight: weight))

    assert [weight for batch in cut for weight in batch] == weights
    for batch in cut:
        assert 1 <= len(batch) <= protocol.BATCH_ITEMS
        assert len(batch) == 1 or sum(batch) <= protocol.BATCH_BYTES


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "text", b"bytes", [1, [2]], {"a": {"b": 1}}, {1: 2}])
def test_a_value_survives_its_document(value: object) -> None:
    assert protocol.unpack_value(protocol.pack_value(value)) == value


def test_no_bytes_are_no_value() -> None:
    assert protocol.unpack_value(b"") is None


@pytest.mark.parametrize("value", [object(), "\ud800", 1 << 80])
def test_a_value_without_a_document_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot become MessagePack"):
        protocol.pack_value(value)


@pytest.mark.parametrize("document", [b"\xc1", b"\x81\x90\x01", b"\x01\x01", b"\xa4abc"])
def test_bytes_that_are_no_document_are_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="not a MessagePack document"):
        protocol.unpack_value(document)


def test_a_fence_has_a_number() -> None:
    assert protocol.fence_number("1764000000000-ab-c") == 1_764_000_000_000
