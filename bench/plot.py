"""docs/growth.svg: what a task costs beside more and more of something else, from the results file.

Every kind has a line of its own: the cost beside none is 1, the goal is drawn at 1.3.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench import answers
from bench.goals import GROWN

PLOT: Final = Path(__file__).parents[1] / "docs" / "growth.svg"
POINT: Final = re.compile(r"(\w+)_us_at_(\d+)")
GOAL: Final = 1.3
WIDTH, HEIGHT, LEFT, TOP = 560, 300, 50, 20
"""Of the area, and where it begins."""
KEY: Final = 210
"""Room for the names beside it."""
MOST: Final = 2.0
STEP: Final = 0.25
COLOURS: Final = ("#0b6bcb", "#c2410c", "#15803d", "#7c3aed", "#b91c1c")
SHARES: Final = ("none", "a tenth", "all")


def main() -> None:
    """Draw what was measured."""
    figures = answers.read().get("results", {}).get("growth", {}).get("contenders", {}).get("ours", {})
    if figures:
        PLOT.write_text(drawn(relative(figures)), "utf-8")


def relative(figures: Mapping[str, Any]) -> dict[str, list[float]]:
    """Cost beside none, a tenth and all of each kind, where none is 1."""
    points: dict[str, dict[int, float]] = {}
    for figure, spread in figures.items():
        if match := POINT.fullmatch(figure):
            points.setdefault(match[1], {})[int(match[2])] = float(spread["median"])
    return {name: [costs[size] / costs[0] for size in sorted(costs)] for name, costs in points.items()}


def drawn(lines: Mapping[str, list[float]]) -> str:
    """The picture."""
    parts = [_rule(number * STEP) for number in range(round(MOST / STEP) + 1)]
    parts += [_text(_x(at), TOP + HEIGHT + 20, share, "middle") for at, share in enumerate(SHARES)]
    parts.append(_line([(LEFT, _y(GOAL)), (LEFT + WIDTH, _y(GOAL))], "#666", "6 4"))
    parts.append(_text(LEFT + 6, _y(GOAL) - 6, "goal: 1.3 times the cost alone"))
    for costs, colour in zip(lines.values(), COLOURS, strict=False):
        parts.append(_line([(_x(at), _y(cost)) for at, cost in enumerate(costs)], colour))
    for number, (name, costs) in enumerate(lines.items()):
        parts.append(_text(LEFT + WIDTH + 12, TOP + 14 + 22 * number, _key(name, costs), fill=COLOURS[number]))
    size = f"{LEFT + WIDTH + KEY} {TOP + HEIGHT + 36}"
    style = 'font-family="sans-serif" font-size="13"'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" {style}>\n{body}\n</svg>\n'


def _key(name: str, costs: list[float]) -> str:
    return f"{GROWN.get(name, name)}: {costs[-1]:.2f}"


def _x(at: int) -> float:
    return LEFT + WIDTH * at / (len(SHARES) - 1)


def _y(cost: float) -> float:
    return round(TOP + HEIGHT * (1 - min(cost, MOST) / MOST), 1)


def _rule(cost: float) -> str:
    line = _line([(LEFT, _y(cost)), (LEFT + WIDTH, _y(cost))], "#ddd")
    return line + _text(LEFT - 8, _y(cost) + 4, f"{cost:g}", "end")


def _line(points: list[tuple[float, float]], colour: str, dashes: str = "") -> str:
    coordinates = " ".join(f"{x:g},{y:g}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{coordinates}" fill="none" stroke="{colour}" stroke-width="1.5"{dashed}/>'


def _text(x: float, y: float, text: str, anchor: str = "start", fill: str = "#444") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}">{text}</text>'
