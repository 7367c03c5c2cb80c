"""What a control plane's tasks do at a real edge: the URL's path is pulled through it, or evicted from it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from pipeline.ports import Op
from tests.servers.edges import EdgeServer


def acting_at(edge: EdgeServer) -> Callable[[str, str], int]:
    """Make the ``act`` of a plane: it gives the status that the edge had, a redirect being no success."""

    def act(op: str, url: str) -> int:
        here = edge.url + urlsplit(url).path
        if op != Op.PREFETCH:
            edge.act(Op(op), [here])
            return 200
        # As the vendors do: compressed if the origin likes, and no redirect is followed.
        status = edge.get(here, {"Accept-Encoding": "gzip"}).status
        return status if status < 300 else max(status, 400)

    return act
