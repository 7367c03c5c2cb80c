"""What decides a manifest's bytes besides the folder: the inputs of a publish.

Takes flags and facts, gives ``Inputs``, which stand in the lease and in a saved plan, so that a run
on another day or machine cuts and packs as the first one did.

next: ``plan.cut``
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pipeline.digest import Sha256, sha256_of
from pipeline.manifest import Base, Dependency, Kind, Profile

EncodingChoice = Literal["auto", "raw"]


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of FORMAT "Determinism"; ``encoding`` is the choice, not a chunk's encoding."""

    bases: tuple[Base, ...]
    part_size: int
    profile: Profile
    encoding: EncodingChoice
    encoder: str


def source_identity(kind: Kind, dependencies: tuple[Dependency, ...], files: list[tuple[str, int, bool]]) -> Sha256:
    """Name a source by what is known before a byte of it is read: kind, dependencies, path, size, executable.

    It only decides whether another run's inputs may be taken over, so digests are not needed.
    """
    return sha256_of(msgspec.json.encode([kind, dependencies, files]))
