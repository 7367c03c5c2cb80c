"""Where every file of the release is cut, before the first byte is shipped.

Takes a folder and the inputs, reads the headers of the files whose format is known, gives a
``CutPlan``: spans, bases, part size. Content-defined cuts of opaque spans are found while reading.

next: ``steps.index``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.events import Listener, Warned
from pipeline.formats import find_tensors
from pipeline.manifest import Base, Dependency, Kind, Manifest
from pipeline.plan.cut import Span, cut_opaque, cut_tensors
from pipeline.plan.inputs import Inputs
from pipeline.release import Release
from pipeline.sources.folder import Folder, SourceFile
from pipeline.sources.reading import open_source


@dataclass(frozen=True, slots=True)
class CutFile:
    """One file, its format and its spans in order."""

    source: SourceFile
    format: str
    spans: Sequence[Span]


@dataclass(frozen=True, slots=True)
class BaseRelease:
    """A base and its manifest, verified."""

    name: Base
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class CutPlan:
    """All that decides the manifest, but for the bytes themselves."""

    release: Release
    kind: Kind
    folder: Folder
    inputs: Inputs
    bases: tuple[BaseRelease, ...]
    files: tuple[CutFile, ...]

    @property
    def dependencies(self) -> tuple[Dependency, ...]:
        """Sorted by model."""
        return self.folder.about.as_dependencies()


def cut_release(
    release: Release, kind: Kind, folder: Folder, inputs: Inputs, bases: Sequence[BaseRelease], *, listen: Listener
) -> CutPlan:
    """Find the spans of every file; a damaged header is a warning, and its file opaque.

    Raises:
        SourceError, SourceChanged
    """
    files = tuple(_cut_file(source, listen) for source in folder.files)
    return CutPlan(release, kind, folder, inputs, tuple(bases), files)


def _cut_file(source: SourceFile, listen: Listener) -> CutFile:
    if source.size == 0:
        return CutFile(source, "empty", [])
    with open_source(source.path, source.place, source.stat) as reader:
        found = find_tensors(reader.read_at, source.size, source.path)
    if found.warning:
        listen(Warned("damaged-header", f"{source.path}: {found.warning}; published as plain bytes"))
    spans = cut_opaque(source.size) if found.tensors is None else cut_tensors(source.size, found.tensors)
    return CutFile(source, found.format, spans)
