"""A store that makes its calls again while they fail with something retryable.

Takes a store, gives a store. A write whose answer was lost may, on the second attempt,
meet its own object and raise ``ObjectExists`` or ``ConditionFailed``: whoever writes reads back, as for
any other winner.

next: ``stores.counting``
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pipeline.bodies import Body, Draft
from pipeline.digest import Sha256
from pipeline.errors import ModelportError
from pipeline.events import Listener, ignore
from pipeline.ports import ObjectInfo, ObjectStore, StoreProperties
from pipeline.retry import Retry


class RetryingStore:
    """An ``ObjectStore`` around another; ``listen`` hears of each repetition, unless ``retry`` has its own listener.

    Attempts are counted anew after every block or listed object that arrived.
    """

    def __init__(self, inner: ObjectStore, *, retry: Retry | None = None, listen: Listener = ignore) -> None:
        self._inner = inner
        self._retry = retry or Retry(listen=listen)

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def properties(self) -> StoreProperties:
        return self._inner.properties

    def put(self, key: str, body: Body, *, sha256: Sha256, if_absent: bool = False, if_etag: str | None = None) -> ObjectInfo:
        return self._retry.call(
            lambda: self._inner.put(key, body, sha256=sha256, if_absent=if_absent, if_etag=if_etag), what=f"put {key}"
        )

    def draft(self) -> Draft | None:
        return self._retry.call(self._inner.draft, what="begin an object")

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """As in the port. An object of one block (1 MiB) is never mixed from two versions of itself."""
        first = self._retry.call(lambda: self._inner.get(key, start=start, size=size), what=f"get {key}")
        return self._resumed(first, key, start, size)

    def _resumed(self, first: Iterator[bytes], key: str, start: int, size: int | None) -> Iterator[bytes]:
        blocks: Iterator[bytes] | None = first
        done = failed = 0
        while True:
            try:
                if blocks is None:
                    blocks = self._inner.get(key, start=start + done, size=None if size is None else size - done)
                for block in blocks:
                    if block:
                        yield block
                        done += len(block)
                        failed = 0
                return
            except ModelportError as error:
                failed += 1
                self._retry.pause(error, failed=failed, what=f"get {key} from byte {start + done}")
                blocks = None

    def head(self, key: str) -> ObjectInfo:
        return self._retry.call(lambda: self._inner.head(key), what=f"head {key}")

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        last = ""
        failed = 0
        while True:
            try:
                for info in self._inner.list(prefix):
                    # A listing begun anew starts at the front; what came before the failure was given already.
                    if info.key > last:
                        yield info
                        last = info.key
                        failed = 0
                return
            except ModelportError as error:
                failed += 1
                self._retry.pause(error, failed=failed, what=f"list {prefix}")

    def delete(self, key: str) -> None:
        self._retry.call(lambda: self._inner.delete(key), what=f"delete {key}")

    def now(self) -> datetime:
        return self._retry.call(self._inner.now, what="clock")
