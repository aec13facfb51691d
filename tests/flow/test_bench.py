"""The questions of the benchmark still fit what they ask: a few of them, with next to nothing to do."""

from bench import burst, cost, drain, edit


def test_a_drain_runs_every_task_once_and_knows_what_it_cost() -> None:
    figures = drain.drain(300, 1)

    assert figures["ran_too_often_1"] == 0
    assert all(
        isinstance(each, float | int) and each > 0
        for each in (figures[name] for name in ("tasks_per_s_1", "engine_us_1", "commands_1", "bytes_queued_1"))
    )


def test_a_burst_of_triggers_fires_each_of_them_once() -> None:
    figures = burst.measure((5, 20), replicas=1)

    assert [figures[f"{name}_{count}"] for name in ("missed", "double") for count in burst.FULL] == [0, 0, 0, 0]


def test_an_edited_trigger_and_a_lone_task_are_measured() -> None:
    edited, alone = edit.measure(1), cost.measure(5)

    assert isinstance(edited["max_ms"], float)
    assert edited["max_ms"] < 1_000
    assert set(alone) >= {"engine_us", "gateway_us", "worker_us", "trigger_us", "scripts_us", "commands"}
