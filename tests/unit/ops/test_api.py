"""The document of the HTTP API shows every call with what it takes."""

import pytest

from gojob_redis.api.app import ROUTES
from gojob_redis.ops import api


def test_every_route_is_in_the_document() -> None:
    told = api.document()
    for part in ROUTES:
        for route in part.router.routes:
            for method in route.methods & {method.upper() for method in api.METHODS}:
                assert f"### `{method} {route.path}`" in told


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "minimum": 1.0, "maximum": 10_000.0}, "integer, 1 to 10,000"),
        ({"type": "number", "minimum": 0, "maximum": 0.5}, "number, 0 to 0.5"),
        ({"type": "string", "maxLength": 255}, "string, at most 255 characters"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/State"}}, "list of `a`, `b`"),
        (
            {"type": "array", "items": {"type": "string", "maxLength": 255}, "minItems": 1, "maxItems": 10_000},
            "list of string, at most 255 characters; 1 to 10,000 of them",
        ),
        ({"const": "x"}, "`x`"),
        ({}, "any value"),
    ],
)
def test_a_type_is_said_in_words_with_its_bounds(schema: api.Schema, text: str) -> None:
    assert api.type_in_words(schema, {"State": {"enum": ["a", "b"]}}) == text


def test_a_call_shows_header_query_body_and_answer() -> None:
    told = api.document()
    part = told.split("### `POST /v1/tokens`")[1].split("### ")[0]
    assert "| body `kind` | `admin`, `api`, `worker` | required |" in part
    assert "Answers 201: `key_id`" in part


def test_a_body_shows_also_the_fields_of_what_it_holds() -> None:
    told = api.document()
    bulk = told.split("### `POST /v1/bulk`")[1].split("### ")[0]
    batch = told.split("tasks:batch`")[1].split("### ")[0]
    assert "| body `filter` | `FilterBody` |" in bulk
    assert "| body `filter.prefix` | string, at most 64 characters | of triggers: its name begins with it |" in bulk
    assert "| body `tasks[].priority` | integer, 0 to 9 |" in batch
