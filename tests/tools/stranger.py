"""Another user of this machine, who tries what he is not meant to do."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

NOBODY: Final = 65_534
WITHIN_S: Final = 20.0
WHY_NOT: Final = "only root can become another user"

PROGRAM: Final = r"""
import json, os, pathlib, socket, stat, sys

asked, found = json.load(sys.stdin), []
os.setgroups([])
os.setgid(asked["user"])
os.setuid(asked["user"])  # only now: our interpreter may stand where that user cannot come

def attempt(what, act):
    try:
        if act():
            found.append(what)
    except OSError:
        pass

def answers(family, address):
    with socket.socket(family) as connection:
        connection.settimeout(2)
        connection.connect(address)
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")

for path in map(pathlib.Path, asked["paths"]):
    attempt(f"read {path}", lambda: os.listdir(path) is not None if path.is_dir() else path.read_bytes() is not None)
    attempt(f"ask {path}", lambda: stat.S_ISSOCK(path.stat().st_mode) and answers(socket.AF_UNIX, str(path)))
for port in asked["ports"]:
    attempt(f"ask port {port}", lambda: answers(socket.AF_INET, ("127.0.0.1", port)))
for process in pathlib.Path("/proc").glob("[0-9]*"):
    for name in ("cmdline", "environ"):
        attempt(f"see a secret in {process}/{name}",
                lambda: any(secret.encode() in (process / name).read_bytes() for secret in asked["secrets"]))
print(json.dumps(found))
"""


def possible() -> bool:
    """Whether we may become somebody else."""
    return os.geteuid() == 0


def could(directories: Iterable[Path], *, ports: Sequence[int] = (), secrets: Sequence[str] = ()) -> list[str]:
    """What he could read in these directories, ask at these ports, or see of these secrets among the processes."""
    paths = [str(path) for directory in directories for path in (directory, *directory.rglob("*"))]
    asked = {"user": NOBODY, "paths": paths, "ports": list(ports), "secrets": list(secrets)}
    ran = subprocess.run(
        (sys.executable, "-I", "-S", "-c", PROGRAM),
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        timeout=WITHIN_S,
    )
    deeds: list[str] = json.loads(ran.stdout)
    return deeds
