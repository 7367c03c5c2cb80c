"""Files to sockets by the kernel alone, under uvicorn.

Takes uvicorn's protocol, gives one whose requests carry a ``SendFile`` among their extensions of ASGI. The bytes of
a file never enter this process, so that memory stays flat however many read; over TLS the loop reads them instead.
A reader who takes nothing for ``STALL_S`` seconds is let go.

next: ``serving``
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

SENDFILE = "modelport.sendfile"
# An extension without arguments that cuts the connection: what was announced cannot be finished.
CUT = "modelport.cut"
# So much at a time: a reader is slow when it does not take this within STALL_S seconds, at 7 KiB/s.
BLOCK = 4 << 20
STALL_S = 600.0
# A request's head comes within so long, from the connection's beginning or its own: half of one holds no connection for ever.
HEAD_S = 30.0

# (descriptor, start, size) → bytes that were sent; fewer only if the reader went away.
SendFile = Callable[[int, int, int], Awaitable[int]]


class SendingProtocol(HttpToolsProtocol):
    """uvicorn's protocol, and a way to send a file within an answer."""

    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Begin a connection, as uvicorn does, and wait for its first request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection, as uvicorn does."""
        self._end_wait()
        self._end_stall()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Hold what is to be sent back, as uvicorn does, from a reader who is behind, and let go of one who takes nothing."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, as uvicorn does."""
        self._end_stall()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that nobody uses; what its reader left lying is not waited for longer than that of another."""
        super().timeout_keep_alive_handler()
        self._end_stall()
        self._stalled = self.loop.call_later(STALL_S, self.transport.abort)

    def _end_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def on_message_begin(self) -> None:
        """A further request began: it, too, has to come to the end of its head."""
        super().on_message_begin()
        if self._late is None:
            self._await_head()

    def _await_head(self) -> None:
        self._late = self.loop.call_later(HEAD_S, self._too_late)

    def _too_late(self) -> None:
        if getattr(self.cycle, "response_complete", True):
            self.timeout_keep_alive_handler()
        else:
            # An answer is under way, and nothing is read meanwhile.
            self._await_head()

    def _end_wait(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def on_headers_complete(self) -> None:
        """Begin a request, as uvicorn does; its task runs after this returned."""
        self._end_wait()
        before = self.cycle
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is not before:
            extensions: dict[str, Any] = {SENDFILE: _sender(cycle), CUT: partial(_cut, cycle)}
            self.scope["extensions"] = extensions


def _sender(cycle: RequestResponseCycle) -> SendFile:
    async def send(descriptor: int, start: int, size: int) -> int:
        """Send a span of a file as a part of the body that ``cycle`` announced."""
        loop = asyncio.get_running_loop()
        sent = 0
        with os.fdopen(os.dup(descriptor), "rb") as file:
            while sent < size and not (cycle.disconnected or cycle.transport.is_closing()):
                block = min(BLOCK, size - sent)
                try:
                    async with asyncio.timeout(STALL_S):
                        done = await loop.sendfile(cycle.transport, file, start + sent, block)
                except (ConnectionError, TimeoutError):
                    break
                sent += done
                if done < block:
                    # The file became shorter: the connection is cut, so that nobody takes the answer for whole.
                    break
        cycle.expected_content_length -= sent
        if sent < size:
            _cut(cycle)
        return sent

    return send


def _cut(cycle: RequestResponseCycle) -> None:
    cycle.transport.abort()
    # uvicorn learns it in the loop's next round; until then it would complain of a short answer.
    cycle.disconnected = True
