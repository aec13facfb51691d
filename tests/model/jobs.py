"""Jobs in the model: what each is for, what it did so far, and what it must have done when it is over."""

import hashlib
from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gojob_redis.domain.states import TERMINAL
from gojob_redis.engine import scripts
from tests.lua.world import APP
from tests.tools.keyspace import Keyspace

VERBS = ("bulk_cancel", "bulk_retry", "bulk_forget")
SMALL = {"progress.looked < 500": "progress.looked < 3", "progress.worked < 100": "progress.worked < 2"}
"""What a call does at most is so little here that a life goes on between two calls."""


def with_small_calls(patch: pytest.MonkeyPatch) -> None:
    """Let calls for jobs do little."""
    known = scripts.load_all()
    smaller = {}
    for name in VERBS:
        body = known[name].body
        for usual, small in SMALL.items():
            assert usual in body
            body = body.replace(usual, small)
        verb = replace(known[name], body=body)
        shas = {flavour: hashlib.sha1(verb.source(flavour).encode()).hexdigest() for flavour in verb.shas}
        smaller[name] = replace(verb, shas=shas)
    patch.setattr(scripts, "load_all", lambda: ChainMap(smaller, known))


@dataclass(slots=True)
class Job:
    """A job on the tasks of the app, or on those of one of its handlers."""

    id: str
    verb: str
    handler: str
    """Its name; "" = all."""
    as_of: int
    there: set[str]
    """The tasks that it is for: all that were there when it was made, of a retry or a delete those that were over."""
    revision: int = 0
    state: str = "running"
    """As somebody said."""
    did: set[str] = field(default_factory=set)

    @property
    def arguments(self) -> dict[str, Any]:
        """What each call for it is given."""
        own: dict[str, Any] = {"reason": "canceled"} if self.verb == "bulk_cancel" else {}
        own |= {"pinned": 0} if self.verb == "bulk_forget" else {}
        conditions = f"handler={self.handler}" if self.handler else ""
        where = {"scope": f"{APP}/", "walks": 1, "first": 0, "last": 1}
        return {"job": self.id, "conditions": conditions, "as_of": self.as_of, **where, **own}


def begun(dump: Keyspace, name: str, verb: str, handler: str, now: int) -> Job:
    """A job on what there is."""
    facts = {task: dump[f"task:{task}"] for task in _tasks(dump)}
    moment = "made" if verb == "bulk_cancel" else "ended"
    there = {
        task
        for task, record in facts.items()
        if (verb == "bulk_cancel" or record["state"] in TERMINAL)
        and int(record.get(moment, 0)) <= now
        and _fits(dump, record, handler)
    }
    return Job(name, verb, handler, now, there)


def broken(job: Job, before: Keyspace, after: Keyspace) -> Iterator[str]:
    """What one call for a job did wrong."""
    was, stands = before.get(f"job:{job.id}", {}), after.get(f"job:{job.id}", {})
    acted = set(_acted(job.verb, before, after))
    if acted & job.did:
        yield f"{job} did {acted & job.did} twice"
    job.did |= acted
    if was.get("state", "running") != "running":
        if acted or was != stands:
            yield f"{job} is {was} and did {acted}"
        return
    if int(stands.get("done", 0)) != len(job.did):
        yield f"{job} counts {stands.get('done', 0)} and did {job.did}"
    parts = sum(int(stands.get(name, 0)) for name in ("done", "skipped", "failed"))
    if int(stands.get("matched", 0)) != parts:
        yield f"{job} matched {stands.get('matched', 0)} and tells what became of {parts}"
    for task in acted:
        record = before[f"task:{task}"]
        moment = int(record.get("made" if job.verb == "bulk_cancel" else "ended", 0))
        if moment > job.as_of or not _fits(before, record, job.handler):
            yield f"{job} is not for {task}, {record}"
    if stands["state"] == "done":
        yield from _missed(job, after)


def _missed(job: Job, dump: Keyspace) -> Iterator[str]:
    for task in job.there - job.did:
        record = dump.get(f"task:{task}")
        if record is None or (job.verb == "bulk_cancel" and (record["state"] in TERMINAL or "cancel" in record)):
            continue
        yield f"{job} is done and missed {task}, {record}"


def _acted(verb: str, before: Keyspace, after: Keyspace) -> Iterator[str]:
    """The tasks on which a call did what its job is for; of a retry, those that were made once more."""
    if verb == "bulk_retry":
        yield from (after[f"task:{task}"]["parent"] for task in set(_tasks(after)) - set(_tasks(before)))
        return
    for task in _tasks(before):
        was, stands = before[f"task:{task}"], after.get(f"task:{task}")
        if verb == "bulk_forget" and stands is None:
            yield task
        elif verb == "bulk_cancel" and stands is not None:
            ended = was["state"] not in TERMINAL and stands["state"] in TERMINAL
            if "cancel" not in was and ("cancel" in stands or ended):
                yield task


def _fits(dump: Keyspace, record: dict[str, str], handler: str) -> bool:
    return not handler or bool(dump[f"lane:{record['lane']}"]["handler"] == f"{APP}/{handler}")


def _tasks(dump: Keyspace) -> Iterator[str]:
    return (name.removeprefix("task:") for name in dump if name.startswith("task:") and "." not in name)
