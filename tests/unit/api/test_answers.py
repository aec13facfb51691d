"""Every answer says what is in it: the document of the API has no value of which nothing is known, but payloads."""

from collections.abc import Iterator
from typing import Any

from gojob_redis.api.app import description

PAYLOADS = frozenset(
    {
        *("Attempt.error", "Run.error", "Run.param", "Run.progress", "Run.result"),
        *("Task.error", "Task.params", "Task.progress", "Task.result", "TaskNow.progress"),
        *("TriggerAnswer.params", "TriggerAnswer.shard_params", "Change.before", "Change.after"),
        *("HandlerVersion.params", "Worker.facts"),
    }
)
"""What users gave, and is shown as it is: parameters, results, errors, schemas, facts that a worker tells."""
WORDS = frozenset({"state", "reason", "kind", "word", "place", "mark"})
"""Fields of answers that hold one of some words."""
PLAIN = frozenset(
    {
        *("Accepted.state", "Canceled.state", "EndRow.state", "JobRow.reason", "NewToken.kind", "ReasonCount.reason"),
        *("Run.reason", "Run.state", "Sample.reason", "Task.place", "Task.reason", "Task.state", "TaskNow.place"),
        *("TaskNow.reason", "TaskNow.state", "TaskRow.place", "TaskRow.reason", "TaskRow.state", "TokenAnswer.kind"),
        "Worker.state",
    }
)
"""Those that do not say which words. The list only gets shorter."""


def _bare(schema: Any, at: str, models: dict[str, Any], seen: set[str]) -> Iterator[str]:
    """The places below a schema that say nothing of their values."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            seen.add(name)
            yield from _bare(models[name], name, models, seen)
        return
    for part in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(part, ()):
            yield from _bare(each, at, models, seen)
    if "items" in schema:
        yield from _bare(schema["items"], at, models, seen)
    for name, each in schema.get("properties", {}).items():
        yield from _bare(each, f"{at}.{name}", models, seen)
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        yield from _bare(values, at, models, seen)
    is_object = schema.get("type") == "object" and "properties" not in schema and not isinstance(values, dict)
    says_nothing = not schema.keys() & {"type", "anyOf", "oneOf", "allOf", "enum", "const"}
    is_list = schema.get("type") == "array" and not schema.keys() & {"items", "prefixItems"}
    is_empty = schema.get("properties") == {}
    if (is_object and not is_empty) or says_nothing or is_list:
        yield at


def _answers() -> set[str]:
    document = description()
    models, seen, places = document["components"]["schemas"], set[str](), set[str]()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                schema = response.get("content", {}).get("application/json", {}).get("schema")
                if status.startswith("2") and schema is not None:
                    places.update(_bare(schema, f"{method.upper()} {path}", models, seen))
    return places


def _plain() -> set[str]:
    """Fields of models that hold words, and do not say which."""
    models = description()["components"]["schemas"]
    fields = ((name, field, part) for name in models for field, part in models[name].get("properties", {}).items())
    return {
        f"{name}.{field}"
        for name, field, part in fields
        if field in WORDS
        and not name.endswith("Body")
        and part.get("type") == "string"
        and not part.keys() & {"enum", "const"}
    }


def test_an_answer_holds_nothing_of_which_nothing_is_known_but_payloads() -> None:
    assert _answers() - PAYLOADS == set()


def test_a_field_of_words_says_which() -> None:
    assert _plain() - PLAIN == set()


def test_the_bounds_of_parameters_have_the_names_that_others_read() -> None:
    paths = description()["paths"]
    parameters = [each for path in paths.values() for call in path.values() for each in call.get("parameters", ())]
    schemas = [part for each in parameters for part in (each["schema"], *each["schema"].get("anyOf", ()))]

    assert [each for each in schemas if each.keys() & {"ge", "le", "gt", "lt"}] == []
    assert all("maximum" in each["schema"] for each in parameters if each["name"] == "limit")
