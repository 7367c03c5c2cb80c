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

# (descriptor, start, size) → bytes that were sent; fewer only if the reader went away.
SendFile = Callable[[int, int, int], Awaitable[int]]


class SendingProtocol(HttpToolsProtocol):
    """uvicorn's protocol, and a way to send a file within an answer."""

    def on_headers_complete(self) -> None:
        """Begin a request, as uvicorn does; its task runs after this returned."""
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
