"""The installation is bootstrapped once, whatever happens meanwhile."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from gojob_redis.control import installation
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import CONTROL, SCHEMA, K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.engine.scripts import NoEpoch, OtherSchema
from tests.tools import keyspace
from tests.tools.served import space_on

pytestmark = pytest.mark.real


def redis(space: Partitions) -> Any:
    return space.clients.commands


async def epochs(space: Partitions) -> list[str]:
    """The epoch of each partition."""
    held = [await redis(space).hget(K.meta(prefix), "epoch") for prefix in space.prefixes]
    return [(epoch or b"").decode() for epoch in held]


async def test_the_first_start_gives_all_partitions_one_epoch_and_makes_a_namespace(
    space: Partitions,
) -> None:
    made = await installation.bootstrap_or_open(space)

    assert made.fresh
    assert await epochs(space) == [made.epoch] * 4
    held = await keyspace.dump(space.clients.commands, CONTROL)
    bootstrapped = held["installation"].pop("bootstrapped")
    assert held["installation"] == {"epoch": made.epoch, "partitions": "4", "schema": "2"}
    assert abs(time.time() * 1000 - int(bootstrapped)) < 60_000
    assert list(held["namespaces"]) == ["default"]


async def test_a_later_start_opens_what_is_there_and_changes_nothing(bootstrapped: Partitions) -> None:
    before = await keyspace.dump(bootstrapped.clients.commands)

    opened = await installation.bootstrap_or_open(bootstrapped)

    assert not opened.fresh
    assert await keyspace.dump(bootstrapped.clients.commands) == before


async def test_another_number_of_partitions_is_refused_with_the_stored_one(bootstrapped: Partitions) -> None:
    before = await keyspace.dump(bootstrapped.clients.commands)

    with pytest.raises(installation.WrongInstallation, match="has 4 partitions") as refused:
        await installation.bootstrap_or_open(space_on(bootstrapped.clients.commands, 8))

    assert "GOJOB_REDIS__PARTITIONS" in refused.value.hint
    assert await keyspace.dump(bootstrapped.clients.commands) == before


@pytest.mark.parametrize(
    ("stored", "schema", "code"),
    [(SCHEMA + 1, SCHEMA + 1, "newer_schema"), (1, 1, "older_schema"), (None, 1, "older_schema")],
)
async def test_data_of_another_schema_stops_a_start_and_is_not_touched(
    bootstrapped: Partitions, stored: int | None, schema: int, code: str
) -> None:
    for key, whose in (
        (K.meta(bootstrapped.prefixes[2]), "Partition 2"),
        (K.installation(CONTROL), "This installation"),
    ):
        await redis(bootstrapped).hdel(key, "schema")
        if stored is not None:
            await redis(bootstrapped).hset(key, "schema", stored)
        before = await keyspace.dump(bootstrapped.clients.commands)

        with pytest.raises(OtherSchema, match=f"{whose} has data schema {schema}") as refused:
            await installation.bootstrap_or_open(bootstrapped)

        assert refused.value.code == code
        assert await keyspace.dump(bootstrapped.clients.commands) == before
        await redis(bootstrapped).hset(key, "schema", SCHEMA)


async def test_a_partition_that_lost_its_epoch_stops_every_start(bootstrapped: Partitions) -> None:
    await redis(bootstrapped).delete(K.meta(bootstrapped.prefixes[2]))

    with pytest.raises(NoEpoch, match="Partition 2 of 4"):
        await installation.bootstrap_or_open(bootstrapped)

    assert (await epochs(bootstrapped))[2] == ""


async def test_partitions_without_their_installation_are_not_bootstrapped_again(bootstrapped: Partitions) -> None:
    await redis(bootstrapped).delete(K.installation(CONTROL))

    with pytest.raises(NoEpoch, match="control data was lost"):
        await installation.bootstrap_or_open(bootstrapped)

    assert not await redis(bootstrapped).exists(K.installation(CONTROL))


async def test_an_emptied_engine_is_not_bootstrapped_again_by_who_remembers_its_epoch(space: Partitions) -> None:
    with pytest.raises(NoEpoch, match="it held the installation 00ff"):
        await installation.bootstrap_or_open(space, expected="00ff")

    assert await redis(space).dbsize() == 0


async def test_an_empty_engine_is_not_bootstrapped_by_who_may_not(space: Partitions) -> None:
    with pytest.raises(installation.NotBootstrapped) as refused:
        await installation.bootstrap_or_open(space, may_bootstrap=False)

    assert refused.value.code == "not_bootstrapped"
    assert "gojob bootstrap" in refused.value.hint
    assert await redis(space).dbsize() == 0


async def test_who_may_not_bootstrap_opens_what_is_there(bootstrapped: Partitions) -> None:
    assert not (await installation.bootstrap_or_open(bootstrapped, may_bootstrap=False)).fresh


async def test_a_bootstrap_that_is_wanted_is_no_warning(space: Partitions) -> None:
    with capture_logs() as logs:
        await installation.bootstrap_or_open(space, intended=True)

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("installation.bootstrapped", "info")]


async def test_a_bootstrap_is_told_in_the_log_and_in_one_event(space: Partitions) -> None:
    with capture_logs() as logs:
        made = await installation.bootstrap_or_open(space)
        await installation.bootstrap_or_open(space)

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("installation.bootstrapped", "warning")]
    events = [keyspace.events(await keyspace.dump(space.clients.commands, prefix)) for prefix in space.prefixes]
    [[event], *others] = events
    assert (event["kind"], event["epoch"]) == ("bootstrapped", made.epoch)
    assert others == [[], [], []]


async def test_the_documented_way_out_bootstraps_the_lost_partition_again(bootstrapped: Partitions) -> None:
    await redis(bootstrapped).delete(K.meta(bootstrapped.prefixes[2]))
    await redis(bootstrapped).hdel(K.installation(CONTROL), "bootstrapped")

    opened = await installation.bootstrap_or_open(bootstrapped)

    assert await epochs(bootstrapped) == [opened.epoch] * 4


async def test_several_first_starts_at_once_make_one_installation(client: Client) -> None:
    opened = await asyncio.gather(*(installation.bootstrap_or_open(space_on(client)) for _ in range(8)))

    assert len({each.epoch for each in opened}) == 1
    assert sum(each.fresh for each in opened) == 1
    assert await epochs(space_on(client)) == [opened[0].epoch] * 4


class Died(BaseException):
    """The process is gone."""


class Dying:
    """A client whose process dies before its n-th write."""

    def __init__(self, client: Any, writes: int) -> None:
        self.client = client
        self.left = writes

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.client, name)
        if name not in ("hset", "hsetnx", "execute_command"):
            return call

        async def counted(*args: Any, **options: Any) -> Any:
            if self.left == 0:
                raise Died
            self.left -= 1
            return await call(*args, **options)

        return counted


async def test_a_first_start_that_dies_at_any_write_is_completed_by_the_next(space: Partitions) -> None:
    deaths = 0
    for writes in range(50):
        await redis(space).flushall()
        dying: Any = Dying(space.clients.admin, writes)
        try:
            await installation.bootstrap_or_open(Partitions(replace(space.clients, admin=dying, commands=dying), 4))
        except Died:
            deaths += 1
        else:
            break
        opened = await installation.bootstrap_or_open(space)
        assert opened.fresh
        assert await epochs(space) == [opened.epoch] * 4
        assert (await installation.bootstrap_or_open(space)).epoch == opened.epoch

    assert deaths >= 9  # three fields, four partitions, the namespace, the mark
