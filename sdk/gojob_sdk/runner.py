"""The handlers' side: begins runs, interrupts them, and turns how they ended into outcomes.

1. Async handlers run in the loop that the runner was made in, one task each; blocking ones in threads.
2. ``begin``, ``interrupt`` and ``regain`` are called from the connection's thread. Flags of a context are set there and
   then, so that a blocking handler sees them at once; whatever touches a task goes through the mailbox.
3. Outcomes of one turn of the loop are handed over together.
"""

import asyncio
import contextvars
import logging
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gojob_sdk.context import Context, Notebook, Submits, clip, current, now_ms
from gojob_sdk.errors import BadParams, BadResult, Canceled, FinalError, LeaseLost, Snooze, Uncounted
from gojob_sdk.events import Cause, Key
from gojob_sdk.handlers import Handler
from gojob_sdk.protocol import (
    MAX_ERROR_BYTES,
    MAX_REPORT_DELAY_MS,
    MAX_RESULT_BYTES,
    Assignment,
    ErrorText,
    Outcome,
    OutcomeWord,
    pack_value,
)
from gojob_sdk.threads import Mailbox, Threads

TYPE_BYTES = 200
MESSAGE_BYTES = 4 << 10
TRACEBACK_BYTES = MAX_ERROR_BYTES - MESSAGE_BYTES - TYPE_BYTES
UNWIND_S = 1.0

log = logging.getLogger("gojob_sdk")


@dataclass(slots=True, eq=False)
class Running:
    """One attempt that is being run."""

    key: Key
    assignment: Assignment
    handler: Handler
    ctx: Context
    task: asyncio.Task[None] | None = None
    stepped: bool = False
    """Its task has run its first step. A task that is cancelled before that reports nothing."""


