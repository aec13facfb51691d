"""Directories and files that only the user who runs us may enter and read: data, tokens, passwords.

1. The directory protects what is in it: no other user reaches a file or a socket below a directory that he may not
   enter. The modes of the files protect them a second time, after the directory was copied or opened.
2. A directory is closed only if it holds nothing but our files. An option may name ``/tmp`` or a home directory by
   mistake, and closing that would do harm.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from gojob_redis.domain.errors import GojobError

log = structlog.get_logger()

UMASK: Final = 0o077
OTHERS: Final = 0o077
"""The bits of a mode that give other users access."""


class NotPrivate(GojobError):
    """A directory cannot be kept from other users; nothing was written into it."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__("not_private", message, hint=hint)


def close_directory(path: Path, *, signs: tuple[str, ...] = ()) -> None:
    """Make a directory that only we may enter, or close one that others may; raises NotPrivate.

    signs: files of ours; a directory that others may enter is closed only if it holds one of them, or nothing.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise NotPrivate(
            f"{path} belongs to another user (uid {facts.st_uid}), who could read what is written there.",
            hint=f"Name a directory of your own, such as {path / 'gojob'}.",
        )
    if not facts.st_mode & OTHERS:
        return
    if any(path.iterdir()) and not any((path / sign).exists() for sign in signs):
        raise NotPrivate(
            f"Other users may enter {path}, and it holds other things than ours.",
            hint=f"Name a directory of its own, such as {path / 'gojob'}, or close this one: chmod 700 {path}",
        )
    path.chmod(0o700)
    log.warning("directory.closed", directory=str(path), mode_before=f"{stat.S_IMODE(facts.st_mode):o}")


def open_to_others(directory: Path) -> list[Path]:
    """What others could read below a directory if they could enter it; files that go meanwhile do not count."""
    paths = []
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            if path.lstat().st_mode & OTHERS:
                paths.append(path)
    return paths


def opener(path: str, flags: int) -> int:
    """For ``open(..., opener=)``: a new file is for its owner only."""
    return os.open(path, flags, 0o600)


def write(path: Path, text: str) -> None:
    """Replace a file that only its owner may read."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(new, "x", encoding="utf-8", opener=opener) as file:
        file.write(text)
    new.replace(path)


def read(path: Path) -> str:
    """The text of a file; "" if there is none."""
    return path.read_text("utf-8").strip() if path.exists() else ""
