"""Policies that nobody said of a trigger itself: who said them instead, and what becomes of them when that changes.

A trigger keeps beside its policies who said each, ``retries=trigger overlap=namespace``, and the revision of the
defaults that held. With these it follows its defaults, and what was said of it itself stays.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from gojob_redis.domain import policies
from gojob_redis.domain.policies import Source, Value

REVISION_BYTES: Final = 8
USUAL: Final[Source] = "usual"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where nothing is said: of a namespace, and of a handler, which goes before."""

    namespace: Mapping[str, Value]
    handler: Mapping[str, Value]

    @property
    def merged(self) -> dict[str, Value]:
        """Both, by name."""
        return {**self.namespace, **self.handler}

    @property
    def revision(self) -> str:
        """Tells defaults apart; empty where there are none."""
        if not self.namespace and not self.handler:
            return ""
        layers = json.dumps([self.namespace, self.handler], sort_keys=True, default=str)
        return hashlib.blake2b(layers.encode(), digest_size=REVISION_BYTES).hexdigest()


NO_DEFAULTS: Final = Defaults({}, {})


def of_namespace(record: bytes | None) -> dict[str, Value]:
    """Those of a namespace, by its record in the control plane."""
    stored: dict[str, Value] = json.loads(record).get("defaults", {}) if record else {}
    return stored


def write_sources(sources: Mapping[str, Source]) -> str:
    """Who said the policies of a trigger, as it is stored; what nobody said is left out."""
    fields = ((policy.field, sources.get(policy.name, USUAL)) for policy in policies.set_by("trigger"))
    return " ".join(f"{field}={source}" for field, source in fields if source != USUAL)


def read_sources(text: str) -> dict[str, Source]:
    """Who said each policy of a trigger, by name; what cannot be read was said by nobody."""
    stored = _words(text)
    by_word: dict[str, Source] = {source: source for source in get_args(Source)}
    return {policy.name: by_word.get(stored.get(policy.field, ""), USUAL) for policy in policies.set_by("trigger")}


def followed(policies_text: str, sources_text: str, defaults: Defaults) -> tuple[str, str] | None:
    """Policies and sources of a trigger once it goes by these defaults, both as they are stored.

    None for a trigger that is left alone: a later release said something of it, or it was defined without sources.
    """
    stored, sources = _words(policies_text), _words(sources_text)
    if not _is_readable(stored, sources):
        return None
    effective = policies.read(policies_text)
    own = {name: effective[name] for name, source in read_sources(sources_text).items() if source == "trigger"}
    anew = policies.sources(own, defaults.handler, defaults.namespace)
    return policies.text_for("trigger", own, defaults.merged), write_sources(anew)


def _is_readable(stored: Mapping[str, str], sources: Mapping[str, str]) -> bool:
    """Whether this release knows each policy with its value, and who said it."""
    words = set(get_args(Source))
    return (
        sources.keys() <= policies.BY_FIELD.keys()
        and words.issuperset(sources.values())
        and stored.keys() <= sources.keys()
        and all(_is_lawful(policies.BY_FIELD[field], value) for field, value in stored.items())
    )


def _is_lawful(policy: policies.Policy, text: str) -> bool:
    try:
        return policy.takes(policy.read(text))
    except ValueError:
        return False


def _words(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in text.split() if "=" in word)
