"""The SDK against the real thing: worker, client and an embedded server, as a user's own test would use them."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from gojob_sdk import Client, ClientError, Context, Worker
from gojob_sdk.testing import Embedded, embedded

DEADLINE_S = 20.0

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    with embedded() as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Embedded) -> Iterator[Client]:
    with Client(server.url, server.admin_token) as client:
        yield client


@pytest.fixture(scope="module")
def worker(server: Embedded) -> Iterator[Worker]:
    worker = Worker(app="shop", url=server.url, token=server.worker_token, api_token=server.admin_token, drain_s=1)

    @worker.handler("add")
    async def add(ctx: Context, a: int, b: int = 1) -> int:
        return a + b

    @worker.handler("stubborn")
    async def wait_long(ctx: Context) -> None:
        await asyncio.sleep(DEADLINE_S)

    @worker.handler("spread")
    def shard(ctx: Context) -> int:
        return ctx.shard

    @worker.handler("fan_out")
    async def fan_out(ctx: Context) -> str:
        return (await ctx.submit_async("add", {"a": 1})).id

    @worker.handler("fan_out_in_a_thread")
    def fan_out_in_a_thread(ctx: Context) -> str:
        return ctx.submit("add", {"a": 2}).id

    worker.start()
    yield worker
    worker.stop()
    assert worker.wait(DEADLINE_S)


@pytest.mark.usefixtures("worker")
def test_a_task_comes_back_with_its_result(client: Client) -> None:
    task = client.submit("shop", "add", {"a": 1, "b": 2}, allow_unknown=True)

    assert client.wait(task.id, DEADLINE_S).result == 3


@pytest.mark.usefixtures("worker")
def test_a_key_makes_one_task_of_two_submissions(client: Client) -> None:
    first, second = (client.submit("shop", "add", {"a": 1}, idempotency_key="k1", allow_unknown=True) for _ in range(2))

    assert first.id == second.id


@pytest.mark.usefixtures("worker")
def test_many_tasks_keep_their_order(client: Client) -> None:
    ids = client.submit_many("shop", "add", [{"params": {"a": n}, "allow_unknown": True} for n in range(250)])

    assert [client.wait(task_id, DEADLINE_S).result for task_id in ids[::50]] == [1, 51, 101, 151, 201]


@pytest.mark.usefixtures("worker")
def test_parameters_that_do_not_fit_fail_without_a_retry(client: Client) -> None:
    task = client.submit("shop", "add", {"a": "x"}, retries=3, allow_unknown=True)

    done = client.wait(task.id, DEADLINE_S)

    assert (done.state, done.error["type"]) == ("faulted", "BadParams")
    assert done.error["message"].startswith("a: ")


@pytest.mark.usefixtures("worker")
def test_a_running_task_is_canceled(client: Client) -> None:
    task = client.submit("shop", "stubborn", allow_unknown=True)
    ends = time.monotonic() + DEADLINE_S
    while client.task(task.id).state != "running":
        assert time.monotonic() < ends

    client.cancel(task.id)

    assert client.wait(task.id, DEADLINE_S).state == "canceled"


@pytest.mark.usefixtures("worker")
def test_a_run_over_its_limit_ends(client: Client) -> None:
    task = client.submit("shop", "stubborn", run_limit_s=0.05, allow_unknown=True)

    assert client.wait(task.id, DEADLINE_S).state == "faulted"


@pytest.mark.usefixtures("worker")
def test_shards_all_run(client: Client) -> None:
    task = client.submit("shop", "spread", shards=4, allow_unknown=True)

    assert client.wait(task.id, DEADLINE_S).ok


@pytest.mark.usefixtures("worker")
def test_a_refusal_names_the_nearest_handler(client: Client) -> None:
    client.wait(client.submit("shop", "add", {"a": 1}, allow_unknown=True).id, DEADLINE_S)

    with pytest.raises(ClientError, match=r"unknown_handler: .* Did you mean add") as caught:
        client.submit("shop", "ad")

    assert caught.value.code == "unknown_handler"


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("handler", ["fan_out", "fan_out_in_a_thread"])
def test_what_a_handler_submits_has_its_run_as_parent(client: Client, handler: str) -> None:
    parent = client.wait(client.submit("shop", handler, allow_unknown=True).id, DEADLINE_S)

    child = client.wait(parent.result, DEADLINE_S)

    assert child.ok
    assert child.details["parent_run"] == f"{parent.id}.0.1"
