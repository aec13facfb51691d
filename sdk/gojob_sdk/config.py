"""A worker's settings: a TOML file, overridden by the environment, overridden by arguments.

The environment: ``GOJOB_URL``, ``GOJOB_WORKER_TOKEN`` and ``GOJOB_TOKEN``, as ``gojob dev`` prints them;
``GOJOB_WORKER__<NAME>`` for any setting, which wins over these.

[worker]
app = "shop"
url = "wss://a.example, wss://b.example"
labels = { env = "gray" }
concurrency = 20

[worker.handlers.send]
disable = true
"""

import difflib
import logging
import os
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from gojob_sdk.errors import BadConfig
from gojob_sdk.logs import Captured
from gojob_sdk.protocol import (
    MAX_ATTRIBUTES,
    MAX_CAPACITY,
    MAX_LABELS,
    PATH,
    Attribute,
    LabelText,
    Name,
    WorkerName,
)

ENV_PREFIX = "GOJOB_WORKER__"
ENV_NAMES = {"url": "GOJOB_URL", "token": "GOJOB_WORKER_TOKEN", "api_token": "GOJOB_TOKEN"}
"""Variables with a name of their own."""
DEFAULT_URL = "http://127.0.0.1:8700"
SHOWN_CHARS = 80
"""Of what somebody gave that is wrong."""
HANDLERS_PREFIX = "HANDLERS__"
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

log = logging.getLogger("gojob_sdk")


class Section(BaseModel):
    """A table of the file; a name that does not exist is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def default_name(host: str) -> str:
    """The name of a worker on this host that was given none."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", host)[:100].strip("._-") or "worker"
    return f"{plain}-{os.getpid()}"


class HandlerSettings(Section):
    """One handler."""

    disable: bool = False


class WorkerSettings(Section):
    """One worker process."""

    app: Name = Field(description="the business service that its processes form a worker group of")
    namespace: Name = "default"
    url: str = Field(default=DEFAULT_URL, description="of a gateway or balancer; several, by commas, in turn")
    token: SecretStr = SecretStr("")
    api_token: SecretStr = Field(default=SecretStr(""), description="of kind api, for what handlers submit")
    labels: dict[LabelText, LabelText] = Field(default_factory=dict, max_length=MAX_LABELS)
    attributes: tuple[Attribute, ...] = Field(default=(), max_length=MAX_ATTRIBUTES, description="such as host=db7")
    concurrency: int = Field(default=10, ge=1, le=MAX_CAPACITY, description="most runs at a time")
    name: WorkerName = Field(default_factory=lambda: default_name(socket.gethostname()), description="a label")
    drain_s: float = Field(default=30.0, ge=0, description="how long stopping waits for what runs")
    disable: bool = Field(default=False, description="do not connect at all")
    log_level: Captured = Field(default="info", description="from which on `logging` is kept with the run, or `off`")
    handlers: dict[str, HandlerSettings] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        socket_urls(url)
        return url

    @property
    def socket_urls(self) -> list[str]:
        return socket_urls(self.url)

    def serves(self, handler: str) -> bool:
        """Whether this handler is switched on."""
        return handler not in self.handlers or not self.handlers[handler].disable


def socket_urls(urls: str) -> list[str]:
    """The worker sockets behind these addresses, comma separated; ``http`` stands for ``ws``."""
    return [_socket_url(url.strip()) for url in urls.split(",")]


def _socket_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(f"{url!r} is no ws://, wss://, http:// or https:// address")
    path = parts.path if parts.path.strip("/") else PATH
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, parts.query, ""))


def load(arguments: Mapping[str, Any], *, file: Path | None = None) -> WorkerSettings:
    """Merge file, environment and arguments. An argument that is None was not given. Raises BadConfig."""
    table = _file_table(file) if file else {}
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return WorkerSettings.model_validate({**_merged(table, _env_table()), **given})
    except ValidationError as error:
        raise _bad(error, file) from None


def _merged(table: Mapping[str, Any], env: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**table, **env}
    if "handlers" in table and "handlers" in env:
        merged["handlers"] = {**table["handlers"], **env["handlers"]}
    return merged


def _file_table(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text("utf-8")).get("worker", {})
    except OSError as error:
        raise BadConfig(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadConfig(f"{file} is not TOML: {error}") from error
    if not isinstance(table, dict):
        raise BadConfig(f"worker in {file} must be a table: [worker]")
    return table


def _env_table() -> dict[str, Any]:
    table: dict[str, Any] = {
        name: os.environ[variable] for name, variable in ENV_NAMES.items() if os.environ.get(variable)
    }
    for variable, text in os.environ.items():
        if variable.startswith(ENV_PREFIX):
            name = variable.removeprefix(ENV_PREFIX)
            if name.startswith(HANDLERS_PREFIX) and name.endswith("__DISABLE"):
                handler = name.removeprefix(HANDLERS_PREFIX).removesuffix("__DISABLE")
                table.setdefault("handlers", {})[handler] = {"disable": text}
            elif name.lower() in WorkerSettings.model_fields and name != "HANDLERS":
                table[name.lower()] = _parsed(name.lower(), variable, text)
            else:
                _warn_unknown(variable)
    return table


def _parsed(name: str, variable: str, text: str) -> object:
    if name == "labels":
        return dict(_pair(variable, part) for part in _parts(text))
    return _parts(text) if name == "attributes" else text


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pair(variable: str, part: str) -> tuple[str, str]:
    key, sign, value = part.partition("=")
    if not sign:
        raise BadConfig(f"{variable}: {part!r} has no '='; write labels as env=gray,zone=a")
    return key.strip(), value.strip()


def _warn_unknown(variable: str) -> None:
    variables = [ENV_PREFIX + name.upper() for name in WorkerSettings.model_fields]
    nearest = difflib.get_close_matches(variable, variables, n=1, cutoff=0.0)
    log.warning("%s is no setting and is ignored; the nearest is %s", variable, nearest[0])


def _bad(error: ValidationError, file: Path | None) -> BadConfig:
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(map(str, first["loc"]))
    setting = str(first["loc"][0])
    variable = ENV_NAMES.get(setting, ENV_PREFIX + setting.upper())
    sources = f"the argument, {variable} or {file or 'the file'}"
    if setting in ("app", "namespace") and first["type"] == "string_pattern_mismatch":
        return BadConfig(f"{_not_a_name(setting, str(error.errors()[0]['input']))}; set it with {sources}")
    return BadConfig(f"{name}: {first['msg'].removeprefix('Value error, ')}; set it with {sources}")


def _not_a_name(setting: str, given: str) -> str:
    """What is wrong with the name of an app or a namespace."""
    namespace, slash, app = given[:SHOWN_CHARS].rpartition("/")
    if setting == "app" and slash:
        return f"app: {given[:SHOWN_CHARS]!r} names a namespace, too; write app={app!r} and namespace={namespace!r}"
    return (
        f"{setting}: {given[:SHOWN_CHARS]!r} is no name; a name has 1 to 64 of a-z 0-9 . _ -, "
        "and begins and ends with a letter or a digit"
    )
