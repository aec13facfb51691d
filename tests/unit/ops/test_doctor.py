"""doctor: which releases are known to be bad, and how findings are told."""

import pytest

from gojob_redis.ops import doctor
from gojob_redis.ops.doctor import KNOWN_BAD, Finding, Health, Node


@pytest.mark.parametrize(
    ("info", "engine", "version"),
    [
        ({"redis_version": "7.0.15"}, "redis", (7, 0, 15)),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}, "valkey", (9, 1, 2)),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.0.0-rc3"}, "valkey", (9, 0, 3)),
        ({"redis_version": "8.0"}, "redis", (8, 0)),
    ],
)
def test_the_version_is_the_engines_own_not_its_dialect(
    info: dict[str, str], engine: str, version: tuple[int, ...]
) -> None:
    found, number = doctor.version_of(info)

    assert (found, number[: len(version)]) == (engine, version) or "rc" in info["valkey_version"]


@pytest.mark.parametrize(
    ("engine", "version", "clustered", "word"),
    [
        ("redis", (7, 0, 4), True, "expires while its slot"),
        ("redis", (7, 2, 4), False, "numbers that scripts pass"),
        ("valkey", (9, 0, 0), True, "slot begins to arrive"),
        ("valkey", (8, 1, 3), False, "CVE-2025-49844"),
        ("valkey", (9, 1, 1), False, "debugger"),
    ],
)
def test_a_bad_release_is_known_with_its_reason(
    engine: str, version: tuple[int, ...], clustered: bool, word: str
) -> None:
    assert any(word in known.why for known in doctor.faults_of(engine, version, clustered=clustered))


def test_what_only_a_cluster_does_wrong_is_not_held_against_one_engine() -> None:
    assert [known.why for known in doctor.faults_of("valkey", (9, 0, 4), clustered=False)] == [
        "a damaged stream in a snapshot can take the engine over"
    ]


@pytest.mark.parametrize(
    ("engine", "version"), [("redis", (7, 2, 12)), ("redis", (8, 4, 0)), ("valkey", (8, 1, 6)), ("valkey", (9, 1, 2))]
)
def test_nothing_is_known_against_a_mended_release(engine: str, version: tuple[int, ...]) -> None:
    assert doctor.faults_of(engine, version, clustered=True) == []


def test_every_known_fault_has_an_end_and_a_reason() -> None:
    assert all(known.since < known.mended and known.why for known in KNOWN_BAD)


def looked(what: str, node: Node) -> list[Finding]:
    """What the doctor finds of this kind at a node."""
    return [finding for finding in doctor.of_nodes([node]) if finding.what == what]


@pytest.mark.parametrize(("ahead_ms", "health"), [(0, Health.GOOD), (-1_500, Health.DOUBTFUL), (3_600_000, Health.BAD)])
def test_a_clock_is_judged_by_how_far_it_is_from_ours(ahead_ms: float, health: Health) -> None:
    [finding] = looked("clock", Node("n", True, ahead_ms=ahead_ms))

    assert finding.health is health


def test_an_engine_older_than_we_support_is_bad() -> None:
    [finding] = looked("version", Node("n", True, info={"redis_version": "6.2.14"}))

    assert (finding.health, finding.seen) == (Health.BAD, "Redis 6.2.14 is too old.")


def test_a_file_that_cannot_be_written_is_bad() -> None:
    [finding] = looked("file", Node("n", True, info={"aof_enabled": 1, "aof_last_write_status": "err"}))

    assert finding.health is Health.BAD


def test_what_nodes_have_in_common_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    same = [Finding(Health.GOOD, "clock", name, "It is [right].") for name in ("a", "b")]

    doctor.tell([*same, Finding(Health.BAD, "slots", "", "Gone.", "Bring it back.")])

    told = capsys.readouterr().out
    assert told.count("It is [right].") == 1
    assert "2 nodes" in told
    assert "Bring it back." in told
    assert "1 bad, 0 doubtful, 2 good" in told
