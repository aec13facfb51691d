"""The release before this one, taken out of git, for processes that run beside ours.

Which one: the revision in ``FAULTS_PREVIOUS``, or the newest tag ``v*`` before HEAD. Its two packages are unpacked into
a directory of their own; a process that is started with ``env`` imports them and, for the rest, what ours imports.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from tests.faults.scenario import Skipped

ROOT = Path(__file__).parents[2]
PACKAGES = ("gojob_redis", "sdk/gojob_sdk")
ASK = """
import json, gojob_redis, gojob_sdk
from gojob_redis.scripts import load_all
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


def previous(directory: Path) -> Release:
    """Unpack the release before this one; raises Skipped where there is none to be had."""
    revision = os.environ.get("FAULTS_PREVIOUS") or _newest_tag()
    for package in PACKAGES:
        _unpack(_git("archive", "--format=tar", f"{revision}:{package}"), directory / Path(package).name)
    # Without the safe path, `python -m` looks into the working directory first, which holds our own packages.
    env = {"PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)]), "PYTHONSAFEPATH": "1"}
    answer = subprocess.run([sys.executable, "-c", ASK], env=os.environ | env, capture_output=True, check=True)
    facts = json.loads(answer.stdout)
    strangers = [origin for origin in facts["from"] if not Path(origin).is_relative_to(directory)]
    assert not strangers, f"the release before would run our own code: {strangers}"
    return Release(revision, env, facts["shas"])


def _newest_tag() -> str:
    ours = _git("tag", "--points-at", "HEAD").decode().split()
    tags = _git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-v:refname").decode().split()
    newest = next((tag for tag in tags if tag not in ours and re.fullmatch(r"v\d+(\.\d+)*", tag)), None)
    if newest is None:
        raise Skipped("there is no tag v* before HEAD; name a revision in FAULTS_PREVIOUS")
    return newest


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
