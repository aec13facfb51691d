"""Write handlers, connect them over one websocket, and submit tasks."""

from gojob_sdk.client import BulkJob, Client, Task
from gojob_sdk.context import Context
from gojob_sdk.errors import (
    BadConfig,
    BadParams,
    Canceled,
    ClientError,
    FinalError,
    GojobError,
    Refused,
    Snooze,
    Uncounted,
    Unreachable,
)
from gojob_sdk.stream import Message, Stream
from gojob_sdk.version import __version__
from gojob_sdk.worker import Worker

__all__ = [
    "BadConfig",
    "BadParams",
    "BulkJob",
    "Canceled",
    "Client",
    "ClientError",
    "Context",
    "FinalError",
    "GojobError",
    "Message",
    "Refused",
    "Snooze",
    "Stream",
    "Task",
    "Uncounted",
    "Unreachable",
    "Worker",
    "__version__",
]
