"""Checks parameters against a JSON Schema that a stranger wrote, within a budget.

1. A schema comes from a worker, parameters from a client, and either may mean harm. So a schema is compiled once into
   functions, each node of it once however often it is referred to, and a check counts its steps: two references to the
   next of thirty definitions would be a thousand million of them.
2. Where the budget ends, or a keyword is not known here, parameters pass: the worker checks them again, and his word is
   final. What is refused here, no worker of that version would take.
3. A pattern is matched by a machine that is linear in the text (that of pydantic, which SDKs use as well), and only if
   it is small, with classes of ASCII: ``\\w{60}`` of all the letters there are takes 20 ms to build. A text with other
   characters, and a pattern that is larger or of another dialect, is left to the worker.
4. References stay inside the schema. Nothing is ever fetched.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic_core import SchemaError, SchemaValidator, core_schema

from gojob_redis.domain import limits

SHOWN_NAMES: Final = 8
"""Names or values that a message lists."""
SHOWN_CHARS: Final = 80
"""Of each of them."""


class Misfit(NamedTuple):
    """What does not fit: where (a JSON pointer into the parameters), and why."""

    pointer: str
    why: str


class _Spent(Exception):
    """The budget of a check is used up."""


class _Check:
    """One check under way."""

    __slots__ = ("depth", "steps")

    def __init__(self) -> None:
        self.steps = limits.SCHEMA_STEPS
        self.depth = 0

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise _Spent


Rule = Callable[[Any, _Check], Misfit | None]


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema that was compiled."""

    rule: Rule
    takes_map: bool
    """Whether it asks for a map, so that no parameters count as an empty one."""
    nodes: int
    """How many maps of it became rules."""

    def misfit(self, value: Any) -> Misfit | None:
        """Why these parameters do not fit; None where they do, or where telling would take too long."""
        if value is None and self.takes_map:
            value = {}
        try:
            return self.rule(value, _Check())
        except (_Spent, RecursionError):
            return None


def compiled(schema: Any) -> Schema:
    """Compile a schema of bounded size (``protocol.read_spec``); raises ValueError for one that refers elsewhere."""
    compiler = _Compiler(schema)
    rule = compiler.of(schema)
    while compiler.waiting:
        compiler.waiting.pop()()
    return Schema(rule, isinstance(schema, dict) and schema.get("type") == "object", compiler.nodes)


# ---- compiling -------------------------------------------------------------------------------------------------------


class _Compiler:
    """Turns the nodes of one schema into rules; each node once."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.waiting: list[Callable[[], None]] = []
        """Compiles what was referred to."""
        self._compiled: dict[int, Rule] = {}
        """By the node, each once: it may be referred to in many ways."""
        self._patterns = limits.SCHEMA_PATTERNS

    @property
    def nodes(self) -> int:
        return len(self._compiled)

    def of(self, node: Any) -> Rule:
        """The rule of a node."""
        if node is False:
            return _nothing
        if not isinstance(node, dict):
            return _anything
        rule = self._compiled.get(id(node))
        if rule is None:
            rules = [
                each for word, compile_word in _WORDS.items() if word in node and (each := compile_word(self, node))
            ]
            rule = self._compiled[id(node)] = _all(rules) if rules else _anything
        return rule

    def each(self, nodes: Any) -> list[Rule]:
        return [self.of(node) for node in nodes] if isinstance(nodes, list) else []

    def referred(self, reference: Any) -> Rule:
        """The rule of what a reference names; it is compiled later, because it may contain this reference."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise ValueError(f"the schema refers to {str(reference)[:80]!r}; refer to #/$defs/NAME")
        node, rules = self._at(reference), list[Rule]()
        self.waiting.append(lambda: rules.append(self.of(node)))

        def follow(value: Any, check: _Check) -> Misfit | None:
            return rules[0](value, check)

        return follow

    def _at(self, reference: str) -> Any:
        node = self.root
        for part in reference[2:].split("/") if len(reference) > 1 else ():
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and name.isdecimal() and int(name[:9]) < len(node):
                node = node[int(name[:9])]
            elif isinstance(node, dict) and name in node:
                node = node[name]
            else:
                raise ValueError(f"the schema refers to {reference[:80]!r}, and has nothing there")
        return node

    def matcher(self, pattern: Any) -> Callable[[str], bool] | None:
        """What matches a pattern in linear time; None for one that is too large, not ours, or one too many."""
        if not isinstance(pattern, str) or len(pattern) > limits.PATTERN_CHARS or "){" in pattern:
            return None
        ascii_only = re.sub(r"\\(.)", lambda escaped: _ASCII.get(escaped[1], escaped[0]), pattern, flags=re.DOTALL)
        if "\\p" in ascii_only.lower():
            return None
        if sum(int(count[:9]) for count in re.findall(r"[0-9]+(?=[^{]*\})", pattern)) > limits.PATTERN_CHARS:
            return None
        self._patterns -= 1
        if self._patterns < 0:
            return None
        try:
            return SchemaValidator(
                core_schema.str_schema(pattern=ascii_only, regex_engine="rust-regex")
            ).isinstance_python
        except SchemaError:
            return None


