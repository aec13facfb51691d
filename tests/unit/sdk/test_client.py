"""client: what goes over HTTP, and what is repeated."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gojob_sdk import Client, ClientError, Task, Unreachable
from gojob_sdk import client as client_module
from gojob_sdk.protocol import pack_value
from gojob_sdk.testing import call

TASK = {"id": "t1", "state": "created", "reason": None}


class Server(ThreadingHTTPServer):
    """Answers with what the test put into ``answers``, the last one for ever, and keeps the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.answers: list[tuple[int | None, Any]] = [(200, TASK)]
        self.requests: list[tuple[str, str, Any, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(content) if content else None
        self.server.requests.append((self.command, self.path, body, dict(self.headers)))
        answers = self.server.answers
        status, told = answers.pop(0) if len(answers) > 1 else answers[0]
        if status is None:
            self.close_connection = True
            return
        data = json.dumps(told).encode() if not isinstance(told, bytes) else told
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 429 and told["code"] == "queue_full":
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(client_module, "FIRST_PAUSE_S", 0.001)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, "secret", namespace="n1") as client:
        yield client


def test_a_submission_says_only_what_was_given(server: Server, client: Client) -> None:
    server.answers = [(201, TASK)]

    task = client.submit(
        "shop",
        "send/all",
        {"a": 1},
        idempotency_key="k1",
        key="order-1",
        delay_s=1.5,
        run_limit_s=2,
        labels={"env": "gray"},
        shards=None,
    )

    method, path, body, headers = server.requests[0]
    assert (method, path) == ("POST", "/v1/apps/n1/shop/handlers/send%2Fall/tasks")
    assert body == {
        "params": {"a": 1}, "delay_ms": 1_500, "run_limit_ms": 2_000, "labels": {"env": "gray"}, "key": "order-1",
    }  # fmt: skip
    assert headers["Idempotency-Key"] == "k1"
    assert headers["Authorization"] == "Bearer secret"
    assert task == Task("t1", "created", details=TASK)
    assert not task.done


@pytest.mark.parametrize(
    ("own", "given", "sent"),
    [("00-a-b-01", {}, "00-a-b-01"), ("00-a-b-01", {"traceparent": "00-c-d-01"}, "00-c-d-01"), (None, {}, None)],
)
def test_what_a_handler_submits_belongs_to_the_trace_of_its_run(
    server: Server, client: Client, own: str | None, given: Any, sent: str | None
) -> None:
    server.answers = [(201, TASK), (201, {"ids": ["t1"]})]

    many: Any = [{"params": 1, **given}]
    about: Any = {"traceparent": own} if own else {}

    def handler() -> None:
        client.submit("shop", "send", **given)
        client.submit_many("shop", "send", many)

    call(handler, **about)

    first, second = (body for _, _, body, _ in server.requests)
    assert first.get("traceparent") == second["tasks"][0].get("traceparent") == sent


def test_what_json_lacks_becomes_what_pydantic_makes_of_it(server: Server, client: Client) -> None:
    client.submit("shop", "send", {"tags": {"a"}})

    assert server.requests[0][2] == {"params": {"tags": ["a"]}}


@pytest.mark.parametrize("params", [object(), float("nan")])
def test_what_cannot_become_json_is_refused_here(client: Client, params: object) -> None:
    with pytest.raises(TypeError, match="cannot become JSON"):
        client.submit("shop", "send", params)


@pytest.mark.parametrize("trouble", [(503, {"code": "unavailable"}), (429, {"code": "queue_full"}), (None, None)])
def test_a_submission_is_repeated_with_the_same_key(server: Server, client: Client, trouble: Any) -> None:
    server.answers = [trouble, trouble, (201, TASK)]

    assert client.submit("shop", "send").id == "t1"

    keys = [headers["Idempotency-Key"] for *_, headers in server.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_two_submissions_have_two_keys(server: Server, client: Client) -> None:
    client.submit("shop", "send")
    client.submit("shop", "send")

    assert len({headers["Idempotency-Key"] for *_, headers in server.requests}) == 2


def test_many_submissions_travel_together_each_with_its_key(server: Server, client: Client) -> None:
    server.answers = [(201, {"ids": [f"t{n}" for n in range(1_000)]}), (201, {"ids": ["t1000"]})]

    ids = client.submit_many("shop", "send", [{"params": n, "priority": 5} for n in range(1_001)])

    assert ids == [f"t{n}" for n in range(1_001)]
    assert [path for _, path, *_ in server.requests] == ["/v1/apps/n1/shop/handlers/send/tasks:batch"] * 2
    sent = [task for _, _, body, _ in server.requests for task in body["tasks"]]
    assert [task["params"] for task in sent] == list(range(1_001))
    assert len({task["idempotency_key"] for task in sent}) == 1_001


def test_a_refusal_is_raised_and_not_repeated(server: Server, client: Client) -> None:
    problem = {
        "code": "unknown_handler",
        "detail": "No handler sned.",
        "hint": "Did you mean send?",
        "field": "handler",
    }
    server.answers = [(404, problem)]

    with pytest.raises(ClientError, match=r"unknown_handler: No handler sned\. Did you mean send\?") as caught:
        client.submit("shop", "sned")

    assert (caught.value.status, caught.value.code, caught.value.field) == (404, "unknown_handler", "handler")
    assert len(server.requests) == 1


def test_an_answer_that_is_no_json_is_shown(server: Server, client: Client) -> None:
    server.answers = [(400, b"<html>proxy</html>")]

    with pytest.raises(ClientError, match="<html>proxy"):
        client.task("t1")


def test_trouble_that_lasts_is_raised(server: Server) -> None:
    server.answers = [(503, {"code": "unavailable", "detail": "Redis is away."})]

    with Client(server.url, "secret", give_up_s=0.01) as client, pytest.raises(ClientError, match="Redis is away"):
        client.task("t1")


def test_a_server_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_PAUSE_S", 0.001)

    with (
        Client("http://127.0.0.1:1", "secret", give_up_s=0.01) as client,
        pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 did not answer"),
    ):
        client.task("t1")


def test_another_address_is_tried(server: Server) -> None:
    with Client(f"http://127.0.0.1:1, {server.url}/behind", "secret") as client:
        assert client.task("t/1").id == "t1"

    assert server.requests[0][1] == "/behind/v1/tasks/t%2F1"


def test_an_address_that_drains_is_left_at_once_for_the_next(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("gojob_sdk.client.time.sleep", slept.append)
    with Server() as draining:
        draining.answers = [(503, {"code": "closing"})]
        threading.Thread(target=draining.serve_forever, daemon=True).start()
        with Client(f"{draining.url},{server.url}", "secret") as client:
            assert client.submit("shop", "send").id == "t1"
            assert client.submit("shop", "send").id == "t1"
        draining.shutdown()

    assert (len(draining.requests), len(server.requests), slept) == (1, 2, [])


def test_a_full_queue_is_waited_for_where_it_was_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("gojob_sdk.client.time.sleep", slept.append)
    server.answers = [(429, {"code": "queue_full"}), (200, TASK)]

    with Client(f"{server.url},http://127.0.0.1:9", "secret") as client:
        assert client.submit("shop", "send").id == "t1"

    assert (len(server.requests), len(slept)) == (2, 1)


def test_waiting_looks_until_the_task_is_done(server: Server, client: Client) -> None:
    done = {"id": "t1", "state": "run_to_completion", "result": [1]}
    server.answers = [(200, TASK), (200, TASK), (200, done)]

    task = client.wait("t1", 60)

    assert (task.ok, task.done, task.result) == (True, True, [1])
    assert [path for _, path, *_ in server.requests] == ["/v1/tasks/t1?wait=30000ms"] * 3


def test_waiting_has_an_end(client: Client) -> None:
    with pytest.raises(TimeoutError, match="task t1 is still created after 0 s"):
        client.wait("t1", 0)


def test_a_task_is_canceled(server: Server, client: Client) -> None:
    client.cancel("t1")

    assert server.requests[0][:2] == ("POST", "/v1/tasks/t1/cancel")


@pytest.mark.parametrize("url", ["ws://h", "h:80", ""])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no http"):
        Client(url, "secret")


def test_a_limit_that_does_not_pass_is_told_at_once(server: Server, client: Client) -> None:
    server.answers = [(429, {"code": "handlers_full", "detail": "There are 3 handlers already."})]

    with pytest.raises(ClientError, match="handlers_full"):
        client.submit("shop", "send")

    assert len(server.requests) == 1


def test_a_result_that_is_too_large_for_the_answer_is_fetched(server: Server, client: Client) -> None:
    done = {**TASK, "state": "run_to_completion", "left_out": {"result": 7, "params": 300_000}}
    server.answers = [(200, done), (200, pack_value({"sum": [1, b"x"]}))]

    assert client.wait("t1").result == {"sum": [1, "eA=="]}

    assert [path for _method, path, _body, _headers in server.requests][1:] == ["/v1/tasks/t1/values/result"]


JOB = {"id": "j1", "state": "running", "matched": 3, "done": 1, "skipped": 1, "failed": 1, "ended_ms": None}


def test_a_job_on_many_tasks_is_asked_for_with_conditions_or_ids(server: Server, client: Client) -> None:
    server.answers = [(202, JOB)]

    job = client.bulk(
        "retry", app="shop", state=["faulted"], labels={"env": "gray"}, since=1, until=2, as_of=3, key="k"
    )
    client.bulk("cancel", ids=["t1", "t2"], cancel_reason="wrong")

    first, second = server.requests
    assert (job.id, job.matched, job.done, job.skipped, job.failed, job.over) == ("j1", 3, 1, 1, 1, False)
    assert (first[0], first[1], first[3]["Idempotency-Key"]) == ("POST", "/v1/bulk", "k")
    assert first[2] == {
        "kind": "tasks",
        "verb": "retry",
        "namespace": "n1",
        "app": "shop",
        "filter": {"state": ["faulted"], "labels": {"env": "gray"}, "from": 1, "to": 2},
        "as_of": 3,
    }
    assert second[2] == {
        "kind": "tasks", "verb": "cancel", "namespace": "n1", "app": "", "ids": ["t1", "t2"], "reason": "wrong"
    }  # fmt: skip
    assert second[3]["Idempotency-Key"]


def test_a_task_is_moved_to_the_head_or_gets_a_priority(server: Server, client: Client) -> None:
    server.answers = [(200, {"id": "t1", "outcome": "ok"})]

    client.bump("t1")
    client.bump("t1", 9)

    assert [(path, body) for _method, path, body, _headers in server.requests] == [
        ("/v1/tasks/t1:bump", {}),
        ("/v1/tasks/t1:bump", {"priority": 9}),
    ]


def test_a_delete_says_of_what(server: Server, client: Client) -> None:
    server.answers = [(202, JOB)]

    client.bulk("delete", kind="tasks", pinned=True, state=["canceled"])

    assert server.requests[0][2] == {
        "kind": "tasks", "verb": "delete", "namespace": "n1", "app": "", "filter": {"state": ["canceled"]},
        "pinned": True,
    }  # fmt: skip
    with pytest.raises(ValueError, match="kind='tasks'"):
        client.bulk("delete", ids=["t1"])


def test_a_dry_run_gives_the_count_as_text(server: Server, client: Client) -> None:
    server.answers = [(200, {"matched": 10_000, "text": "10,000+", "is_exact": False})]

    assert client.count_bulk("cancel", handler="send") == "10,000+"
    assert server.requests[0][2]["dry_run"] is True


def test_a_job_is_waited_for_paused_and_canceled(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "BULK_LOOK_S", 0.01)
    server.answers = [(200, JOB), (200, JOB), (200, {**JOB, "state": "done", "ended_ms": 5})]

    assert client.change_bulk("j1", "pause").state == "running"
    assert client.wait_bulk("j1").over

    assert [request[1] for request in server.requests] == ["/v1/bulk/j1:pause", "/v1/bulk/j1", "/v1/bulk/j1"]
    server.answers = [(200, JOB)]
    with pytest.raises(TimeoutError, match="still running"):
        client.wait_bulk("j1", 0.05)
