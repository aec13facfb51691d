"""lease: renewals, their answers, and what follows when none comes."""

from math import inf

from gojob_sdk.lease import WELCOME_WITHIN_S, Lease


def welcomed() -> Lease:
    """A lease of 15 s with a heartbeat of 5 s, from second 0; the welcome came after one second."""
    lease = Lease()
    lease.hello(0.0)
    lease.welcome(5.0, 15.0, 1.0)
    return lease


def test_before_the_first_welcome_no_lease_ends_but_the_patience_does() -> None:
    lease = Lease()

    assert (lease.ends, lease.tick_at, lease.renew_at) == (inf, inf, inf)
    lease.hello(3.0)

    assert lease.tick_at == 3.0 + WELCOME_WITHIN_S
    assert not lease.lose(1e9)


def test_the_lease_counts_from_the_hello_and_the_heartbeat_from_the_welcome() -> None:
    lease = welcomed()

    assert (lease.ends, lease.renew_at) == (15.0, 6.0)


def test_renewals_are_due_one_heartbeat_apart_and_numbered() -> None:
    lease = welcomed()

    assert [lease.renew(now) for now in (5.9, 6.0, 6.1, 11.0)] == [None, 1, None, 2]


def test_the_lease_counts_from_the_sending_of_the_renewal_that_was_answered() -> None:
    lease = welcomed()
    lease.renew(6.0)

    lease.renewed(1)

    assert lease.ends == 21.0


def test_an_answer_that_is_old_unknown_or_of_another_connection_changes_nothing() -> None:
    lease = welcomed()
    lease.renew(6.0)
    lease.renew(11.0)
    lease.renewed(2)

    lease.renewed(1)
    lease.renewed(99)
    lease.renew(16.0)
    lease.hello(17.0)
    lease.renewed(3)

    assert lease.ends == 26.0


def test_a_lease_is_lost_once_and_can_be_regained_once() -> None:
    lease = welcomed()

    lost = [lease.lose(now) for now in (14.9, 15.0, 15.1)]
    too_late = lease.regain(15.2)
    lease.renew(16.0)
    lease.renewed(1)
    regained = [lease.regain(17.0) for _ in range(2)]

    assert (lost, too_late, regained) == ([False, True, False], False, [True, False])


def test_a_gateway_that_owes_an_answer_is_silent_before_the_lease_ends() -> None:
    lease = welcomed()

    assert lease.tick_at == 12.0
    assert [lease.silent(now) for now in (11.9, 12.0, 12.1)] == [False, True, False]
    assert lease.tick_at == lease.ends


def test_without_a_connection_nothing_is_renewed_and_nobody_is_silent_but_the_lease_still_ends() -> None:
    lease = welcomed()

    lease.offline()

    assert (lease.renew(14.0), lease.silent(14.0)) == (None, False)
    assert lease.tick_at == 15.0
    assert lease.lose(15.0)
    assert lease.tick_at == inf
