"""Failures of apps, those alike together."""

from collections.abc import Sequence
from dataclasses import dataclass

from gojob_redis.domain.tally import Failures, Version
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.engine.sums import failures_in
from gojob_redis.view.records import home, text


@dataclass(frozen=True, slots=True)
class VersionSeen:
    """A version of a handler."""

    digest: str
    version: str
    """As its author calls it; "" if it has no name, or was not known yet."""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Attempts that failed alike: of one handler, by the type and the message without numbers and ids."""

    namespace: str
    app: str
    handler: str
    fingerprint: str
    type: str
    message: str
    """Numbers and ids are ``#``."""
    count: int
    first_ms: int
    last_ms: int
    task: str
    """The last of them."""
    first_in: VersionSeen | None
    """The version of the handler that failed so first; null where its worker told none."""
    last_in: VersionSeen | None
    """The same of the last."""


async def failures(space: Partitions, apps: Sequence[str], handler: str = "") -> list[FailureGroup]:
    """What failed in these apps, the last seen first; of one handler, if it is named."""
    homes = [(app, await home(space, app)) for app in apps]
    asked = [(app, ("HGETALL", K.failures(place.prefix, app))) for app, place in homes if place is not None]
    answers = await space.read_all([command for _app, command in asked])
    groups = []
    for (app, _command), answer in zip(asked, answers, strict=True):
        namespace, _, name = app.partition("/")
        for stored, value in answer.items():
            own, _, digest = text(stored).rpartition(" ")
            alike = failures_in(value)
            if alike.count and handler in ("", own):
                groups.append(_group(namespace, name, own, digest, alike))
    return sorted(groups, key=lambda group: -group.last_ms)


def _group(namespace: str, app: str, handler: str, fingerprint: str, alike: Failures) -> FailureGroup:
    return FailureGroup(
        namespace=namespace,
        app=app,
        handler=handler,
        fingerprint=fingerprint,
        type=alike.type,
        message=alike.message,
        count=alike.count,
        first_ms=alike.first_ms,
        last_ms=alike.last_ms,
        task=alike.task,
        first_in=_seen(alike.first_in),
        last_in=_seen(alike.last_in),
    )


def _seen(version: Version) -> VersionSeen | None:
    return VersionSeen(*version) if version.digest else None
