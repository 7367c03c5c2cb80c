"""Verify: is every volume what its index promises, and what signed metadata promises of it?

Takes folders, gives ``BundleVerified``, or names every member that is damaged and every volume that is missing. Nothing is
written, nothing is asked of a network.

next: ``bundles.salvage``
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from bundles.companions import look_beside, unnamed_beside
from bundles.hashing import frame_fault, member_fault, member_faults
from bundles.index import Layout, Placed, Plan
from bundles.listing import volume_faults
from bundles.medium import Medium, Volume, medium_error, open_medium, opened
from bundles.reader import BundleReader
from pipeline.errors import DiskError, NotPinned, SourceLied, VerifyFailed
from pipeline.events import Listener, Progress, StepFinished, StepStarted, Warned
from pipeline.layout import part_key
from pipeline.place import Heard
from pipeline.release import Release
from pipeline.trust.chain import describe_roots, newest_fingerprint, shows_root
from pipeline.trust.reading import read_view
from pipeline.trust.state import TrustState
from pipeline.trust.view import View

STEP = "bundle-verify"
NAMED = 20
_MEMORY = "/dev/shm"  # noqa: S108 (a folder of random name is made in it)


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong in one file; ``placed`` is the member, None for the file as a whole."""

    volume: Volume
    fault: str
    placed: Placed | None = None

    def __str__(self) -> str:
        """For people."""
        return f"{self.volume.path.name}: {self.placed.member.key + ': ' if self.placed else ''}{self.fault}"


class BundleVerified(msgspec.Struct, kw_only=True):
    """What was proven. ``trusted``: the root with the given fingerprint signed it; else it is only whole in itself.

    ``sums``: what SHA256SUMS says of whole volumes is right, too.
    """

    name: str
    bundle: str
    root_fingerprint: str
    snapshot: int
    trusted: bool
    releases: list[str]
    bases: list[str]
    volumes: list[int]
    missing: list[int]
    members: int
    bytes: int
    files_beside: int
    sums: bool
    warnings: list[str]
    seconds: float


def verify_bundle(
    folders: Sequence[Path], listen: Listener, *, fingerprint: str = "", all_there: bool = True, sums: bool = False
) -> BundleVerified:
    """Hash every member of every volume in ``folders``, and hold the bundle against its signed metadata.

    ``fingerprint`` is that of a root which the person trusts. Without ``all_there`` volumes may be missing, as when media
    come one by one. With ``sums`` volumes are hashed whole, too, and held against SHA256SUMS.

    Raises:
        VerifyFailed: naming each damaged member and missing volume.
        NotPinned, TrustError: the bundle is signed by somebody else, or not rightly.
        UsageError, AccessDenied, DiskError
    """
    heard = Heard(listen)
    started = time.monotonic()
    medium = open_medium(folders)
    copies = [volume for same in medium.volumes.values() for volume in same]
    total = sum(volume.layout.size for volume in copies)
    heard.listen(StepStarted(STEP, len(copies), total * (2 if sums else 1)))

    def done(size: int) -> None:
        heard.listen(Progress(STEP, size))

    faults = [f"{one.path.name}: {one.reason}" for one in medium.unusable]
    found = list(damages(copies, done))
    faults += map(str, found)
    if all_there:
        faults += [f"volume {number} ({medium.bundle.file_name(number)}) is missing" for number in medium.missing]
    beside, lost = look_beside(folders, medium.bundle)
    faults += map(str, lost)
    if sums:
        damaged = {one.volume.path for one in found}
        faults += volume_faults([volume for volume in copies if volume.path not in damaged], done)
    for unnamed in unnamed_beside(folders, medium.bundle):
        heard.listen(Warned("not-listed", unnamed))
    heard.listen(StepFinished(STEP, len(copies), total * (2 if sums else 1), time.monotonic() - started))
    if faults:
        for fault in faults:
            heard.listen(Warned("verify-finding", fault))
        more = f" (and {len(faults) - NAMED} more)" if len(faults) > NAMED else ""
        raise VerifyFailed(
            f"bundle {medium.bundle.plan.name}: {'; '.join(faults[:NAMED])}{more}",
            hint="Repair it: invoke bundle.repair, or have single volumes made anew by the sender: bundle.build --only N",
        )
    _check_signed(medium, fingerprint, heard.listen)
    plan = medium.bundle.plan
    return BundleVerified(
        name=plan.name,
        bundle=medium.bundle.id,
        root_fingerprint=plan.root_fingerprint,
        snapshot=plan.snapshot,
        trusted=bool(fingerprint),
        releases=[one.release for one in plan.releases],
        bases=[one.release for one in plan.bases],
        volumes=list(medium.volumes),
        missing=medium.missing,
        members=sum(len(volume.layout.members) for volume in copies),
        bytes=total,
        files_beside=beside,
        sums=sums,
        warnings=heard.warnings,
        seconds=round(time.monotonic() - started, 3),
    )


