"""gojob_redis/cli/tasks.py: what is shown of tasks."""

from typing import Any

import pytest

from gojob_redis.cli import tasks

TASK: dict[str, Any] = {"id": "t1", "app": "shop", "handler": "send", "state": "running", "parent": "t0", "why": None}
NO_LINKS: dict[str, Any] = {"parent": None, "children": [], "siblings": [], "before": None, "after": None} | {
    "has_more_children": False,
    "has_more_siblings": False,
}


def answering(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    monkeypatch.setattr(tasks, "call", lambda *_, **__: answer)


def test_the_tasks_that_one_belongs_to_are_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    links = NO_LINKS | {"parent": TASK | {"id": "t0"}, "children": [TASK | {"id": "t2"}, TASK | {"id": "t3"}]}
    links |= {"before": TASK | {"id": "t4"}}
    answering(monkeypatch, TASK | {"links": links})

    tasks.show_task("t1", links=True)

    told = capsys.readouterr()
    lines = [line.split()[:3] for line in told.out.splitlines()]
    begin = lines.index([]) + 1
    assert lines[begin:] == [
        ["link", "id", "app"],
        ["parent", "t0", "shop"],
        ["child", "t2", "shop"],
        ["child", "t3", "shop"],
        ["before", "t4", "shop"],
    ]
    assert (told.err, "links" in told.out) == ("", False)


def test_of_more_children_and_siblings_it_is_said_what_lists_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, TASK | {"links": NO_LINKS | {"has_more_children": True}})
    tasks.show_task("t1", links=True)
    assert "more children: 'gojob tasks list --parent t1'" in capsys.readouterr().err

    answering(monkeypatch, TASK | {"links": NO_LINKS | {"has_more_siblings": True}})
    tasks.show_task("t1", links=True)
    assert "more siblings: 'gojob tasks list --parent t0'" in capsys.readouterr().err


def test_the_slowest_are_shown_with_how_long_they_took(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looked = {"tasks": 1, "back_to_ms": None}
    over = TASK | {"state": "run_to_completion", "started_ms": 1_795_904_593_000, "ended_ms": 1_795_904_594_500}
    answering(monkeypatch, {"items": [over, over | {"started_ms": None}], "next": None, "looked": looked})

    tasks.list_tasks(sort="slowest")

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["took", "1.5s", "0"]


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        ({"percent": 50.0, "message": "packed"}, "running: on w-1, 50 % packed"),
        ({"percent": 12.5, "message": ""}, "running: on w-1, 12.5 %"),
        (None, "running: on w-1"),
    ],
)
def test_who_waits_hears_the_progress(
    progress: dict[str, Any] | None, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([TASK | {"worker": "w-1", "progress": progress}, TASK | {"state": "run_to_completion"}])
    monkeypatch.setattr(tasks, "call", lambda *_, **__: next(answers))

    tasks.wait_for_task("t1")

    assert capsys.readouterr().err.splitlines() == [told]


def test_what_ends_the_waiting_is_told_as_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    why = {"says": "No worker.", "groups": [], "call": "POST /v1/apps/default/shop/handlers/send/resume"}
    answering(monkeypatch, TASK | {"why": why})

    tasks.show_task("t1")

    assert "gojob queues resume send --app default/shop" in capsys.readouterr().out
