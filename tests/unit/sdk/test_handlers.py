"""handlers: what may be registered, and how parameters become arguments."""

import asyncio
import functools
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, PlainValidator

from gojob_sdk import BadConfig, BadParams, Context, Worker
from gojob_sdk.handlers import handler_of
from gojob_sdk.protocol import read_spec
from gojob_sdk.specs import packed_spec
from gojob_sdk.testing import call


class Order(BaseModel):
    order_id: int
    note: str = ""


@dataclass
class Point:
    x: int
    y: int


def fields(ctx: Context, order_id: int, note: str = "none") -> list[Any]:
    return [order_id, note]


async def async_fields(ctx: Context, order_id: int, note: str = "none") -> list[Any]:
    await asyncio.sleep(0)
    return [order_id, note]


def whole(ctx: Context, params: Order) -> int:
    return params.order_id


class Greeter:
    """Built anew for every run."""

    def __init__(self) -> None:
        self.greeted = 0

    def do(self, ctx: Context, name: str) -> str:
        self.greeted += 1
        return f"{name} {self.greeted}"


class AsyncGreeter:
    async def do(self, ctx: Context) -> str:
        return ctx.task_id


class Called:
    async def __call__(self, ctx: Context) -> str:
        return "called"


# --- shapes of handlers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "params", "result"),
    [
        (lambda: "bare", None, "bare"),
        (lambda ctx: ctx.params, {"a": 1}, {"a": 1}),
        (lambda job: job.task_id, None, "test"),
        (fields, {"order_id": 7}, [7, "none"]),
        (fields, {"order_id": "7", "note": "x"}, [7, "x"]),
        (async_fields, {"order_id": 7}, [7, "none"]),
        (whole, {"order_id": 7}, 7),
        (Greeter, {"name": "Ada"}, "Ada 1"),
        (Greeter(), {"name": "Ada"}, "Ada 1"),
        (AsyncGreeter, None, "test"),
        (AsyncGreeter(), None, "test"),
        (Called(), None, "called"),
        (functools.partial(fields, note="given"), {"order_id": 7}, [7, "given"]),
    ],
)
def test_a_handler_may_have_many_shapes(handler: Any, params: Any, result: Any) -> None:
    assert call(handler, params).result == result


def test_a_first_parameter_of_another_type_is_no_context() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    assert call(add, {"a": 1, "b": 2}).result == 3


def test_the_parameters_as_a_whole_may_be_anything_pydantic_knows() -> None:
    def sum_of(ctx: Context, params: list[int]) -> int:
        return sum(params)

    def far(ctx: Context, params: Point) -> int:
        return params.x + params.y

    def raw(ctx: Context, params: Any) -> Any:
        return params

    assert call(sum_of, [1, 2]).result == 3
    assert call(far, {"x": 1, "y": 2}).result == 3
    assert call(raw, 7).result == 7


def test_a_handler_may_take_whatever_else_is_given() -> None:
    def open_ended(ctx: Context, a: int, **rest: Any) -> Any:
        return [a, rest]

    assert call(open_ended, {"a": 1, "b": 2}).result == [1, {"b": 2}]


def test_a_class_is_built_for_every_run_and_an_object_is_shared() -> None:
    shared = Greeter()

    assert [call(Greeter, {"name": "a"}).result for _ in range(2)] == ["a 1", "a 1"]
    assert [call(shared, {"name": "a"}).result for _ in range(2)] == ["a 1", "a 2"]


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [
        (fields, False),
        (async_fields, True),
        (functools.partial(async_fields), True),
        (Greeter, False),
        (AsyncGreeter, True),
        (AsyncGreeter(), True),
        (Called(), True),
    ],
)
def test_coroutine_functions_are_recognised(handler: Any, is_async: bool) -> None:
    assert handler_of("h", handler).is_async is is_async


# --- parameters that do not fit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "params", "told"),
    [
        (fields, {"order_id": "x"}, r"^order_id: Input should be a valid integer"),
        (fields, {}, r"^order_id: Field required$"),
        (fields, None, r"^order_id: Field required$"),
        (fields, {"order_id": 1, "nte": ""}, r"^nte: Extra inputs are not permitted$"),
        (fields, [1], r"^params: Input should be a valid dictionary$"),
        (whole, {"order_id": None}, r"^order_id: Input should be a valid integer$"),
    ],
)
def test_parameters_that_do_not_fit_name_the_field(handler: Any, params: Any, told: str) -> None:
    with pytest.raises(BadParams, match=told):
        call(handler, params)


