"""Bounds of a gateway: how long, how much and how many."""

from dataclasses import dataclass

from gojob_redis import relay
from gojob_redis.domain import limits


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long, how much and how many."""

    hello_s: float = limits.HELLO_MS / 1000
    heartbeat_ms: int = limits.HEARTBEAT_MS
    lease_ms: int = limits.LEASE_MS
    write_s: float = 10.0
    queue_bytes: int = 4 * limits.MIB
    sessions: int = 20_000
    block_ms: int = relay.BLOCK_MS
    """How long a read of the inboxes waits for something, and so how long the relay takes to stop."""
    stamp_s: float = limits.GATEWAY_STAMP_MS / 1000
    renew_s: float = limits.RENEW_EVERY_MS / 1000
    unreachable_s: float = limits.GATEWAY_UNREACHABLE_MS / 1000
    recheck_s: float = 0.4 * limits.TOKEN_REVOKED_MS / 1000
    """The identities may remember an answer for half of what is promised."""
