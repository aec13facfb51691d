"""Values that parsers choke on, in every place of every route that takes a number, an id, a cursor or a moment."""

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

HUGE = "9" * 40
VALUES = (
    "", "-1", "+1", "1_0", "1.5", "nan", "٣", "٣-٣", "\x00", "1\n", "é", "~", "2٣~1.0", "1~٣.٣", "-", "0-0",
    "18446744073709551615-18446744073709551615", "18446744073709551616-0", HUGE, f"{HUGE}-{HUGE}", f"{HUGE}.{HUGE}",
    "99999999999999999.999999999", "0-0.0", "0-0.99", "0-0.0.a/b", "00f", "zzszzzzzzzzzzzzzzzzz",
    "00s٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣", "../..", "(1", f"{HUGE}s", "x" * 300,
)  # fmt: skip
MOMENTS = (
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2027-01-01T00:00:00+24:00", "２０２７-01-01T00:00:00Z",
)  # fmt: skip
JSON_VALUES: tuple[Any, ...] = (
    "", "٣", "1_0", "\x00", HUGE, *MOMENTS, -1, 2**63, 2**64, 10**40, 1.5, True, None, [], {}, [[]], {"a": {}}, ["٣"],
)  # fmt: skip
CRON_FIELDS = ("", "-1", "1_0", "٣", "²", "\x00", HUGE, f"*/{HUGE}", f"{HUGE}-{HUGE}", "*/٣", "1-٣")
USUAL = {
    "namespace": "default",
    "app": "shop",
    "handler": "send",
    "name": "nightly",
    "trigger": "nightly",
    "session": "s1",
}


class Nasty(NamedTuple):
    """One request."""

    method: str
    path: str
    body: Any = None

    def __str__(self) -> str:
        return f"{self.method} {self.path[:150]!r} {str(self.body)[:150]}"


def requests(document: dict[str, Any], *, task: str, seldom: bool = True) -> Iterator[Nasty]:
    """Each parameter of each route with each value, the others being usual; a fresh body likewise, field by field.

    task: one that exists.  seldom: also the routes that make and revoke tokens.
    """
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in ("get", "put", "post", "delete") and (seldom or "token" not in path):
                yield from _of_route(method.upper(), path, operation, document, {**USUAL, "task": task})


def _of_route(
    method: str, path: str, operation: dict[str, Any], document: dict[str, Any], usual: dict[str, str]
) -> Iterator[Nasty]:
    parameters = operation.get("parameters", [])
    in_path = [each["name"] for each in parameters if each["in"] == "path"]
    in_query = [each["name"] for each in parameters if each["in"] == "query"]
    given = {name: usual.get(name, "x") for name in in_path}
    body = _usual_body(path, method)
    for name in in_path:
        for value in VALUES:
            yield Nasty(method, _written(path, {**given, name: value}), body)
    needed = {each["name"]: "abcdefg" for each in parameters if each["in"] == "query" and each.get("required")}
    if path.endswith("/tasks") and method == "GET":
        needed |= {"app": "shop", "handler": "send"}
    for name in in_query:
        for value in VALUES:
            yield Nasty(method, f"{_written(path, given)}?{urlencode({**needed, name: value})}", body)
    if "requestBody" in operation:
        for field in _fields(operation["requestBody"], document):
            for value in JSON_VALUES:
                yield Nasty(method, _written(path, given), {**(body or {}), field: value})
    if "schedule" in (body or {}):
        for schedule in _schedules():
            yield Nasty(method, _written(path, given), {**(body or {}), "schedule": schedule})


def _schedules() -> Iterator[dict[str, Any]]:
    """Each field of each kind of schedule with each value."""
    rules: dict[str, dict[str, Any]] = {
        "once": {"at": 1},
        "cron": {"spec": "* * * * *", "time_zone": "UTC", "start_at": 1, "end_at": 2**40},
        "every": {"every_ms": 60_000, "anchor_at": 1},
    }
    for kind, rule in rules.items():
        for field in rule:
            for value in JSON_VALUES:
                yield {"kind": kind, **rule, field: value}
    for value in CRON_FIELDS:
        yield {"kind": "cron", "spec": f"{value} * * * *", "time_zone": "UTC"}


def _written(path: str, given: dict[str, str]) -> str:
    for name, value in given.items():
        path = path.replace("{" + name + "}", quote(value, safe=""))
    return path


def _usual_body(path: str, method: str) -> dict[str, Any] | None:
    if method == "GET" or method == "DELETE":
        return None
    if path.endswith("preview"):
        return {"schedule": {"kind": "manual"}}
    if path.endswith("/triggers/{name}"):
        return {"handler": "send", "schedule": {"kind": "manual"}, "allow_unknown": True}
    if path.endswith("tasks:batch"):
        return {"tasks": [{"allow_unknown": True}]}
    return {"allow_unknown": True} if path.endswith("/tasks") else None


def _fields(body: dict[str, Any], document: dict[str, Any]) -> list[str]:
    schema = next(iter(body["content"].values()))["schema"]
    choices = [schema, *schema.get("anyOf", [])]
    named = [each["$ref"].rpartition("/")[2] for each in choices if "$ref" in each]
    return [field for name in named for field in document["components"]["schemas"][name].get("properties", {})]
