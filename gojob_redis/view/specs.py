"""What handlers tell: the versions of a handler that are known, and which of them are live."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gojob_redis.domain import limits, policies
from gojob_redis.domain.address import app_of, name_of
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.planning.defaults import Heard, holding, versions_heard
from gojob_redis.view.queues import Queue, queue
from gojob_redis.view.records import clock_of, home, opaque
from gojob_sdk.protocol import Spec, read_spec

SESSIONS_LOOKED_AT: Final = 500
"""Sessions of an app whose specs are looked at; of more, so many are drawn at random."""

SET_HANDLERS: Final = 20
"""Handlers of one set of specs whose versions are told."""
SPECS_TOGETHER: Final = 20
"""Specs read in one round trip; one has at most 64 KiB."""


@dataclass(frozen=True, slots=True)
class HandlerFacts:
    """Whether a handler was announced, and the live versions of it that told a spec, by digest, the newest first."""

    announced: bool
    live: tuple[str, ...] = ()
    holds: str = ""
    """The version whose defaults hold; "" if none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerVersion:
    """What one version of a handler told."""

    digest: str
    version: str
    """As its author calls it; "" if it has no name."""
    description: str
    params: Any
    """A JSON Schema; null where parameters are not checked before a worker has them."""
    defaults: dict[str, policies.Value]
    """Policies of its tasks and triggers where these do not say otherwise."""
    first_ms: int
    """When a worker first told it."""
    heard_ms: int
    """When a worker was last known to have it."""
    live: bool
    """Whether that is at most 3 minutes ago: parameters that fit it are taken."""
    workers: int
    """Connected sessions that have it; of a larger app, those among 500 that were looked at."""


@dataclass(frozen=True, slots=True)
class VersionMark:
    """When workers began to have a version of a handler, and when one was last known to have it."""

    digest: str
    version: str
    """As its author calls it; "" if it has no name."""
    first_ms: int
    heard_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerDetails(Queue):
    """A handler, what waits for it, who serves it, and what its versions told."""

    versions: list[HandlerVersion]
    """The newest first."""


async def handler_facts(space: Partitions, handler: str) -> HandlerFacts:
    """What has to be known of a handler before work for it is taken in."""
    partition = await home(space, app_of(handler))
    if partition is None:
        return HandlerFacts(False)
    prefix = partition.prefix
    score, specs = await partition.read(
        [("ZSCORE", K.handlers(prefix), handler), ("HGETALL", K.specs(prefix, handler))]
    )
    if score is None or not specs:
        return HandlerFacts(score is not None)
    since = (await clock_of(partition)).wall - limits.SPEC_LIVE_MS
    rows = versions_heard(specs)
    return HandlerFacts(True, tuple(row.digest for row in rows if row.heard_ms >= since), holding(rows, since))


async def spec_of(space: Partitions, app: str, digest: str) -> Spec | None:
    """What a version told; None when nobody knows any more."""
    partition = await home(space, app)
    if partition is None:
        return None
    [packed] = await partition.read([("GET", K.spec(partition.prefix, app, digest))])
    return _spec(packed)


def _spec(packed: bytes | None) -> Spec | None:
    try:
        return read_spec(packed) if packed else None
    except ValueError:
        return None


async def handler(space: Partitions, address: str) -> HandlerDetails:
    """One handler, known or not, with its versions."""
    waiting = await queue(space, address)
    own = {name: getattr(waiting, name) for name in Queue.__dataclass_fields__}
    partition = await home(space, app_of(address))
    return HandlerDetails(**own, versions=await _versions(partition, address) if partition is not None else [])


async def version_marks(space: Partitions, address: str) -> list[VersionMark]:
    """The versions of a handler that are known, the newest first."""
    partition = await home(space, app_of(address))
    if partition is None:
        return []
    specs = await _specs(partition, address)
    return [VersionMark(row.digest, spec.get("version", ""), row.first_ms, row.heard_ms) for row, spec in specs]


