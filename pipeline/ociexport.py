"""Export as an OCI image layout: a folder that container tools copy from, and into any registry.

Takes a release and a folder, gives ``OciExported``. Files are fetched and proven as by ``fetch``, then stand as
blobs under their digests; ``index.json`` is written last, and keeps what it named before. One export at a time writes.

next: ``pipeline.doctor``
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import UsageError
from pipeline.events import Listener, Warned
from pipeline.fetch import FetchOrder, Signed, choose_release, fetch_release, read_signed
from pipeline.manifest import Manifest
from pipeline.place import Heard
from pipeline.plan.ocilayout import (
    INDEX_FILE,
    LAYOUT_FILE,
    MANIFEST_BYTES,
    Artifact,
    describe_release,
    layout_index,
    layout_mark,
)
from pipeline.plan.wants import Want, read_want
from pipeline.steps.folders import disk_error
from pipeline.supply import Supply
from pipeline.trust.view import View
from pipeline.wire import check_json

INCOMING = ".incoming"
INDEX_BYTES = 16 << 20
# What an export that was killed before its index leaves.
_BEGUN = frozenset(["blobs", LAYOUT_FILE, f".{LAYOUT_FILE}.new", f".{INDEX_FILE}.new"])
_ELSEWHERE = "Name a new folder with --to."


@dataclass(frozen=True, slots=True)
class OciOrder:
    """What to export and where to."""

    want: Want
    to: Path
    allow_yanked: bool = False


class OciExported(msgspec.Struct, kw_only=True):
    """What was written. ``digest`` is that of the OCI manifest, ``names`` are its tags in the layout, ``reused`` blobs were there."""

    release: str
    folder: str
    digest: str
    names: list[str]
    manifest_sha256: str
    root_fingerprint: str
    layers: int
    reused: int
    bytes: int
    bytes_fetched: int
    warnings: list[str]


def export_layout(order: OciOrder, supply: Supply, listen: Listener, *, dry: bool = False) -> OciExported:
    """Write a release into an OCI image layout, a new one or one that holds others already.

    Raises:
        UsageError: ``to`` is a folder that is no layout, or the release has more files than a registry takes.
        UnknownName, TrustError, IntegrityError, UnavailableError, DiskError
    """
    heard = Heard(listen)
    _read_index(order.to)
    signed, fingerprint, warnings = supply.read(partial(_read, order, supply.channel), heard.listen)
    for message in warnings:
        heard.listen(Warned("trust", message))
    manifest = signed.manifest
    release = manifest.release
    artifact = describe_release(release.model, release.version, manifest.kind, signed.target.sha256, manifest.files)
    if len(artifact.manifest) > MANIFEST_BYTES:
        raise UsageError(
            f"{release} has {len(manifest.files)} files: its OCI manifest would have {len(artifact.manifest)} bytes, "
            f"registries take {MANIFEST_BYTES}",
            hint="Fetch it with modelport.",
        )
    names = [f"{release.model}:{release.version}"]
    fetched = 0
    with nullcontext() if dry else _writing(order.to, heard.listen):
        coming = _absent(order.to, manifest)
        if not dry:
            fetched = _bring(order, str(release), list(coming.values()), supply, heard.listen) if coming else 0
            _lay(order.to, str(release), coming, artifact, names)
    return OciExported(
        release=str(release),
        folder=str(order.to),
        digest=f"sha256:{artifact.manifest_sha256}",
        names=names,
        manifest_sha256=signed.target.sha256,
        root_fingerprint=fingerprint,
        layers=len(manifest.files),
        reused=len({file.sha256 for file in manifest.files} - coming.keys()),
        bytes=manifest.plain_bytes,
        bytes_fetched=fetched,
        warnings=list(dict.fromkeys(heard.warnings)),
    )


@contextmanager
def _writing(folder: Path, listen: Listener) -> Iterator[None]:
    """Keep every other export out of the layout meanwhile: each would end with the index that it found."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise disk_error(error, folder) from error
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            listen(Warned("waiting", f"another export is writing into {folder}: waiting for it"))
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _absent(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Digest → path of what is not there yet: a blob under its digest was proven when it came."""
    try:
        return {file.sha256: file.path for file in manifest.files if not _stands(_blobs(folder) / file.sha256, file.size)}
    except OSError as error:
        raise disk_error(error, folder) from error


def _lay(folder: Path, release: str, coming: Mapping[str, str], artifact: Artifact, names: Sequence[str]) -> None:
    before = _read_index(folder)
    blobs = _blobs(folder)
    try:
        blobs.mkdir(parents=True, exist_ok=True)
        for sha256, path in coming.items():
            (folder / INCOMING / release / path).replace(blobs / sha256)
        shutil.rmtree(folder / INCOMING, ignore_errors=True)
        _write(blobs / artifact.config_sha256, artifact.config)
        _write(blobs / artifact.manifest_sha256, artifact.manifest)
        _write(folder / LAYOUT_FILE, layout_mark())
        _write(folder / INDEX_FILE, layout_index(before, artifact, names))
    except OSError as error:
        raise disk_error(error, folder) from error


def _bring(order: OciOrder, release: str, paths: Sequence[str], supply: Supply, listen: Listener) -> int:
    fetch = FetchOrder(
        read_want(release),
        order.to / INCOMING,
        include=tuple(path.replace("[", "[[]") for path in paths),
        dependencies=False,
        allow_yanked=order.allow_yanked,
    )
    return fetch_release(fetch, supply, listen).bytes_fetched


def _read(order: OciOrder, channel: str, view: View) -> tuple[Signed, str, tuple[str, ...]]:
    target = choose_release(view, order.want, channel=channel, allow_yanked=order.allow_yanked)
    return read_signed(view, target), view.fingerprint, view.warnings


def _read_index(folder: Path) -> list[dict[str, Any]]:
    """What the layout names already; nothing where none was begun, or only begun."""
    try:
        names = {path.name for path in folder.iterdir()} - {INCOMING}
        if not names or (INDEX_FILE not in names and names <= _BEGUN):
            return []
        mark, index = (_read_file(folder / name) for name in (LAYOUT_FILE, INDEX_FILE))
    except FileNotFoundError as error:
        if error.filename == str(folder):
            return []
        raise UsageError(f"{folder} holds something else than an OCI image layout", hint=_ELSEWHERE) from None
    except NotADirectoryError:
        raise UsageError(f"{folder} is a file, expected a folder", hint=_ELSEWHERE) from None
    except OSError as error:
        raise disk_error(error, folder) from error
    check_json(mark, what=str(folder / LAYOUT_FILE), cap=INDEX_BYTES, hint=_ELSEWHERE)
    document = check_json(index, what=str(folder / INDEX_FILE), cap=INDEX_BYTES, hint=_ELSEWHERE)
    rows = document.get("manifests") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise UsageError(f"{folder / INDEX_FILE} is no index of an OCI image layout", hint=_ELSEWHERE)
    return rows


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(INDEX_BYTES + 1)


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("annotations") or {}, dict)


def _blobs(folder: Path) -> Path:
    return folder / "blobs" / "sha256"


def _stands(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)
