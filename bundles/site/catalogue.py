"""What a site holds, as a value: releases with their files, what is live, where channels point.

Takes nothing from the disk (``holdings`` makes it), gives answers to names that clients bring.

next: ``answers``
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pipeline.plan.ocilayout import Artifact, describe_release

# As many hex digits as a commit of git has: what Hugging Face clients take for a revision that never changes.
COMMIT_DIGITS = 40
MAIN = "main"
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file of an installed release, as its signed manifest names it."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Held:
    """An installed release. ``folder`` is where it lies below the site; ``files`` go by path."""

    release: str
    model: str
    version: str
    kind: str
    manifest_sha256: str
    folder: str
    files: Mapping[str, HeldFile] = field(repr=False)
    display_name: str = ""
    aliases: tuple[str, ...] = ()
    # Bytes of all files, where they are known before the files are.
    plain: int | None = None

    @cached_property
    def by_digest(self) -> Mapping[str, HeldFile]:
        """Files by their sha256; of equal ones the last."""
        return {file.sha256: file for file in self.files.values()}

    @cached_property
    def artifact(self) -> Artifact:
        """The release as container tools see it."""
        return describe_release(self.model, self.version, self.kind, self.manifest_sha256, self.files.values())

    @property
    def commit(self) -> str:
        """The revision of this release, in the form of a commit."""
        return self.manifest_sha256[:COMMIT_DIGITS]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values()) if self.plain is None else self.plain


@dataclass(frozen=True)
class Catalogue:
    """One look at a site. ``live``: model → release; ``channels``: model → channel → (release, digest of its manifest)."""

    generation: int
    releases: Mapping[str, Held]
    live: Mapping[str, str]
    channels: Mapping[str, Mapping[str, tuple[str, str]]]
    # Releases that stand there and cannot be served, and why.
    unserved: Mapping[str, str]

    def live_release(self, model: str) -> Held | None:
        """The release of a model that is live."""
        return self.releases.get(self.live.get(model, ""))

    def live_of_kind(self, kind: str) -> list[Held]:
        """Every live release of this kind, sorted."""
        found = (self.live_release(model) for model in sorted(self.live))
        return [held for held in found if held is not None and held.kind == kind]

    def model_of(self, repo: str) -> str | None:
        """The model that a repository id means: by its name, else by an alias of its live release, else of any other."""
        models = {held.model for held in self.releases.values()}
        if repo in models:
            return repo
        live = [held for model in sorted(self.live) if (held := self.live_release(model)) is not None]
        others = [self.releases[name] for name in sorted(self.releases)]
        return next((held.model for held in [*live, *others] if repo in held.aliases), None)

    def models(self) -> list[str]:
        """Every model, sorted."""
        return sorted({held.model for held in self.releases.values()})

    def releases_of(self, model: str) -> list[Held]:
        """Every release of a model, sorted by name."""
        return [held for _, held in sorted(self.releases.items()) if held.model == model]

    def revision(self, model: str, revision: str) -> Held | None:
        """The release that a revision means: a channel, ``main`` for the live one, a version, a release, a manifest's digest."""
        pointed = self.channels.get(model, {}).get(revision)
        if pointed is not None:
            held = self.releases.get(pointed[0])
            return held if held is not None and held.manifest_sha256 == pointed[1] else None
        if revision == MAIN:
            return self.live_release(model)
        ours = self.releases_of(model)
        for held in ours:
            if revision in {held.version, f"v{held.version}", held.release}:
                return held
        if _DIGEST.fullmatch(revision):
            return next((held for held in ours if held.manifest_sha256.startswith(revision)), None)
        return None
