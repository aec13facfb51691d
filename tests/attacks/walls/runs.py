"""A worker of another namespace, whose app shares the partition, and who knows every id of a run."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Self

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gojob_redis.domain.ids import base36
from gojob_redis.engine.keys import CONTROL, K
from gojob_sdk import protocol
from tests.attacks.attack import attack
from tests.faults.rig import Rig, until

OURS, THEIRS = "default/shop", "other/shop"
PARTITION = 3
ROUNDS = 20
REFUSED = {"fenced", "gone"}


class Worker:
    """A worker that speaks raw frames."""

    def __init__(self, socket: ClientConnection, app: str) -> None:
        self.socket = socket
        self.app = app

    @classmethod
    async def of(cls, rig: Rig, app: str, capacity: int) -> Self:
        """Connected to the gateway with a token that is good for its namespace only."""
        namespace, _, name = app.partition("/")
        asked = {"kind": "worker", "scope": [namespace]}
        token = rig.request("POST", "/v1/tokens", json=asked)["token"]
        worker = cls(await _socket(rig, token), app)
        await worker.send(
            "hello", protocol=protocol.VERSIONS[-1], sdk="raw", namespace=namespace, app=name, worker="w", host="h",
            pid=1, labels={}, attributes=[], handlers=["send"], capacity=capacity, held=[],
        )  # fmt: skip
        assert (await worker.next())["type"] == "welcome"
        return worker

    async def send(self, type: str, **fields: Any) -> None:
        await self.socket.send(msgpack.packb({"type": type, **fields}))

    async def next(self) -> dict[str, Any]:
        data = await self.socket.recv()
        assert isinstance(data, bytes)
        return dict(protocol.decode_gateway(data) or {})

    async def assigned(self, rig: Rig, tasks: int = 1) -> list[dict[str, Any]]:
        """What the gateway gives it of so many new tasks of its app."""
        path = f"/v1/apps/{self.app}/handlers/send/tasks:batch"
        await asyncio.to_thread(rig.request, "POST", path, json={"tasks": [{} for _ in range(tasks)]})
        got: list[dict[str, Any]] = []
        while len(got) < tasks:
            got += (await self.next()).get("runs", ())
        return got

    async def words(self, count: int) -> list[str]:
        """So many verdicts, or what came of them in 2 s: a start that is accepted has none."""
        got: list[str] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                while len(got) < count:
                    got += [one["verdict"] for one in (await self.next()).get("runs", ())]
        return got


async def _socket(rig: Rig, token: str) -> ClientConnection:
    return await connect(
        f"ws://127.0.0.1:{rig.gateways[0].port}{protocol.PATH}",
        subprotocols=[Subprotocol(protocol.SUBPROTOCOL)],
        additional_headers={"Authorization": f"Bearer {token}"},
        compression=None,
    )


async def _two(rig: Rig, capacity: int = ROUNDS) -> tuple[Worker, Worker]:
    """Ours and theirs: two namespaces whose apps stand in one partition."""
    await rig.start(workers=0, triggers=0)
    rig.engine.hset(K.apps(CONTROL), mapping={OURS: PARTITION, THEIRS: PARTITION})
    rig.request("PUT", "/v1/namespaces/other")
    return await Worker.of(rig, OURS, capacity), await Worker.of(rig, THEIRS, capacity)


def _key(run: dict[str, Any]) -> dict[str, Any]:
    return {name: run[name] for name in ("run", "attempt")}


def _ref(run: dict[str, Any]) -> dict[str, Any]:
    return {name: run[name] for name in ("run", "attempt", "fence")}


def _record(rig: Rig, run: dict[str, Any]) -> dict[bytes, bytes]:
    record: dict[bytes, bytes] = rig.engine.hgetall(K.task(rig.prefix_of(OURS), run["run"]))
    return record


# ---- what is written down without an answer --------------------------------------------------------------------------


def _lines(run: dict[str, Any]) -> dict[str, Any]:
    line = {"at": 1, "level": "info", "text": "forged"}
    return _key(run) | {"log": [line], "progress": {"percent": 1.0, "message": "forged"}}


@attack(
    "H3-note", "log lines and progress of another namespace's runs: how many were written", bound="== 0", short=True
)
async def forged_notes(rig: Rig) -> float:
    """While they run, and after their end."""
    ours, theirs = await _two(rig)
    targets = await ours.assigned(rig, ROUNDS)
    [own] = await theirs.assigned(rig)
    ended = targets[: ROUNDS // 2]
    await ours.send("report", outcomes=[_ref(run) | _OK for run in ended])
    await ours.words(len(ended))

    await theirs.send("note", entries=[*map(_lines, targets), _lines(own)])

    await until(lambda: b"progress" in _record(rig, own), 5, "the line of its own run")  # it comes after the others
    prefix = rig.prefix_of(OURS)
    written = sum(rig.engine.exists(K.log(prefix, run["run"])) for run in targets)
    return float(written + sum(b"progress" in _record(rig, run) for run in targets))


@attack(
    "H3-acknowledge", "cancels of another namespace that somebody else says were heard: how many count", bound="== 0"
)
async def forged_acknowledgements(rig: Rig) -> float:
    """Such a cancel is not sent again, and its worker goes on until the grace is over."""
    ours, theirs = await _two(rig)
    targets = await ours.assigned(rig, ROUNDS)
    [own] = await theirs.assigned(rig)
    for run in (*targets, own):
        await asyncio.to_thread(rig.request, "POST", f"/v1/tasks/{run['run']}/cancel")

    await theirs.send("acknowledge", runs=[*map(_key, targets), _key(own)])

    await until(lambda: b"cancel_heard" in _record(rig, own), 5, "the cancel of its own run")
    return float(sum(b"cancel_heard" in _record(rig, run) for run in targets))


# ---- what is answered ------------------------------------------------------------------------------------------------

_OK = {"outcome": "ok", "started_ms": 1, "ended_ms": 2}


@attack(
    "H3-report",
    "runs of another namespace told of with their true fence: how many were touched",
    bound="== 0",
    short=True,
)
async def forged_reports(rig: Rig) -> float:
    """Started, reported, handed back, taken home: each is fenced, and the record stays as it was."""
    ours, theirs = await _two(rig)
    targets = await ours.assigned(rig, ROUNDS)
    runs = [_ref(run) for run in targets]
    before = [_record(rig, run) for run in targets]

    forged: list[tuple[str, dict[str, Any]]] = [("start", {"runs": runs})]
    forged += [("release", {"runs": runs, "reason": reason}) for reason in ("draining", "rejected")]
    forged += [("report", {"outcomes": [run | _OK | {"outcome": word} for run in runs]}) for word in ("error", "ok")]
    accepted = 0
    for type, fields in forged:
        await theirs.send(type, **fields)
        accepted += len(runs) - sum(word in REFUSED for word in await theirs.words(len(runs)))

    touched = sum(_record(rig, run) != record for run, record in zip(targets, before, strict=True))
    await ours.send("report", outcomes=[run | _OK for run in runs])
    lost = sum(word != "accepted" for word in await ours.words(len(runs)))
    return float(touched + lost + accepted)


# ---- what can be foretold --------------------------------------------------------------------------------------------

STATE, MIDDLE = 624, 397
SEEN = 700
SKIPPED = range(30)
"""Nonces in between that went to calls nobody sees, as that by which the gateway shows that it lives."""
NONCES = 36**6


@attack("H3-nonce", "random parts of fences foretold from 625 others", bound="== 0")
async def foretold_nonces(rig: Rig) -> float:
    """A Mersenne Twister's output is a function of three it gave before, and each is known but for one bit."""
    ours, _ = await _two(rig, protocol.MAX_CAPACITY)
    nonces = []
    for number in range(SEEN):
        if number % 50 == 0:
            await ours.send("renew", seq=number)  # or its lease ends
        [run] = await ours.assigned(rig)
        nonces.append(_number_of(run["fence"].partition("-")[2]))
    foretold = 0
    for at in range(SEEN - STATE):
        earlier = {nonces[place] for skipped in SKIPPED if (place := at + STATE - skipped) < SEEN}
        foretold += any(
            not earlier.isdisjoint(_next_of(nonces[at], nonces[at + 1], nonces[at + MIDDLE - skipped]))
            for skipped in SKIPPED
        )
    return float(foretold)


