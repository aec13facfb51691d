"""Why the head of a lane waits, as it is said of worker groups: gojob_redis/view/why.py."""

import pytest

from gojob_redis.view.survey import Asked, Group, Served
from gojob_redis.view.why import Act, WhyCode, nearest, why_lane

SEND = "default/shop/send"


def group(
    labels: str = "", *, sessions: int = 1, read: int | None = None, offers: dict[str, int] | None = None, **counts: int
) -> Group:
    """A group whose sessions are free unless something else is counted."""
    read = sessions if read is None else read
    states = {name: counts.get(name, 0) for name in ("busy", "drained", "backoff", "silent", "leaving", "alone")}
    free = read - sum(states.values())
    own = {"seats": 2 * read, "taken": 0, "free_seats": 2 * free, "with_free_seat": free, **counts}
    return Group(
        id=labels or "plain", labels=labels, sessions=sessions, read=read, free=free, offers=offers or {},
        seats=own["seats"], taken=own["taken"], free_seats=own["free_seats"], with_free_seat=own["with_free_seat"],
        **states,
    )  # fmt: skip


def test_what_is_paused_is_said_before_anything_else() -> None:
    reason = why_lane(Asked(SEND), Served(), paused_ms=1_800_000_000_000)

    assert (reason.code, reason.act) == (WhyCode.PAUSED, Act.RESUME_HANDLER)
    assert reason.says == "Handler send is paused since 2027-01-15T08:00:00Z; resume it to go on."
    assert reason.call == "POST /v1/apps/default/shop/handlers/send/resume"


def test_what_a_later_release_blocks_is_said_by_its_word() -> None:
    reason = why_lane(Asked(SEND), Served(fitting=[group()], free=1), blocked="rate")

    assert (reason.code, reason.says, reason.act, reason.call) == (
        WhyCode.BLOCKED, "Its queue is blocked: rate.", Act.NONE, "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("strangers", "says"),
    [
        ([], "No worker announces handler send. Start one of app default/shop, with env=gray."),
        (
            [group(sessions=2), group("env=gray", sessions=1)],
            "No worker announces handler send; 3 workers of the app serve others. "
            "Start one of app default/shop, with env=gray.",
        ),
        (
            [group()],
            "No worker announces handler send; 1 worker of the app serves others. "
            "Start one of app default/shop, with env=gray.",
        ),
    ],
)
def test_a_handler_that_no_worker_announces(strangers: list[Group], says: str) -> None:
    reason = why_lane(Asked(SEND, "env=gray"), Served(strangers=strangers))

    assert (reason.code, reason.says, reason.act) == (WhyCode.NO_WORKER, says, Act.START_WORKER)
    assert reason.call == "GET /v1/workers?namespace=default&app=shop"


def test_other_labels_are_named_the_nearest_first() -> None:
    others = [
        group("env=blue", sessions=9),
        group("env=gray,zone=b", sessions=3),
        group(sessions=1),
        group("a=1,b=2", sessions=7),
    ]

    reason = why_lane(Asked(SEND, "env=gray,zone=a"), Served(others=others))

    assert reason.code is WhyCode.NO_LABELS
    assert (
        reason.says
        == "No worker of send has env=gray,zone=a; 3 have env=gray,zone=b, 1 has no labels, 9 have env=blue."
    )
    assert reason.call == "GET /v1/workers?namespace=default&app=shop&handler=send"
    assert why_lane(Asked(SEND), Served(others=[group("env=blue")])).says == (
        "No worker of send is without labels; 1 has env=blue."
    )


def test_groups_with_the_same_labels_are_counted_together() -> None:
    assert nearest("", [group("env=b", sessions=2), group("env=a", sessions=1), group("env=b", sessions=3)]) == [
        ("env=b", 5),
        ("env=a", 1),
    ]


def test_attributes_of_the_same_kind_are_named_and_how_many_were_looked_at() -> None:
    asked = Asked(SEND, "", "host=db7")
    whole = group(sessions=3, offers={"host=db8": 2, "disk=ssd": 3})
    some = group(sessions=5_000, read=100, offers={"disk=ssd": 1})

    said = [why_lane(asked, Served(fitting=[each])) for each in (whole, some, group())]

    assert {reason.code for reason in said} == {WhyCode.NO_ATTRIBUTE}
    assert [reason.says for reason in said] == [
        "No worker of send offers host=db7; 2 offer host=db8. Start one that does.",
        "None of 100 of the 5000 workers of send offers host=db7; 1 offers disk=ssd. Start one that does.",
        "No worker of send offers host=db7. Start one that does.",
    ]


def test_an_attribute_that_a_session_with_a_free_seat_offers_was_only_not_seen() -> None:
    reason = why_lane(Asked(SEND, "", "host=db7"), Served(fitting=[group(sessions=5_000, read=100)], free=1))

    assert reason.code is WhyCode.NEXT


def test_sessions_that_take_nothing_are_counted_by_why() -> None:
    off = group(sessions=5, drained=1, backoff=2, silent=1, leaving=1, with_free_seat=0)
    backoff = group(sessions=1, backoff=1, with_free_seat=0)

    drained, rests = why_lane(Asked(SEND), Served(fitting=[off])), why_lane(Asked(SEND), Served(fitting=[backoff]))

    assert drained.says == (
        "5 workers of send connected, but taking no work now: 1 drained, "
        "2 handed work back or did not begin it in time, 1 connected to a gateway that is silent, 1 leaving."
    )
    assert (drained.code, drained.act, drained.call.endswith("&state=drained")) == (
        WhyCode.WORKERS_OFF, Act.RESUME_WORKERS, True,
    )  # fmt: skip
    assert (rests.code, rests.act) == (WhyCode.WORKERS_OFF, Act.NONE)


def test_busy_workers_of_a_large_group_are_estimated_from_those_that_were_read() -> None:
    busy = group(sessions=5_000, read=100, busy=80, drained=20, with_free_seat=0)

    reason = why_lane(Asked(SEND), Served(fitting=[busy]))

    assert (reason.code, reason.act) == (WhyCode.NO_SEAT, Act.ADD_WORKERS)
    assert reason.says == "No free seat: 4000 workers with 8000 seats are busy."
    assert reason.call == "GET /v1/apps/default/shop/queues/send"


def test_what_a_worker_with_a_free_seat_could_take_is_next() -> None:
    reason = why_lane(Asked(SEND), Served(fitting=[group()], free=1))

    assert (reason.code, reason.says, reason.act) == (WhyCode.NEXT, "It is about to be given to a worker.", Act.NONE)