_ASCII: Final = {
    "w": "[0-9A-Za-z_]",
    "W": "[^0-9A-Za-z_]",
    "d": "[0-9]",
    "D": "[^0-9]",
    "s": r"[\t-\r ]",
    "S": r"[^\t-\r ]",
}
"""Classes without all that is no ASCII: they are a hundredth of the size, and agree on a text that is ASCII."""


def _anything(value: Any, check: _Check) -> Misfit | None:
    return None


def _nothing(value: Any, check: _Check) -> Misfit | None:
    return Misfit("", "is not allowed here")


def _all(rules: Sequence[Rule]) -> Rule:
    """All of these rules, as one step."""

    def check_all(value: Any, check: _Check) -> Misfit | None:
        check.steps -= 1
        check.depth += 1
        if check.steps < 0 or check.depth > limits.SCHEMA_DEPTH:
            raise _Spent
        for rule in rules:
            misfit = rule(value, check)
            if misfit is not None:
                check.depth -= 1
                return misfit
        check.depth -= 1
        return None

    return check_all


# ---- types and values ------------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    """Of floats only those below 2 ** 63: handlers do not agree which whole number a larger one is."""
    if isinstance(value, float):
        return abs(value) < 2.0**63 and value.is_integer()
    return _is_number(value)


_TYPES: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "string": (lambda value: isinstance(value, str), "text"),
    "integer": (_is_whole, "a whole number"),
    "number": (_is_number, "a number"),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "object": (lambda value: isinstance(value, dict), "a map"),
    "array": (lambda value: isinstance(value, list), "a list"),
    "null": (lambda value: value is None, "null"),
}


