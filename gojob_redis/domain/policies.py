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
from typing import Final, Literal, get_args

from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest

Kind = Literal["count", "ms", "ratio", "word"]
Setter = Literal["task", "trigger", "handler", "namespace"]
Source = Literal["trigger", "handler", "namespace", "usual"]
"""Who said the value of a trigger's policy: the trigger itself, its handler, its namespace, or nobody."""
Moment = Literal["plan", "fire", "create", "bind", "end"]
Value = int | float | str

TASK: Final[frozenset[Setter]] = frozenset({"task", "trigger", "handler", "namespace"})
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

    @property
    def field(self) -> str:
        """The name in Redis: without its unit, which is ms."""
        return self.name.removesuffix("_ms")

    @property
    def type(self) -> type[int | float | str]:
        """Of its values."""
        return {"word": str, "ratio": float}.get(self.kind, int)

    @property
    def whole_bounds(self) -> tuple[int, int]:
        """The bounds of what is no ratio."""
        return int(self.low), int(self.high)

    @property
    def flag(self) -> str:
        """The option of the command line that sets it."""
        return f"--{self.field.replace('_', '-')}"

    def takes(self, value: object) -> bool:
        """Whether this may be its value."""
        if self.kind == "word":
            return value in self.words
        fits = isinstance(value, int) or (isinstance(value, float) and self.kind == "ratio")
        return fits and not isinstance(value, bool) and self.low <= value <= self.high  # type: ignore[operator]

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
        name="retry_factor",
        kind="ratio",
        default=1.0,
        low=1,
        high=100,
        applied_at="end",
        about="how many times as long each interval is as the one before",
    ),
    Policy(
        name="retry_max_interval_ms",
        kind="ms",
        default=0,
        high=limits.EVERY_MAX_MS,
        applied_at="end",
        about="the longest interval that the factor makes, before jitter; 0 = ten years",
    ),
    Policy(
        name="retry_jitter",
        kind="ratio",
        default=0.0,
        high=1,
        applied_at="end",
        about="which part of the interval it may be longer or shorter by, so that retries spread",
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
        name="keep",
        kind="word",
        default="usual",
        words=("usual", "always"),
        set_by=frozenset({"task", "trigger"}),
        applied_at="end",
        about="when it is over: kept as the retention of its handler says, or until somebody lets it go",
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
NAMES: Final = frozenset(policy.name for policy in POLICIES)


def lua_defaults() -> dict[str, str]:
    """The default of each policy as scripts write it, by its name there: ``DEFAULT_RETRIES``."""
    return {f"DEFAULT_{policy.field.upper()}": f"'{policy.written(policy.default)}'" for policy in POLICIES}


def lua_tables() -> dict[str, str]:
    """What scripts know of the table, by the name of the local that holds it."""
    defaults = {policy.field: f"'{policy.written(policy.default)}'" for policy in POLICIES}
    digits = {policy.field: len(policy.written(policy.high)) for policy in POLICIES if policy.kind != "word"}
    words = {policy.field: _lua_table(dict.fromkeys(policy.words, "true")) for policy in POLICIES if policy.words}
    of_trigger = {policy.field: "true" for policy in POLICIES if "task" not in policy.set_by}
    return {
        "POLICY_DEFAULTS": f"local POLICY_DEFAULTS = {{__index = {_lua_table(defaults)}}}",
        "POLICY_DIGITS": f"local POLICY_DIGITS = {_lua_table(digits)}",
        "POLICY_WORDS": f"local POLICY_WORDS = {_lua_table(words)}",
        "TRIGGER_POLICIES": f"local TRIGGER_POLICIES = {_lua_table(of_trigger)}",
    }


def _lua_table(values: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{name} = {value}" for name, value in values.items()) + "}"


def set_by(setter: Setter) -> tuple[Policy, ...]:
    """The policies that a task, a trigger, a handler or a namespace may set."""
    return _SET_BY[setter]


_SET_BY: Final[dict[Setter, tuple[Policy, ...]]] = {
    setter: tuple(policy for policy in POLICIES if setter in policy.set_by) for setter in get_args(Setter)
}


def text_for(setter: Setter, values: Mapping[str, Value], defaults: Mapping[str, Value]) -> str:
    """The text of what was said, over the defaults of its handler and its namespace."""
    return write({**defaults, **values}, _SET_BY[setter]) if values or defaults else ""


def sources(trigger: Iterable[str], handler: Iterable[str], namespace: Iterable[str]) -> dict[str, Source]:
    """Who said what of the policies of a trigger, by the names that each of them said."""
    by_source: tuple[tuple[Source, frozenset[str]], ...] = (
        ("trigger", frozenset(trigger)),
        ("handler", frozenset(handler)),
        ("namespace", frozenset(namespace)),
    )
    return {
        policy.name: next((source for source, names in by_source if policy.name in names), "usual")
        for policy in _SET_BY["trigger"]
    }


def changed_defaults(stored: Mapping[str, Value], values: Mapping[str, object]) -> dict[str, Value]:
    """The defaults of a namespace with what was said of them; None takes one away.

    Raises BadRequest ``unknown_policy``, ``bad_policy``.
    """
    changed = {**stored, **{name: _checked_default(name, value) for name, value in values.items()}}
    return {name: value for name, value in changed.items() if value is not None}


def lawful(setter: Setter, values: Mapping[str, object]) -> dict[str, Value]:
    """What of these values it may set; what is not in the table, of a later release, or out of bounds is left out."""
    own = {policy.name: policy for policy in _SET_BY[setter]}
    return {name: value for name, value in values.items() if name in own and own[name].takes(value)}  # type: ignore[misc]


def _checked_default(name: str, value: object) -> Value | None:
    field = f"defaults.{name[:80]}"
    policy = next((policy for policy in _SET_BY["namespace"] if policy.name == name), None)
    if policy is None:
        names = ", ".join(policy.name for policy in _SET_BY["namespace"])
        raise BadRequest(
            "unknown_policy", f"There is no policy {name[:80]!r} to set here.", field=field, hint=f"Use {names}."
        )
    if value is None:
        return None
    if policy.takes(value):
        return value  # type: ignore[return-value]
    if policy.kind == "word":
        allowed, limit = " or ".join(policy.words), None
    else:
        allowed, limit = f"a number from {policy.low:g} to {_whole(policy.high)}", int(policy.high)
    raise BadRequest(
        "bad_policy",
        f"{field} is {str(value)[:80]!r}, not {allowed}.",
        field=field,
        hint="Give null to go back to the usual one.",
        limit=limit,
    )


def _whole(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def write(values: Mapping[str, Value], policies: Iterable[Policy] = POLICIES) -> str:
    """The text of the policies that are not at their default; values: by name, what is left out is at its default."""
    return " ".join(
        f"{policy.field}={policy.written(values[policy.name])}"
        for policy in policies
        if values.get(policy.name, policy.default) != policy.default
    )


def read(text: str) -> dict[str, Value]:
    """What a text says, by name, the defaults filled in; words that are no policy of this release are passed over."""
    fields = dict(word.split("=", 1) for word in text.split() if "=" in word)
    return of_fields(fields)


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
