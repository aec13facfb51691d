"""Schemas that strangers wrote: what fits, what does not and where, and what no schema can make us do."""

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from gojob_redis.domain import limits
from gojob_redis.domain.schema import compiled


def misfit(schema: Any, value: Any) -> str | None:
    """Where a value does not fit; None where it does."""
    found = compiled(schema).misfit(value)
    return None if found is None else found.pointer


FITS: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "string"}, ["", "x"], [1, None, True, [], {}]),
    ({"type": "integer"}, [1, 1.0, -1, 2.0**62, 2**70], [1.5, "1", True, None, 2.0**63, -(2.0**63), float("inf")]),
    ({"type": "number"}, [1, 1.5], ["1", False]),
    ({"type": "boolean"}, [True, False], [0, 1, "true"]),
    ({"type": "null"}, [None], [0, ""]),
    ({"type": ["string", "null"]}, ["x", None], [1]),
    ({"type": "object"}, [{}], [[], "x"]),
    ({"type": "array"}, [[]], [{}, "x"]),
    ({"type": "parcel"}, [1, "x"], []),
    ({"type": []}, [1], []),
    ({"enum": [1, "a", None]}, [1, 1.0, "a", None], [True, 2, "b"]),
    ({"enum": [True]}, [True], [1, 1.0]),
    ({"enum": [[1]]}, [[1], 2], []),
    ({"const": 0}, [0, 0.0], [False, 1]),
    ({"minimum": 2}, [2, 3, "x"], [1, 1.9]),
    ({"maximum": 2}, [2, 1, True], [3]),
    ({"exclusiveMinimum": 2}, [3], [2]),
    ({"exclusiveMaximum": 2}, [1], [2]),
    ({"minimum": "2"}, [1], []),
    ({"multipleOf": 3}, [3, 0, 1.5, True], [4]),
    ({"multipleOf": 0.1}, [0.25], []),
    ({"minLength": 2}, ["ab", 1], ["a"]),
    ({"maxLength": 2}, ["ab"], ["abc"]),
    ({"minItems": 1}, [[1], "x"], [[]]),
    ({"maxItems": 1}, [[1]], [[1, 2]]),
    ({"maxItems": True}, [[1, 2]], []),
    ({"minProperties": 1}, [{"a": 1}], [{}]),
    ({"maxProperties": 1}, [{"a": 1}], [{"a": 1, "b": 1}]),
    ({"pattern": "^[A-Z]{3}$"}, ["ABC", 1], ["ABCD", ""]),
    ({"pattern": "b"}, ["abc"], ["ac"]),
    ({"uniqueItems": True}, [[1, True, "1"], [[1], [1]], "aa"], [[1, 1.0], ["a", "a"]]),
    ({"uniqueItems": False}, [[1, 1]], []),
    (False, [], [1, None]),
    (True, [1, None], []),
    ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, ["x", 3], [2]),
    ({"oneOf": [{"type": "integer"}, {"minimum": 3}]}, [3, 1], [2.5]),
    ({"anyOf": []}, [1], []),
    ({"anyOf": "no"}, [1], []),
    ({"allOf": [{"minimum": 1}, {"maximum": 3}]}, [1, 3], [0, 4]),
    ({"allOf": [True]}, [1], []),
    ({"not": {}}, [1], []),
    ({"propertyNames": {"maxLength": 1}}, [{"a": 1}, "x"], [{"ab": 1}]),
    ({"items": [{"type": "string"}]}, [[1]], []),
    ({"required": "a"}, [{}], []),
    ({"properties": ["a"]}, [{"a": 1}], []),
    ({"additionalProperties": False}, [{}, 1], [{"a": 1}]),
    ({"additionalProperties": True}, [{"a": 1}], []),
    ({"patternProperties": {"^a": {}}, "additionalProperties": False}, [{"a": 1, "b": 1}], []),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, ["x"], [1]),
    ({"$ref": "#/anyOf/1", "anyOf": [True, {"type": "string"}]}, ["x"], [1]),
    ({"$ref": "#/$defs/a~1b~0", "$defs": {"a/b~": {"type": "string"}}}, ["x"], [1]),
    ({"properties": {"next": {"$ref": "#"}}, "required": ["v"]}, [{"v": 1, "next": {"v": 2}}], [{"v": 1, "next": {}}]),
]


