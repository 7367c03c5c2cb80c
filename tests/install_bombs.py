"""A child process with little memory that decodes, as the installer does, what claims or unfolds to a lot."""

from __future__ import annotations

import resource
from pathlib import Path

import zstandard

from bundles.installer.faults import IntegrityError
from bundles.installer.frames import join_pieces, pieces_of
from bundles.installer.zstds import _by_module, _by_zstandard
from tests.golden.encoding_bombs import frames
from tests.python_zstd import zstd

GROWTH_BYTES = 48 << 20


def main() -> None:
    refused = 0
    with Path("/proc/self/status").open() as status:
        used = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (used + GROWTH_BYTES, resource.RLIM_INFINITY))
    for decode in (lambda found: _by_module(zstd, found), lambda found: _by_zstandard(zstandard, found)):
        for stored, encoding, plain in frames():
            try:
                pieces = pieces_of(memoryview(stored), encoding, plain)
                found = decode([(piece.stored, piece.plain) for piece in pieces if piece.framed])
                join_pieces([next(found) if piece.framed else piece.stored for piece in pieces], encoding, plain)
            except IntegrityError:
                refused += 1
    print(f"{refused} refused")


if __name__ == "__main__":
    main()
