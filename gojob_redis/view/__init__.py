"""Reads for people: tasks and why they wait, triggers and their slots, queues, workers. Nothing here writes.

A list is read in pages along the indexes that the verbs keep; there is no total, because nobody counts. What is read in
several round trips may have moved between them: every record shown was true at one moment.
"""

from gojob_redis.view.apps import Apps
from gojob_redis.view.events import Event, EventFilter, events, faulted
from gojob_redis.view.find import Result, search
from gojob_redis.view.live import Positions
from gojob_redis.view.names import Names
from gojob_redis.view.pages import Page
from gojob_redis.view.queues import (
    Queue,
    QueueLane,
    Worker,
    handlers_near,
    queue,
    queues,
    unknown_worker,
    worker,
    workers,
)
from gojob_redis.view.records import home
from gojob_redis.view.run_columns import RunColumns, run_columns
from gojob_redis.view.specs import HandlerDetails, HandlerFacts, HandlerVersion, handler, handler_facts, spec_of
from gojob_redis.view.tasks import (
    Attempt,
    LogLine,
    Run,
    Task,
    TaskRow,
    address_of,
    log,
    partition_of,
    runs,
    states_of,
    task,
    task_row,
    tasks_of_handler,
    tasks_of_trigger,
    unknown_task,
    value,
)
from gojob_redis.view.trigger_list import Row as TriggerRow
from gojob_redis.view.trigger_list import Search, find_triggers
from gojob_redis.view.triggers import Removed, Slot, Trigger, find_trigger, home_of_uid, removed, trigger, uid_of
from gojob_redis.view.triggers import slots as slots_of
from gojob_redis.view.values import Turn, Turns, at_once

__all__ = [
    "Apps",
    "Attempt",
    "Event",
    "EventFilter",
    "HandlerDetails",
    "HandlerFacts",
    "HandlerVersion",
    "LogLine",
    "Names",
    "Page",
    "Positions",
    "Queue",
    "QueueLane",
    "Removed",
    "Result",
    "Run",
    "RunColumns",
    "Search",
    "Slot",
    "Task",
    "TaskRow",
    "Trigger",
    "TriggerRow",
    "Turn",
    "Turns",
    "Worker",
    "address_of",
    "at_once",
    "events",
    "faulted",
    "find_trigger",
    "find_triggers",
    "handler",
    "handler_facts",
    "handlers_near",
    "home",
    "home_of_uid",
    "log",
    "partition_of",
    "queue",
    "queues",
    "removed",
    "run_columns",
    "runs",
    "search",
    "slots_of",
    "spec_of",
    "states_of",
    "task",
    "task_row",
    "tasks_of_handler",
    "tasks_of_trigger",
    "trigger",
    "uid_of",
    "unknown_task",
    "unknown_worker",
    "value",
    "worker",
    "workers",
]
