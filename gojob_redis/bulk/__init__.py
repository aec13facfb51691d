"""Long work: jobs that do one thing to many tasks or triggers.

1. What a job is to do stands in the control plane, with what it is for in each partition: the ids it was given, or the
   apps it goes through. Whoever asked for it is done then; if he dies, the replicas go on all the same.
2. A script does at most 100 a call, and moves the job on in the same call (``lua/lib/job.lua``). So any replica may
   drive a job, several at once, and none has to remember anything.
3. Each partition keeps what it did for a job; the sum is the answer.
"""

from gojob_redis.bulk.drive import BULK_S, Bulk
from gojob_redis.bulk.jobs import (
    Count,
    Job,
    JobRow,
    Order,
    PartitionProgress,
    ReasonCount,
    Sample,
    change_job,
    count,
    find_job,
    jobs_of,
    open_job,
    show,
    units_of_apps,
    units_of_tasks,
    units_of_triggers,
    unknown_job,
)

__all__ = [
    "BULK_S",
    "Bulk",
    "Count",
    "Job",
    "JobRow",
    "Order",
    "PartitionProgress",
    "ReasonCount",
    "Sample",
    "change_job",
    "count",
    "find_job",
    "jobs_of",
    "open_job",
    "show",
    "units_of_apps",
    "units_of_tasks",
    "units_of_triggers",
    "unknown_job",
]