def test_the_error_does_not_repeat_the_value_and_stays_short() -> None:
    def many(ctx: Context, a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> None: ...

    with pytest.raises(BadParams, match=r"and 2 more$") as caught:
        call(many, dict.fromkeys("abcdefg", "secret"))

    assert "secret" not in str(caught.value)


def test_a_constraint_counts() -> None:
    def few(ctx: Context, count: Annotated[int, Field(le=3)]) -> None: ...

    with pytest.raises(BadParams, match="count: Input should be less than or equal to 3"):
        call(few, {"count": 4})


# --- what is refused at registration ----------------------------------------------------------------------------------


def generator(ctx: Context) -> Any:
    yield 1


class Idle:
    pass


class Opaque:
    pass


def opaque(ctx: Context, a: Opaque) -> None: ...


def positional(ctx: Context, a: int, /) -> None: ...


def variadic(ctx: Context, *a: int) -> None: ...


def unknown(ctx: Context, a: "Nothing") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("name", "handler", "told"),
    [
        ("a b", fields, "handler name 'a b'"),
        ("", fields, "handler name ''"),
        ("a\n", fields, "handler name"),
        ("h", 7, "must be a function"),
        ("h", Idle, "no method do"),
        ("h", Idle(), "must be a function"),
        ("h", generator, "is a generator"),
        ("h", opaque, "pydantic cannot check"),
        ("h", positional, "cannot be given by name"),
        ("h", variadic, "cannot be given by name"),
        ("h", unknown, "annotation of handler 'h' cannot be read"),
    ],
)
def test_what_cannot_be_served_is_refused_when_it_is_added(name: str, handler: Any, told: str) -> None:
    with pytest.raises(BadConfig, match=told):
        Worker(app="shop").add(name, handler)


def test_a_name_can_be_taken_once() -> None:
    worker = Worker(app="shop")
    worker.add("send", fields)

    with pytest.raises(BadConfig, match="'send' is registered twice"):
        worker.handler("send")(whole)


def test_the_decorator_gives_the_function_back() -> None:
    assert Worker(app="shop").handler("send")(fields) is fields


# --- what a handler tells ---------------------------------------------------------------------------------------------


def spec(target: object, **said: Any) -> Any:
    """What a worker tells of a handler, read as a gateway would; nothing where it tells nothing."""
    worker = Worker(app="shop")
    worker.add("it", target, **said)
    [handler] = worker.handlers.values()
    packed = packed_spec("it", handler.facts)
    return read_spec(packed) if packed else {}


def documented(ctx: Context, order_id: int, note: str = "") -> None:
    """Send an order.

    It is sent once.
    """


def test_a_handler_tells_its_parameters_and_its_docstring() -> None:
    told = spec(documented)

    assert told["description"] == "Send an order.\n\nIt is sent once."
    assert told["params"]["type"] == "object"
    assert told["params"]["required"] == ["order_id"]
    assert told["params"]["additionalProperties"] is False
    assert told["params"]["properties"].keys() == {"order_id", "note"}


def test_a_class_an_object_and_a_partial_tell_theirs() -> None:
    assert spec(Greeter)["description"] == "Built anew for every run."
    assert spec(Greeter())["description"] == "Built anew for every run."
    assert spec(functools.partial(documented, note="x"))["description"].startswith("Send an order.")
    assert spec(whole)["params"]["properties"].keys() == {"order_id", "note"}


def test_a_handler_that_has_nothing_to_tell_tells_nothing() -> None:
    assert spec(lambda ctx: None) == {}


def test_version_description_and_defaults_are_what_was_said() -> None:
    told = spec(documented, version="1.4", description="Send.", retries=3, run_limit_s=0.5, priority=None)

    assert (told["version"], told["description"]) == ("1.4", "Send.")
    assert told["defaults"] == {"retries": 3, "run_limit_ms": 500}


def test_parameters_without_a_schema_are_told_without_one() -> None:
    class Odd:
        """No schema."""

    def takes_odd(ctx: Context, params: Annotated[Any, PlainValidator(lambda value: Odd())]) -> None:
        """Odd."""

    assert spec(takes_odd).get("params", {}) in ({}, {"title": "Params"})
    assert spec(takes_odd)["description"] == "Odd."


def test_a_schema_that_is_too_large_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def wide(ctx: Context, params: dict[str, Literal[tuple(f"{n:0100}" for n in range(1_000))]]) -> None:  # type: ignore[valid-type]
        """Wide."""

    assert spec(wide) == {"description": "Wide."}
    assert "are checked here only" in caplog.text


def test_a_spec_is_the_same_bytes_in_every_process_of_a_release() -> None:
    code = (
        "from tests.unit.sdk.test_handlers import documented, whole\n"
        "from gojob_sdk.handlers import handler_of\n"
        "from gojob_sdk.specs import packed_spec\n"
        "for one in (documented, whole):\n"
        "    print(packed_spec('it', handler_of('it', one).facts).hex())\n"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }

    assert len(runs) == 1
