"""Settings: a TOML file, overridden by ``GOJOB_<SECTION>__<NAME>`` in the environment, overridden by arguments.

Defaults that are promises (leases, bounds) are not settings; they stand in ``limits.py``.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import structlog
from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest
from gojob_redis.runtime import private

log = structlog.get_logger()

ENV_PREFIX = "GOJOB_"
FILE_VARIABLE = "GOJOB_CONFIG"
DEFAULT_FILE = Path("gojob.toml")


class Section(BaseModel):
    """A table of the file; a name that does not exist is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RedisSettings(Section):
    """Where the state lives."""

    url: SecretStr | None = Field(
        default=None,
        description="redis://, rediss:// or unix://; redis://host:port,host:port for several nodes of a cluster; "
        "redis://host:port,host:port/service for sentinels; none starts the embedded engine",
    )
    mode: Literal["standalone", "cluster", "sentinel"] = Field(
        default="standalone", description="what url names: one engine, nodes of a cluster, or sentinels"
    )
    port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description="TCP port of the embedded engine, which then asks for the password in its directory; 0 chooses a "
        "free one; none: it listens on a Unix socket only",
    )
    partitions: int = Field(default=limits.PARTITIONS, ge=1, le=64, description="fixed by the first start of a system")
    bootstrap: Literal["auto", "never"] = Field(
        default="auto",
        description="what a start does on an empty engine: make a new installation, or refuse, so that one that lost "
        "its data is not taken for a new one; 'gojob bootstrap' makes one on purpose",
    )

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _is_redis_url(url.get_secret_value()):
            raise ValueError("it is no redis://host:port, rediss://host:port or unix:///path")
        return url


def _is_redis_url(url: str) -> bool:
    """Whether it names an engine, or several by commas; what it says of itself is not shown: it may hold a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    if parts.scheme not in ("redis", "rediss"):
        return False
    hosts = parts.netloc.rpartition("@")[2].split(",")
    return all(host and (not port or port.isdecimal()) for host, port in map(_host_and_port, hosts))


def _host_and_port(address: str) -> tuple[str, str]:
    """Of ``host``, ``host:port``, ``[::1]`` or ``[::1]:port``."""
    host, _, port = address.partition("]:") if address.startswith("[") else address.partition(":")
    return host.strip("[]"), port


class GatewaySettings(Section):
    """The HTTP and websocket edge."""

    host: str = "127.0.0.1"
    port: int = Field(default=limits.HTTP_PORT, ge=0, le=65_535)
    allowed_origins: tuple[str, ...] = Field(
        default=(), description="origins of browsers that may open a worker socket"
    )
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description="addresses and networks of balancers and proxies before the gateway: X-Forwarded-For counts only "
        "from them",
    )
    proxy_protocol: bool = Field(
        default=False, description="whether connections from trusted_proxies begin with a PROXY header (version 1 or 2)"
    )
    strangers: int = Field(
        default=limits.STRANGERS, ge=1, description="connections that may stay without having shown a valid token"
    )
    strangers_per_address: int = Field(
        default=limits.STRANGERS_PER_ADDRESS, ge=1, description="of them, from one address"
    )


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(BaseSettings):
    """All settings of a process."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    redis: RedisSettings = RedisSettings()
    gateway: GatewaySettings = GatewaySettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The file arrives as arguments (``read``), so the environment has to win over them.
        return env_settings, init_settings


def read(path: Path | None = None) -> Settings:
    """The settings from the file and the environment; a variable nobody knows is only warned about.

    path: else the one GOJOB_CONFIG names, else gojob.toml if it is there.
    Raises BadRequest ``bad_config`` that names the file or variable at fault.
    """
    for variable in unknown_variables(os.environ):
        log.warning("config.unknown_variable", variable=variable, nearest=nearest(variable))
    source = path or (Path(os.environ[FILE_VARIABLE]) if FILE_VARIABLE in os.environ else None)
    if source is None and DEFAULT_FILE.exists():
        source = DEFAULT_FILE
    try:
        table: dict[str, Any] = tomllib.loads(source.read_text("utf-8")) if source else {}
        settings = Settings(**table)
        if source and _holds_password(table.get("redis", {}).get("url")) and source.stat().st_mode & private.OTHERS:
            _warn_of_password(str(source), "chmod 600")
        return settings
    except OSError as error:
        raise _bad(
            f"{source} cannot be read: {error.strerror}.", "Name another file with --config or in GOJOB_CONFIG."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise _bad(f"{source} is not TOML: {error}.", "Mend that line.") from error
    except SettingsError as error:
        raise _bad(f"{error}.", f"Set single names, such as {variable_of('gateway.port')}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise _bad(
            f"{name}: {_said(first)}.", f"Look in {source or 'the environment'}, or at {variable_of(name)}.", name
        ) from error


def overridden(settings: Settings, options: Mapping[str, str]) -> Settings:
    """The settings with what the command line said about Redis; raises BadRequest ``bad_config``."""
    try:
        redis = RedisSettings(**{**settings.redis.model_dump(), **options})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        raise _bad(
            f"redis.{name}: {_said(first)}.",
            f"Look at {'--redis' if name == 'url' else '--redis-mode'}.",
            f"redis.{name}",
        ) from error
    if _holds_password(options.get("url")):
        _warn_of_password("the command line", variable_of("redis.url"))
    return settings.model_copy(update={"redis": redis})


def _holds_password(url: str | None) -> bool:
    return bool(url) and "@" in urlsplit(str(url)).netloc


def _warn_of_password(where: str, remedy: str) -> None:
    log.warning("config.password_readable", where=where, by="other users of this machine", remedy=remedy)


def _said(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such setting"
    return str(error["msg"]).removeprefix("Value error, ")


def _bad(message: str, hint: str, field: str | None = None) -> BadRequest:
    return BadRequest("bad_config", message, hint=hint, field=field)


def variables() -> Iterator[str]:
    """Every variable that sets something."""
    yield FILE_VARIABLE
    for section, field in Settings.model_fields.items():
        yield variable_of(section)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (variable_of(f"{section}.{name}") for name in field.annotation.model_fields)


def variable_of(name: str) -> str:
    """``redis.url`` → ``GOJOB_REDIS__URL``."""
    return ENV_PREFIX + name.replace(".", "__").upper()


OTHERS = ("GOJOB_WORKER_", "GOJOB_URL", "GOJOB_TOKEN", "GOJOB_APP", "GOJOB_TEST_", "GOJOB_MODEL_")
"""What belongs to workers, to the command line as a client, and to the tests."""


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """The GOJOB_ variables that set nothing here and are not those of a worker or of the command line."""
    names = set(variables())
    return sorted(
        name
        for name in environment
        if name.upper().startswith(ENV_PREFIX) and not name.upper().startswith(OTHERS) and name.upper() not in names
    )


def nearest(variable: str) -> str | None:
    """The known variable that is spelled most like this one."""
    return next(iter(difflib.get_close_matches(variable.upper(), list(variables()), n=1, cutoff=0.5)), None)
