"""``docs/api.md``: every call of the HTTP API with what it takes and answers, from the OpenAPI document."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from gojob_redis.api.app import description

Schema = dict[str, Any]
METHODS: Final = ("get", "post", "put", "patch", "delete")
"""The methods that are shown; a balancer's HEAD and OPTIONS are not."""


def document() -> str:
    """``docs/api.md``."""
    api = description()
    calls = [
        (operation["tags"][0] if operation.get("tags") else "health", f"{method.upper()} {path}", operation)
        for path, operations in api["paths"].items()
        for method, operation in operations.items()
        if method in METHODS
    ]
    lines = [_HEAD]
    for tag, group in groupby(calls, key=lambda call: call[0]):
        lines.append(f"\n## {tag[0].upper()}{tag[1:]}")
        for _, call, operation in group:
            lines += _call(call, operation, api["components"]["schemas"])
    return "\n".join(lines) + "\n"


def _call(call: str, operation: Schema, models: Schema) -> Iterator[str]:
    yield f"\n### `{call}`\n"
    yield _plain(operation.get("description", ""))
    rows = [*_parameters(operation, models), *_body(operation, models)]
    if rows:
        yield "\n| takes | type | |\n|---|---|---|"
        yield from rows
    yield f"\nAnswers {_answer(operation, models)}."


def _plain(text: str) -> str:
    return text.replace("``", "`")


def _parameters(operation: Schema, models: Schema) -> Iterator[str]:
    """Those that the path does not show already."""
    for each in operation.get("parameters", ()):
        if each["in"] == "path":
            continue
        name = f"`{each['name']}`" if each["in"] == "query" else f"header `{each['name']}`"
        yield _row(name, each["schema"], models, each["required"], each.get("description", ""))


def _body(operation: Schema, models: Schema) -> Iterator[str]:
    content = operation.get("requestBody", {}).get("content", {})
    for schema in (media.get("schema", {}) for media in content.values()):
        for model in _models_of(schema, models):
            yield from _fields(model, models, "")


def _fields(model: Schema, models: Schema, where: str) -> Iterator[str]:
    """A row for each field of a body, and below it for those of what it holds: ``filter.state``, ``tasks[].key``."""
    for name, field in model.get("properties", {}).items():
        needed = name in model.get("required", ())
        yield _row(f"body `{where}{name}`", field, models, needed, field.get("description", ""))
        is_list = field.get("type") == "array"
        for inner in _models_of(field["items"] if is_list else field, models):
            yield from _fields(inner, models, f"{where}{name}{'[]' if is_list else ''}.")


def _models_of(schema: Schema, models: Schema) -> Iterator[Schema]:
    for each in (schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())):
        if "$ref" in each:
            yield models[_name(each["$ref"])]


def _row(name: str, schema: Schema, models: Schema, needed: bool, about: str) -> str:
    default = schema.get("default")
    notes = [_plain(about).replace("\n", " ")] if about else []
    if needed:
        notes.append("required")
    elif default not in (None, "", [], {}):
        notes.append(f"default `{default}`")
    return f"| {name} | {type_in_words(schema, models)} | {'; '.join(notes)} |".replace("|  |", "| |")


def type_in_words(schema: Schema, models: Schema) -> str:
    """In words, with the bounds: ``integer, 1 to 500``."""
    if "$ref" in schema:
        return _model(_name(schema["$ref"]), models)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(
            dict.fromkeys(type_in_words(option, models) for option in options if option.get("type") != "null")
        )
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{word}`" for word in schema.get("enum", [schema.get("const")]))
    kind: str = schema.get("type", "any value")
    if kind == "array":
        many = _bounds(schema, "minItems", "maxItems", " of them").replace(",", ";", 1)
        return f"list of {type_in_words(schema.get('items', {}), models)}{many}"
    unit = " characters" if kind == "string" else ""
    return kind + _bounds(schema, "minLength", "maxLength", unit) + _bounds(schema, "minimum", "maximum", "")


def _bounds(schema: Schema, low: str, high: str, unit: str) -> str:
    least, most = (_number(schema[end]) if end in schema else "" for end in (low, high))
    if least and most:
        return f", {least} to {most}{unit}"
    if most:
        return f", at most {most}{unit}"
    return f", at least {least}{unit}" if least else ""


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:,}"


def _name(reference: str) -> str:
    return reference.rsplit("/", 1)[1]


def _model(name: str, models: Schema) -> str:
    model = models[name]
    return type_in_words(model, models) if "enum" in model else f"`{model.get('title', name)}`"


def _answer(operation: Schema, models: Schema) -> str:
    """Status and model of what a call answers when it succeeds."""
    answers = []
    for status, response in operation["responses"].items():
        if not status.startswith("2"):
            continue
        schema: Schema = next((media.get("schema", {}) for media in response.get("content", {}).values()), {})
        answers.append(f"{status}: {_shown(schema, models)}" if schema else status)
    return ", ".join(answers)


def _shown(schema: Schema, models: Schema) -> str:
    """A model by its fields; a page by those of its items."""
    if "$ref" not in schema:
        return type_in_words(schema, models)
    model = models[_name(schema["$ref"])]
    fields = model.get("properties", {})
    names = ", ".join(f"`{name}`" for name in fields)
    items = fields.get("items", {}).get("items", {})
    return (
        f"{names}; each item has {_shown(items, models)}" if "$ref" in items else names or type_in_words(schema, models)
    )


_HEAD: Final = """\
# The HTTP API

Generated by `python -m gojob_redis.ops.documents api > docs/api.md` from the OpenAPI document, which every gateway
serves at `/openapi.json`, with pages to try it out at `/docs`. [permissions.md](permissions.md) says which token may
make which call.

- Each request carries `Authorization: Bearer gj_…`. Only health checks need no token.
- What a caller sends is refused whole or taken whole. A field or query parameter that nobody knows is refused.
- An error is a problem (RFC 9457): `code` is stable, `detail` says what happened, `hint` what to do, `field` where.
- A list comes in pages: `items`, and `next`, which is the `cursor` of the page that follows; `null` on the last one.
- Times are milliseconds since 1970 and end with `_ms`. An app is written as `namespace/app`.
- What a token may not see is answered as if it were not there.
- A POST that makes something takes an `Idempotency-Key`; the same key within 24 h answers with what was made first."""
