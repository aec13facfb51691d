"""The API on a real engine, without a port: an installation, its tokens, and a client that speaks ASGI."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from fastapi import FastAPI

from gojob_redis import match, task
from gojob_redis.api import create_app
from gojob_redis.control.identities import PERMISSIONS, Identities
from gojob_redis.control.installation import bootstrap_or_open
from gojob_redis.control.tokens import create_token
from gojob_redis.domain import ids, limits, names, verbs
from gojob_redis.domain.verbs import Submission, Submitted
from gojob_redis.engine.client import Client, Clients
from gojob_redis.engine.log_chunks import Pack
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_sdk import protocol
from tests.tools import keyspace

PARTITIONS = 4
APP = "/v1/apps/default/shop"
SHOP = "default/shop"
DAILY = {"kind": "cron", "spec": "30 2 * * *", "time_zone": "Europe/Berlin"}
GATEWAY = "g1"


@dataclass(slots=True)
class Served:
    """An app that runs, and what a test does with it."""

    space: Partitions
    app: FastAPI
    http: httpx2.AsyncClient
    tokens: dict[str, str]
    """By kind: admin, api, worker."""

    async def ask(self, method: str, path: str, body: Any = None, *, kind: str = "admin", **options: Any) -> Any:
        """Make a request with a token of this kind ("" for none)."""
        headers = {"Authorization": f"Bearer {self.tokens[kind]}"} if kind else {}
        headers |= options.pop("headers", {})
        return await self.http.request(method, path, json=body, headers=headers, **options)

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON of a GET that succeeds."""
        answer = await self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """The JSON of a POST that succeeds."""
        answer = await self.ask("POST", path, body, **options)
        assert answer.status_code in (200, 201, 202), answer.text
        return answer.json()

    async def put_trigger(self, name: str = "nightly", **changes: Any) -> Any:
        """A trigger that is accepted."""
        body = {"handler": "send", "schedule": DAILY, "allow_unknown": True, **changes}
        answer = await self.ask("PUT", f"{APP}/triggers/{name}", body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def submit(self, handler: str = "send", **body: Any) -> str:
        """The id of a task that is accepted."""
        created = await self.post(f"{APP}/handlers/{handler}/tasks", {"allow_unknown": True, **body})
        return str(created["id"])

    async def dump(self) -> keyspace.Keyspace:
        """Everything the engine holds but the clocks."""
        contents = await keyspace.dump(self.space.clients.commands)
        for name, value in contents.items():
            if name.endswith("}:meta"):
                contents[name] = {field: value[field] for field in value if field not in ("raw", "steady", "jumped_at")}
        return contents

    async def enlist(
        self,
        *handlers: str,
        labels: str = "",
        attributes: str = "",
        capacity: int = 10,
        name: str = "worker-1",
        app: str = SHOP,
    ) -> str:
        """A session as a gateway makes it; its gateway is heard now."""
        full = [f"{app}/{handler}" for handler in handlers or ("send",)]
        session = ids.new_session_id()
        enlistment = verbs.Enlistment(
            session=session,
            app=app,
            group=names.group_id(
                app, full, dict(pair.split("=") for pair in labels.split(",") if pair), ["host"] if attributes else []
            ),
            handlers=" ".join(full),
            labels=labels,
            attributes=attributes,
            capacity=capacity,
            gateway=GATEWAY,
            conn=1,
            holder="key",
            name=name,
            facts=b"\x82\xa4host\xa3db7\xa3pid\x07",
        )
        partition = (await self.space.of_app(app)).number
        assert await match.enlist(self.space[partition], [enlistment]) == ["ok"]
        return session

    async def tell(self, handler: str = "send", *, app: str = SHOP, forget: bool = True, **spec: Any) -> str:
        """A version of a handler as a gateway makes it known.

        forget: read what is known of the handler again, as after 10 s.
        """
        packed = protocol.pack_spec(spec)  # type: ignore[arg-type]
        digest = protocol.spec_digest(packed)
        partition = await self.space.of_app(app)
        await partition.call(verbs.describe([verbs.Telling(app, f"{app}/{handler}", digest, packed)]))
        if forget:
            self.app.state.edge.handlers.forget(f"{app}/{handler}")
        return digest

    async def record(self, run: str) -> dict[str, str]:
        """The fields of a run's record."""
        client: Any = self.space.clients.commands
        fields = await client.hgetall(f"{self.space.prefixes[ids.partition_of(run.partition('.')[0])]}task:{run}")
        return {name.decode(): value.decode("utf-8", "replace") for name, value in fields.items()}

    async def start(self, run: str) -> None:
        """The worker began."""
        record = await self.record(run)
        partition = ids.partition_of(run.partition(".")[0])
        start = verbs.Start(record["session"], run, int(record["attempt"]), record["fence"])
        assert await task.start(self.space[partition], [start]) == ["ok"]

    async def report(self, run: str, outcome: str = "ok", value: bytes = b"\x01", *, disposition: str = "") -> None:
        """The worker's report, accepted."""
        record = await self.record(run)
        partition = ids.partition_of(run.partition(".")[0])
        report = verbs.Report(
            record["session"], run, int(record["attempt"]), record["fence"], outcome, 0, value, disposition
        )
        assert (await task.report(self.space[partition], [report])).words == ["accepted"]

    async def progress(self, run: str, packed: bytes) -> None:
        """What the worker says about how far it is."""
        await self._note(run, "progress", packed)

    async def log(self, run: str, *lines: tuple[int, str, str], logger: str = "app", **counts: int) -> None:
        """A chunk of lines of the worker: time, level and text each."""
        record = await self.record(run)
        pack = Pack(int(record["attempt"]), record["worker"])
        for at_ms, level, text in lines:
            pack.add(at_ms, level, logger, text, len(text))
        await self.chunk(run, pack.packed() if lines else b"", lines=len(lines), **counts)

    async def chunk(self, run: str, packed: bytes, *, lines: int, **counts: int) -> None:
        """A chunk as it is stored."""
        most = {
            "most_lines": limits.LOG_PER_RUN_LINES,
            "most_bytes": limits.LOG_PER_RUN_BYTES,
            "app_bytes": limits.LOG_PER_APP_BYTES,
        }
        await self._note(run, "log", packed, lines=lines, **(most | counts))

    async def _note(self, run: str, kind: str, text: bytes, **counts: int) -> None:
        record = await self.record(run)
        partition = ids.partition_of(run.partition(".")[0])
        note = verbs.Note(record["session"], run, int(record["attempt"]), kind, text, **counts)
        assert await task.note(self.space[partition], [note]) == ["ok"]


def space_on(client: Client, partitions: int = PARTITIONS) -> Partitions:
    """Partitions over one client for everything."""
    return Partitions(Clients(client, client, client), partitions)


@asynccontextmanager
async def serving(client: Client, *, remember_s: float = 0.0) -> AsyncIterator[Served]:
    """The API of a new installation; submissions go to the engine directly."""
    space = space_on(client)
    await bootstrap_or_open(space)
    tokens: dict[str, str] = {kind: (await create_token(space, kind, name="test")).token for kind in PERMISSIONS}

    async def submit(partition: Partition, submissions: Sequence[Submission], app: str) -> list[Submitted]:
        done: list[Submitted] = []
        for first in range(0, len(submissions), 100):
            await served_by.state.edge.levels.of(app)
            may_have = served_by.state.edge.levels.written([app])
            done += (await task.submit(partition, submissions[first : first + 100], may_have=may_have)).each
        return done

    served_by = create_app(space, Identities(space, remember_s=remember_s), submit)
    transport = httpx2.ASGITransport(app=served_by, raise_app_exceptions=False)
    async with (
        served_by.router.lifespan_context(served_by),
        httpx2.AsyncClient(transport=transport, base_url="http://gojob.test") as http,
    ):
        yield Served(space, served_by, http, tokens)
