"""The bytes of an object on their way: a body that goes into a store, and the blocks that come out of one.

A body is bytes, or a draft that the store itself gave.

next: ``ports``
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain

from typing_extensions import Buffer


class Draft(ABC):
    """A large object that comes to its store while it is made, before anybody knows its key; nobody sees it before its ``put``.

    Not for several threads at once. A class and no protocol: that is what tells it from bytes.
    """

    size: int

    @abstractmethod
    def write(self, view: memoryview, at: int) -> None:
        """Write ``view`` at ``at``; what fails is raised by its ``put``."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it, whatever happens: unless it was put, nothing of it stays, or what a failing disk keeps is swept later."""


Body = Buffer | Draft


def whole(body: Body) -> memoryview:
    """The bytes of a body, for a store that gives no drafts.

    Raises:
        TypeError: it is the draft of another store.
    """
    if isinstance(body, Draft):
        raise TypeError("a draft belongs to the store that gave it")
    return memoryview(body).cast("B")


def size_of(body: Body) -> int:
    """How many bytes a body has."""
    return body.size if isinstance(body, Draft) else memoryview(body).nbytes


def begun(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Read the first block now: a generator that was never begun would never let go of its file or connection."""
    first = next(blocks, None)
    return iter(()) if first is None else chain((first,), blocks)
