"""Other users of the machine that an embedded engine runs on."""

import asyncio
import json
import subprocess
from pathlib import Path

from gojob_redis.engine.embedded import free_port
from gojob_sdk.testing import dev_command
from tests.attacks.attack import attack
from tests.faults.rig import Rig
from tests.faults.scenario import Skipped
from tests.tools import stranger


@attack(
    "H6", "what another user of the machine can read of two embedded engines, or ask them", bound="== 0", short=True
)
async def read_and_ask(rig: Rig) -> float:
    """One engine of ``gojob dev``, and one on a port that somebody asked for."""
    if not stranger.possible():
        raise Skipped(stranger.WHY_NOT)
    rig.system.directory.chmod(0o755)  # as a home that others may enter: what is inside has to guard itself
    await rig.start(workers=0, triggers=0)
    deeds = await asyncio.to_thread(_tried, rig.system.directory, rig.system.port)
    for each in deeds:
        print(f"  could {each}")
    return float(len(deeds))


def _tried(directory: Path, port: int) -> list[str]:
    """What he could do with both."""
    with subprocess.Popen(dev_command(free_port(), str(directory / "dev")), stdout=subprocess.PIPE, text=True) as dev:
        try:
            assert dev.stdout is not None
            facts = json.loads(next(line for line in dev.stdout if line.startswith("{")))
            other = json.loads((directory / "dev" / "engine.json").read_text("utf-8"))["port"]
            secrets = [facts["admin_token"], facts["worker_token"]]
            secrets += [path.read_text("utf-8").strip() for path in directory.rglob("engine.password")]
            ports = [port, other] if other else [port]
            return stranger.could((directory / "dev", directory / "engine"), ports=ports, secrets=secrets)
        finally:
            dev.terminate()
