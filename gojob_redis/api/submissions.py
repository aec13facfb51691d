"""From a body to a submission: everything is checked before anything is written."""

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Final

from gojob_redis import view
from gojob_redis.api.bodies import (
    TaskBody,
    all_or_none,
    attribute_of,
    labels_of,
    moment_of,
    pack,
    pack_shards,
    said_in,
)
from gojob_redis.api.dependencies import Edge
from gojob_redis.domain import ids, limits, names, policies, quotas
from gojob_redis.domain.address import app_of, namespace_of
from gojob_redis.domain.errors import BadRequest, Conflict, GojobError
from gojob_redis.domain.verbs import Submission, Submitted
from gojob_redis.engine.partitions import Partition
from gojob_redis.task import pack_names
from gojob_redis.view import HandlerFacts
from gojob_redis.view.records import clock_of
from gojob_sdk.protocol import RUN_HEADER

_PROOF: Final = re.compile(r"([0-9a-z.]{1,40})@([1-9][0-9]{0,6}) ([0-9]{1,16}-[A-Za-z0-9_-]{1,32})")


async def prepare(
    edge: Edge,
    app: str,
    handler: str,
    body: TaskBody,
    *,
    key: str = "",
    at: str = "",
    trace: str = "",
    lineage: str = "",
) -> Submission:
    """Check one task and give it its id; nothing is written but the app's partition, and that last.

    trace: the ``traceparent`` of the request.
    lineage: of ``lineage_of``.
    at: where the task stands in the body, such as ``tasks[3].``, for errors.
    """
    name = names.check_handler(handler)
    address = f"{app}/{name}"
    check_key(key, f"{at}idempotency_key" if at else "Idempotency-Key")
    check_unique(body.key, body.unique, at)
    traceparent = traceparent_of(body.traceparent, trace, at)
    shards, shard_params = pack_shards(body, at)
    param = pack(body.params, f"{at}params")
    labels, attribute = labels_of(body.labels, at), attribute_of(body.require, at)
    due = moment_of(body.at, f"{at}at") if body.at is not None else 0
    if all_or_none([body.at, body.delay_ms]):
        raise BadRequest("bad_moment", f"{at}at and {at}delay_ms are both set.", field=f"{at}at", hint="Send one.")
    facts = await edge.handlers.lately(address) if body.allow_unknown else await edge.handlers.check(address)
    if facts.live and not body.allow_unknown:
        await edge.handlers.check_params(address, facts, body.params, at)
    partition = await edge.space.of_app(app)
    if body.delay_ms:
        due = await due_of(partition, body.delay_ms, f"{at}delay_ms")
    return Submission(
        task=ids.submitted_id(partition.number, int(time.time() * 1000)),
        handler=address,
        app=app,
        labels=labels,
        attribute=attribute,
        at=due,
        param=param,
        shards=shards,
        shard_params=shard_params,
        policies=policies.text_for("task", said_in(body), await defaults_of(edge, address, facts)),
        lineage=lineage,
        once_key=once_key(key),
        digest=digest_of(address, body) if key else "",
        names=pack_names(body.key, traceparent),
        unique=int(body.unique),
    )


async def defaults_of(edge: Edge, handler: str, facts: HandlerFacts) -> Mapping[str, policies.Value]:
    """Policies where nothing is said: those that the handler told, over those of its namespace."""
    of_namespace, of_handler = await layers_of(edge, handler, facts)
    return {**of_namespace, **of_handler} if of_handler else of_namespace


async def layers_of(
    edge: Edge, handler: str, facts: HandlerFacts
) -> tuple[Mapping[str, policies.Value], Mapping[str, policies.Value]]:
    """Policies where nothing is said: those of its namespace, and those that the handler told, which go before them."""
    of_namespace = await edge.levels.defaults_of(handler)
    return of_namespace, await edge.handlers.defaults(handler, facts) if facts.holds else {}


def traceparent_of(own: str, of_request: str, at: str = "") -> str:
    """The trace that a task belongs to: that of its body, else that of the request; "" for none."""
    if own:
        return names.check_traceparent(own, f"{at}traceparent")
    return names.check_traceparent(of_request) if of_request else ""


async def lineage_of(edge: Edge, app: str, proof: str) -> str:
    """The run that submits, as ``task.shard.attempt``, where it proves that it is one; "" where nobody says so.

    proof: of the request, as ``run_proof`` of the SDK writes it.

    A run that ends a moment later has its child all the same. Raises BadRequest ``bad_run``, Conflict ``not_your_run``.
    """
    if not proof:
        return ""
    shape = _PROOF.fullmatch(proof)
    if shape is None:
        raise BadRequest(
            "bad_run",
            f"{RUN_HEADER} is not of the form RUN@ATTEMPT FENCE.",
            field=RUN_HEADER,
            hint="Send what the assignment of the run says, or leave it out.",
        )
    run, attempt, fence = shape[1], int(shape[2]), shape[3]
    task, shard = ids.split_run(run)
    handler = await view.owner_of(edge.space, run, attempt, fence)
    if namespace_of(handler) != namespace_of(app):
        raise Conflict(
            "not_your_run",
            f"Attempt {attempt} of run {run} is not bound with this fence in {namespace_of(app)}.",
            field=RUN_HEADER,
            hint="Submit while the run has its lease. A run that is over, or that another worker has, submits nothing.",
        )
    return f"{task}.{shard or 0}.{attempt}"


