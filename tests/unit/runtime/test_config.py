"""config: where a setting comes from, and what a mistake is answered with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest
from gojob_redis.runtime import config


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from this machine."""
    for variable in config.unknown_variables({**dict.fromkeys(config.variables(), "")}):
        monkeypatch.delenv(variable, raising=False)
    for variable in config.variables():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.toml"
    path.write_text(text)
    return path


def test_without_file_and_variables_the_defaults_hold() -> None:
    settings = config.read()

    assert settings.redis.url is None
    assert settings.redis.partitions == limits.PARTITIONS
    assert settings.gateway.host == "127.0.0.1"


def test_the_environment_wins_over_the_file_name_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, '[redis]\nurl = "redis://file"\npartitions = 4\n')
    monkeypatch.setenv("GOJOB_REDIS__URL", "redis://env")

    settings = config.read(path)

    assert settings.redis.url is not None
    assert settings.redis.url.get_secret_value() == "redis://env"
    assert settings.redis.partitions == 4


def test_the_file_in_the_working_directory_or_the_one_named_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gojob.toml").write_text("[gateway]\nport = 1\n")
    assert config.read().gateway.port == 1

    monkeypatch.setenv("GOJOB_CONFIG", str(written(tmp_path, "[gateway]\nport = 2\n")))
    assert config.read().gateway.port == 2


def test_a_password_in_the_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_REDIS__URL", "redis://:secret@host")

    assert "secret" not in repr(config.read())


@pytest.mark.parametrize(("mode", "told"), [(0o600, []), (0o640, ["config.password_readable"])])
def test_a_password_in_a_file_that_others_may_read_is_warned_about(
    tmp_path: Path, log_lines: Callable[[], list[str]], mode: int, told: list[str]
) -> None:
    path = written(tmp_path, '[redis]\nurl = "redis://:secret@host"\n')
    path.chmod(mode)

    config.read(path)

    assert log_lines() == told


def test_a_password_on_the_command_line_is_warned_about(log_lines: Callable[[], list[str]]) -> None:
    settings = config.overridden(config.Settings(), {"url": "redis://host"})
    assert log_lines() == []

    config.overridden(settings, {"url": "redis://:secret@host"})
    assert log_lines() == ["config.password_readable"]


def test_an_unknown_variable_is_warned_about_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, log_lines: Callable[[], list[str]]
) -> None:
    monkeypatch.setenv("GOJOB_REDSI__URL", "redis://x")
    monkeypatch.setenv("GOJOB_WORKER__TOKEN", "not ours")

    config.read()

    assert log_lines() == ["config.unknown_variable"]
    assert config.nearest("GOJOB_REDSI__URL") == "GOJOB_REDIS__URL"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[redis]\npartitions = 99\n", "redis.partitions: Input should be less than or equal to 64"),
        ("[redis]\nport = 'x'\n", "redis.port: Input should be a valid integer"),
        ("[redis]\nnodes = 3\n", "redis.nodes: there is no such setting"),
        ("[cache]\n", "cache: there is no such setting"),
        ("[redis\n", "is not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        config.read(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot be read: No such file"):
        config.read(tmp_path / "nothing.toml")


def test_a_mistake_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_GATEWAY__PORT", "http")

    with pytest.raises(BadRequest, match="GOJOB_GATEWAY__PORT"):
        config.read()
