"""Which objects are read back where not all are: a sample by percent.

Takes the objects' digests, gives the numbers of those to read. Drawn by the digests themselves, so that a repeated run reads
the same.

next: ``steps.inspect``
"""

from __future__ import annotations

import random
from collections.abc import Sequence

SAMPLE_PERCENT = 1.0


def draw_sample(digests: Sequence[str], percent: float) -> list[int]:
    """Draw ``percent`` of so many objects, at least one; none for 0. Numbers rise."""
    if percent <= 0 or not digests:
        return []
    count = min(len(digests), max(1, round(len(digests) * percent / 100)))
    draw = random.Random(digests[0] + digests[-1])  # noqa: S311 (a sample, not a secret)
    return sorted(draw.sample(range(len(digests)), count))
