"""Handlers: what a user may register, and how parameters become arguments.

The first parameter gets the context, unless it is annotated with another type. Besides it a handler may take

- nothing:                       ``def f(ctx)``
- the parameters as a whole:     ``def f(ctx, params: Order)``       (one parameter, called ``params``)
- their fields, by name:         ``def f(ctx, order_id: int, note: str = "")``

Annotations are checked by pydantic; parameters that do not fit fail the run for good and the error names the field.
"""

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NotRequired

from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from gojob_sdk.context import Context
from gojob_sdk.errors import BadConfig, BadParams
from gojob_sdk.protocol import HANDLER_PATTERN
from gojob_sdk.specs import Facts, described

SHOWN_ERRORS = 5
_typed_dict: Any = TypedDict
_VARIADIC = inspect.Parameter.VAR_KEYWORD
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Handler:
    """A user's code under its name, callable with nothing but a context."""

    name: str
    call: Callable[[Context], Any]
    is_async: bool
    facts: Facts = field(default_factory=Facts)


def handler_of(name: str, target: Any) -> Handler:
    """Turn a function, an object with ``do`` or a class of such objects into a handler. Raises BadConfig."""
    if not re.fullmatch(HANDLER_PATTERN, name):
        raise BadConfig(
            f"handler name {name!r} must be 1 to 64 of A-Z a-z 0-9 . _ - and begin and end with a letter or digit"
        )
    if inspect.isclass(target):
        return _handler_of_class(name, target)
    function = target.do if not inspect.isroutine(target) and hasattr(target, "do") else target
    if not callable(function):
        raise BadConfig(f"handler {name!r} must be a function or have a method do(ctx), not {target!r}")
    call, adapter = _bind(name, function, inspect.signature(function))
    return Handler(name, call, _is_async(name, function), Facts(adapter, described(target) or described(function)))


def _handler_of_class(name: str, cls: type[Any]) -> Handler:
    """A class is built anew for every run, so that runs share nothing."""
    do = getattr(cls, "do", None)
    if not callable(do):
        raise BadConfig(f"class {cls.__name__} of handler {name!r} has no method do(ctx)")
    signature = inspect.signature(do)
    own = list(signature.parameters.values())[1:]

    def build_and_do(*args: Any, **fields: Any) -> Any:
        return cls().do(*args, **fields)

    bound, adapter = _bind(name, build_and_do, signature.replace(parameters=own), hints_of=do)
    return Handler(name, bound, _is_async(name, do), Facts(adapter, described(cls) or described(do)))


def _is_async(name: str, function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    candidates = (function, getattr(function, "__call__", None))  # noqa: B004 - an object may have an async __call__
    if any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in candidates):
        raise BadConfig(f"handler {name!r} is a generator; write a function or a coroutine function")
    return any(inspect.iscoroutinefunction(each) for each in candidates)


def _bind(
    name: str, function: Callable[..., Any], signature: inspect.Signature, hints_of: Any = None
) -> tuple[Callable[[Context], Any], TypeAdapter[Any] | None]:
    """How to call it with a context, and what checks its parameters."""
    parameters = list(signature.parameters.values())
    hints = _hints(name, hints_of or function)
    takes_context = bool(parameters) and _is_context(parameters[0], hints)
    rest = parameters[1:] if takes_context else parameters
    if not rest:
        return (function if takes_context else lambda ctx: function()), None
    adapter = _adapter(name, rest, hints)
    read = partial(_validated, adapter)
    if len(rest) == 1 and rest[0].name == "params":
        if takes_context:
            return (lambda ctx: function(ctx, read(ctx.params))), adapter
        return (lambda ctx: function(read(ctx.params))), adapter
    if takes_context:
        return (lambda ctx: function(ctx, **read(_fields(ctx)))), adapter
    return (lambda ctx: function(**read(_fields(ctx)))), adapter


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, *_BY_NAME[1:], _VARIADIC):
        return False
    return hints.get(parameter.name, Context) is Context


def _hints(name: str, function: Any) -> dict[str, Any]:
    while isinstance(function, partial):
        function = function.func
    if not (inspect.isroutine(function) or inspect.isclass(function)):
        function = function.__call__
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise BadConfig(f"an annotation of handler {name!r} cannot be read: {error}") from error


def _adapter(name: str, parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> TypeAdapter[Any]:
    """Build, once, what checks parameters against the annotations."""
    try:
        if len(parameters) == 1 and parameters[0].name == "params":
            return TypeAdapter(hints.get("params", Any))
        return TypeAdapter(_fields_type(name, parameters, hints))
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise BadConfig(f"pydantic cannot check the parameters of handler {name!r}: {error}") from error


def _fields_type(name: str, parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> Any:
    fields = {}
    for parameter in parameters:
        if parameter.kind is _VARIADIC:
            continue
        if parameter.kind not in _BY_NAME:
            raise BadConfig(f"parameter {parameter.name!r} of handler {name!r} cannot be given by name")
        kind = hints.get(parameter.name, Any)
        fields[parameter.name] = kind if parameter.default is parameter.empty else NotRequired[kind]
    open_ended = any(parameter.kind is _VARIADIC for parameter in parameters)
    fields_type = _typed_dict("Parameters", fields)
    fields_type.__pydantic_config__ = ConfigDict(extra="allow" if open_ended else "forbid")
    return fields_type


def _validated(adapter: TypeAdapter[Any], params: Any) -> Any:
    try:
        return adapter.validate_python(params)
    except ValidationError as error:
        raise BadParams(_told(error)) from None


def _told(error: ValidationError) -> str:
    """Name every offending field (five at most), but never its value."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    sentences = [f"{'.'.join(map(str, each['loc'])) or 'params'}: {each['msg']}" for each in problems[:SHOWN_ERRORS]]
    if len(problems) > SHOWN_ERRORS:
        sentences.append(f"and {len(problems) - SHOWN_ERRORS} more")
    return "; ".join(sentences)


def _fields(ctx: Context) -> Any:
    return {} if ctx.params is None else ctx.params
