"""Texts of users and workers, on the terminal of an operator who reads them."""

import asyncio
import os
import re
import subprocess
import sys

from gojob_sdk import Client, Context, Worker
from tests.attacks.attack import attack
from tests.faults.rig import APP, Rig

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x00"
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@attack(
    "A9-terminal",
    "control characters that reach a terminal by the command line or a role's log",
    bound="== 0",
    short=True,
)
async def steer(rig: Rig) -> float:
    """A handler logs, raises, returns and makes progress with them; somebody submits them, and asks for such names."""
    await rig.start(workers=0, triggers=0, roles={"GOJOB_LOG__FORMAT": "console"})
    shown = await asyncio.to_thread(_shown, rig)
    shown += rig.gateways[0].log.read_text("utf-8", "replace")
    if "owned" not in shown:
        raise AssertionError("nothing of it was shown at all")
    return float(len(STEERS.findall(shown)))


def _shown(rig: Rig) -> str:
    system = rig.system
    worker = Worker(app=APP, url=system.urls, token=system.worker_token)
    worker.add("evil", _evil)
    worker.start()
    try:
        task = _submitted(Client(system.urls, system.admin_token))
    finally:
        worker.stop(0)
        worker.wait(10)
    variables = {"GOJOB_URL": system.urls, "GOJOB_TOKEN": system.admin_token, "GOJOB_APP": APP, "PYTHONUTF8": "1"}
    looks = (
        *(["tasks", look, task] for look in ("show", "log", "runs")),
        ["triggers", "set", "x", "-H", "evil", "--description", EVIL.replace("\0", "")],
        ["tasks", "submit", "evil" + EVIL.replace("\0", "")],
    )
    shown = ""
    for look in looks:
        command = (sys.executable, "-m", "gojob_redis.cli", *look)
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, check=False, timeout=30)
        shown += (done.stdout + done.stderr).decode("utf-8", "replace")
    return shown


def _submitted(client: Client) -> str:
    with client:
        task = client.submit(APP, "evil", {"text": EVIL}, allow_unknown=True)
        return client.wait(task.id, timeout_s=20).id


def _evil(ctx: Context, text: str) -> None:
    ctx.log.info(text)
    ctx.progress(50, text)
    raise ValueError(text)
