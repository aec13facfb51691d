"""Submit tasks and wait for their results, over HTTP and the standard library.

Every request is safe to repeat: a submission carries an Idempotency-Key (made here when none is given), reading changes
nothing, and cancelling twice is cancelling once. So whatever went wrong on the way is answered by trying again.

An async caller uses ``await asyncio.to_thread(client.submit, ...)``.
"""

import contextlib
import http.client
import json
import math
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Literal, NotRequired, Self, TypedDict, Unpack
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from pydantic_core import PydanticSerializationError, to_jsonable_python

from gojob_sdk.context import current
from gojob_sdk.errors import ClientError, Unreachable
from gojob_sdk.policies import Policies
from gojob_sdk.protocol import RUN_HEADER, unpack_value
from gojob_sdk.stream import Stream

TERMINAL: frozenset[str] = frozenset({"run_to_completion", "faulted", "canceled"})
BATCH_TASKS = 1_000
LOOK_S = 30.0
BULK_LOOK_S = 0.5
REQUEST_S = 10.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
BUSY_STATUSES = frozenset({429, 502, 503, 504})
KEPT_CONNECTIONS = 8
"""Connections that are kept for the next requests."""
TOO_MANY = 429
"""A limit is reached. Another gateway would refuse too; without Retry-After, waiting does not help."""


class Options(Policies, total=False):
    """What a submission may ask for besides its parameters; what is left out is the server's default."""

    key: str | None
    """What you find it by, such as ``order-4711``."""
    unique: bool | None
    """Refused while another task of the app with this key is not over."""
    traceparent: str | None
    """The trace that it belongs to (W3C Trace Context); in a handler that of its run, unless it says otherwise."""
    idempotency_key: str | None
    """Idempotency-Key: the same within 24 h is the same task; one is made when none is given."""
    delay_s: float | None
    at: datetime | int | str | None
    """Instead of a delay: a moment, as ms since 1970 or RFC 3339 text."""
    labels: Mapping[str, str] | None
    require: str | None
    """One attribute that the worker must offer, such as ``host=db7``."""
    shards: int | None
    shard_params: Sequence[Any] | None
    allow_unknown: bool | None


class Submission(Options):
    """One of many tasks to submit."""

    params: NotRequired[Any]


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the server described it."""

    id: str
    state: str
    reason: str | None = None
    result: Any = None
    error: Any = None
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The server's whole answer."""

    @property
    def done(self) -> bool:
        """Whether it reached a state that never changes."""
        return self.state in TERMINAL

    @property
    def ok(self) -> bool:
        return self.state == "run_to_completion"


BulkVerb = Literal["cancel", "retry", "pause", "resume", "run", "delete"]
"""What a job does to each: ``cancel`` and ``retry`` are for tasks, ``delete`` for both, the others for triggers."""
BulkKind = Literal["tasks", "triggers"]


class Conditions(TypedDict, total=False):
    """Which tasks or triggers a job on many is for: those for which all of this holds."""

    handler: str
    state: Sequence[str]
    """One of these; of a retry ``faulted``, unless it says else."""
    owner: str
    """Of triggers, as the next two."""
    prefix: str
    q: str
    """A text in name, handler, owner or schedule."""
    trigger: str
    """Of tasks, as all that follow."""
    reason: Sequence[str]
    worker: str
    parent: str
    labels: Mapping[str, str]
    since: datetime | int | str
    """When it ended, or while it is not over when it was made."""
    until: datetime | int | str
    """The same, before this moment."""


@dataclass(frozen=True, slots=True)
class BulkJob:
    """A job on many tasks or triggers as the server described it; ``matched`` = ``done`` + ``skipped`` + ``failed``."""

    id: str
    state: str
    matched: int
    done: int
    skipped: int
    failed: int
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The server's whole answer."""

    @property
    def over(self) -> bool:
        """Whether it does nothing any more."""
        return self.details.get("ended_ms") is not None


