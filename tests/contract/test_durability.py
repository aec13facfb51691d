"""Durability levels on real pairs of engines: nothing is acknowledged that is not as safe as its namespace demands."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from gojob_redis import task
from gojob_redis.connections.batchers import Batchers
from gojob_redis.control import installation, namespaces
from gojob_redis.control.namespaces import Levels
from gojob_redis.domain import ids, limits, verbs
from gojob_redis.engine import durability
from gojob_redis.engine.client import UnfitEngine, connected
from gojob_redis.engine.durability import CannotGive, Level, NotConfirmed
from gojob_redis.engine.embedded import Engine
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.planning.define import Definition, define
from gojob_redis.schedules.schedule import parse
from tests.conftest import EPOCH
from tests.tools import engines
from tests.tools.served import SHOP, Served, serving

HANDLER = f"{SHOP}/send"


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and its replica."""

    primary: Engine
    replica: Engine

    def cut(self) -> None:
        """The replica stands still: it confirms nothing."""
        self.replica.pause()

    def heal(self) -> None:
        self.replica.resume()


@pytest.fixture(scope="module")
def engines_of_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("pair")
    with ExitStack() as stack:
        primary = stack.enter_context(engines.valkey(directory / "primary", 0, repl_diskless_sync_delay="0"))
        follows = engines.valkey(
            directory / "replica", 0, replicaof=f"127.0.0.1 {primary.port}", masterauth=primary.password
        )
        yield Pair(primary, stack.enter_context(follows))


@pytest.fixture
async def pair(engines_of_pair: Pair) -> AsyncIterator[Pair]:
    """The pair, in step."""
    yield engines_of_pair
    engines_of_pair.heal()


@pytest.fixture
async def space(pair: Pair) -> AsyncIterator[Partitions]:
    """One bootstrapped partition that the replica has too."""
    async with connected(pair.primary.url) as clients:
        await clients.commands.flushall()
        space = Partitions(clients, 1)
        await space[0].call(verbs.bootstrap(epoch=EPOCH, tell=0))
        await in_step(space)
        yield space


async def in_step(space: Partitions) -> None:
    """Wait until the replica follows; each attempt waits by itself."""
    async with asyncio.timeout(20):
        while True:
            with suppress(NotConfirmed):
                return await space[0].confirm(Level.REPLICATED)


def submission() -> verbs.Submission:
    return verbs.Submission(ids.submitted_id(0, 1_800_000_000_000), HANDLER, SHOP)


async def exists(space: Partitions, one: verbs.Submission) -> bool:
    client: Any = space.clients.commands
    return bool(await client.exists(K.task(space.prefixes[0], one.task)))


# ---- one call --------------------------------------------------------------------------------------------------------


async def test_what_a_replica_has_is_answered(space: Partitions, pair: Pair) -> None:
    one = submission()

    [done] = (await task.submit(space[0], [one], Level.REPLICATED)).each

    assert done == ("ok", one.task)
    async with connected(pair.replica.url) as replica:
        client: Any = replica.commands
        assert await client.exists(K.task(space.prefixes[0], one.task))


async def test_what_no_replica_confirms_is_not_answered_though_it_was_done(space: Partitions, pair: Pair) -> None:
    one = submission()
    pair.cut()

    with pytest.raises(NotConfirmed) as unconfirmed:
        await task.submit(space[0], [one], Level.REPLICATED)

    assert (unconfirmed.value.code, unconfirmed.value.status) == ("not_replicated", 503)
    assert unconfirmed.value.retry_after_s > 0
    assert await exists(space, one)


async def test_a_repeat_that_writes_nothing_is_not_answered_either(space: Partitions, pair: Pair) -> None:
    """WAIT covers what its own connection wrote; a repeat may take another, and finds everything done."""
    one = submission()
    pair.cut()
    with pytest.raises(NotConfirmed):
        await task.submit(space[0], [one], Level.REPLICATED)

    with pytest.raises(NotConfirmed) as again:
        await task.submit(space[0], [one], Level.REPLICATED)

    assert again.value.reply[1] == b"duplicate"
    pair.heal()
    assert (await task.submit(space[0], [one], Level.REPLICATED)).each == [("duplicate", one.task)]


