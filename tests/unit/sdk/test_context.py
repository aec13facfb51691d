"""context: what a handler sees, and what it may say."""

import threading
from typing import Any

import pytest

from gojob_sdk.context import LINE_BYTES, Context, Notebook, clip
from gojob_sdk.errors import BadConfig, Canceled
from gojob_sdk.outbox import note_bytes
from gojob_sdk.protocol import MAX_LOG_LINE_BYTES, LogLine, RunNote, decode_worker, encode, pack_value
from tests.unit.sdk import frames

KEY = ("r1", 1)


def silent() -> Notebook:
    return Notebook(lambda: None)


def test_a_context_tells_what_was_assigned() -> None:
    ctx = Context(
        frames.assignment(
            "t1.3",
            task="t1",
            shard=3,
            shards=4,
            attempt=2,
            fence="1764-ab",
            param=pack_value({"a": 1}),
            shard_param=pack_value("d"),
            retry=1,
            retries=3,
            run_limit_ms=1_500,
            key="k1",
            trigger="nightly",
            slot=1_000,
            traceparent="00-a-b-01",
        ),
        silent(),
    )

    assert (ctx.task_id, ctx.run_instance_id, ctx.handler) == ("t1", "t1.3.2", "send")
    assert (ctx.shard, ctx.shards, ctx.shard_param, ctx.params) == (3, 4, "d", {"a": 1})
    assert (ctx.attempt, ctx.retry, ctx.retries, ctx.fence) == (2, 1, 3, 1764)
    assert ctx.traceparent == "00-a-b-01"
    assert (ctx.run_limit_s, ctx.idempotency_key, ctx.trigger, ctx.slot) == (1.5, "k1", "nightly", 1_000)
    remaining = ctx.remaining()
    assert remaining is not None
    assert 0 < remaining <= 1.5


def test_a_plain_context_has_none_where_there_is_nothing() -> None:
    ctx = Context(frames.assignment("t1"), silent())

    assert (ctx.params, ctx.shard_param, ctx.run_limit_s, ctx.remaining()) == (None, None, None, None)
    assert (ctx.trigger, ctx.slot, ctx.traceparent, ctx.run_instance_id) == (None, None, None, "t1.0.1")
    assert (ctx.lost, ctx.canceled, ctx.timed_out) == (False, False, False)


def test_parameters_are_decoded_once() -> None:
    ctx = Context(frames.assignment("t1", param=pack_value([1])), silent())

    assert ctx.params is ctx.params


@pytest.mark.parametrize(
    ("flag", "confirm", "ends"),
    [("canceled", False, True), ("timed_out", False, True), ("lost", False, False), ("lost", True, True)],
)
def test_check_raises_when_the_run_should_end(flag: str, confirm: bool, ends: bool) -> None:
    ctx = Context(frames.assignment("t1", confirm=confirm), silent())
    ctx.check()

    setattr(ctx, flag, True)

    if ends:
        with pytest.raises(Canceled):
            ctx.check()
    else:
        ctx.check()


# --- the notebook -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("order %d of %s", 7, "me"), "order 7 of me"),
        (("100 %",), "100 %"),
        (("order %d", "seven"), "order %d seven"),
        (("order", 7), "order 7"),
        (("%d and %d", 7), "%d and %d 7"),
        (("50 %z", 7), "50 %z 7"),
    ],
)
def test_a_line_takes_arguments_as_logging_does_and_never_fails_a_run(arguments: tuple[Any, ...], line: str) -> None:
    notebook = silent()
    ctx = Context(frames.assignment("r1"), notebook)

    for say in (ctx.log.debug, ctx.log.info, ctx.log.warning, ctx.log.error):
        say(*arguments)

    [note] = notebook.take()
    assert [(each["level"], each["text"]) for each in note["log"]] == [
        (level, line) for level in ("debug", "info", "warning", "error")
    ]