def _type(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    words = node["type"] if isinstance(node["type"], list) else [node["type"]]
    if not words or not all(isinstance(word, str) and word in _TYPES for word in words):
        return None
    words = list(dict.fromkeys(words))
    tests = [_TYPES[word][0] for word in words]
    allowed_text = " or ".join(_TYPES[word][1] for word in words)

    def check_type(value: Any, check: _Check) -> Misfit | None:
        for test in tests:
            if test(value):
                return None
        return Misfit("", f"is {_kind(value)}, not {allowed_text}")

    return check_type


def _kind(value: Any) -> str:
    """What a value is, without saying which: it may be a secret."""
    return next(name for test, name in _TYPES.values() if test(value)) if not isinstance(value, bytes) else "bytes"


def _frozen(value: Any) -> Any:
    """A plain value as something that equals only what JSON calls equal: ``true`` is not 1, but 1.0 is."""
    return (bool, value) if isinstance(value, bool) else value


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _one_of_values(allowed: Any) -> Rule | None:
    if not isinstance(allowed, list) or not all(map(_is_plain, allowed)):
        return None
    values = frozenset(map(_frozen, allowed))
    shown = ", ".join(str(value)[:SHOWN_CHARS] for value in allowed[:SHOWN_NAMES])
    allowed_text = shown + (f" and {len(allowed) - SHOWN_NAMES} more" if len(allowed) > SHOWN_NAMES else "")

    def check_value(value: Any, check: _Check) -> Misfit | None:
        if _is_plain(value) and _frozen(value) in values:
            return None
        return Misfit("", f"is none of {allowed_text}" if len(allowed) > 1 else f"is not {allowed_text}")

    return check_value


def _enum(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    return _one_of_values(node["enum"])


def _const(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    return _one_of_values([node["const"]])


def _bound(word: str, fits: Callable[[Any, Any], bool], says: str) -> Callable[..., Rule | None]:
    def compile_bound(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
        bound = node[word]
        if not _is_number(bound):
            return None

        def check_bound(value: Any, check: _Check) -> Misfit | None:
            return Misfit("", f"is not {says} {bound}") if _is_number(value) and not fits(value, bound) else None

        return check_bound

    return compile_bound


def _multiple(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    of = node["multipleOf"]
    if not isinstance(of, int) or isinstance(of, bool) or of <= 0:
        return None  # what is a multiple of 0.1 is a matter of rounding

    def check_multiple(value: Any, check: _Check) -> Misfit | None:
        is_other = isinstance(value, int) and not isinstance(value, bool) and value % of != 0
        return Misfit("", f"is no multiple of {of}") if is_other else None

    return check_multiple


def _length(word: str, kind: type, is_least: bool, what: str) -> Callable[..., Rule | None]:
    def compile_length(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
        bound = node[word]
        if not isinstance(bound, int) or isinstance(bound, bool):
            return None
        side = "at least" if is_least else "at most"

        def check_length(value: Any, check: _Check) -> Misfit | None:
            if not isinstance(value, kind):
                return None
            size = len(value)  # type: ignore[arg-type]
            if size >= bound if is_least else size <= bound:
                return None
            return Misfit("", f"has {size} {what}, not {side} {bound}")

        return check_length

    return compile_length


def _pattern(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    matches = compiler.matcher(node["pattern"])
    if matches is None:
        return None

    def check_pattern(value: Any, check: _Check) -> Misfit | None:
        if not isinstance(value, str) or len(value) > limits.PATTERN_TEXT_CHARS or not value.isascii():
            return None
        check.spend(len(value))
        return None if matches(value) else Misfit("", f"does not match {node['pattern']}")

    return check_pattern


# ---- lists and maps --------------------------------------------------------------------------------------------------


def _below(step: str | int, misfit: Misfit) -> Misfit:
    name = step[:SHOWN_CHARS].replace("~", "~0").replace("/", "~1") if isinstance(step, str) else step
    return Misfit(f"/{name}{misfit.pointer}", misfit.why)


def _items(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    if not isinstance(node["items"], (dict, bool)):
        return None  # a list of schemas is of an older dialect
    rule, first = compiler.of(node["items"]), len(node.get("prefixItems") or ())

    def check_items(value: Any, check: _Check) -> Misfit | None:
        if not isinstance(value, list):
            return None
        check.spend(len(value))
        for at in range(first, len(value)):
            if misfit := rule(value[at], check):
                return _below(at, misfit)
        return None

    return check_items


def _prefix(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    rules = compiler.each(node["prefixItems"])

    def check_prefix(value: Any, check: _Check) -> Misfit | None:
        if not isinstance(value, list):
            return None
        check.spend(len(rules))
        for at, rule in enumerate(rules[: len(value)]):
            if misfit := rule(value[at], check):
                return _below(at, misfit)
        return None

    return check_prefix


def _unique(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    if node["uniqueItems"] is not True:
        return None

    def check_unique(value: Any, check: _Check) -> Misfit | None:
        if not isinstance(value, list):
            return None
        check.spend(len(value))
        plain = [_frozen(one) for one in value if _is_plain(one)]
        return Misfit("", "has an item twice") if len(set(plain)) < len(plain) else None

    return check_unique


def _properties(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    fields = node["properties"]
    if not isinstance(fields, dict):
        return None
    rules = {name: rule for name, field in fields.items() if (rule := compiler.of(field)) is not _anything}

    def check_properties(value: Any, check: _Check) -> Misfit | None:
        if not isinstance(value, dict):
            return None
        check.spend(len(rules) >> 3)
        for name, rule in rules.items():
            if name in value and (misfit := rule(value[name], check)):
                return _below(name, misfit)
        return None

    return check_properties


def _required(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    names = [name for name in node["required"] if isinstance(name, str)] if isinstance(node["required"], list) else []

    def check_required(value: Any, check: _Check) -> Misfit | None:
        if not isinstance(value, dict):
            return None
        check.spend(len(names) >> 3)
        for name in names:
            if name not in value:
                return _below(name, Misfit("", "is missing"))
        return None

    return check_required


def _additional(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    if "patternProperties" in node:
        return None  # its patterns may be passed over
    fields = node.get("properties")
    names = frozenset(fields if isinstance(fields, dict) else ())
    rule = compiler.of(node["additionalProperties"])
    shown = ", ".join(sorted(names)[:SHOWN_NAMES])
    unknown = Misfit("", f"is no parameter; there are {shown}" if shown else "is no parameter")

    def check_additional(value: Any, check: _Check) -> Misfit | None:
        if not isinstance(value, dict):
            return None
        check.spend(len(value) >> 3)
        for name in () if value.keys() <= names else value.keys() - names:
            if misfit := unknown if rule is _nothing else rule(value[name], check):
                return _below(str(name), misfit)
        return None

    return None if rule is _anything else check_additional


def _names(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    rule = compiler.of(node["propertyNames"])

    def check_names(value: Any, check: _Check) -> Misfit | None:
        if not isinstance(value, dict):
            return None
        check.spend(len(value))
        for name in value:
            if misfit := rule(name, check):
                return _below(str(name), Misfit("", f"as a name {misfit.why}"))
        return None

    return check_names


# ---- combinations ----------------------------------------------------------------------------------------------------


def _any(word: str) -> Callable[..., Rule | None]:
    """``oneOf`` is checked as ``anyOf``: where a keyword is passed over, two branches may seem to fit."""

    def compile_any(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
        rules = compiler.each(node[word])
        nullable = [each for each in node[word] if each == {"type": "null"}] if rules else []

        def check_any(value: Any, check: _Check) -> Misfit | None:
            check.spend(len(rules))
            misfits = []
            for rule in rules:
                misfit = rule(value, check)
                if misfit is None:
                    return None
                misfits.append(misfit)
            if len(misfits) == 1 + len(nullable) and value is not None:
                return next((misfit for misfit in misfits if "not null" not in misfit.why), misfits[0])
            return max(misfits, key=lambda misfit: misfit.pointer.count("/"))

        return check_any if rules else None

    return compile_any


def _every(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    rules = [rule for rule in compiler.each(node["allOf"]) if rule is not _anything]
    return _all(rules) if rules else None


def _reference(compiler: _Compiler, node: Mapping[str, Any]) -> Rule | None:
    return compiler.referred(node["$ref"])


_WORDS: Final[Mapping[str, Callable[[_Compiler, Mapping[str, Any]], Rule | None]]] = {
    "$ref": _reference,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "minimum": _bound("minimum", lambda value, bound: value >= bound, "at least"),
    "maximum": _bound("maximum", lambda value, bound: value <= bound, "at most"),
    "exclusiveMinimum": _bound("exclusiveMinimum", lambda value, bound: value > bound, "more than"),
    "exclusiveMaximum": _bound("exclusiveMaximum", lambda value, bound: value < bound, "less than"),
    "multipleOf": _multiple,
    "minLength": _length("minLength", str, True, "characters"),
    "maxLength": _length("maxLength", str, False, "characters"),
    "pattern": _pattern,
    "minItems": _length("minItems", list, True, "items"),
    "maxItems": _length("maxItems", list, False, "items"),
    "prefixItems": _prefix,
    "items": _items,
    "uniqueItems": _unique,
    "minProperties": _length("minProperties", dict, True, "fields"),
    "maxProperties": _length("maxProperties", dict, False, "fields"),
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "allOf": _every,
    "anyOf": _any("anyOf"),
    "oneOf": _any("oneOf"),
}
"""What is known here. Every other keyword says nothing, or is left to the worker."""
