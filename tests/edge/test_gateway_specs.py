"""What workers tell of their handlers: named by digest, asked for once, checked, and said to be in use."""

from typing import Any

import msgpack
import pytest
from structlog.testing import capture_logs

from gojob_redis.connections import specs
from gojob_redis.engine.keys import K
from gojob_redis.maintenance.fold import Fold
from gojob_redis.view.failures import VersionSeen, failures
from gojob_sdk import protocol
from tests.edge.conftest import APP, HANDLER, Edge, Worker
from tests.tools.waiting import until

SPEC = protocol.pack_spec({"params": {"type": "object"}, "version": "1.4"})
DIGEST = protocol.spec_digest(SPEC)


async def known(edge: Edge, digest: str = DIGEST, handler: str = HANDLER) -> bool:
    """Whether the engine knows this version of a handler."""
    dump = await edge.dump()
    return f"spec:{APP}|{digest}" in dump and digest in dump.get(f"specs:{handler}", {})


async def told(edge: Edge, **changes: Any) -> Worker:
    """A worker whose spec was asked for and told."""
    worker = await edge.worker(specs=[DIGEST], **changes)
    assert await worker.receive("describe") == {"type": "describe", "specs": [DIGEST]}
    await worker.send("described", specs=[SPEC])
    await edge.until(lambda: known(edge))
    return worker


async def test_a_gateway_asks_once_for_a_spec_that_nobody_told(edge: Edge) -> None:
    await edge.gateway()
    await told(edge)

    second = await edge.worker(specs=[DIGEST])
    other_gateway = await edge.gateway("g2")
    third = await edge.worker("g2", specs=[DIGEST])
    await until(lambda: other_gateway.specs.kinds == 1)
    for worker in (second, third):
        await worker.renew()  # nothing was asked before this answer

    assert (await edge.dump())[f"spec:{APP}|{DIGEST}"] == SPEC


async def test_a_hello_without_specs_costs_the_engine_nothing(edge: Edge) -> None:
    await edge.gateway()
    before = {name for name in await edge.dump() if name.startswith("spec")}

    for worker in (await edge.worker(), await edge.worker(specs=[""])):
        await worker.renew()

    assert {name for name in await edge.dump() if name.startswith("spec")} == before == set()


async def test_a_session_names_what_its_handlers_have(edge: Edge) -> None:
    await edge.gateway()
    worker = await told(edge)

    other = await edge.worker()
    dump, prefix, client = await edge.dump(), edge.space.prefixes[0], edge.space.clients.commands
    record: Any = await client.hget(K.session(prefix, worker.session), "facts")
    packed: Any = await client.get(K.spec(prefix, APP, msgpack.unpackb(record)["specs"]))
    assert msgpack.unpackb(packed) == {"send": DIGEST}
    assert dump[f"session:{worker.session}"]["group"] == dump[f"session:{other.session}"]["group"]


@pytest.mark.parametrize(
    "spec",
    [
        b"\xc1",
        msgpack.packb({"params": {"$ref": "https://evil.example/"}}),
        msgpack.packb({"params": {"allOf": [{}] * 1_001}}),
    ],
)
async def test_a_bad_spec_is_told_in_the_log_and_its_worker_goes_on(edge: Edge, spec: bytes) -> None:
    await edge.gateway()
    digest = protocol.spec_digest(spec)
    worker = await edge.worker(specs=[digest])
    await worker.receive("describe")

    with capture_logs() as logs:
        await worker.send("described", specs=[spec])
        await until(lambda: any(line["event"] == "spec.refused" for line in logs))

    await worker.renew()
    assert not await known(edge, digest)


async def test_what_was_not_asked_for_is_not_kept(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker(specs=[DIGEST])
    await worker.receive("describe")

    other = msgpack.packb({"version": "2"})
    await worker.send("described", specs=[other, SPEC])
    await edge.until(lambda: known(edge))

    assert not await known(edge, protocol.spec_digest(other))


async def test_a_spec_is_said_to_be_in_use_as_long_as_a_worker_has_it(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await told(edge)
    client: Any = edge.space.clients.commands
    name = K.specs(edge.space.prefixes[0], HANDLER)
    await client.hset(name, DIGEST, "1 1")

    await gateway.specs.say_again()

    first, last = (await client.hget(name, DIGEST)).split()
    assert first == b"1"
    assert int(last) > 1

    await worker.socket.close()
    await until(lambda: gateway.specs.kinds == 0)
    await client.hset(name, DIGEST, "1 1")
    await gateway.specs.say_again()
    assert await client.hget(name, DIGEST) == b"1 1"


async def test_a_worker_that_did_not_answer_is_not_asked_again_but_the_next_is(edge: Edge) -> None:
    gateway = await edge.gateway()
    silent = await edge.worker(specs=[DIGEST])
    await silent.receive("describe")

    await gateway.specs.say_again()
    await silent.renew()

    await edge.worker(specs=[DIGEST])
    answers = await edge.worker(specs=[DIGEST])
    await gateway.specs.say_again()
    await answers.receive("describe")


async def test_many_handlers_are_told_in_several_frames(edge: Edge) -> None:
    await edge.gateway()
    packed = [protocol.pack_spec({"version": str(number)}) for number in range(150)]
    handlers = [f"h{number:03}" for number in range(150)]
    worker = await edge.worker(handlers=handlers, specs=[protocol.spec_digest(one) for one in packed])
    by_digest = {protocol.spec_digest(one): one for one in packed}

    for _ in range(2):
        asked = (await worker.receive("describe"))["specs"]
        await worker.send("described", specs=[by_digest[one] for one in asked])

    for handler, one in zip(handlers, packed, strict=True):
        await edge.until(lambda one=one, handler=handler: known(edge, protocol.spec_digest(one), f"{APP}/{handler}"))


def test_a_stranger_s_schemas_take_a_fifth_of_a_core_at_most() -> None:
    assert specs.REST >= 4


async def test_a_failure_is_kept_with_the_version_of_its_handler(edge: Edge) -> None:
    await edge.gateway()
    worker, error = await told(edge), {"type": "ValueError", "message": "no order 7", "traceback": ""}
    await edge.submit()
    await worker.report(*await worker.tasks(), outcome="error", error=error)
    await worker.words()

    await Fold(edge.space).run_once()

    [group] = await failures(edge.space, [APP])
    assert (group.message, group.first_in, group.last_in) == (
        "no order #",
        VersionSeen(DIGEST, "1.4"),
        VersionSeen(DIGEST, "1.4"),
    )
