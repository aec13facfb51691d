"""Every key name of the system, once.

1. One partition is one hash slot: each of its keys starts with the same *tag*, so that one script can touch all of
   them on a cluster. Tags come from a fixed rule whose slots lie evenly over the 16,384 (``tags``).
2. ``K`` is the catalogue: one entry per kind of key. ``K.task(prefix, "id")`` builds a name in Python, ``key.task(id)``
   builds the same name in Lua (``lua_fragment``), ``owner_of`` tells which entry a stored key belongs to, and
   ``ops/writers.py`` writes the table for readers.
3. A placeholder never contains ``:``. Two patterns that could build the same name are refused at import.
"""

import binascii
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from string import ascii_lowercase
from typing import Literal

SLOTS = 16_384
MAX_PARTITIONS = 64
CONTROL_TAG = "gojob"
SCHEMA = 2
"""Of the data under these keys; data of another number is refused. It rises when an older release must not touch the
data any more, and only then: what older releases leave alone keeps the number (``docs/decisions/0006``)."""
FIRST_SCHEMA = 1
"""Of data that does not say it."""

Type = Literal["hash", "zset", "set", "list", "string", "stream"]
Scope = Literal["partition", "control"]


def slot_of(tag: str) -> int:
    """The cluster slot of every key that carries this tag."""
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


@lru_cache
def tags(partitions: int) -> tuple[str, ...]:
    """One tag per partition, its slot nearest to (i + ½) · 16384 / partitions; ties go to the alphabetically first."""
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise ValueError(f"partitions must be 1 to {MAX_PARTITIONS}, not {partitions}")
    return tuple(_nearest(i, partitions) for i in range(partitions))


def _nearest(i: int, partitions: int) -> str:
    candidates = (f"p{i:02d}{a}{b}" for a in ascii_lowercase for b in ascii_lowercase)
    # Twice the distance, so that it stays an integer: the middle of a share is a half slot when the share is odd.
    return min(candidates, key=lambda tag: (abs(2 * slot_of(tag) * partitions - (2 * i + 1) * SLOTS), tag))


def prefix(tag: str) -> str:
    """What every key of a partition starts with; scripts get it as ``KEYS[1]``."""
    return "{" + tag + "}:"


def prefixes(partitions: int) -> tuple[str, ...]:
    """The prefix of every partition, in order."""
    return tuple(prefix(tag) for tag in tags(partitions))


CONTROL = prefix(CONTROL_TAG)

_PLACEHOLDER = re.compile(r"<([a-z_]+)>")


@dataclass(frozen=True, slots=True)
class Key:
    """One kind of key: its name pattern below the prefix, and who answers for it."""

    pattern: str
    type: Type
    holds: str
    bound: str
    owner: str = ""
    """Who writes a key of the control plane; for one of a partition the scripts tell (``ops/writers.py``)."""
    scope: Scope = "partition"
    name: str = field(default="", init=False)
    params: tuple[str, ...] = field(default=(), init=False)
    template: str = field(default="", init=False)

    def __set_name__(self, _: object, name: str) -> None:
        set_ = object.__setattr__
        set_(self, "name", name)
        set_(self, "params", tuple(_PLACEHOLDER.findall(self.pattern)))
        set_(self, "template", _PLACEHOLDER.sub("%s", self.pattern))

    def __call__(self, prefix: str, *args: str) -> str:
        """The full name of one such key; a wrong number of arguments is a TypeError."""
        return prefix + self.template % args

    def lua(self) -> str:
        """The Lua builder: a plain string for a kind without placeholders, else a function of them."""
        if not self.params:
            return f"key.{self.name} = P .. '{self.pattern}'"
        return f"function key.{self.name}({', '.join(self.params)}) return {self.lua_name(self.params)} end"

    def lua_name(self, args: Sequence[str]) -> str:
        """The Lua expression for one such key's name; args: an expression for each placeholder."""
        fixed = _PLACEHOLDER.split(self.pattern)[::2]
        if len(args) != len(fixed) - 1:
            raise ValueError(f"key.{self.name} takes {len(fixed) - 1} arguments, not {len(args)}")
        parts = [f"'{fixed[0]}'"]
        for argument, text in zip(args, fixed[1:], strict=True):
            parts += [argument if argument.isidentifier() else f"({argument})", f"'{text}'"]
        return " .. ".join(["P", *(part for part in parts if part != "''")])


