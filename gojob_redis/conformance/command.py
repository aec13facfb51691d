"""The command line of the kit; it imports nothing heavy before it is called."""

import sys
from typing import Annotated

import typer

EXIT_FAILED = 1
EXIT_USAGE = 2


def conformance(
    command: Annotated[
        list[str] | None, typer.Argument(help="What starts the worker, after --; else start it yourself.")
    ] = None,
    only: Annotated[str, typer.Option(help="Ids of scenarios, separated by commas.")] = "",
    list_them: Annotated[bool, typer.Option("--list", help="Name the scenarios and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 chooses a free one.")] = 0,
    app: Annotated[str, typer.Option(help="The app whose worker this is.")] = "conformance",
) -> None:
    """Try a worker in any language against docs/protocol.md: gojob conformance -- node worker.js"""
    import asyncio

    from gojob_redis.conformance import run

    if list_them:
        run.listed()
        return
    try:
        scenarios = run.chosen(only)
        passed = asyncio.run(run.conform(command or (), scenarios, host=host, port=port, app=app, as_json=as_json))
    except FileNotFoundError as error:
        typer.secho(
            f"gojob: there is no command {error.filename!r}; write it after -- as in a shell.", fg="red", err=True
        )
        sys.exit(EXIT_USAGE)
    except (ValueError, OSError) as error:
        typer.secho(f"gojob: {error}", fg="red", err=True)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        sys.exit(EXIT_USAGE)
    sys.exit(0 if passed else EXIT_FAILED)
