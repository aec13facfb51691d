"""Values that parsers choke on, in every place of every route."""

import asyncio

import httpx2

from tests.attacks.attack import attack
from tests.faults.rig import Rig
from tests.tools import nasty

AT_ONCE = 4
REQUESTS = 600
"""About so many of them, evenly chosen: the tests send all."""


@attack("A8-parsers", "every place of every route with 30 nasty values: answers with a 5xx", bound="== 0", short=True)
async def parsers(rig: Rig) -> float:
    """Whatever is sent is taken or refused; nothing breaks."""
    await rig.start(workers=0, triggers=0)
    rig.request("PUT", "/v1/apps/default/shop/triggers/nightly", json={
        "handler": "send", "schedule": {"kind": "manual"}, "allow_unknown": True,
    })  # fmt: skip
    task = rig.request("POST", "/v1/apps/default/shop/handlers/send/tasks", json={"allow_unknown": True})["id"]
    document = rig.request("GET", "/openapi.json")
    everything = list(nasty.requests(document, task=task, seldom=False))
    chosen = everything[:: max(1, len(everything) // REQUESTS)]
    broken: list[str] = []
    headers = {"Authorization": f"Bearer {rig.system.admin_token}"}
    async with httpx2.AsyncClient(base_url=rig.gateways[0].url, headers=headers, timeout=30) as http:

        async def ask(mine: list[nasty.Nasty]) -> None:
            for request in mine:
                try:
                    answer = await http.request(request.method, request.path, json=request.body)
                except httpx2.NetworkError:  # a connection may be closed between two requests
                    answer = await http.request(request.method, request.path, json=request.body)
                if answer.status_code >= 500:
                    broken.append(f"{answer.status_code} {request}")

        await asyncio.gather(*(ask(chosen[first::AT_ONCE]) for first in range(AT_ONCE)))
    for line in broken[:10]:
        print(line)
    return float(len(broken))
