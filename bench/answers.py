"""The results file: the machine, every question with all its contenders, and the goals they answer.

{"machine", "peers", "results": {question: {"commit", "at", "rounds", "load_before", "calibration_ms": spread,
"contenders": {name: {figure: spread}}, "failed": {name: reason}}}, "P1": {"ours", "peers", "ratio", "goal", "met"}, …}
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench import goals, machine
from bench.figures import Figures, Spread, spread
from bench.peers.table import PEERS, PROMISES

RESULTS: Final = Path(__file__).parent / "results" / "latest.json"
TRIAL: Final = Path(__file__).parents[1] / "build" / "bench-trial.json"
"""Where figures go that were taken only to see that it works."""


def read(path: Path = RESULTS) -> dict[str, Any]:
    """The results file; an empty document if there is none yet."""
    document: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return document


def of_rounds(rounds: Mapping[str, list[Figures]]) -> dict[str, dict[str, Spread]]:
    """Contender → figure → median and range over its rounds."""
    return {
        name: {figure: spread([each[figure] for each in figures if figure in each]) for figure in figures[0]}
        for name, figures in rounds.items()
        if figures
    }


def result(
    question: str, rounds: Mapping[str, list[Figures]], failed: Mapping[str, str], load: float, paces: list[float]
) -> dict[str, Any]:
    """One question answered; ``paces`` are the machine's, one before each round."""
    return {
        "question": question,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "rounds": max((len(figures) for figures in rounds.values()), default=0),
        "load_before": load,
        "calibration_ms": spread(paces),
        "contenders": of_rounds(rounds),
        "failed": dict(failed),
    }


def keep(name: str, answer: Mapping[str, Any], order: Iterable[str], path: Path = RESULTS) -> None:
    """Put one answer into the file; the others stay, each with its own commit."""
    results = read(path).get("results", {}) | {name: answer}
    results = {key: results[key] for key in order if key in results}
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine.describe(), "peers": _peers(), "results": results} | goals.judge(results)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _peers() -> dict[str, dict[str, Any]]:
    """The peers, and the settings in which they differ from their defaults."""
    return {
        name: {"promise": PROMISES[peer.promise], "packages": list(peer.packages), "settings": peer.told}
        for name, peer in PEERS.items()
    }
