"""Bodies that may be wrong: everything that is wrong with one is told, each by its place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from gojob_redis.api.bodies import FIELDS, TriggerBody
from gojob_redis.api.problem import field_error
from gojob_redis.domain.errors import GojobError


class Fault(BaseModel):
    """One thing that is wrong with a body."""

    pointer: str
    """Where in the body, as RFC 6901 writes it; empty for the whole."""
    code: str
    detail: str
    hint: str


@dataclass(slots=True)
class Draft:
    """The body of a trigger as it came, and what is wrong with its form."""

    raw: Any
    body: TriggerBody | None
    errors: Sequence[Mapping[str, Any]] = ()
    """As pydantic tells them."""
    faults: list[Fault] = field(default_factory=list)

    def whole(self) -> TriggerBody:
        """The body; raises what FastAPI raises for one of the wrong form."""
        if self.body is None:
            raise RequestValidationError([{**error, "loc": ("body", *error["loc"])} for error in self.errors])
        return self.body

    def rest(self, answered: frozenset[str]) -> tuple[TriggerBody, set[str]] | None:
        """The body without the fields of the wrong form, which are named; their faults are noted.

        None where nothing is left to look at.
        """
        for error in self.errors:
            _field, detail, hint = field_error(error, FIELDS, answered)
            self.faults.append(Fault(pointer=pointer_to(*error["loc"]), code="bad_request", detail=detail, hint=hint))
        if not isinstance(self.raw, dict):
            return None
        bad = {str(error["loc"][0]) for error in self.errors if error["loc"]}
        values = {name: value for name, value in self.raw.items() if name not in bad}
        try:
            return TriggerBody(**{"handler": "handler", "schedule": {"kind": "manual"}, **values}), bad
        except ValidationError:
            return None

    def check(self, pointer: str, look: Callable[[], object]) -> bool:
        """Whether a look finds nothing wrong; what it raises is noted at this place, or at the one it names itself."""
        try:
            look()
        except GojobError as error:
            self.note(pointer, error)
            return False
        return True

    def note(self, pointer: str, error: GojobError) -> None:
        """Note an error at a place, once."""
        fault = Fault(pointer=pointer, code=error.code, detail=error.message, hint=error.hint)
        if fault not in self.faults:
            self.faults.append(fault)


def pointer_to(*parts: str | int) -> str:
    """A JSON pointer."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def _drafted(value: Any, handler: ValidatorFunctionWrapHandler) -> Draft:
    try:
        return Draft(value, handler(value))
    except ValidationError as error:
        return Draft(value, None, error.errors())


TriggerDraft = Annotated[TriggerBody, WrapValidator(_drafted)]
"""Described as the body that it should be."""
