"""Connections for bodies: a urllib3 pool that sends bytes as they are, with the right authorities and proxy.

Takes what the environment says, gives a pool and the one call on it. A body is sent in slices because a
socket's timeout covers a whole ``sendall``: in slices it means "no progress", not "too large a part".

next: ``stores.s3``
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from pipeline.errors import ModelportError, StoreUnavailable, UnavailableError
from pipeline.ports import BLOCK
from pipeline.sources.ranges import Accepted

CONNECT_S = 10.0
READ_S = 60.0
# At least 4 kB/s on each connection, or it counts as stuck.
SLICE = 256 << 10
ANSWER_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Received:
    """A short answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def authorities(ca_file: str | None) -> str | None:
    """The file of certificate authorities to trust: the one given, else SSL_CERT_FILE or the system's, else None."""
    return ca_file or ssl.get_default_verify_paths().cafile


def open_pool(*, ca_file: str | None, proxy: str | None, connections: int) -> urllib3.PoolManager:
    """Make a pool that keeps ``connections`` to a host open, through ``proxy`` if there is one."""
    timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
    if proxy is None:
        return make_patient(
            urllib3.PoolManager(maxsize=connections, timeout=timeout, ca_certs=ca_file, cert_reqs="CERT_REQUIRED")
        )
    user = urllib3.util.parse_url(proxy).auth
    return make_patient(
        urllib3.ProxyManager(
            proxy,
            maxsize=connections,
            timeout=timeout,
            ca_certs=ca_file,
            cert_reqs="CERT_REQUIRED",
            proxy_headers=urllib3.make_headers(proxy_basic_auth=user) if user else None,
        )
    )


M = TypeVar("M", bound=urllib3.PoolManager)


def make_patient(pool: M) -> M:
    """Let a pool wait ``READ_S`` for a server that takes no more bytes; urllib3 alone would send under the connect timeout.

    A server whose disk is busy stops taking bytes for longer than any network needs to connect.
    """
    pool.pool_classes_by_scheme = {"http": _PatientPool, "https": _PatientTlsPool}
    return pool


class _PatientConnection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ_S)

    def request(self, *arguments: Any, **more: Any) -> None:
        if self.sock is not None:
            # urllib3 puts this on a socket that is used again.
            self.timeout = READ_S
        super().request(*arguments, **more)


class _PatientTlsConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ_S)

    def request(self, *arguments: Any, **more: Any) -> None:
        if self.sock is not None:
            # urllib3 puts this on a socket that is used again.
            self.timeout = READ_S
        super().request(*arguments, **more)


class _PatientPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PatientConnection


class _PatientTlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PatientTlsConnection


def send(pool: urllib3.PoolManager, method: str, url: str, *, headers: Mapping[str, str], body: memoryview) -> Received:
    """Make one request; no redirect is followed, nothing is repeated.

    Raises:
        urllib3.exceptions.HTTPError
    """
    answer = pool.request(
        method,
        url,
        headers={**headers, "Content-Length": str(body.nbytes)},
        body=_slices(body),
        redirect=False,
        retries=False,
        preload_content=False,
        decode_content=False,
    )
    try:
        text = answer.read(ANSWER_BYTES)
        # What is longer is no answer of a store: the connection is not worth reading it.
        if answer.read(1):
            answer.close()
    finally:
        answer.release_conn()
    return Received(answer.status, {name.lower(): value for name, value in answer.headers.items()}, text)


def _slices(body: memoryview) -> Iterator[bytes]:
    # urllib3 hands each slice to the socket as it is; its type names only bytes, which a view stands in for.
    return (cast("bytes", body[at : at + SLICE]) for at in range(0, body.nbytes, SLICE))


def read_body(
    read: Callable[[int], bytes],
    place: Accepted,
    told: str,
    *,
    end: Callable[[bool], None],
    faults: tuple[type[Exception], ...] = (urllib3.exceptions.HTTPError,),
) -> Iterator[bytes]:
    """Yield the bytes of a body that lie at ``place``; ``end`` is told whether all of them came.

    Raises:
        StoreUnavailable, UnavailableError: it ended early, or one of ``faults``.
    """
    skip, size = place.skip, place.size or 0
    left = size
    try:
        while skip > 0:
            skip -= len(read(min(BLOCK, skip))) or skip
        while left > 0:
            block = read(min(BLOCK, left))
            if not block:
                raise StoreUnavailable(f"{told}: the answer ended {left} of {size} bytes early", hint="Run it again.")
            left -= len(block)
            yield block
    except faults as error:
        raise connection_fault(error, told) from None
    finally:
        end(not left)


def connection_fault(error: Exception, told: str) -> ModelportError:
    """Say what a failed connection means; ``told`` names the call."""
    text = " ".join(str(_innermost(error)).split())[:300]
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
        return UnavailableError(
            f"{told}: the server's certificate is not trusted: {text}",
            hint="Set SSL_CERT_FILE to the authorities that your network uses; verification is never switched off.",
        )
    return StoreUnavailable(f"{told}: {text}", hint="Check the network, the endpoint and the proxy, then run it again.")


def _innermost(error: Exception) -> Exception:
    """The reason inside what urllib3, requests, botocore and oss2 wrap around it; it names no URL with a query."""
    seen: list[Exception] = []
    while error not in seen:
        seen.append(error)
        inner = [getattr(error, "reason", None), getattr(error, "exception", None), *error.args]
        error = next((found for found in inner if isinstance(found, Exception)), error)
    return error
