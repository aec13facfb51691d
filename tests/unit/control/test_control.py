"""The installation is bootstrapped once, whatever happens meanwhile; tokens say who may do what."""

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
from gojob_redis.engine.scripts import NoEpoch, OtherSchema
from tests.tools import keyspace
from tests.tools.served import space_on
from tests.tools.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
async def space(client: Client) -> Partitions:
    """Partitions of an empty engine."""
    return space_on(client)


@pytest.fixture
async def bootstrapped(space: Partitions) -> Partitions:
    await control.bootstrap_or_open(space)
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
    made = await control.bootstrap_or_open(space)

    assert made.fresh
    assert await epochs(space) == [made.epoch] * 4
    held = await keyspace.dump(space.clients.commands, CONTROL)
    bootstrapped = held["installation"].pop("bootstrapped")
    assert held["installation"] == {"epoch": made.epoch, "partitions": "4", "schema": "2"}
    assert abs(time.time() * 1000 - int(bootstrapped)) < 60_000
    assert list(held["namespaces"]) == ["default"]


async def test_a_later_start_opens_what_is_there_and_changes_nothing(bootstrapped: Partitions) -> None:
    before = await keyspace.dump(bootstrapped.clients.commands)

    opened = await control.bootstrap_or_open(bootstrapped)

    assert not opened.fresh
    assert await keyspace.dump(bootstrapped.clients.commands) == before


async def test_another_number_of_partitions_is_refused_with_the_stored_one(bootstrapped: Partitions) -> None:
    before = await keyspace.dump(bootstrapped.clients.commands)

    with pytest.raises(control.WrongInstallation, match="has 4 partitions") as refused:
        await control.bootstrap_or_open(space_on(bootstrapped.clients.commands, 8))

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
            await control.bootstrap_or_open(bootstrapped)

        assert refused.value.code == code
        assert await keyspace.dump(bootstrapped.clients.commands) == before
        await redis(bootstrapped).hset(key, "schema", SCHEMA)


async def test_a_partition_that_lost_its_epoch_stops_every_start(bootstrapped: Partitions) -> None:
    await redis(bootstrapped).delete(K.meta(bootstrapped.prefixes[2]))

    with pytest.raises(NoEpoch, match="Partition 2 of 4"):
        await control.bootstrap_or_open(bootstrapped)

    assert (await epochs(bootstrapped))[2] == ""


async def test_partitions_without_their_installation_are_not_bootstrapped_anew(bootstrapped: Partitions) -> None:
    await redis(bootstrapped).delete(K.installation(CONTROL))

    with pytest.raises(NoEpoch, match="control data was lost"):
        await control.bootstrap_or_open(bootstrapped)

    assert not await redis(bootstrapped).exists(K.installation(CONTROL))


async def test_an_emptied_engine_is_not_bootstrapped_anew_by_who_remembers_its_epoch(space: Partitions) -> None:
    with pytest.raises(NoEpoch, match="it held the installation 00ff"):
        await control.bootstrap_or_open(space, expected="00ff")

    assert await redis(space).dbsize() == 0


async def test_an_empty_engine_is_not_bootstrapped_by_who_may_not(space: Partitions) -> None:
    with pytest.raises(control.NotBootstrapped) as refused:
        await control.bootstrap_or_open(space, may_bootstrap=False)

    assert refused.value.code == "not_bootstrapped"
    assert "gojob bootstrap" in refused.value.hint
    assert await redis(space).dbsize() == 0


async def test_who_may_not_bootstrap_opens_what_is_there(bootstrapped: Partitions) -> None:
    assert not (await control.bootstrap_or_open(bootstrapped, may_bootstrap=False)).fresh


async def test_a_bootstrap_that_is_wanted_is_no_warning(space: Partitions) -> None:
    with capture_logs() as logs:
        await control.bootstrap_or_open(space, intended=True)

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("installation.bootstrapped", "info")]


async def test_a_bootstrap_is_told_in_the_log_and_in_one_event(space: Partitions) -> None:
    with capture_logs() as logs:
        made = await control.bootstrap_or_open(space)
        await control.bootstrap_or_open(space)

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("installation.bootstrapped", "warning")]
    events = [keyspace.events(await keyspace.dump(space.clients.commands, prefix)) for prefix in space.prefixes]
    [[event], *others] = events
    assert (event["kind"], event["epoch"]) == ("bootstrapped", made.epoch)
    assert others == [[], [], []]


async def test_the_documented_way_out_bootstraps_the_lost_partition_again(bootstrapped: Partitions) -> None:
    await redis(bootstrapped).delete(K.meta(bootstrapped.prefixes[2]))
    await redis(bootstrapped).hdel(K.installation(CONTROL), "bootstrapped")

    opened = await control.bootstrap_or_open(bootstrapped)

    assert await epochs(bootstrapped) == [opened.epoch] * 4