class K:
    """The catalogue. The attribute is the kind's name in Python and Lua alike.

    Large, because it is a table: one entry a kind, and no code.
    """

    meta = Key(
        "meta",
        "hash",
        "epoch, schema, the two clocks, the lane counter, the last touch, when handlers told something else; "
        "`trace`: tell all events, for tests",
        "one per partition",
    )
    task = Key(
        "task:<run>",
        "hash",
        "a task and its run; `<task>.<n>` is shard n of a sharded one",
        "queued: 1,000,000 per handler; finished: retention",
    )
    param = Key("param:<task>", "string", "a payload over 64 bytes", "256 KiB; goes with its task")
    shard_params = Key(
        "shard_params:<task>",
        "hash",
        "parameters by shard number",
        "10,000 shards, 256 KiB; goes with its task",
    )
    result = Key("result:<run>", "string", "a result or error over 64 bytes", "256 KiB; goes with its task")
    log = Key(
        "log:<run>",
        "hash",
        "packed chunks of what a run logged, by number; its app, and in `sums` what was counted",
        "1 MiB and 10,000 lines a run; goes with its task",
    )
    logs = Key("logs:<app>", "zset", "runs with a log, by when it grew last", "64 MiB of logs an app")
    log_bytes = Key("log_bytes", "hash", "how many bytes the logs of each app take", "one field per app")
    attempts = Key("attempts:<run>", "list", "attempts that did not end well", "16 a run; goes with its task")
    once = Key("once:<app>|<digest>", "string", "the task an Idempotency-Key stands for", "24 h")
    trigger = Key(
        "trigger:<uid>",
        "hash",
        "definition, policies, watermark of a trigger",
        "one per trigger",
    )
    trigger_param = Key(
        "trigger_param:<uid>",
        "string",
        "the payload of a trigger over 64 bytes",
        "256 KiB; goes with its trigger",
    )
    triggers = Key(
        "triggers:<app>",
        "hash",
        "by name the cards of triggers: uid, state, handler, owner, schedule",
        "one entry per trigger of the app",
    )
    trigger_names = Key(
        "trigger_names:<app>",
        "zset",
        "names of the app's triggers, in order",
        "one entry per trigger of the app",
    )
    agenda = Key(
        "agenda:<uid>",
        "list",
        "planned slots after the one in the due index",
        "64 slots, 7 days ahead",
    )
    ledger = Key("ledger:<uid>", "zset", "what became of each slot", "1,000 entries and 30 days")
    removed = Key("removed:<uid>", "hash", "app, name and card of a trigger that was removed", "30 days, as its ledger")
    removals = Key("removals:<app>", "zset", "removed triggers by when they were", "10,000 an app, 30 days")
    due = Key(
        "due:<app>",
        "zset",
        "trigger uids and delayed tasks by wall time",
        "one entry per active trigger and delayed task",
    )
    due_heads = Key("due_heads", "zset", "apps by the earliest entry of their due index", "one per app")
    unplanned = Key(
        "unplanned",
        "zset",
        "triggers whose agenda ran out, by when",
        "one per active trigger",
    )
    audits = Key(
        "audits",
        "zset",
        "triggers by the wall time of their next audit",
        "one per trigger",
    )
    handlers = Key(
        "handlers",
        "zset",
        "handlers by when they were announced last; 0 = never",
        "30 days without an announcement",
    )
    app_handlers = Key(
        "app_handlers:<app>",
        "zset",
        "the same handlers by app, in the order of their names",
        "as `handlers`",
    )
    app_lanes = Key("app_lanes:<app>", "set", "lane ids of an app's handlers", "one entry per lane")
    handler = Key(
        "handler:<handler>",
        "hash",
        "since when a handler is paused, and how long its tasks are kept",
        "one per handler that is paused or has settings",
    )
    specs = Key(
        "specs:<handler>",
        "hash",
        "versions of a handler: digest of its spec to when it was heard first and last",
        "16, 30 days",
    )
    spec = Key(
        "spec:<app>|<digest>",
        "string",
        "what workers of an app tell of a handler, or which of their handlers has which spec",
        "64 KiB, 30 days",
    )
    lanes = Key("lanes:<handler>", "hash", "lane ids by labels and attribute", "256 per handler")
    lane = Key(
        "lane:<lane>",
        "hash",
        "handler, labels, attribute of a lane, and what blocks it",
        "256 per handler",
    )
    activeq = Key(
        "activeq:<lane>",
        "zset",
        "activeQ: queued runs by priority and time",
        "1,000,000 per handler",
    )
    deadlineq = Key(
        "deadlineq:<handler>",
        "zset",
        "deadlineQ: runs by the steady time to look at them",
        "one entry per bound or waiting run",
    )
    alarms = Key(
        "alarms",
        "zset",
        "handlers by a lower bound of their earliest timer",
        "one per handler",
    )
    history = Key(
        "history:<handler>",
        "zset",
        "tasks that ran to completion, by when they ended",
        "7 days, 10,000 per handler, or its own settings",
    )
    failed = Key(
        "failed:<app>",
        "zset",
        "faulted and canceled tasks of an app by when they ended",
        "14 days, 20,000 per app, or its own settings",
    )
    pinned = Key(
        "pinned:<handler>",
        "zset",
        "ended tasks that somebody wants kept, by when they ended",
        "1,000 per handler",
    )
    keyed = Key(
        "keyed",
        "zset",
        "keys that callers gave their tasks: `key app task`",
        "one entry per task with a key; goes with it",
    )
    children = Key(
        "children:<task>",
        "zset",
        "tasks of this partition that a task submitted while it ran, or that repeat it; the task may be elsewhere",
        "10,000; an entry goes with its task, all of them with the parent",
    )
    faults = Key("faults", "hash", "how many tasks faulted, by reason", "one field per reason")
    tally = Key("tally", "stream", "what the scripts did, until it is added up", "~50,000 entries")
    minute = Key("minute:<minute>", "hash", "what happened in a minute, by handler and app", "3 h")
    tens = Key("tens:<subject>|<day>", "string", "the ten minutes of a day, of a handler or app", "3 days")
    halves = Key("halves:<subject>|<day>", "string", "the half-hours of a day, of a handler or app", "60 days")
    totals = Key("totals:<subject>", "string", "all that happened to a handler or app", "60 days after the last")
    unrolled = Key(
        "unrolled", "zset", "ten minutes that are not in `tens` and `halves` yet", "one per ten minutes of 3 h"
    )
    slowest = Key("slowest:<handler>|<hour>", "string", "the longest tasks of an hour", "50 per handler and hour, 24 h")
    ring = Key("ring:<uid>", "string", "the last ends of a trigger, 8 bytes each", "400 ends; goes with its trigger")
    days = Key("days:<uid>|<block>", "hash", "ends, skipped and missed slots by local day", "32 days each, 400 days")
    failures = Key("failures:<app>", "hash", "failures of an app by handler and fingerprint", "200, 60 days")
    troubled = Key("troubled:<app>", "set", "uids of triggers whose last task faulted", "one entry per trigger")
    session = Key("session:<session>", "hash", "the registration of a worker", "one per live session")
    cards = Key(
        "cards:<app>|<day>",
        "hash",
        "what workers told about themselves whose sessions ended on a day, by session",
        "10,000 a day; as long as tasks that they may have run",
    )
    held = Key("held:<session>", "set", "seats a session has taken, `run@attempt`", "1,000 per session")
    sessions = Key("sessions:<app>", "set", "live sessions of an app", "one entry per session")
    leases = Key(
        "leases",
        "zset",
        "sessions by the steady end of their lease",
        "one entry per session",
    )
    group = Key(
        "group:<group>",
        "hash",
        "app, handlers and labels of a group, and their sum; how many handlers are open while it is opened or closed",
        "goes with its last session",
    )
    group_sessions = Key(
        "group_sessions:<group>",
        "set",
        "sessions of a group",
        "one entry per session",
    )
    groups = Key("groups", "set", "groups with a session", "one entry per group")
    groups_of = Key(
        "groups_of:<handler>|<labels>",
        "set",
        "groups that serve a handler under these labels",
        "16",
    )
    waiting = Key(
        "waiting:<group>|<attribute>",
        "zset",
        "sessions with a free seat by seats taken",
        "one entry per session",
    )
    ready = Key(
        "ready:<group>|<attribute>",
        "zset",
        "lanes with work by head",
        "one entry per lane",
    )
    gateways = Key("gateways", "zset", "gateways by when they were heard (steady)", "60 s of silence")
    inbox = Key(
        "inbox:<gateway>",
        "stream",
        "hints for the sessions of one gateway",
        "~10,000 entries; reaped when the gateway was silent for 60 s",
    )
    wake = Key("wake", "stream", "hints that something is due soon", "~1,000 entries")
    events = Key(
        "events",
        "stream",
        "what did not go as planned and belongs to no app; with `trace` in `meta`, all of it",
        "~100,000 entries",
    )
    app_events = Key(
        "events:<app>",
        "stream",
        "what did not go as planned in an app",
        "~2,000 entries, 7 days",
    )
    event_counts = Key(
        "event_counts:<app>|<minute>",
        "hash",
        "events of a minute by kind and handler, and the entry that counts those over 100",
        "2 minutes",
    )
    changes = Key(
        "changes",
        "stream",
        "runs that changed and apps with new events, while somebody watches",
        "~1,000 entries, a minute after the last who watched",
    )
    event_apps = Key("event_apps", "zset", "apps by their last event, wall ms", "7 days")

    job = Key(
        "job:<job>",
        "hash",
        "how far a job on many tasks or triggers is in this partition, and what it did",
        "15 days after it did something",
    )
    walks = Key(
        "walks:<app>",
        "hash",
        "jobs that go through an app: until when they are told of tasks that go back, and of which",
        "one field per such job; 10 minutes after it did something",
    )
    went_back = Key(
        "went_back:<job>",
        "set",
        "tasks that went back to a lane or a timer while a job goes through their app",
        "one entry per task that lived when the job began; 20 minutes",
    )

    installation = Key(
        "installation",
        "hash",
        "epoch, partition count, schema of the whole installation",
        "one",
        "control/installation.py",
        scope="control",
    )
    namespaces = Key(
        "namespaces", "hash", "namespaces and what is set for them", "10,000", "control/namespaces.py", scope="control"
    )
    defaults_changes = Key(
        "defaults_changes",
        "string",
        "how often defaults of policies were set for a namespace; triggers follow when it changes",
        "one",
        "control/namespaces.py",
        scope="control",
    )
    apps = Key(
        "apps",
        "hash",
        "the partition of each app, recorded when it is first seen",
        "100,000",
        "place.lua",
        scope="control",
    )
    app_counts = Key("app_counts", "hash", "how many apps each namespace has", "10,000", "place.lua", scope="control")
    tokens = Key(
        "tokens", "hash", "API tokens: key id to digest, kind, scope", "10,000", "control/tokens.py", scope="control"
    )
    job_record = Key(
        "job:<job>",
        "hash",
        "what a job is to do, for whom, its state and revision",
        "7 days after its end",
        "open_job.lua",
        scope="control",
    )
    job_units = Key(
        "job_units:<job>|<partition>",
        "list",
        "the ids a job was given, or the apps it goes through",
        "10,000 ids, or the apps of a namespace; until its end",
        "open_job.lua",
        scope="control",
    )
    jobs = Key(
        "jobs:<namespace>",
        "zset",
        "jobs by id, which begins with when they were made",
        "1,000 of a namespace",
        "open_job.lua",
        scope="control",
    )
    job_namespaces = Key(
        "job_namespaces", "zset", "namespaces by when they had a job last", "15 days", "open_job.lua", scope="control"
    )
    live_jobs = Key(
        "live_jobs",
        "hash",
        "jobs that are not over, and their namespaces",
        "10 of a namespace, 200 in all",
        "open_job.lua",
        scope="control",
    )
    job_once = Key(
        "job_once:<namespace>|<digest>",
        "string",
        "the job an Idempotency-Key stands for",
        "24 h",
        "open_job.lua",
        scope="control",
    )
    replicas = Key(
        "replicas", "zset", "trigger replicas by when they were heard", "60 s of silence", "trigger.py", scope="control"
    )


