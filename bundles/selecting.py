"""What a bundle must hold: releases and all they need, the documents that prove them, and the parts that the site lacks.

Takes a verified view and an order, gives ``Selected``. Signed metadata decides; manifests are read one at a time.

next: ``bundles.medium``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bundles.carving import Contents
from bundles.index import NAME, Carried, Member, Wanted
from bundles.inventory import Inventory
from pipeline.digest import sha256_of
from pipeline.errors import RollbackRefused, UnknownName, UsageError
from pipeline.fetch import choose_release, read_signed
from pipeline.layout import channel_target, part_key, role_key, target_key
from pipeline.manifest import Manifest
from pipeline.plan.wants import Want
from pipeline.release import ModelName, Release
from pipeline.resolve import resolve_dependencies
from pipeline.trust.view import ReleaseTarget, View, target_sha256
from pipeline.trust.whole import root_chain


@dataclass(frozen=True, slots=True)
class Selection:
    """What to pack. ``bases`` and ``have`` say what the site has; parts that those serve are left out."""

    wants: tuple[Want, ...]
    name: str = ""
    bases: tuple[Release, ...] = ()
    have: Inventory | None = None
    allow_yanked: bool = False


@dataclass(frozen=True, slots=True)
class Selected:
    """The contents of a bundle. ``metadata`` has the bytes of those documents that no digest names; ``url`` is the source."""

    contents: Contents
    metadata: Mapping[str, bytes]
    url: str
    needs_codec: bool
    left_out_bytes: int
    warnings: tuple[str, ...]


def select_contents(selection: Selection, channel: str, view: View) -> Selected:
    """Name every object of the bundle; ``channel`` is what a model without a version means.

    Raises:
        UnknownName, UsageError: no such release, a yanked one, dependencies that do not go together.
        RollbackRefused: the source is older than what was seen here.
        TrustError, IntegrityError, UnavailableError
    """
    if view.older or view.timestamp is None:
        raise RollbackRefused(
            f"{view.source.url} is older than what was seen here", hint="Build from the store, or from a newer medium."
        )
    chosen = [choose_release(view, want, channel=channel, allow_yanked=selection.allow_yanked) for want in selection.wants]
    releases = _closure(view, chosen)
    candidates = _bases(view, selection, releases)
    shared = _Shared(view, candidates)
    parts: dict[str, Member] = {}
    needs_codec = False
    for target in releases:
        manifest = read_signed(view, target).manifest
        needs_codec = needs_codec or any(chunk.encoding != "raw" for file in manifest.files for chunk in file.chunks)
        for member in shared.lacking(manifest):
            parts.setdefault(member.key, member)
    # A part that one release may leave out, another may need.
    wanted, left_out = shared.wanted(parts)
    roots, lost = root_chain(view)
    models = sorted({target.release.model for target in (*releases, *wanted)})
    metadata = {role_key("root", root.version): root.data for root in roots}
    metadata[role_key("targets", view.targets.version)] = view.targets.data
    metadata |= {role_key(model, view.model(model).version): view.model(model).data for model in models}
    metadata[role_key("snapshot", view.snapshot.version)] = view.snapshot.data
    metadata[role_key("timestamp", view.timestamp.version)] = view.timestamp.data
    documents = [Member(key, len(data), sha256_of(data)) for key, data in metadata.items()]
    # A base's manifest lies at the site, as the base does: that is what makes it one.
    documents += [Member(target.key, target.size, target.sha256) for target in releases]
    documents += [member for model in models for member in _channels(view, model)]
    named = {target.release for target in chosen}
    contents = Contents(
        name=selection.name or _name(chosen, delta=bool(wanted)),
        root_fingerprint=view.root.sha256,
        snapshot=view.snapshot.version,
        releases=tuple(_carried(target, chosen=target.release in named) for target in releases),
        bases=tuple(Wanted(release=str(target.release), manifest_sha256=target.sha256) for target in wanted),
        documents=tuple(documents),
        parts=tuple(parts.values()),
    )
    if NAME.fullmatch(contents.name) is None:
        raise UsageError(
            f"--name {contents.name!r} is refused: expected a-z 0-9 . _ -, beginning and ending with one of a-z 0-9",
            hint="Use a name such as bert-v2.1.0-site-a.",
        )
    warnings = list(view.warnings)
    if lost:
        warnings.append(f"{view.source.url} has no roots {lost[0]} to {lost[-1]}: a site that pinned one of them cannot install")
    there = [str(target.release) for target in releases if target in candidates]
    if there:
        told = "nothing is carried but" if len(there) == len(releases) and not parts else "of that is carried only"
        warnings.append(f"the site has {', '.join(there)} already: {told} what proves it")
    idle = [str(target.release) for target in candidates if target not in wanted] if selection.bases else []
    if idle:
        warnings.append(f"nothing of {', '.join(idle)} serves these releases: it need not be at the site")
    return Selected(contents, metadata, view.source.url, needs_codec, left_out, tuple(warnings))


def _closure(view: View, chosen: Sequence[ReleaseTarget]) -> list[ReleaseTarget]:
    found = {target.release: target for target in chosen}
    for target in chosen:
        found.update((needed.release, needed) for needed in resolve_dependencies(view, target))
    return sorted(found.values(), key=lambda target: str(target.release))


def _bases(view: View, selection: Selection, wanted: Sequence[ReleaseTarget]) -> list[ReleaseTarget]:
    """The releases that the site has, as far as this tree knows them, in the order in which they are asked for chunks.

    Those that are ``wanted`` come first: what stands there already takes no other release to stand on.
    """
    found = {release: view.release(release) for release in selection.bases}
    if selection.have is not None:
        chain = {root.sha256 for root in root_chain(view)[0]}
        if selection.have.root_fingerprint not in chain:
            raise UsageError(
                f"the inventory is of a tree with root {selection.have.root_fingerprint}, which is none of {view.source.url}",
                hint="Export it at the site anew, or name the source that the site installs from.",
            )
        for one in selection.have.releases:
            release = Release.parse(one.release)
            try:
                target = view.release(release)
            except UnknownName:
                # It was retired here: whoever packs can no longer know what is in it.
                continue
            if target.sha256 == one.manifest_sha256:
                found[release] = target
    return sorted(found.values(), key=lambda target: target not in wanted)


class _Shared:
    """Which parts the site can make from what it has, and which of its releases that takes."""

    def __init__(self, view: View, candidates: Sequence[ReleaseTarget]) -> None:
        self._candidates = candidates
        # The first candidate that has a chunk; raw digests, for there may be a million of them.
        self._owner: dict[bytes, int] = {}
        for number, target in enumerate(candidates):
            for chunk in _chunks(read_signed(view, target).manifest):
                self._owner.setdefault(chunk, number)
        self._left_out: dict[str, tuple[int, set[int]]] = {}

    def lacking(self, manifest: Manifest) -> Iterator[Member]:
        """The parts of a release that the site cannot do without."""
        owners: dict[int, set[int]] = {}
        needed: set[int] = set()
        for file in manifest.files:
            for chunk in file.chunks:
                owner = self._owner.get(bytes.fromhex(chunk.blake3))
                if owner is None:
                    needed.add(chunk.part)
                else:
                    owners.setdefault(chunk.part, set()).add(owner)
        for index, part in enumerate(manifest.parts):
            key = part_key(part.blake3)
            if index in needed:
                yield Member(key, part.size, part.sha256)
            else:
                known = self._left_out.setdefault(key, (part.size, set()))
                known[1].update(owners[index])

    def wanted(self, carried: Iterable[str]) -> tuple[list[ReleaseTarget], int]:
        """The releases without which parts would lack, and the bytes of those parts."""
        keys = set(carried)
        left = [one for key, one in self._left_out.items() if key not in keys]
        owners = {owner for _, found in left for owner in found}
        return [target for number, target in enumerate(self._candidates) if number in owners], sum(size for size, _ in left)


def _chunks(manifest: Manifest) -> Iterator[bytes]:
    for file in manifest.files:
        for chunk in file.chunks:
            yield bytes.fromhex(chunk.blake3)


def _channels(view: View, model: ModelName) -> Iterator[Member]:
    signed = view.model(model).signed
    for channel in view.channels(model):
        path = channel_target(model, channel)
        target = signed.targets[path]
        sha256 = target_sha256(path, target)
        yield Member(target_key(path, sha256), target.length, sha256)


def _carried(target: ReleaseTarget, *, chosen: bool) -> Carried:
    facts = target.facts
    return Carried(
        release=str(target.release),
        kind=facts.kind,
        manifest_sha256=target.sha256,
        files=facts.files,
        plain=facts.plain,
        stored=facts.stored,
        chosen=chosen,
    )


def _name(chosen: Sequence[ReleaseTarget], *, delta: bool) -> str:
    names = sorted({str(target.release) for target in chosen})
    more = f"-and-{len(names) - 1}-more" if len(names) > 1 else ""
    return names[0] + more + ("-delta" if delta else "")
