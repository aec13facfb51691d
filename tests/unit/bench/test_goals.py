"""Whether figures reach the goals."""

from typing import Any

from bench.goals import GOALS, Limit, bound, judge


def answered(**questions: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Results in which every figure was the same in all rounds."""
    return {
        question: {
            "contenders": {
                name.replace("_", " "): {
                    figure: {"median": value, "lowest": value, "highest": value} for figure, value in figures.items()
                }
                for name, figures in contenders.items()
            }
        }
        for question, contenders in questions.items()
    }


def drained(ours: float = 20_000, *, bullmq: float = 15_000, saq: float = 3_000, huey: float = 7_000) -> dict[str, Any]:
    return answered(
        drain={
            "ours": {"tasks_per_s_1": ours, "ran_too_often_1": 0, "tasks_per_s_2": ours * 1.5},
            "bullmq": {"tasks_per_s_1": bullmq, "tasks_per_s_2": 100},
            "saq": {"tasks_per_s_1": 100, "tasks_per_s_2": saq},
            "huey": {"tasks_per_s_1": huey, "tasks_per_s_2": 100},
        }
    )


def test_every_goal_has_a_name_of_its_own() -> None:
    names = [goal.name for goal in GOALS]

    assert set(names) >= {f"P{number}" for number in range(1, 10)}
    assert len(set(names)) == len(names)


def test_every_figure_of_a_goal_has_words_of_its_own() -> None:
    for goal in GOALS:
        words = [bound.says for bound in goal.bounds] + [ratio.says for ratio in goal.ratios]
        assert len(set(words)) == len(words)


def test_nothing_measured_meets_nothing() -> None:
    assert [goal["met"] for goal in judge({}).values()] == [False] * len(GOALS)
    assert not any(goal["measured"] for goal in judge({}).values())


def test_the_drain_is_compared_with_the_better_of_one_and_two_processes_of_each_peer() -> None:
    goal = judge(drained())["P1"]

    assert goal["ratio"] == {
        "× the fastest Python peer with state": 6.67,
        "× the fastest Python peer": 2.86,
        "× BullMQ": 1.33,
    }
    assert goal["ours"]["tasks/s"] == 20_000
    assert goal["peers"]["saq"] == {"tasks_per_s_1": 100, "tasks_per_s_2": 3_000}
    assert "ours" not in goal["peers"]
    assert (goal["met"], goal["measured"]) == (True, True)


def test_a_ratio_that_is_too_small_misses_the_goal() -> None:
    assert not judge(drained(saq=4_100))["P1"]["met"]
    assert not judge(drained(huey=10_100))["P1"]["met"]


def test_a_stretch_is_told_and_not_needed() -> None:
    goal = judge(drained(bullmq=25_000))["P1"]

    assert goal["ratio"]["× BullMQ"] == 0.8
    assert goal["goal"]["× BullMQ"] == "≥ 1, stretch"
    assert goal["met"]


def test_one_task_that_ran_twice_misses_the_goal() -> None:
    results = drained()
    results["drain"]["contenders"]["ours"]["ran_too_often_1"]["median"] = 1

    assert not judge(results)["P1"]["met"]


def test_without_peers_a_ratio_is_not_measured() -> None:
    results = drained()
    results["drain"]["contenders"] = {"ours": results["drain"]["contenders"]["ours"]}

    goal = judge(results)["P1"]

    assert (goal["met"], goal["measured"]) == (False, False)
    assert set(goal["ratio"].values()) == {None}


def test_being_ahead_of_bullmq_means_ahead_of_the_better_of_its_two_ways() -> None:
    exact: dict[str, float] = {"missed_10000": 0, "double_10000": 0}
    results = answered(
        burst={
            "ours": {"p99_ms_1000": 50, "p99_ms_10000": 400, **exact},
            "ours, 3 replicas": exact,
            "bullmq": {"p99_ms_1000": 200, "p99_ms_10000": 600},
            "bullmq schedulers": {"p99_ms_1000": 100, "p99_ms_10000": 900},
        }
    )

    goal = judge(results)["P4"]

    assert goal["ratio"] == {"× sooner than BullMQ, 1,000": 2.0, "× sooner than BullMQ, 10,000": 1.5}
    assert goal["met"]


def test_two_pairs_are_compared_with_one_of_the_same_run() -> None:
    results = drained()
    results["drain"]["contenders"]["ours"] |= answered(
        drain={"ours": {"engine_us_1": 30, "engine_us_2": 36}},
    )["drain"]["contenders"]["ours"]

    goal = judge(results)["P8"]

    assert goal["ratio"] == {"× the drain of one pair": 1.5, "× its engine CPU for a task": 1.2}
    assert not goal["met"]


def test_a_limit_says_itself_and_holds_at_its_edge() -> None:
    assert (str(Limit(most=0.5)), str(Limit(least=20_000)), str(Limit(most=0, least=0))) == ("≤ 0.5", "≥ 20,000", "0")
    assert Limit(most=2).holds(2)
    assert not Limit(most=2).holds(2.01)
    assert not Limit(least=2).holds(1.99)


def test_a_figure_knows_its_bound() -> None:
    assert bound("latency", "ours", "p50_ms") == Limit(most=1.5)
    assert bound("latency", "huey", "p50_ms") is None
