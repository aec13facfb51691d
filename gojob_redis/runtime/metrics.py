"""What a process counts, for Prometheus.

One ``Metrics`` per process, with a registry of its own: nothing is global, so tests and several roles in one process do
not meet. Labels are words of ours and route patterns, and the names of a bounded number of handlers
(``handler_metrics.py``): the number of series is bounded.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gojob_redis.runtime.handler_metrics import HandlerSeries
from gojob_redis.runtime.loop import Counters, Loop

Read = Callable[[], float | Mapping[str, float] | Mapping[tuple[str, str], float]]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LATENESS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5, 60, 600)
_WAIT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 300, 3_600, 86_400)
_DURATION_S = (0.001, 0.01, 0.1, 0.5, 1, 5, 30, 60, 300, 1_800, 7_200, 43_200)
_LAG_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)
_HTTP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)


@dataclass(slots=True)
class Buckets:
    """A histogram for the hot path: observing costs a binary search, and nothing is added up before the scrape."""

    bounds_s: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds_s) + 1)

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        """Cumulative buckets, as Prometheus wants them."""
        names = [*(str(float(bound)) for bound in self.bounds_s), "+Inf"]
        return [(name, float(total)) for name, total in zip(names, accumulate(self.counts), strict=True)]


def wait_buckets() -> Buckets:
    """From the creation of a task to its first dispatch."""
    return Buckets(_WAIT_S)


def duration_buckets() -> Buckets:
    """From the start of a run to its end."""
    return Buckets(_DURATION_S)


def lag_buckets() -> Buckets:
    """How long loops of workers stood still."""
    return Buckets(_LAG_S)


class Metrics:
    """Counters, histograms, and what is read only when somebody asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "gojob_http_requests",
            "Requests by route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "gojob_http_request_seconds",
            "Time to answer a request that did not wait on purpose.",
            buckets=_HTTP_S,
            registry=self.registry,
        )
        self.denials = Counter("gojob_denials", "Requests refused for their token.", ("code",), registry=self.registry)
        self.submitted = Counter(
            "gojob_tasks_submitted", "Submissions by what became of them.", ("outcome",), registry=self.registry
        )
        self.lateness = Histogram(
            "gojob_fire_lateness_seconds", "Fired minus due.", buckets=_LATENESS_S, registry=self.registry
        )
        self.waiting = Gauge("gojob_long_polls", "Requests that wait for the end of a task.", registry=self.registry)
        self.faulted: dict[str, int] = {}
        """Faulted tasks of the installation by reason, as they were read last."""
        self.handlers = HandlerSeries()
        self.registry.register(self.handlers)
        self._reads = _Reads()
        self.registry.register(self._reads)
        about = "Tasks of the whole installation that faulted, the same on every process."
        self.read_counter("gojob_tasks_faulted", about, lambda: self.faulted, "reason")

    def observe_lateness(self, lateness_ms: Sequence[int]) -> None:
        """Take in the lateness of slots that were just fired."""
        for late_ms in lateness_ms:
            self.lateness.observe(late_ms / 1000)

    def read_counter(self, name: str, about: str, read: Read, *labels: str) -> None:
        """Export a counter that another object keeps. With a label, ``read`` returns one value for each word."""
        self._reads.found.append((CounterMetricFamily, name, about, labels, read))

    def read_gauge(self, name: str, about: str, read: Read, *labels: str) -> None:
        """Export a gauge that another object keeps, as ``read_counter`` does."""
        self._reads.found.append((GaugeMetricFamily, name, about, labels, read))

    def read_buckets(self, name: str, about: str, buckets: "Buckets") -> None:
        """Export a histogram that another object fills."""
        self._reads.histograms.append((name, about, buckets))

    def read_loops(self, loops: Sequence[Loop]) -> None:
        """Export the counters of loops; loops of one name are added up."""

        def of(value: Callable[[Counters], float]) -> Callable[[], dict[str, float]]:
            def read() -> dict[str, float]:
                by_name: dict[str, float] = {}
                for loop in loops:
                    by_name[loop.name] = by_name.get(loop.name, 0) + value(loop.counters)
                return by_name

            return read

        self.read_counter("gojob_loop_runs", "Passes of a loop.", of(lambda each: each.runs), "loop")
        self.read_counter("gojob_loop_failures", "Passes that failed.", of(lambda each: each.failures), "loop")
        self.read_counter("gojob_loop_busy_seconds", "Time spent in passes.", of(lambda each: each.busy_s), "loop")

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)


class _Reads(Collector):
    """Numbers that are read at the scrape, so that counting them costs nothing."""

    def __init__(self) -> None:
        self.found: list[tuple[type[CounterMetricFamily | GaugeMetricFamily], str, str, tuple[str, ...], Read]] = []
        self.histograms: list[tuple[str, str, Buckets]] = []

    def collect(self) -> Iterator[Metric]:
        for kind, name, about, labels, read in self.found:
            family = kind(name, about, labels=labels)
            value = read()
            for words, number in value.items() if isinstance(value, Mapping) else [((), value)]:
                family.add_metric([words] if isinstance(words, str) else words, number)
            yield family
        for name, about, buckets in self.histograms:
            yield HistogramMetricFamily(name, about, buckets=buckets.cumulated(), sum_value=buckets.sum_s)
