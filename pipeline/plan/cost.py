"""What a publish will take: objects, bytes, requests, money; a value that can be printed and kept.

Takes what indexing found and what the store already has, gives a ``ReleasePlan``. Prices are inputs
of the estimate and stand in it, so that anybody can put in their own.

next: ``plan.follow``
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipeline.digest import Blake3, Sha256
from pipeline.plan.inputs import Inputs

PLAN_FORMAT = "modelport-plan"

# Writes besides parts: lease (taken, renewed once), manifest, channel, model role, snapshot, timestamp, probe.
FIXED_WRITES = 8
# Reads besides one look-up and one proof per part: lists, roots, roles, manifests of bases, read-backs.
FIXED_READS = 24


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Millionths of a US dollar: documents hold no fractions.

    The defaults are S3 Standard in us-east-1 (aws.amazon.com/s3/pricing, November 2026).
    """

    write_1000: int = 5000
    read_1000: int = 400
    gb_month: int = 23_000


class PlannedPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the release and whether the store holds it already."""

    blake3: Blake3
    sha256: Sha256
    size: int
    present: bool


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What the publish will send and ask. ``bytes`` are of new parts and the manifest."""

    objects: int
    bytes: int
    writes: int
    reads: int


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Millionths of a US dollar at ``prices``; a directory or memory store costs nothing."""

    prices: Prices
    requests: int
    storage_month: int


class ReleasePlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a publish of this folder would do, to the byte; of one that is ``already_published``, prove it."""

    format: str = PLAN_FORMAT
    format_version: int = 1
    release: str
    store: str
    channel: str
    source: Sha256
    inputs: Inputs
    manifest_sha256: Sha256
    manifest_size: int
    files: int
    plain: int
    stored: int
    chunks: int
    chunks_reused: int
    parts: tuple[PlannedPart, ...]
    totals: Totals
    estimate: Estimate
    already_published: bool = False

    @property
    def new_parts(self) -> Sequence[PlannedPart]:
        """Parts that will be sent."""
        return [part for part in self.parts if not part.present]


def total_of(parts: Sequence[PlannedPart], manifest_size: int) -> Totals:
    """Count what is sent and asked for ``parts``."""
    new = [part for part in parts if not part.present]
    return Totals(
        objects=len(new) + 1,
        bytes=sum(part.size for part in new) + manifest_size,
        writes=len(new) + FIXED_WRITES,
        reads=2 * len(parts) + FIXED_READS,
    )


def total_of_adopting(parts: Sequence[PlannedPart], *, moves: bool) -> Totals:
    """Count what is asked for a release that stands: its parts are proved, and perhaps a channel moves."""
    return Totals(objects=0, bytes=0, writes=FIXED_WRITES if moves else 0, reads=len(parts) + FIXED_READS)


def estimate_of(totals: Totals, *, charged: bool, prices: Prices | None = None) -> Estimate:
    """Price ``totals``; ``charged`` is False for stores that are only a disk."""
    prices = prices or (Prices() if charged else Prices(write_1000=0, read_1000=0, gb_month=0))
    return Estimate(
        prices=prices,
        requests=round((totals.writes * prices.write_1000 + totals.reads * prices.read_1000) / 1000),
        storage_month=round(totals.bytes * prices.gb_month / 10**9),
    )
