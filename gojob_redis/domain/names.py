"""Names, labels and groups: what may be written, and in which one form it is stored.

Everything that a user can name ends up inside a Redis key, so each check is a full match against a small ASCII
alphabet: no name can contain the separators of a key (``:``), of a tag (``{}``), of a label list (``=`` and ``,``) or
of an address (``/``, except inside a label).
"""

import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from heapq import nlargest
from typing import NewType

from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.ids import base36
from gojob_redis.domain.limits import (
    ATTRIBUTES_PER_SESSION,
    ATTRIBUTES_PER_TASK,
    LABEL_CHARS,
    LABELS_PER_SESSION,
    NAME_CHARS,
)

GroupId = NewType("GroupId", str)

_NAME = re.compile(rf"[a-z0-9]([a-z0-9._-]{{0,{NAME_CHARS - 2}}}[a-z0-9])?")
_HANDLER = re.compile(rf"[A-Za-z0-9]([A-Za-z0-9._-]{{0,{NAME_CHARS - 2}}}[A-Za-z0-9])?")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LABEL = re.compile(rf"[A-Za-z0-9._/-]{{1,{LABEL_CHARS}}}")

_NAME_HINT = "Use lower-case letters, digits, '.', '_' and '-', beginning and ending with a letter or digit."
_HANDLER_HINT = "Use letters, digits, '.', '_' and '-', beginning and ending with a letter or digit."
_LABEL_HINT = "Use letters, digits, '.', '_', '/' and '-'."
_SHOWN_CHARS = 80
_ALIKE = 0.6
"""Share of two names that has to agree before one is suggested for the other."""
_SUGGEST_S = 0.005
"""Of CPU: two names of 64 letters from a small alphabet take 1 ms to compare."""
_COMPARED_CHARS = 255


def check_namespace(name: object, field: str = "namespace") -> str:
    """Return the name of a namespace, or raise BadRequest ``bad_name``."""
    return _check_name(name, field, _NAME, _NAME_HINT)


def check_app(name: object, field: str = "app") -> str:
    """Return the name of an app, or raise BadRequest ``bad_name``."""
    return _check_name(name, field, _NAME, _NAME_HINT)


def check_trigger(name: object, field: str = "trigger") -> str:
    """Return the name of a trigger, or raise BadRequest ``bad_name``."""
    return _check_name(name, field, _NAME, _NAME_HINT)


def check_handler(name: object, field: str = "handler") -> str:
    """Return the name of a handler (upper case allowed: it often is a class), or raise BadRequest ``bad_name``."""
    return _check_name(name, field, _HANDLER, _HANDLER_HINT)


def check_labels(labels: object, field: str = "labels", *, most: int = LABELS_PER_SESSION) -> dict[str, str]:
    """Return labels as a dict sorted by key; None counts as none.

    Raises BadRequest ``bad_label`` for a key or value, ``too_many_labels`` above ``most``.
    """
    return _check_pairs(labels, field, most, word="label")


def check_attributes(
    attributes: object, field: str = "attributes", *, most: int = ATTRIBUTES_PER_SESSION
) -> dict[str, str]:
    """Return what a session offers besides its labels, as a dict sorted by key; None counts as none.

    Raises BadRequest ``bad_attribute`` for a key or value, ``too_many_attributes`` above ``most``.
    """
    return _check_pairs(attributes, field, most, word="attribute")


def check_required_attribute(attribute: object, field: str = "attribute") -> dict[str, str]:
    """Return the one attribute that a task may require (or none); raises as ``check_attributes`` does."""
    return check_attributes(attribute, field, most=ATTRIBUTES_PER_TASK)


