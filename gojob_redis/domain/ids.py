"""Identities: how they are made, and what can be read back from them.

    task, fired        pp f uuuuuuu ssssssss    partition, trigger uid, slot in ms (18 characters until 2059, then 19)
    task, submitted    pp s mmmmmmmm nnnnnnnnn  partition, ms since 2020, number (20 characters, until 2109)
    run                task or task.shard       a task that is not sharded has one run, which bears the task's id
    seat               run@attempt              one binding, inside the server
    run instance       task.shard.attempt       the same, as a handler sees it; shard 0 when not sharded

All numbers are base 36 with lower-case letters, whose order as text of one length is their order as numbers. An id
carries its partition, so a look-up by id needs no index; a fired id is a function of (uid, slot), so firing a slot
twice makes the same task.

Who knows some ids cannot tell others by them: the number of a submission begins anew each ms at a secret place and
grows by a secret step each time, and what is random comes from the system. A fired id can be told by who knows the uid.
Neither lets anybody in: that is asked elsewhere (``OfTask`` in ``api/edge.py``, ``is_owned`` in
``lua/lib/record.lua``).
"""

import os
import re
import secrets
import threading
from typing import NewType

from gojob_redis.domain.errors import BadRequest

TaskId = NewType("TaskId", str)
RunId = NewType("RunId", str)
TriggerUid = NewType("TriggerUid", str)
SessionId = NewType("SessionId", str)
JobId = NewType("JobId", str)

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = [high + low for high in DIGITS for low in DIGITS]

MAX_PARTITIONS = 36**2
UID_CHARS = 7
SESSION_CHARS = 12
_MS_CHARS = 9
_SINCE_2020_CHARS = 8
_NUMBER_CHARS = 9
_EPOCH_2020_MS = 1_577_836_800_000
_NUMBERS = 36**_NUMBER_CHARS
STEP_BITS = 30
"""The first number of a ms lies in the lower half; in the other are 47,000 of the longest steps."""

_FIRED = re.compile(rf"[0-9a-z]{{2}}f[0-9a-z]{{{UID_CHARS}}}[0-9a-z]{{1,{_MS_CHARS}}}")
_SUBMITTED = re.compile(rf"[0-9a-z]{{2}}s[0-9a-z]{{{_SINCE_2020_CHARS + _NUMBER_CHARS}}}")
_TASK = re.compile(rf"{_FIRED.pattern}|{_SUBMITTED.pattern}")
_UID = re.compile(rf"[0-9a-z]{{{UID_CHARS}}}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")

_secrets: list[int] = []
"""64 bits each, to be taken once."""


def _secret() -> int:
    """64 bits that nobody can foretell; one read of the system's randomness serves 256 of them."""
    while True:
        try:
            return _secrets.pop()
        except IndexError:
            _secrets.extend(memoryview(os.urandom(2048)).cast("Q"))


class _Submissions:
    """Moments with a number in each, which together only grow as long as the clock does not step back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now_ms = -1
        """What the clock said last."""
        self._ms = -1
        """What was given out last: later than the clock when its ms was full."""
        self._moment = ""
        self._number = 0

    def next(self, now_ms: int) -> str:
        """A moment and a number in it, as text: this moment, or the next if it is full."""
        with self._lock:
            if now_ms != self._now_ms:
                stepped_back = now_ms < self._now_ms
                self._now_ms = now_ms
                if now_ms > self._ms or stepped_back:
                    self._begin(now_ms)
            self._number += 1 + (_secret() >> (64 - STEP_BITS))
            if self._number >= _NUMBERS:
                self._begin(self._ms + 1)
            return self._moment + base36(self._number, _NUMBER_CHARS)

    def _begin(self, ms: int) -> None:
        self._ms, self._number = ms, _secret() % (_NUMBERS // 2)
        self._moment = base36(ms, _SINCE_2020_CHARS)


_submissions = _Submissions()


def _start_anew() -> None:
    """Give a forked child its own secrets: with the parent's it would make the parent's ids."""
    global _submissions
    _secrets.clear()
    _submissions = _Submissions()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def base36(number: int, width: int = 1) -> str:
    """Write a number ≥ 0 in base 36, padded with zeros to ``width``."""
    if number < 0:
        raise ValueError(f"base 36 of a negative number ({number})")
    text = ""
    while number:
        number, pair = divmod(number, 1296)
        text = _PAIRS[pair] + text
    return text.lstrip("0").rjust(width, "0")


# --- Tasks ----------------------------------------------------------------------------------------------------------


def fired_id(partition: int, uid: TriggerUid, slot_ms: int) -> TaskId:
    """Name the task of one slot: always the same for the same slot."""
    return TaskId(f"{_PAIRS[partition]}f{uid}{base36(slot_ms)}")


def submitted_id(partition: int, now_ms: int) -> TaskId:
    """Make the id of a submission, before the first call, so that repeats of the call carry it.

    Ids of one process and one partition sort in the order they were made, as long as ``now_ms`` does not step back.
    """
    return TaskId(f"{_PAIRS[partition]}s{_submissions.next(max(0, now_ms - _EPOCH_2020_MS))}")


def parse_task_id(text: object, field: str = "task") -> TaskId:
    """Return a task id that came from outside; raises BadRequest ``bad_id``."""
    if isinstance(text, str) and _TASK.fullmatch(text):
        return TaskId(text)
    raise _bad_id(text, field, "a task id")


def partition_of(task: str) -> int:
    """Read the partition out of a task id; raises BadRequest ``bad_id`` for anything else.

    The caller still compares it with the number of partitions.
    """
    return int(parse_task_id(task)[:2], 36)


def is_fired(task: TaskId) -> bool:
    """True for the task of a slot, False for a submission."""
    return task[2] == "f"


def uid_of(task: TaskId) -> TriggerUid:
    """Read the trigger's uid out of the id of a fired task; raises BadRequest ``bad_id`` for a submission."""
    return TriggerUid(_fired(task)[3 : 3 + UID_CHARS])


