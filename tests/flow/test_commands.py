"""Every command in README and docs does what it says, exactly as it is printed there.

Blocks marked ``sh`` run one after another on one real installation, each in a directory of its own. One that needs what
a test has not is marked: ``<!-- not run: why -->`` in the line before. Commands in the text, and in blocks that do not
run, are looked up: their names, their options and the variables.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from gojob_redis.cli import main
from gojob_redis.engine.embedded import free_port
from gojob_redis.runtime import config
from gojob_sdk.testing import Embedded, embedded
from tests.flow.test_readme import README, examples, handlers, python, until

pytestmark = pytest.mark.real

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "sdk/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
)
BLOCK: Final = re.compile(r"(?:^<!-- not run: ([^\n]+) -->\n)?^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN: Final = re.compile(r"`([^`\n]+)`")
LANGUAGES: Final = {"sh", "text", "python", "hex", "mermaid", "nginx", "toml", "json", "js", "yaml"}
SERVES: Final = re.compile(r"\bgojob (dev|gateway|trigger|engine)\b")
WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a document."""

    path: Path
    line: int
    language: str
    text: str
    why_not: str = ""

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        for found in BLOCK.finditer(text):
            yield Block(path, text.count("\n", 0, found.start()) + 1, found[2], found[3], found[1] or "")


BLOCKS: Final = tuple(blocks())
RUN: Final = tuple(block for block in BLOCKS if block.language == "sh" and not block.why_not)


# ---- a reader's machine ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A whole scheduler, with the worker of the README's first example."""
    with embedded() as running:
        told = {"GOJOB_URL": running.url, "GOJOB_WORKER_TOKEN": running.worker_token}
        worker = python(examples(README)["worker"], {**os.environ, **told})
        try:
            until(lambda: b'"send"' in handlers(running))
            yield running
        finally:
            worker.kill()
            worker.communicate()


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who pastes a block into his shell; placeholders: what he puts for what stands there."""

    directory: Path
    environment: dict[str, str]
    placeholders: dict[str, str]

    def run(self, text: str) -> None:
        """Paste it; what serves goes on until the end of the block, and has to end in order."""
        for said, meant in self.placeholders.items():
            text = text.replace(said, meant)
        exports: list[str] = []
        with ExitStack() as stack:
            for command in commands(text):
                if command.startswith("export "):
                    exports.append(command)
                elif SERVES.search(command):
                    stack.enter_context(self._serving("\n".join([*exports, command])))
                else:
                    self._done("\n".join([*exports, command]))

    def _done(self, script: str) -> None:
        ran = subprocess.run(
            ("bash", "-euo", "pipefail", "-c", script),
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        said = ran.stdout + ran.stderr
        assert ran.returncode == 0, f"{script}\n{said}"
        assert '"status":4' not in said, f"{script}\n{said}"  # curl is content with a refusal

    @contextmanager
    def _serving(self, script: str) -> Iterator[None]:
        log = self.directory / f"{time.monotonic_ns()}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                ("bash", "-euo", "pipefail", "-c", script),
                cwd=self.directory,
                env=self.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            until(lambda: _is_up(process, log))
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            code = process.wait(WITHIN_S)
            assert code == 0, f"{script}\n{log.read_text('utf-8')}"


def _is_up(process: "subprocess.Popen[bytes]", log: Path) -> bool:
    said = log.read_text("utf-8", "replace")
    assert process.poll() is None, said
    return "gojob is ready" in said or "Ready to accept connections" in said


def commands(text: str) -> Iterator[str]:
    """The commands of a block: a line, or as many as a shell needs to understand it."""
    lines: list[str] = []
    for line in text.splitlines():
        lines.append(line)
        whole = "\n".join(lines)
        if not line.endswith("\\") and subprocess.run(("bash", "-n", "-c", whole), capture_output=True).returncode == 0:
            if whole.strip():
                yield whole
            lines = []
    assert not lines, f"the shell waits for more: {lines}"


@pytest.fixture
def reader(server: Embedded, tmp_path: Path) -> Reader:
    """He has the clone's command on his PATH, and exported what ``gojob dev`` told him to."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GOJOB_")}
    told = {"GOJOB_URL": server.url, "GOJOB_TOKEN": server.admin_token, "GOJOB_WORKER_TOKEN": server.worker_token}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    made = subprocess.run(
        (sys.executable, "-m", "gojob_redis.cli", "token", "create", "worker", "--json"),
        env={**clean, **told},
        capture_output=True,
        text=True,
        check=True,
    )
    engine_port = str(free_port())
    return Reader(
        tmp_path,
        {**clean, **told, "PATH": path, "PYTHONPATH": str(ROOT), "GOJOB_REDIS__URL": server.redis_url},
        {
            "redis://:PASSWORD@redis.example:6379/0": server.redis_url,
            "--port 6379": f"--port {engine_port}",
            "127.0.0.1:6379": f"127.0.0.1:{engine_port}",
            "--port 8700": f"--port {free_port()}",
            "--port 8701": f"--port {free_port()}",
            "KEYID": re.findall(r'"key_id": "(\w+)"', made.stdout)[0],
        },
    )


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_does_what_it_says(reader: Reader, block: Block) -> None:
    if "curl " in block.text and shutil.which("curl") is None:
        pytest.skip("NOT TESTED: curl is not installed")
    if SERVES.search(block.text):
        del reader.environment["GOJOB_REDIS__URL"]
        reader.environment["GOJOB_GATEWAY__PORT"] = str(free_port())
    reader.run(block.text)


# ---- what is only read -----------------------------------------------------------------------------------------------


def test_every_block_says_what_it_is() -> None:
    """One without a language would escape the test above."""
    assert [str(block) for block in BLOCKS if block.language not in LANGUAGES] == []
    assert {block.path.name for block in RUN} >= {"README.md", "cli.md", "operations.md", "security.md"}


def spoken() -> Iterator[tuple[str, str]]:
    """Each command of ours that a document names, in its text or in a block, and where."""
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        named = [*SPAN.findall(BLOCK.sub("", text)), *(line for block in blocks_of(path) for line in block)]
        for line in named:
            for found in re.finditer(r"(?:^|[|&;(] *|\s)(gojob [a-z][^|;&#`]*|make [a-z-]+)", line):
                yield path.name, found[1].strip()


def blocks_of(path: Path) -> list[list[str]]:
    return [block.text.splitlines() for block in BLOCKS if block.path == path and block.language == "sh"]


def test_every_command_that_is_named_exists_with_its_options() -> None:
    found = list(spoken())

    assert [f"{where}: {said}: {why}" for where, said in found if (why := _unknown(said))] == []
    assert len(found) > 30


def _unknown(said: str) -> str:
    """What is wrong with a command, "" for nothing."""
    program, *words = said.split()
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        return "" if words[0] in targets else "there is no such target"
    known: Any = typer.main.get_command(main.app)
    while words and hasattr(known, "commands"):
        name = words.pop(0)
        if name not in known.commands:
            return "" if not name.islower() else f"there is no {name}"
        known = known.commands[name]
    options = {name for option in known.params for name in (*option.opts, *option.secondary_opts)}
    asked = {word.partition("=")[0].rstrip("`.,:)") for word in words if word.startswith("-") and word != "-"}
    return ", ".join(sorted(asked - options - {"--", "-h", "--help"})) if "--" not in words else ""


def test_every_variable_that_is_named_exists() -> None:
    named = {name for path in DOCUMENTS for name in re.findall(r"\bGOJOB_[A-Z_]+[A-Z]\b", path.read_text("utf-8"))}

    assert config.unknown_variables(dict.fromkeys(named, "")) == []