def canonical_labels(labels: Mapping[str, str]) -> str:
    """Write checked labels in the one form that keys and lanes use: ``a=b,c=d`` by key, ``""`` for none."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels))


def group_id(app: str, handlers: Iterable[str], labels: Mapping[str, str], attributes: Iterable[str] = ()) -> GroupId:
    """Name the group of a session: the same for every process of one deployment, in whatever order it announces things.

    app: as unique as the caller needs it; ``namespace/app`` where one partition holds several namespaces.
    attributes: only their *names* count. With their values (``host=db7``) every process would be a group of its own,
    and a lane has room for 16.
    Returns 13 characters of base 36: 64 bits of BLAKE2b.
    """
    parts = (app, "\n".join(sorted(set(handlers))), canonical_labels(labels), "\n".join(sorted(set(attributes))))
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8, person=b"gojob.group").digest()
    return GroupId(base36(int.from_bytes(digest), 13))


def nearest(name: str, candidates: Iterable[str], *, most: int = 3) -> list[str]:
    """Suggest the known names that a mistyped one was probably meant to be, likeliest first; case does not count.

    Those that are not looked at within 5 ms are not suggested, so the likelier ones should come first.
    """
    matcher: SequenceMatcher[str] = SequenceMatcher()
    matcher.set_seq2(name[:_COMPARED_CHARS].casefold())
    by_folded: dict[str, str] = {}
    alike: list[tuple[float, str]] = []
    until = time.thread_time() + _SUGGEST_S
    for candidate in candidates:
        folded = candidate[:_COMPARED_CHARS].casefold()
        if by_folded.setdefault(folded, candidate) is not candidate:
            continue
        matcher.set_seq1(folded)
        if matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE:
            ratio = matcher.ratio()
            if ratio >= _ALIKE:
                alike.append((ratio, folded))
        if time.thread_time() > until:
            break
    return [by_folded[folded] for _ratio, folded in nlargest(most, alike)]


def check_traceparent(text: str, field: str = "traceparent") -> str:
    """Return a W3C ``traceparent``, or raise BadRequest ``bad_traceparent``."""
    if not _TRACEPARENT.fullmatch(text):
        raise BadRequest(
            "bad_traceparent",
            f"{field} {text[:_SHOWN_CHARS]!r} is no W3C traceparent.",
            field=field,
            hint="Write version, trace id, parent id and flags in lower-case hexadecimal: 00-<32>-<16>-01; "
            "neither id is all zeros.",
        )
    return text


def _check_name(name: object, field: str, pattern: re.Pattern[str], hint: str) -> str:
    if isinstance(name, str) and pattern.fullmatch(name):
        return name
    if isinstance(name, str) and len(name) > NAME_CHARS:
        why = f"has {len(name)} characters; at most {NAME_CHARS} are allowed"
    elif name == "":
        why = "is empty"
    else:
        why = "is not a valid name"
    raise BadRequest("bad_name", f"{field} {_shown(name)} {why}.", field=field, hint=hint, limit=NAME_CHARS)


def _check_pairs(pairs: object, field: str, most: int, *, word: str) -> dict[str, str]:
    if pairs is None:
        return {}
    if not isinstance(pairs, Mapping):
        raise BadRequest(
            f"bad_{word}", f"{field} is {_shown(pairs)}, not a mapping.", field=field, hint="Send names with values."
        )
    if len(pairs) > most:
        raise BadRequest(
            f"too_many_{word}s",
            f"{field} holds {len(pairs)} {word}s; at most {most} are allowed here.",
            field=field,
            hint=f"Keep only the {word}s that decide where work goes.",
            limit=most,
        )
    for key, value in pairs.items():
        _check_label_text(key, field, f"{word} name", word)
        _check_label_text(value, f"{field}.{key}", f"{word} value", word)
    return {key: pairs[key] for key in sorted(pairs)}


def _check_label_text(text: object, field: str, what: str, word: str) -> None:
    if isinstance(text, str) and _LABEL.fullmatch(text):
        return
    raise BadRequest(
        f"bad_{word}",
        f"{field}: the {what} {_shown(text)} is not 1 to {LABEL_CHARS} of the allowed characters.",
        field=field,
        hint=_LABEL_HINT,
        limit=LABEL_CHARS,
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
