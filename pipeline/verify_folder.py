"""Verify a folder: does an installed release still hold exactly what its signed manifest says?

Takes a folder, gives ``FolderVerified``, or names every altered, extra and missing file and ends with exit code 3;
``repair`` fetches the chunks that are wrong and nothing else. What a fetch installed is held against the manifest
that was verified then, so that no source is asked.

next: ``pipeline.show``
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from pipeline.digest import Sha256
from pipeline.errors import UnavailableError, UsageError, VerifyFailed
from pipeline.events import Listener, Progress, StepFinished, StepStarted, Warned
from pipeline.fetch import read_signed
from pipeline.manifest import Manifest
from pipeline.place import Heard
from pipeline.release import NameRefused, Release
from pipeline.sources.mirrors import SourceUse
from pipeline.steps.assemble import STEP
from pipeline.steps.bring import Arrival, check_space
from pipeline.steps.destination import Found
from pipeline.steps.folders import opened_folder
from pipeline.steps.proofread import Proof, extra_files, is_file_of, read_proof
from pipeline.supply import Supply
from pipeline.trust.view import View
from pipeline.wire import encode_manifest

NAMED = 20


class FolderVerified(msgspec.Struct, kw_only=True):
    """What was proved: every file by every byte. ``repaired`` were put right, by ``bytes_fetched`` from the network."""

    release: str
    folder: str
    manifest_sha256: str
    files: int
    bytes: int
    altered: list[str]
    missing: list[str]
    extra: list[str]
    repaired: list[str]
    bytes_fetched: int
    bytes_reused: int
    requests: int
    sources: list[SourceUse]
    warnings: list[str]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Held:
    """What the folder is held against: a manifest and the numbers of the files that were chosen."""

    manifest: Manifest
    data: bytes
    sha256: Sha256
    files: tuple[int, ...]
    beside: Mapping[str, Sha256] = field(default_factory=dict)
    bits: bool = True


def prove_folder(
    folder: Path,
    supply: Supply,
    listen: Listener,
    *,
    release: Release | None = None,
    repair: bool = False,
    connections: int | None = None,
) -> FolderVerified:
    """Hold every file of ``folder`` against its release: the one installed there, ``release``, or the one it is named after.

    Raises:
        VerifyFailed: naming each altered, extra or missing file that is left.
        UsageError: nobody knows which release this is.
        TrustError, UnavailableError, DiskError: while the manifest or a chunk was fetched.
    """
    heard = Heard(listen)
    started = time.monotonic()
    try:
        with opened_folder(folder):
            pass
    except FileNotFoundError:
        raise UsageError(f"there is no folder {folder}", hint="Fetch it: invoke fetch --model NAME-vVERSION") from None
    held = _held(folder, supply, heard.listen, release)
    size = sum(held.manifest.files[index].size for index in held.files)
    heard.listen(StepStarted("verify", len(held.files), size))
    proof, extra = _look(folder, held, heard.listen)
    heard.listen(StepFinished("verify", len(held.files), size, time.monotonic() - started))
    done: Arrival | None = None
    repaired: list[str] = []
    if repair and not proof.whole:
        repaired = sorted(_names(held.manifest, [*proof.altered, *proof.missing]))
        done = _repair(folder, held, supply, heard.listen, proof=proof, connections=connections)
        proof, extra = _look(folder, held, heard.listen)
    name = str(held.manifest.release)
    if not proof.whole or extra:
        raise _failed(folder, held, proof, extra, heard.listen)
    return FolderVerified(
        release=name,
        folder=str(folder),
        manifest_sha256=held.sha256,
        files=len(held.files),
        bytes=size,
        altered=[],
        missing=[],
        extra=[],
        repaired=repaired,
        bytes_fetched=done.bytes_fetched if done else 0,
        bytes_reused=done.bytes_reused if done else 0,
        requests=supply.requests,
        sources=list(supply.sources.uses()) if supply.sources and done else [],
        warnings=heard.warnings,
        seconds=round(time.monotonic() - started, 3),
    )


def _held(folder: Path, supply: Supply, listen: Listener, release: Release | None) -> _Held:
    known = supply.installs.held(folder, str(release or ""))
    if known is not None:
        record, manifest = known
        chosen = set(record.files)
        files = tuple(index for index, file in enumerate(manifest.files) if not chosen or file.path in chosen)
        return _Held(
            manifest, encode_manifest(manifest), record.manifest_sha256, files, record.beside, bits=record.executable_bits
        )
    if release is None:
        try:
            release = Release.parse(folder.name)
        except NameRefused:
            raise UsageError(
                f"nothing says which release {folder} holds: no fetch put it there, and it is not named after one",
                hint="Name it: invoke verify --folder FOLDER --model bert-v2.1.0",
            ) from None
    return supply.read(partial(_from_tree, release), listen)


def _from_tree(release: Release, view: View) -> _Held:
    signed = read_signed(view, view.release(release))
    return _Held(signed.manifest, signed.data, signed.target.sha256, tuple(range(len(signed.manifest.files))))


def _look(folder: Path, held: _Held, listen: Listener) -> tuple[Proof, list[str]]:
    with opened_folder(folder) as folder_fd:
        proof = read_proof(
            folder_fd, held.manifest, held.files, bits=held.bits, done=lambda size: listen(Progress("verify", size))
        )
        extra = extra_files(folder_fd, set(_names(held.manifest, held.files)))
        return proof, [path for path in extra if not is_file_of(folder_fd, path, held.beside.get(path))]


def _repair(folder: Path, held: _Held, supply: Supply, listen: Listener, *, proof: Proof, connections: int | None) -> Arrival:
    bad = tuple(sorted({*proof.altered, *proof.missing}))
    # The folder stays as it is but for these files, so they alone land beside it.
    found = Found(bad, True, False, Proof(proof.right, list(bad), dict.fromkeys(bad, "")))
    arrival = Arrival(held.manifest, held.data, held.sha256, folder, lambda: found, listen)
    with ExitStack() as stack:
        arrival.prepare(stack)
        check_space([arrival])
        arrival.plan(supply.cache, supply.installs)
        if arrival.fetch_bytes and supply.sources is None:
            raise UnavailableError(
                f"{arrival.fetch_bytes} bytes are not on this machine, and --offline asks nobody",
                hint="Run it without --offline.",
            )
        listen(StepStarted(STEP, len(bad), arrival.fetch_bytes))
        begun = time.monotonic()
        arrival.carry_out(supply.reach, connections, supply.patience)
        arrival.replace_files(bad)
        listen(StepFinished(STEP, len(bad), arrival.bytes_fetched, time.monotonic() - begun))
    return arrival


def _failed(folder: Path, held: _Held, proof: Proof, extra: list[str], listen: Listener) -> VerifyFailed:
    findings = [f"{held.manifest.files[index].path}: {fault}" for index, fault in sorted(proof.altered.items())]
    findings += [f"{path}: it is missing" for path in sorted(_names(held.manifest, proof.missing))]
    findings += [f"{path}: no file of the release" for path in extra]
    for finding in findings:
        listen(Warned("verify-finding", f"{folder}/{finding}"))
    more = f" (and {len(findings) - NAMED} more)" if len(findings) > NAMED else ""
    return VerifyFailed(
        f"{folder} is not {held.manifest.release}: {'; '.join(findings[:NAMED])}{more}",
        hint=f"Put altered and missing files right: invoke verify --folder {shlex.quote(str(folder))} --repair"
        if not proof.whole
        else "What is extra is never removed for you: look at these files, and remove them.",
    )


def _names(manifest: Manifest, files: Iterable[int]) -> list[str]:
    return [manifest.files[index].path for index in files]