@pytest.mark.parametrize(("schema", "good", "bad"), FITS)
def test_what_fits_and_what_does_not(schema: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if misfit(schema, value) is not None] == []
    assert [value for value in bad if misfit(schema, value) is None] == []


def test_no_parameters_are_an_empty_map_where_the_schema_asks_for_a_map() -> None:
    assert misfit({"type": "object", "required": ["a"]}, None) == "/a"
    assert misfit({"type": "object"}, None) is None
    assert misfit({"type": "array"}, None) == ""


class Line(BaseModel):
    sku: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    count: Annotated[int, Field(ge=1)] = 1


class Order(BaseModel):
    order_id: int
    kind: Literal["new", "old"] = "new"
    note: str | None = None
    lines: list[Line] = []


@pytest.mark.parametrize(
    ("change", "pointer", "why"),
    [
        ({"order_id": "7"}, "/order_id", "is text, not a whole number"),
        ({"order_id": None}, "/order_id", "is null, not a whole number"),
        ({"kind": "odd"}, "/kind", "is none of new, old"),
        ({"note": 7}, "/note", "is a whole number, not text"),
        ({"lines": {}}, "/lines", "is a map, not a list"),
        ({"lines": [{"sku": "ABC"}, {}]}, "/lines/1/sku", "is missing"),
        ({"lines": [{"sku": "abc"}]}, "/lines/0/sku", "does not match ^[A-Z]{3}$"),
        ({"lines": [{"sku": "ABC", "count": 0}]}, "/lines/0/count", "is not at least 1"),
    ],
)
def test_a_misfit_says_where_and_why(change: Any, pointer: str, why: str) -> None:
    order = compiled(TypeAdapter(Order).json_schema())
    assert order.misfit({"order_id": 7, "note": None, "lines": [{"sku": "ABC"}]}) is None

    assert order.misfit({"order_id": 7, **change}) == (pointer, why)


def test_a_pointer_escapes_what_it_has_to_and_is_short() -> None:
    assert misfit({"additionalProperties": {"type": "string"}}, {"a/b~c": 1}) == "/a~1b~0c"
    assert misfit({"additionalProperties": False}, {"x" * 1_000: 1}) == "/" + "x" * 80


def test_a_name_that_is_no_parameter_is_told_with_those_that_are() -> None:
    schema = {"properties": {"b": {}, "a": {}}, "additionalProperties": False}

    assert compiled(schema).misfit({"c": 1}) == ("/c", "is no parameter; there are a, b")
    assert compiled({"additionalProperties": False}).misfit({"c": 1}) == ("/c", "is no parameter")


def test_a_value_is_never_repeated() -> None:
    found = compiled({"properties": {"password": {"type": "integer"}}}).misfit({"password": "secret"})

    assert found is not None
    assert "secret" not in found.why


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://evil.example/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": 7},
        {"$ref": "#/$defs/nothing"},
        {"$ref": "#/$defs/a", "$defs": []},
        {"items": {"$ref": "#name"}},
    ],
)
def test_a_reference_that_leads_elsewhere_or_nowhere_is_refused(schema: Any) -> None:
    with pytest.raises(ValueError, match="refers to"):
        compiled(schema)


@pytest.mark.parametrize(
    "pattern",
    [r"(?=a)b", "(", 7, r"\pL", r"\P{L}", r"(\w{5}){5}", r"\w{101}", r"\w{60}\w{60}", "a" * 101],
    ids=["lookahead", "broken", "number", "letters", "others", "group", "count", "counts", "long"],
)
def test_a_pattern_that_is_large_or_of_another_dialect_is_left_to_the_worker(pattern: Any) -> None:
    assert misfit({"pattern": pattern}, "?") is None


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^\w+$", "a_9", "a-9"),
        (r"^[\w-]+$", "a-9", "a.9"),
        (r"^[^\d]\D\S$", "ab.", "1b."),
        (r"^\s\W\d$", "\n-1", "\x1f-1"),
        (r"^\\d$", "\\d", "1"),
    ],
)
def test_the_classes_of_a_pattern_are_those_of_ascii_and_other_texts_are_left_to_the_worker(
    pattern: str, good: str, bad: str
) -> None:
    assert misfit({"pattern": pattern}, good) is None
    assert misfit({"pattern": pattern}, bad) == ""
    assert misfit({"pattern": pattern}, f"é{bad}") is None


