"""The proxies of the fault campaign: whole values are found, faults come again with the seed, bytes arrive."""

import asyncio
import random

import pytest

from tests.faults.scenario import meets
from tests.tools.proxy import EngineProxy, Faults, Incomplete, Proxy, end_of_value, words_of

VALUES = {
    "status": b"+OK\r\n",
    "error": b"-NOSCRIPT none\r\n",
    "number": b":-12\r\n",
    "null": b"_\r\n",
    "text": b"$5\r\na\r\nbc\r\n",
    "no text": b"$-1\r\n",
    "nothing in it": b"*0\r\n",
    "no list": b"*-1\r\n",
    "list in a list": b"*2\r\n*1\r\n$1\r\nx\r\n:1\r\n",
    "map": b"%1\r\n$1\r\nk\r\n*1\r\n,1.5\r\n",
    "set": b"~2\r\n:1\r\n:2\r\n",
    "push": b">2\r\n+a\r\n+b\r\n",
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_ends_where_it_ends_and_never_before(name: str) -> None:
    value = VALUES[name]

    assert end_of_value(value + b"+next\r\n", 0) == len(value)
    for cut in range(len(value)):
        with pytest.raises(Incomplete):
            end_of_value(value[:cut], 0)


def test_the_words_of_a_command_are_its_first_texts() -> None:
    assert words_of(b"*3\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n$1\r\n1\r\n") == [b"EVALSHA", b"abc", b"1"]


def test_only_scripts_are_doubled_and_nothing_that_opens_a_connection_suffers() -> None:
    proxy = EngineProxy(1)
    proxy.faults = Faults(double=1.0)

    assert [proxy.fate([word]) for word in (b"EVALSHA", b"XREAD", b"HELLO")] == ["double", "pass", "pass"]


def test_the_seed_brings_the_same_faults_again() -> None:
    fates = []
    for _ in range(2):
        proxy = EngineProxy(1, seed=7)
        proxy.faults = Faults(drop=0.3, double=0.3, late=0.3)
        fates.append([proxy.fate([b"EVALSHA"]) for _ in range(50)])

    assert fates[0] == fates[1]
    assert set(fates[0]) == {"pass", "drop", "double", "late"}


async def test_what_is_held_back_arrives_after_the_healing_and_a_cut_resets() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    text = random.Random(1).randbytes(50)
    async with server, asyncio.timeout(10.0):
        with Proxy(server.sockets[0].getsockname()[1]) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            proxy.hold("down")
            writer.write(text)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readexactly(50), 0.1)
            proxy.heal()
            assert await reader.readexactly(50) == text

            proxy.cut()
            assert await _is_over(reader)
            writer.close()
            late, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            assert await _is_over(late)
            writer.close()


async def _is_over(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    ("figure", "target", "met"), [(17.0, "<= 17", True), (18, "<= 17", False), (0, "== 0", True), (None, "== 0", False)]
)
def test_a_target_needs_its_figure(figure: float | None, target: str, met: bool) -> None:
    assert meets(figure, target) is met
