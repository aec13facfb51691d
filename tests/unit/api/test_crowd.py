"""How long each connection is put up with."""

import os
from ipaddress import ip_network
from typing import Any

import pytest

from gojob_redis.api import crowd as crowds
from gojob_redis.api.crowd import CLOSING_LOOKS, LATE_S, Crowd, Guest
from gojob_redis.domain import limits

HEAD_S = limits.HEAD_MS / 1000


class Transport:
    """A connection that only knows whether it was ended."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = self.aborted = False

    def get_extra_info(self, _name: str) -> tuple[str, int]:
        return self.address, 1

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Door:
    """A crowd whose clock the test moves."""

    def __init__(self, **options: Any) -> None:
        self.time = 100.0
        self.crowd = Crowd(clock=lambda: self.time, **options)
        self.all: list[Guest] = []

    def come(self, address: str = "203.0.113.7", times: int = 1) -> Guest:
        for _ in range(times):
            transport: Any = Transport(address)
            self.all.append(self.crowd.join(transport))
        return self.all[-1]

    def look(self, after_s: float = 0.0) -> None:
        """The next look, when so much time has passed in which there were looks, too."""
        while after_s > 1.0:
            self.time += 1.0
            after_s -= 1.0
            self.crowd.look()
        self.time += after_s
        self.crowd.look()

    @property
    def ended(self) -> list[int]:
        """Which of them were closed or cut off, by the order in which they came."""
        return [at for at, guest in enumerate(self.all) if guest.transport.is_closing()]


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    class Log:
        def warning(self, event: str, **_: Any) -> None:
            lines.append(event)

        error = warning

    monkeypatch.setattr(crowds, "log", Log())
    return lines


def test_a_connection_that_sends_no_request_is_closed() -> None:
    door = Door()
    door.come()

    door.look(HEAD_S - 0.1)
    assert door.ended == []
    door.look(0.2)
    assert door.ended == [0]


def test_a_closed_connection_that_is_not_read_empty_is_cut_off() -> None:
    door = Door()
    transport: Any = door.come().transport
    transport.close()

    for _ in range(CLOSING_LOOKS):
        door.look(1.0)
        assert not transport.aborted
    door.look(1.0)
    assert transport.aborted


def test_a_peer_that_takes_nothing_is_cut_off_and_one_that_reads_again_is_not() -> None:
    door = Door()
    stuck, slow = door.come(), door.come()
    for guest in (stuck, slow):
        guest.show_token()
        guest.due = float("inf")
        guest.takes_nothing()
    slow.takes_again()

    door.look(limits.WRITE_MS / 1000 + 0.1)

    assert door.ended == [0]


def test_of_too_many_strangers_the_oldest_go_but_none_that_just_came() -> None:
    door = Door(strangers_most=3, per_address=99)
    for number in range(4):
        door.come(f"203.0.113.{number}")
    door.look(1.0)
    assert door.ended == []

    door.come("203.0.113.9", times=9)
    door.look(1.0)

    assert door.ended == [0]


def test_one_address_with_many_strangers_costs_only_its_own() -> None:
    door = Door(per_address=2)
    door.come("203.0.113.1")
    door.come("198.51.100.1", times=4)
    door.come("203.0.113.2")

    door.look(2.0)

    assert door.ended == [1, 2]


def test_whoever_waits_for_us_is_not_one_too_many_unless_he_takes_no_answer() -> None:
    door = Door(strangers_most=1)
    for guest in (door.come(), door.come(), door.come()):
        guest.asking, guest.due = True, float("inf")
    door.all[0].takes_nothing()
    door.all[2].takes_nothing()

    door.look(2.0)

    assert door.ended == [0]


def test_nobody_loses_time_in_which_we_stood_still() -> None:
    door = Door()
    door.come()
    door.time += HEAD_S + LATE_S
    door.crowd.look()
    assert door.ended == []

    door.look(HEAD_S)
    assert door.ended == [0]


def test_who_has_shown_a_token_is_no_stranger() -> None:
    door = Door(strangers_most=1, per_address=1)
    door.come().show_token()
    door.come(times=2)

    door.look(2.0)

    assert door.ended == [1]
    assert len(door.crowd.strangers) == 1


def test_strangers_never_hold_more_than_half_of_the_descriptors(
    monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    monkeypatch.setattr(crowds, "descriptors", lambda: 10)
    door = Door()
    door.come().show_token()

    door.come(times=7)

    assert door.ended == [1, 2]
    assert log_lines == ["strangers.closed"]


def test_a_gone_connection_leaves_nothing_behind() -> None:
    door = Door()
    for guest in (door.come(), door.come()):
        door.crowd.leave(guest)

    assert (door.crowd.guests, door.crowd.strangers) == ({}, {})


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        ("198.51.100.9", "198.51.100.9"),
        ("198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("192.0.2.66, 198.51.100.9,10.0.0.2", "198.51.100.9"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("nonsense", "10.0.0.1"),
        ("198.51.100.9, nonsense, 10.0.0.2", "10.0.0.2"),
        ("", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_no_proxy_of_ours_has(chain: str, address: str) -> None:
    door = Door(proxies=[ip_network("10.0.0.0/8")])
    guest = door.come("10.0.0.1")

    door.crowd.forwarded(guest, chain)

    assert guest.address == address


def test_a_trusted_proxy_is_no_address_with_many_strangers() -> None:
    door = Door(per_address=1, proxies=[ip_network("10.0.0.0/8")])
    door.come("::ffff:10.0.0.1", times=3)
    for guest in door.all:
        assert guest.trusted

    door.look(2.0)

    assert door.ended == []


def test_when_no_descriptor_is_left_it_is_said_once(monkeypatch: pytest.MonkeyPatch, log_lines: list[str]) -> None:
    door = Door()
    real = os.open

    def none_left(*_: Any) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", none_left)
    door.look()
    door.look()
    monkeypatch.setattr(os, "open", real)
    door.look()
    door.look()

    assert log_lines == ["descriptors.used_up", "descriptors.free_again"]
