"""Who decides what time it is, and what an expired role means.

Takes a clock, the highest signed time in the state and the policy of the caller; gives a ``Judge``
whose time stands still for one whole reading (docs/format.md §8). Online its time is the later of
both, so that a clock in 1970 cannot revive old metadata. Offline it is the signed time alone, and
what is expired is a recorded warning. A publisher is warned too: expired metadata is what it renews.

next: ``view``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from pipeline.errors import MetadataExpired
from pipeline.trust.facts import instant_text

Place = Literal["online", "offline", "publisher"]


@dataclass
class Judge:
    """One reading's time and policy; ``warnings`` collects what was let pass, ``record`` keeps it for later."""

    at: datetime
    place: Place = "online"
    require_fresh: bool = False
    warnings: list[str] = field(default_factory=list)
    record: Callable[[str], None] | None = None

    def check_fresh(self, signed: Root | Timestamp | Snapshot | Targets, what: str) -> None:
        """Refuse, or note, a role that is past its expiry.

        Raises:
            MetadataExpired: online, or where freshness is required.
        """
        if not signed.is_expired(self.at):
            return
        message = f"{what} expired at {instant_text(signed.expires)}; the time taken here is {instant_text(self.at)}"
        if self.place == "online" or self.require_fresh:
            raise MetadataExpired(
                message, hint="Check this machine's clock; if it is right, the publisher must run `invoke trust.renew`."
            )
        self.warn(message)

    def warn(self, message: str) -> None:
        """Keep a sentence for the result, and in the state where this place records them."""
        self.warnings.append(message)
        if self.record is not None:
            self.record(message)


def judge_for(place: Place, now: datetime, seen: datetime | None, *, require_fresh: bool = False) -> Judge:
    """The judge of a reading that starts at ``now`` in a place that saw signatures up to ``seen``."""
    if place == "offline":
        # Nothing seen yet: the epoch, until the tree's own signed time raises it.
        return Judge(seen or datetime.fromtimestamp(0, UTC), place, require_fresh)
    return Judge(max(now, seen) if seen else now, place, require_fresh)
