"""What a caching mirror holds, as a catalogue: what is installed here, and every release of the upstream.

Takes an installed catalogue and a verified view, gives a ``Catalogue`` that learns of a model or a release when
somebody asks for it: then it raises ``NotLoaded``, whose ``load`` may ask the upstream, and is asked again. What is
installed here comes first; channels are the upstream's.

next: ``caching``
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from bundles.installer.layout import release_folder
from bundles.site.assembling import Assembler
from bundles.site.catalogue import Catalogue, Held, HeldFile
from bundles.site.manifests import Manifests
from pipeline.digest import sha256_of
from pipeline.errors import ModelportError
from pipeline.manifest import Manifest
from pipeline.release import ModelName
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.model_yaml import FILE_BYTES, FILE_NAME, ModelYaml, parse_model_yaml
from pipeline.trust.view import ReleaseTarget, View

T = TypeVar("T")


class NotLoaded(Exception):
    """Something must be brought before there is an answer."""

    def __init__(self, load: Callable[[], None]) -> None:
        super().__init__()
        self.load = load


@dataclass(frozen=True)
class _Model:
    """One model of the upstream, as its role and its channels say."""

    releases: Mapping[str, Held]
    live: str
    channels: Mapping[str, tuple[str, str]]
    unserved: Mapping[str, str]


@dataclass
class Library:
    """Brings what catalogues lack. ``channel`` is the one whose release is live."""

    manifests: Manifests
    documents: CacheFolder
    assembler: Assembler
    channel: str = "stable"
    _releases: dict[tuple[str, str], Held] = field(default_factory=dict)
    # As long as somebody holds one: there is another for every snapshot.
    _locks: WeakValueDictionary[str, threading.Lock] = field(default_factory=WeakValueDictionary)
    _locking: threading.Lock = field(default_factory=threading.Lock)

    def load_model(self, view: View, name: ModelName) -> _Model:
        """Learn of a model: its role, and the documents of its channels."""
        with self._lock(f"{name} {view.snapshot.version}"):
            channels = {}
            for channel in view.channels(name):
                document = view.channel(name, channel)
                channels[str(channel)] = (document.release, document.manifest_sha256)
            taken = [one for one in view.releases(name) if one.facts.yanked is None]
            unserved = {str(one.release): "it was yanked" for one in view.releases(name) if one.facts.yanked is not None}
            releases = {str(one.release): self._held(view, one) for one in taken}
            pointed = channels.get(self.channel, ("", ""))[0]
            live = pointed if pointed in releases else str(taken[-1].release) if taken else ""
            return _Model(releases, live, channels, unserved)

    def load_release(self, view: View, target: ReleaseTarget) -> None:
        """Bring the manifest of a release, and what its ``model.yaml`` says."""
        key = (str(target.release), target.sha256)
        with self._lock(" ".join(key)):
            if key in self._releases:
                return
            manifest = self.manifest(view, target)
            files = {file.path: HeldFile(file.path, file.size, file.sha256) for file in manifest.files}
            about = self._about(manifest) if FILE_NAME in files else ModelYaml()
            bare = _bare(target, files)
            self._releases[key] = replace(bare, display_name=about.display_name, aliases=about.aliases)

    def manifest(self, view: View, target: ReleaseTarget) -> Manifest:
        """The manifest of a release, verified."""
        known = self.manifests.get(target.sha256)
        if known is None:
            known = view.manifest(target.release)
            self.manifests.add(target.sha256, known)
        return known

    def newest(self, held: Held) -> Held:
        """A release with its files, if they were brought meanwhile."""
        return self._releases.get((held.release, held.manifest_sha256), held)

    def _held(self, view: View, target: ReleaseTarget) -> Held:
        return _bare(target, _Files(partial(self.load_release, view, target)))

    def _about(self, manifest: Manifest) -> ModelYaml:
        file = next(one for one in manifest.files if one.path == FILE_NAME)
        try:
            data = self.documents.document(file.sha256)
            if data is None and file.size <= FILE_BYTES:
                data = self.assembler.small(manifest, file)
                self.documents.keep_document(data)
            return parse_model_yaml(data or b"", FILE_NAME) if data is None or sha256_of(data) == file.sha256 else ModelYaml()
        except (ModelportError, OSError):
            # Written for a newer modelport, or not to be had just now: the release is served under its own name.
            return ModelYaml()

    def _lock(self, name: str) -> threading.Lock:
        with self._locking:
            return self._locks.setdefault(name, threading.Lock())


class _Files(Mapping[str, HeldFile]):
    """The files of a release whose manifest was not brought yet."""

    def __init__(self, load: Callable[[], None]) -> None:
        self.load = load

    def __getitem__(self, path: str) -> HeldFile:
        raise NotLoaded(self.load)

    def __iter__(self) -> Iterator[str]:
        raise NotLoaded(self.load)

    def __len__(self) -> int:
        raise NotLoaded(self.load)


class _Lazy(Mapping[str, T]):
    """What is installed here, then something of every model of the upstream; ``look`` gives it for one model."""

    def __init__(self, here: Mapping[str, T], models: Sequence[str], look: Callable[[str], Mapping[str, T]]) -> None:
        self._here = here
        self._models = models
        self._look = look

    def __getitem__(self, key: str) -> T:
        if key in self._here:
            return self._here[key]
        # A release's name begins with that of its model.
        model = key if key in self._models else key.rpartition("-v")[0]
        while model and model not in self._models:
            model = model.rpartition("-v")[0]
        if not model:
            raise KeyError(key)
        return self._look(model)[key]

    def __iter__(self) -> Iterator[str]:
        found = dict.fromkeys(self._here)
        for model in self._models:
            found.update(dict.fromkeys(self._look(model)))
        return iter(found)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def names_of(self, model: str) -> list[str]:
        """The keys that belong to one model, sorted; others may be among them."""
        return sorted({*self._here, *(self._look(model) if model in self._models else ())})


class MirrorCatalogue(Catalogue):
    """A catalogue whose mappings bring what they lack by ``NotLoaded``."""

    def model_of(self, repo: str) -> str | None:
        """The model that a repository id means: by its name, else by an alias of a live release."""
        if repo in self.live:
            return repo
        for model in sorted(self.live):
            held = self.live_release(model)
            if held is not None and repo in held.aliases:
                return held.model
            if held is not None and isinstance(held.files, _Files):
                # Aliases are known when the files are.
                raise NotLoaded(held.files.load)
        return None

    def models(self) -> list[str]:
        """Every model, sorted; nothing is brought for it."""
        return sorted({*self.live.keys()})

    def releases_of(self, model: str) -> list[Held]:
        """Every release of a model, those first whose files are known; no other model is brought for it."""
        releases = self.releases
        names = releases.names_of(model) if isinstance(releases, _Lazy) else sorted(releases)
        found = [held for held in map(releases.__getitem__, names) if held.model == model]
        return sorted(found, key=lambda held: isinstance(held.files, _Files))


def mirror_catalogue(library: Library, installed: Catalogue, view: View) -> MirrorCatalogue:
    """The catalogue of one view."""
    names = tuple(str(name) for name in view.models())
    known: dict[str, _Model] = {}
    unserved = dict(installed.unserved)

    def model(name: str) -> _Model:
        if name not in known:

            def load() -> None:
                known[name] = library.load_model(view, ModelName(name))
                unserved.update(known[name].unserved)

            raise NotLoaded(load)
        return known[name]

    def releases(name: str) -> Mapping[str, Held]:
        return {key: library.newest(held) for key, held in model(name).releases.items()}

    def live(name: str) -> Mapping[str, str]:
        return {name: model(name).live}

    def channels(name: str) -> Mapping[str, Mapping[str, tuple[str, str]]]:
        return {name: model(name).channels}

    # Channels of an installation are as old as its medium: the upstream's count.
    outdated = {name: found for name, found in installed.channels.items() if name not in names}
    return MirrorCatalogue(
        installed.generation,
        _Lazy(installed.releases, names, releases),
        _Lazy(installed.live, names, live),
        _Lazy(outdated, names, channels),
        unserved,
    )


def _bare(target: ReleaseTarget, files: Mapping[str, HeldFile]) -> Held:
    release, kind = target.release, target.facts.kind
    return Held(
        str(release),
        release.model,
        release.version,
        kind,
        target.sha256,
        release_folder(str(release), kind),
        files,
        plain=target.facts.plain,
    )
