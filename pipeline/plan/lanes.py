"""How many connections are worth having: more where each is limited, fewer where the line is full.

Takes the throughput that each number of connections reached, one sample at a time; gives the next number.
Reads no clock.

next: ``plan.partlists``
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST = 2
FIRST = 2
MOST = 64
# Twice the connections must bring at least this much, or the line (or this machine) is what limits.
WORTH = 1.15
# Where twice the connections brought nearly twice as much, each one is limited, and the next step is longer.
LIMITED = 1.7
# A sample at the best number that falls below this share means that the line has changed: seek anew.
FALLEN = 0.5
# So many connections that each bring so much are limited by nobody: more of them would only share what the line, or this
# machine, has, and a lucky sample of a busy machine looks like a gain.
ENOUGH = 4
FREE_PER_S = 64 << 20
# Samples to stay before more connections are tried again.
REST_SAMPLES = 20


@dataclass(slots=True)
class Lanes:
    """A hill climb: double (or more) while that pays, step back once when it does not, and look again from time to time."""

    count: int = FIRST
    most: int = MOST
    _best: int = 0
    _best_rate: float = 0.0
    _climbing: bool = True
    _resting: int = 0

    def sample(self, rate: float) -> int:
        """Take the bytes a second that ``count`` connections reached; give the number to use from now on."""
        if rate <= 0:
            return self.count
        if self._climbing:
            self._climb(rate)
        else:
            self._rest(rate)
        return self.count

    def _climb(self, rate: float) -> None:
        if rate > self._best_rate * (WORTH if self._best else 0):
            step = 4 if self._best and rate > self._best_rate * LIMITED else 2
            self._best, self._best_rate = self.count, rate
            if self.count < self.most and not self._free(rate):
                self.count = min(self.most, self.count * step)
                return
        self.count = max(LEAST, self._best)
        self._climbing = False
        self._resting = REST_SAMPLES

    def _rest(self, rate: float) -> None:
        self._resting -= 1
        if rate < self._best_rate * FALLEN or self._resting <= 0:
            self._best, self._best_rate = self.count, rate
            self._climbing = self.count < self.most and not self._free(rate)
            self._resting = REST_SAMPLES
            if self._climbing:
                self.count = min(self.most, self.count * 2)

    def _free(self, rate: float) -> bool:
        return self.count >= ENOUGH and rate >= self.count * FREE_PER_S