async def _specs(partition: Partition, address: str) -> list[tuple[Heard, Spec]]:
    """When the versions of a handler were heard, the newest first, and what each told."""
    prefix, app = partition.prefix, app_of(address)
    [specs] = await partition.read([("HGETALL", K.specs(prefix, address))])
    rows = versions_heard(specs)
    if not rows:
        return []
    packed = await partition.read([("GET", K.spec(prefix, app, digest)) for digest, _first, _heard in rows])
    return [(row, _spec(one) or {}) for row, one in zip(rows, packed, strict=True)]


async def _versions(partition: Partition, address: str) -> list[HandlerVersion]:
    specs = await _specs(partition, address)
    if not specs:
        return []
    workers = await _workers(partition, address)
    now_ms = (await clock_of(partition)).wall
    return [
        _version(row, spec, now_ms - row.heard_ms <= limits.SPEC_LIVE_MS, workers.get(row.digest, 0))
        for row, spec in specs
    ]


def _version(row: Heard, spec: Spec, live: bool, workers: int) -> HandlerVersion:
    digest, first_ms, heard_ms = row
    return HandlerVersion(
        digest=digest,
        version=spec.get("version", ""),
        description=spec.get("description", ""),
        params=spec.get("params"),
        defaults=policies.lawful("handler", spec.get("defaults", {})),
        first_ms=first_ms,
        heard_ms=heard_ms,
        live=live,
        workers=workers,
    )


async def _workers(partition: Partition, address: str) -> dict[str, int]:
    """How many sessions have which version of a handler."""
    prefix, app = partition.prefix, app_of(address)
    [sessions] = await partition.read([("SRANDMEMBER", K.sessions(prefix, app), SESSIONS_LOOKED_AT)])
    facts = await partition.read([("HGET", K.session(prefix, session.decode()), "facts") for session in sessions])
    counts: dict[str, int] = {}
    for spec_set in _spec_sets(facts):
        counts[spec_set] = counts.get(spec_set, 0) + 1
    documents = await partition.read([("GET", K.spec(prefix, app, spec_set)) for spec_set in counts])
    workers: dict[str, int] = {}
    for (_spec_set, count), document in zip(counts.items(), documents, strict=True):
        digests = opaque(document)
        digest = digests.get(name_of(address)) if isinstance(digests, dict) else None
        if isinstance(digest, str):
            workers[digest] = workers.get(digest, 0) + count
    return workers


async def versions_in(partition: Partition, app: str, spec_sets: Sequence[str]) -> dict[str, str]:
    """The versions in sets of specs, as their authors call them: of 20 handlers each, in order, joined by commas."""
    prefix = partition.prefix
    documents = await partition.read([("GET", K.spec(prefix, app, spec_set)) for spec_set in spec_sets])
    digests = {spec_set: _digests(document) for spec_set, document in zip(spec_sets, documents, strict=True)}
    named = list(dict.fromkeys(digest for own in digests.values() for digest in own))
    versions: dict[str, str] = {}
    for first in range(0, len(named), SPECS_TOGETHER):
        together = named[first : first + SPECS_TOGETHER]
        packed = await partition.read([("GET", K.spec(prefix, app, digest)) for digest in together])
        versions |= {
            digest: (_spec(one) or {}).get("version", "") for digest, one in zip(together, packed, strict=True)
        }
    return {
        spec_set: ",".join(sorted({versions[digest] for digest in own if versions[digest]}))
        for spec_set, own in digests.items()
    }


def _digests(document: bytes | None) -> list[str]:
    """The specs of a set's first handlers by name."""
    by_name = opaque(document)
    named = sorted(by_name.items())[:SET_HANDLERS] if isinstance(by_name, dict) else []
    return [digest for _name, digest in named if isinstance(digest, str)]


def _spec_sets(facts: Iterable[bytes | None]) -> Iterable[str]:
    """What stands for the specs of each session that told some."""
    for packed in facts:
        own = opaque(packed)
        if isinstance(own, dict) and isinstance(own.get("specs"), str):
            yield own["specs"]
