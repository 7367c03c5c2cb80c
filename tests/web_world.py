"""Folders of web assets for tests: written from text, built, and read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.digest import sha256_of
from pipeline.events import Event, Warned
from pipeline.wire import decode_document
from sw.build import BuildOrder, Built, build_web
from sw.manifest import Pointer, WebManifest
from sw.options import WebOptions

# Small stand-ins: what these bytes are plays no part in a build.
ENGINE = {"sw.js": b"/* worker */\n", "sw-client.js": b"/* client */\n"}
HASH = re.compile(r"\.[0-9a-f]{16}(?=\.)")


@dataclass
class Site:
    """A folder of assets and the folder that it is built into."""

    folder: Path
    events: list[Event] = field(default_factory=list)

    @property
    def assets(self) -> Path:
        return self.folder / "dist"

    @property
    def to(self) -> Path:
        return self.folder / "public"

    def write(self, files: Mapping[str, str | bytes]) -> Site:
        """Let the assets be exactly these."""
        for old in self.assets.rglob("*"):
            if old.is_file() or old.is_symlink():
                old.unlink()
        for name, data in files.items():
            path = self.assets / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        self.assets.mkdir(parents=True, exist_ok=True)
        return self

    def build(self, version: str = "1.0.0", *, to: Path | None = None, strict: bool = False, **options: object) -> Built:
        order = BuildOrder(
            self.assets,
            to or self.to,
            "shop",
            version,
            ENGINE,
            WebOptions(**options),
            strict=strict,  # type: ignore[arg-type]  # tests give any
        )
        return build_web(order, self.events.append)

    @property
    def pointer(self) -> Pointer:
        return decode_document((self.to / "release.json").read_bytes(), Pointer, what="release.json", cap=1 << 20)

    @property
    def manifest(self) -> WebManifest:
        data = (self.to / self.pointer.manifest).read_bytes()
        assert sha256_of(data) == self.pointer.sha256
        assert len(data) == self.pointer.size
        return decode_document(data, WebManifest, what="manifest", cap=1 << 24)

    def names(self) -> dict[str, str]:
        """Where each asset is served."""
        return {file.source: file.path for file in self.manifest.files if file.path not in ENGINE}

    def served(self, source: str) -> bytes:
        return (self.to / self.names()[source]).read_bytes()

    def text(self, source: str) -> str:
        """A served file with its hashes spelled ``#``."""
        return HASH.sub(".#", self.served(source).decode())

    def files(self, place: Path | None = None) -> dict[str, bytes]:
        place = place or self.to
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}

    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


def page(*lines: str) -> str:
    """A document with these lines."""
    return "<!doctype html>\n" + "\n".join(lines) + "\n"
