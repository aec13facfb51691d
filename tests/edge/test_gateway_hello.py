"""Who is let in, and what a socket is told that is not."""

import json

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from gojob_redis.control import namespaces
from gojob_redis.domain.errors import Unavailable
from gojob_redis.engine.keys import SCHEMA, K
from gojob_redis.engine.scripts import NoEpoch, OtherSchema
from gojob_sdk import protocol
from tests.edge.conftest import APP, HANDLER, Edge, greeting
from tests.tools.waiting import until


async def test_a_hello_registers_a_session_and_is_welcomed(edge: Edge) -> None:
    await edge.gateway("g1")

    worker = await edge.worker(attributes=["host=db7"], labels={"env": "gray"}, capacity=3)

    assert worker.welcome == {
        "type": "welcome",
        "session": worker.session,
        "conn": 1,
        "gateway": "g1",
        "resumed": False,
        "heartbeat_ms": 5_000,
        "lease_ms": 15_000,
        "protocol": 2,
    }
    dump = await edge.dump()
    record = dump[f"session:{worker.session}"]
    assert (record["app"], record["capacity"], record["gateway"]) == (APP, "3", "g1")
    assert (record["attributes"], record["holder"], record["name"]) == ("host=db7", "one", "w1")
    group = dump[f"group:{record['group']}"]
    assert (group["app"], group["handlers"], group["labels"]) == (APP, HANDLER, "env=gray")
    assert dump["gateways"].keys() == {"g1"}


