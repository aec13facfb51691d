"""The worker as a process: started with the address and the token, signalled, and started again."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

LAST_LINES = 12
LAST_BYTES = 8 << 10
GONE_S = 5.0


class Command:
    """A worker's command line. It runs in a process group of its own, so that nothing of it stays."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self.argv = list(argv)
        self._environment = environment
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._written = b""

    @property
    def output(self) -> list[str]:
        """The last lines that it wrote."""
        return self._written.decode(errors="replace").splitlines()[-LAST_LINES:]

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it unless it runs; raises OSError when there is no such command."""
        if self.runs:
            return
        self._written = b""
        self._process = await asyncio.create_subprocess_exec(
            *self.argv,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            env={**os.environ, **self._environment},
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read(self._process))

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def exit_code(self, within_s: float) -> int | None:
        """How it ended; None when it did not in time."""
        assert self._process is not None
        try:
            async with asyncio.timeout(within_s):
                return await self._process.wait()
        except TimeoutError:
            return None

    async def ended(self) -> None:
        """Wait until the process and its output have ended."""
        if self._process is not None and self._reading is not None:
            await self._process.wait()
            await asyncio.wait((self._reading,), timeout=1)

    async def kill(self) -> None:
        """End it now, with everything it started."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            await self.exit_code(GONE_S)
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        while written := await process.stdout.read(LAST_BYTES):
            self._written = (self._written + written)[-LAST_BYTES:]
