"""What is known of each source in this run, and which one the next range is asked from.

Takes what happened (bytes in seconds, faults), gives a choice. Pure: it reads no clock and holds no connection.

next: ``sources.mirrors``
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

# The share of a new measurement: about the last five ranges count.
FRESH = 0.3
# A source that broke off is asked less, the more often it did so in a row.
FAILED_SHARE = 0.2
# After so many failures in a row without a byte it is dead.
DEAD_AFTER = 3
# Wrong bytes once may be the way; twice it is the source.
STRIKES = 2
# Slower than this share of the best one, watched for so long, it only holds up the end.
SLOW_SHARE = 1 / 20
SLOW_S = 5.0


@dataclass(slots=True)
class Standing:
    """One source. ``per_s``: bytes a second of one connection, None before the first; ``dropped``: why it is no longer used."""

    url: str
    per_s: float | None = None
    under_way: int = 0
    failures: int = 0
    strikes: float = 0.0
    bytes: int = 0
    seconds: float = 0.0
    dropped: str = ""
    avoided: set[str] = field(default_factory=set)
    # Since when at least one read is under way, by the caller's clock.
    busy_since: float | None = None

    def begin(self, now: float) -> None:
        """Note that a read begins."""
        if not self.under_way:
            self.busy_since = now
        self.under_way += 1

    def end(self, now: float, *, size: int, spent_s: float) -> None:
        """Note that a read ended after ``size`` bytes and ``spent_s`` seconds."""
        self.under_way -= 1
        if not self.under_way and self.busy_since is not None:
            self.seconds += now - self.busy_since
            self.busy_since = None
        self.bytes += size
        if size and spent_s > 0:
            measured = size / spent_s
            self.per_s = measured if self.per_s is None else self.per_s + FRESH * (measured - self.per_s)

    def worth(self, best: float) -> float:
        """Bytes a second that one more connection may bring; one that was never tried counts as ``best``."""
        known = best if self.per_s is None else self.per_s
        return float(known * FAILED_SHARE**self.failures / (self.under_way + 1))


def choose(standings: Sequence[Standing], key: str, tried: Collection[int]) -> int | None:
    """Choose who is asked for ``key`` next, by its place; None when all that are left were ``tried``.

    Connections divide by measured throughput: each goes where one more brings most.
    """
    left = [place for place, one in enumerate(standings) if not one.dropped and place not in tried]
    # Who brought wrong bytes of this object is asked for it only when nobody else is there.
    trusted = [place for place in left if key not in standings[place].avoided] or left
    best = max((standings[place].per_s or 0.0 for place in left), default=0.0) or 1.0
    return max(trusted, key=lambda place: standings[place].worth(best), default=None)


def too_slow(standings: Sequence[Standing], place: int, *, size: int, spent_s: float) -> float | None:
    """Give the speed of the best other source, if this one is not worth waiting for beside it."""
    others = [one.per_s for at, one in enumerate(standings) if at != place and not one.dropped and one.per_s]
    if spent_s < SLOW_S or not others or size / spent_s >= max(others) * SLOW_SHARE:
        return None
    return max(others)
