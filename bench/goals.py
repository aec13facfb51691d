"""The goals, and whether figures reach them. Nothing here measures.

A bound is about one figure of one contender, a ratio is about ours and the peers of the same run. A stretch is shown
and told, but not needed. What was not measured is not met.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench.peers.table import PEERS

Results = Mapping[str, Any]
OURS: Final = "ours"


@dataclass(frozen=True, slots=True)
class Limit:
    """An upper or a lower bound."""

    most: float | None = None
    least: float | None = None

    def holds(self, value: float) -> bool:
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    def __str__(self) -> str:
        if self.most is not None and self.most == self.least:
            return f"{self.most:,g}"
        return f"≤ {self.most:,g}" if self.most is not None else f"≥ {self.least:,g}"


NONE: Final = Limit(most=0, least=0)


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound for one of our figures."""

    question: str
    figure: str
    limit: Limit
    says: str
    """What the figure is, with its unit, for the table."""
    contender: str = OURS

    def value(self, results: Results) -> float | None:
        return _median(results, self.question, self.contender, self.figure)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How two figures of one run compare."""

    says: str
    value: Callable[[Results], float | None]
    limit: Limit
    stretch: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table; ``compare`` names the figures of peers that stand beside ours."""

    name: str
    what: str
    bounds: tuple[Bound, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    compare: tuple[tuple[str, str], ...] = ()


# ---- how figures compare ---------------------------------------------------------------------------------------------

DRAINED: Final = ("tasks_per_s_1", "tasks_per_s_2")


def _faster_than(is_of_kind: Callable[[str], bool]) -> Callable[[Results], float | None]:
    """Our drain by one pair, against the best peer of a kind, be that by one process or by two."""

    def value(results: Results) -> float | None:
        ours = _median(results, "drain", OURS, DRAINED[0])
        best = max((rate for name, rate in _drained(results) if is_of_kind(name)), default=None)
        return ours / best if ours is not None and best else None

    return value


def _drained(results: Results) -> Iterator[tuple[str, float]]:
    for name in _contenders(results, "drain"):
        for figure in DRAINED if name in PEERS else ():
            if (rate := _median(results, "drain", name, figure)) is not None:
                yield name, rate


def _sooner_than_bullmq(figure: str) -> Callable[[Results], float | None]:
    """How many times as late BullMQ is, with what it does better: delayed jobs or job schedulers."""

    def value(results: Results) -> float | None:
        ours = _median(results, "burst", OURS, figure)
        names = [name for name in _contenders(results, "burst") if name.startswith("bullmq")]
        theirs = [late for name in names if (late := _median(results, "burst", name, figure)) is not None]
        return min(theirs) / ours if ours and theirs else None

    return value


def _of_two_pairs(figure: str) -> Callable[[Results], float | None]:
    """The rate of two gateways with two workers, as a multiple of one pair's."""

    def value(results: Results) -> float | None:
        one = _median(results, "drain", OURS, f"{figure}_1")
        two = _median(results, "drain", OURS, f"{figure}_2")
        return two / one if one and two is not None else None

    return value


def _python(*promises: str) -> Callable[[str], bool]:
    return lambda name: name in PEERS and PEERS[name].python and (not promises or PEERS[name].promise in promises)


# ---- the goals -------------------------------------------------------------------------------------------------------


def _late(question: str, contender: str, p50: float, p99: float, words: str) -> tuple[Bound, ...]:
    return (
        Bound(question, "p50_ms", Limit(most=p50), f"p50 ms{words}", contender),
        Bound(question, "p99_ms", Limit(most=p99), f"p99 ms{words}", contender),
        *_exact(question, contender, words),
    )


def _exact(question: str, contender: str, words: str, suffix: str = "") -> tuple[Bound, ...]:
    return (
        Bound(question, f"missed{suffix}", NONE, f"missed{words}", contender),
        Bound(question, f"double{suffix}", NONE, f"double{words}", contender),
    )


GROWN: Final = {
    "queued": "1,000,000 queued tasks",
    "triggers": "100,000 triggers",
    "sessions": "5,000 idle sessions",
    "handlers": "1,000 handlers",
    "lanes": "100 lanes",
}
REPLICAS: Final = "ours, 3 replicas"

GOALS: Final = (
    Goal(
        "P1",
        "drain of 20,000 queued no-op tasks: one gateway and one worker process, against each peer's better of one "
        "and two processes",
        (Bound("drain", "tasks_per_s_1", Limit(least=0), "tasks/s"), Bound("drain", "ran_too_often_1", NONE, "double")),
        (
            Ratio("× the fastest Python peer with state", _faster_than(_python("state")), Limit(least=5)),
            Ratio("× the fastest Python peer", _faster_than(_python()), Limit(least=2)),
            Ratio("× BullMQ", _faster_than(lambda name: name.startswith("bullmq")), Limit(least=1), stretch=True),
        ),
        tuple(("drain", figure) for figure in DRAINED),
    ),
    Goal(
        "P2",
        "submit to start at 200 tasks/s, through HTTP, gateway and websocket",
        _late("latency", OURS, 1.5, 4, ""),
        compare=(("latency", "p50_ms"), ("latency", "p99_ms")),
    ),
    Goal(
        "P3",
        "lateness with 500 triggers firing every second, evenly, for 20 s",
        _late("lateness", OURS, 2, 8, "") + _late("lateness", REPLICAS, 2, 8, ", 3 replicas"),
        compare=(("lateness", "p50_ms"), ("lateness", "p99_ms"), ("lateness", "missed"), ("lateness", "double")),
    ),
    Goal(
        "P4",
        "lateness with 1,000 and with 10,000 triggers at the same moment",
        (
            Bound("burst", "p99_ms_1000", Limit(most=80), "p99 ms of 1,000"),
            Bound("burst", "p99_ms_10000", Limit(most=550), "p99 ms of 10,000"),
            *_exact("burst", OURS, "", "_10000"),
            *_exact("burst", REPLICAS, ", 3 replicas", "_10000"),
        ),
        (
            Ratio("× sooner than BullMQ, 1,000", _sooner_than_bullmq("p99_ms_1000"), Limit(least=1)),
            Ratio("× sooner than BullMQ, 10,000", _sooner_than_bullmq("p99_ms_10000"), Limit(least=1)),
        ),
        (("burst", "p99_ms_1000"), ("burst", "p99_ms_10000")),
    ),
    Goal(
        "P5",
        "the engine's CPU for a task's whole life",
        (
            Bound("drain", "engine_us_1", Limit(most=30), "µs at saturation"),
            Bound("cost", "engine_us", Limit(most=130), "µs one at a time"),
        ),
        compare=(("drain", "engine_us_1"),),
    ),
    Goal(
        "P6",
        "memory",
        (
            Bound("memory", "bytes_per_queued_task", Limit(most=400), "bytes a queued task"),
            Bound("memory", "bytes_per_queued_task_100", Limit(most=500), "with 100 bytes of parameters"),
            Bound("memory", "bytes_per_finished_task", Limit(most=450), "bytes a finished task"),
            Bound("memory", "kb_per_worker", Limit(most=40), "KB an idle worker in the gateway"),
            Bound("memory", "gateway_mb", Limit(most=100), "MB gateway at 1,000 tasks/s"),
            Bound("memory", "trigger_mb", Limit(most=100), "MB trigger replica"),
            Bound("memory", "worker_mb", Limit(most=100), "MB worker"),
        ),
    ),
    Goal(
        "P7",
        "what a task costs beside a lot of others, against alone",
        tuple(Bound("growth", f"{case}_ratio", Limit(most=1.3), f"× with {words}") for case, words in GROWN.items()),
    ),
    Goal(
        "P8",
        "more processes: two gateways with two workers against one pair; a cluster of three nodes",
        (Bound("cluster", "busiest_node_share", Limit(most=0.42), "of the engines' CPU on the busiest of 3 nodes"),),
        (
            Ratio("× the drain of one pair", _of_two_pairs("tasks_per_s"), Limit(least=1)),
            Ratio("× its engine CPU for a task", _of_two_pairs("engine_us"), Limit(most=1.1)),
        ),
    ),
    Goal(
        "P9",
        "idle and edits",
        (
            Bound("idle", "all_percent", Limit(most=2), "% of a core, all roles together, idle"),
            Bound("edit", "max_ms", Limit(most=20), "ms late at most after an edit to an earlier time"),
        ),
    ),
    Goal(
        "N1",
        "fairness: what an app with 1,000,000 queued tasks adds to another app's p99",
        (
            Bound("fairness", "added_p99_ms_queued", Limit(most=10), "ms while they wait"),
            Bound("fairness", "added_p99_ms_drained", Limit(most=10), "ms while they are drained"),
        ),
    ),
    Goal(
        "N3",
        "logs: 20,000 lines a second through one gateway",
        (
            Bound("logs", "added_p99_ms", Limit(most=10), "ms more p99 of another app"),
            Bound("logs", "engine_us_a_line", Limit(most=0.5), "µs of the engine a line"),
            Bound("logs", "bytes_a_line", Limit(most=30), "bytes a line"),
            Bound("logs", "lost", NONE, "lines lost"),
        ),
    ),
    Goal(
        "N2",
        "scripts under a storm of 100,000 triggers in one second",
        (Bound("storm", "over_5_ms", NONE, "scripts over 5 ms"),),
    ),
)


def bound(question: str, contender: str, figure: str) -> Limit | None:
    """What this figure has to be, if a goal says so."""
    for goal in GOALS:
        for each in goal.bounds:
            if (each.question, each.contender, each.figure) == (question, contender, figure):
                return each.limit
    return None


def judge(results: Results) -> dict[str, dict[str, Any]]:
    """Every goal with its figures."""
    return {goal.name: _judged(goal, results) for goal in GOALS}


def _judged(goal: Goal, results: Results) -> dict[str, Any]:
    ours = {bound.says: bound.value(results) for bound in goal.bounds}
    ratios = {ratio.says: _rounded(ratio.value(results)) for ratio in goal.ratios}
    needed = [(bound.limit, ours[bound.says]) for bound in goal.bounds]
    needed += [(ratio.limit, ratios[ratio.says]) for ratio in goal.ratios if not ratio.stretch]
    return {
        "what": goal.what,
        "ours": ours,
        "peers": _peers(goal, results),
        "ratio": ratios,
        "goal": {bound.says: str(bound.limit) for bound in goal.bounds}
        | {each.says: _told(each) for each in goal.ratios},
        "met": all(value is not None and limit.holds(value) for limit, value in needed),
        "measured": all(value is not None for _limit, value in needed),
    }


def _told(ratio: Ratio) -> str:
    return f"{ratio.limit}{', stretch' if ratio.stretch else ''}"


def _peers(goal: Goal, results: Results) -> dict[str, dict[str, float]]:
    """The compared figures of every peer that has them."""
    by_peer: dict[str, dict[str, float]] = {}
    for question, figure in goal.compare:
        for name in _contenders(results, question):
            value = _median(results, question, name, figure)
            if name in PEERS and value is not None:
                by_peer.setdefault(name, {})[figure] = value
    return by_peer


def _contenders(results: Results, question: str) -> list[str]:
    return list(results.get(question, {}).get("contenders", {}))


def _median(results: Results, question: str, contender: str, figure: str) -> float | None:
    spread = results.get(question, {}).get("contenders", {}).get(contender, {}).get(figure)
    return None if spread is None else float(spread["median"])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
