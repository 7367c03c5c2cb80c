"""What happened, as values: the one hook for progress, JSON Lines and logs.

Takes nothing, gives event classes and the ``Listener`` type. A walk wraps the listener it is given
in ``one_at_a_time``, so listeners need no lock although events come from several threads. Fields are only ever added; a reader must
ignore events it does not know. docs/reference/events.md is generated from this module.

next: ``digest``
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

How = Literal["sent", "present", "replaced"]


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step began. ``items`` and ``bytes`` are its totals; 0 where they are not known yet."""

    step: str
    items: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """``bytes`` more of the step are done; negative when a retry sends bytes again. JSON Lines sum it up once a second."""

    step: str
    bytes: int


@dataclass(frozen=True, slots=True)
class PartDone:
    """A part stands in the store: ``sent`` now, ``present`` before, or ``replaced`` under --repair."""

    step: str
    blake3: str
    size: int
    how: How


@dataclass(frozen=True, slots=True)
class Retrying:
    """Call ``what`` failed and is tried again after ``wait_s`` seconds."""

    what: str
    attempt: int
    wait_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a person should know that does not stop the run. ``code`` is stable."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Serving:
    """``what`` is served at ``url`` from now on, until the run is stopped."""

    url: str
    what: str


@dataclass(frozen=True, slots=True)
class CdnAsked:
    """A CDN was asked what became of its tasks: how many URLs of the job are done, under way, left for later, and failed."""

    cdn: str
    done: int
    running: int
    left: int
    failed: int


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended. Totals are what was really done."""

    step: str
    items: int = 0
    bytes: int = 0
    seconds: float = 0.0


Event = StepStarted | Progress | PartDone | Retrying | Warned | CdnAsked | Serving | StepFinished
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of those who do not listen."""


def one_at_a_time(listen: Listener) -> Listener:
    """Let several threads call ``listen``, each waiting for the one before."""
    lock = threading.Lock()

    def locked(event: Event) -> None:
        with lock:
            listen(event)

    return locked
