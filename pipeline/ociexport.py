"""Export as an OCI image layout: a folder that container tools copy from, and into any registry.

Takes a release and a folder, gives ``OciExported``. Files are fetched and proven as by ``fetch``, then stand as
blobs under their digests; ``index.json`` is written last, and keeps what it named before.

next: ``pipeline.doctor``
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import DiskError, UsageError
from pipeline.events import Listener, Warned
from pipeline.fetch import FetchOrder, Signed, choose_release, fetch_release, read_signed
from pipeline.place import Heard
from pipeline.plan.ocilayout import INDEX_FILE, LAYOUT_FILE, MANIFEST_BYTES, describe_release, layout_index, layout_mark
from pipeline.plan.wants import Want, read_want
from pipeline.supply import Supply
from pipeline.trust.view import View
from pipeline.wire import check_json

INCOMING = ".incoming"
INDEX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class OciOrder:
    """What to export and where to; ``connections`` None finds out what the line takes."""

    want: Want
    to: Path
    allow_yanked: bool = False
    connections: int | None = None


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
    before = _read_index(order.to)
    signed, fingerprint, warnings = supply.read(partial(_read, order, supply.channel), heard.listen)
    manifest = signed.manifest
    release = manifest.release
    artifact = describe_release(release.model, release.version, manifest.kind, signed.target.sha256, manifest.files)
    if len(artifact.manifest) > MANIFEST_BYTES:
        raise UsageError(
            f"{release} has {len(manifest.files)} files: its OCI manifest would have {len(artifact.manifest)} bytes, "
            f"registries take {MANIFEST_BYTES}",
            hint="Fetch it with modelport.",
        )
    blobs = order.to / "blobs" / "sha256"
    there = {file.sha256 for file in manifest.files if _stands(blobs / file.sha256, file.size)}
    names = [f"{release.model}:{release.version}"]
    fetched = 0
    if not dry:
        # Only what is not there yet: a blob under its digest was proven when it came.
        coming = {file.sha256: file.path for file in manifest.files if file.sha256 not in there}
        fetched = _bring(order, str(release), list(coming.values()), supply, heard.listen) if coming else 0
        try:
            blobs.mkdir(parents=True, exist_ok=True)
            for sha256, path in coming.items():
                (order.to / INCOMING / str(release) / path).replace(blobs / sha256)
            shutil.rmtree(order.to / INCOMING, ignore_errors=True)
            _write(blobs / artifact.config_sha256, artifact.config)
            _write(blobs / artifact.manifest_sha256, artifact.manifest)
            _write(order.to / LAYOUT_FILE, layout_mark())
            _write(order.to / INDEX_FILE, layout_index(before, artifact, names))
        except OSError as error:
            raise DiskError(f"cannot write into {order.to}: {error.strerror}", hint="Choose another folder with --to.") from error
    # Where files came, their fetch said these already.
    for message in set(warnings).difference(heard.warnings):
        heard.listen(Warned("trust", message))
    return OciExported(
        release=str(release),
        folder=str(order.to),
        digest=f"sha256:{artifact.manifest_sha256}",
        names=names,
        manifest_sha256=signed.target.sha256,
        root_fingerprint=fingerprint,
        layers=len(manifest.files),
        reused=len(there),
        bytes=manifest.plain_bytes,
        bytes_fetched=fetched,
        warnings=heard.warnings,
    )


def _bring(order: OciOrder, release: str, paths: Sequence[str], supply: Supply, listen: Listener) -> int:
    fetch = FetchOrder(
        read_want(release),
        order.to / INCOMING,
        include=tuple(path.replace("[", "[[]") for path in paths),
        dependencies=False,
        allow_yanked=order.allow_yanked,
        connections=order.connections,
    )
    return fetch_release(fetch, supply, listen).bytes_fetched


def _read(order: OciOrder, channel: str, view: View) -> tuple[Signed, str, tuple[str, ...]]:
    target = choose_release(view, order.want, channel=channel, allow_yanked=order.allow_yanked)
    return read_signed(view, target), view.fingerprint, view.warnings


def _read_index(folder: Path) -> list[dict[str, Any]]:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, expected a folder", hint="Name a new folder with --to.")
    if not folder.exists() or not any(name.name != INCOMING for name in folder.iterdir()):
        return []
    try:
        mark, index = (folder / LAYOUT_FILE).read_bytes(), (folder / INDEX_FILE).read_bytes()
    except FileNotFoundError:
        if (folder / "blobs").is_dir() and len(list(folder.iterdir())) <= 3:
            return []
        raise UsageError(f"{folder} holds something else than an OCI image layout", hint="Name a new folder with --to.") from None
    check_json(mark, what=f"{folder / LAYOUT_FILE}", cap=INDEX_BYTES)
    document = check_json(index, what=f"{folder / INDEX_FILE}", cap=INDEX_BYTES)
    rows = document.get("manifests") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{folder / INDEX_FILE} is no index of an OCI image layout", hint="Name a new folder with --to.")
    return rows


def _stands(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)
