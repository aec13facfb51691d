"""A busy tenant: how long others wait meanwhile, and what it costs."""

import asyncio
import itertools
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

import httpx2
import msgpack
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from gojob_redis.domain import ids, limits
from gojob_redis.domain.limits import PARTITIONS
from gojob_redis.engine.keys import K, prefixes
from gojob_sdk import protocol
from tests.attacks.attack import Bystander, Memory, attack
from tests.faults.rig import Rig, now_ms, wait

HANDLERS = 100_000
MINE = "/v1/apps/default/crowded"
OTHERS = "/v1/apps/default/quiet/handlers/send"


async def _announced(rig: Rig, app: str, handlers: int) -> None:
    """As if workers had announced so many handlers."""
    rig.request(
        "PUT",
        f"/v1/apps/{app}/triggers/first",
        json={"handler": "none", "schedule": {"kind": "manual"}, "allow_unknown": True},
    )
    prefix = rig.prefix_of(app)
    pipe = rig.engine.pipeline(transaction=False)
    for first in range(0, handlers, 5_000):
        names = [f"{app}/handler-{number:06d}" for number in range(first, first + 5_000)]
        pipe.zadd(K.handlers(prefix), dict.fromkeys(names, now_ms()))
        pipe.zadd(K.app_handlers(prefix, app), dict.fromkeys(names, 0))
    await asyncio.to_thread(pipe.execute)


@attack("H4-suggest", "100,000 handlers, names mistyped and triggers made: ms that another tenant waits", bound="<= 50")
async def suggestions(rig: Rig) -> float:
    """The cost of a refusal does not grow with the number of names, and an accepted name costs no search."""
    await rig.start(workers=0, triggers=0)
    await _announced(rig, "default/crowded", HANDLERS)
    manual = {"schedule": {"kind": "manual"}, "handler": "handler-000001"}
    with Bystander(rig.gateways[0].port, OTHERS, rig.system.admin_token) as bystander:
        await wait(0.5)
        for number in range(10):
            await _asked(rig, "POST", f"{MINE}/handlers/handlr-{number:06d}/tasks", {}, 422)
            await _asked(rig, "PUT", f"{MINE}/triggers/trigger-{number}", manual, 201)
            await _asked(rig, "GET", f"{MINE}/triggers/triger-{number}", None, 404)
            await _asked(rig, "GET", f"{MINE}/handlers/handler-{number:06d}", None, 200)
        await wait(0.5)
    return bystander.p99_ms


async def _asked(rig: Rig, method: str, path: str, body: object, status: int) -> None:
    """Ask with the admin token, and get this status."""
    answer = await asyncio.to_thread(rig.answer, method, path, json=body)
    assert answer.status_code == status, answer.text


# ---- answers ---------------------------------------------------------------------------------------------------------

