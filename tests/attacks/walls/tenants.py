"""One tenant at work: what others wait meanwhile, and what it costs."""

import asyncio

from gojob_redis.keys import K
from tests.attacks.attack import Bystander, attack
from tests.faults.rig import Rig, now_ms, wait

HANDLERS = 100_000
MINE = "/v1/apps/default/crowded"
OTHERS = "/v1/apps/default/quiet/handlers/send"


async def _announced(rig: Rig, app: str, handlers: int) -> None:
    """As if workers had announced so many handlers."""
    rig.request(
        "PUT",
        f"/v1/apps/{app}/triggers/first",
        json={"handler": "none", "schedule": {"kind": "manual"}, "allow_unknown": True},
    )
    prefix = rig.prefix_of(app)
    pipe = rig.engine.pipeline(transaction=False)
    for first in range(0, handlers, 5_000):
        names = [f"{app}/handler-{number:06d}" for number in range(first, first + 5_000)]
        pipe.zadd(K.handlers(prefix), dict.fromkeys(names, now_ms()))
        pipe.zadd(K.app_handlers(prefix, app), dict.fromkeys(names, 0))
    await asyncio.to_thread(pipe.execute)


@attack("H4-suggest", "100,000 handlers, names mistyped and triggers made: ms that another tenant waits", bound="<= 50")
async def suggestions(rig: Rig) -> float:
    """A refusal costs no more the more names there are, and what is accepted costs no suggestion."""
    await rig.start(workers=0, triggers=0)
    await _announced(rig, "default/crowded", HANDLERS)
    manual = {"schedule": {"kind": "manual"}, "handler": "handler-000001"}
    with Bystander(rig.gateways[0].port, OTHERS, rig.system.admin_token) as bystander:
        await wait(0.5)
        for number in range(10):
            await _asked(rig, "POST", f"{MINE}/handlers/handlr-{number:06d}/tasks", {}, 422)
            await _asked(rig, "PUT", f"{MINE}/triggers/trigger-{number}", manual, 201)
            await _asked(rig, "GET", f"{MINE}/triggers/triger-{number}", None, 404)
            await _asked(rig, "GET", f"{MINE}/handlers/handler-{number:06d}", None, 200)
        await wait(0.5)
    return bystander.p99_ms


async def _asked(rig: Rig, method: str, path: str, body: object, status: int) -> None:
    """Ask with the admin token, and get this status."""
    answer = await asyncio.to_thread(rig.answer, method, path, json=body)
    assert answer.status_code == status, answer.text
