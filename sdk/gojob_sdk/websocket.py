"""One websocket to a gateway: how it is opened and closed, and what it means when that fails."""

import asyncio
import contextlib
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, NegotiationError, WebSocketException
from websockets.typing import Subprotocol

from gojob_sdk.protocol import FINAL_CLOSE_CODES, MAX_FRAME_BYTES, SUBPROTOCOL, BadFrame, Error, encode

OPEN_WITHIN_S = 10.0
CLOSE_WITHIN_S = 2.0

OPEN_ERRORS = (OSError, TimeoutError, WebSocketException, EOFError)
"""What ``open_socket`` raises when there is no connection."""

SOCKET_ERRORS = (OSError, TimeoutError, WebSocketException, BadFrame)
"""What ends a conversation on an open socket."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no connection."""

    reason: str
    final: bool
    """The gateway will not have this worker: trying again does not help."""


async def open_socket(url: str, token: str) -> ClientConnection:
    """Connect to a gateway. Raises one of ``OPEN_ERRORS``."""
    socket = await connect(
        url,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers={"Authorization": f"Bearer {token}"},
        compression=None,
        open_timeout=OPEN_WITHIN_S,
        close_timeout=CLOSE_WITHIN_S,
        ping_interval=None,  # our renewals are the keepalive, and they are answered after Redis committed
        max_size=MAX_FRAME_BYTES,
        write_limit=2 * MAX_FRAME_BYTES,
    )
    if socket.subprotocol != SUBPROTOCOL:
        await socket.close()
        raise NegotiationError(f"it does not speak {SUBPROTOCOL}; is this the address of a gojob gateway?")
    return socket


async def close_socket(socket: ClientConnection, *, leave: bool) -> None:
    """Close a socket, and say goodbye before if the session is over."""
    if leave:
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await socket.send(encode({"type": "leave"}))
    await socket.close()


def not_opened(url: str, error: Exception) -> Failure:
    """What it means that ``open_socket`` raised this."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return Failure(f"{url} answered HTTP {status}{_hint_of(status)}", status in (401, 403))
    return Failure(f"{url} cannot be reached: {str(error) or type(error).__name__}", final=False)


def closed(url: str, socket: ClientConnection, error: Exception, refusal: Error | None) -> Failure:
    """What it means that a conversation ended with this, perhaps after the gateway said why."""
    if refusal is None:
        reason = f"{url} is gone: {socket.close_reason or error}"
    else:
        reason = f"{url} refused us, {refusal['code']}: {refusal['message']} {refusal['hint']}".rstrip()
    return Failure(reason, socket.close_code in FINAL_CLOSE_CODES)


def _hint_of(status: int) -> str:
    return {
        401: ": the token is missing or wrong; set GOJOB_WORKER_TOKEN",
        403: ": this token may not connect workers of this app",
        404: ": there is no worker socket at this address",
    }.get(status, "")
