"""What a document points at exists: files, headings, and tests."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
DOCUMENTS: Final = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "sdk/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
)
CODE: Final = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
PATH: Final = re.compile(r"`((?:gojob_redis|sdk|tests|bench|examples|docs|\.ci)/[\w./-]*)`")
TEST: Final = re.compile(r"`(test_\w+)`")
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """What a link may name in a document: each heading in lower case, words joined by hyphens."""
    headings = HEADING.findall(document.read_text("utf-8"))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> Iterator[tuple[Path, str, str]]:
    for document in DOCUMENTS:
        for target, anchor in LINK.findall(CODE.sub("", document.read_text("utf-8"))):
            if "://" not in target:
                yield document, target, anchor


def test_a_link_leads_to_a_file_and_a_heading_of_it() -> None:
    broken = []
    for document, target, anchor in links():
        path = (document.parent / target).resolve() if target else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(f"{document.relative_to(ROOT)}: {target}#{anchor}")

    assert broken == []


def test_a_path_that_is_named_exists() -> None:
    named = [(doc, path) for doc in DOCUMENTS for path in PATH.findall(doc.read_text("utf-8"))]

    assert [f"{doc.name}: {path}" for doc, path in named if not (ROOT / path).exists()] == []
    assert len(named) > 50


def test_a_test_that_is_named_exists() -> None:
    written = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = [(doc, name) for doc in DOCUMENTS for name in TEST.findall(doc.read_text("utf-8"))]

    assert [f"{doc.name}: {name}" for doc, name in named if f"def {name}(" not in written] == []


def test_the_readme_leads_to_every_page() -> None:
    readme = ROOT / "README.md"
    linked = {target for document, target, _anchor in links() if document == readme}

    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} - linked == set()


def test_a_decision_has_the_number_of_its_file() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))

    assert [
        path.name for path in decisions if not path.read_text("utf-8").startswith(f"# {int(path.name[:4])}. ")
    ] == []
