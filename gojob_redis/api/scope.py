"""What a list across apps is about: a namespace, an app, or all that the caller may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query

from gojob_redis.api.dependencies import Needs, forbidden
from gojob_redis.control.identities import Identity
from gojob_redis.domain import limits, names
from gojob_redis.domain.errors import BadRequest

Seeing = Annotated[Identity, Depends(Needs("see"))]
Namespace = Annotated[str, Query(description="only of this namespace", max_length=64)]
App = Annotated[str, Query(description="only of this app of the namespace (`default` unless set)", max_length=64)]


@dataclass(frozen=True, slots=True)
class Scope:
    """What is asked for, which the caller may see."""

    who: Identity
    namespace: str
    app: str
    """namespace/app; empty for all of them."""

    def sees(self, address: str) -> bool:
        """Whether this app (``namespace/app``) is in it; "": what belongs to no app."""
        if not address:
            return self.who.covers_everything and not self.namespace
        namespace, _, app = address.partition("/")
        return (
            (not self.namespace or namespace == self.namespace)
            and (not self.app or address == self.app)
            and self.who.covers(namespace, app)
        )


def scope_of(who: Identity, namespace: str, app: str) -> Scope:
    """The scope of a list; raises BadRequest ``bad_name``, ``forbidden``."""
    if app and not namespace:
        namespace = "default"
    if namespace:
        names.check_namespace(namespace)
        if not who.covers(namespace):
            raise forbidden(who, "see", namespace)
    if app:
        names.check_app(app)
        if not who.covers(namespace, app):
            raise forbidden(who, "see", f"{namespace}/{app}")
    return Scope(who, namespace, f"{namespace}/{app}" if app else "")


def label_pairs(labels: Sequence[str], *, most: int = limits.LABELS_PER_SESSION) -> dict[str, str]:
    """Labels that are asked for; raises BadRequest ``bad_label``, ``too_many_labels``."""
    pairs: dict[str, str] = {}
    for label in labels:
        key, sign, value = label.partition("=")
        if not sign or pairs.get(key, value) != value:
            why = "is no pair" if not sign else f"contradicts {key}={pairs[key]}"
            raise BadRequest(
                "bad_label", f"label {label[:80]!r} {why}.", field="label", hint="Write it as env=gray, each key once."
            )
        pairs[key] = value
    return names.check_labels(pairs, "label", most=most)
