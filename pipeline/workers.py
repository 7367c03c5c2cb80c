"""Bounded threads: work is handed out in order, and its results come back in order.

Takes a function and an iterator, gives an iterator. At most ``ahead`` items are between the two
ends at any time, so memory is bounded by the caller's item size. The first failure ends the
iteration; what was already handed out is waited for, so nothing runs on behind the caller's back.
Only whoever interrupts the program does not wait: a transfer may take minutes yet.

next: ``retry``
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
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


class Chain(Executor):
    """Runs what it is given one after another, in order, on threads of ``pool``, which has other work, too."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        # The first one is under way.
        self._links: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have ``fn`` called behind everything that was submitted before."""
        future: Future[T] = Future()
        with self._lock:
            self._links.append((future, partial(fn, *args, **kwargs)))
            idle = len(self._links) == 1
        if idle:
            self._pool.submit(self._run)
        return future

    def cancel(self) -> None:
        """Drop what has not begun."""
        with self._lock:
            for future, _ in self._links:
                future.cancel()

    def _run(self) -> None:
        # On one thread as long as there is more: it has the state of the hash, and what waits here holds memory.
        more = True
        while more:
            future, work = self._links[0]
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 (carried to the thread that waits)
                    future.set_exception(error)
            with self._lock:
                self._links.popleft()
                more = bool(self._links)


@contextmanager
def chain(pool: Executor) -> Iterator[Chain]:
    """Run one thing after another on threads of ``pool`` for the length of the block; what has not begun then never does."""
    links = Chain(pool)
    try:
        yield links
    finally:
        links.cancel()