async def test_fast_work_pays_nothing_for_a_replica_that_is_away(space: Partitions, pair: Pair) -> None:
    batchers = Batchers(space, "g1", lambda: 0.0, deliver=lambda partition, values: None)
    pair.cut()
    slow = asyncio.create_task(batchers.submit(space[0], Level.REPLICATED).put(submission(), tenant=SHOP, size=1))
    await asyncio.sleep(0)

    async with asyncio.timeout(limits.CONFIRM_MS / 1000 / 2):
        for _ in range(50):
            assert (await batchers.submit(space[0]).put(submission(), tenant=SHOP, size=1)).word == "ok"

    assert not slow.done()
    with pytest.raises(NotConfirmed):
        await slow
    await batchers.close()


async def test_many_waits_leave_connections_for_leases(space: Partitions, pair: Pair) -> None:
    pair.cut()
    waiting = [asyncio.create_task(space[0].confirm(Level.REPLICATED)) for _ in range(3 * durability.WAITS)]
    await asyncio.sleep(0.05)

    async with asyncio.timeout(limits.CONFIRM_MS / 1000 / 2):
        for _ in range(50):
            await space[0].call(verbs.renew([], gateway="g1"))

    pair.heal()
    for one in await asyncio.gather(*waiting, return_exceptions=True):
        assert one is None or isinstance(one, NotConfirmed)


async def test_an_engine_that_forgot_its_scripts_confirms_all_the_same(space: Partitions) -> None:
    client: Any = space.clients.admin
    await client.script_flush()

    [done] = (await task.submit(space[0], [submission()], Level.REPLICATED)).each

    assert done.word == "ok"


async def test_a_fast_call_sends_one_command(space: Partitions) -> None:
    await task.submit(space[0], [submission()])  # loads the script
    client: Any = space.clients.admin
    before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]

    await task.submit(space[0], [submission()])

    after = await client.info("commandstats")
    assert after["cmdstat_evalsha"]["calls"] - before == 1


# ---- a cluster -------------------------------------------------------------------------------------------------------