NESTED = msgpack.packb([[] for _ in range(protocol.MAX_RESULT_BYTES - 8)])
"""256 KiB that are 262,000 objects."""
HEAVY = msgpack.packb([[[[[]]]] for _ in range(limits.ANSWER_ELEMENTS // 4 - 1)])
"""As much as an answer shows."""
BOMBS = (
    b"\xdd\x00\x03\xff\xf0" * 500 + b"\xc0" * 250_000,  # claims 131 million elements
    b"\x91" * 250_000 + b"\xc0",
    b"\xdf\xff\xff\xff\xff" + b"\x01" * 250_000,
    msgpack.packb([float("nan")] * 20_000),
    msgpack.packb({number * (2**61 - 1): None for number in range(8)}),
    b"\xdb\x00\x03\xd0\x90" + b"\xff" * 250_000,
    b"\x9f" + b"\xd7\xff" + b"\xff" * 8,
    b"\xc1" * 250_000,
)
ASKING = 8
"""Requests of the tenant at work that are under way at the same time."""


async def _ended(rig: Rig, results: Sequence[bytes]) -> str:
    """A task whose shards ended with these results, as if workers had sent them."""
    body = {"shards": len(results), "allow_unknown": True}
    task: str = rig.request("POST", f"{MINE}/handlers/large/tasks", json=body)["id"]
    prefix = prefixes(PARTITIONS)[ids.partition_of(task)]
    pipe = rig.engine.pipeline(transaction=False)
    lane = rig.engine.hget(K.task(prefix, task), "lane")
    for shard, result in enumerate(results):
        run = f"{task}.{shard}"
        fields = {"state": "run_to_completion", "place": "none", "lane": lane, "result_size": len(result)}
        pipe.hset(K.task(prefix, run), mapping=fields)
        pipe.set(K.result(prefix, run), result)
    await asyncio.to_thread(pipe.execute)
    return task


async def _asked_often(rig: Rig, paths: Sequence[str], seconds: float) -> None:
    """Ask for these, several at a time, for so long; each has to be answered."""
    until = asyncio.get_running_loop().time() + seconds

    async def ask(turn: int) -> None:
        for path in itertools.islice(itertools.cycle(paths), turn, None):
            await _asked(rig, "GET", path, None, 200)
            if asyncio.get_running_loop().time() > until:
                return

    async with asyncio.TaskGroup() as group:
        for turn in range(ASKING):
            group.create_task(ask(turn))


@attack(
    "H4-answers", "150 results of 256 KiB in nested lists, read again and again: ms that another waits", bound="<= 50"
)
async def large_answers(rig: Rig) -> float:
    """An answer unpacks values up to a budget, and answers that unpack much take turns."""
    await rig.start(workers=0, triggers=0)
    nested, heavy = await _ended(rig, [NESTED] * 150), await _ended(rig, [HEAVY] * 50)
    paths = [f"/v1/tasks/{nested}/runs?limit=150", f"/v1/tasks/{heavy}/runs?limit=50", f"/v1/tasks/{heavy}"]
    with Bystander(rig.gateways[0].port, OTHERS, rig.system.admin_token) as bystander:
        await _asked_often(rig, paths, 6.0)
    return bystander.p99_ms


@attack(
    "H4-answers-memory",
    "150 results of 256 KiB in nested lists, read again and again: MiB that it takes",
    bound="<= 60",
)
async def memory_of_large_answers(rig: Rig) -> float:
    """256 KiB of nested lists become 20 MB when they are unpacked."""
    await rig.start(workers=0, triggers=0)
    nested = await _ended(rig, [NESTED] * 150)
    await _asked(rig, "GET", f"/v1/tasks/{nested}/runs?limit=1", None, 200)
    memory = Memory(rig.gateways[0])
    async with memory.watched():
        await _asked_often(rig, [f"/v1/tasks/{nested}/runs?limit=150"], 4.0)
    return memory.worst_mb


@attack("H4-bomb", "results that no parser likes, read again and again: ms that another tenant waits", bound="<= 50")
async def bombs(rig: Rig) -> float:
    """A value that cannot be read is shown as unreadable."""
    await rig.start(workers=0, triggers=0)
    task = await _ended(rig, BOMBS)
    with Bystander(rig.gateways[0].port, OTHERS, rig.system.admin_token) as bystander:
        await _asked_often(
            rig, [f"/v1/tasks/{task}/runs?after={shard - 1}&limit=1" for shard in range(len(BOMBS))], 3.0
        )
    return bystander.p99_ms


HELLO: protocol.Hello = {
    "type": "hello",
    "protocol": max(protocol.VERSIONS),
    "sdk": "raw",
    "namespace": "default",
    "app": "crowded",
    "worker": "w1",
    "host": "here",
    "pid": 1,
    "labels": {},
    "attributes": [],
    "handlers": ["send"],
    "capacity": 1,
    "held": [],
}


# ---- what a namespace may have ---------------------------------------------------------------------------------------


def _limit(rig: Rig, namespace: str, **limits: int) -> None:
    rig.request("PUT", f"/v1/namespaces/{namespace}", json={"limits": limits})


def _token(rig: Rig, kind: str, namespace: str) -> str:
    token: str = rig.request("POST", "/v1/tokens", json={"kind": kind, "scope": [namespace]})["token"]
    return token


async def _statuses(rig: Rig, token: str, path: str, count: int) -> list[int]:
    """The statuses of so many GETs at once, each on a connection of its own."""
    headers = {"Authorization": f"Bearer {token}"}
    most = httpx2.Limits(max_connections=count)
    async with httpx2.AsyncClient(timeout=60, limits=most, base_url=rig.gateways[0].url, headers=headers) as http:
        return [answer.status_code for answer in await asyncio.gather(*(http.get(path) for _ in range(count)))]


@attack(
    "H4-polls",
    "300 long polls of a token that may have 50: the others that are refused or made to wait",
    bound="== 0",
)
async def long_polls(rig: Rig) -> float:
    """Another token's long poll is served, and what is too much is told at once."""
    await rig.start(workers=0, triggers=0)
    _limit(rig, "default", polls_per_token=50)
    greedy, modest = _token(rig, "api", "default"), _token(rig, "api", "default")
    task = rig.request("POST", f"{OTHERS}/tasks", json={"allow_unknown": True})["id"]
    polling = asyncio.create_task(_statuses(rig, greedy, f"/v1/tasks/{task}?wait=4s", 300))
    await wait(2.0)
    served = await _statuses(rig, modest, f"/v1/tasks/{task}?wait=500ms", 5)
    statuses = await polling
    wrong = abs(statuses.count(200) - 50) + (300 - statuses.count(200) - statuses.count(503))
    return wrong + sum(status != 200 for status in served)


@attack(
    "H4-delayed",
    "1,000 delayed tasks of an app that may have 100: how many are taken in beyond",
    bound="== 0",
    short=True,
)
async def delayed_tasks(rig: Rig) -> float:
    """The script that adds a task also counts it, so parallel requests cannot pass the limit."""
    await rig.start(gateways=1, workers=0, triggers=0)
    _limit(rig, "default", delayed_per_app=100)
    body = {"tasks": [{"delay_ms": 3_600_000, "allow_unknown": True}] * 100}
    path = f"{MINE}/handlers/late/tasks:batch"
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(asyncio.to_thread(rig.answer, "POST", path, json=body))
    taken: int = rig.engine.zcard(K.due(rig.prefix_of("default/crowded"), "default/crowded"))
    return abs(taken - 100)


@attack(
    "H4-sockets",
    "300 sockets of a token that may have 50: how many are welcomed beyond, or others refused",
    bound="== 0",
)
async def worker_sockets(rig: Rig) -> float:
    """A token's sockets are counted, and another token's worker is welcome."""
    await rig.start(workers=0, triggers=0)
    _limit(rig, "default", sockets_per_token=50)
    greedy, modest = _token(rig, "worker", "default"), _token(rig, "worker", "default")
    url = rig.gateways[0].url.replace("http", "ws", 1) + "/v1/worker"
    async with AsyncExitStack() as stack:

        async def welcomed(token: str) -> bool:
            headers = {"Authorization": f"Bearer {token}"}
            subprotocols = [Subprotocol(protocol.SUBPROTOCOL)]
            connecting = connect(url, additional_headers=headers, subprotocols=subprotocols, compression=None)
            socket = await stack.enter_async_context(connecting)
            await socket.send(protocol.encode(HELLO))
            answer = protocol.decode_gateway(await socket.recv(decode=False))
            return answer is not None and answer["type"] == "welcome"

        crowd = await asyncio.gather(*(welcomed(greedy) for _ in range(300)))
        return abs(sum(crowd) - 50) + (not await welcomed(modest))


# ---- requests --------------------------------------------------------------------------------------------------------

CONNECTIONS, NEW_ONES = 64, 500
FLOOD = """
import selectors, socket, sys
port, path, token = int(sys.argv[1]), sys.argv[2], sys.argv[3]
request = f"GET {path} HTTP/1.1\\r\\nHost: gojob.test\\r\\nAuthorization: Bearer {token}\\r\\n\\r\\n".encode()
asking = selectors.DefaultSelector()
def dial():
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(request)
    asking.register(connection, selectors.EVENT_READ)
for _ in range(int(sys.argv[4])):
    dial()
while True:
    for ready, _ in asking.select():
        if b"HTTP/1.1 " not in ready.fileobj.recv(65_536):
            continue
        if sys.argv[5] == "new":
            asking.unregister(ready.fileobj)
            ready.fileobj.close()
            dial()
        else:
            ready.fileobj.sendall(request)
"""
"""In a process of its own, so that what is measured is the gateway."""


@attack(
    "H4-requests", f"{CONNECTIONS} connections of one token that ask without a pause: ms others wait", bound="<= 50"
)
async def requests(rig: Rig) -> float:
    """A client with many open requests delays only itself."""
    return await _beside_flood(rig, CONNECTIONS, "kept")


@attack("H4-connections", f"a new connection for each request, {NEW_ONES} at a time: ms others wait", bound="<= 50")
async def connections(rig: Rig) -> float:
    """A connection that has shown a token does not wait for connections that have not."""
    return await _beside_flood(rig, NEW_ONES, "new")


async def _beside_flood(rig: Rig, count: int, how: str) -> float:
    """p99 of another token's wait, in ms."""
    await rig.start(workers=0, triggers=0)
    issued = rig.request("POST", "/v1/tokens", json={"kind": "api", "scope": ["default"]})
    task = rig.request("POST", f"{OTHERS}/tasks", json={"allow_unknown": True})["id"]
    port, path = rig.gateways[0].port, f"/v1/tasks/{task}"
    arguments = ("-c", FLOOD, str(port), path, issued["token"], str(count), how)
    flood = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:
        await wait(1.0)
        with Bystander(port, path, rig.system.admin_token) as bystander:
            await wait(5.0)
    finally:
        flood.kill()  # an error if it ended by itself
        await flood.wait()
    return bystander.p99_ms
