"""A CDN's edge over http or https: one byte, or all of an object, and what the answer says of the cache.

Takes the base URL that users read from, gives an ``Edge``. It reads as ``HttpReader`` does (connections are kept, TLS is
verified, an answer is judged before it is believed), but follows no redirect: what users are sent away for is not there.
Nothing is repeated here; ``steps.edge_proof`` decides that.

next: ``sources.objects``
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.ports import EdgeAnswer
from pipeline.sources.auth import Auth
from pipeline.sources.hits import hit_of
from pipeline.sources.http import HttpReader
from pipeline.sources.pace import Limits
from pipeline.sources.proxies import Proxies


class HttpEdge:
    """An ``Edge``; see ``ports.Edge``."""

    def __init__(
        self,
        url: str,
        *,
        auth: Auth | None = None,
        proxies: Proxies | None = None,
        ca_file: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._reader = HttpReader(url, auth=auth, proxies=proxies, ca_file=ca_file, limits=limits, follow=False)

    @property
    def url(self) -> str:
        """Where the tree is."""
        return self._reader.url

    @property
    def requests(self) -> int:
        """Requests made so far."""
        return self._reader.requests

    def look(self, key: str, *, at: int, size: int | None) -> EdgeAnswer:
        """Ask for one byte; see ``ports.Edge.look``."""
        head, ranged = self._reader.peek(key, at, total=size)
        return EdgeAnswer(ranged, ", ".join(head.every("cache-control")), hit_of(head))

    def get(self, key: str) -> Iterator[bytes]:
        """Yield all bytes; see ``ports.Edge.get``."""
        return self._reader.get(key)

    def close(self) -> None:
        """End every connection."""
        self._reader.close()