def test_more_patterns_than_16_and_longer_texts_are_left_to_the_worker() -> None:
    schema = {"properties": {f"p{n:02}": {"pattern": f"^{n}$"} for n in range(17)}}

    assert misfit(schema, {"p15": "no"}) == "/p15"
    assert misfit(schema, {"p16": "no"}) is None
    assert misfit({"pattern": "a"}, "b" * 1_000) == ""
    assert misfit({"pattern": "a"}, "b" * 1_001) is None


def doubling() -> Any:
    """Two references to the next of 40 definitions."""
    last = {"d40": {"type": "string"}}
    return {
        "$ref": "#/$defs/d0",
        "$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | last,
    }


HOSTILE: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "doubling": (doubling, lambda: 1),
    "itself": (lambda: {"$ref": "#"}, lambda: 1),
    "circle": (lambda: {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 9}}}, lambda: 1),
    "wide any": (lambda: {"items": {"anyOf": [False] * 16_000}}, lambda: [1] * 5_000),
    "many names": (
        lambda: {"items": {"anyOf": [{"properties": {f"n{n}": {"minimum": 1} for n in range(900)}, "maxItems": 0}]}},
        lambda: [{}] * 5_000,
    ),
    "many required": (
        lambda: {"items": {"required": [f"n{n}" for n in range(8_000)]}},
        lambda: [{f"n{n}": 1 for n in range(8_000)}] * 6,
    ),
    "many types": (lambda: {"items": {"type": ["string"] * 9_000}}, lambda: [1] * 5_000),
    "patterns": (lambda: {"items": {"pattern": r"[\s\S]{100}"}}, lambda: ["e" * 999] * 250),
    "unique": (lambda: {"anyOf": [{"uniqueItems": True, "maxItems": 0}] * 300}, lambda: list(range(4_000))),
    "open maps": (
        lambda: {"anyOf": [{"additionalProperties": {"type": "string"}, "maxItems": 0}] * 300},
        lambda: {f"n{n}": "" for n in range(5_000)},
    ),
    "aliases": (
        lambda: {"anyOf": [{"$ref": f"#/anyOf/{'0' * n}1"} for n in range(400)] + [{"items": {"type": "null"}}] * 500},
        lambda: [1] * 5_000,
    ),
    "names": (
        lambda: {"anyOf": [{"propertyNames": {"minLength": 9}}] * 300},
        lambda: {f"n{n}": 1 for n in range(5_000)},
    ),
    "prefixes": (lambda: {"items": {"prefixItems": [True] * 9_000}}, lambda: [[1] * 9_000] * 5),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_schema_and_no_parameters_make_a_check_long(name: str) -> None:
    schema, value = (make() for make in HOSTILE[name])
    rule = compiled(schema)
    took_s = []
    for _ in range(3):
        began = time.process_time()
        rule.misfit(value)
        took_s.append(time.process_time() - began)

    assert min(took_s) < 0.05


def test_what_takes_too_long_to_check_is_left_to_the_worker() -> None:
    assert misfit({"items": {"type": "string"}}, ["x"] * 100 + [1]) == "/100"
    assert misfit({"items": {"type": "string"}}, ["x"] * limits.SCHEMA_STEPS + [1]) is None
    assert misfit(doubling(), "x") is None


PARAMS = TypeAdapter(Order)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "ABC", "new", "7"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["order_id", "kind", "note", "lines", "sku", "count", "x"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_pydantic_refuses_is_refused_and_what_it_takes_without_changing_it_is_taken(value: Any) -> None:
    found = compiled(PARAMS.json_schema()).misfit(value)
    try:
        PARAMS.validate_python(value, strict=True)
    except ValidationError:
        try:
            PARAMS.validate_python(value)
        except ValidationError:
            assert found is not None or value is None
    else:
        assert found is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["type", "enum", "const", "items", "properties", "required", "anyOf", "allOf", "pattern", "a",
                         "$ref", "prefixItems", "additionalProperties", "propertyNames", "minimum", "maxLength"])
        | st.text(max_size=3),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(["type", "items", "anyOf", "properties", "$ref", "enum", "pattern"]), JSON), JSON
)
def test_whatever_calls_itself_a_schema_is_compiled_or_refused(schema: Any, value: Any) -> None:
    try:
        rule = compiled(schema)
    except ValueError:
        return
    rule.misfit(value)
