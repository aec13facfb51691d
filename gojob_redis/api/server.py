"""The HTTP server of a process: uvicorn with our settings, and without its signal handlers."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, cast

import uvicorn
from starlette.types import ASGIApp

from gojob_redis.api.crowd import Crowd, raise_descriptors
from gojob_redis.api.wire import Http, WorkerSocket
from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest

GRACEFUL_S: Final = 5
TICKS: Final = 10
"""uvicorn ticks ten times a second."""
BACKLOG: Final = 16_384
"""Connections that wait to be taken; more are dropped, and try again after 1, 3 and 7 s. The system allows no more than
``net.core.somaxconn``, 4,096 on Linux unless it is set."""
ANYWHERE: Final = frozenset({"0.0.0.0", "::"})


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Take the port before anything else is started: the most frequent mistake should cost nothing.

    Raises BadRequest ``cannot_listen``.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise BadRequest(
            "cannot_listen",
            f"{host}:{port} cannot be listened on: {str(error.strerror or error).partition(' (while')[0]}.",
            field="port",
            hint="Choose another port, or 0 for any free one.",
        ) from error
    with listening:
        yield listening


def address_of(host: str, listening: socket.socket) -> str:
    """What to tell people."""
    shown = "127.0.0.1" if host in ANYWHERE else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}"


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would close the sockets at once: the order of the end is ours."""

    def __init__(self, app: ASGIApp, crowd: Crowd | None = None) -> None:
        raise_descriptors()
        self.crowd = crowd or Crowd()
        super().__init__(
            uvicorn.Config(
                app,
                backlog=BACKLOG,
                http=cast(type[Http], partial(Http, self.crowd)),
                ws=WorkerSocket,
                ws_max_size=limits.FRAME_BYTES,
                ws_per_message_deflate=False,
                ws_ping_interval=None,  # workers renew
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,  # the crowd knows which proxies are trusted
                timeout_keep_alive=limits.KEEP_ALIVE_MS // 1000,
                timeout_graceful_shutdown=GRACEFUL_S,
            )
        )
        self.up = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS == 0:
            self.crowd.look()
        return await super().on_tick(counter)
