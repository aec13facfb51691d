"""An older release, taken out of git, for processes that run beside ours.

Which one: the revision in ``FAULTS_PREVIOUS``; else the newest tag ``v*`` before HEAD that writes data of our schema;
else the newest commit of our schema with other scripts than the working tree. Its two packages are unpacked into a
directory of their own; a process that is started with ``env`` imports them and, for the rest, what ours imports.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from gojob_redis.engine.keys import SCHEMA
from tests.faults.scenario import Skipped

ROOT = Path(__file__).parents[2]
PACKAGES = ("gojob_redis", "sdk/gojob_sdk")
SCRIPTS, KEYS = "gojob_redis/lua", "gojob_redis/engine/keys.py"
ASK = """
import json, gojob_redis, gojob_sdk
from gojob_redis.engine.scripts import load_all
shas = {name: verb.shas["real"] for name, verb in load_all().items()}
print(json.dumps({"from": [gojob_redis.__file__, gojob_sdk.__file__], "shas": shas}))
"""


@dataclass(frozen=True, slots=True)
class Release:
    """A release that can be started."""

    revision: str
    env: Mapping[str, str]
    shas: Mapping[str, str]
    """Of its scripts, by verb."""


def previous(directory: Path, revision: str = "") -> Release:
    """Unpack the older release; raises Skipped where there is none to be had."""
    revision = revision or next(revisions())
    for package in PACKAGES:
        _unpack(_git("archive", "--format=tar", f"{revision}:{package}"), directory / Path(package).name)
    # Without the safe path, `python -m` looks into the working directory first, which holds our own packages.
    env = {"PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)]), "PYTHONSAFEPATH": "1"}
    answer = subprocess.run([sys.executable, "-c", ASK], env=os.environ | env, capture_output=True, check=True)
    facts = json.loads(answer.stdout)
    strangers = [origin for origin in facts["from"] if not Path(origin).is_relative_to(directory)]
    assert not strangers, f"the release before would run our own code: {strangers}"
    return Release(revision, env, facts["shas"])


def revisions() -> Iterator[str]:
    """The older releases whose data is of our schema, the best first; raises Skipped in the place of the first."""
    if named := os.environ.get("FAULTS_PREVIOUS"):
        yield named
        return
    revisions = (revision for revision in (*_tags(), *_commits()) if _schema(revision) == SCHEMA)
    first = next(revisions, None)
    if first is None:
        cut = _git("rev-parse", "--is-shallow-repository").strip() == b"true"
        raise Skipped(
            f"no commit before this one has other scripts and data of schema {SCHEMA}; name one in FAULTS_PREVIOUS"
            + (", or fetch the rest of the history: git fetch --unshallow" if cut else "")
        )
    yield first
    yield from revisions


def _tags() -> Iterator[str]:
    ours = _git("tag", "--points-at", "HEAD").decode().split()
    tags = _git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-v:refname").decode().split()
    yield from (tag for tag in tags if tag not in ours and re.fullmatch(r"v\d+(\.\d+)*", tag))


def _commits() -> Iterator[str]:
    """The newest first; none that is older than the schema of its data."""
    for commit in _git("rev-list", "HEAD", "--", SCRIPTS).decode().split():
        if _schema(commit) != SCHEMA:
            return
        if _git("diff", "--name-only", commit, "--", SCRIPTS):
            yield commit


def _schema(revision: str) -> int:
    """Of the data that a revision writes; 0 where it cannot be told."""
    try:
        text = _git("show", f"{revision}:{KEYS}").decode()
    except Skipped:
        return 0
    match = re.search(r"^SCHEMA = (\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else 0


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise Skipped("there is no git") from None
    except subprocess.CalledProcessError as error:
        raise Skipped(f"git {arguments[0]} failed: {error.stderr.decode().strip()}") from None


def _unpack(archive: bytes, into: Path) -> None:
    with tarfile.open(fileobj=BytesIO(archive)) as packed:
        packed.extractall(into, filter="data")