async def test_several_first_starts_at_once_make_one_installation(client: Client) -> None:
    opened = await asyncio.gather(*(control.bootstrap_or_open(space_on(client)) for _ in range(8)))

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
            await control.bootstrap_or_open(Partitions(replace(space.clients, admin=dying), 4))
        except Died:
            deaths += 1
        else:
            break
        opened = await control.bootstrap_or_open(space)
        assert opened.fresh
        assert await epochs(space) == [opened.epoch] * 4
        assert (await control.bootstrap_or_open(space)).epoch == opened.epoch

    assert deaths >= 9  # three fields, four partitions, the namespace, the mark


async def test_the_first_admin_token_is_made_once(bootstrapped: Partitions) -> None:
    made = await asyncio.gather(*(control.first_admin(bootstrapped) for _ in range(5)))

    issued = [each for each in made if each is not None]
    assert len(issued) == 1
    assert (await Identities(bootstrapped).of_api(f"Bearer {issued[0].token}")).kind == "admin"


# ---- tokens ----------------------------------------------------------------------------------------------------------


async def test_a_token_is_stored_only_as_its_digest(bootstrapped: Partitions) -> None:
    issued = await control.create_token(bootstrapped, "api", name="ci")

    held = await redis(bootstrapped).hget(K.tokens(CONTROL), issued.facts.key_id)
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
async def test_what_is_not_exactly_a_token_of_ours_is_refused(bootstrapped: Partitions, spoil: Any) -> None:
    token = (await control.create_token(bootstrapped, "api")).token
    identities = Identities(bootstrapped)

    with pytest.raises(BadRequest) as refused:
        await identities.of_api(spoil(token))
    with pytest.raises(Refused) as closed:
        await identities.of_worker(spoil(token))

    assert (refused.value.code, refused.value.status) == ("bad_token", 401)
    assert (closed.value.code, closed.value.close_code) == ("bad_token", 4401)


async def test_a_token_of_another_kind_opens_no_worker_socket(bootstrapped: Partitions) -> None:
    token = (await control.create_token(bootstrapped, "admin")).token

    with pytest.raises(Refused) as closed:
        await Identities(bootstrapped).of_worker(f"Bearer {token}")

    assert (closed.value.code, closed.value.close_code) == ("forbidden", 4403)


async def test_a_scope_limits_a_worker_to_its_apps(bootstrapped: Partitions) -> None:
    token = (await control.create_token(bootstrapped, "worker", scope=["default/shop", "lab"])).token

    who = await Identities(bootstrapped).of_worker(f"Bearer {token}")

    assert who.may_work("default", "shop")
    assert who.may_work("lab", "anything")
    assert not who.may_work("default", "other")
    assert not who.may("see", "default")


@pytest.mark.parametrize("scope", [[], ["Default"], ["default/"], ["a/b/c"], [""], ["x" * 100]])
async def test_a_scope_that_names_nothing_is_refused(bootstrapped: Partitions, scope: list[str]) -> None:
    with pytest.raises(BadRequest) as refused:
        await control.create_token(bootstrapped, "api", scope=scope)

    assert refused.value.code == "bad_scope"
    assert not await redis(bootstrapped).exists(K.tokens(CONTROL))


async def test_an_expired_token_is_refused(bootstrapped: Partitions) -> None:
    soon = int(time.time() * 1000) + 60_000
    issued = await control.create_token(bootstrapped, "api", expires_ms=soon)
    identities = Identities(bootstrapped)
    assert (await identities.of_api(f"Bearer {issued.token}")).expires_ms == soon

    past = replace(issued.facts, expires_ms=1)
    await redis(bootstrapped).hset(K.tokens(CONTROL), past.key_id, control._token_record(past))

    with pytest.raises(BadRequest, match="expired"):
        await Identities(bootstrapped).of_api(f"Bearer {issued.token}")


async def test_a_token_that_expired_before_it_was_made_is_refused(bootstrapped: Partitions) -> None:
    with pytest.raises(BadRequest) as refused:
        await control.create_token(bootstrapped, "api", expires_ms=1)

    assert refused.value.code == "bad_moment"


async def test_a_revoked_token_is_let_in_only_as_long_as_it_is_remembered(bootstrapped: Partitions) -> None:
    issued = await control.create_token(bootstrapped, "worker")
    forgetful, remembering = Identities(bootstrapped, remember_s=0.0), Identities(bootstrapped)
    await remembering.of_worker(f"Bearer {issued.token}")

    await control.revoke_token(bootstrapped, issued.facts.key_id)

    assert not await forgetful.still_good(issued.facts.key_id)
    assert (await remembering.of_worker(f"Bearer {issued.token}")).key_id == issued.facts.key_id
    with pytest.raises(Refused):
        await forgetful.of_worker(f"Bearer {issued.token}")
    assert control.REMEMBER_S <= 5.0


