"""/metrics of a whole system: every number moves when what it counts happens."""

import time
from collections.abc import Callable, Iterator

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gojob_sdk import Client, ClientError, Context, Worker
from gojob_sdk.testing import Embedded, embedded

pytestmark = pytest.mark.real

WITHIN_S = 20.0
APP = "/v1/apps/default/shop"
AT_REST = {
    "gojob_loop_failures", "gojob_visits_failed", "gojob_sockets_cut", "gojob_engine_queued", "gojob_long_polls",
    "gojob_connections_ended", "gojob_strangers", "gojob_handler_lost", "gojob_handler_retried", "gojob_handler_depth",
    "gojob_handler_oldest_seconds", "gojob_handler_missed", "gojob_streams",
}  # fmt: skip
"""What counts troubles, or what waits at this moment; each has a test of its own elsewhere."""
OF_TROUBLE = {"unwritten", "log_lines_dropped", "progress_dropped", "syncs"}
"""What a gateway does when a socket breaks, the engine is away, or hints were lost."""

Numbers = dict[str, float]


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    with embedded() as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Embedded) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=WITHIN_S) as http:
        yield http


def numbers(http: httpx2.Client) -> Numbers:
    """Samples by family and label values, such as ``gojob_reports accepted error``."""
    found: Numbers = {}
    for family in text_string_to_metric_families(http.get("/metrics").text):
        if family.name.endswith("_created"):
            continue
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_sum")):
                words = (family.name, *(value for _label, value in sorted(sample.labels.items())))
                found[" ".join(words)] = sample.value
        found.setdefault(family.name, 0.0)
    return found


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def busy(server: Embedded, http: httpx2.Client) -> Numbers:
    """What is counted after everything happened once."""
    worker = Worker(app="shop", url=server.url, token=server.worker_token, drain_s=1)

    @worker.handler("add")
    def add(ctx: Context) -> int:
        ctx.log.info("one")
        return 1

    @worker.handler("fail")
    def fail(ctx: Context) -> None:
        raise ValueError("no")

    @worker.handler("slow")
    def slow(ctx: Context) -> None:
        while True:
            ctx.check()
            time.sleep(0.02)

    worker.start()
    try:
        with Client(server.url, server.admin_token) as client:
            for handler in ("add", "fail"):
                client.wait(client.submit("shop", handler, allow_unknown=True).id, WITHIN_S)
            canceled = client.submit("shop", "slow", allow_unknown=True).id
            until(lambda: http.get(f"/v1/tasks/{canceled}").json()["state"] == "running")
            client.cancel(canceled)
            client.wait(canceled, WITHIN_S)
        every = {"kind": "every", "every_ms": 1_000}
        for name in ("add", "slow"):
            http.put(f"{APP}/triggers/{name}", json={"handler": name, "schedule": every, "overlap": "skip"})
        until(lambda: numbers(http)["gojob_slots_fired"] >= 2 and numbers(http)["gojob_slots_skipped"] >= 1)
        until(lambda: numbers(http).get("gojob_handler_skipped default/shop/slow", 0) >= 1)
        until(lambda: numbers(http).get("gojob_handler_missed default/shop/slow") == 0)
        until(lambda: numbers(http)["gojob_gateway log_lines"] >= 1)
        until(lambda: numbers(http)["gojob_worker_cpu_percent_max"] >= 1)
        with pytest.raises(ClientError), Client(server.url, "gj_api_000000000000_wrong") as stranger:
            stranger.submit("shop", "add")
        refused = Worker(app="shop", url=server.url, token="gj_worker_000000000000_wrong", drain_s=1)
        refused.handler("add")(add)
        refused.start()
        until(lambda: numbers(http)["gojob_gateway refused"] >= 1)
        refused.stop()
        return numbers(http)
    finally:
        worker.stop()
        assert worker.wait(WITHIN_S)


def test_every_number_has_moved(busy: Numbers) -> None:
    families = {name.partition(" ")[0] for name in busy}
    moved = {name.partition(" ")[0] for name, value in busy.items() if value > 0}

    assert families - moved - AT_REST == set()


def test_everything_that_a_gateway_does_is_counted(busy: Numbers) -> None:
    done = {
        name.removeprefix("gojob_gateway "): value for name, value in busy.items() if name.startswith("gojob_gateway ")
    }

    assert {what for what, value in done.items() if value == 0} <= OF_TROUBLE


def test_reports_are_counted_by_verdict_and_outcome(busy: Numbers) -> None:
    assert busy["gojob_reports ok accepted"] >= 1
    assert busy["gojob_reports error accepted"] == 1
    assert busy["gojob_reports canceled accepted"] == 1


def test_faulted_tasks_are_counted_by_reason(busy: Numbers) -> None:
    assert busy["gojob_tasks_faulted error"] == 1


def test_what_happens_is_counted_by_handler(busy: Numbers) -> None:
    assert busy["gojob_handler_ended default/shop/fail faulted"] == 1
    assert busy["gojob_handler_failures default/shop/fail error"] == 1
    assert busy["gojob_handler_ended default/shop/slow canceled"] >= 1
    assert busy["gojob_handler_submitted default/shop/add"] == 1
    assert busy["gojob_handler_fired default/shop/add"] >= 1


def test_who_is_refused_is_counted(busy: Numbers) -> None:
    assert busy["gojob_denials bad_token"] >= 1
    assert busy["gojob_tasks_submitted ok"] >= 3
