"""A partition with a clock of its own, and short words for the verbs: what the script tests are written in."""

import hashlib
from collections import ChainMap
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gojob_redis.domain import limits, policies, verbs
from gojob_redis.domain.address import app_of
from gojob_redis.domain.names import canonical_labels, group_id
from gojob_redis.engine import scripts
from gojob_redis.engine.scripts import verb as verb_named
from tests.conftest import Partition
from tests.tools import keyspace
from tests.tools.keyspace import Keyspace

T0 = 1_800_000_000_000
DAY = 86_400_000
APP = "default/shop"
HANDLER = f"{APP}/send"


def lanes_hold(tasks: int, patch: pytest.MonkeyPatch) -> None:
    """Make lanes full with fewer tasks than a million."""
    change_scripts(("submit", "fire", "bulk_retry", "bulk_run"), "> 1000000", f"> {tasks}", patch)


def change_scripts(names: tuple[str, ...], text: str, other: str, patch: pytest.MonkeyPatch) -> None:
    """Put another text into some scripts, such as a smaller limit."""
    known = scripts.load_all()
    smaller = {}
    for name in names:
        verb = replace(known[name], body=known[name].body.replace(text, other))
        shas = {flavour: hashlib.sha1(verb.source(flavour).encode()).hexdigest() for flavour in verb.shas}
        smaller[name] = replace(verb, shas=shas)
    patch.setattr(scripts, "load_all", lambda: ChainMap(smaller, known))


