"""Repetition of what is retryable: bounded attempts with full jitter.

Takes a call and a ``Patience``, gives the call's answer, or the last error it raised. Asks an error
nothing but ``retryable`` and ``retry_after_s``. Sleeping and chance are passed in, so that tests take no time.

next: ``formats``
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.errors import ModelportError
from pipeline.events import Listener, Retrying, ignore

T = TypeVar("T")
# Bytes a second: what comes slower comes over no line that anybody has (docs/adr/0154).
CRAWL_PER_S = 1024
# Fewer bytes than these, and then a failure, are no progress: who breaks off after each of them could go on for ever.
PROGRESS_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a call is made, and how long to wait between.

    The wait before attempt n + 1 is drawn evenly from 0 to min(``longest_wait_s``, ``first_wait_s`` · 2^(n−1)):
    "full jitter" (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter), which spreads many
    clients best. A Retry-After of the other side is a lower bound, itself bounded by ``longest_wait_s``.
    """

    attempts: int = 8
    first_wait_s: float = 0.25
    longest_wait_s: float = 20.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("at least one attempt is made")

    def wait_s(self, failed: int, *, rng: random.Random, retry_after_s: float | None = None) -> float:
        """Draw the wait after the ``failed``-th attempt (counted from 1), in seconds."""
        # The exponent is capped because 2.0**1024 overflows; the ceiling is reached long before.
        ceiling = min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(failed - 1, 64))
        asked = 0.0 if retry_after_s is None else min(max(retry_after_s, 0.0), self.longest_wait_s)
        return min(self.longest_wait_s, asked + rng.uniform(0.0, ceiling))


@dataclass(slots=True)
class Retry:
    """Makes calls again while they fail with something retryable.

    May be used from several threads at once: ``listen`` is called by the thread whose call failed, by one
    thread at a time.
    """

    patience: Patience = field(default_factory=Patience)
    listen: Listener = ignore
    sleep: Callable[[float], None] = time.sleep
    rng: random.Random = field(default_factory=random.Random)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def call(self, make: Callable[[], T], *, what: str) -> T:
        """Return what ``make`` returns, calling it again while it fails with a retryable error.

        ``what`` names the call in events.

        Raises:
            ModelportError: the last error of ``make``, when it is not retryable or the attempts are used up.
        """
        failed = 0
        while True:
            try:
                return make()
            except ModelportError as error:
                failed += 1
                self.pause(error, failed=failed, what=what)

    def pause(self, error: ModelportError, *, failed: int, what: str) -> None:
        """Wait after the ``failed``-th failure in a row, or raise ``error`` when it is the last.

        For callers that make progress between failures and therefore count by themselves.
        """
        if not error.retryable or failed >= self.patience.attempts:
            raise error
        wait_s = self.patience.wait_s(failed, rng=self.rng, retry_after_s=error.retry_after_s)
        with self._one_at_a_time:
            self.listen(Retrying(what=what, attempt=failed, wait_s=wait_s, why=str(error)))
        self.sleep(wait_s)


def is_crawl(came: int, spent_s: float) -> bool:
    """Tell whether ``came`` bytes in this time are what a source brings that only keeps its reader busy."""
    return came < CRAWL_PER_S * spent_s


def is_progress(came: int, spent_s: float) -> bool:
    """Tell whether a read that failed after ``came`` bytes brought so much that its failure counts as a first one."""
    return came >= PROGRESS_BYTES and not is_crawl(came, spent_s)