async def test_a_malformed_frame_is_answered_with_its_field_and_ends_the_socket(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()

    await worker.send("renew", seq="one", held=0)

    code, error = await worker.refusal()
    assert code == protocol.CLOSE_BAD_FRAME
    assert (error["code"], error["field"]) == ("bad_frame", "renew.seq")
    assert error["hint"]


@pytest.mark.parametrize("data", [b"\xc1", b"\x90", b"\x81\xa4type\x01"])
async def test_bytes_that_are_no_frame_end_the_socket(edge: Edge, data: bytes) -> None:
    await edge.gateway()
    worker = await edge.worker()

    await worker.send_bytes(data)

    assert (await worker.refusal())[0] == protocol.CLOSE_BAD_FRAME


async def test_a_text_message_ends_the_socket(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()

    await worker.socket.send("hello")

    code, error = await worker.refusal()
    assert (code, error["code"]) == (protocol.CLOSE_BAD_FRAME, "bad_frame")


async def test_a_frame_of_more_than_a_mebibyte_is_too_large(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()

    await worker.send_bytes(bytes(protocol.MAX_FRAME_BYTES + 1))

    code, _error = await worker.refusal()
    assert code == 1009


async def test_unknown_frames_and_fields_are_ignored(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.connect()
    await worker.send("invented", anything=1)
    await worker.hello(invented=1)

    await worker.send("invented")

    await worker.renew()


async def test_nothing_comes_before_hello(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.connect()

    await worker.send("renew", seq=1, held=0)

    assert (await worker.refusal())[0] == protocol.CLOSE_BAD_FRAME


async def test_hello_is_said_once(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()

    await worker.send("hello", **greeting())

    assert (await worker.refusal())[0] == protocol.CLOSE_BAD_FRAME


async def test_a_worker_that_speaks_newer_versions_too_is_welcome_in_one_that_both_speak(edge: Edge) -> None:
    await edge.gateway()

    worker = await edge.worker(speaks=[2, 3, 4])

    assert worker.welcome["protocol"] == 2


async def test_a_worker_of_a_release_that_named_one_version_only_is_welcome(edge: Edge) -> None:
    await edge.gateway()

    assert "speaks" not in greeting()
    assert (await edge.worker()).welcome["protocol"] == 2


async def test_a_worker_that_is_too_new_is_refused_with_a_remedy(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.connect()

    await worker.send("hello", **(greeting() | {"protocol": 3, "speaks": [3, 4]}))

    code, error = await worker.refusal()
    assert (code, error["code"], error["field"]) == (protocol.CLOSE_BAD_FRAME, "worker_too_new", "hello.protocol")
    assert error["message"] == "The worker speaks protocol 3 and 4, this gateway 2."
    assert error["hint"].startswith("Update the gateways")


async def test_a_worker_that_is_too_old_is_refused_with_a_remedy(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.connect()

    await worker.send("hello", **(greeting() | {"protocol": 1}))

    code, error = await worker.refusal()
    assert (code, error["code"], error["field"]) == (protocol.CLOSE_BAD_FRAME, "worker_too_old", "hello.protocol")
    assert error["hint"].startswith("Update gojob-sdk")


async def test_a_socket_that_says_nothing_is_closed(edge: Edge) -> None:
    await edge.gateway(hello_s=0.05)

    worker = await edge.connect()

    code, error = await worker.refusal()
    assert (code, error["code"]) == (protocol.CLOSE_HELLO_TIMEOUT, "hello_timeout")


async def test_who_has_no_token_of_a_worker_gets_no_socket(edge: Edge) -> None:
    gateway = await edge.gateway()

    with pytest.raises(InvalidStatus) as refused:
        await edge.connect(token="three")

    response = refused.value.response
    assert (response.status_code, json.loads(response.body)["code"]) == (401, "bad_token")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert gateway.counters.refused == 1


async def test_an_engine_that_is_away_is_no_reason_to_call_a_token_wrong(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    await edge.gateway()

    async def away(*_: object) -> None:
        raise Unavailable("The engine does not answer.", 1.0)

    monkeypatch.setattr(type(edge.tokens), "of_worker", away)
    with pytest.raises(InvalidStatus) as refused:
        await edge.connect()

    assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize(("field", "value"), [("namespace", "other"), ("app", "billing")])
async def test_a_token_opens_only_its_own_apps(edge: Edge, field: str, value: str) -> None:
    await edge.gateway()
    worker = await edge.connect()

    await worker.send("hello", **(greeting() | {field: value}))

    code, error = await worker.refusal()
    assert (code, error["code"]) == (protocol.CLOSE_FORBIDDEN, "forbidden")
    assert not [name for name in await edge.dump() if name.startswith("session:")]


async def test_a_namespace_that_does_not_exist_is_refused(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.connect()

    await worker.send("hello", **(greeting() | {"namespace": "unknown"}))

    code, error = await worker.refusal()
    assert (code, error["code"]) == (protocol.CLOSE_FORBIDDEN, "unknown_namespace")


async def test_a_page_of_an_unlisted_origin_may_not_connect(edge: Edge) -> None:
    await edge.gateway(origins=("https://console.example",))

    with pytest.raises(InvalidStatus) as refused:
        await edge.connect(origin=Origin("https://evil.example"))

    assert refused.value.response.status_code == 403
    await (await edge.connect(origin=Origin("https://console.example"))).hello()


async def test_the_subprotocol_has_to_be_asked_for(edge: Edge) -> None:
    await edge.gateway()

    with pytest.raises(InvalidStatus) as refused:
        await edge.connect(subprotocols=[Subprotocol("gojob.v0")])

    assert refused.value.response.status_code == 400


async def test_messages_are_not_compressed(edge: Edge) -> None:
    await edge.gateway()

    worker = await edge.worker()

    assert worker.socket.protocol.extensions == []


async def test_a_seventeenth_group_is_told_to_come_later(edge: Edge) -> None:
    await edge.gateway()
    for number in range(16):
        await edge.worker(handlers=["send", f"h{number}"])
    worker = await edge.connect()

    await worker.send("hello", **(greeting() | {"handlers": ["send", "h16"]}))

    code, error = await worker.refusal()
    assert (code, error["code"]) == (protocol.CLOSE_BUSY, "worker_groups_full")


async def test_a_token_and_a_namespace_have_no_more_sockets_than_they_may(edge: Edge) -> None:
    await edge.gateway()
    await set_limits(edge, sockets_per_token=1)
    first = await edge.worker()
    second = await edge.connect()
    await second.send("hello", **greeting())

    code, error = await second.refusal()
    assert (code, error["code"], error["retry_ms"]) == (protocol.CLOSE_BUSY, "sockets_full", 5_000)

    await first.socket.close()
    await until(lambda: not edge.gateways["g1"].handshake.sockets.total)
    await edge.worker()


async def test_an_app_has_no_more_handlers_than_it_may(edge: Edge) -> None:
    await edge.gateway()
    await set_limits(edge, handlers_per_app=2)
    await edge.worker(handlers=["send", "other"])
    worker = await edge.connect()

    await worker.send("hello", **(greeting() | {"handlers": ["third"]}))

    code, error = await worker.refusal()
    assert (code, error["code"], error["retry_ms"]) == (protocol.CLOSE_BUSY, "handlers_full", 30_000)


async def set_limits(edge: Edge, **limits: int) -> None:
    """Set limits of the namespace that the tests' workers are of."""
    await namespaces.put_namespace(edge.space, APP.partition("/")[0], may_have=limits)


async def test_a_full_gateway_sends_workers_elsewhere(edge: Edge) -> None:
    await edge.gateway(sessions=1)
    await edge.worker()

    worker = await edge.connect()

    code, error = await worker.refusal()
    assert (code, error["code"]) == (protocol.CLOSE_BUSY, "busy")


async def test_a_worker_is_told_to_come_later_while_the_engine_is_away(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await edge.gateway()

    async def away(items: object) -> list[str]:
        raise Unavailable("Redis gave no answer.", 1.0)

    monkeypatch.setattr(gateway.batchers.enlist(gateway.space[0]), "call", away)
    worker = await edge.connect()
    await worker.send("hello", **greeting())

    code, error = await worker.refusal()
    assert (code, error["code"]) == (protocol.CLOSE_BUSY, "unavailable")
    assert gateway.counters.refused == 1


async def test_an_emptied_engine_stops_the_gateway(edge: Edge) -> None:
    gateway = await edge.gateway(stamp_s=0.01)
    await edge.worker()

    await edge.space.clients.commands.flushall()

    with pytest.raises(ExceptionGroup) as broken:
        await edge.finished(gateway)
    assert broken.group_contains(NoEpoch)
    assert not gateway.ready


async def test_data_that_a_newer_release_has_changed_stops_the_gateway(edge: Edge) -> None:
    gateway = await edge.gateway(stamp_s=0.01)
    await edge.worker()
    meta = K.meta(edge.space.prefixes[0])

    await edge.space.clients.commands.hset(meta, "schema", SCHEMA + 1)

    with pytest.raises(ExceptionGroup) as broken:
        await edge.finished(gateway)
    assert broken.group_contains(OtherSchema)
    await edge.space.clients.commands.hset(meta, "schema", SCHEMA)


async def test_an_emptied_engine_stops_a_gateway_that_nobody_is_connected_to(edge: Edge) -> None:
    gateway = await edge.gateway(recheck_s=0.01)

    await edge.space.clients.commands.flushall()

    with pytest.raises(ExceptionGroup) as broken:
        await edge.finished(gateway)
    assert broken.group_contains(NoEpoch)


async def test_a_flood_of_refused_sockets_is_one_line(edge: Edge) -> None:
    await edge.gateway()

    with capture_logs() as logs:
        for _ in range(20):
            worker = await edge.connect()
            await worker.send("hello", **(greeting() | {"worker": "w\x1fadmin"}))
            assert (await worker.refusal())[1]["field"] == "hello.worker"

    told = [line for line in logs if line["event"].startswith("socket")]
    assert [(line["event"], line["code"], line["address"]) for line in told] == [
        ("socket.refused", "bad_frame", "127.0.0.1")
    ]


async def test_a_group_that_is_opened_in_pieces_is_welcome_when_all_are_open(edge: Edge) -> None:
    gateway = await edge.gateway()
    handlers = [f"h{number:03}" for number in range(300)]

    worker = await edge.worker(handlers=handlers)

    assert not worker.welcome["resumed"]
    assert {verb: calls for verb, _, calls, _, _ in gateway.batchers.counters_of_calls()} == {"enlist": 2}
