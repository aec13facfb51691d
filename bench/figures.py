"""Numbers of a round, and what becomes of them: nothing here measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")

Figure = float | list[float]
"""One observation, or several of one round."""
Figures = dict[str, Figure]
Spread = dict[str, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: all of it, or just enough to see that it works."""

    small: bool = False

    def of(self, full: T, small: T) -> T:
        return small if self.small else full


def spread(observations: Sequence[Figure]) -> Spread:
    """Median and range of all observations of all rounds."""
    values = [value for each in observations for value in (each if isinstance(each, list) else [each])]
    return {"median": median(values), "lowest": min(values), "highest": max(values)}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def times(values: Sequence[float], *, digits: int = 2) -> Figures:
    """Median, 99th percentile and worst of milliseconds."""
    return {
        "p50_ms": round(percentile(values, 0.50), digits),
        "p99_ms": round(percentile(values, 0.99), digits),
        "max_ms": round(max(values), digits),
    }


def lateness(seen: Mapping[int, Sequence[float]], expected: int) -> Figures:
    """How late each of the expected tasks began (its first execution), how many never did, how many more than once."""
    first = [min(each) for each in seen.values()]
    return times(first) | {
        "missed": expected - len(first),
        "double": sum(len(each) - 1 for each in seen.values()),
    }
