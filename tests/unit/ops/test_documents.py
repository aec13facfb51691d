"""The generated documents are those that the code makes today."""

import re
from pathlib import Path

import pytest

from gojob_redis.control.identities import PERMISSIONS
from gojob_redis.ops import documents

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", documents.DOCUMENTS)
def test_a_document_is_what_the_code_says(name: str) -> None:
    assert (DOCS / f"{name}.md").read_text("utf-8") == documents.DOCUMENTS[name](), "run: make docs"


def test_make_writes_every_generated_document() -> None:
    generated = re.findall(r"^GENERATED *:= *(.+)$", (DOCS.parent / "Makefile").read_text("utf-8"), re.MULTILINE)

    assert set(generated[0].split()) == set(documents.DOCUMENTS)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("LEASE_MS", 15_000, "15 s"),
        ("IDEMPOTENCY_MS", 86_400_000, "24 h"),
        ("LEDGER_MS", 30 * 86_400_000, "30 days"),
        ("LATEST_MS", 4_102_444_800_000, "2100-01-01"),
        ("PARAM_BYTES", 256 * 1024, "256 KiB"),
        ("INLINE_PARAM_BYTES", 64, "64 bytes"),
        ("FIRE_CPU_US", 2_000, "2,000 µs"),
        ("QUEUED", 1_000_000, "1,000,000"),
    ],
)
def test_a_limit_is_told_with_its_unit(name: str, value: int, text: str) -> None:
    assert documents.measured(name, value) == text


def test_the_calls_are_told_with_who_may_make_them() -> None:
    told = documents.permissions()

    assert "| `GET /livez` | The process answers | no token | yes | yes | yes |" in told
    assert "| `POST /v1/tokens` |" in told
    assert all(f"| `{kind}` |" in told for kind in PERMISSIONS)
