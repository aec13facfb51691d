"""The frames between a worker and a gateway: their fields, their limits, their bytes.

1. Every frame is one binary websocket message: one MessagePack map with a ``type``.
2. The typed dicts below are the only definition of the frames. They are the static types, the validation of what a
   stranger sent, and the source of ``docs/protocol.md``, which quotes one frame of each type with its bytes.
3. A frame is validated in one call into pydantic-core, whatever the number of its items (0.4 µs per item, measured);
   nothing in Python looks at single items. Unknown fields are dropped, an unknown type decodes to None. Neither is
   unfolded when the frame is large, or a MiB of empty lists would keep the reader busy for 300 ms.
4. Parameters and results are MessagePack documents inside ``bin`` fields. The gateway never opens them.
5. An optional field is absent when it has no value, never nil.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired, TypeVar, cast, get_args

import msgpack
from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python
from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

VERSIONS: Final = (2,)
"""Versions of the protocol that this release speaks, the oldest first. A change that the other side must understand
needs a new version; an optional field or a frame type, which it may ignore, does not."""
SUBPROTOCOL: Final = "gojob.v2.msgpack"
PATH: Final = "/v1/worker"
RUN_HEADER: Final = "Gojob-Run"
"""A submission over HTTP says with it which run it comes from, and proves it."""

# --- limits -----------------------------------------------------------------------------------------------------------

MAX_FRAME_BYTES: Final = 1 << 20
"""A frame."""
BATCH_ITEMS: Final = 100
"""Reports, starts or assignments in one frame."""
BATCH_BYTES: Final = 256 << 10
"""Payloads of one frame."""
MAX_PARAM_BYTES: Final = 256 << 10
"""Parameters of a task, or of one of its shards, packed."""
MAX_RESULT_BYTES: Final = 256 << 10
"""A result, packed."""
MAX_ERROR_BYTES: Final = 16 << 10
"""Type, message and traceback of an error together."""
MAX_REPORT_DELAY_MS: Final = 7 * 86_400_000
"""How long a report may put the next attempt off."""
MAX_LAG_MS: Final = 86_400_000
"""The longest time for which a worker says that its loop stood still."""
MAX_LOG_LINE_BYTES: Final = 16 << 10
"""A line of the log."""
MAX_LOGGER_CHARS: Final = 255
"""The name of the logger that a line of the log came from."""
MAX_LOG_LINES: Final = 100
"""Lines of the log of one run in a frame."""
MAX_NOTE_LINES: Final = 1_000
"""Lines of the log of all runs in a frame."""
MAX_CAPACITY: Final = 1_000
"""Runs that a worker may offer to take at a time."""
MAX_HANDLERS: Final = 1_024
"""Handlers of a worker."""
MAX_LABELS: Final = 16
"""Labels that a worker may offer."""
MAX_ATTRIBUTES: Final = 8
"""Attributes that a worker may offer."""
MAX_HELD: Final = 4_000
"""Runs that a worker may say it holds."""
MAX_VERSIONS: Final = 16
"""Protocol versions that a worker may say it speaks."""
MAX_SHARDS: Final = 10_000
"""Shards of a task."""
MAX_SPEC_BYTES: Final = 64 << 10
"""What a worker tells of a handler, packed."""
MAX_SCHEMA_NODES: Final = 1_000
"""Maps and lists in the schema of a handler's parameters."""
MAX_SCHEMA_DEPTH: Final = 32
"""How deep they may be nested."""
MAX_INT: Final = (1 << 53) - 1
"""The largest number in a field."""
MAX_LIST_BYTES: Final = 512 << 10
"""A frame that lists what a worker holds."""
SMALL_FRAME_BYTES: Final = 16 << 10
"""A worker's frame up to this size may hold any number of entries: reading it takes 1 ms at most."""
TRUSTED_FRAME_BYTES: Final = 64 << 10
"""The same for a gateway's frame, which its workers trust: 100 assignments fit, and are read 10 % faster."""
MAX_FIELDS: Final = 64
"""Fields of a frame."""
MAX_CONTAINERS: Final = 5_000
"""Lists and maps in a larger frame; eight entries of one count as much as another."""
MAX_NESTED_LENGTH: Final = 4_096
"""Entries of one array or map inside a frame; stops a small frame from unfolding into a huge one."""

NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"
HANDLER_PATTERN: Final = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$"
LABEL_PATTERN: Final = r"^[A-Za-z0-9._/-]{1,64}$"
ATTRIBUTE_PATTERN: Final = r"^[A-Za-z0-9._/-]{1,64}=[A-Za-z0-9._/-]{1,64}$"
WORKER_PATTERN: Final = r"^[A-Za-z0-9]([A-Za-z0-9._:@/+-]{0,126}[A-Za-z0-9])?$"
PRINTABLE_PATTERN: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
ID_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,64}$"
FENCE_PATTERN: Final = r"^[0-9]{1,16}-[A-Za-z0-9_-]{1,32}$"
DIGEST_PATTERN: Final = r"^[A-Za-z0-9_-]{22}$"
DIGEST_OR_NONE_PATTERN: Final = r"^([A-Za-z0-9_-]{22})?$"
POLICY_PATTERN: Final = r"^[a-z][a-z_]{0,63}$"

# --- close codes ------------------------------------------------------------------------------------------------------

CLOSE_RESTARTING: Final = 1012
CLOSE_BAD_FRAME: Final = 4400
CLOSE_BAD_TOKEN: Final = 4401
CLOSE_FORBIDDEN: Final = 4403
CLOSE_HELLO_TIMEOUT: Final = 4408
CLOSE_MOVED: Final = 4409
CLOSE_SLOW_READER: Final = 4410
CLOSE_TOO_LARGE: Final = 4413
CLOSE_BUSY: Final = 4429
FINAL_CLOSE_CODES: Final = frozenset({CLOSE_BAD_FRAME, CLOSE_BAD_TOKEN, CLOSE_FORBIDDEN})
"""Trying again at once cannot help after these: somebody has to change something first."""

