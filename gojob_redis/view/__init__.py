"""Reads for people: tasks and why they wait, triggers and their slots, queues, workers. Nothing here writes.

A list is read in pages along the indexes that the verbs keep; there is no total, because nobody counts. What is read in
several round trips may have moved between them: every record shown was true at one moment.
"""

from gojob_redis.view.apps import Apps, Sees
from gojob_redis.view.changes import TaskNow
from gojob_redis.view.crowd import Crowd, Serving, crowd, serving
from gojob_redis.view.demand import Demand, demand
from gojob_redis.view.events import Event, EventFilter, events, faulted
from gojob_redis.view.failures import FailureGroup, failures
from gojob_redis.view.find import Result, search
from gojob_redis.view.forecast import Forecast
from gojob_redis.view.gauge import depths
from gojob_redis.view.links import links, owner_of
from gojob_redis.view.live import Positions
from gojob_redis.view.logs import LogFilter, LogPage, log, run_of
from gojob_redis.view.names import Names
from gojob_redis.view.overview import Overview, Overviews
from gojob_redis.view.pages import Page
from gojob_redis.view.queue_list import QueueList, QueueOrder, QueuesBy, QueueSearch, find_queues, queues_of_app
from gojob_redis.view.queues import (
    Queue,
    QueueLane,
    Worker,
    WorkerLoad,
    handler_names,
    handlers_near,
    queue,
    unknown_worker,
    worker,
    workers,
)
from gojob_redis.view.records import home
from gojob_redis.view.run_columns import RunColumns, run_columns
from gojob_redis.view.slow_tasks import slow_tasks
from gojob_redis.view.specs import (
    HandlerDetails,
    HandlerFacts,
    HandlerVersion,
    VersionMark,
    handler,
    handler_facts,
    spec_of,
    version_marks,
)
from gojob_redis.view.stats import (
    Series,
    Span,
    Step,
    Totals,
    apps_of,
    handlers_announced,
    span_of,
    stats,
    total_sums,
    totals,
)
from gojob_redis.view.stats import gaps as stats_gaps
from gojob_redis.view.task_facets import TaskFacet, TaskFact, count_tasks
from gojob_redis.view.task_search import Looked, TaskPage, TaskSearch, find_tasks
from gojob_redis.view.tasks import (
    Attempt,
    CancelTimes,
    Links,
    Run,
    Task,
    TaskRow,
    address_of,
    partition_of,
    runs,
    states_of,
    task,
    task_row,
    unknown_task,
    value,
)
from gojob_redis.view.timeline import RowOf, Timeline, axis_of, timeline
from gojob_redis.view.trigger_list import Row as TriggerRow
from gojob_redis.view.trigger_list import Search, find_triggers
from gojob_redis.view.trigger_list import Triggers as TriggerList
from gojob_redis.view.trigger_stats import TriggerStats, Troubled, trigger_stats, troubled
from gojob_redis.view.triggers import Removed, Slot, Trigger, find_trigger, home_of_uid, removed, trigger, uid_of
from gojob_redis.view.triggers import count as count_triggers
from gojob_redis.view.triggers import slots as slots_of
from gojob_redis.view.values import Turn, Turns, at_once
from gojob_redis.view.week import Week, week, week_span
from gojob_redis.view.why import Reason, WhyNot
from gojob_redis.view.worker_list import (
    WorkerFacet,
    WorkerFact,
    WorkerList,
    WorkerSearch,
    count_workers,
    find_workers,
    group_workers,
)

__all__ = [
    "Apps",
    "Attempt",
    "CancelTimes",
    "Crowd",
    "Demand",
    "Event",
    "EventFilter",
    "FailureGroup",
    "Forecast",
    "HandlerDetails",
    "HandlerFacts",
    "HandlerVersion",
    "Links",
    "LogFilter",
    "LogPage",
    "Looked",
    "Names",
    "Overview",
    "Overviews",
    "Page",
    "Positions",
    "Queue",
    "QueueLane",
    "QueueList",
    "QueueOrder",
    "QueueSearch",
    "QueuesBy",
    "Reason",
    "Removed",
    "Result",
    "RowOf",
    "Run",
    "RunColumns",
    "Search",
    "Sees",
    "Series",
    "Serving",
    "Slot",
    "Span",
    "Step",
    "Task",
    "TaskFacet",
    "TaskFact",
    "TaskNow",
    "TaskPage",
    "TaskRow",
    "TaskSearch",
    "Timeline",
    "Totals",
    "Trigger",
    "TriggerList",
    "TriggerRow",
    "TriggerStats",
    "Troubled",
    "Turn",
    "Turns",
    "VersionMark",
    "Week",
    "WhyNot",
    "Worker",
    "WorkerFacet",
    "WorkerFact",
    "WorkerList",
    "WorkerLoad",
    "WorkerSearch",
    "address_of",
    "apps_of",
    "at_once",
    "axis_of",
    "count_tasks",
    "count_triggers",
    "count_workers",
    "crowd",
    "demand",
    "depths",
    "events",
    "failures",
    "faulted",
    "find_queues",
    "find_tasks",
    "find_trigger",
    "find_triggers",
    "find_workers",
    "group_workers",
    "handler",
    "handler_facts",
    "handler_names",
    "handlers_announced",
    "handlers_near",
    "home",
    "home_of_uid",
    "links",
    "log",
    "owner_of",
    "partition_of",
    "queue",
    "queues_of_app",
    "removed",
    "run_columns",
    "run_of",
    "runs",
    "search",
    "serving",
    "slots_of",
    "slow_tasks",
    "span_of",
    "spec_of",
    "states_of",
    "stats",
    "stats_gaps",
    "task",
    "task_row",
    "timeline",
    "total_sums",
    "totals",
    "trigger",
    "trigger_stats",
    "troubled",
    "uid_of",
    "unknown_task",
    "unknown_worker",
    "value",
    "version_marks",
    "week",
    "week_span",
    "worker",
    "workers",
]
