"""The installation: one epoch over a fixed number of partitions.

1. ``bootstrap_or_open`` makes it at the very first start and opens it at every other. Each step is safe to repeat, and
   ``bootstrapped`` is written last: a process that dies in the middle, or several that start at once, leave something
   the next one completes.
2. An installation is made once and never again by itself. A partition without its epoch, or partitions without their
   installation, mean that data was lost; starting on it would be a silent, empty scheduler."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from gojob_redis.control.records import engine_time_ms
from gojob_redis.domain import verbs
from gojob_redis.domain.errors import GojobError
from gojob_redis.engine.client import repeat, round_trip
from gojob_redis.engine.keys import CONTROL, FIRST_SCHEMA, SCHEMA, K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.engine.scripts import NoEpoch, OtherSchema

log = structlog.get_logger()
DEFAULT_NAMESPACE: Final = "default"


class WrongInstallation(GojobError):
    """The engine holds another installation than this process was set up for; nothing was written."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__("wrong_installation", message, hint=hint)


class NotBootstrapped(GojobError):
    """The engine is empty, and this process was told not to found anything; nothing was written."""

    def __init__(self) -> None:
        super().__init__(
            "not_bootstrapped",
            "The engine holds no installation, and this process may not bootstrap one (redis.bootstrap = never).",
            hint="If there was one, its data was lost: restore it, or look whether this is the right engine. "
            "If there was none, or the loss is accepted: run 'gojob bootstrap' once.",
        )


@dataclass(frozen=True, slots=True)
class Installation:
    """What every process has to agree on."""

    epoch: str
    partitions: int
    schema: int
    fresh: bool
    """True in the one process that completed the bootstrap."""


async def bootstrap_or_open(
    space: Partitions, *, expected: str = "", may_bootstrap: bool = True, intended: bool = False
) -> Installation:
    """Make the installation if there is none, else check that it is this one and whole.

    expected: the epoch that the caller saw here before, if it remembers one.
    may_bootstrap: False to refuse an engine that is empty.
    intended: somebody wants a new one, so a bootstrap is nothing to warn of.
    Raises WrongInstallation for another number of partitions, OtherSchema for data of a schema that is not ours,
    NoEpoch when a partition lost its data, NotBootstrapped.
    """
    control: Any = space.clients.admin
    # First the partitions, then the installation, which is written before them: so this order cannot mistake one that
    # is under way for a loss.
    epochs = await _epochs(space)
    record = await _installation(control)
    if not record:
        if any(epochs):
            raise NoEpoch(
                "The engine holds partitions but no installation: the control data was lost. "
                "Restore the engine's data; or, if the loss is accepted, empty the engine and start anew."
            )
        if expected:
            raise NoEpoch(
                f"The engine is empty, but it held the installation {expected}. Restore the engine's data; "
                "or, if the loss is accepted, remove installation.json from the data directory."
            )
        if not may_bootstrap:
            raise NotBootstrapped
    if "epoch" not in record:  # it is written last of the three
        _check_installation(record, space.count)
        record = await _claim(space)
    _check_installation(record, space.count)
    epoch = record["epoch"]
    fresh = False
    if "bootstrapped" in record:
        _check_epochs(space, epoch, await _epochs(space))
    else:
        await _bootstrap_partitions(space, epoch)
        now_ms = await engine_time_ms(control)
        namespace = json.dumps({"description": "", "made_ms": now_ms})
        await repeat(lambda: control.hsetnx(K.namespaces(CONTROL), DEFAULT_NAMESPACE, namespace))
        fresh = bool(await repeat(lambda: control.hsetnx(K.installation(CONTROL), "bootstrapped", str(now_ms))))
        facts = {"epoch": epoch, "partitions": space.count, "by_us": fresh}
        if intended:
            log.info("installation.bootstrapped", **facts)
            return Installation(epoch, space.count, int(record["schema"]), fresh)
        log.warning(
            "installation.bootstrapped",
            **facts,
            meaning="The engine was empty, so this is a new installation without any trigger, task or token. If there "
            "was one before, its data was lost: stop all roles, restore it, and set GOJOB_REDIS__BOOTSTRAP=never.",
        )
    return Installation(epoch, space.count, int(record["schema"]), fresh)


async def _installation(control: Any) -> dict[str, str]:
    record = await repeat(lambda: control.hgetall(K.installation(CONTROL)))
    return {name.decode(): value.decode() for name, value in record.items()}


async def _claim(space: Partitions) -> dict[str, str]:
    """Write what is not there yet; whoever comes first in each field decides it for all."""
    control: Any = space.clients.admin
    key = K.installation(CONTROL)
    fields = {"partitions": str(space.count), "schema": str(SCHEMA), "epoch": secrets.token_hex(8)}
    for name, value in fields.items():
        await repeat(partial(control.hsetnx, key, name, value))
    return await _installation(control)


def _check_installation(record: dict[str, str], partitions: int) -> None:
    stored = int(record.get("partitions", partitions))
    if stored != partitions:
        raise WrongInstallation(
            f"This installation has {stored} partitions, and this process was told {partitions}.",
            hint=f"Set redis.partitions (GOJOB_REDIS__PARTITIONS) to {stored}; the number is fixed by the first start.",
        )
    _check_schema("This installation", record.get("schema", FIRST_SCHEMA if "epoch" in record else SCHEMA))


def _check_schema(where: str, stored: str | bytes | int) -> None:
    if int(stored) != SCHEMA:
        raise OtherSchema(where, int(stored))


async def _epochs(space: Partitions) -> list[str]:
    """The epoch of every partition, "" for one that has none; raises OtherSchema."""
    asked = [("HMGET", K.meta(prefix), "epoch", "schema") for prefix in space.prefixes]

    async def attempt() -> list[list[bytes | None]]:
        answers = await round_trip(space.clients.admin, asked)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    answers = await repeat(attempt)
    for partition, (epoch, schema) in enumerate(answers):
        if epoch:
            _check_schema(f"Partition {partition}", schema or FIRST_SCHEMA)
    return [(epoch or b"").decode() for epoch, _schema in answers]


def _check_epochs(space: Partitions, epoch: str, epochs: Sequence[str]) -> None:
    for partition, actual in enumerate(epochs):
        if actual == epoch:
            continue
        state = f"has the epoch of another installation ({actual})" if actual else "has no epoch, so its data was lost"
        raise NoEpoch(
            f"Partition {partition} of {space.count} ({space.prefixes[partition]}) {state}. Restore the engine's data. "
            f"Only if the loss is accepted: HDEL {K.installation(CONTROL)} bootstrapped, then the next start makes "
            "it anew."
        )


async def _bootstrap_partitions(space: Partitions, epoch: str) -> None:
    for partition in space:
        stored = await partition.call(verbs.bootstrap(epoch=epoch, tell=int(partition.number == 0)))
        if stored.status == "kept" and stored.epoch != epoch:
            raise WrongInstallation(
                f"{partition.prefix} belongs to the installation {stored.epoch}, not to {epoch}.",
                hint="Two installations cannot share one engine; give each its own.",
            )
