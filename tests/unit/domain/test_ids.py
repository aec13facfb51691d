"""How identities are made, and what is read back from them."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gojob_redis.domain import ids
from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.ids import TaskId, TriggerUid
from gojob_redis.domain.limits import LATEST_MS

partitions = st.integers(0, ids.MAX_PARTITIONS - 1)
moments = st.integers(0, LATEST_MS)
NOW = 1_800_000_000_000
since_2020 = st.integers(1_577_836_800_000, LATEST_MS)
uids = st.text(alphabet=ids.DIGITS, min_size=7, max_size=7).map(TriggerUid)

FIRED = ids.fired_id(3, TriggerUid("abc1234"), 1_767_225_600_000)
SUBMITTED = ids.TaskId("03s2f0579c0fnuj7e5cz")


def submitted_at(task: TaskId) -> int:
    """When a submission's id was made: what comes after the partition and the kind is the ms since 2020."""
    return 1_577_836_800_000 + int(task[3:11], 36)


@given(st.integers(0, 36**12), st.integers(1, 14))
def test_base_36_reads_back_what_it_wrote(number: int, width: int) -> None:
    text = ids.base36(number, width)

    assert int(text, 36) == number
    assert len(text) >= width
    assert re.fullmatch(r"[0-9a-z]+", text)
    assert len(text) == width or not text.startswith("0")


def test_base_36_of_a_negative_number_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="negative"):
        ids.base36(-1)


@given(partitions, uids, moments)
def test_a_fired_task_tells_its_partition_trigger_and_slot(partition: int, uid: TriggerUid, slot_ms: int) -> None:
    task = ids.fired_id(partition, uid, slot_ms)

    assert (ids.partition_of(task), ids.uid_of(task), ids.slot_of(task)) == (partition, uid, slot_ms)
    assert ids.is_fired(task)
    assert len(task) <= 20


def test_a_slot_fired_twice_makes_the_same_task() -> None:
    assert ids.fired_id(3, TriggerUid("abc1234"), 1_767_225_600_000) == FIRED == "03fabc1234mjuohs00"


@given(partitions, since_2020)
def test_a_submitted_task_tells_its_partition_and_moment(partition: int, now_ms: int) -> None:
    task = ids.submitted_id(partition, now_ms)

    assert (ids.partition_of(task), submitted_at(task)) == (partition, now_ms)
    assert not ids.is_fired(task)
    assert len(task) == 20


@given(st.lists(moments, min_size=2, max_size=20))
def test_submissions_sort_in_the_order_they_were_made(times: list[int]) -> None:
    made = [ids.submitted_id(0, now_ms) for now_ms in sorted(times)]

    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_threads_never_make_the_same_submission_and_each_makes_them_in_order() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [ids.submitted_id(0, NOW) for _ in range(1_000)], range(8)))

    assert len({task for each in made for task in each}) == 8_000
    assert all(each == sorted(each) for each in made)


def test_a_large_request_has_room_in_one_ms() -> None:
    made = [ids.submitted_id(0, NOW) for _ in range(20_000)]

    assert made == sorted(set(made))
    assert {submitted_at(task) for task in made} == {NOW}


def test_a_ms_that_is_full_takes_some_of_the_next_and_all_stay_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "STEP_BITS", 47)  # so that a ms holds about one

    made = [ids.submitted_id(0, NOW + ms) for ms in (0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 99)]

    assert made == sorted(set(made))
    assert submitted_at(made[6]) > NOW
    assert submitted_at(made[-1]) - NOW in (99, 100)


def test_after_a_clock_stepped_back_ids_tell_its_time_again() -> None:
    before = ids.submitted_id(0, NOW)

    back = [ids.submitted_id(0, NOW - 60_000) for _ in range(2)]

    assert [submitted_at(task) for task in back] == [NOW - 60_000] * 2
    assert back == sorted(back)
    assert ids.submitted_id(0, NOW) != before


