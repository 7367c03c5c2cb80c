"""Bounded threads: work is handed out in order, and its results come back in order.

Takes a function and an iterator, gives an iterator. At most ``ahead`` items are between the two
ends at any time, so memory is bounded by the caller's item size. The first failure ends the
iteration; what was already handed out is waited for, so nothing runs on behind the caller's back.
Only whoever interrupts the program does not wait: a transfer may take minutes yet.

next: ``retry``
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(pool: Executor, work: Callable[[T], R], items: Iterable[T], *, ahead: int) -> Iterator[R]:
    """Yield ``work(item)`` for each item in order, up to ``ahead`` of them under way at once."""
    waiting: deque[Future[R]] = deque()
    patient = True
    try:
        for item in items:
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, item))
        while waiting:
            yield waiting.popleft().result()
    except KeyboardInterrupt:
        patient = False
        raise
    finally:
        for future in waiting:
            future.cancel()
        for future in waiting:
            if patient and not future.cancelled():
                future.exception()


@contextmanager
def threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Run ``count`` threads for the length of the block; on the way out, unless interrupted, wait for all of them."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    patient = True
    try:
        yield pool
    except KeyboardInterrupt:
        patient = False
        raise
    finally:
        pool.shutdown(wait=patient, cancel_futures=True)
