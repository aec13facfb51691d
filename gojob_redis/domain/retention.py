"""How long ended tasks are kept: ``Retention``, set for a namespace, and some of it for one handler.

A namespace's settings lie in its record, a handler's in its hash (``retain.lua``). The retention hands them to the
scripts with each call, so a change holds for what is kept already.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of tasks that are over. Whichever bound is met first holds; nothing goes in its first 60 s."""

    done_ms: int = limits.HISTORY_MS
    """How long a task is kept that ran to completion."""
    done_count: int = limits.HISTORY_PER_HANDLER
    """How many of them are kept of a handler."""
    done_bytes: int = 0
    """How much memory they may take of a handler, judged by 20 of them; 0 = not bounded."""
    failed_ms: int = limits.FAILED_MS
    """How long a task is kept that faulted or was canceled."""
    failed_count: int = limits.FAILED_PER_APP
    """How many of them are kept of an app."""
    failed_bytes: int = 0
    """How much memory they may take of an app; 0 = not bounded."""

    def changed(self, values: Mapping[str, int | None]) -> "Retention":
        """With what was said, as `checked` lets it through; None goes back to the usual."""
        return replace(
            self, **{name: getattr(USUAL, name) if value is None else value for name, value in values.items()}
        )

    @property
    def moved(self) -> dict[str, int]:
        """Those that are not as usual."""
        usual = asdict(USUAL)
        return {name: value for name, value in asdict(self).items() if value != usual[name]}


USUAL: Final = Retention()
NAMES: Final = tuple(field.name for field in fields(Retention))
OF_HANDLER: Final = ("done_ms", "done_count", "done_bytes", "failed_ms")
"""Those that a handler may have for itself. What failed stands in one index of the app, which has one size."""
_MOST: Final = {"ms": limits.RETENTION_MAX_MS, "count": limits.RETENTION_MAX, "bytes": limits.RETENTION_MAX_BYTES}


def checked(values: Mapping[str, int | None], names: tuple[str, ...] = NAMES) -> dict[str, int | None]:
    """What was said of these settings; raises BadRequest ``unknown_setting``, ``bad_setting``."""
    for name, value in values.items():
        if name not in names:
            raise BadRequest(
                "unknown_setting",
                f"There is no setting {name[:80]!r} of the retention here.",
                field=f"retention.{name[:80]}",
                hint=f"Use {', '.join(names)}.",
            )
        most = _MOST[name.rpartition("_")[2]]
        if value is not None and not 0 <= value <= most:
            raise BadRequest(
                "bad_setting",
                f"retention.{name} is {value}, not a number from 0 to {most}.",
                field=f"retention.{name}",
                hint="Give null to go back to the usual one.",
                limit=most,
            )
    return dict(values)


def of_record(record: bytes | None) -> Retention:
    """That of a namespace, by its record in the control plane; what a later release added is passed over."""
    stored = json.loads(record).get("retention", {}) if record else {}
    return replace(USUAL, **{name: value for name, value in stored.items() if name in NAMES})


def of_handler(namespace: Retention, values: list[bytes | None]) -> Retention:
    """That of a handler. values: its own, in the order of ``OF_HANDLER``, as they lie in its hash."""
    own = {name: int(value) for name, value in zip(OF_HANDLER, values, strict=True) if value and value.isdigit()}
    return replace(namespace, **own)
