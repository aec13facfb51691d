"""The HTTP API: JSON over bearer tokens, errors as RFC 9457 problems, and the worker socket's route beside it."""

from gojob_redis.api.app import create_app, create_probe_app
from gojob_redis.api.dependencies import Edge

__all__ = ["Edge", "create_app", "create_probe_app"]