def check_unique(own_key: str, unique: bool, at: str = "") -> None:
    """Refuse to have nothing unique."""
    if unique and not own_key:
        raise BadRequest("bad_key", f"{at}unique is set without key.", field=f"{at}key", hint="Give it a key.")


def check_key(key: str, field: str) -> None:
    """Refuse an Idempotency-Key that is not printable ASCII."""
    if key and not (key.isascii() and key.isprintable()):
        raise BadRequest(
            "bad_key", f"{field} is not printable ASCII.", field=field, hint="Send a random text such as a UUID."
        )


def once_key(key: str) -> str:
    """What an Idempotency-Key becomes in a key name."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest() if key else ""


def digest_of(address: str, body: TaskBody) -> str:
    """Tells bodies under one Idempotency-Key apart."""
    fields = body.model_dump(exclude={"idempotency_key", "params", "shard_params", "traceparent"}, exclude_unset=True)
    text = json.dumps([address, fields, body.params, body.shard_params], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


async def due_of(partition: Partition, delay_ms: int, field: str) -> int:
    """When a delay is over, by the engine's clock."""
    due = (await clock_of(partition)).wall + delay_ms
    if due >= limits.LATEST_MS:
        raise BadRequest("bad_moment", f"{field} leads beyond 2100.", field=field, hint="Give milliseconds.")
    return due


async def submit(edge: Edge, app: str, submissions: Sequence[Submission]) -> list[Submitted]:
    """Hand checked tasks over to the engine, and count what became of them."""
    partition = await edge.space.of_app(app)
    done = list(await edge.submit(partition, submissions, app))
    if any(each.word.endswith("_full") for each in done):
        await edge.levels.quotas_of(app)  # so that the refusal can tell them
    for each in done:
        edge.metrics.submitted.labels(each.word).inc()
    return done


def refusal(edge: Edge, word: str, handler: str, task: str = "") -> GojobError | None:
    """The error that a word of ``submit`` means, None for a task that was taken in. task: the id that came with it."""
    if word in ("ok", "duplicate"):
        return None
    if word == "other_body":
        return Conflict(
            "key_reused",
            "The Idempotency-Key was used for another body in the last 24 h.",
            field="Idempotency-Key",
            hint="Use a new key for a new task, and the same body for a repeat.",
        )
    if word == "key_live":
        return Conflict(
            "key_live",
            f"Task {task} has this key and is not over.",
            field="key",
            hint="Wait for its end, cancel it, or leave out unique.",
        )
    if word == "children_full":
        return BadRequest(
            "children_full",
            f"The parent has {limits.CHILDREN} children in this partition already.",
            field="parent",
            hint="Submit sharded tasks, or let children submit the rest.",
            limit=limits.CHILDREN,
            status=422,
        )
    if word == "queue_full":
        return BadRequest(
            "queue_full",
            f"{limits.QUEUED_PER_HANDLER} tasks of {handler} are queued already.",
            field="handler",
            hint="Start more workers, or submit later.",
            limit=limits.QUEUED_PER_HANDLER,
            status=429,
        )
    if word == "lanes_full":
        return BadRequest(
            "lanes_full",
            f"{handler} has {limits.LANES_PER_HANDLER} queues for different labels and attributes already.",
            field="labels",
            hint="Use fewer different labels and attributes for one handler.",
            limit=limits.LANES_PER_HANDLER,
            status=422,
        )
    if word in ("app_lanes_full", "handlers_full", "delayed_full"):
        return quotas.refusal(word, app_of(handler), edge.levels.held(handler))
    return BadRequest("refused", f"The engine answered {word!r}.", hint="Report it.")


class PartlyRefused(BadRequest):
    """Some of many tasks were refused. ``ids`` has null in their places; the others were taken in."""

    def __init__(self, first: GojobError, at: int, ids: Sequence[str | None]) -> None:
        super().__init__(
            first.code,
            f"{sum(task is None for task in ids)} of {len(ids)} tasks were refused, first tasks[{at}]: {first.message}",
            field=f"tasks[{at}]",
            hint=first.hint,
            limit=first.limit,
            status=first.status,
        )
        self.ids = list(ids)

    def as_problem(self) -> dict[str, object]:
        return {**super().as_problem(), "ids": self.ids}
