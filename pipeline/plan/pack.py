"""Which part a new chunk goes into, and which base parts are worth keeping.

Takes sizes, gives slots; decides by sizes only, never by time (docs/format.md §3–4). A part closes
when the next chunk would pass ``part_size``. In the profiles raw and web a part holds bytes of one
file only, and also closes where a part of a base begins, so that unchanged stretches fall into
the base's own parts again.

next: ``plan.reuse``
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pipeline.errors import UsageError
from pipeline.manifest import CHUNK_BYTES, PART_BYTES, PART_SIZES, WEB_PART_BYTES, Profile

# A base part is kept only if at least this share of its bytes serves the new release.
KEEP_NUMERATOR, KEEP_DENOMINATOR = 1, 4
QUOTA_SHARE_PERCENT = 80
# In the profiles raw and web a file below this is one part, whatever the bases hold.
ONE_PART_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a chunk goes: ``part`` counts new parts from 0; ``closes`` says the part before it is full."""

    part: int
    offset: int
    closes: bool


@dataclass(slots=True)
class Packer:
    """Assign slots to new chunks in the order in which they come, in parts from number ``first`` on.

    Every part begins with ``gap`` bytes that nobody refers to.
    """

    part_size: int
    one_file: bool
    first: int = 0
    gap: int = 0
    _part: int = field(init=False)
    _used: int = field(init=False)

    def __post_init__(self) -> None:
        self._part = self.first
        self._used = self.gap

    def place(self, stored: int, *, starts_file: bool, starts_base_part: bool = False) -> Slot:
        """Give the slot for a chunk of ``stored`` bytes."""
        breaks = self.one_file and (starts_file or starts_base_part)
        closes = self._used > self.gap and (breaks or self._used + stored > self.part_size)
        if closes:
            self._part += 1
            self._used = self.gap
        slot = Slot(self._part, self._used, closes)
        self._used += stored
        return slot


def choose_part_size(plain: int, *, profile: Profile, daily_prefetch: int | None) -> int:
    """The smallest part size that keeps a release of ``plain`` bytes within 80 % of the *configured* daily quota.

    What is left of the quota today plays no role: two runs of one release must cut alike.
    """
    sizes = (WEB_PART_BYTES,) if profile == "web" else PART_SIZES
    for size in sizes:
        if daily_prefetch is None or -(-plain // size) * 100 <= daily_prefetch * QUOTA_SHARE_PERCENT:
            return size
    return sizes[-1]


def check_part_size(size: int, profile: Profile) -> int:
    """Return ``size`` if parts may have it.

    Raises:
        UsageError: below one chunk (4 MiB) or above the profile's limit (256 MiB, web 16 MiB).
    """
    most = WEB_PART_BYTES if profile == "web" else PART_BYTES
    if not CHUNK_BYTES <= size <= most:
        raise UsageError(
            f"--part-size {size} is out of bounds: expected {CHUNK_BYTES >> 20}MiB to {most >> 20}MiB for profile {profile}",
            hint="Leave it out to let modelport choose.",
        )
    return size


def kept_parts(sizes: Mapping[str, int], used: Mapping[str, int]) -> Collection[str]:
    """Names of the base parts of which at least a quarter serves: ``used`` of ``sizes`` bytes each."""
    return {name for name, bytes_used in used.items() if bytes_used * KEEP_DENOMINATOR >= sizes[name] * KEEP_NUMERATOR}
