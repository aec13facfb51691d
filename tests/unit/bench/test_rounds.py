"""Who is asked when, and what becomes of one that fails."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench import answers
from bench.__main__ import ask
from bench.figures import Figures
from bench.peers import install
from bench.peers.table import PEERS, Peer
from bench.question import Failed, of_peers


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=200)


def test_contenders_take_turns_and_every_round_begins_with_another(console: Console) -> None:
    asked: list[str] = []

    def contender(name: str) -> Callable[[], Figures]:
        def measure() -> Figures:
            asked.append(name)
            return {"n": len(asked)}

        return measure

    found, failed, paces = ask(
        console, "drain", "how fast?", {name: contender(name) for name in "abc"}, 3, [50.0, 60.0, 70.0].pop
    )

    assert "".join(asked) == "abcbcacab"
    assert found == {"a": [{"n": 1}, {"n": 6}, {"n": 8}], "b": [{"n": 2}, {"n": 4}, {"n": 9}], "c": found["c"]}
    assert failed == {}
    assert paces == [70.0, 60.0, 50.0]


def test_one_that_fails_is_told_with_its_reason_and_not_asked_again(console: Console) -> None:
    asked: list[str] = []

    def flaky() -> Figures:
        asked.append("flaky")
        if len(asked) == 2:
            raise Failed("worker died: no such luck")
        return {"n": 1}

    found, failed, _paces = ask(
        console, "drain", "how fast?", {"flaky": flaky, "ours": lambda: {"n": 2}}, 3, lambda: 50.0
    )

    assert len(asked) == 2
    assert failed == {"flaky": "worker died: no such luck"}
    assert (found["flaky"], len(found["ours"])) == ([], 3)
    assert "no such luck" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_command_that_fails_to_install_gives_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "PLACE", tmp_path)
    peer = Peer("nobody", "none", "nobody", ("./does-not-exist-anywhere",), (), ())

    with pytest.raises(Failed, match="does-not-exist-anywhere"):
        install.installed(peer)
    assert not (tmp_path / "nobody" / ".installed").exists()


def test_each_peer_is_measured_itself() -> None:
    measures = of_peers(PEERS.values(), lambda peer: {peer.name: 1})

    assert {name: list(measure()) for name, measure in measures.items()} == {name: [name] for name in PEERS}


def test_an_answer_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "held.json"
    first = answers.result("how fast?", {"ours": [{"tasks_per_s_1": 9.0}]}, {"arq": "gone"}, 0.1, [50.0])
    answers.keep("drain", first, ("drain", "latency"), path)
    second = answers.result("how late?", {"ours": [{"p50_ms": 1.0}]}, {}, 0.2, [50.0, 90.0, 60.0])
    answers.keep("latency", second, ("drain", "latency"), path)

    held = json.loads(path.read_text("utf-8"))

    assert list(held["results"]) == ["drain", "latency"]
    assert held["results"]["drain"] == first
    assert held["results"]["latency"]["calibration_ms"] == {"median": 60.0, "lowest": 50.0, "highest": 90.0}
    assert held["P1"]["ours"]["tasks/s"] == 9.0
    assert set(held["peers"]) == set(PEERS)
    assert all(f"P{number}" in held for number in range(1, 10))