@pytest.mark.cluster
async def test_on_a_cluster_the_wait_goes_to_the_node_that_was_written(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with engines.cluster(tmp_path_factory.mktemp("pairs"), primaries=3, replicas=3) as cluster:
        async with connected(cluster.url, mode="cluster") as clients:
            space = Partitions(clients, 4)
            for partition in range(4):
                await space[partition].call(verbs.bootstrap(epoch=EPOCH, tell=0))
            for partition in range(4):
                one = submission()._replace(task=ids.submitted_id(partition, 1_800_000_000_000))
                assert (await task.submit(space[partition], [one], Level.REPLICATED)).each[0].word == "ok"
            tag = space.prefixes[0]
            home = cluster.engines.index(cluster.holder_of(tag))
            cluster.engines[cluster.primaries + home].pause()
            one = submission()

            with pytest.raises(NotConfirmed):
                await task.submit(space[0], [one], Level.REPLICATED)

            cluster.engines[cluster.primaries + home].resume()
            assert (await task.submit(space[0], [one], Level.REPLICATED)).each[0].word == "duplicate"


# ---- on the disk -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def always(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("always"), fsync="always") as engine:
        yield engine


async def test_an_engine_that_syncs_always_confirms_its_disk(always: Engine) -> None:
    async with connected(always.url) as clients:
        await clients.commands.flushall()
        space = Partitions(clients, 1)
        await space[0].call(verbs.bootstrap(epoch=EPOCH, tell=0))

        assert (await task.submit(space[0], [submission()], Level.SYNCED)).each[0].word == "ok"
        client: Any = clients.admin
        assert (await client.info("commandstats"))["cmdstat_waitaof"]["calls"] >= 1


async def test_an_engine_that_does_not_sync_always_is_refused_when_the_level_is_set_and_at_the_start(
    always: Engine,
) -> None:
    async with connected(always.url) as clients:
        client: Any = clients.admin
        await clients.commands.flushall()
        space = Partitions(clients, 1)
        await installation.bootstrap_or_open(space)
        await namespaces.put_namespace(space, "money", "", Level.SYNCED)
        await namespaces.check_durability(space)
        await client.config_set("appendfsync", "everysec")
        try:
            with pytest.raises(CannotGive) as refused:
                await namespaces.put_namespace(space, "default", "", Level.SYNCED)
            with pytest.raises(UnfitEngine) as stopped:
                await namespaces.check_durability(space)
        finally:
            await client.config_set("appendfsync", "always")

        assert "appendfsync everysec" in refused.value.message
        assert "'money'" in stopped.value.message
        kept = {known.name: known.durability for known in (await namespaces.list_namespaces(space))[0]}
        assert kept == {"default": Level.FAST, "money": Level.SYNCED}


async def test_replicated_needs_a_replica_when_it_is_set(always: Engine) -> None:
    async with connected(always.url) as clients:
        await clients.commands.flushall()
        space = Partitions(clients, 1)
        await installation.bootstrap_or_open(space)

        with pytest.raises(CannotGive) as refused:
            await namespaces.put_namespace(space, "default", "", Level.REPLICATED)

        assert "has no replica" in refused.value.message
        assert (await Levels(space).of("default/shop/send")) is Level.FAST


# ---- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def served(pair: Pair) -> AsyncIterator[Served]:
    """The API of an installation whose default namespace is replicated; the replica is in step."""
    async with connected(pair.primary.url) as clients:
        await clients.commands.flushall()
        async with serving(clients.commands) as served:
            await in_step(served.space)
            answer = await served.ask("PUT", "/v1/namespaces/default", {"durability": "replicated"})
            assert (answer.status_code, answer.json()["durability"]) == (200, "replicated")
            yield served


TRIGGER = f"/v1/apps/default/{SHOP.partition('/')[2]}/triggers/nightly"


async def test_a_description_leaves_the_durability_as_it_is(served: Served) -> None:
    answer = await served.ask("PUT", "/v1/namespaces/default", {"description": "ours"})

    assert answer.json()["durability"] == "replicated"
    assert (await served.get("/v1/namespaces/default"))["durability"] == "replicated"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", TRIGGER, {"handler": "send", "schedule": {"kind": "every", "every_ms": 3_600_000}}),
        ("POST", f"{TRIGGER}/pause", None),
        ("DELETE", TRIGGER, None),
        ("POST", "/v1/apps/default/shop/handlers/send/pause", None),
    ],
)
async def test_a_change_is_answered_only_when_a_replica_has_it_also_when_it_is_repeated(
    served: Served, pair: Pair, method: str, path: str, body: Any
) -> None:
    await served.put_trigger()
    await served.enlist("send")
    pair.cut()

    for _ in range(2):
        answer = await served.ask(method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_replicated")
        assert int(answer.headers["Retry-After"]) >= 1

    pair.heal()
    assert (await served.ask(method, path, body)).status_code in (200, 204, 404)


async def test_a_cancel_is_answered_only_when_a_replica_has_it(served: Served, pair: Pair) -> None:
    made = await served.submit()
    pair.cut()

    answer = await served.ask("POST", f"/v1/tasks/{made}/cancel")
    again = await served.ask("POST", f"/v1/tasks/{made}/cancel")

    assert [answer.status_code, again.status_code] == [503, 503]
    pair.heal()
    assert (await served.post(f"/v1/tasks/{made}/cancel"))["outcome"] == "already"


async def test_a_level_that_is_not_one_is_refused(served: Served) -> None:
    answer = await served.ask("PUT", "/v1/namespaces/default", {"durability": "eternal"})

    assert (answer.status_code, answer.json()["field"]) == (400, "durability")


async def test_a_stale_definition_is_a_conflict_whatever_the_level(space: Partitions) -> None:
    wanted = Definition(app=SHOP, name="t", handler=HANDLER, schedule=parse({"kind": "manual"}, created_ms=0))

    made = await define(space, wanted, level=Level.REPLICATED)

    assert made.revision == 1
