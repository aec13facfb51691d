"""The installation is founded once, whatever happens meanwhile; tokens say who may do what."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from gojob_redis.control import control
from gojob_redis.control.control import Identities
from gojob_redis.domain.errors import BadRequest, NotFound, Refused, Unavailable
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import CONTROL, SCHEMA, K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.engine.scripts import NewerSchema, NoEpoch
from tests.tools import keyspace
from tests.tools.served import space_on
from tests.tools.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
async def space(client: Client) -> Partitions:
    """Partitions of an empty engine."""
    return space_on(client)


@pytest.fixture
async def founded(space: Partitions) -> Partitions:
    await control.found_or_open(space)
    return space


def redis(space: Partitions) -> Any:
    return space.clients.commands


async def epochs(space: Partitions) -> list[str]:
    """The epoch of each partition."""
    held = [await redis(space).hget(K.meta(prefix), "epoch") for prefix in space.prefixes]
    return [(epoch or b"").decode() for epoch in held]


# ---- the installation ------------------------------------------------------------------------------------------------


async def test_the_first_start_gives_all_partitions_one_epoch_and_makes_a_namespace(
    space: Partitions,
) -> None:
    made = await control.found_or_open(space)

    assert made.fresh
    assert await epochs(space) == [made.epoch] * 4
    held = await keyspace.dump(space.clients.commands, CONTROL)
    founded = held["installation"].pop("founded")
    assert held["installation"] == {"epoch": made.epoch, "partitions": "4", "schema": "1"}
    assert abs(time.time() * 1000 - int(founded)) < 60_000
    assert list(held["namespaces"]) == ["default"]


async def test_a_later_start_opens_what_is_there_and_changes_nothing(founded: Partitions) -> None:
    before = await keyspace.dump(founded.clients.commands)

    opened = await control.found_or_open(founded)

    assert not opened.fresh
    assert await keyspace.dump(founded.clients.commands) == before


async def test_another_number_of_partitions_is_refused_with_the_stored_one(founded: Partitions) -> None:
    before = await keyspace.dump(founded.clients.commands)

    with pytest.raises(control.WrongInstallation, match="has 4 partitions") as refused:
        await control.found_or_open(space_on(founded.clients.commands, 8))

    assert "GOJOB_REDIS__PARTITIONS" in refused.value.hint
    assert await keyspace.dump(founded.clients.commands) == before


async def test_data_of_a_newer_release_stops_a_start_and_is_not_touched(founded: Partitions) -> None:
    for key, whose in ((K.meta(founded.prefixes[2]), "Partition 2"), (K.installation(CONTROL), "This installation")):
        await redis(founded).hset(key, "schema", SCHEMA + 1)
        before = await keyspace.dump(founded.clients.commands)

        with pytest.raises(NewerSchema, match=f"{whose} has data schema {SCHEMA + 1}") as refused:
            await control.found_or_open(founded)

        assert refused.value.code == "newer_schema"
        assert await keyspace.dump(founded.clients.commands) == before
        await redis(founded).hset(key, "schema", SCHEMA)


async def test_a_partition_that_lost_its_epoch_stops_every_start(founded: Partitions) -> None:
    await redis(founded).delete(K.meta(founded.prefixes[2]))

    with pytest.raises(NoEpoch, match="Partition 2 of 4"):
        await control.found_or_open(founded)

    assert (await epochs(founded))[2] == ""


async def test_partitions_without_their_installation_are_not_founded_anew(founded: Partitions) -> None:
    await redis(founded).delete(K.installation(CONTROL))

    with pytest.raises(NoEpoch, match="control data was lost"):
        await control.found_or_open(founded)

    assert not await redis(founded).exists(K.installation(CONTROL))


async def test_an_emptied_engine_is_not_founded_anew_by_who_remembers_its_epoch(space: Partitions) -> None:
    with pytest.raises(NoEpoch, match="it held the installation 00ff"):
        await control.found_or_open(space, expected="00ff")

    assert await redis(space).dbsize() == 0


async def test_an_empty_engine_is_not_founded_by_who_may_not(space: Partitions) -> None:
    with pytest.raises(control.NotFounded) as refused:
        await control.found_or_open(space, may_found=False)

    assert refused.value.code == "not_founded"
    assert "gojob found" in refused.value.hint
    assert await redis(space).dbsize() == 0


async def test_who_may_not_found_opens_what_is_there(founded: Partitions) -> None:
    assert not (await control.found_or_open(founded, may_found=False)).fresh


async def test_a_founding_that_is_wanted_is_no_warning(space: Partitions) -> None:
    with capture_logs() as logs:
        await control.found_or_open(space, intended=True)

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("installation.founded", "info")]


async def test_a_founding_is_told_in_the_log_and_in_one_event(space: Partitions) -> None:
    with capture_logs() as logs:
        made = await control.found_or_open(space)
        await control.found_or_open(space)

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("installation.founded", "warning")]
    events = [keyspace.events(await keyspace.dump(space.clients.commands, prefix)) for prefix in space.prefixes]
    [[event], *others] = events
    assert (event["kind"], event["epoch"]) == ("founded", made.epoch)
    assert others == [[], [], []]


async def test_the_documented_way_out_founds_the_lost_partition_again(founded: Partitions) -> None:
    await redis(founded).delete(K.meta(founded.prefixes[2]))
    await redis(founded).hdel(K.installation(CONTROL), "founded")

    opened = await control.found_or_open(founded)

    assert await epochs(founded) == [opened.epoch] * 4


async def test_several_first_starts_at_once_make_one_installation(client: Client) -> None:
    opened = await asyncio.gather(*(control.found_or_open(space_on(client)) for _ in range(8)))

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
            await control.found_or_open(Partitions(replace(space.clients, admin=dying), 4))
        except Died:
            deaths += 1
        else:
            break
        opened = await control.found_or_open(space)
        assert opened.fresh
        assert await epochs(space) == [opened.epoch] * 4
        assert (await control.found_or_open(space)).epoch == opened.epoch

    assert deaths >= 9  # three fields, four partitions, the namespace, the mark


async def test_the_first_admin_token_is_made_once(founded: Partitions) -> None:
    made = await asyncio.gather(*(control.first_admin(founded) for _ in range(5)))

    issued = [each for each in made if each is not None]
    assert len(issued) == 1
    assert (await Identities(founded).of_api(f"Bearer {issued[0].token}")).kind == "admin"


# ---- tokens ----------------------------------------------------------------------------------------------------------


async def test_a_token_is_stored_only_as_its_digest(founded: Partitions) -> None:
    issued = await control.create_token(founded, "api", name="ci")

    held = await redis(founded).hget(K.tokens(CONTROL), issued.facts.key_id)
    assert issued.token.startswith(f"gj_api_{issued.facts.key_id}_")
    assert issued.token.rpartition("_")[2].encode() not in held
    assert issued.token not in repr(issued)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: "",
        lambda token: token,  # no scheme
        lambda token: f"Basic {token}",
        lambda token: f"Bearer {token}x",
        lambda token: f"Bearer {token[:-1]}{'a' if token[-1] != 'a' else 'b'}",
        lambda token: f"Bearer {token.replace('gj_api_', 'gj_admin_')}",
        lambda token: f"Bearer {token.upper()}",
        lambda token: "Bearer " + "a" * 10_000,
        lambda token: "Bearer gj_api_0000000000_" + "0" * 50,
    ],
)
async def test_what_is_not_exactly_a_token_of_ours_is_refused(founded: Partitions, spoil: Any) -> None:
    token = (await control.create_token(founded, "api")).token
    identities = Identities(founded)

    with pytest.raises(BadRequest) as refused:
        await identities.of_api(spoil(token))
    with pytest.raises(Refused) as closed:
        await identities.of_worker(spoil(token))

    assert (refused.value.code, refused.value.status) == ("bad_token", 401)
    assert (closed.value.code, closed.value.close_code) == ("bad_token", 4401)


async def test_a_token_of_another_kind_opens_no_worker_socket(founded: Partitions) -> None:
    token = (await control.create_token(founded, "admin")).token

    with pytest.raises(Refused) as closed:
        await Identities(founded).of_worker(f"Bearer {token}")

    assert (closed.value.code, closed.value.close_code) == ("forbidden", 4403)


async def test_a_scope_limits_a_worker_to_its_apps(founded: Partitions) -> None:
    token = (await control.create_token(founded, "worker", scope=["default/shop", "lab"])).token

    who = await Identities(founded).of_worker(f"Bearer {token}")

    assert who.may_work("default", "shop")
    assert who.may_work("lab", "anything")
    assert not who.may_work("default", "other")
    assert not who.may("see", "default")


@pytest.mark.parametrize("scope", [[], ["Default"], ["default/"], ["a/b/c"], [""], ["x" * 100]])
async def test_a_scope_that_names_nothing_is_refused(founded: Partitions, scope: list[str]) -> None:
    with pytest.raises(BadRequest) as refused:
        await control.create_token(founded, "api", scope=scope)

    assert refused.value.code == "bad_scope"
    assert not await redis(founded).exists(K.tokens(CONTROL))


async def test_an_expired_token_is_refused(founded: Partitions) -> None:
    soon = int(time.time() * 1000) + 60_000
    issued = await control.create_token(founded, "api", expires_ms=soon)
    identities = Identities(founded)
    assert (await identities.of_api(f"Bearer {issued.token}")).expires_ms == soon

    past = replace(issued.facts, expires_ms=1)
    await redis(founded).hset(K.tokens(CONTROL), past.key_id, control._token_record(past))

    with pytest.raises(BadRequest, match="expired"):
        await Identities(founded).of_api(f"Bearer {issued.token}")


async def test_a_token_that_expired_before_it_was_made_is_refused(founded: Partitions) -> None:
    with pytest.raises(BadRequest) as refused:
        await control.create_token(founded, "api", expires_ms=1)

    assert refused.value.code == "bad_moment"


async def test_a_revoked_token_is_let_in_only_as_long_as_it_is_remembered(founded: Partitions) -> None:
    issued = await control.create_token(founded, "worker")
    forgetful, remembering = Identities(founded, remember_s=0.0), Identities(founded)
    await remembering.of_worker(f"Bearer {issued.token}")

    await control.revoke_token(founded, issued.facts.key_id)

    assert not await forgetful.still_good(issued.facts.key_id)
    assert (await remembering.of_worker(f"Bearer {issued.token}")).key_id == issued.facts.key_id
    with pytest.raises(Refused):
        await forgetful.of_worker(f"Bearer {issued.token}")
    assert control.REMEMBER_S <= 5.0


async def test_a_remembered_token_costs_no_read(founded: Partitions) -> None:
    issued = await control.create_token(founded, "api")
    identities = Identities(founded)
    await identities.of_api(f"Bearer {issued.token}")
    await redis(founded).delete(K.tokens(CONTROL))

    assert (await identities.of_api(f"Bearer {issued.token}")).key_id == issued.facts.key_id


async def test_a_new_token_works_at_once_although_others_asked_for_its_key_id_before(founded: Partitions) -> None:
    issued = await control.create_token(founded, "api")
    identities = Identities(founded)
    with pytest.raises(BadRequest):
        await identities.of_api(f"Bearer {wrong_secret(issued)}")

    assert (await identities.of_api(f"Bearer {issued.token}")).kind == "api"


def wrong_secret(issued: control.Issued, number: int = 0) -> str:
    """A token of this key id that is none."""
    return f"gj_{issued.facts.kind}_{issued.facts.key_id}_{number:050d}"


def unknown_key_id(issued: control.Issued, number: int = 0) -> str:
    """A token of a key id that does not exist."""
    return f"gj_{issued.facts.kind}_{number:010d}_{'0' * 50}"


@pytest.mark.parametrize("wrong", [wrong_secret, unknown_key_id])
async def test_a_wrong_secret_and_an_unknown_key_id_go_the_same_way(founded: Partitions, wrong: Any) -> None:
    """Whoever measures how long an answer takes, or what it costs, cannot tell which key ids there are."""
    issued = await control.create_token(founded, "api")
    identities = Counting(founded)
    await identities.of_api(f"Bearer {issued.token}")
    identities.reads.clear()

    for number in (1, 2, 1, 2):
        with pytest.raises(BadRequest) as refused:
            await identities.of_api(f"Bearer {wrong(issued, number)}")
        assert refused.value.message == "The token is unknown or was revoked."

    assert len(identities.reads) == 2
    await identities.of_api(f"Bearer {issued.token}")
    assert len(identities.reads) == 2


async def test_strangers_are_looked_up_a_few_at_a_time_and_hold_nobody_up(founded: Partitions) -> None:
    issued = await control.create_token(founded, "api")
    identities = Counting(founded, remember_s=0.0)
    await identities.of_api(f"Bearer {issued.token}")
    identities.reads.clear()
    identities.closed = {f"{number:010d}" for number in range(50)}

    asking = [
        asyncio.create_task(identities.of_api(f"Bearer {unknown_key_id(issued, number)}")) for number in range(50)
    ]
    await until(lambda: len(identities.reads) >= control.STRANGERS)
    assert (await identities.of_api(f"Bearer {issued.token}")).kind == "api"

    assert len(identities.reads) == control.STRANGERS + 1
    identities.opened.set()
    refused = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(error) for error in refused} == {BadRequest}


async def test_strangers_whose_turn_does_not_come_are_told_so(
    founded: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "LOOK_UP_S", 0.05)
    issued = await control.create_token(founded, "api")
    identities = Counting(founded)
    identities.closed = {f"{number:010d}" for number in range(control.STRANGERS)}
    asking = [
        asyncio.create_task(identities.of_api(f"Bearer {unknown_key_id(issued, number)}"))
        for number in range(control.STRANGERS)
    ]
    await until(lambda: len(identities.reads) == control.STRANGERS)

    with pytest.raises(Unavailable) as busy:
        await identities.of_api(f"Bearer {unknown_key_id(issued, 99)}")

    assert busy.value.code == "busy"
    identities.opened.set()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_what_is_remembered_of_refused_tokens_is_bounded_and_forgets_nobody_who_was_let_in(
    founded: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "REFUSED", 10)
    issued = await control.create_token(founded, "api")
    identities = Counting(founded)
    await identities.of_api(f"Bearer {issued.token}")

    for number in range(30):
        with pytest.raises(BadRequest):
            await identities.of_api(f"Bearer {unknown_key_id(issued, number)}")

    assert len(identities._refused) == 10
    assert len(identities._tokens._held) == 1


async def test_a_refused_token_is_looked_up_again_after_a_while(
    founded: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "REFUSED_S", 0.0)
    issued = await control.create_token(founded, "api")
    record = await redis(founded).hget(K.tokens(CONTROL), issued.facts.key_id)
    await redis(founded).delete(K.tokens(CONTROL))
    identities = Identities(founded)
    with pytest.raises(BadRequest):
        await identities.of_api(f"Bearer {issued.token}")

    await redis(founded).hset(K.tokens(CONTROL), issued.facts.key_id, record)

    assert (await identities.of_api(f"Bearer {issued.token}")).kind == "api"


class Counting(Identities):
    """Notes which records are read; those of ``closed`` key ids wait until it is ``opened``."""

    def __init__(self, space: Partitions, **options: Any) -> None:
        super().__init__(space, **options)
        self.reads: list[str] = []
        self.closed: set[str] = set()
        self.opened = asyncio.Event()

    async def _record_of(self, key_id: str) -> bytes | None:
        self.reads.append(key_id)
        if key_id in self.closed:
            await self.opened.wait()
        return await super()._record_of(key_id)


async def test_two_tokens_of_one_holder_live_side_by_side(founded: Partitions) -> None:
    old, new = [await control.create_token(founded, "worker", name="shop") for _ in range(2)]

    assert [facts.key_id for facts in (await control.list_tokens(founded))[0]] == sorted(
        [old.facts.key_id, new.facts.key_id],
        key=lambda key_id: ({old.facts.key_id: old, new.facts.key_id: new}[key_id].facts.made_ms, key_id),
    )
    await control.revoke_token(founded, old.facts.key_id)
    assert (await Identities(founded).of_worker(f"Bearer {new.token}")).key_id == new.facts.key_id


async def test_revoking_what_is_not_there_is_said(founded: Partitions) -> None:
    with pytest.raises(NotFound) as missing:
        await control.revoke_token(founded, "nobody")

    assert missing.value.code == "unknown_token"


# ---- namespaces ------------------------------------------------------------------------------------------------------


async def test_a_namespace_exists_once_it_was_made(founded: Partitions) -> None:
    identities = Identities(founded)
    with pytest.raises(NotFound) as missing:
        await identities.check_namespace("defualt")

    await control.put_namespace(founded, "defualt", "a typing error that became real")

    assert (missing.value.code, missing.value.field) == ("unknown_namespace", "namespace")
    assert missing.value.hint == "Did you mean default?"
    assert await identities.check_namespace("defualt") == "defualt"


async def test_a_namespace_keeps_its_age_when_its_description_changes(founded: Partitions) -> None:
    made = await control.put_namespace(founded, "lab", "old")

    changed = await control.put_namespace(founded, "lab", "new")

    assert (changed.description, changed.made_ms) == ("new", made.made_ms)
    assert [namespace.name for namespace in (await control.list_namespaces(founded))[0]] == ["default", "lab"]


async def test_a_namespace_needs_a_proper_name(founded: Partitions) -> None:
    with pytest.raises(BadRequest) as refused:
        await control.put_namespace(founded, "No Name")

    assert refused.value.code == "bad_name"
