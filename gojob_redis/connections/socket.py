"""A worker's socket as such: whole messages in and out, with deadlines, counted."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected, WebSocketState

from gojob_redis.connections.close import HangUp, slow_reader
from gojob_redis.connections.counters import Counters
from gojob_redis.domain.errors import Refused
from gojob_sdk import protocol

GOODBYE_S: Final = 2.0


class Guest(Protocol):
    """The connection below a socket (``api.crowd.Guest``)."""

    def show_token(self) -> None:
        """It has shown a valid token."""

    def abort(self) -> None:
        """Close at once, whatever waits to be written."""


@dataclass(slots=True, eq=False)
class Socket:
    """A socket that was accepted.

    write_s: how long it may take to take a frame.
    """

    websocket: WebSocket
    counters: Counters
    write_s: float
    ending: HangUp | None = None
    """Why it is to be closed, once it is."""
    _deadline: asyncio.Timeout | None = None

    @property
    def address(self) -> str:
        """Where the socket comes from."""
        client = self.websocket.client
        return client.host if client else ""

    async def receive(self) -> bytes:
        """The next message; raises Refused for a text, WebSocketDisconnect at the end."""
        message = await self.websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"], message.get("reason"))
        data: bytes | None = message.get("bytes")
        if data is None:
            raise Refused(
                "bad_frame",
                "A text message came; every frame is a binary one.",
                protocol.CLOSE_BAD_FRAME,
                "Send MessagePack.",
            )
        self.counters.frames_in += 1
        self.counters.bytes_in += len(data)
        return data

    async def send(self, frame: bytes) -> None:
        """Send a message; raises HangUp when the worker does not take it, or the socket is cut meanwhile."""
        try:
            async with asyncio.timeout(self.write_s) as self._deadline:
                await self.websocket.send_bytes(frame)
        except TimeoutError:
            raise self.ending or slow_reader() from None
        except RuntimeError as error:  # how the server says that it hung up already
            raise WebSocketDisconnect(1006, str(error)) from None
        finally:
            self._deadline = None
        self.counters.frames_out += 1
        self.counters.bytes_out += len(frame)

    def cut(self, why: HangUp) -> bool:
        """Give up what is being sent; False when the socket was cut before."""
        if self.ending is not None:
            return False
        self.ending = why
        self.counters.cut[why.code] = self.counters.cut.get(why.code, 0) + 1
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time())
        return True

    async def say_goodbye(self, why: HangUp) -> None:
        """Send the error and close, if the socket takes it; else its descriptor goes at once."""
        if self.websocket.client_state is WebSocketState.DISCONNECTED:
            return
        reason = why.error["code"] if why.error else ""
        with suppress(TimeoutError, WebSocketDisconnect, WebSocketDisconnected, RuntimeError):
            async with asyncio.timeout(GOODBYE_S):
                if why.error is not None:
                    await self.websocket.send_bytes(protocol.encode(why.error))
                await self.websocket.close(why.code, reason)
                return
        guest: Guest | None = self.websocket.scope.get("state", {}).get("guest")
        if guest is not None:
            guest.abort()