CATALOGUE: dict[str, Key] = {name: entry for name, entry in vars(K).items() if isinstance(entry, Key)}


def lua_fragment(used: Collection[str] | None = None) -> str:
    """The catalogue in Lua: ``P``, ``SCHEMA``, and the table ``key`` with one field per kind (of ``used``, if given).

    One table instead of locals, because a Lua function may have only 200 locals; only the used kinds, because each
    closure is made anew in every call of the script.
    """
    entries = CATALOGUE.values() if used is None else [CATALOGUE[name] for name in CATALOGUE if name in used]
    head = ["local P = KEYS[1]", f"local SCHEMA = {SCHEMA}", "local key = {}"]
    return "\n".join([*head, *(entry.lua() for entry in entries)]) + "\n"


def owner_of(key: bytes) -> Key | None:
    """The catalogue entry a stored key belongs to, or None for a key that nobody owns."""
    match = re.fullmatch(rb"\{([^{}]+)\}:(.+)", key, re.DOTALL)
    if match is None:
        return None
    scope: Scope = "control" if match[1] == CONTROL_TAG.encode() else "partition"
    return next((entry for entry, form in _forms() if entry.scope == scope and form.fullmatch(match[2])), None)


@lru_cache
def _forms() -> tuple[tuple[Key, re.Pattern[bytes]], ...]:
    return tuple(
        (entry, re.compile(re.sub(r"<[a-z_]+>", "[^:]*", re.escape(entry.pattern)).encode()))
        for entry in CATALOGUE.values()
    )


def clashes(entries: Iterable[Key]) -> list[tuple[Key, Key]]:
    """Pairs whose patterns could build the same name."""
    return [(a, b) for a, b in combinations(entries, 2) if a.scope == b.scope and _overlap(a.pattern, b.pattern)]


def _overlap(a: str, b: str) -> bool:
    left, right = a.split(":"), b.split(":")
    return len(left) == len(right) and all(x == y or "<" in x + y for x, y in zip(left, right, strict=True))


if _found := clashes(CATALOGUE.values()):
    raise RuntimeError(f"key patterns that could build the same name: {[(a.name, b.name) for a, b in _found]}")
