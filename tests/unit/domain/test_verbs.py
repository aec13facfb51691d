"""verbs: the typed calls are those of the headers, and a wrong name or type is an error of mypy.

mypy complains of an ``ignore`` that it does not need, so each of them here is a check.
"""

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from gojob_redis.domain import verbs
from gojob_redis.engine.scripts import load_all
from gojob_redis.ops.verbs import module

REPORT = verbs.Report("s1", "r1", 1, "f1", "ok", 0, b"")


def test_the_module_is_what_the_headers_say() -> None:
    format_it = [sys.executable, "-m", "ruff", "format", "--stdin-filename", verbs.__file__, "-"]
    formatted = subprocess.run(format_it, input=module(load_all()), capture_output=True, text=True, check=True)

    assert formatted.stdout == Path(verbs.__file__).read_text(), "run make docs"


def test_a_call_takes_what_its_verb_takes() -> None:
    with pytest.raises(TypeError):
        verbs.report([REPORT], replyto="g1")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        verbs.Report("s1", "r1", 1, "f1", "ok", 0)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        verbs.fire(limit=1)  # type: ignore[call-arg]

    verbs.Start("s1", "r1", "1", "f1")  # type: ignore[arg-type]
    verbs.report([verbs.Start("s1", "r1", 1, "f1")])  # type: ignore[list-item]
    verbs.fire(limit="1", cpu_us=1)  # type: ignore[arg-type]


def test_what_is_left_out_has_the_default_of_the_header() -> None:
    assert verbs.report([REPORT]).scalars == {"reply_to": ""}
    submission = verbs.Submission("t1", "ns/app/h", "ns/app")
    assert (submission.shards, submission.param, submission.policies) == (1, b"", "")


def test_a_reply_has_names_and_types() -> None:
    reply = verbs.report([REPORT], reply_to="g1").read([b"more", b"accepted", [b"hint"]], 1)
    submitted = verbs.submit([]).read([b"ok", b"ok", b"t1", b"queue_full", b"t2"], 2)
    gone = verbs.remove(app="a", name="n").read([b"gone", b""], 0)

    _word: Literal["approved"] = reply.words[0]  # type: ignore[assignment]
    assert (reply.status, reply.words, reply.hints) == ("more", ["accepted"], [b"hint"])
    assert submitted.each == [verbs.Submitted("ok", "t1"), verbs.Submitted("queue_full", "t2")]
    assert (submitted.status, submitted.hints) == ("ok", [])
    assert gone == verbs.RemoveReply("gone", "")


def test_a_status_that_comes_alone_has_nothing_else() -> None:
    call = verbs.resume([], session="s", app="a", holder="h", gateway="g", conn=0, capacity=1, compare=1)

    assert call.read([b"lost"], 3) == verbs.ResumeReply("lost", 0, "", [])
    assert call.read([b"ok", 2, b"r\xff@1"], 0) == verbs.ResumeReply("ok", 2, "r\udcff@1", [])