def with_policies(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a task or a trigger with its policies, which are named as in Redis, in their one text."""
    said = {policy.name: options[field] for field, policy in policies.BY_FIELD.items() if field in options}
    rest = {name: value for name, value in options.items() if name not in policies.BY_FIELD}
    return {"policies": policies.write(said), **rest}


@dataclass(frozen=True, slots=True)
class Dispatch:
    """An assignment as it lies in a gateway's inbox."""

    session: str
    run: str
    attempt: int
    fence: str
    param: str


@dataclass(slots=True)
class World:
    """One bootstrapped partition; time moves only by ``pass_ms``."""

    partition: Partition
    now: int = T0
    nonces: int = 0
    read: dict[str, int] = field(default_factory=dict)

    async def call(self, verb: str, items: Any = (), /, **scalars: Any) -> list[Any]:
        """Call a verb at this world's time; replies as text."""
        wanted = {param.name for param in verb_named(verb).header.scalars}
        if "nonce" in wanted:
            self.nonces += 1
            scalars.setdefault("nonce", f"n{self.nonces}")
        if "cpu_us" in wanted:
            scalars.setdefault("cpu_us", 60_000_000)
        if "reply_to" in wanted:
            scalars.setdefault("reply_to", "")
        if "quotas" in wanted:
            scalars.setdefault("quotas", "")
        if "now_ms" in wanted:
            scalars["now_ms"] = self.now
        reply = await self.partition.call(verb, items, **scalars)
        return [word.decode() if isinstance(word, bytes) else word for word in reply]

    async def dump(self) -> Keyspace:
        return await self.partition.dump()

    async def value(self, kind: str, name: str) -> Any:
        """What one key holds."""
        return await keyspace.read(self.partition.client, kind, self.partition.prefix + name)

    async def empty(self) -> None:
        """Take everything away that a test spoiled, so that what always holds need not."""
        for name in [name async for name in self.partition.client.scan_iter(match=f"{self.partition.prefix}*")]:
            await self.partition.client.delete(name)

    async def task(self, run: str) -> dict[str, str]:
        found: dict[str, str] = await self.value("hash", f"task:{run}")
        return found

    async def events(self) -> list[str]:
        return [entry["kind"] for entry in keyspace.events(await self.dump())]

    def pass_ms(self, ms: int) -> None:
        self.now += ms

    async def pass_steadily(self, ms: int, *, step: int = 500, renew: tuple[str, ...] = ()) -> None:
        """Let time pass as it does in health: visited often enough that the steady clock keeps up."""
        target = self.now + ms
        while self.now < target:
            self.now = min(target, self.now + step)
            await self.call("now")
            if renew:
                await self.renew(*renew)

    # ---- workers -----------------------------------------------------------------------------------------------------

    async def enlist(
        self,
        session: str = "s1",
        *,
        handlers: tuple[str, ...] = (HANDLER,),
        labels: dict[str, str] | None = None,
        attributes: tuple[str, ...] = (),
        capacity: int = 1,
        gateway: str = "g1",
        app: str = APP,
        quotas: str = "",
    ) -> str:
        group = group_id(app, handlers, labels or {})
        item = (
            session, app, group, " ".join(handlers), canonical_labels(labels or {}), ",".join(attributes), capacity,
            gateway, 1, "key", f"worker-{session}", b"",
        )  # fmt: skip
        return str((await self.call("enlist", [item], quotas=quotas))[1])

    async def renew(
        self, *sessions: str, gateway: str = "g1", conn: int = 1, age: int = 0, held: int = -1, capacity: int = -1
    ) -> list[str]:
        items = [(session, conn, age, held, capacity, "") for session in sessions]
        return (await self.call("renew", items, gateway=gateway))[1:]

    async def resume(
        self, session: str = "s1", *held: Dispatch, started: bool = True, gateway: str = "g2", conn: int = 0
    ) -> list[Any]:
        items = [(run.run, run.attempt, run.fence, int(started)) for run in held]
        given = {"session": session, "app": APP, "holder": "key", "gateway": gateway, "conn": conn, "capacity": -1}
        return await self.resume_all(items, **given)

    async def resume_all(self, items: list[tuple[Any, ...]], **scalars: Any) -> list[Any]:
        """``resume``, and what the first call tells to be unlisted by a second; the first reply without that."""
        word, *rest = await self.call("resume", items, compare=1, **scalars)
        if not rest:
            return [word]
        conn, seats, *verdicts = rest
        unlisted = [seat.rpartition("@") for seat in seats.split()]
        if unlisted:
            again = [(run, int(attempt), "", -1) for run, _, attempt in unlisted]
            words = await self.call("resume", again, compare=0, **(scalars | {"conn": conn}))
            word = max(word, words[0], key=("ok", "more").index)
        return [word, conn, *verdicts]

    async def leave(self, session: str = "s1", *, gateway: str = "g1", conn: int = 1) -> str:
        return str((await self.call("leave", [(session, conn)], gateway=gateway))[1])

    async def inbox(self, gateway: str = "g1") -> list[str]:
        """The raw kinds and runs of a gateway's inbox that were not read yet."""
        return [f"{kind} {parts[1 if kind in ('moved', 'sync') else 2]}" for kind, parts in await self._inbox(gateway)]

    async def dispatches(self, gateway: str = "g1") -> list[Dispatch]:
        """The assignments that came into a gateway's inbox since the last look."""
        found = []
        for kind, parts in await self._inbox(gateway):
            if kind == "run":
                session, _conn, run, attempt, fence, *_rest = parts
                size = int(parts[14])
                found.append(Dispatch(session, run, int(attempt), fence, parts[15][:size]))
        return found

    async def _inbox(self, gateway: str) -> list[tuple[str, list[str]]]:
        entries = await self.value("stream", f"inbox:{gateway}")
        fresh = entries[self.read.get(gateway, 0) :]
        self.read[gateway] = len(entries)
        values = [value.split("\x1f") for entry in fresh for value in entry.values()]
        return [(kind, parts) for kind, *parts in values]

    # ---- work --------------------------------------------------------------------------------------------------------

    async def submit(self, *tasks: str, handler: str = HANDLER, quotas: str = "", **options: Any) -> list[str]:
        """Submit tasks; returns one word each."""
        items = [self.submission(task, handler, **options) for task in tasks]
        return (await self.call("submit", items, quotas=quotas))[1::2]

    @staticmethod
    def submission(task: str, handler: str = HANDLER, **options: Any) -> verbs.Submission:
        key, trace = options.pop("own_key", ""), options.pop("traceparent", "")
        names = f"{key} {trace}" if trace else key
        lineage = options.pop("parent", "")
        return verbs.Submission(task, handler, app_of(handler), names=names, lineage=lineage, **with_policies(options))

    async def start(self, *runs: Dispatch) -> list[str]:
        items = [(run.session, run.run, run.attempt, run.fence) for run in runs]
        return (await self.call("start", items))[1:]

    async def acknowledge(self, *runs: Dispatch) -> list[str]:
        return (await self.call("acknowledge", [(run.session, run.run, run.attempt) for run in runs]))[1:]

    async def note(
        self,
        run: Dispatch,
        text: bytes = b"line",
        kind: str = "log",
        *,
        lines: int = 1,
        by_gateway: int = 0,
        by_worker: int = 0,
        most_lines: int = limits.LOG_PER_RUN_LINES,
        most_bytes: int = limits.LOG_PER_RUN_BYTES,
        app_bytes: int = limits.LOG_PER_APP_BYTES,
    ) -> str:
        counts = (lines, by_gateway, by_worker, most_lines, most_bytes, app_bytes) if kind == "log" else (0,) * 6
        return str((await self.call("note", [(run.session, run.run, run.attempt, kind, text, *counts)]))[1])

    async def report(
        self,
        *runs: Dispatch,
        outcome: str = "ok",
        disposition: str = "",
        value: bytes = b"",
        started: int = 0,
        failure: bytes = b"",
    ) -> list[str]:
        items = [
            verbs.Report(run.session, run.run, run.attempt, run.fence, outcome, started, value, disposition, failure)
            for run in runs
        ]
        return (await self.call("report", items))[1:]

    async def release(self, *runs: Dispatch, reason: str = "draining", conn: int = 0) -> list[str]:
        items = [(run.session, run.run, run.attempt, run.fence, reason, conn) for run in runs]
        return (await self.call("release", items))[1:]

    async def cancel(self, *tasks: str, reason: str = "canceled") -> list[str]:
        return (await self.call("cancel", [(task, reason) for task in tasks]))[1:]

    async def expire(self, limit: int = 100) -> list[Any]:
        return await self.call("expire", limit=limit)

    async def retire(
        self, *handlers: str, keep_ms: int = 7 * DAY, keep: int = 10_000, look_ms: int | None = None, limit: int = 100
    ) -> tuple[str, int]:
        """Walk the indexes of these handlers, and of their apps, to their ends as the loop does; word and number."""
        apps = dict.fromkeys(handler.rpartition("/")[0] or "?" for handler in handlers)
        items = [("handler", handler, keep_ms, keep, keep_ms, 0, 0) for handler in handlers]
        items += [("app", app, keep_ms, keep, keep_ms if look_ms is None else look_ms, 0, 0) for app in apps]
        retired = 0
        words: set[str] = set()
        while items:
            word, gone, looked, *places = await self.call("retire", items, limit=limit, wait_ms=7 * DAY)
            retired, words = retired + gone, words | {word}
            went_on = [(*item[:5], place, 0) for item, place in zip(items, places, strict=True) if place]
            items = [*went_on, *items[looked:]]
        return ("more" if "more" in words else "ok"), retired

    async def reap(self, limit: int = 100) -> list[Any]:
        return await self.call("reap", limit=limit)

    # ---- triggers ----------------------------------------------------------------------------------------------------

    async def define(self, *times: int, name: str = "t", uid: str = "abcdefg", **options: Any) -> list[Any]:
        given: dict[str, Any] = {
            "app": APP, "name": name, "uid": uid, "change": f"c{self.now}-{self.nonces}", "revision": -1, "active": 1,
            "state": "active", "paused": 0, "owner": "", "rule": "", "handler": HANDLER, "labels": "", "attribute": "",
            "shards": 1, "shard_params": b"", "param": b"", "definition": b"", "times": ",".join(map(str, times)),
            "planned": times[-1] if times else self.now, "low_at": 2**50, "over": 1, "most": 100, "sources": "",
            "defaults_rev": "",
        } | with_policies({"overlap": "allow", **options})  # fmt: skip
        self.nonces += 1
        return await self.call("define", **given)

    async def fire(self, limit: int = 100) -> list[Any]:
        return await self.call("fire", limit=limit)

    async def ledger(self, uid: str = "abcdefg") -> list[str]:
        return list(await self.value("zset", f"ledger:{uid}"))