# --- fields -----------------------------------------------------------------------------------------------------------

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Fence = Annotated[str, StringConstraints(pattern=FENCE_PATTERN)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
HandlerName = Annotated[str, StringConstraints(pattern=HANDLER_PATTERN)]
LabelText = Annotated[str, StringConstraints(pattern=LABEL_PATTERN)]
Attribute = Annotated[str, StringConstraints(pattern=ATTRIBUTE_PATTERN)]
WorkerName = Annotated[str, StringConstraints(pattern=WORKER_PATTERN)]
Short = Annotated[str, StringConstraints(max_length=255)]
Printable = Annotated[str, StringConstraints(max_length=255, pattern=PRINTABLE_PATTERN)]
Text = Annotated[str, StringConstraints(max_length=4_096)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Ordinal = Annotated[int, Field(ge=1, le=1_000_000)]
Millis = Annotated[int, Field(ge=0, le=MAX_INT)]
Capacity = Annotated[int, Field(ge=0, le=MAX_CAPACITY)]
Labels = Annotated[dict[LabelText, LabelText], Field(max_length=MAX_LABELS)]
Attributes = Annotated[list[Attribute], Field(max_length=MAX_ATTRIBUTES)]
Handlers = Annotated[list[HandlerName], Field(min_length=1, max_length=MAX_HANDLERS)]
Param = Annotated[bytes, Field(max_length=MAX_PARAM_BYTES)]
Result = Annotated[bytes, Field(max_length=MAX_RESULT_BYTES)]
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
DigestOrNone = Annotated[str, StringConstraints(pattern=DIGEST_OR_NONE_PATTERN)]
SpecBytes = Annotated[bytes, Field(max_length=MAX_SPEC_BYTES)]


def _within_error_bytes(error: "ErrorText") -> "ErrorText":
    """Refuse an error whose texts together take more than 16 KiB of UTF-8."""
    size = sum(len(text.encode()) for text in (error["type"], error["message"], error["traceback"]))
    if size > MAX_ERROR_BYTES:
        raise ValueError(f"takes {size} bytes, at most {MAX_ERROR_BYTES} are allowed")
    return error


def _within_line_bytes(text: str) -> str:
    """Refuse a log line of more than 16 KiB of UTF-8."""
    if len(text) * 4 > MAX_LOG_LINE_BYTES and len(text.encode()) > MAX_LOG_LINE_BYTES:
        raise ValueError(f"is longer than {MAX_LOG_LINE_BYTES} bytes")
    return text


class RunKey(TypedDict):
    """One attempt of one run."""

    run: Id
    attempt: Ordinal


class RunRef(RunKey):
    """One attempt of one run, with the proof that it is ours."""

    fence: Fence


class HeldRun(RunRef):
    started: bool


class ErrorText(TypedDict):
    type: Short
    message: Annotated[str, StringConstraints(max_length=MAX_ERROR_BYTES)]
    traceback: Annotated[str, StringConstraints(max_length=MAX_ERROR_BYTES)]


OutcomeWord = Literal["ok", "error", "timeout", "canceled", "params_invalid"]
Disposition = Literal["retry", "final", "snooze", "uncounted"]


class Outcome(RunRef):
    """How one attempt ended; the two times are the worker's clock and say only how long it took."""

    outcome: OutcomeWord
    started_ms: Millis
    ended_ms: Millis
    result: NotRequired[Result]
    error: NotRequired[Annotated[ErrorText, AfterValidator(_within_error_bytes)]]
    disposition: NotRequired[Disposition]
    """What is to become of a run that did not complete: ``retry`` unless it says otherwise."""
    delay_ms: NotRequired[Annotated[int, Field(ge=0, le=MAX_REPORT_DELAY_MS)]]
    """Until the next attempt, instead of the interval of the task."""


LogLevel = Literal["debug", "info", "warning", "error"]


class LogLine(TypedDict):
    at: Millis
    level: LogLevel
    text: Annotated[str, StringConstraints(max_length=MAX_LOG_LINE_BYTES), AfterValidator(_within_line_bytes)]
    logger: NotRequired[Annotated[str, StringConstraints(max_length=MAX_LOGGER_CHARS, pattern=PRINTABLE_PATTERN)]]
    """Where in the program it came from."""


class Progress(TypedDict):
    percent: Annotated[float, Field(ge=0, le=100)]
    message: Text


class RunNote(RunKey):
    log: NotRequired[Annotated[list[LogLine], Field(max_length=MAX_LOG_LINES)]]
    dropped: NotRequired[Count]
    """Log lines the worker had to drop since its last note."""
    progress: NotRequired[Progress]


class Assignment(TypedDict):
    """Everything a worker needs to run one attempt."""

    run: Id
    task: Id
    shard: Annotated[int, Field(ge=0, lt=MAX_SHARDS)]
    shards: Annotated[int, Field(ge=1, le=MAX_SHARDS)]
    attempt: Ordinal
    fence: Fence
    handler: HandlerName
    param: Param
    """No bytes at all means no parameters."""
    shard_param: NotRequired[Param]
    retry: Count
    """Failures counted so far."""
    retries: Count
    """Failures after which it is over."""
    run_limit_ms: Millis
    """0 means none."""
    confirm: bool
    """Begin only after the verdict ``ok`` for its start."""
    key: Short
    """Idempotency key, the same in every attempt."""
    trigger: NotRequired[Short]
    slot: NotRequired[Millis]
    made: Millis
    traceparent: NotRequired[Short]
    """The trace that its task belongs to (W3C Trace Context)."""


VerdictWord = Literal["ok", "late", "fenced", "gone", "canceled", "accepted", "duplicate"]


class RunVerdict(RunKey):
    verdict: VerdictWord


class Dropped(RunKey):
    why: Literal["fenced", "gone"]


class Cancellation(RunKey):
    reason: Short
    grace_ms: Millis


def _within_schema_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse a schema with more than 1,000 maps and lists, or with more than 32 levels of them."""
    nodes, level = 0, [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        inner: list[Any] = []
        for node in level:
            inner += [
                one for one in (node.values() if isinstance(node, dict) else node) if isinstance(one, (dict, list))
            ]
        nodes, level = nodes + len(level), inner
    if level or nodes > MAX_SCHEMA_NODES:
        raise ValueError(f"has more than {MAX_SCHEMA_NODES} maps and lists, or {MAX_SCHEMA_DEPTH} levels of them")
    return schema


class Spec(TypedDict):
    """What a worker tells of a handler: a MessagePack document, which its digest names."""

    params: NotRequired[Annotated[dict[str, Any], AfterValidator(_within_schema_bounds)]]
    """A JSON Schema of the parameters; without one they are not checked before a worker has them."""
    defaults: NotRequired[
        Annotated[
            dict[Annotated[str, StringConstraints(pattern=POLICY_PATTERN)], bool | int | float | str],
            Field(max_length=64),
        ]
    ]
    """Policies of its tasks that are not said otherwise, by name."""
    description: NotRequired[Text]
    version: NotRequired[Annotated[str, StringConstraints(max_length=64, pattern=PRINTABLE_PATTERN)]]


Item = TypeVar("Item")
Batch = Annotated[list[Item], Field(max_length=BATCH_ITEMS)]
ReleaseReason = Literal["draining", "rejected", "unknown_handler"]

# --- worker to gateway ------------------------------------------------------------------------------------------------


class Hello(TypedDict):
    type: Literal["hello"]
    protocol: Ordinal
    """The oldest version the worker speaks."""
    speaks: NotRequired[Annotated[list[Ordinal], Field(max_length=MAX_VERSIONS)]]
    """All versions it speaks; absent from a worker that speaks only that one."""
    sdk: Printable
    namespace: Name
    app: Name
    worker: WorkerName
    host: Printable
    pid: Millis
    labels: Labels
    attributes: Attributes
    handlers: Handlers
    specs: NotRequired[Annotated[list[DigestOrNone], Field(max_length=MAX_HANDLERS)]]
    """The digest of each handler's spec, in the order of ``handlers``; "" where there is none."""
    capacity: Capacity
    session: NotRequired[Id]
    held: Annotated[list[HeldRun], Field(max_length=MAX_HELD)]


class Load(TypedDict):
    """What the worker's process takes; each as far as the worker can tell."""

    cpu_percent: NotRequired[Count]
    """Since the last renewal; 100 is one processor."""
    memory_bytes: NotRequired[Millis]
    lag_ms: NotRequired[Annotated[int, Field(ge=0, le=MAX_LAG_MS)]]
    """The longest time since then for which the loop of its handlers stood still."""


class Renew(TypedDict):
    """At least one of ``seq`` and ``capacity``."""

    type: Literal["renew"]
    seq: NotRequired[Millis]
    """Ask for a ``renewed`` with the same number."""
    held: NotRequired[Count]
    capacity: NotRequired[Capacity]
    load: NotRequired[Load]


class Resume(TypedDict):
    type: Literal["resume"]
    runs: Annotated[list[HeldRun], Field(max_length=MAX_HELD)]


class Start(TypedDict):
    type: Literal["start"]
    runs: Batch[RunRef]


class Report(TypedDict):
    type: Literal["report"]
    outcomes: Batch[Outcome]


class Release(TypedDict):
    type: Literal["release"]
    runs: Batch[RunRef]
    reason: ReleaseReason


class Acknowledge(TypedDict):
    type: Literal["acknowledge"]
    runs: Batch[RunKey]


class Note(TypedDict):
    type: Literal["note"]
    entries: Batch[RunNote]


class Described(TypedDict):
    type: Literal["described"]
    specs: Batch[SpecBytes]


class Leave(TypedDict):
    type: Literal["leave"]


WorkerFrame = Hello | Renew | Resume | Start | Report | Release | Acknowledge | Note | Described | Leave

# --- gateway to worker ------------------------------------------------------------------------------------------------


class Welcome(TypedDict):
    type: Literal["welcome"]
    session: Id
    conn: Ordinal
    gateway: Id
    resumed: bool
    heartbeat_ms: Annotated[int, Field(ge=10, le=3_600_000)]
    lease_ms: Annotated[int, Field(ge=10, le=3_600_000)]
    protocol: Ordinal
    """The version spoken from now on: the newest both sides speak."""
    keep: NotRequired[Annotated[list[Short], Field(max_length=MAX_HELD)]]
    """``run@attempt`` of what the worker may go on with."""
    drop: NotRequired[Annotated[list[Dropped], Field(max_length=MAX_HELD)]]


class Assign(TypedDict):
    type: Literal["assign"]
    runs: Batch[Assignment]


class Verdict(TypedDict):
    type: Literal["verdict"]
    of: Literal["start", "report", "release"]
    runs: Batch[RunVerdict]


class Cancel(TypedDict):
    type: Literal["cancel"]
    runs: Batch[Cancellation]


class Renewed(TypedDict):
    type: Literal["renewed"]
    seq: Millis


class Sync(TypedDict):
    type: Literal["sync"]


class Describe(TypedDict):
    type: Literal["describe"]
    specs: Batch[Digest]
    """What the gateway does not know yet."""


class Move(TypedDict):
    type: Literal["move"]
    reason: Short
    within_ms: Millis


class Error(TypedDict):
    type: Literal["error"]
    code: Short
    message: Text
    hint: Text
    field: NotRequired[Short]
    retry_ms: NotRequired[Millis]


GatewayFrame = Welcome | Assign | Verdict | Cancel | Renewed | Sync | Describe | Move | Error
Frame = WorkerFrame | GatewayFrame

# --- the codec --------------------------------------------------------------------------------------------------------


class BadFrame(Exception):
    """The bytes are no acceptable frame: ``field`` is where, ``close_code`` is what to hang up with."""

    def __init__(self, message: str, *, field: str, close_code: int = CLOSE_BAD_FRAME) -> None:
        super().__init__(f"{field}: {message}")
        self.message = message
        self.field = field
        self.close_code = close_code


class TooLarge(ValueError):
    """A value or a frame of ours takes more bytes than the protocol allows."""


def frame_type(frame: Any) -> str:
    """What a frame of this kind says in its ``type``."""
    word: str = get_args(frame.__annotations__["type"])[0]
    return word


def _within_lines(frame: Note) -> Note:
    """Refuse a note with more than 1,000 lines in all."""
    lines = sum(len(entry.get("log", ())) for entry in frame["entries"])
    if lines > MAX_NOTE_LINES:
        raise ValueError(f"has {lines} lines, at most {MAX_NOTE_LINES} are allowed")
    return frame


def _says_something(frame: Renew) -> Renew:
    """Refuse a renew that neither wants an answer nor announces anything."""
    if "seq" not in frame and "capacity" not in frame:
        raise ValueError("must have seq, capacity or both")
    return frame


def _has_as_many_specs(frame: Hello) -> Hello:
    """Refuse a hello whose digests are not one for each handler."""
    if len(frame.get("specs", frame["handlers"])) != len(frame["handlers"]):
        raise ValueError("must have as many specs as handlers")
    return frame


_RULES: Final[Mapping[str, Callable[..., object]]] = {
    "hello": _has_as_many_specs,
    "renew": _says_something,
    "note": _within_lines,
}
_LISTS: Final = frozenset({"hello", "resume", "welcome"})


class _Kind(NamedTuple):
    """A type of frame: its validator, its fields, and what it may unfold into."""

    read: Callable[[object], Any]
    fields: frozenset[str]
    bytes: int
    list_items: int


def _kind(frame: Any) -> _Kind:
    """Compile the validator of a frame."""
    word = frame_type(frame)
    rule = _RULES.get(word)
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[frame, AfterValidator(rule)] if rule else frame)
    read = partial(adapter.validator.validate_python, strict=True)
    is_list = word in _LISTS
    return _Kind(
        read,
        frozenset(frame.__annotations__),
        MAX_LIST_BYTES if is_list else MAX_FRAME_BYTES,
        MAX_HELD if is_list else BATCH_ITEMS,
    )


_FROM_WORKER: Final = {frame_type(frame): _kind(frame) for frame in get_args(WorkerFrame)}
_FROM_GATEWAY: Final = {frame_type(frame): _kind(frame) for frame in get_args(GatewayFrame)}


def encode(frame: Frame) -> bytes:
    """Turn a frame into its bytes. Raises TooLarge when they pass 1 MiB."""
    data = cast(bytes, msgpack.packb(frame))
    if len(data) > MAX_FRAME_BYTES:
        raise TooLarge(f"a {frame['type']} frame of {len(data)} bytes, at most {MAX_FRAME_BYTES} are allowed")
    return data


def decode_worker(data: bytes) -> WorkerFrame | None:
    """Read and validate what a worker sent; None when its type is unknown. Raises BadFrame."""
    return cast(WorkerFrame | None, _decode(data, _FROM_WORKER, SMALL_FRAME_BYTES))


def decode_gateway(data: bytes) -> GatewayFrame | None:
    """Read and validate what a gateway sent; None when its type is unknown. Raises BadFrame."""
    return cast(GatewayFrame | None, _decode(data, _FROM_GATEWAY, TRUSTED_FRAME_BYTES))


def _decode(data: bytes, kinds: Mapping[str, _Kind], small: int) -> Any:
    if len(data) > MAX_FRAME_BYTES:
        raise _too_large("frame", data, MAX_FRAME_BYTES)
    try:
        frame = _unpack_small(data) if len(data) <= small else _unpack_large(data, kinds)
    except (ValueError, msgpack.UnpackException) as error:
        raise BadFrame(f"not one MessagePack map: {str(error) or type(error).__name__}", field="frame") from None
    if type(frame) is not dict:
        raise BadFrame(f"must be a MessagePack map, not {type(frame).__name__}", field="frame")
    word = frame.get("type")
    if type(word) is not str:
        raise BadFrame("must be the name of a frame type", field="type")
    kind = kinds.get(word)
    if kind is None:
        return None
    try:
        return kind.read(frame)
    except ValidationError as error:
        raise _bad_field(word, error) from None


def _unpack_small(data: bytes) -> Any:
    return msgpack.unpackb(data, max_array_len=MAX_NESTED_LENGTH, max_map_len=MAX_NESTED_LENGTH)


def _unpack_large(data: bytes, kinds: Mapping[str, _Kind]) -> Any:
    """Unfold the known fields of a known type; what is passed over takes 2 ms a MiB, and no memory."""
    places = _places(data)
    begin, end = places.get("type", (0, 0))
    word = _unpack_small(data[begin:end]) if 0 < end - begin <= SMALL_FRAME_BYTES else None
    frame: dict[str, object] = {"type": word}
    kind = kinds.get(word) if type(word) is str else None
    if kind is None:
        return frame
    if len(data) > kind.bytes:
        raise _too_large(str(word), data, kind.bytes)
    budget = _Budget()
    for name in places.keys() & kind.fields:
        begin, end = places[name]
        frame[name] = msgpack.unpackb(
            data[begin:end],
            max_array_len=kind.list_items,
            max_map_len=MAX_FIELDS,
            object_hook=budget.spend,
            list_hook=budget.spend,
        )
    return frame


def _places(data: bytes) -> dict[str, tuple[int, int]]:
    """Where the fields of a frame begin and end."""
    reader = msgpack.Unpacker(max_buffer_size=MAX_FRAME_BYTES, max_array_len=0, max_map_len=0)
    reader.feed(data)
    count = reader.read_map_header()
    if count > MAX_FIELDS:
        raise ValueError(f"{count} fields, at most {MAX_FIELDS} are allowed")
    places = {}
    for _ in range(count):
        name = reader.unpack()
        if type(name) is not str:
            raise ValueError(f"{type(name).__name__} is no name of a field")
        begin = reader.tell()
        reader.skip()
        places[name] = begin, reader.tell()
    if reader.tell() != len(data):
        raise ValueError("more bytes follow")
    return places


class _Budget:
    """Counts the lists and maps of a frame; they, not the bytes, are what makes it expensive."""

    def __init__(self) -> None:
        self.left = MAX_CONTAINERS

    def spend(self, container: Any) -> Any:
        self.left -= 1 + len(container) // 8
        if self.left < 0:
            raise ValueError("too many lists and maps")
        return container


def _too_large(word: str, data: bytes, most: int) -> BadFrame:
    return BadFrame(f"{len(data)} bytes, at most {most} are allowed", field=word, close_code=CLOSE_TOO_LARGE)


def _bad_field(word: str, error: ValidationError) -> BadFrame:
    """Name the first offending field; its value is never repeated, it may be a secret or huge."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = word
    for step in first["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step[:64]}"
    return BadFrame(first["msg"].removeprefix("Value error, "), field=path)


def batches(items: Iterable[Item], weight: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Cut items into lists of at most 100 that weigh at most 256 KiB together (a heavier one stands alone)."""
    batch: list[Item] = []
    room = BATCH_BYTES
    for item in items:
        heavy = weight(item)
        if batch and (len(batch) == BATCH_ITEMS or heavy > room):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(item)
        room -= heavy
    if batch:
        yield batch


def pack_value(value: object) -> bytes:
    """Turn parameters or a result into their MessagePack document.

    Models, dataclasses, dates, sets, UUIDs and the like become what they are in JSON. Raises TypeError for the rest.
    """
    try:
        return cast(bytes, msgpack.packb(value, default=to_jsonable_python))
    except (PydanticSerializationError, ValueError, OverflowError) as error:
        raise TypeError(f"a {type(value).__name__} cannot become MessagePack: {error}") from None


def unpack_value(document: bytes) -> Any:
    """Read a MessagePack document of parameters or a result; no bytes mean None. Raises ValueError."""
    if not document:
        return None
    try:
        return msgpack.unpackb(document, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not a MessagePack document: {str(error) or type(error).__name__}") from None


_SPEC: Final[TypeAdapter[Spec]] = TypeAdapter(Spec)


def pack_spec(spec: Spec) -> bytes:
    """A spec as it travels. Raises TooLarge."""
    packed: bytes = msgpack.packb(spec)
    if len(packed) > MAX_SPEC_BYTES:
        raise TooLarge(f"takes {len(packed)} bytes, at most {MAX_SPEC_BYTES} are allowed")
    try:
        _within_schema_bounds(spec.get("params", {}))
    except ValueError as error:
        raise TooLarge(str(error)) from None
    return packed


def spec_digest(packed: bytes) -> str:
    """What names a spec: the first 16 bytes of its BLAKE2b hash, in base64url."""
    return urlsafe_b64encode(blake2b(packed, digest_size=16).digest())[:22].decode()


def read_spec(packed: bytes) -> Spec:
    """What a worker told of a handler; what is not known of it is left out. Raises ValueError."""
    try:
        document = msgpack.unpackb(packed)
    except (TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not a MessagePack document: {str(error) or type(error).__name__}") from None
    try:
        return _SPEC.validate_python(document, strict=True)
    except ValidationError as error:
        raise ValueError(str(_bad_field("spec", error))) from None


def run_proof(run: RunRef) -> str:
    """What a run proves with that it is the one that submits a task: nobody else knows its fence."""
    return f"{run['run']}@{run['attempt']} {run['fence']}"


def fence_number(fence: str) -> int:
    """The part of a fence that only grows."""
    return int(fence.partition("-")[0])
