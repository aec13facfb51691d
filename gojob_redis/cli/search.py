"""``gojob search``: find anything by its id, its key or a part of its name."""

from typing import Annotated

import typer

from gojob_redis.cli.calls import call
from gojob_redis.cli.options import AsJson
from gojob_redis.runtime.terminal import show


def search(
    text: Annotated[str, typer.Argument(help="An id, the key of a task, or a part of a name.")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only what is in this namespace.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=50, help="Most lines.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Find tasks, triggers, handlers and workers by an id, a key or a part of a name."""
    answer = call("GET", "/search", q=text, namespace=namespace, limit=limit)
    if not as_json:
        for item in answer["items"]:
            item["app"] = f"{item['namespace']}/{item['app']}"
    show(answer, as_json, ("kind", "name", "app", "id", "handler", "state"))
