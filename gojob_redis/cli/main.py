"""The command line: ``gojob dev``, the roles one by one, and the API's everyday calls.

Nothing heavy is imported before it is known which command runs, so that ``gojob --help`` answers at once.
"""

import json
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gojob_redis.cli import admin, bulk, events, failures, overview, queues, search, stats, tasks, triggers
from gojob_redis.conformance.command import conformance
from gojob_redis.runtime.terminal import log_to_stderr, visible

app = typer.Typer(
    name="gojob",
    help="A distributed job scheduler with Redis at its centre.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
GROUPS = (
    triggers.group,
    tasks.group,
    bulk.group,
    queues.queues,
    queues.handlers,
    queues.workers,
    admin.tokens,
    admin.namespaces,
)
for group in GROUPS:
    app.add_typer(group)
app.command("events")(events.list_events)
app.command("overview")(overview.show_overview)
app.command("stats")(stats.show_stats)
app.command("failures")(failures.list_failures)
app.command("preview")(triggers.preview)
app.command("search")(search.search)
app.command("conformance")(conformance)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file; else GOJOB_CONFIG or gojob.toml.")]
RedisUrl = Annotated[str, typer.Option("--redis", help="redis://, rediss:// or unix://; else GOJOB_REDIS__URL.")]
RedisMode = Annotated[
    Literal["standalone", "cluster", "sentinel"] | None,
    typer.Option("--redis-mode", help="What --redis names; else GOJOB_REDIS__MODE."),
]
DataDir = Annotated[Path, typer.Option("--dir", help="Directory of the embedded engine, its data and tokens.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(min=0, max=65_535, help="0 chooses a free one.")]
AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON when ready; logs as JSON.")]
DrainS = Annotated[float, typer.Option("--drain", min=0, help="Seconds that workers have to move elsewhere.")]

EXIT_BAD = 1
EXIT_USAGE = 2
EXIT_BROKEN = 3
EXIT_LOST = 4
"""The engine lost its data, holds none, or data of another schema: a supervisor should not start the role again."""
EXIT_UNAVAILABLE = 6  # 5: see commands/tasks.py
"""No gateway answered, or none could do it now: the same call may succeed later."""


def _version(asked: bool) -> None:
    if asked:
        from gojob_redis import __version__

        print(f"gojob-redis {__version__}")
        raise typer.Exit


@app.callback()
def _gojob(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("version")
def tell_version(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the version."""
    from gojob_redis import __version__

    print(json.dumps({"version": __version__}) if as_json else f"gojob-redis {__version__}")


@app.command()
def dev(
    directory: DataDir = Path(".gojob"),
    host: Host = "",
    port: Port = None,
    redis: RedisUrl = "",
    redis_mode: RedisMode = None,
    as_json: AsJson = False,
    drain_s: DrainS = 5.0,
    config: ConfigFile = None,
) -> None:
    """Run everything in one process, on an embedded Valkey unless --redis names another engine."""
    from gojob_redis.node import Plan

    settings = _settings(config, redis, redis_mode, as_json)
    plan = Plan(
        settings=settings,
        gateway=True,
        trigger=True,
        directory=None if settings.redis.url else directory,
        host=host or settings.gateway.host,
        port=settings.gateway.port if port is None else port,
        drain_s=drain_s,
    )
    _play(plan, as_json=as_json)


@app.command()
def gateway(
    host: Host = "",
    port: Port = None,
    redis: RedisUrl = "",
    redis_mode: RedisMode = None,
    as_json: AsJson = False,
    drain_s: DrainS = 15.0,
    config: ConfigFile = None,
) -> None:
    """Run a gateway: the HTTP API and the workers' sockets."""
    from gojob_redis.node import Plan

    settings = _settings(config, redis, redis_mode, as_json)
    plan = Plan(
        settings=settings,
        gateway=True,
        host=host or settings.gateway.host,
        port=settings.gateway.port if port is None else port,
        drain_s=drain_s,
    )
    _play(plan, as_json=as_json)


@app.command()
def trigger(
    host: Host = "",
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="For health and metrics; none unless set.")
    ] = None,
    redis: RedisUrl = "",
    redis_mode: RedisMode = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Run a trigger replica: it fires what is due and acts on what is late."""
    from gojob_redis.node import Plan

    settings = _settings(config, redis, redis_mode, as_json)
    _play(Plan(settings=settings, trigger=True, host=host or settings.gateway.host, port=port), as_json=as_json)


@app.command()
def engine(
    directory: DataDir = Path(".gojob"),
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Of TCP, with a password in DIR/engine.password; else a socket."),
    ] = None,
    fsync: Annotated[
        Literal["always", "everysec", "no"], typer.Option(help="When the append-only file is synced.")
    ] = "everysec",
    settings: Annotated[
        list[str], typer.Option("--set", help="NAME=VALUE of the engine's configuration, several times.")
    ] = [],  # noqa: B006
) -> None:
    """Become the embedded engine, for a supervisor or for several gateways on one machine."""
    from gojob_redis.domain.errors import BadRequest
    from gojob_redis.engine import embedded

    for setting in settings:
        if "=" not in setting:
            raise BadRequest(
                "bad_setting", f"--set {setting!r} is no pair.", field="--set", hint="Write it as NAME=VALUE."
            )
    sys.argv = ["gojob engine", "--dir", str(directory), "--fsync", fsync]
    sys.argv += ["--port", str(port)] if port else []
    sys.argv += [word for setting in settings for word in ("--set", setting)]
    embedded.main()


@app.command("bootstrap")
def bootstrap_installation(
    redis: RedisUrl = "",
    redis_mode: RedisMode = None,
    config: ConfigFile = None,
) -> None:
    """Make an installation on an empty engine; one that is there is left as it is."""
    import asyncio

    from gojob_redis.node import bootstrap

    installation = asyncio.run(bootstrap(_settings(config, redis, redis_mode, False)))
    what = "made" if installation.fresh else "was there already"
    typer.echo(f"Installation {installation.epoch} {what}; {installation.partitions} partitions.")


@app.command()
def doctor(
    directory: DataDir = Path(".gojob"),
    redis: RedisUrl = "",
    redis_mode: RedisMode = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    config: ConfigFile = None,
) -> None:
    """Look at an engine and the installation in it, the embedded one unless --redis names another.

    Exit code 1 when something is bad.
    """
    import asyncio

    from gojob_redis.engine.embedded import Engine
    from gojob_redis.node import engine_url
    from gojob_redis.ops import doctor as doctors

    settings = _settings(config, redis, redis_mode, as_json)
    embedded = Engine(directory)
    here = settings.redis.url is None and embedded.find()
    url = embedded.url if here else engine_url(settings)
    findings = asyncio.run(doctors.examine(settings, url, embedded.directory if here else None))
    if as_json:
        print(json.dumps({"well": doctors.well(findings), "findings": [finding.as_json() for finding in findings]}))
    else:
        doctors.tell(findings)
    sys.exit(0 if doctors.well(findings) else EXIT_BAD)


def _settings(config: Path | None, redis: str, redis_mode: str | None, as_json: bool) -> Any:
    """The settings, with what the command line said; also begins logging."""
    from gojob_redis.runtime import config as files

    log_to_stderr("info", as_json=as_json)
    settings = files.read(config)
    log_to_stderr(settings.log.level, as_json=as_json or settings.log.format == "json")
    options = {name: value for name, value in {"url": redis, "mode": redis_mode}.items() if value}
    return files.overridden(settings, options) if options else settings


def _play(plan: Any, *, as_json: bool) -> None:
    from gojob_redis import node

    _run(node.run(plan, _tell_json if as_json else lambda ready: _tell(plan, ready)))


def _run(work: Coroutine[Any, Any, None]) -> None:
    import asyncio

    try:
        import uvloop
    except ImportError:  # Windows
        asyncio.run(work)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def _tell_json(ready: Any) -> None:
    """One line that a program can read."""
    facts = {
        "url": ready.url,
        "admin_token": ready.admin_token,
        "worker_token": ready.worker_token,
        "redis_url": ready.redis_url,
        "attached": ready.attached,
    }
    print(json.dumps({name: value for name, value in facts.items() if value}), flush=True)


def _tell(plan: Any, ready: Any) -> None:
    """Addresses and tokens, for people; in lines that a narrow terminal does not cut."""
    typer.secho("gojob is ready. Ctrl-C ends it.", fg="green", bold=True)
    facts = {
        "API and workers" if plan.gateway else "health, metrics": ready.url,
        "documentation": f"{ready.url}/docs" if ready.url and plan.gateway else "",
        "engine": f"the one that was running in {plan.directory} already; attached to it" if ready.attached else "",
        "Redis": ready.redis_url if ready.worker_token else "",  # given by the user otherwise, perhaps with a password
    }
    for name, value in facts.items():
        if value:
            typer.echo(f"  {name:16} {value}")
    if ready.admin_token and not ready.worker_token:
        typer.echo(f"  {'admin token':16} {ready.admin_token}")
        typer.echo("The admin token is shown this once; keep it. It makes others: gojob token create worker")
    if ready.admin_token:
        typer.echo("For other terminals:")
        typer.echo(f"  export GOJOB_URL={ready.url}")
        typer.echo(f"  export GOJOB_TOKEN={ready.admin_token}")
    if ready.worker_token:
        typer.echo(f"  export GOJOB_WORKER_TOKEN={ready.worker_token}")
        typer.echo("Start a worker there, then: gojob tasks submit HANDLER --app APP --wait")


def main() -> None:
    """The entry point; errors of ours end with their message and what to do, not with a traceback."""
    from gojob_redis.domain.errors import GojobError, leaves

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app()
    except (GojobError, OSError, BaseExceptionGroup) as error:
        single: list[Any] = leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
        if not all(isinstance(each, GojobError | OSError) for each in single):
            raise
        sys.exit(_tell_error(single))


def _tell_error(errors: Sequence[Any]) -> int:
    """Print what happened and what to do. Returns the exit code."""
    from gojob_redis.domain.errors import GojobError

    shown = next((each for each in errors if getattr(each, "code", "") in LOST), errors[0])  # it explains the others
    if not isinstance(shown, GojobError):
        where = f"{shown.filename}: " if shown.filename else ""
        typer.secho(f"gojob: {visible(where + (shown.strerror or str(shown)))}.", fg="red", err=True)
        return EXIT_USAGE
    typer.secho(f"gojob: {visible(shown.message)}", fg="red", err=True)
    if shown.hint:
        typer.secho(f"       {visible(shown.hint)}", err=True)
    return _exit_code(shown)


def _exit_code(error: Any) -> int:
    from gojob_redis.domain.errors import BrokenInvariant

    if error.code in LOST:
        return EXIT_LOST
    if isinstance(error, BrokenInvariant):
        return EXIT_BROKEN
    return EXIT_UNAVAILABLE if error.retryable else EXIT_USAGE


LOST = ("no_epoch", "not_bootstrapped", "newer_schema", "older_schema")


if __name__ == "__main__":
    main()
