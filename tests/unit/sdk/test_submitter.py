"""submitter: which gateway a handler submits to, and with what."""

import contextlib

import pytest

from gojob_sdk import BadConfig
from gojob_sdk.config import load
from gojob_sdk.submitter import Submitter, http_url
from tests.unit.sdk import frames
from tests.unit.sdk.test_client import Server, server

__all__ = ["server"]


@pytest.mark.parametrize(
    ("socket", "http"),
    [
        ("ws://a:8700/v1/worker", "http://a:8700"),
        ("wss://a.example/v1/worker?x=1", "https://a.example"),
        ("wss://a.example/jobs/v1/worker", "https://a.example/jobs"),
    ],
)
def test_the_api_is_where_the_socket_is(socket: str, http: str) -> None:
    assert http_url(socket) == http


def test_a_submission_proves_its_run_with_the_token_for_the_api(server: Server) -> None:
    arguments = {"app": "shop", "namespace": "lab", "url": f"{server.url},{server.url}", "api_token": "secret"}
    submitter = Submitter(load(arguments))

    with contextlib.closing(submitter):
        task = submitter.submit(frames.assignment("r1"), submitter.app, "pack", {"a": 1}, retries=2)

    assert task.id == "t1"
    [(method, path, body, headers)] = server.requests
    assert (method, path) == ("POST", "/v1/apps/lab/shop/handlers/pack/tasks")
    assert body == {"params": {"a": 1}, "retries": 2}
    assert headers["Gojob-Run"] == f"r1@1 {frames.assignment('r1')['fence']}"
    assert headers["Authorization"] == "Bearer secret"


def test_without_a_token_for_the_api_nothing_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOJOB_TOKEN", raising=False)
    submitter = Submitter(load({"app": "shop", "token": "gj_worker_x"}))

    with pytest.raises(BadConfig, match="GOJOB_TOKEN"):
        submitter.submit(frames.assignment("r1"), "shop", "pack", None)


def test_the_token_comes_from_the_variable_that_gojob_dev_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_TOKEN", "gj_api_x")

    assert load({"app": "shop"}).api_token.get_secret_value() == "gj_api_x"
