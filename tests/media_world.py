"""Bundles written by hand from a published tree, as docs/format.md §10 says: for tests of those who read them.

The product's builder is not used here: what reads its volumes must also read those of another builder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipeline.layout import TIMESTAMP, channel_target, manifest_target, part_key, role_key, target_key
from pipeline.release import Release
from pipeline.trust.reading import read_view
from pipeline.trust.state import TrustState
from pipeline.trust.view import target_sha256
from tests.fetch_world import Tree


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def spelled(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def ustar_header(key: str, size: int, /, **changes: bytes) -> bytes:
    """The header of §10; ``changes`` put other bytes into a field, for hostile media."""
    prefix, name = ("", key) if len(key.encode()) <= 100 else (key.rpartition("/")[0], key.rpartition("/")[2])
    fields = {
        "name": name.encode().ljust(100, b"\0"),
        "mode": b"0000644\0",
        "uid": b"0000000\0",
        "gid": b"0000000\0",
        "size": b"%011o\0" % size,
        "mtime": b"00000000000\0",
        "checksum": b" " * 8,
        "type": b"0",
        "link": bytes(100),
        "magic": b"ustar\x0000",
        "owner": bytes(80),
        "prefix": prefix.encode().ljust(155, b"\0"),
        "end": bytes(12),
    }
    fields.update(changes)
    raw = b"".join(fields.values())
    assert len(raw) == 512
    return raw[:148] + b"%06o\0 " % sum(raw) + raw[156:]


def member_bytes(key: str, data: bytes, /, **changes: bytes) -> bytes:
    return ustar_header(key, len(data), **changes) + data + bytes(-len(data) % 512)


@dataclass
class Media:
    """A bundle before it is written: what tests change, and ``write`` puts into files."""

    name: str
    plan: dict
    objects: dict[str, bytes] = field(repr=False)

    @property
    def bundle(self) -> str:
        return sha256(spelled(self.plan))

    @property
    def count(self) -> int:
        return len(self.plan["volumes"])

    def volume(self, number: int, index: bytes | None = None) -> bytes:
        document = {"format": "modelport-bundle", "format_version": 1, "bundle": self.bundle, "volume": number, "plan": self.plan}
        index = spelled(document) if index is None else index
        keys = [entry[0] for entry in (*self.plan["documents"], *self.plan["volumes"][number - 1])]
        return member_bytes("index.json", index) + b"".join(member_bytes(key, self.objects[key]) for key in keys) + bytes(1024)

    def write(self, folder: Path, only: Sequence[int] = (), spoil: Callable[[int, bytes], bytes] = lambda _, data: data) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number in only or range(1, self.count + 1):
            (folder / f"{self.name}.vol{number:03}.tar").write_bytes(spoil(number, self.volume(number)))
        return folder


def pack(
    tree: Tree,
    *names: str,
    volumes: int = 1,
    chosen: Sequence[str] = (),
    bases: Sequence[str] = (),
    base_manifests: bool = False,
    fingerprint: str = "",
    state: Path | None = None,
) -> Media:
    """A bundle of these releases as the tree announces them now; parts go round the volumes in turn.

    With ``base_manifests`` it carries those of its bases, as differentials did once.
    """
    trust = TrustState(state or tree.folder / f"packer-{len(list(tree.folder.iterdir()))}")
    trust.pin(fingerprint or tree.site.fingerprint)
    view = read_view(tree.site.store, trust, now=lambda: datetime.now(UTC))
    objects: dict[str, bytes] = {}

    def take(key: str) -> None:
        objects[key] = (tree.store / key).read_bytes()

    for version in range(1, view.root.version + 1):
        take(role_key("root", version))
    take(TIMESTAMP)
    take(role_key("snapshot", view.snapshot.version))
    take(role_key("targets", view.targets.version))
    releases = [Release.parse(name) for name in names]
    old = [Release.parse(name) for name in bases]
    for model in sorted({release.model for release in (*releases, *old)}):
        take(role_key(model, view.model(model).version))
        for channel in view.channels(model):
            path = channel_target(model, channel)
            take(target_key(path, target_sha256(path, view.model(model).signed.targets[path])))
    rows, parts = [], {}
    have = {(chunk.blake3, chunk.plain) for base in old for file in view.manifest(base).files for chunk in file.chunks}
    for base in old if base_manifests else ():
        take(view.release(base).key)
    for release in releases:
        target = view.release(release, retired=True)
        take(target_key(manifest_target(release), target.sha256))
        manifest = view.manifest(release)
        rows.append(
            {
                "release": str(release),
                "kind": manifest.kind,
                "manifest_sha256": target.sha256,
                "files": len(manifest.files),
                "plain": manifest.plain_bytes,
                "stored": manifest.stored_bytes,
                "chosen": str(release) in (chosen or names),
            }
        )
        needed = {chunk.part for file in manifest.files for chunk in file.chunks if (chunk.blake3, chunk.plain) not in have}
        for index in sorted(needed):
            parts[part_key(manifest.parts[index].blake3)] = None
    documents = sorted(objects)
    for key in parts:
        take(key)
    spread: list[list] = [[] for _ in range(volumes)]
    for index, key in enumerate(parts):
        spread[index % volumes].append(_entry(key, objects[key]))
    plan = {
        "name": f"{names[0]}",
        "root_fingerprint": view.fingerprint,
        "snapshot": view.snapshot.version,
        "releases": sorted(rows, key=lambda row: row["release"]),
        "bases": [{"release": str(base), "manifest_sha256": view.release(base).sha256} for base in old],
        "documents": [_entry(key, objects[key]) for key in documents],
        "volumes": spread,
    }
    return Media(names[0], plan, objects)


def _entry(key: str, data: bytes) -> list:
    return [key, len(data), sha256(data)]
