"""Tokens are stored as their digests, and counted, listed and revoked."""

import asyncio
from typing import Any

import pytest

from gojob_redis.control import tokens
from gojob_redis.control.identities import Identities
from gojob_redis.domain.errors import BadRequest, NotFound
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partitions

pytestmark = pytest.mark.real


def redis(space: Partitions) -> Any:
    return space.clients.commands


async def test_the_first_admin_token_is_made_once(bootstrapped: Partitions) -> None:
    made = await asyncio.gather(*(tokens.first_admin(bootstrapped) for _ in range(5)))

    issued = [each for each in made if each is not None]
    assert len(issued) == 1
    assert (await Identities(bootstrapped).of_api(f"Bearer {issued[0].token}")).kind == "admin"


async def test_a_token_is_stored_only_as_its_digest(bootstrapped: Partitions) -> None:
    issued = await tokens.create_token(bootstrapped, "api", name="ci")

    held = await redis(bootstrapped).hget(K.tokens(CONTROL), issued.facts.key_id)
    assert issued.token.startswith(f"gj_api_{issued.facts.key_id}_")
    assert issued.token.rpartition("_")[2].encode() not in held
    assert issued.token not in repr(issued)


@pytest.mark.parametrize("scope", [[], ["Default"], ["default/"], ["a/b/c"], [""], ["x" * 100]])
async def test_a_scope_that_names_nothing_is_refused(bootstrapped: Partitions, scope: list[str]) -> None:
    with pytest.raises(BadRequest) as refused:
        await tokens.create_token(bootstrapped, "api", scope=scope)

    assert refused.value.code == "bad_scope"
    assert not await redis(bootstrapped).exists(K.tokens(CONTROL))


async def test_a_token_that_expired_before_it_was_made_is_refused(bootstrapped: Partitions) -> None:
    with pytest.raises(BadRequest) as refused:
        await tokens.create_token(bootstrapped, "api", expires_ms=1)

    assert refused.value.code == "bad_moment"


async def test_two_tokens_of_one_holder_live_side_by_side(bootstrapped: Partitions) -> None:
    old, new = [await tokens.create_token(bootstrapped, "worker", name="shop") for _ in range(2)]

    assert [facts.key_id for facts in (await tokens.list_tokens(bootstrapped))[0]] == sorted(
        [old.facts.key_id, new.facts.key_id],
        key=lambda key_id: ({old.facts.key_id: old, new.facts.key_id: new}[key_id].facts.made_ms, key_id),
    )
    await tokens.revoke_token(bootstrapped, old.facts.key_id)
    assert (await Identities(bootstrapped).of_worker(f"Bearer {new.token}")).key_id == new.facts.key_id


async def test_revoking_what_is_not_there_is_said(bootstrapped: Partitions) -> None:
    with pytest.raises(NotFound) as missing:
        await tokens.revoke_token(bootstrapped, "nobody")

    assert missing.value.code == "unknown_token"
