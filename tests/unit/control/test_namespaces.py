"""A namespace is made and changed by name."""

import pytest

from gojob_redis.control import namespaces
from gojob_redis.domain.errors import BadRequest
from gojob_redis.engine.partitions import Partitions

pytestmark = pytest.mark.real


async def test_a_namespace_keeps_its_age_when_its_description_changes(bootstrapped: Partitions) -> None:
    made = await namespaces.put_namespace(bootstrapped, "lab", "old")

    changed = await namespaces.put_namespace(bootstrapped, "lab", "new")

    assert (changed.description, changed.made_ms) == ("new", made.made_ms)
    assert [namespace.name for namespace in (await namespaces.list_namespaces(bootstrapped))[0]] == ["default", "lab"]


async def test_a_namespace_needs_a_proper_name(bootstrapped: Partitions) -> None:
    with pytest.raises(BadRequest) as refused:
        await namespaces.put_namespace(bootstrapped, "No Name")

    assert refused.value.code == "bad_name"