def slot_of(task: TaskId) -> int:
    """Read the slot, in ms, out of the id of a fired task; raises BadRequest ``bad_id`` for a submission."""
    return int(_fired(task)[3 + UID_CHARS :], 36)


# --- Runs, seats, run instances -------------------------------------------------------------------------------------


def split_run(run: str) -> tuple[TaskId, int | None]:
    """Read (task, shard) out of a run; raises BadRequest ``bad_id``."""
    task, dot, shard = run.partition(".")
    return parse_task_id(task, "run"), _number(shard, run, "a run") if dot else None


# --- Random identities ----------------------------------------------------------------------------------------------


def new_trigger_uid() -> TriggerUid:
    """Make the identity of a trigger; its name is only a look-up and may be used again."""
    return TriggerUid(base36(secrets.randbelow(36**UID_CHARS), UID_CHARS))


def parse_trigger_uid(text: object, field: str = "uid") -> TriggerUid:
    """Return a trigger's uid that came from outside; raises BadRequest ``bad_id``."""
    if isinstance(text, str) and _UID.fullmatch(text):
        return TriggerUid(text)
    raise _bad_id(text, field, "a trigger's uid")


def new_session_id() -> SessionId:
    """Make the identity of a session: not to be guessed, since a worker resumes with it."""
    return SessionId(base36(secrets.randbelow(36**SESSION_CHARS), SESSION_CHARS))


_JOB = re.compile(rf"j[0-9a-z]{{{_SINCE_2020_CHARS + _NUMBER_CHARS}}}")


def new_job_id(now_ms: int) -> JobId:
    """Make the id of a job on many tasks or triggers; ids of tasks that it makes begin with the same moment."""
    return JobId(first_job_id(now_ms) + base36(secrets.randbelow(_NUMBERS), _NUMBER_CHARS))


def first_job_id(at_ms: int) -> str:
    """What stands before the ids of all jobs that were made from this moment on."""
    return f"j{base36(max(0, at_ms - _EPOCH_2020_MS), _SINCE_2020_CHARS)}"


def parse_job_id(text: object, field: str = "job") -> JobId:
    """Return a job's id that came from outside; raises BadRequest ``bad_id``."""
    if isinstance(text, str) and _JOB.fullmatch(text):
        return JobId(text)
    raise _bad_id(text, field, "a job's id")


def nonce() -> str:
    """Make 6 characters that tell one lease from the next, and that nobody can foretell."""
    number = _secret()
    return _PAIRS[number % 1296] + _PAIRS[number // 1296 % 1296] + _PAIRS[number // 1679616 % 1296]


def _fired(task: str) -> str:
    if not _FIRED.fullmatch(task):
        raise _bad_id(task, "task", "the id of a fired task")
    return task


def _number(text: str, whole: str, what: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise _bad_id(whole, "id", what)
    return int(text)


def _bad_id(text: object, field: str, what: str) -> BadRequest:
    shown = repr(text)[:80]
    return BadRequest("bad_id", f"{field} {shown} is not {what}.", field=field, hint="Pass an id as it was given out.")
