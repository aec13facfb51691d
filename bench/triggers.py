"""Many triggers at once, past the API: a request for each would take longer than what is measured."""

from collections.abc import Sequence
from typing import Final

import msgpack

from bench.question import Failed
from bench.rig import BENCH, Rig
from gojob_redis.domain import ids, policies
from gojob_redis.domain.limits import HOUR_MS, PARTITIONS, TRIGGERS_PER_APP
from gojob_redis.engine.keys import K, prefixes
from gojob_redis.engine.scripts import verb
from gojob_redis.planning.planner import plan_agenda
from gojob_redis.schedules.schedule import as_line, as_mapping, parse

TOGETHER: Final = 500
CONTROL: Final = "{gojob}:"
HANDLER: Final = "tick"


def define(
    system: Rig, starts_ms: Sequence[int], *, every_ms: int = HOUR_MS, name: str = "t", handler: str = HANDLER
) -> None:
    """One trigger for each start, firing from then on; its handler is told its number.

    Those of one name and number replace each other. The app has to be known: a worker of it was connected.
    """
    app = f"default/{BENCH}"
    prefix = prefixes(PARTITIONS)[int(system.engine.hget(K.apps(CONTROL), app))]
    script = verb("define")
    system.engine.script_load(script.source())
    now_ms = int(system.engine.time()[0]) * 1000
    for first in range(0, len(starts_ms), TOGETHER):
        pipe = system.engine.pipeline(transaction=False)
        for number, start in enumerate(starts_ms[first : first + TOGETHER], first):
            arguments = _arguments(app, f"{name}{number}", number, start, every_ms, now_ms, handler)
            pipe.execute_command("EVALSHA", script.shas["real"], 1, prefix, *arguments)
        if bad := [answer for answer in pipe.execute() if answer[0] != b"ok"]:
            raise Failed(f"define answered {bad[0]}")


def _arguments(app: str, name: str, number: int, start: int, every_ms: int, now_ms: int, handler: str) -> list[object]:
    rule = parse({"kind": "every", "every_ms": every_ms, "start_at": start}, created_ms=now_ms)
    agenda = plan_agenda(rule, now_ms)
    return list(
        verb("define").args(
            now_ms=0, app=app, name=name, uid=ids.new_trigger_uid(), change=ids.new_session_id(), revision=-1, active=1,
            state="active", paused=0, owner="", rule=as_line(rule), handler=f"{app}/{handler}", labels="", attribute="",
            shards=1, shard_params=b"",
            policies=policies.write({"overlap": "allow", "misfire_after_ms": 600_000}), sources="", defaults_rev="",
            param=msgpack.packb({"number": number}),
            definition=msgpack.packb({"schedule": as_mapping(rule), "body": b""}),
            times=",".join(map(str, agenda.times)), planned=agenda.planned, low_at=agenda.low_at, over=int(agenda.over),
            most=TRIGGERS_PER_APP, quotas="",
        )
    )  # fmt: skip
