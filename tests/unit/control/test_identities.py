"""Tokens say who may do what; a wrong one tells nothing, and costs nobody else anything."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from gojob_redis.control import identities as identities_module
from gojob_redis.control import namespaces, records, tokens
from gojob_redis.control.identities import STRANGERS, Identities
from gojob_redis.domain.errors import BadRequest, NotFound, Refused, Unavailable
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partitions
from tests.tools.waiting import until

pytestmark = pytest.mark.real


def redis(space: Partitions) -> Any:
    return space.clients.commands


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
    token = (await tokens.create_token(bootstrapped, "api")).token
    identities = Identities(bootstrapped)

    with pytest.raises(BadRequest) as refused:
        await identities.of_api(spoil(token))
    with pytest.raises(Refused) as closed:
        await identities.of_worker(spoil(token))

    assert (refused.value.code, refused.value.status) == ("bad_token", 401)
    assert (closed.value.code, closed.value.close_code) == ("bad_token", 4401)


async def test_a_token_of_another_kind_opens_no_worker_socket(bootstrapped: Partitions) -> None:
    token = (await tokens.create_token(bootstrapped, "admin")).token

    with pytest.raises(Refused) as closed:
        await Identities(bootstrapped).of_worker(f"Bearer {token}")

    assert (closed.value.code, closed.value.close_code) == ("forbidden", 4403)


async def test_a_scope_limits_a_worker_to_its_apps(bootstrapped: Partitions) -> None:
    token = (await tokens.create_token(bootstrapped, "worker", scope=["default/shop", "lab"])).token

    who = await Identities(bootstrapped).of_worker(f"Bearer {token}")

    assert who.may_work("default", "shop")
    assert who.may_work("lab", "anything")
    assert not who.may_work("default", "other")
    assert not who.may("see", "default")


async def test_an_expired_token_is_refused(bootstrapped: Partitions) -> None:
    soon = int(time.time() * 1000) + 60_000
    issued = await tokens.create_token(bootstrapped, "api", expires_ms=soon)
    identities = Identities(bootstrapped)
    assert (await identities.of_api(f"Bearer {issued.token}")).expires_ms == soon

    past = replace(issued.facts, expires_ms=1)
    await redis(bootstrapped).hset(K.tokens(CONTROL), past.key_id, tokens.record_of(past))

    with pytest.raises(BadRequest, match="expired"):
        await Identities(bootstrapped).of_api(f"Bearer {issued.token}")


async def test_a_revoked_token_is_let_in_only_as_long_as_it_is_remembered(bootstrapped: Partitions) -> None:
    issued = await tokens.create_token(bootstrapped, "worker")
    forgetful, remembering = Identities(bootstrapped, remember_s=0.0), Identities(bootstrapped)
    await remembering.of_worker(f"Bearer {issued.token}")

    await tokens.revoke_token(bootstrapped, issued.facts.key_id)

    assert not await forgetful.still_good(issued.facts.key_id)
    assert (await remembering.of_worker(f"Bearer {issued.token}")).key_id == issued.facts.key_id
    with pytest.raises(Refused):
        await forgetful.of_worker(f"Bearer {issued.token}")
    assert records.REMEMBER_S <= 5.0


async def test_a_remembered_token_costs_no_read(bootstrapped: Partitions) -> None:
    issued = await tokens.create_token(bootstrapped, "api")
    identities = Identities(bootstrapped)
    await identities.of_api(f"Bearer {issued.token}")
    await redis(bootstrapped).delete(K.tokens(CONTROL))

    assert (await identities.of_api(f"Bearer {issued.token}")).key_id == issued.facts.key_id


async def test_a_new_token_works_at_once_although_others_asked_for_its_key_id_before(bootstrapped: Partitions) -> None:
    issued = await tokens.create_token(bootstrapped, "api")
    identities = Identities(bootstrapped)
    with pytest.raises(BadRequest):
        await identities.of_api(f"Bearer {wrong_secret(issued)}")

    assert (await identities.of_api(f"Bearer {issued.token}")).kind == "api"


def wrong_secret(issued: tokens.Issued, number: int = 0) -> str:
    """A token of this key id that is none."""
    return f"gj_{issued.facts.kind}_{issued.facts.key_id}_{number:050d}"


def unknown_key_id(issued: tokens.Issued, number: int = 0) -> str:
    """A token of a key id that does not exist."""
    return f"gj_{issued.facts.kind}_{number:010d}_{'0' * 50}"


@pytest.mark.parametrize("wrong", [wrong_secret, unknown_key_id])
async def test_a_wrong_secret_and_an_unknown_key_id_go_the_same_way(bootstrapped: Partitions, wrong: Any) -> None:
    """Whoever measures how long an answer takes, or what it costs, cannot tell which key ids there are."""
    issued = await tokens.create_token(bootstrapped, "api")
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
    issued = await tokens.create_token(bootstrapped, "api")
    identities = Counting(bootstrapped, remember_s=0.0)
    await identities.of_api(f"Bearer {issued.token}")
    identities.reads.clear()
    identities.closed = {f"{number:010d}" for number in range(50)}

    asking = [
        asyncio.create_task(identities.of_api(f"Bearer {unknown_key_id(issued, number)}")) for number in range(50)
    ]
    await until(lambda: len(identities.reads) >= STRANGERS)
    assert (await identities.of_api(f"Bearer {issued.token}")).kind == "api"

    assert len(identities.reads) == STRANGERS + 1
    identities.opened.set()
    refused = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(error) for error in refused} == {BadRequest}


async def test_strangers_whose_turn_does_not_come_are_told_so(
    bootstrapped: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities_module, "LOOK_UP_S", 0.05)
    issued = await tokens.create_token(bootstrapped, "api")
    identities = Counting(bootstrapped)
    identities.closed = {f"{number:010d}" for number in range(STRANGERS)}
    asking = [
        asyncio.create_task(identities.of_api(f"Bearer {unknown_key_id(issued, number)}"))
        for number in range(STRANGERS)
    ]
    await until(lambda: len(identities.reads) == STRANGERS)

    with pytest.raises(Unavailable) as busy:
        await identities.of_api(f"Bearer {unknown_key_id(issued, 99)}")

    assert busy.value.code == "busy"
    identities.opened.set()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_what_is_remembered_of_refused_tokens_is_bounded_and_forgets_nobody_who_was_let_in(
    bootstrapped: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities_module, "REFUSED", 10)
    issued = await tokens.create_token(bootstrapped, "api")
    identities = Counting(bootstrapped)
    await identities.of_api(f"Bearer {issued.token}")

    for number in range(30):
        await _refused(identities, issued, number)
    identities.reads.clear()
    await identities.of_api(f"Bearer {issued.token}")
    for number in (20, 29):
        await _refused(identities, issued, number)
    remembered = list(identities.reads)
    await _refused(identities, issued, 19)

    assert (len(remembered), len(identities.reads)) == (0, 1)


async def _refused(identities: Identities, issued: tokens.Issued, number: int) -> None:
    with pytest.raises(BadRequest):
        await identities.of_api(f"Bearer {unknown_key_id(issued, number)}")


async def test_a_refused_token_is_looked_up_again_after_a_while(
    bootstrapped: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities_module, "REFUSED_S", 0.0)
    issued = await tokens.create_token(bootstrapped, "api")
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

    async def record_of(self, key_id: str) -> bytes | None:
        self.reads.append(key_id)
        if key_id in self.closed:
            await self.opened.wait()
        return await super().record_of(key_id)


async def test_a_namespace_exists_once_it_was_made(bootstrapped: Partitions) -> None:
    identities = Identities(bootstrapped)
    with pytest.raises(NotFound) as missing:
        await identities.check_namespace("defualt")

    await namespaces.put_namespace(bootstrapped, "defualt", "a typing error that became real")

    assert (missing.value.code, missing.value.field) == ("unknown_namespace", "namespace")
    assert missing.value.hint == "Did you mean default?"
    assert await identities.check_namespace("defualt") == "defualt"
