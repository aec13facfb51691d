"""Schedules in bodies and answers: one of four kinds, told apart by ``kind``."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator
from typing_extensions import TypedDict

from gojob_redis.schedules.schedule import KINDS

Moment = Annotated[int | str, Field(description="ms since 1970, or RFC 3339 text with an offset")]


class CronAnswer(TypedDict):
    """Fires at the wall-clock times that a cron spec names."""

    kind: Literal["cron"]
    spec: str
    time_zone: str
    start_at: NotRequired[int]
    end_at: NotRequired[int]


class EveryAnswer(TypedDict):
    """Fires at a fixed rate, on a grid that begins at ``anchor_at``."""

    kind: Literal["every"]
    every_ms: int
    anchor_at: int
    start_at: NotRequired[int]
    end_at: NotRequired[int]


class OnceAnswer(TypedDict):
    """Fires at one moment."""

    kind: Literal["once"]
    at: int


class ManualAnswer(TypedDict):
    """Never fires by itself."""

    kind: Literal["manual"]


class UnknownAnswer(TypedDict):
    """What this release cannot read."""

    kind: Literal["unknown"]


ScheduleAnswer = Annotated[
    CronAnswer | EveryAnswer | OnceAnswer | ManualAnswer | UnknownAnswer, Field(discriminator="kind")
]


class CronBody(TypedDict):
    """Fires at the wall-clock times that a cron spec names."""

    kind: Literal["cron"]
    spec: Annotated[str, Field(description="5 fields, 6 with seconds first, or an alias such as @hourly")]
    time_zone: Annotated[str, Field(description="an IANA name")]
    start_at: NotRequired[Annotated[Moment | None, Field(description="it fires at this moment at the earliest")]]
    end_at: NotRequired[Annotated[Moment | None, Field(description="it fires at this moment at the latest")]]


class EveryBody(TypedDict):
    """Fires at a fixed rate."""

    kind: Literal["every"]
    every_ms: int
    anchor_at: NotRequired[Annotated[Moment | None, Field(description="where its grid begins; `start_at`, or now")]]
    start_at: NotRequired[Annotated[Moment | None, Field(description="it fires at this moment at the earliest")]]
    end_at: NotRequired[Annotated[Moment | None, Field(description="it fires at this moment at the latest")]]


class OnceBody(TypedDict):
    """Fires at one moment."""

    kind: Literal["once"]
    at: Moment


class ManualBody(TypedDict):
    """Never fires by itself."""

    kind: Literal["manual"]


def _as_it_came(value: Any, _handler: ValidatorFunctionWrapHandler) -> Any:
    return value


ScheduleBody = Annotated[
    Annotated[CronBody | EveryBody | OnceBody | ManualBody, Field(discriminator="kind")],
    WrapValidator(_as_it_came),
    PlainSerializer(lambda value: value, return_type=Any),
]
"""As the document describes it; ``schedule.parse`` reads it, whose refusals say more."""


def shown(mapping: Mapping[str, Any]) -> Any:
    """A stored schedule as an answer shows it."""
    return dict(mapping) if mapping.get("kind") in KINDS else {"kind": "unknown"}
