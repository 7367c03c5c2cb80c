"""One publisher at one store: what every act of signing needs at hand.

Takes a store, this publisher's trust state, its keys and a clock; gives the value that the verbs of
this package take. The hooks let a caller prove names at an edge, listen, and (in tests) stop at every
named step.

next: ``survey``
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.clocks import utc_now
from pipeline.errors import ClockSkew
from pipeline.events import Listener, Warned, ignore
from pipeline.ports import ObjectStore
from pipeline.trust.facts import instant_text
from pipeline.trust.judge import Judge, judge_for
from pipeline.trust.keys import Keyring
from pipeline.trust.state import TrustState

CLOCK_APART = timedelta(minutes=15)
SIGNED_AHEAD = timedelta(days=1)


def no_step(name: str) -> None:
    """Pass a step by."""


def _no_proof(keys: Sequence[str]) -> None:
    del keys


@dataclass(frozen=True)
class Publisher:
    """Who signs, where.

    ``step(name)`` is called just before each step that ``commit.STEPS`` and ``rotate.STEPS`` name.
    ``prove_names(keys)`` is called when new metadata files stand in the store and nothing announces
    them yet: it makes every edge serve them, or raises. ``pause(seconds)`` waits.
    """

    store: ObjectStore
    state: TrustState
    keys: Keyring
    now: Callable[[], datetime] = utc_now
    listen: Listener = ignore
    step: Callable[[str], None] = no_step
    prove_names: Callable[[Sequence[str]], None] = _no_proof
    pause: Callable[[float], None] = time.sleep

    def judge(self) -> Judge:
        """A judge for one survey: its time stands still, expired metadata is a warning."""
        return judge_for("publisher", self.now(), None)

    def warn(self, code: str, message: str) -> None:
        """Tell the listener something a person should know."""
        self.listen(Warned(code, message))

    def signing_time(self, predecessor: datetime | None) -> datetime:
        """The signed time of the next snapshot: now, never lower than its predecessor's.

        Raises:
            ClockSkew: this clock is over 15 minutes from the store's, or the predecessor was signed
                over a day ahead of it. Both times are named.
        """
        here, there = self.now(), self.store.now()
        if abs(here - there) > CLOCK_APART:
            raise ClockSkew(
                f"this machine's clock says {instant_text(here)}, {self.store.url} says {instant_text(there)}: "
                f"over 15 minutes apart",
                hint="Set the clock that is wrong (for example with chrony), then run it again.",
            )
        if predecessor is not None and predecessor - here > SIGNED_AHEAD:
            raise ClockSkew(
                f"the newest snapshot was signed at {instant_text(predecessor)}, this machine's clock says "
                f"{instant_text(here)}: over a day behind",
                hint="Set this clock; if the other publisher's was wrong, rotate the timestamp key with --lost.",
            )
        return max(here, predecessor) if predecessor else here