def test_a_clock_that_was_never_set_makes_ids_all_the_same() -> None:
    assert submitted_at(ids.submitted_id(0, 5)) == 1_577_836_800_000


def test_the_ids_between_two_of_ones_own_cannot_be_told() -> None:
    """Neither where a ms begins nor how far one goes to the next says anything about another."""
    made = [[int(ids.submitted_id(0, NOW + ms)[-9:], 36) for _ in range(3)] for ms in range(200)]

    steps = {second - first for numbers in made for first, second in pairwise(numbers)}
    begins = sorted(numbers[0] for numbers in made)
    assert len(steps) > 390
    assert max(steps) > 36**9 / 2**18
    assert begins[20] < 36**9 * 0.15
    assert begins[-20] > 36**9 * 0.35


def test_what_is_random_comes_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def urandom(size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    monkeypatch.setattr(os, "urandom", urandom)
    while not asked:
        ids.nonce()

    assert [ids.nonce() for _ in range(255)] == ["000000"] * 255
    assert len(asked) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_makes_ids_of_its_own() -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, f"{ids.submitted_id(0, NOW)} {ids.nonce()}".encode())
        os._exit(0)
    mine = f"{ids.submitted_id(0, NOW)} {ids.nonce()}"
    os.waitpid(child, 0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        theirs = pipe.read()

    assert mine.split()[0] != theirs.split()[0]
    assert mine.split()[1] != theirs.split()[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        FIRED[:-9],
        FIRED.upper(),
        f"{FIRED}0000",
        f"{FIRED}\n",
        f" {FIRED}",
        SUBMITTED[:-1],
        "+1" + FIRED[2:],
        "0-x",
        "٣" * 18,
        5,
        None,
    ],
)
def test_what_is_no_task_id_is_refused(text: object) -> None:
    with pytest.raises(BadRequest) as caught:
        ids.parse_task_id(text)

    assert (caught.value.code, caught.value.field) == ("bad_id", "task")


@pytest.mark.parametrize("text", ["", "+1", "zz", "_1fabc1234mjt5ls00", "😀"])
def test_no_partition_is_read_out_of_nonsense(text: str) -> None:
    with pytest.raises(BadRequest):
        ids.partition_of(text)


def test_only_the_right_kind_of_task_answers() -> None:
    with pytest.raises(BadRequest, match="not the id of a fired task"):
        ids.slot_of(SUBMITTED)
    with pytest.raises(BadRequest, match="not the id of a fired task"):
        ids.uid_of(SUBMITTED)


@pytest.mark.parametrize("task", [FIRED, SUBMITTED])
def test_a_run_tells_its_task_and_its_shard(task: TaskId) -> None:
    assert ids.split_run(task) == (task, None)
    assert ids.split_run(f"{task}.0") == (task, 0)
    assert ids.split_run(f"{task}.9999") == (task, 9_999)


@pytest.mark.parametrize("tail", [".", ".x", ".-1", ".01", ".1.2", ".1e3", ". 1"])
def test_what_is_no_run_is_refused(tail: str) -> None:
    with pytest.raises(BadRequest, match="is not a run"):
        ids.split_run(FIRED + tail)


@pytest.mark.parametrize(("make", "chars"), [(ids.new_trigger_uid, 7), (ids.new_session_id, 12), (ids.nonce, 6)])
def test_random_identities_have_their_length_and_differ(make: object, chars: int) -> None:
    assert callable(make)
    made = {make() for _ in range(200)}

    assert len(made) == 200
    assert all(re.fullmatch(rf"[0-9a-z]{{{chars}}}", one) for one in made)


def test_the_uid_of_a_trigger_is_checked() -> None:
    uid = ids.new_trigger_uid()

    assert ids.parse_trigger_uid(uid) == uid
    with pytest.raises(BadRequest):
        ids.parse_trigger_uid(f"{uid}x")