def test_lines_of_a_run_travel_in_one_note_and_in_order() -> None:
    notebook = silent()
    ctx = Context(frames.assignment("r1"), notebook)

    ctx.log.debug("one")
    ctx.log.info(2)
    notebook.log(("r2", 1), "error", "other")
    ctx.log.warning("three")
    ctx.log.error("four")
    ctx.progress(10)
    ctx.progress(50, "half")

    notes = notebook.take()
    lines = [[(line["level"], line["text"]) for line in note.get("log", ())] for note in notes]
    assert lines == [
        [("debug", "one"), ("info", "2"), ("warning", "three"), ("error", "four")],
        [("error", "other")],
        [],
    ]
    assert notes[2]["progress"] == {"percent": 50.0, "message": "half"}
    assert not notebook


def test_every_note_fits_the_protocol_whatever_was_written() -> None:
    notebook = silent()
    for n in range(300):
        notebook.log(KEY, "info", "é\ud800" * (n * 100))
    notebook.progress(KEY, float("nan"), "x" * 10_000)
    notebook.progress(("r2", 1), 1e9, "\ud800")

    for note in notebook.take():
        data = encode({"type": "note", "entries": [note]})
        assert decode_worker(data) == {"type": "note", "entries": [note]}
        assert len(data) <= note_bytes(note) + 100


def lines_of(notes: list[RunNote]) -> list[LogLine]:
    return [line for note in notes for line in note.get("log", ())]


def test_what_does_not_fit_is_counted() -> None:
    notebook = Notebook(lambda: None, most_lines=10)
    for n in range(17):
        notebook.log(KEY, "info", str(n))

    notes = notebook.take()

    assert [line["text"] for line in lines_of(notes)] == list("0123456789")
    assert [note["dropped"] for note in notes if "dropped" in note] == [7]


def test_one_run_takes_half_of_the_room_at_most() -> None:
    notebook = Notebook(lambda: None, most_bytes=100 * (1_000 + LINE_BYTES))
    for _ in range(60):
        notebook.log(KEY, "info", "x" * 1_000)
    notebook.log(("r2", 1), "info", "y" * 1_000)

    notes = notebook.take()

    assert [note["dropped"] for note in notes if "dropped" in note] == [10]
    assert len(lines_of(notes)) == 51
    notebook.log(KEY, "info", "x" * 1_000)
    assert len(lines_of(notebook.take())) == 1


def test_long_lines_are_cut_and_bounded_by_bytes() -> None:
    notebook = silent()
    for _ in range(300):
        notebook.log(KEY, "info", "x" * 20_000)

    notes = notebook.take()

    assert [len(line["text"]) for line in lines_of(notes)] == [MAX_LOG_LINE_BYTES] * 127
    assert notes[-1]["dropped"] == 173


def test_what_is_not_taken_waits_in_its_order() -> None:
    notebook = silent()
    for n in range(6):
        notebook.log(KEY, "info", str(n))

    taken = [[line["text"] for line in lines_of(notebook.take(2 * LINE_BYTES))] for _ in range(4)]

    assert taken == [["0", "1"], ["2", "3"], ["4", "5"], []]
    assert (notebook.bytes, bool(notebook)) == (0, False)


def test_a_line_that_is_logged_while_another_is_kept_does_not_wait_for_itself() -> None:
    class Noisy(str):
        __slots__ = ()

        def encode(self, *_: Any) -> bytes:
            notebook.log(KEY, "info", "inner")
            return b"outer"

    notebook = silent()
    with notebook.lock:
        notebook.log(KEY, "info", Noisy("outer"))

    assert [line["text"] for line in lines_of(notebook.take())] == ["inner", "outer"]


def test_threads_may_write_together() -> None:
    notebook = silent()

    def write(run: str) -> None:
        for _ in range(100):
            notebook.log((run, 1), "info", "x")

    threads = [threading.Thread(target=write, args=(f"r{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [len(note["log"]) for note in notebook.take()] == [100] * 4


@pytest.mark.parametrize(
    ("text", "most", "clipped"),
    [("abc", 3, "abc"), ("abcd", 3, "abc"), ("éé", 3, "é"), ("a\ud800", 100, "a\\ud800"), ("", 0, "")],
)
def test_clipping_counts_bytes_and_leaves_whole_characters(text: str, most: int, clipped: str) -> None:
    assert clip(text, most) == clipped


def test_a_context_without_a_worker_submits_nothing() -> None:
    ctx = Context(frames.assignment("t1"), silent())

    with pytest.raises(BadConfig, match="no worker"):
        ctx.submit("send")
