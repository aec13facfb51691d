"""config: arguments over environment over file, and errors that name the setting."""

import logging
import os
from pathlib import Path

import pytest

from gojob_redis.domain import limits
from gojob_sdk import BadConfig, Worker
from gojob_sdk.config import WorkerSettings, default_name, load, socket_urls

FILE = """
[worker]
app = "from-file"
namespace = "from-file"
concurrency = 3
labels = { env = "gray" }

[worker.handlers.send]
disable = true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "worker.toml"
    path.write_text(FILE, "utf-8")
    return path


def test_an_argument_wins_over_the_environment_and_that_over_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOJOB_WORKER__NAMESPACE", "from-env")
    monkeypatch.setenv("GOJOB_WORKER__CONCURRENCY", "4")

    settings = Worker.from_file(file, concurrency=5).settings

    assert (settings.app, settings.namespace, settings.concurrency) == ("from-file", "from-env", 5)
    assert settings.labels == {"env": "gray"}
    assert not settings.serves("send")
    assert settings.serves("mail")


def test_everything_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "APP": "shop",
        "URL": "https://a.example, wss://b.example/gojob",
        "TOKEN": "secret",
        "NAMESPACE": "n1",
        "LABELS": "env=gray, zone=a",
        "ATTRIBUTES": "host=db7",
        "CONCURRENCY": "7",
        "DRAIN_S": "1.5",
        "NAME": "w1",
        "DISABLE": "true",
        "HANDLERS__Send.mail__DISABLE": "1",
    }.items():
        monkeypatch.setenv(f"GOJOB_WORKER__{name}", text)

    settings = load({})

    assert (settings.app, settings.namespace, settings.name) == ("shop", "n1", "w1")
    assert settings.socket_urls == ["wss://a.example/v1/worker", "wss://b.example/gojob"]
    assert settings.token.get_secret_value() == "secret"
    assert (settings.labels, settings.attributes) == ({"env": "gray", "zone": "a"}, ("host=db7",))
    assert (settings.concurrency, settings.drain_s, settings.disable) == (7, 1.5, True)
    assert not settings.serves("Send.mail")


def test_the_lines_that_dev_prints_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_URL", "http://127.0.0.1:8701")
    monkeypatch.setenv("GOJOB_WORKER_TOKEN", "printed")

    settings = load({"app": "shop"})

    assert settings.socket_urls == ["ws://127.0.0.1:8701/v1/worker"]
    assert settings.token.get_secret_value() == "printed"


def test_the_longer_name_of_a_variable_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_URL", "http://everybody")
    monkeypatch.setenv("GOJOB_WORKER__URL", "http://workers")

    assert load({"app": "shop"}).url == "http://workers"


def test_worker_and_gateway_meet_at_the_same_port_unless_told_otherwise() -> None:
    assert load({"app": "shop"}).url == f"http://127.0.0.1:{limits.HTTP_PORT}"


def test_the_token_is_not_shown() -> None:
    assert "hush" not in repr(load({"app": "a", "token": "hush"}))


def test_an_unknown_variable_is_named_with_its_nearest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GOJOB_WORKER__LABLES", "a=b")

    with caplog.at_level(logging.WARNING, "gojob_sdk"):
        load({"app": "a"})

    assert "GOJOB_WORKER__LABLES is no setting and is ignored; the nearest is GOJOB_WORKER__LABELS" in caplog.messages


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "app: Field required"),
        ({"app": "Shop"}, "app: 'Shop' is no name"),
        ({"app": "a", "concurrency": 0}, "concurrency: Input should be greater"),
        ({"app": "a", "concurrency": 1_001}, "concurrency: Input should be less"),
        ({"app": "a", "labels": {"env": "a b"}}, "labels.env"),
        ({"app": "a", "attributes": ("host",)}, "attributes.0"),
        ({"app": "a", "url": "redis://h"}, "url: 'redis://h' is no ws://"),
        ({"app": "a", "url": "ws://"}, "url"),
        ({"app": "a", "drain_s": -1}, "drain_s"),
    ],
)
def test_a_wrong_setting_is_named(arguments: dict[str, object], told: str) -> None:
    with pytest.raises(BadConfig, match=told):
        load(arguments)


@pytest.mark.parametrize(
    ("text", "told"),
    [("worker = 1", "must be a table"), ("[worker", "not TOML"), ('[worker]\napp="a"\nlabel={}', "label: Extra")],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "w.toml"
    path.write_text(text, "utf-8")

    with pytest.raises(BadConfig, match=told):
        Worker.from_file(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"absent\.toml cannot be read"):
        Worker.from_file(tmp_path / "absent.toml")


def test_a_label_without_a_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_WORKER__LABELS", "gray")

    with pytest.raises(BadConfig, match="GOJOB_WORKER__LABELS: 'gray' has no '='"):
        load({"app": "a"})


@pytest.mark.parametrize(
    ("url", "socket"),
    [
        ("http://h:1", "ws://h:1/v1/worker"),
        ("https://h/", "wss://h/v1/worker"),
        ("ws://h/behind/a/proxy", "ws://h/behind/a/proxy"),
    ],
)
def test_an_address_becomes_a_worker_socket(url: str, socket: str) -> None:
    assert socket_urls(url) == [socket]


@pytest.mark.parametrize(
    ("host", "name"), [("db7.example", "db7.example"), ("-web_\x1f\n1é.", "web_-1"), ("é", "worker")]
)
def test_a_worker_without_a_name_is_called_like_its_host(host: str, name: str) -> None:
    assert default_name(host) == f"{name}-{os.getpid()}"


def test_the_longest_host_makes_a_name() -> None:
    assert WorkerSettings(app="shop", name=default_name("a" * 255)).name.startswith("aaa")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            {"app": "default/shop"},
            "app: 'default/shop' names a namespace, too; write app='shop' and namespace='default'",
        ),
        ({"app": "My Shop"}, "app: 'My Shop' is no name; a name has 1 to 64 of a-z 0-9 . _ -, "),
        ({"app": ""}, "app: '' is no name"),
        ({"app": "a" * 999}, f"app: '{'a' * 80}' is no name"),
        ({"app": "shop", "namespace": "a/b"}, "namespace: 'a/b' is no name"),
    ],
)
def test_what_is_no_name_is_told_in_words(arguments: dict[str, str], told: str) -> None:
    with pytest.raises(BadConfig) as refused:
        load(arguments)

    assert str(refused.value).startswith(told)
    assert f"; set it with the argument, GOJOB_WORKER__{told.partition(':')[0].upper()} or" in str(refused.value)