class Client:
    """A client of a gateway, or of a balancer before several gateways. Threads may share it.

    url: ``http://`` or ``https://``; several, comma separated, are tried in turn.
    give_up_s: how long to repeat a request that nobody answers; then Unreachable.
    """

    def __init__(self, url: str, token: str, *, namespace: str = "default", give_up_s: float = 15.0) -> None:
        self._namespace = namespace
        self._http = _Http([part.strip() for part in url.split(",")], token, give_up_s)
        self._new_stream = partial(Stream, self._http.urls, token, give_up_s=give_up_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections; those of requests under way close at their end."""
        self._http.close()

    def submit(
        self, app: str, handler: str, params: Any = None, *, proof: str = "", **options: Unpack[Options]
    ) -> Task:
        """Ask for one run of a handler. Raises ClientError when it is refused.

        proof: of the run that submits it (``run_proof``), which becomes its parent; ``ctx.submit`` gives it.
        """
        headers = {"Idempotency-Key": options.get("idempotency_key") or str(uuid.uuid4())}
        if proof:
            headers[RUN_HEADER] = proof
        body = _body({**options, "params": params})
        return _task(self._http.request("POST", self._tasks_path(app, handler), body, headers=headers))

    def submit_many(self, app: str, handler: str, submissions: Iterable[Submission]) -> list[str]:
        """Ask for many runs of a handler, 1,000 a request; the ids in the same order.

        Each submission gets a key of its own, so a repeated request makes nothing twice.
        """
        bodies = [
            {**_body(each), "idempotency_key": each.get("idempotency_key") or str(uuid.uuid4())} for each in submissions
        ]
        ids: list[str] = []
        for first in range(0, len(bodies), BATCH_TASKS):
            body = {"tasks": bodies[first : first + BATCH_TASKS]}
            ids += self._http.request("POST", f"{self._tasks_path(app, handler)}:batch", body)["ids"]
        return ids

    def task(self, task_id: str) -> Task:
        """Look at a task."""
        return self._whole(_task(self._http.request("GET", _task_path(task_id))))

    def wait(self, task_id: str, timeout_s: float | None = None) -> Task:
        """Wait until a task is done. Raises TimeoutError when that takes longer."""
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            look_s = LOOK_S if ends is None else min(LOOK_S, max(0.0, ends - time.monotonic()))
            query = urlencode({"wait": f"{math.ceil(look_s * 1000)}ms"})
            task = _task(self._http.request("GET", f"{_task_path(task_id)}?{query}", wait_s=look_s))
            if task.done:
                return self._whole(task)
            if ends is not None and time.monotonic() >= ends:
                raise TimeoutError(f"task {task_id} is still {task.state} after {timeout_s} s")

    def cancel(self, task_id: str) -> Task:
        """Ask for a task to end; running handlers are notified."""
        return _task(self._http.request("POST", f"{_task_path(task_id)}/cancel", {}))

    def bump(self, task_id: str, priority: int | None = None) -> None:
        """Move a task that waits to the head of its lane, or give it another priority.

        Raises ClientError when it has a worker or is over, or stands in no lane yet and no priority is given.
        """
        self._http.request("POST", f"{_task_path(task_id)}:bump", {} if priority is None else {"priority": priority})

    def stream(self, *topics: str, position: str = "") -> Stream:
        """What happens, as it happens. It comes back by itself where it broke.

        topics: ``events[:NS[/APP]]``, ``task:ID``, ``tasks:NS/APP[/HANDLER]``, ``queues:NS/APP``,
            ``stats:NS/APP[/HANDLER]``, ``log:ID[.SHARD]``.
        position: ``live`` of a list, or ``position`` of another stream.
        """
        return self._new_stream(topics, position=position)

    def bulk(
        self,
        verb: BulkVerb,
        *,
        ids: Sequence[str] | None = None,
        app: str = "",
        kind: BulkKind | None = None,
        as_of: datetime | int | str | None = None,
        cancel_reason: str | None = None,
        pinned: bool = False,
        key: str | None = None,
        **conditions: Unpack[Conditions],
    ) -> BulkJob:
        """Do one thing to many tasks or triggers: to those with the ids, 10,000 at most, or to all that fit.

        ids: of triggers as ``namespace/app/name``; conditions: which of the app are meant; kind: has to be said
        of a delete; pinned: a delete takes tasks, too, that somebody wants kept.

        Without an app it is for all of the namespace. Raises ClientError when it is refused, ValueError when a delete
        does not say of what.
        """
        body = self._bulk_body(verb, kind, ids, app, conditions)
        body |= {"pinned": True} if pinned else {}
        body |= {name: value for name, value in {"as_of": as_of, "reason": cancel_reason}.items() if value is not None}
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return _bulk_job(self._http.request("POST", "/v1/bulk", body, headers=headers))

    def count_bulk(
        self,
        verb: BulkVerb,
        *,
        ids: Sequence[str] | None = None,
        app: str = "",
        kind: BulkKind | None = None,
        **conditions: Unpack[Conditions],
    ) -> str:
        """For how many such a job would be; ``10,000+`` when there are more, or may be."""
        body = {**self._bulk_body(verb, kind, ids, app, conditions), "dry_run": True}
        return str(self._http.request("POST", "/v1/bulk", body)["text"])

    def bulk_job(self, job_id: str) -> BulkJob:
        """Look at a job on many tasks or triggers."""
        return _bulk_job(self._http.request("GET", f"/v1/bulk/{quote(job_id, '')}"))

    def change_bulk(self, job_id: str, change: Literal["pause", "resume", "cancel"]) -> BulkJob:
        """Pause such a job, let it go on, or end it; what it did stays. Raises ClientError when it is over."""
        return _bulk_job(self._http.request("POST", f"/v1/bulk/{quote(job_id, '')}:{change}"))

    def wait_bulk(self, job_id: str, timeout_s: float | None = None) -> BulkJob:
        """Wait until such a job is over. Raises TimeoutError when that takes longer."""
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            job = self.bulk_job(job_id)
            if job.over:
                return job
            if ends is not None and time.monotonic() >= ends:
                raise TimeoutError(f"job {job_id} is still {job.state} after {timeout_s} s")
            time.sleep(BULK_LOOK_S if ends is None else min(BULK_LOOK_S, max(0.0, ends - time.monotonic())))

    def _bulk_body(
        self, verb: str, kind: str | None, ids: Sequence[str] | None, app: str, conditions: Mapping[str, Any]
    ) -> dict[str, Any]:
        if verb == "delete" and kind is None:
            raise ValueError("a delete needs kind='tasks' or kind='triggers'")
        kind = kind or ("tasks" if verb in ("cancel", "retry") else "triggers")
        body: dict[str, Any] = {"kind": kind, "verb": verb, "namespace": self._namespace, "app": app}
        if ids is not None:
            return {**body, "ids": list(ids), **({"filter": dict(conditions)} if conditions else {})}
        spelled = {"since": "from", "until": "to"}
        return {**body, "filter": {spelled.get(name, name): value for name, value in conditions.items()}}

    def _whole(self, task: Task) -> Task:
        """With the result and the error also where they were too large for the answer."""
        names = [name for name in ("result", "error") if name in task.details.get("left_out", {})]
        values = {name: self._http.fetch(f"{_task_path(task.id)}/values/{name}") for name in names}
        return replace(task, **{name: _shown(data) for name, data in values.items()})

    def _tasks_path(self, app: str, handler: str) -> str:
        return f"/v1/apps/{quote(self._namespace, '')}/{quote(app, '')}/handlers/{quote(handler, '')}/tasks"


def _task_path(task_id: str) -> str:
    return f"/v1/tasks/{quote(task_id, '')}"


def _task(answer: Mapping[str, Any]) -> Task:
    return Task(answer["id"], answer["state"], answer.get("reason"), answer.get("result"), answer.get("error"), answer)


def _bulk_job(answer: Mapping[str, Any]) -> BulkJob:
    counts = {name: answer[name] for name in ("matched", "done", "skipped", "failed")}
    return BulkJob(id=answer["id"], state=answer["state"], details=answer, **counts)


def _shown(data: bytes) -> Any:
    """A value as the server would have shown it."""
    return to_jsonable_python(unpack_value(data), bytes_mode="base64", inf_nan_mode="strings", fallback=repr)


def _body(options: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a submission: seconds become whole milliseconds, what was not given is left out.

    In a handler it belongs to the trace of its run.
    """
    body: dict[str, Any] = {}
    run = current.get()
    if run is not None and run.traceparent is not None:
        body["traceparent"] = run.traceparent
    for name, value in options.items():
        if value is None or name == "idempotency_key":
            continue
        if name.endswith("_s"):
            body[f"{name[:-2]}_ms"] = round(value * 1000)
        else:
            body[name] = value
    return body


class _Http:
    """A few kept connections, and patience."""

    def __init__(self, urls: list[str], token: str, give_up_s: float) -> None:
        for url in urls:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise ValueError(f"{url!r} is no http:// or https:// address")
        self.urls = urls
        self._token = token
        self._give_up_s = give_up_s
        self._turn = 0
        """Counts through the addresses: which one answered last."""
        self._idle: deque[tuple[int, http.client.HTTPConnection]] = deque()
        """Kept connections, and the turn that each was made in."""
        self._closed = False

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop()[1].close()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> dict[str, Any]:
        """Make a request until somebody answers it; its JSON. Raises ClientError, Unreachable."""
        return _object(self._answer(method, path, body, headers or {}, wait_s))

    def fetch(self, path: str) -> bytes:
        """What a GET gives, as it is. Raises ClientError, Unreachable."""
        return self._answer("GET", path, None, {"Accept": "*/*"}, 0.0)

    def _answer(self, method: str, path: str, body: object, headers: Mapping[str, str], wait_s: float) -> bytes:
        data = None if body is None else _json(body)
        give_up_at = time.monotonic() + self._give_up_s + wait_s
        pause_s = FIRST_PAUSE_S
        turn, tried = self._turn, 0
        while True:
            elsewhere = True
            try:
                status, answer, retry_after_s = self._once(turn, method, path, data, headers, REQUEST_S + wait_s)
                if status < 400:
                    return answer
                trouble: Exception = ClientError(status, _object(answer))
                if status not in BUSY_STATUSES or (status == TOO_MANY and retry_after_s is None):
                    raise trouble
                pause_s = max(pause_s, retry_after_s or 0.0)
                elsewhere = status != TOO_MANY
            except (OSError, http.client.HTTPException) as error:
                trouble = Unreachable(f"{', '.join(self.urls)} did not answer: {str(error) or type(error).__name__}")
            tried += 1
            if elsewhere:
                turn = self._turn = turn + 1
                if tried % len(self.urls):
                    continue  # a gateway that drains or is down does not mean that the next one does
            if time.monotonic() + pause_s >= give_up_at:
                raise trouble
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _once(
        self, turn: int, method: str, path: str, data: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, bytes, float | None]:
        sent = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", **headers}
        if data is not None:
            sent["Content-Type"] = "application/json"
        url = urlsplit(self.urls[turn % len(self.urls)])
        connection = self._connection(turn, url, timeout_s)
        try:
            connection.request(method, url.path.rstrip("/") + path, data, sent)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        self._keep(turn, connection)
        retry_after = response.headers.get("Retry-After", "")
        return response.status, content, float(retry_after) if retry_after.isdigit() else None

    def _connection(self, turn: int, url: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread took the last one
                made_in, kept = self._idle.pop()
                if made_in == turn:
                    kept.timeout = timeout_s
                    if kept.sock is not None:
                        kept.sock.settimeout(timeout_s)
                    return kept
                kept.close()
        make = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        return make(str(url.hostname), url.port, timeout=timeout_s)

    def _keep(self, turn: int, connection: http.client.HTTPConnection) -> None:
        if self._closed or len(self._idle) >= KEPT_CONNECTIONS:
            connection.close()
        else:
            self._idle.append((turn, connection))


def _json(body: object) -> bytes:
    try:
        return json.dumps(body, default=to_jsonable_python, allow_nan=False).encode()
    except (PydanticSerializationError, ValueError) as error:
        raise TypeError(f"the parameters cannot become JSON: {error}") from None


def _object(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content) if content else {}
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {"detail": content[:200].decode("utf-8", "replace")}
