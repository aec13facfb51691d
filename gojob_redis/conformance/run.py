"""Plays the scenarios one after the other, and tells what came of them."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

import typer

from gojob_redis.conformance import connections, endings, frames, greeting, lease, runs, seats
from gojob_redis.conformance.greeting import LEAST_CAPACITY
from gojob_redis.conformance.scenario import Failed, Scenario
from gojob_redis.conformance.stage import Stage
from gojob_redis.runtime.terminal import visible_line

SCENARIOS: Final[tuple[Scenario, ...]] = (
    *greeting.SCENARIOS,
    *lease.SCENARIOS,
    *runs.SCENARIOS,
    *seats.SCENARIOS,
    *connections.SCENARIOS,
    *endings.SCENARIOS,
)
LONGEST_S: Final = 60.0
COLORS: Final = {"pass": "green", "fail": "red", "skip": "yellow"}


@dataclass(frozen=True, slots=True)
class Result:
    """How one scenario ended."""

    id: str
    sentence: str
    section: str
    verdict: Literal["pass", "fail", "skip"]
    seconds: float = 0.0
    expected: str = ""
    came: str = ""
    output: tuple[str, ...] = ()
    """What the worker's process wrote last."""


def chosen(only: str) -> list[Scenario]:
    """The scenarios with these ids, separated by commas; all where nothing is named. Raises ValueError."""
    ids = {word.strip() for word in only.split(",") if word.strip()}
    if unknown := ids - {one.id for one in SCENARIOS}:
        raise ValueError(f"there is no scenario {', '.join(sorted(unknown))}; --list names them")
    return [one for one in SCENARIOS if not ids or one.id in ids]


async def play(stage: Stage, scenarios: Sequence[Scenario], *, as_json: bool = False) -> list[Result]:
    """Play scenarios on a stage that is open; the worker starts anew after each one that failed."""
    results = []
    for one in scenarios:
        result = await _play_one(stage, one)
        results.append(result)
        if not as_json:
            _tell(result)
    return results


async def _play_one(stage: Stage, one: Scenario) -> Result:
    if one.needs_command and stage.command is None:
        return Result(one.id, one.sentence, one.section, "skip", came="the kit did not start the worker")
    began = time.monotonic()
    try:
        async with asyncio.timeout(LONGEST_S):
            await one.play(stage)
    except Failed as failed:
        expected, came = failed.expected, failed.came
    except TimeoutError:
        expected, came = f"an end within {LONGEST_S:g} s", "none"
    else:
        return Result(one.id, one.sentence, one.section, "pass", _since(began))
    output = tuple(stage.command.output) if stage.command is not None else ()
    await stage.begin_anew()
    return Result(one.id, one.sentence, one.section, "fail", _since(began), expected, came, output)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 2)


async def conform(
    argv: Sequence[str], scenarios: Sequence[Scenario], *, host: str, port: int, app: str, as_json: bool
) -> bool:
    """The whole command; whether the worker passed."""
    began = time.monotonic()
    async with Stage(argv, host=host, port=port, app=app) as stage:
        if not as_json:
            _introduce(stage)
        results = await play(stage, scenarios, as_json=as_json)
    passed = all(result.verdict != "fail" for result in results)
    if as_json:
        print(json.dumps({"passed": passed, "seconds": _since(began), "scenarios": [asdict(one) for one in results]}))
    else:
        counts = {word: sum(result.verdict == word for result in results) for word in COLORS}
        summary = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        typer.secho(f"{summary} in {_since(began):.0f} s", fg="green" if passed else "red", bold=True)
    return passed


def _introduce(stage: Stage) -> None:
    """What a worker has to know and to serve."""
    started = stage.command is not None
    typer.echo("Starting the worker with:" if started else "Waiting for the worker. Start it with:")
    for name, value in stage.environment.items():
        typer.echo(f"  {name}={value}")
    typer.echo(f"It serves app {stage.app} in namespace {stage.namespace}, with {LEAST_CAPACITY} seats or more, and")
    for name, what in frames.HANDLERS.items():
        typer.echo(f"  {name:6} {what}")


def _tell(result: Result) -> None:
    typer.secho(f"{result.verdict}  {result.id:17} {result.sentence}", fg=COLORS[result.verdict])
    if result.verdict == "fail":
        typer.echo(f"      expected  {visible_line(result.expected)}\n      came      {visible_line(result.came)}")
        typer.echo(f"      see       docs/protocol.md {result.section}")
        for line in result.output:
            typer.echo(f"      worker    {visible_line(line[:200])}")


def listed() -> None:
    """Name all scenarios."""
    for one in SCENARIOS:
        typer.echo(f"{one.id:17} {one.section:18} {one.sentence}" + (" (needs a command)" if one.needs_command else ""))
