"""What replies of the engine mean in Python: fields, scores, opaque payloads, the two clocks."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
from pydantic_core import PydanticSerializationError, from_json, to_json

from gojob_redis.domain import policies, states, verbs
from gojob_redis.engine.client import ANSWER_S, repeat
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partition, Partitions

Fields = dict[str, bytes]

TERMINAL: frozenset[str] = frozenset(states.TERMINAL)
STATES: tuple[str, ...] = tuple(states.State)


@dataclass(frozen=True, slots=True)
class Clock:
    """Both clocks of a partition at one moment, ms."""

    wall: int
    steady: int

    def wall_of(self, steady: int) -> int:
        """The wall time at which a steady time is reached, if the engine does not pause before."""
        return self.wall + steady - self.steady


async def clock_of(partition: Partition) -> Clock:
    """Ask a partition what time it is."""
    now = await partition.call(verbs.now(), within_s=ANSWER_S)
    return Clock(now.wall, now.steady)


async def home(space: Partitions, app: str) -> Partition | None:
    """The partition of an app that was seen before; unlike ``Partitions.of_app`` this records nothing."""
    client: Any = space.clients.commands
    number = await repeat(lambda: client.hget(K.apps(CONTROL), app), ANSWER_S)
    return None if number is None else space[int(number)]


async def homes_of(space: Partitions, subjects: Sequence[str]) -> dict[int, list[str]]:
    """The apps and handlers of each partition; those of an app that nobody knows are in none."""
    apps = list(dict.fromkeys("/".join(subject.split("/")[:2]) for subject in subjects))
    if not apps:
        return {}
    [places] = await space.read_all([("HMGET", K.apps(CONTROL), *apps)])
    place_of = {app: int(place) for app, place in zip(apps, places, strict=True) if place is not None}
    homes: dict[int, list[str]] = {}
    for subject in subjects:
        place = place_of.get("/".join(subject.split("/")[:2]))
        if place is not None:
            homes.setdefault(place, []).append(subject)
    return homes


def fields_of(answer: Any) -> Fields:
    """The fields of a hash."""
    return {name.decode(): value for name, value in answer.items()}


def text(value: bytes | None) -> str:
    return value.decode("utf-8", "replace") if value else ""


def number(value: bytes | None) -> int:
    """A number; 0 if there is none, or if the field was overwritten by hand."""
    return int(value) if value and value.isdigit() else 0


def some(value: bytes | None) -> int | None:
    """A number; None if there is none."""
    return int(value) if value and value.isdigit() else None


def rounded(score: bytes | float | None) -> int | None:
    """A score as a whole number; None if there is none, or if it is no possible time."""
    try:
        return None if score is None else int(float(score))
    except (ValueError, OverflowError):
        return None


def policies_of(fields: Fields) -> dict[str, policies.Value]:
    """The policies that the record of a task says, by name, the defaults filled in."""
    return policies.of_fields({field: text(fields[field]) for field in policies.BY_FIELD if field in fields})


def scored(answer: Any) -> list[tuple[str, int]]:
    """Members and scores of ``WITHSCORES``, in either shape the client returns them."""
    if answer and not isinstance(answer[0], (list, tuple)):
        answer = list(zip(answer[::2], answer[1::2], strict=True))
    return [(member.decode(), int(float(score))) for member, score in answer or ()]


def entries(answer: Any) -> list[tuple[str, Fields]]:
    """Ids and fields of stream entries."""
    parsed = []
    for entry, fields in answer or ():
        pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
        parsed.append((entry.decode(), {name.decode(): value for name, value in pairs}))
    return parsed


def opaque(data: bytes | None) -> Any:
    """A payload as JSON can show it; one that is no MessagePack, or that JSON has no form for, as base64.

    It is unpacked, whatever that takes: what users may make large is shown through ``Values``.
    """
    if not data:
        return None
    try:
        value = msgpack.unpackb(data, strict_map_key=False, timestamp=3)
        # There and back is a tenth of what to_jsonable_python takes, which besides leaves a NaN as it is.
        return from_json(to_json(value, bytes_mode="base64", inf_nan_mode="strings", fallback=repr))
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException, PydanticSerializationError):
        return as_base64(data)


def as_base64(data: bytes) -> dict[str, str]:
    """Bytes as base64, for values that have no other form."""
    return {"$base64": base64.b64encode(data).decode()}


def pairs(labels: str) -> dict[str, str]:
    """Labels as they are stored, as a mapping; what the engine holds is not checked again."""
    return dict(pair.partition("=")[::2] for pair in labels.split(",") if pair)


def joined(words: Iterable[str]) -> str:
    return ", ".join(words)
