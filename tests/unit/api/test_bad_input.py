"""Bad input: a clear error that names field, limit and remedy, and nothing half-written."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gojob_redis.api.bodies import FIELDS
from gojob_redis.domain import limits
from gojob_redis.engine.client import Client
from tests.tools.served import APP, DAILY, Served, serving

pytestmark = pytest.mark.real

TRIGGER = f"{APP}/triggers/nightly"
TASKS = f"{APP}/handlers/send/tasks"
BATCH = f"{TASKS}:batch"
PREVIEW = "/v1/schedules/preview"
TOO_MUCH = "x" * (limits.PARAM_BYTES + 1)


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        await served.enlist("send", "report")
        await served.put_trigger("weekly")
        yield served


def trigger(**changes: Any) -> dict[str, Any]:
    return {"handler": "send", "schedule": DAILY, **changes}


def cron(spec: str, zone: str = "UTC") -> dict[str, Any]:
    return {"schedule": {"kind": "cron", "spec": spec, "time_zone": zone}}


# method, path, body → status, code, field, a word of the hint
TABLE: list[tuple[str, str, Any, int, str, str, str]] = [
    # query parameters
    ("GET", "/v1/events?namespac=default", None, 400, "unknown_parameter", "namespac", "Did you mean namespace?"),
    ("DELETE", f"{TRIGGER}?force=true", None, 400, "unknown_parameter", "force", "It takes none"),
    ("POST", f"{TASKS}?priority=3", {}, 400, "unknown_parameter", "priority", "It takes none"),
    # schedules
    ("PUT", TRIGGER, trigger(**cron("61 * * * *")), 400, "bad_cron", "schedule.spec", "0 to 59"),
    ("PUT", TRIGGER, trigger(**cron("1-1 * * * *")), 400, "bad_cron", "schedule.spec", "Write"),
    ("PUT", TRIGGER, trigger(**cron("0 0 30 2 *")), 400, "bad_cron", "schedule.spec", "day"),
    ("PUT", TRIGGER, trigger(**cron("* * * *")), 400, "bad_cron", "schedule.spec", "5 fields"),
    ("PUT", TRIGGER, trigger(**cron("x" * 10_000)), 400, "bad_cron", "schedule.spec", ""),
    ("PUT", TRIGGER, trigger(**cron("* * * * *", "Europe/Berln")), 400, "bad_time_zone", "schedule.time_zone", "Be"),
    ("PUT", TRIGGER, trigger(schedule={**DAILY, "time_zone": None}), 400, "bad_schedule", "schedule.time_zone", ""),
    ("PUT", TRIGGER, trigger(schedule={"kind": "every", "every_ms": 5}), 400, "bad_interval", "schedule.every_ms", ""),
    ("PUT", TRIGGER, trigger(schedule={"kind": "often"}), 400, "bad_schedule", "schedule.kind", "cron"),
    ("PUT", TRIGGER, trigger(schedule={}), 400, "bad_schedule", "schedule.kind", "cron"),
    ("PUT", TRIGGER, trigger(schedule={"kind": "once", "at": "tomorrow"}), 400, "bad_moment", "schedule.at", "2027"),
    ("PUT", TRIGGER, trigger(schedule={"kind": "once", "at": 10**17}), 400, "bad_moment", "schedule.at", ""),
    ("PUT", TRIGGER, trigger(schedule={**DAILY, "zone": "UTC"}), 400, "bad_schedule", "schedule", "time_zone"),
    ("PUT", TRIGGER, trigger(schedule="30 2 * * *"), 400, "bad_schedule", "schedule", "Send {"),
    ("POST", PREVIEW, cron("0 25 * * *"), 400, "bad_cron", "schedule.spec", "0 to 23"),
    ("POST", PREVIEW, {"schedule": DAILY, "after": "soon"}, 400, "bad_moment", "after", "2027"),
    # names
    ("PUT", f"{APP}/triggers/No%20Name", trigger(), 400, "bad_name", "trigger", "lower-case"),
    ("PUT", f"{APP}/triggers/{'x' * 65}", trigger(), 400, "bad_name", "trigger", ""),
    ("PUT", "/v1/apps/default/Shop/triggers/a", trigger(), 400, "bad_name", "app", "lower-case"),
    ("PUT", "/v1/apps/De_fault!/shop/triggers/a", trigger(), 400, "bad_name", "namespace", ""),
    ("PUT", "/v1/apps/defualt/shop/triggers/a", trigger(), 404, "unknown_namespace", "namespace", "default"),
    ("POST", f"{APP}/handlers/a:b/tasks", {}, 400, "bad_name", "handler", "letters"),
    # handlers
    ("PUT", TRIGGER, trigger(handler="sned"), 422, "unknown_handler", "handler", "send"),
    ("PUT", TRIGGER, trigger(handler=""), 400, "bad_name", "handler", ""),
    ("POST", f"{APP}/handlers/reprot/tasks", {}, 422, "unknown_handler", "handler", "report"),
    ("POST", "/v1/apps/default/nobody/handlers/send/tasks", {}, 422, "unknown_handler", "handler", "allow_unknown"),
    # labels and attributes
    ("PUT", TRIGGER, trigger(labels={"env": "a=b"}), 400, "bad_label", "labels.env", "letters"),
    ("PUT", TRIGGER, trigger(labels={"e nv": "gray"}), 400, "bad_label", "labels", ""),
    ("PUT", TRIGGER, trigger(labels={str(i): "x" for i in range(17)}), 400, "too_many_labels", "labels", ""),
    ("POST", TASKS, {"require": "db7"}, 400, "bad_attribute", "require", "host=db7"),
    ("POST", TASKS, {"require": "host="}, 400, "bad_attribute", "require.host", ""),
    ("POST", TASKS, {"labels": {"env": 5}}, 400, "bad_request", "labels.env", ""),
    # parameters and policies
    ("PUT", TRIGGER, trigger(params=TOO_MUCH), 413, "too_large", "params", "reference"),
    ("POST", TASKS, {"params": TOO_MUCH}, 413, "too_large", "params", "reference"),
    ("POST", TASKS, {"params": 2**70}, 400, "bad_params", "params", "64 bits"),
    ("POST", TASKS, {"shard_params": [0, None, 2**70]}, 400, "bad_params", "shard_params[2]", "64 bits"),
    ("POST", TASKS, {"shards": 3, "shard_params": [1, 2]}, 400, "bad_shards", "shard_params", "per shard"),
    ("POST", TASKS, {"shard_params": []}, 400, "bad_shards", "shard_params", ""),
    ("POST", TASKS, {"shard_params": ["x" * 100_000] * 3}, 413, "too_large", "shard_params", ""),
    ("POST", TASKS, {"shards": 10_001}, 400, "bad_request", "shards", ""),
    ("POST", TASKS, {"retries": 101}, 400, "bad_request", "retries", ""),
    ("POST", TASKS, {"priority": 10}, 400, "bad_request", "priority", ""),
    ("POST", TASKS, {"delay_ms": -1}, 400, "bad_request", "delay_ms", ""),
    ("POST", TASKS, {"delay_ms": limits.LATEST_MS}, 400, "bad_moment", "delay_ms", ""),
    ("POST", TASKS, {"delay_ms": 5, "at": 5}, 400, "bad_moment", "at", ""),
    ("POST", TASKS, {"at": "2027-01-01T00:00:00"}, 400, "bad_moment", "at", "+01:00"),
    ("POST", TASKS, {"on_lost": "ignore"}, 400, "bad_request", "on_lost", ""),
    ("POST", TASKS, {"retires": 3}, 400, "bad_request", "retires", "retries"),
    ("PUT", TRIGGER, trigger(shedule={}), 400, "bad_request", "shedule", "schedule"),
    ("PUT", TRIGGER, {"handler": "send"}, 400, "bad_request", "schedule", "Add it"),
    ("PUT", TRIGGER, [], 400, "bad_request", "", ""),
    ("PUT", TRIGGER, trigger(revision=7), 409, "conflict", "revision", "again"),
    ("PUT", f"{APP}/triggers/weekly", trigger(revision=0), 409, "exists", "name", ""),
    # many at once: one bad among good ones refuses all
    ("POST", TASKS, {"traceparent": "00-a-b-01"}, 400, "bad_traceparent", "traceparent", "00-<32>"),
    ("POST", BATCH, {"tasks": [{}, {"traceparent": "x"}]}, 400, "bad_traceparent", "tasks[1].traceparent", ""),
    ("POST", f"{TRIGGER}/run", {"traceparent": "x"}, 400, "bad_traceparent", "traceparent", ""),
    ("POST", BATCH, {"tasks": [{}, {"labels": {"e": "!"}}]}, 400, "bad_label", "tasks[1].labels.e", ""),
    ("POST", BATCH, {"tasks": [{}, {}, {"params": TOO_MUCH}]}, 413, "too_large", "tasks[2].params", ""),
    ("PUT", TRIGGER, trigger(name="nightly"), 400, "bad_request", "name", "Leave it out."),
    ("PUT", TRIGGER, trigger(next_times=[]), 400, "bad_request", "next_times", "Leave it out."),
    ("POST", TASKS, {"handler": "send"}, 400, "bad_request", "handler", "Leave it out."),
    ("POST", BATCH, {"tasks": [{}, {"priorty": 1}]}, 400, "bad_request", "tasks[1].priorty", "priority"),
    ("POST", BATCH, {"tasks": []}, 400, "bad_request", "tasks", ""),
    ("POST", BATCH, {"tasks": [{}] * 1_001}, 400, "bad_request", "tasks", ""),
    # what is not there
    ("GET", TRIGGER, None, 404, "unknown_trigger", "trigger", ""),
    ("GET", f"{APP}/triggers/weakly", None, 404, "unknown_trigger", "trigger", "weekly"),
    ("DELETE", TRIGGER, None, 404, "unknown_trigger", "trigger", ""),
    ("POST", f"{TRIGGER}/run", {}, 404, "unknown_trigger", "trigger", ""),
    ("POST", f"{TRIGGER}/pause", None, 404, "unknown_trigger", "trigger", ""),
    ("GET", "/v1/tasks/nonsense", None, 400, "bad_id", "task", "id"),
    ("GET", "/v1/tasks/00sxxxxxxxxxxxxxxxxx", None, 404, "unknown_task", "task", "retired"),
    ("GET", "/v1/tasks/zzsxxxxxxxxxxxxxxxxx", None, 404, "unknown_task", "task", "retired"),
    ("GET", "/v1/tasks?handler=send", None, 400, "bad_request", "app", "app"),
    ("GET", "/v1/tasks?trigger=t", None, 400, "bad_request", "app", "app"),
    ("GET", "/v1/tasks?app=shop&trigger=t", None, 404, "unknown_trigger", "trigger", "PUT"),
    ("GET", "/v1/tasks?app=a:b", None, 400, "bad_name", "app", ""),
    ("GET", "/v1/tasks?namespace=nowhere", None, 404, "unknown_namespace", "namespace", ""),
    ("GET", "/v1/tasks?state=done", None, 400, "bad_request", "state[0]", ""),
    ("GET", "/v1/tasks?label=env", None, 400, "bad_label", "label", "env=gray"),
    ("GET", "/v1/tasks?worker=%0a", None, 400, "bad_request", "worker", "control"),
    ("GET", "/v1/tasks?parent=x", None, 400, "bad_id", "parent", ""),
    ("GET", "/v1/tasks?from=yesterday", None, 400, "bad_moment", "from", "2027"),
    ("GET", "/v1/tasks?cursor=zzz", None, 400, "bad_cursor", "cursor", "next"),
    ("GET", "/v1/tasks?cursor=ZX5hfmI", None, 400, "bad_cursor", "cursor", "next"),
    ("GET", "/v1/tasks?cursor=bH5hfmJ-Y35kfmU", None, 400, "bad_cursor", "cursor", "next"),
    ("GET", "/v1/tasks?limit=501", None, 400, "bad_request", "limit", ""),
    ("GET", f"{APP}/triggers/weekly/slots?cursor=1.x", None, 400, "bad_cursor", "cursor", "next"),
    ("POST", f"{APP}/handlers/snd/pause", None, 422, "unknown_handler", "handler", "send"),
    # tokens and namespaces
    ("POST", "/v1/tokens", {"kind": "root"}, 400, "bad_request", "kind", ""),
    ("POST", "/v1/tokens", {"kind": "api", "scope": ["A B"]}, 400, "bad_scope", "scope[0]", "namespace"),
    ("POST", "/v1/tokens", {"kind": "admin", "scope": ["default"]}, 400, "bad_scope", "scope", "api token"),
    ("POST", "/v1/tokens", {"kind": "api", "expires_ms": 1}, 400, "bad_moment", "expires_ms", ""),
    ("DELETE", "/v1/tokens/nobody", None, 404, "unknown_token", "key_id", ""),
    ("PUT", "/v1/namespaces/No", {}, 400, "bad_name", "namespace", ""),
    ("GET", "/v1/namespaces/nope", None, 404, "unknown_namespace", "namespace", ""),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "code", "field", "hint"), TABLE)
async def test_bad_input_is_named_and_leaves_no_trace(
    served: Served, method: str, path: str, body: Any, status: int, code: str, field: str, hint: str
) -> None:
    before = await served.dump()

    answer = await served.ask(method, path, body)

    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, problem["code"], problem.get("field", "")) == (status, code, field), problem
    assert problem["type"] == f"urn:gojob:problem:{code}"
    assert problem["hint"]
    assert hint in problem["hint"], problem["hint"]
    assert len(answer.content) < 4_000
    assert await served.dump() == before


@pytest.mark.parametrize("wait", ["soon", "-1s", "1h", "1e3", "9" * 40])
async def test_a_wait_that_is_no_time_is_refused(served: Served, wait: str) -> None:
    task = await served.submit(labels={"env": "gray"})

    answer = await served.ask("GET", f"/v1/tasks/{task}", params={"wait": wait})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_wait")


@pytest.mark.parametrize("key", ["x" * 129, "tab\there"])
async def test_an_idempotency_key_that_is_none_is_refused(served: Served, key: str) -> None:
    before = await served.dump()

    answer = await served.ask("POST", TASKS, {}, headers={"Idempotency-Key": key})

    assert answer.status_code == 400
    assert await served.dump() == before


@pytest.mark.parametrize("header", ["abc", '"-1"', "9" * 30])
async def test_an_if_match_that_is_no_revision_is_refused(served: Served, header: str) -> None:
    answer = await served.ask("PUT", TRIGGER, trigger(), headers={"If-Match": header})

    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "bad_revision", "If-Match")


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.sampled_from(FIELDS)
KINDS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["cron", "every", "once", "manual"])},
    optional={
        "spec": st.text(max_size=12) | st.just("* * * * *"),
        "time_zone": st.sampled_from(["UTC", "../../etc/passwd", "Europe/Berlin"]) | st.text(max_size=8),
        "every_ms": st.integers() | st.floats(allow_nan=False),
        "at": st.integers() | st.text(max_size=25),
        "start_at": st.integers(),
        "end_at": st.integers(),
    },
)
BODIES = st.dictionaries(KEYS, JSONS, max_size=6) | st.builds(
    lambda rest, rule: {**rest, "handler": "send", "schedule": rule}, st.dictionaries(KEYS, JSONS, max_size=3), KINDS
)
PATHS = st.sampled_from(
    [
        ("PUT", TRIGGER),
        ("POST", TASKS),
        ("POST", BATCH),
        ("POST", PREVIEW),
        ("POST", f"{APP}/triggers/weekly/run"),
        ("POST", "/v1/tokens"),
        ("PUT", "/v1/namespaces/lab"),
    ]
)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"params": {"all": [1, 1e400]}}', "params"),
        ('{"shard_params": [0, -1e400]}', "shard_params[1]"),
    ],
)
async def test_a_number_that_no_float_can_hold_is_refused(served: Served, text: str, field: str) -> None:
    headers = {"Authorization": f"Bearer {served.tokens['admin']}", "Content-Type": "application/json"}

    answer = await served.http.request("POST", TASKS, content=text, headers=headers)

    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "bad_params", field)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATHS, BODIES | JSONS)
async def test_no_body_breaks_the_server(served: Served, where: tuple[str, str], body: Any) -> None:
    text = json.dumps(body).replace("Infinity", "1e999")
    headers = {"Authorization": f"Bearer {served.tokens['admin']}", "Content-Type": "application/json"}

    method, path = where
    answer = await served.http.request(method, path, content=text, headers=headers)

    assert answer.status_code < 500, (where, text, answer.text)
