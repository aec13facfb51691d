"""``gojob failures``: what failed, those alike together."""

from typing import Annotated, Any

import typer

from gojob_redis.cli.calls import call
from gojob_redis.cli.options import AsJson, Cursor, SomeApp, SomeNamespace, in_scope
from gojob_redis.runtime.terminal import show

DIGEST_CHARS = 8
"""Of the digest of a version that has no name: enough to tell one from the next."""
VERSIONS = ("first_in", "last_in")
COLUMNS = (
    "last_ms",
    "count",
    "namespace",
    "app",
    "handler",
    "type",
    "message",
    "fingerprint",
    "task",
    "first_ms",
    *VERSIONS,
)


def list_failures(
    app: SomeApp = "",
    namespace: SomeNamespace = "",
    handler: Annotated[str, typer.Option("--handler", "-H", help="Only this handler of the app.")] = "",
    cursor: Cursor = "",
    as_json: AsJson = False,
) -> None:
    """What failed, by type and message without numbers and ids, the last seen first."""
    query: dict[str, Any] = {**in_scope(namespace, app), "handler": handler, "cursor": cursor}
    page = call("GET", "/failures", **query)
    if not as_json:
        page = {**page, "items": [group | {name: _shown(group[name]) for name in VERSIONS} for group in page["items"]]}
    show(page, as_json, COLUMNS, paged=True)


def _shown(version: dict[str, str] | None) -> str:
    """What a version is called, else the beginning of its digest."""
    return "" if version is None else version["version"] or version["digest"][:DIGEST_CHARS]
