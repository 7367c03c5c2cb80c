"""What a volume consists of behind its index, cut where the blocks end in which it is written. Pure.

Takes the members in order and the bytes that are known already, gives runs: headers, members' own bytes, filling.

next: ``bundles.tape``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from bundles.index import Placed, gap_after
from bundles.ustar import BLOCK, header_for


class Run(NamedTuple):
    """``size`` bytes of a volume from ``at`` on, of a member with all around it; ``data`` None: its source has them."""

    placed: Placed
    at: int
    size: int
    data: bytes | None

    @property
    def begins(self) -> bool:
        """Whether a member begins with it."""
        return self.at < self.placed.at

    @property
    def ends(self) -> bool:
        """Whether it holds the last byte of a member."""
        return self.at + self.size == self.placed.at + self.placed.member.size


def stretches(members: Iterable[Placed], given: Mapping[str, bytes], block_bytes: int) -> Iterator[Sequence[Run]]:
    """Yield the runs of each block of ``block_bytes``, counted from the volume's beginning; ``given`` are bytes by key."""
    found: list[Run] = []
    for run in _runs(members, given):
        at, end = run.at, run.at + run.size
        while at < end:
            border = at - at % block_bytes + block_bytes
            size = min(end, border) - at
            data = None if run.data is None else run.data[at - run.at :][:size]
            found.append(Run(run.placed, at, size, data))
            at += size
            if at == border:
                yield found
                found = []
    if found:
        yield found


def _runs(members: Iterable[Placed], given: Mapping[str, bytes]) -> Iterator[Run]:
    for placed in members:
        member, at = placed
        yield Run(placed, at - BLOCK, BLOCK, header_for(member.key, member.size))
        yield Run(placed, at, member.size, given.get(member.key))
        gap, size = gap_after(placed)
        yield Run(placed, gap, size, bytes(size))
