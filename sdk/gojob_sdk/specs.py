"""What a worker tells of its handlers: the schema of their parameters, their defaults, description and version.

It is packed once, and named by its digest in every hello; a gateway that does not know a digest asks for it.
"""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from pydantic import PydanticInvalidForJsonSchema, PydanticUserError, TypeAdapter
from pydantic_core import to_jsonable_python

from gojob_sdk.protocol import Spec, TooLarge, pack_spec

DESCRIPTION_CHARS: Final = 4_096
VERSION_CHARS: Final = 64

log = logging.getLogger("gojob_sdk")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a handler besides how to call it."""

    adapter: TypeAdapter[Any] | None = None
    """Of its parameters; None where it takes none, or does not say what."""
    description: str = ""
    version: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Policies as its author wrote them, times in seconds."""


def described(target: Any) -> str:
    """The docstring of a function or class."""
    while isinstance(target, partial):
        target = target.func
    if not (inspect.isroutine(target) or inspect.isclass(target)):
        target = type(target)
    return (inspect.getdoc(target) or "")[:DESCRIPTION_CHARS]


def packed_spec(name: str, facts: Facts) -> bytes:
    """The spec of a handler; nothing where there is nothing to tell."""
    spec: Spec = {}
    schema = _schema(name, facts.adapter)
    if facts.description:
        spec["description"] = facts.description
    if facts.version:
        spec["version"] = facts.version
    if facts.defaults:
        spec["defaults"] = in_ms(facts.defaults)
    if schema is not None:
        spec["params"] = schema
    return _packed(name, spec) if spec else b""


def _packed(name: str, spec: Spec) -> bytes:
    try:
        return pack_spec(spec)
    except TooLarge as error:
        log.warning("the parameters of handler %r are checked here only: their schema %s", name, error)
        rest = {field: value for field, value in spec.items() if field != "params"}
        return pack_spec(cast(Spec, rest)) if rest else b""


def _schema(name: str, adapter: TypeAdapter[Any] | None) -> dict[str, Any] | None:
    """The JSON Schema of parameters; None where pydantic has none for them."""
    if adapter is None:
        return None
    try:
        schema = cast(dict[str, Any], to_jsonable_python(adapter.json_schema()))
    except (PydanticInvalidForJsonSchema, PydanticUserError, ValueError) as error:
        log.info("the parameters of handler %r have no JSON Schema: %s", name, error)
        return None
    return schema or None


def in_ms(options: Mapping[str, Any]) -> dict[str, Any]:
    """Policies as the server names them: times in whole milliseconds; what was not given is left out."""
    return {
        f"{name[:-2]}_ms" if name.endswith("_s") else name: round(value * 1000) if name.endswith("_s") else value
        for name, value in options.items()
        if value is not None
    }
