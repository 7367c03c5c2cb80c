"""From flags, which are text, to what an installation takes.

Takes a task's flags, gives an ``Order``, or one line that says which flag cannot be what it is.

next: ``install_summaries``
"""

from __future__ import annotations

from collections.abc import Sequence

from bundles.installer.preflight import Order
from pipeline.errors import UsageError
from pipeline.trust.state import read_fingerprint

KEEP = 3
MOST_KEPT = 10_000


def install_order(
    sources: Sequence[str],
    site: str,
    fingerprint: str,
    *,
    require_fresh: bool,
    allow_downgrade: bool,
    allow_yanked: bool,
    keep_parts: bool,
    keep: str,
) -> Order:
    """The order that these flags make.

    Raises:
        UsageError: naming the flag, and what is expected.
    """
    if not sources:
        raise UsageError("--from is needed", hint="invoke --help bundle.install shows an example.")
    if fingerprint:
        fingerprint = read_fingerprint(fingerprint)
    if keep and (not keep.isascii() or not keep.isdigit() or not 1 <= int(keep[:9]) <= MOST_KEPT):
        raise UsageError(f"--keep {keep} is not a number from 1 to {MOST_KEPT}", hint="Write it as --keep 3.")
    return Order(
        tuple(sources),
        site,
        fingerprint,
        require_fresh=require_fresh,
        allow_downgrade=allow_downgrade,
        allow_yanked=allow_yanked,
        keep_parts=keep_parts,
        keep=int(keep or KEEP),
    )
