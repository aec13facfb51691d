"""Series by handler, for Prometheus, from the sums that the trigger replicas keep (``domain/tally.py``).

The number of series is bounded: ``limits.METRIC_HANDLERS`` handlers have series of their own, all others share those of
``other``. Who has series keeps them, because a counter that moved to another series would look like a restart.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gojob_redis.domain import limits
from gojob_redis.domain.tally import CELLS, Spread, Sum, least_of

OTHER: Final = "other"
DOUBLINGS: Final = 2
"""Between two bounds of a histogram."""
COUNTERS: Final = {
    "submitted": "Tasks submitted.",
    "fired": "Slots fired.",
    "started": "Attempts begun.",
    "retried": "Attempts that failed and are tried again.",
    "lost": "Runs whose worker was gone.",
    "skipped": "Slots skipped.",
    "missed": "Slots missed: the planner or a fire passed over them.",
}
SPREADS: Final = {
    "wait": "From when a task could begin to its first attempt.",
    "lateness": "Fired minus due.",
    "duration": "From the first attempt of a task to its end.",
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for a handler now."""

    depth: int
    oldest_ms: int
    """How long the next in turn has waited."""


@dataclass(slots=True, eq=False)
class HandlerSeries(Collector):
    """What was read last, as series."""

    sums: dict[str, Sum] = field(default_factory=dict)
    """By handler, and all the others together under ``other``."""
    waiting: dict[str, Waiting] = field(default_factory=dict)

    def choose(self, sums: Mapping[str, Sum]) -> list[str]:
        """The handlers that have series of their own: those that had, and the busiest of the others."""
        shown = [handler for handler in self.sums if handler in sums]
        busiest = sorted(sums.keys() - {*shown}, key=lambda handler: (-sums[handler].total("started"), handler))
        return (shown + busiest)[: limits.METRIC_HANDLERS]

    def take(self, sums: Mapping[str, Sum], whole: Iterable[Sum], waiting: Mapping[str, Waiting]) -> None:
        """Show these. sums, waiting: of those that were chosen; whole: of all apps."""
        self.sums, self.waiting = dict(sums), dict(waiting)
        rest = _rest(whole, sums.values())
        if rest.counts:
            self.sums[OTHER] = rest

    def collect(self) -> Iterator[Metric]:
        ended = CounterMetricFamily("gojob_handler_ended", "Tasks ended.", labels=("handler", "state"))
        failures = CounterMetricFamily("gojob_handler_failures", "Tasks faulted.", labels=("handler", "type"))
        for handler, sums in self.sums.items():
            for state in ("completed", "faulted", "canceled"):
                ended.add_metric((handler, state), sums.total(state))
            for reason, count in sums.reasons("faulted").items():
                failures.add_metric((handler, reason), count)
        yield ended
        yield failures
        for what, about in COUNTERS.items():
            counter = CounterMetricFamily(f"gojob_handler_{what}", about, labels=("handler",))
            for handler, sums in self.sums.items():
                counter.add_metric((handler,), sums.total(what))
            yield counter
        yield from self._gauges()
        for name, about in SPREADS.items():
            family = HistogramMetricFamily(f"gojob_handler_{name}_seconds", about, labels=("handler",))
            for handler, sums in self.sums.items():
                spread = getattr(sums, name)
                family.add_metric((handler,), buckets_of(spread), spread.sum_ms / 1000)
            yield family

    def _gauges(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("gojob_handler_running", "Attempts that run.", labels=("handler",))
        last = GaugeMetricFamily("gojob_handler_last_end_seconds", "When a task ended last.", labels=("handler",))
        for handler, sums in self.sums.items():
            running.add_metric((handler,), max(0, sums.total("started") - sums.total("stopped")))
            last.add_metric((handler,), sums.last_ended_ms / 1000)
        depth = GaugeMetricFamily("gojob_handler_depth", "Tasks that wait for a worker.", labels=("handler",))
        oldest = GaugeMetricFamily("gojob_handler_oldest_seconds", "How long the next waits.", labels=("handler",))
        for handler, waits in self.waiting.items():
            depth.add_metric((handler,), waits.depth)
            oldest.add_metric((handler,), waits.oldest_ms / 1000)
        yield from (running, last, depth, oldest)


def _rest(whole: Iterable[Sum], parts: Iterable[Sum]) -> Sum:
    """What is in the whole and not in the parts. The longest is that of the whole."""
    rest = Sum()
    for sums in whole:
        rest.add(sums)
    for part in parts:
        rest.counts.subtract(part.counts)
        for spread, own in zip(_spreads(rest), _spreads(part), strict=True):
            spread.sum_ms = max(0, spread.sum_ms - own.sum_ms)
            for cell, count in own.cells.items():
                spread.cells[cell] = max(0, spread.cells.get(cell, 0) - count)
    rest.counts = +rest.counts
    return rest


def _spreads(sums: Sum) -> tuple[Spread, Spread, Spread]:
    return sums.wait, sums.lateness, sums.duration


def buckets_of(spread: Spread) -> list[tuple[str, float]]:
    """Cumulated buckets as Prometheus wants them; their bounds are bounds of cells, so that they are exact."""
    step = 4 * DOUBLINGS
    cells = [spread.cells.get(cell, 0) for cell in range(CELLS)]
    totals = [0, *accumulate(cells)]
    bounds = range(1, CELLS, step)
    return [(str(least_of(bound) / 1000), float(totals[bound])) for bound in bounds] + [("+Inf", float(totals[-1]))]