class Runner:
    """Runs what the connection tells it to, and tells the connection how it ended."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        concurrency: int,
        final: tuple[type[BaseException], ...],
        notebook: Notebook,
        submitter: Submits,
        ended: Callable[[list[Outcome]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._handlers = handlers
        self._final: tuple[type[BaseException], ...] = (FinalError, *final)
        self._notebook = notebook
        self._submitter = submitter
        self._ended = ended
        self._loop = loop
        self._mailbox: Mailbox[Callable[[], None]] = Mailbox(self._loop, _call_all)
        self._threads = Threads(concurrency)
        self._running: dict[Key, Running] = {}
        self._outcomes: list[Outcome] = []
        self._closing = False

    @property
    def running(self) -> list[Running]:
        return list(self._running.values())

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call something in the handlers' loop, from any thread."""
        self._mailbox.put(call)

    # --- from the connection's thread ---------------------------------------------------------------------------------

    def begin(self, assignments: Iterable[Assignment]) -> None:
        steps: list[Callable[[], None]] = []
        for assignment in assignments:
            key = assignment["run"], assignment["attempt"]
            handler = self._handlers[assignment["handler"]]
            ctx = Context(assignment, self._notebook, self._submitter)
            run = self._running[key] = Running(key, assignment, handler, ctx)
            if handler.is_async:
                steps.append(partial(self._spawn, run))
            else:
                self._threads.submit(partial(contextvars.copy_context().run, self._do_in_thread, run))
        if steps:
            self._mailbox.put_all(steps)

    def interrupt(self, cause: Cause, keys: Sequence[Key]) -> None:
        for key in keys:
            run = self._running.get(key)
            if run is not None:
                self._interrupt_one(run, cause)

    def _interrupt_one(self, run: Running, cause: Cause) -> None:
        if cause == "canceled":
            run.ctx.canceled = True
        elif cause == "timeout":
            run.ctx.timed_out = True
        else:
            run.ctx.lost = True
        if run.handler.is_async and (cause != "lost" or run.assignment["confirm"]):
            self._mailbox.put(partial(_cancel_task, run))

    def regain(self, keys: Sequence[Key]) -> None:
        for key in keys:
            run = self._running.get(key)
            if run is not None:
                run.ctx.lost = False

    # --- in the handlers' loop ----------------------------------------------------------------------------------------

    def _spawn(self, run: Running) -> None:
        run.task = self._loop.create_task(self._do(run))

    async def _do(self, run: Running) -> None:
        run.stepped = True
        current.set(run.ctx)
        started_ms = now_ms()
        try:
            run.ctx.check()
            outcome = self._returned(run, await run.handler.call(run.ctx), started_ms)
        except GeneratorExit:
            raise
        except BaseException as error:
            if self._closing and isinstance(error, asyncio.CancelledError):
                raise
            outcome = self._raised(run, error, started_ms)
        del self._running[run.key]
        if not self._outcomes:
            self._loop.call_soon(self._hand_over)
        self._outcomes.append(outcome)

    def _hand_over(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        self._ended(outcomes)

    async def close(self) -> None:
        """Give up what still runs; its session is over, so nothing is reported."""
        self._closing = True
        tasks = [run.task for run in self.running if run.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=UNWIND_S)
        self._threads.close()

    # --- in a handler's thread ----------------------------------------------------------------------------------------

    def _do_in_thread(self, run: Running) -> None:
        current.set(run.ctx)
        started_ms = now_ms()
        try:
            run.ctx.check()
            outcome = self._returned(run, run.handler.call(run.ctx), started_ms)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a handler is its outcome, not the thread's end
            outcome = self._raised(run, error, started_ms)
        del self._running[run.key]
        self._ended([outcome])

    # --- outcomes -----------------------------------------------------------------------------------------------------

    def _returned(self, run: Running, result: object, started_ms: int) -> Outcome:
        if run.ctx.timed_out:
            return _outcome(run, "timeout", started_ms)
        document = None if result is None else packed_result(result)
        outcome = _outcome(run, "ok", started_ms)
        if document is not None:
            outcome["result"] = document
        return outcome

    def _raised(self, run: Running, error: BaseException, started_ms: int) -> Outcome:
        word, error = _meaning(run, error)
        outcome = _outcome(run, word, started_ms)
        if word != "canceled":
            outcome["error"] = error_text(error)
        if word in ("error", "params_invalid"):
            self._dispose(outcome, error)
        return outcome

    def _dispose(self, outcome: Outcome, error: BaseException) -> None:
        """Say what is to become of the run, where that is not a retry as usual."""
        if isinstance(error, self._final):
            outcome["disposition"] = "final"
        elif isinstance(error, Snooze | Uncounted):
            outcome["disposition"] = "snooze" if isinstance(error, Snooze) else "uncounted"
            if error.seconds is not None:
                outcome["delay_ms"] = _delay_ms(error.seconds)


def _meaning(run: Running, error: BaseException) -> tuple[OutcomeWord, BaseException]:
    """Decide whether the handler ended because the SDK asked it to, or by itself."""
    ctx = run.ctx
    if ctx.timed_out:
        return "timeout", error
    if ctx.canceled:
        return "canceled", error
    if ctx.lost and isinstance(error, Canceled | asyncio.CancelledError):
        return "error", LeaseLost("the lease may have ended, and this run may happen only once")
    return "params_invalid" if isinstance(error, BadParams) else "error", error


def _outcome(run: Running, word: OutcomeWord, started_ms: int) -> Outcome:
    assignment = run.assignment
    return {
        "run": assignment["run"],
        "attempt": assignment["attempt"],
        "fence": assignment["fence"],
        "outcome": word,
        "started_ms": started_ms,
        "ended_ms": now_ms(),
    }


def _delay_ms(seconds: float) -> int:
    """A handler's delay as it may travel: what is no number, or negative, is none."""
    return round(min(seconds * 1_000, MAX_REPORT_DELAY_MS)) if seconds > 0 else 0


def packed_result(result: object) -> bytes:
    """A handler's result as it travels. Raises BadResult."""
    try:
        document = pack_value(result)
    except TypeError as error:
        raise BadResult(f"the result cannot be sent: {error}; return numbers, text, lists and maps") from None
    if len(document) > MAX_RESULT_BYTES:
        raise BadResult(
            f"the result takes {len(document)} bytes, at most {MAX_RESULT_BYTES} are allowed; "
            "store it elsewhere and return where it is"
        )
    return document


def error_text(error: BaseException) -> ErrorText:
    """An exception as it travels: the end of the traceback, without the SDK's own frames, within 16 KiB altogether."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a __str__ of the user's may raise anything
        message = "(its text cannot be shown)"
    return {
        "type": clip(type(error).__qualname__, TYPE_BYTES),
        "message": clip(message, MESSAGE_BYTES),
        "traceback": _clip_end(_traceback_of(error), TRACEBACK_BYTES),
    }


def _traceback_of(error: BaseException) -> str:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("gojob_sdk."):
        frames = frames.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, frames))
    except Exception:  # noqa: BLE001 - the same __str__ as above
        return ""


def _clip_end(text: str, most_bytes: int) -> str:
    return text[-most_bytes:].encode("utf-8", "backslashreplace")[-most_bytes:].decode("utf-8", "ignore")


def _cancel_task(run: Running) -> None:
    """Cancel a task once, if it has begun. A task that has not begun checks its context first."""
    if run.task is not None and run.stepped and not run.task.cancelling():
        run.task.cancel()


def _call_all(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()
