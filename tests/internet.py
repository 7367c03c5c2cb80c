"""A small internet: https hosts with the names that guides print, reached through a proxy as in many a company.

``HTTPS_PROXY`` and ``SSL_CERT_FILE`` are all that a program is told. The proxy answers CONNECT itself, shows a
certificate for the host that was asked for, and passes the bytes on to a server on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import trustme

BLOCK = 256 << 10


@dataclass
class Internet:
    """``hosts`` maps a name to the loopback server behind it; ``asked`` names every host that somebody called."""

    proxy: str
    ca_file: Path
    hosts: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What a program must be told to reach it; what listens on loopback is asked directly."""
        ca_file = str(self.ca_file)
        # curl does not look at the first of the two on every system.
        trust = {"SSL_CERT_FILE": ca_file, "CURL_CA_BUNDLE": ca_file}
        return {"HTTPS_PROXY": self.proxy, "NO_PROXY": "127.0.0.1,localhost", **trust}


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(BLOCK):
            writer.write(block)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


@contextlib.contextmanager
def run_internet(authority: trustme.CA, ca_file: Path) -> Iterator[Internet]:
    """Open the internet; it has no hosts yet."""
    contexts: dict[str, ssl.SSLContext] = {}
    started = threading.Event()
    loop = asyncio.new_event_loop()
    places: list[Internet] = []

    def context_of(host: str) -> ssl.SSLContext:
        if host not in contexts:
            contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(host).configure_cert(contexts[host])
        return contexts[host]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            host = head.split()[1].rpartition(":")[0]
            internet = places[0]
            internet.asked.append(host)
            if host not in internet.hosts:
                writer.write(b"HTTP/1.1 502 no such host\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                writer.close()
                return
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            await writer.start_tls(context_of(host))
            behind = urlsplit(internet.hosts[host])
            back, forth = await asyncio.open_connection(behind.hostname, behind.port)
            await asyncio.gather(_pass(reader, forth), _pass(back, writer))

    async def main() -> None:
        ended = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        places.append(Internet(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", ca_file))
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))
        started.set()
        await ended.wait()
        server.close()
        talks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    stop = []
    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield places[0]
    finally:
        stop[0]()
        thread.join()
        loop.close()