async def test_a_remembered_token_costs_no_read(bootstrapped: Partitions) -> None:
    issued = await control.create_token(bootstrapped, "api")
    identities = Identities(bootstrapped)
    await identities.of_api(f"Bearer {issued.token}")
    await redis(bootstrapped).delete(K.tokens(CONTROL))

    assert (await identities.of_api(f"Bearer {issued.token}")).key_id == issued.facts.key_id


async def test_a_new_token_works_at_once_although_others_asked_for_its_key_id_before(bootstrapped: Partitions) -> None:
    issued = await control.create_token(bootstrapped, "api")
    identities = Identities(bootstrapped)
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
async def test_a_wrong_secret_and_an_unknown_key_id_go_the_same_way(bootstrapped: Partitions, wrong: Any) -> None:
    """Whoever measures how long an answer takes, or what it costs, cannot tell which key ids there are."""
    issued = await control.create_token(bootstrapped, "api")
    identities = Counting(bootstrapped)
    await identities.of_api(f"Bearer {issued.token}")
    identities.reads.clear()

    for number in (1, 2, 1, 2):
        with pytest.raises(BadRequest) as refused:
            await identities.of_api(f"Bearer {wrong(issued, number)}")
        assert refused.value.message == "The token is unknown or was revoked."

    assert len(identities.reads) == 2
    await identities.of_api(f"Bearer {issued.token}")
    assert len(identities.reads) == 2


async def test_strangers_are_looked_up_a_few_at_a_time_and_hold_nobody_up(bootstrapped: Partitions) -> None:
    issued = await control.create_token(bootstrapped, "api")
    identities = Counting(bootstrapped, remember_s=0.0)
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
    bootstrapped: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "LOOK_UP_S", 0.05)
    issued = await control.create_token(bootstrapped, "api")
    identities = Counting(bootstrapped)
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
    bootstrapped: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "REFUSED", 10)
    issued = await control.create_token(bootstrapped, "api")
    identities = Counting(bootstrapped)
    await identities.of_api(f"Bearer {issued.token}")

    for number in range(30):
        with pytest.raises(BadRequest):
            await identities.of_api(f"Bearer {unknown_key_id(issued, number)}")

    assert len(identities._refused) == 10
    assert len(identities._tokens._held) == 1


async def test_a_refused_token_is_looked_up_again_after_a_while(
    bootstrapped: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "REFUSED_S", 0.0)
    issued = await control.create_token(bootstrapped, "api")
    record = await redis(bootstrapped).hget(K.tokens(CONTROL), issued.facts.key_id)
    await redis(bootstrapped).delete(K.tokens(CONTROL))
    identities = Identities(bootstrapped)
    with pytest.raises(BadRequest):
        await identities.of_api(f"Bearer {issued.token}")

    await redis(bootstrapped).hset(K.tokens(CONTROL), issued.facts.key_id, record)

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


async def test_two_tokens_of_one_holder_live_side_by_side(bootstrapped: Partitions) -> None:
    old, new = [await control.create_token(bootstrapped, "worker", name="shop") for _ in range(2)]

    assert [facts.key_id for facts in (await control.list_tokens(bootstrapped))[0]] == sorted(
        [old.facts.key_id, new.facts.key_id],
        key=lambda key_id: ({old.facts.key_id: old, new.facts.key_id: new}[key_id].facts.made_ms, key_id),
    )
    await control.revoke_token(bootstrapped, old.facts.key_id)
    assert (await Identities(bootstrapped).of_worker(f"Bearer {new.token}")).key_id == new.facts.key_id


async def test_revoking_what_is_not_there_is_said(bootstrapped: Partitions) -> None:
    with pytest.raises(NotFound) as missing:
        await control.revoke_token(bootstrapped, "nobody")

    assert missing.value.code == "unknown_token"


# ---- namespaces ------------------------------------------------------------------------------------------------------


async def test_a_namespace_exists_once_it_was_made(bootstrapped: Partitions) -> None:
    identities = Identities(bootstrapped)
    with pytest.raises(NotFound) as missing:
        await identities.check_namespace("defualt")

    await control.put_namespace(bootstrapped, "defualt", "a typing error that became real")

    assert (missing.value.code, missing.value.field) == ("unknown_namespace", "namespace")
    assert missing.value.hint == "Did you mean default?"
    assert await identities.check_namespace("defualt") == "defualt"


async def test_a_namespace_keeps_its_age_when_its_description_changes(bootstrapped: Partitions) -> None:
    made = await control.put_namespace(bootstrapped, "lab", "old")

    changed = await control.put_namespace(bootstrapped, "lab", "new")

    assert (changed.description, changed.made_ms) == ("new", made.made_ms)
    assert [namespace.name for namespace in (await control.list_namespaces(bootstrapped))[0]] == ["default", "lab"]


async def test_a_namespace_needs_a_proper_name(bootstrapped: Partitions) -> None:
    with pytest.raises(BadRequest) as refused:
        await control.put_namespace(bootstrapped, "No Name")

    assert refused.value.code == "bad_name"
