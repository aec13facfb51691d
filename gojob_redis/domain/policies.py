"""The policies of tasks and triggers, one row each: everything else that names a policy is made from this table.

1. From a row come the field of the HTTP bodies with its bounds, the argument of the SDK, the flag of the command line,
   what an answer shows, the line of ``docs/policies.md``, and what the scripts take for its default and for lawful.
2. A set of policies is *written* as one text, ``retries=3 run_limit=5000``: in the order of the table, without those at
   their default. That text is a column of ``submit`` and ``define``, a field of a trigger and a part of its facts; in
   the record of a task each word of it is a field of its own. A ratio is written in thousandths, so all are digits or
   lower-case words.
3. A new policy is a row here, the line of Lua that goes by it, and a test. A name that is not in the table, of a later
   release, is carried along and changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gojob_redis.domain import limits

Kind = Literal["count", "ms", "ratio", "word"]
Setter = Literal["task", "trigger", "namespace"]
Moment = Literal["plan", "fire", "create", "bind", "end"]
Value = int | float | str

TASK: Final[frozenset[Setter]] = frozenset({"task", "trigger", "namespace"})
TRIGGER: Final[frozenset[Setter]] = frozenset({"trigger", "namespace"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One row: what may be said, who may say it, and when it takes effect."""

    name: str
    """As in bodies, answers and the SDK; ends in its unit."""
    kind: Kind
    """count: a whole number; ms: milliseconds; ratio: a number with at most three decimals; word: one of ``words``."""
    default: Value
    about: str
    """One sentence."""
    low: float = 0
    high: float = 0
    words: tuple[str, ...] = ()
    set_by: frozenset[Setter] = TASK
    applied_at: Moment
    since: int = 2
    """The schema of the data that knows it."""

    @property
    def field(self) -> str:
        """The name in Redis: without its unit, which is ms."""
        return self.name.removesuffix("_ms")

    def written(self, value: Value) -> str:
        """A value as it stands in Redis."""
        return str(round(float(value) * 1000)) if self.kind == "ratio" else str(value)

    def read(self, text: str) -> Value:
        """The value behind a text in Redis; raises ValueError for what is none."""
        if self.kind == "word":
            return text
        return int(text) / 1000 if self.kind == "ratio" else int(text)


POLICIES: Final = (
    Policy(
        name="priority",
        kind="count",
        default=limits.PRIORITY,
        low=limits.PRIORITY_MIN,
        high=limits.PRIORITY_MAX,
        applied_at="create",
        about="9 is served first, 0 last",
    ),
    Policy(
        name="retries",
        kind="count",
        default=0,
        high=limits.RETRIES,
        applied_at="end",
        about="how often a run that failed is run again",
    ),
    Policy(
        name="retry_interval_ms",
        kind="ms",
        default=0,
        high=limits.EVERY_MAX_MS,
        applied_at="end",
        about="from a failure to the next attempt",
    ),
    Policy(
        name="run_limit_ms",
        kind="ms",
        default=0,
        high=limits.EVERY_MAX_MS,
        applied_at="bind",
        about="from start to end of an attempt; 0 = none",
    ),
    Policy(
        name="queue_limit_ms",
        kind="ms",
        default=0,
        high=limits.EVERY_MAX_MS,
        applied_at="create",
        about="from creation to first start; 0 = 7 days",
    ),
    Policy(
        name="on_lost",
        kind="word",
        default="retry",
        words=("retry", "fault"),
        applied_at="end",
        about="when its worker is lost: run it again (at least once), or fault (at most once)",
    ),
    Policy(
        name="overlap",
        kind="word",
        default="skip",
        words=("skip", "allow"),
        set_by=TRIGGER,
        applied_at="fire",
        about="when the task before is not over: skip the slot, or run both",
    ),
    Policy(
        name="misfire",
        kind="word",
        default="once",
        words=("once",),
        set_by=TRIGGER,
        applied_at="fire",
        about="of slots that were missed, the newest fires; the others share one ledger entry",
    ),
    Policy(
        name="misfire_after_ms",
        kind="ms",
        default=limits.MISFIRE_AFTER_MS,
        low=1_000,
        high=limits.EVERY_MAX_MS,
        set_by=TRIGGER,
        applied_at="fire",
        about="how late a slot may be and still fire for itself",
    ),
)
BY_FIELD: Final = {policy.field: policy for policy in POLICIES}


def lua_locals() -> dict[str, str]:
    """What scripts know of the table, by the name of the local that holds it."""
    defaults = {policy.field: f"'{policy.written(policy.default)}'" for policy in POLICIES}
    digits = {policy.field: len(policy.written(policy.high)) for policy in POLICIES if policy.kind != "word"}
    of_trigger = {policy.field: "true" for policy in POLICIES if "task" not in policy.set_by}
    return {
        "POLICY_DEFAULTS": f"local POLICY_DEFAULTS = {{__index = {_lua_table(defaults)}}}",
        "POLICY_DIGITS": f"local POLICY_DIGITS = {_lua_table(digits)}",
        "TRIGGER_POLICIES": f"local TRIGGER_POLICIES = {_lua_table(of_trigger)}",
        **{f"DEFAULT_{field.upper()}": f"local DEFAULT_{field.upper()} = {value}" for field, value in defaults.items()},
    }


def _lua_table(values: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{name} = {value}" for name, value in values.items()) + "}"


def set_by(setter: Setter) -> tuple[Policy, ...]:
    """The policies that a task, a trigger or a namespace may set."""
    return tuple(policy for policy in POLICIES if setter in policy.set_by)


def write(values: Mapping[str, Value], policies: Iterable[Policy] = POLICIES) -> str:
    """The text of the policies that are not at their default; values: by name, what is left out is at its default."""
    return " ".join(
        f"{policy.field}={policy.written(values[policy.name])}"
        for policy in policies
        if values.get(policy.name, policy.default) != policy.default
    )


def read(text: str) -> dict[str, Value]:
    """What a text says, by name, the defaults filled in; words that are no policy of this release are passed over."""
    said = dict(word.split("=", 1) for word in text.split() if "=" in word)
    return of_fields(said)


def of_fields(fields: Mapping[str, str]) -> dict[str, Value]:
    """The policies in the fields of a record, by name, the defaults filled in; a spoiled one is at its default."""
    return {policy.name: _value(policy, fields.get(policy.field)) for policy in POLICIES}


def _value(policy: Policy, text: str | None) -> Value:
    if text is None:
        return policy.default
    try:
        return policy.read(text)
    except ValueError:
        return policy.default
