"""Hostile schemas: what a worker can tell of its handlers, and what a client can send against it."""

import asyncio
import itertools
import time
from typing import Any

import msgpack
from websockets.exceptions import ConnectionClosed

from gojob_sdk import protocol
from tests.attacks.attack import Bystander, Memory, attack
from tests.attacks.walls.frames import packed, worker
from tests.faults.rig import ADDRESS, Rig

FLOOD_S = 5.0
_numbers = itertools.count()


def hostile(kind: str) -> dict[str, Any]:
    """A schema that means harm, and differs from every other."""
    schemas: dict[str, dict[str, Any]] = {
        "doubling": {
            "$ref": "#/$defs/d0",
            "$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
            | {"d40": {"type": "string"}},
        },
        "itself": {"$ref": "#"},
        "patterns": {"allOf": [{"items": {"pattern": r"\w{60}" + "\\W?" * 10 + str(n)}} for n in range(200)]},
        "backtracking": {"items": {"pattern": r"^(([a-z])+.)+[A-Z]([a-z])+$"}},
        "wide": {"items": {"anyOf": [False] * 16_000}},
        "names": {"items": {"properties": {f"n{n}": {"minimum": 1} for n in range(900)}}},
    }
    return {**schemas[kind], "title": f"{kind} {next(_numbers)}"}


KINDS = ("doubling", "itself", "patterns", "backtracking", "wide", "names")


@attack(
    "J1-specs", "a worker that tells hostile schemas without an end: p99 ms that another request waits", bound="<= 50"
)
async def told(rig: Rig) -> float:
    """Schemas are compiled one at a time, in a thread, with pauses."""
    await rig.start(workers=0, triggers=0)
    ends = time.monotonic() + FLOOD_S
    with Bystander(rig.gateways[0].port) as bystander:
        while time.monotonic() < ends:
            specs = [msgpack.packb({"params": hostile(kind)}) for kind in KINDS * 10]
            digests = [protocol.spec_digest(spec) for spec in specs]
            try:
                async with worker(rig, handlers=[f"h{n}" for n in range(len(specs))], specs=digests) as socket:
                    await socket.recv()
                    for spec in specs:
                        await socket.send(packed("described", specs=[spec]))
                    await asyncio.sleep(0.5)
            except ConnectionClosed:
                pass
    return bystander.p99_ms


@attack(
    "J1-params", "parameters made for hostile schemas: worst ms that another request waits", bound="<= 200", short=True
)
async def checked(rig: Rig) -> float:
    """A check ends after its steps."""
    await rig.start(workers=0, triggers=0)
    specs = {kind: msgpack.packb({"params": hostile(kind)}) for kind in KINDS}
    by_digest = {protocol.spec_digest(spec): spec for spec in specs.values()}
    async with worker(rig, handlers=list(specs), specs=list(by_digest)) as socket:
        asked = msgpack.unpackb(await socket.recv())["specs"]
        await socket.send(packed("described", specs=[by_digest[one] for one in asked]))
        for kind in specs:
            await _told(rig, kind)
        values: list[Any] = [["a" * 999] * 200, [{}] * 5_000, ["ab" * 5_000], 1, [1] * 10_000]
        with Bystander(rig.gateways[0].port) as bystander:
            for kind, params in itertools.product(specs, values):
                path = f"/v1/apps/{ADDRESS}/handlers/{kind}/tasks"
                await asyncio.to_thread(rig.answer, "POST", path, json={"params": params})
    return bystander.worst_ms


async def _told(rig: Rig, handler: str) -> None:
    """Wait until the engine knows what a handler takes."""
    path = f"/v1/apps/{ADDRESS}/handlers/{handler}"
    async with asyncio.timeout(20):
        while not (await asyncio.to_thread(rig.request, "GET", path))["versions"]:  # noqa: ASYNC110  nobody tells us
            await asyncio.sleep(0.05)


@attack("J1-memory", "100 large schemas, each used: MiB that the gateway grows", bound="<= 150")
async def kept(rig: Rig) -> float:
    """The number of compiled schemas is bounded, and each of them is."""
    await rig.start(workers=0, triggers=0)
    memory = Memory(rig.gateways[0])
    schema = {"properties": {f"n{n}": {"minimum": n, "maximum": n + 1} for n in range(990)}}
    specs = [msgpack.packb({"params": {**schema, "title": str(n)}}) for n in range(100)]
    by_digest = {protocol.spec_digest(spec): spec for spec in specs}
    handlers = [f"h{n}" for n in range(len(specs))]
    async with worker(rig, handlers=handlers, specs=list(by_digest)) as socket:
        for one in msgpack.unpackb(await socket.recv())["specs"]:
            await socket.send(packed("described", specs=[by_digest[one]]))
        for handler in handlers:
            await _told(rig, handler)
            await asyncio.to_thread(
                rig.answer, "POST", f"/v1/apps/{ADDRESS}/handlers/{handler}/tasks", json={"params": {"n1": 1}}
            )
        memory.look()
    return memory.worst_mb