def damages(volumes: Sequence[Volume], done: Callable[[int], None] = lambda _: None) -> Iterator[Damage]:
    """Yield what is wrong in volumes, member by member; a place that cannot be read is damaged, not an end."""
    for volume in volumes:
        with ExitStack() as stack:
            fd, _ = stack.enter_context(opened(volume.path))
            try:
                fault = frame_fault(fd, volume.bundle, volume.layout)
            except OSError as error:
                fault = str(medium_error(error, volume.path))
            if fault:
                yield Damage(volume, fault)
            opened_one: list[tuple[int, Layout]] = [(fd, volume.layout)]
            for _, placed, found in member_faults(opened_one, _fault_or_unreadable, done):
                yield Damage(volume, found, placed)


def _fault_or_unreadable(fd: int, placed: Placed) -> str:
    try:
        return member_fault(fd, placed)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"


def _check_signed(medium: Medium, fingerprint: str, listen: Listener) -> None:
    """Hold the index against what is signed: releases, and which parts they have.

    Raises:
        NotPinned, TrustError, InvalidDocument, VerifyFailed
    """
    reader = BundleReader(medium.folders[0], medium)
    if fingerprint and not shows_root(reader, fingerprint):
        raise NotPinned(
            f"no root of this bundle has the fingerprint {fingerprint}; {describe_roots(reader)}",
            hint="Ask the sender by another way which of the two is theirs. Install nothing until then.",
        )
    if not fingerprint and newest_fingerprint(reader) is None:
        raise SourceLied(f"{reader.url} carries no root", hint="Have the bundle built anew.")
    with _folder_for_a_look() as folder:
        state = TrustState(Path(folder))
        state.pin(fingerprint or _oldest(reader))
        view = read_view(reader, state, now=lambda: datetime.now(UTC), offline=True)
        for message in view.warnings:
            listen(Warned("trust", message))
        fault = _plan_fault(medium, view, listen)
    if fault:
        raise VerifyFailed(
            f"bundle {medium.bundle.plan.name} is not what its signed metadata says: {fault}",
            hint="It was altered, or built by something else than modelport: have it built anew.",
        )
    if not fingerprint:
        listen(Warned("unpinned", f"signed under root {view.root.sha256}: compare it with the publisher's by another way"))


def _folder_for_a_look() -> TemporaryDirectory[str]:
    # In memory where the system has a folder there: what is trusted for this one look need not survive a power cut.
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    try:
        return TemporaryDirectory(prefix="modelport-verify-", dir=memory)
    except OSError as error:
        raise DiskError(
            f"no folder can be made to judge signatures in: {error.strerror}",
            hint="Name one that can be written to in the environment: TMPDIR=FOLDER.",
        ) from error


def _oldest(reader: BundleReader) -> str:
    """Fingerprint of the oldest root, from which the chain is followed where nobody named one."""
    roots = [info for info in reader.list("metadata/") if info.key.endswith(".root.json")]
    # A bundle's ETags are the digests in its index.
    return min(roots, key=lambda info: (len(info.key), info.key)).etag


def _plan_fault(medium: Medium, view: View, listen: Listener) -> str:
    plan = medium.bundle.plan
    known: dict[str, tuple[int, str]] = {}
    for one in plan.releases:
        release = Release.parse(one.release)
        if view.release(release).sha256 != one.manifest_sha256:
            return f"its index names another manifest of {release}"
        known |= {part_key(part.blake3): (part.size, part.sha256) for part in view.manifest(release).parts}
    for base in plan.bases:
        if view.release(Release.parse(base.release)).sha256 != base.manifest_sha256:
            return f"its index names another manifest of {base.release}"
    held = {part.key: (part.size, str(part.sha256)) for volume in plan.volumes for part in volume}
    for key, facts in held.items():
        if known.get(key) != facts:
            return f"{key} is no part of its releases, or has another size or digest there"
    lacking = {key for key in known if key not in held}
    documents = {document.key for document in plan.documents}
    unseen = [base.release for base in plan.bases if view.release(Release.parse(base.release)).key not in documents]
    if lacking and unseen:
        some = "1 part is" if len(lacking) == 1 else f"{len(lacking)} parts are"
        listen(Warned("bases", f"{some} to be made from {', '.join(unseen)} at the site: the installer proves it there"))
        return ""
    return _lack_fault(plan, view, lacking)


def _lack_fault(plan: Plan, view: View, lacking: set[str]) -> str:
    """What is left out must be had from the bases, chunk by chunk."""
    if not lacking:
        return ""
    there = {
        bytes.fromhex(chunk.blake3)
        for base in plan.bases
        for file in view.manifest(Release.parse(base.release)).files
        for chunk in file.chunks
    }
    for one in plan.releases:
        manifest = view.manifest(Release.parse(one.release))
        for chunk in (chunk for file in manifest.files for chunk in file.chunks):
            key = part_key(manifest.parts[chunk.part].blake3)
            if key in lacking and bytes.fromhex(chunk.blake3) not in there:
                return f"{key} is in no volume, and no base has what {one.release} takes from it"
    return ""
