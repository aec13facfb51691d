"""docs/protocol.md: what it says in tables is what the code does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from gojob_redis.conformance.run import SCENARIOS
from gojob_sdk import protocol

ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs" / "protocol.md").read_text("utf-8")
FRAMES = {protocol.frame_type(one): one for one in get_args(protocol.Frame)}
BROKEN = {"broken_invariant", "no_epoch", "script_failed"}
"""Codes of what is no refusal, but ends a socket, too."""


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the first table below a heading, without its head."""
    table = DOC.partition(f"{heading}\n")[2].partition("\n|")[2]
    for line in table.splitlines()[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


# --- lists ------------------------------------------------------------------------------------------------------------


def lists(schema: dict[str, Any], part: dict[str, Any], path: str) -> Iterator[tuple[str, int]]:
    """Every list and map of a frame that has a most, with that."""
    while "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    most = part.get("maxItems", part.get("maxProperties"))
    if most is not None:
        yield path, most
    for name, inner in part.get("properties", {}).items():
        yield from lists(schema, inner, f"{path}.{name}")
    if "items" in part:
        yield from lists(schema, part["items"], path)


def test_the_document_names_the_limit_of_every_list() -> None:
    told = {
        name: int(most.replace(",", ""))
        for names, most in rows("### Lists")
        for name in re.findall(r"`([\w.]+)`", names)
    }
    known: dict[str, int] = {}
    for word, frame in FRAMES.items():
        schema = TypeAdapter(frame).json_schema()
        known |= dict(lists(schema, schema, word))

    assert told == known


# --- refusals ---------------------------------------------------------------------------------------------------------


def codes(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


OVER_HTTP = {"jobs_full", "streams_full", "draining"}
"""Reasons that no worker's socket meets."""
REFUSALS = {int(code): codes(names) for code, names, _ in rows("## 5. Refusals")}


def calls(name: str) -> Iterator[ast.Call]:
    """Every call of this name in the server's code."""
    for path in (ROOT / "gojob_redis").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield node


def texts(node: ast.expr) -> list[str]:
    """The texts that an argument may be."""
    return [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def test_the_document_has_every_close_code() -> None:
    known = {value for name, value in vars(protocol).items() if name.startswith("CLOSE_")}

    assert known <= REFUSALS.keys()
    assert {code for code in REFUSALS if code >= 4000} <= known


def test_the_document_has_every_refusal_under_its_close_code() -> None:
    found = 0
    for call in calls("Refused"):
        close = call.args[2]
        name = close.attr if isinstance(close, ast.Attribute) else close.id if isinstance(close, ast.Name) else ""
        words = [text for text in texts(call.args[0]) if re.fullmatch(r"[a-z_]+", text)]
        if not name.startswith("CLOSE_"):
            assert not words, f"which close code has {words}?"
            continue
        for word in words:
            assert word in REFUSALS[getattr(protocol, name)], f"{word} with {name}"
            found += 1

    assert found >= 10


def test_the_document_has_every_reason_to_come_again_later() -> None:
    raised = {
        text
        for call in calls("Unavailable")
        for word in call.keywords
        if word.arg == "code"
        for text in texts(word.value)
    }
    raised |= {text for call in calls("LimitReached") for text in texts(call.args[0]) if text.endswith("_full")}
    raised |= {
        text
        for call in calls("Headcount")
        if "sockets" in texts(call.args[0])
        for text in texts(call.keywords[0].value)
    }
    enlist = (ROOT / "gojob_redis" / "lua" / "enlist.lua").read_text("utf-8")
    [words] = re.findall(r"^-- EACH +word +(.*)$", enlist, re.MULTILINE)
    refused = {word.split()[0] for word in words.split(" | ")} - {"ok", "more"}

    assert (raised | {"unavailable"} | refused) - OVER_HTTP == REFUSALS[protocol.CLOSE_BUSY]


def test_what_is_nobodys_refusal_ends_a_socket_with_1011() -> None:
    assert REFUSALS[1011] == BROKEN


# --- the conformance kit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", sorted({one.section for one in SCENARIOS}))
def test_a_section_that_the_kit_names_is_there(section: str) -> None:
    number, _, name = section.removeprefix("§").partition(" ")
    chapter = DOC.partition(f"\n## {number}. ")[2].partition("\n## ")[0]

    assert chapter
    assert not name or re.search(
        rf"^(### {name}|\*\*(The )?{name})\b|^\| {name} \|", chapter, re.MULTILINE | re.IGNORECASE
    )


def test_scenarios_have_ids_of_their_own() -> None:
    assert len({one.id for one in SCENARIOS}) == len(SCENARIOS)
