"""Signed manifests as a caching mirror needs them: by release, and by the parts that they name.

Takes verified manifests, gives their parts' shapes. The few that were used last are held decoded; of all others only
the names of their parts are, so that memory does not grow with what a tree holds.

next: ``hauling``
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from bundles.site.transfer import Shape
from pipeline.digest import Sha256
from pipeline.manifest import Chunk, Manifest
from pipeline.wire import decode_manifest

DECODED = 8


@dataclass
class Manifests:
    """Manifests by their digest. ``read`` gives the verified bytes of one that was added before, or None."""

    read: Callable[[Sha256], bytes | None]
    _decoded: OrderedDict[str, Manifest] = field(default_factory=OrderedDict)
    _pieces: dict[str, dict[int, list[Chunk]]] = field(default_factory=dict)
    # Part → digest of a manifest that names it, as bytes, for there may be many.
    _naming: dict[bytes, bytes] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def add(self, sha256: str, manifest: Manifest) -> None:
        """Take a verified manifest."""
        with self._lock:
            self._decoded[sha256] = manifest
            self._decoded.move_to_end(sha256)
            while len(self._decoded) > DECODED:
                gone, _ = self._decoded.popitem(last=False)
                self._pieces.pop(gone, None)
            digest = bytes.fromhex(sha256)
            for part in manifest.parts:
                self._naming.setdefault(bytes.fromhex(part.blake3), digest)

    def get(self, sha256: str) -> Manifest | None:
        """A manifest that was added before, if its bytes are still kept."""
        with self._lock:
            found = self._decoded.get(sha256)
            if found is not None:
                self._decoded.move_to_end(sha256)
                return found
            data = self.read(Sha256(sha256))
            if data is None:
                return None
            manifest = decode_manifest(data, what=f"the manifest {sha256}")
            self.add(sha256, manifest)
            return manifest

    def shape_of(self, name: str) -> Shape | None:
        """The pieces of a part, as far as a manifest tells them; None where none names it."""
        with self._lock:
            digest = self._naming.get(bytes.fromhex(name))
            manifest = self.get(digest.hex()) if digest else None
            if digest is None or manifest is None:
                return None
            pieces = self._pieces.get(digest.hex()) or self._pieces.setdefault(digest.hex(), _pieces_of(manifest))
            number, size = next((index, part.size) for index, part in enumerate(manifest.parts) if part.blake3 == name)
            ends: list[tuple[int, str]] = []
            at = 0
            for chunk in pieces.get(number, ()):
                if chunk.offset > at:
                    ends.append((chunk.offset, ""))
                at = chunk.offset + chunk.stored
                ends.append((at, chunk.stored_blake3 or chunk.blake3))
            if at < size:
                ends.append((size, ""))
            return Shape(size, tuple(ends))


def _pieces_of(manifest: Manifest) -> dict[int, list[Chunk]]:
    """The chunks of each part in the order in which they lie, each place once."""
    found: dict[int, dict[int, Chunk]] = {}
    for file in manifest.files:
        for chunk in file.chunks:
            found.setdefault(chunk.part, {})[chunk.offset] = chunk
    return {part: [chunks[at] for at in sorted(chunks)] for part, chunks in found.items()}
