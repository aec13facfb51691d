"""gojob_redis/ops/writers.py: who writes which kind of key."""

from gojob_redis.engine.keys import CATALOGUE
from gojob_redis.ops import writers


def test_the_document_lists_every_kind() -> None:
    page = writers.document()

    assert all(f":{entry.pattern}`" in page for entry in CATALOGUE.values())


def test_every_kind_of_a_partition_has_a_script_that_writes_it() -> None:
    by_kind = writers.writers()

    assert [kind for kind, entry in CATALOGUE.items() if entry.scope == "partition" and not by_kind[kind]] == []
    assert by_kind["removed"] == ["lib/removal.lua"]
    assert {"enlist.lua", "lib/lane.lua"} <= set(by_kind["app_handlers"])
    assert "lib/filed.lua" in by_kind["history"]