def _number_of(nonce: str) -> int:
    """The number behind a nonce, as the Mersenne Twister's was written: the last pair of digits first."""
    first, second, third = (int(nonce[at : at + 2], 36) for at in (0, 2, 4))
    return first + 1296 * (second + 1296 * third)


def _outputs(nonce: int) -> Iterator[int]:
    """The words of the state that give this nonce: one or two."""
    return (_untempered(word) for word in (nonce, nonce + NONCES) if word < 1 << 32)


def _next_of(first: int, second: int, middle: int) -> Iterator[int]:
    """What comes 624 later, by the recurrence of MT19937."""
    for one, two, other in itertools.product(_outputs(first), _outputs(second), _outputs(middle)):
        mixed = (one & 0x80000000) | (two & 0x7FFFFFFF)
        yield _tempered(other ^ (mixed >> 1) ^ (0x9908B0DF if mixed & 1 else 0)) % NONCES


def _tempered(word: int) -> int:
    word ^= word >> 11
    word ^= word << 7 & 0x9D2C5680
    word ^= word << 15 & 0xEFC60000
    return word ^ word >> 18


def _untempered(word: int) -> int:
    word ^= word >> 18
    word ^= word << 15 & 0xEFC60000
    low = word
    for _ in range(4):
        low = word ^ (low << 7 & 0x9D2C5680)
    high = low
    for _ in range(2):
        high = low ^ high >> 11
    return high


@attack("H3-ids", "ids of submissions foretold from their neighbours", bound="== 0", short=True)
async def foretold_ids(rig: Rig) -> float:
    """A client that submits before and after another one cannot compute the ids between."""
    ours, _ = await _two(rig)
    path = f"/v1/apps/{ours.app}/handlers/quiet/tasks:batch"
    body = {"tasks": [{"at": "2099-01-01T00:00:00Z", "allow_unknown": True} for _ in range(1_000)]}
    ids = sorted((await asyncio.to_thread(rig.request, "POST", path, json=body))["ids"])
    return float(sum(after in _foretold(one, two) for one, two, after in zip(ids, ids[1:], ids[2:], strict=False)))


def _foretold(one: str, two: str) -> Sequence[str]:
    """The ids that a series of these two goes on with."""
    number, step = int(two[3:], 36), int(two[3:], 36) - int(one[3:], 36)
    counted = two[:-8] + base36(int(two[-8:], 36) + 1, 8)
    return (two[:3] + base36(number + 1, 17), two[:3] + base36(number + step, 17), counted)
