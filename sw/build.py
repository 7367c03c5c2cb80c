"""Build: a folder of web assets becomes hashed files, a manifest, and the worker that precaches them.

Takes an order, gives ``Built``. The same assets give the same bytes; beside an earlier build in the folder it
also writes the patches that lead from there to here, and keeps that build's files for those who still use it.

next: ``sw.check``
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pipeline.digest import Sha256, sha256_of
from pipeline.errors import SourceError, UsageError
from pipeline.events import Listener, StepFinished, StepStarted, Warned
from pipeline.layout import content_type, is_hashed_web_file, web_key
from pipeline.release import WEB_PATH_BYTES, ModelName, path_fault
from pipeline.wire import encode_document
from sw.load import Asset, Assets, load_assets
from sw.manifest import (
    APP,
    CLIENT,
    EARLIER,
    OURS,
    PART_BYTES,
    RELEASE,
    RELEASE_BYTES,
    WORKER,
    More,
    Packed,
    Patch,
    Pointer,
    WebFile,
    WebManifest,
    pack_path,
    patch_path,
)
from sw.naming import HASH_DIGITS, Served, name_files
from sw.options import ASKED, WebOptions
from sw.output import Earlier, Output, manifest_path
from sw.packs import plan_packs
from sw.patches import is_worth, make_dcz, make_patch
from sw.texts import texts_that_name

# Smaller files cost less than the request for a patch.
PATCHED_BYTES = 4 << 10
# Larger ones are stored by part, and a patch leads to a whole.
PATCHED_MOST_BYTES = PART_BYTES


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """What to build, and where to; ``engine`` holds the worker's own files by name; ``dry`` writes nothing."""

    assets: Path
    to: Path
    name: str
    version: str
    engine: Mapping[str, bytes]
    options: WebOptions = field(default_factory=WebOptions)
    strict: bool = False
    dry: bool = False


class Built(msgspec.Struct, kw_only=True):
    """The result of a build; sizes in bytes. ``changed`` is False when the same release stood there already."""

    name: str
    version: str
    manifest: str
    sha256: str
    to: str
    files: int
    bytes: int
    bytes_written: int
    packs: int
    patches: int
    patch_bytes: int
    removed: int
    changed: bool
    warnings: list[str]
    seconds: float


def kill_release(to: Path, *, dry: bool = False) -> Path:
    """Tell every worker of the release in ``to`` to remove what it stored and to leave; give the file that says so.

    Raises:
        UsageError: there is no release.
        DiskError
    """
    output = Output(to, dry=dry)
    pointer = output.pointer()
    if pointer is None:
        raise UsageError(f"{to} holds no web release", hint="Name the folder that web.build wrote.")
    told = encode_document(msgspec.structs.replace(pointer, kill=True))
    output.write(RELEASE, told, sha256_of(told))
    return to / RELEASE


def build_web(order: BuildOrder, listen: Listener) -> Built:
    """Build ``order.assets`` into ``order.to``.

    Raises:
        SourceError: assets that cannot be served; with ``strict``, a reference that leads to no file.
        UsageError: a folder that cannot be built into.
        SourceChanged, DiskError
    """
    started_s = time.monotonic()
    output = Output(order.to, dry=order.dry)
    output.check(order.assets)
    assets = load_assets(order.assets, listen)
    warnings = [str(one) for one in assets.dangling]
    if warnings and order.strict:
        more = f", and {len(warnings) - 1} more" if len(warnings) > 1 else ""
        raise SourceError(f"{warnings[0]}{more}", hint="Mend the reference, or build without --strict to see them all.")
    for warning in warnings:
        listen(Warned("web-dangling", warning))
    kept = assets.keep | {path for path in assets.by_path if order.options.keeps(path)}
    served = name_files({path: asset.loaded for path, asset in assets.by_path.items()}, kept)
    _check_served(served)
    _warn_of_texts(assets, served, listen)
    unknown = _unknown(assets, served)
    if unknown:
        others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        listen(
            Warned(
                "web-unreferenced",
                f"{unknown[0]}{others}: no reference leads there, so nobody knows the hashed name; "
                "if a script puts the name together, list it under web: keep",
            )
        )
    return _Building(order, output, assets, served, listen).run(warnings, started_s)


def _warn_of_texts(assets: Assets, served: Mapping[str, Served], listen: Listener) -> None:
    """Tell of the first text that names a file by what it was called before."""
    renamed = {path for path, one in served.items() if one.path != path}
    found = list(texts_that_name([asset.loaded for asset in assets.by_path.values()], renamed))
    if found:
        script, line, path = found[0]
        others = f" ({len(found) - 1} more such texts)" if len(found) > 1 else ""
        listen(
            Warned(
                "web-text",
                f"{script}:{line}: {path!r} is a text there, no reference, and the file gets another name{others}; "
                "if the script asks for it, list it under web: keep",
            )
        )


def _unknown(assets: Assets, served: Mapping[str, Served]) -> list[str]:
    """Files that got another name, which nothing that was read knows: a bundler's own loader may ask for the old one."""
    known = _led_to(assets)
    return sorted(path for path, one in served.items() if one.path != path and path not in known)


def _led_to(assets: Assets) -> set[str]:
    """Files that references lead to."""
    return {link.target for asset in assets.by_path.values() for link in asset.loaded.links}


def _check_served(served: Mapping[str, Served]) -> None:
    """See that every name can be served.

    Raises:
        SourceError: it is too long with its hash, or it looks hashed and is not, so that caches would keep it for ever.
    """
    for one in served.values():
        fault = path_fault(one.path, limit=WEB_PATH_BYTES)
        if fault:
            raise SourceError(f"{one.source} would be served as {one.path}: {fault}", hint="Give it a shorter name.")
        if one.path == one.source and is_hashed_web_file(web_key(ModelName("app"), one.path)):
            raise SourceError(
                f"{one.source} keeps its name, which looks hashed: browsers would never ask for it again",
                hint="Rename it, or let it be hashed.",
            )


class _Building:
    """One build under way, its names settled."""

    def __init__(self, order: BuildOrder, output: Output, assets: Assets, served: Mapping[str, Served], listen: Listener) -> None:
        self._order = order
        self._output = output
        self._assets = assets
        self._led_to = _led_to(assets)
        # The page's side must be there offline as well; the worker is what its downloads run in.
        # A worker that holds the manifest cannot stand in it.
        inside = (CLIENT,) if order.options.single_file else (CLIENT, WORKER)
        engine = [
            Served(name, name, len(order.engine[name]), sha256_of(order.engine[name]), order.engine[name]) for name in inside
        ]
        every = sorted([*served.values(), *engine], key=lambda one: one.path)
        self._packs = self._plan(every) if order.options.packs else []
        packed = {one.path for pack in self._packs for one in pack}
        # What travels together stands together, so that a manifest says of a pack only how many files it has.
        self._served = [one for pack in self._packs for one in pack] + [one for one in every if one.path not in packed]
        self._listen = listen

    def run(self, warnings: list[str], started_s: float) -> Built:
        """Write what is not there yet, the pointer last."""
        self._listen(StepStarted("write", len(self._served), sum(one.size for one in self._served)))
        earlier = self._output.earlier()
        described = self._described()
        same = bool(earlier) and _without_history(earlier[0].manifest) == described
        manifest = earlier[0].manifest if same else self._with_patches(described, earlier)
        data = encode_document(manifest)
        digest = sha256_of(data)
        origin = tuple(one.digits for one in (earlier[1:] if same else earlier))[:EARLIER]
        pointer = _pointer(manifest, data, origin)
        # Immutable files first: until the pointer moves, nobody asks for them.
        for one in sorted(self._served, key=lambda one: one.path == one.source):
            self._write(one)
        self._output.write(pointer.manifest, data, digest)
        for older in earlier[: 0 if same else EARLIER]:
            self._write_patch(patch_path(older.digits, digest), older.data, data)
        if self._order.options.single_file:
            worker = _with_manifest(self._order.engine[WORKER], pointer, data)
            self._output.write(WORKER, worker, sha256_of(worker))
        told = encode_document(pointer)
        self._output.write(RELEASE, told, sha256_of(told))
        removed = self._output.remove(_left_over(manifest, pointer, earlier))
        self._listen(StepFinished("write", len(self._served), self._output.written, time.monotonic() - started_s))
        return Built(
            name=manifest.name,
            version=manifest.version,
            manifest=pointer.manifest,
            sha256=digest,
            to=str(self._order.to),
            files=len(manifest.files),
            bytes=sum(file.size for file in manifest.files),
            bytes_written=self._output.written,
            packs=len(manifest.packs),
            patches=len(manifest.patches),
            patch_bytes=sum(patch.size for patch in manifest.patches),
            removed=removed,
            changed=not same,
            warnings=warnings,
            seconds=round(time.monotonic() - started_s, 3),
        )

    def _described(self) -> WebManifest:
        """The manifest as it follows from the assets alone."""
        options = self._order.options
        types = tuple(sorted({content_type(one.path) for one in self._served}))
        files = tuple(self._file(one, types) for one in self._served)
        return WebManifest(
            name=self._order.name,
            version=self._order.version,
            types=types,
            groups=options.groups,
            files=files,
            packed=tuple(map(self._write_pack, self._packs)),
            navigate=options.navigate,
            isolate=options.isolate,
            mirrors=options.mirrors,
            models=dict(options.models),
        )

    def _file(self, one: Served, types: Sequence[str]) -> WebFile:
        parts = self._assets.by_path[one.source].parts if one.data is None else _parts(one.data)
        return WebFile.named(
            one.source,
            one.path,
            one.sha256,
            size=one.size,
            type=types.index(content_type(one.path)),
            group=self._group(one),
            more=More(parts=(PART_BYTES, parts) if parts else None),
        )

    def _group(self, one: Served) -> str:
        return self._order.options.group_of(one.source, self._led_to)

    def _plan(self, every: Sequence[Served]) -> list[list[Served]]:
        """What travels together on a first visit."""
        wanted = [(number, one.size) for number, one in enumerate(every) if self._group(one) == APP]
        return [[every[number] for number in pack] for pack in plan_packs(wanted)]

    def _write_pack(self, pack: Sequence[Served]) -> Packed:
        data = b"".join(map(self._bytes, pack))
        digest = sha256_of(data)
        self._output.write(pack_path(digest), data, digest)
        return Packed(digest[:HASH_DIGITS], len(pack))

    def _bytes(self, one: Served) -> bytes:
        if one.data is not None:
            return one.data
        asset: Asset = self._assets.by_path[one.source]
        if asset.loaded.data is not None:
            return asset.loaded.data
        return asset.file.place.read_bytes()

    def _write(self, one: Served) -> None:
        if one.data is not None:
            self._output.write(one.path, one.data, one.sha256)
        else:
            self._output.copy(one.path, self._assets.by_path[one.source].file, one.sha256)

    def _with_patches(self, manifest: WebManifest, earlier: Sequence[Earlier]) -> WebManifest:
        """Add the ways from the files that the last release called by the same names."""
        before = {file.source: file for file in earlier[0].manifest.files} if earlier else {}
        ways: dict[str, tuple[str, int]] = {}
        for one, file in zip(self._served, manifest.files, strict=True):
            old = before.get(file.source)
            if file.group == ASKED or (one.data is None and self._assets.by_path[one.source].loaded.data is None):
                continue
            if old is None or old.sha256 == file.sha256 or not PATCHED_BYTES <= file.size <= PATCHED_MOST_BYTES:
                continue
            old_data = self._output.read(old.path, PATCHED_MOST_BYTES)
            if old_data is None or sha256_of(old_data) != old.sha256:
                continue
            new_data = self._bytes(one)
            patch = make_patch(old_data, new_data)
            if is_worth(patch, new_data):
                way = ways[file.path] = old.sha256[:HASH_DIGITS], len(patch)
                made = Patch(way[0], file, way[1])
                self._output.write(made.path, patch, sha256_of(patch))
                if old.sha256[:HASH_DIGITS] in old.path and file.sha256[:HASH_DIGITS] in file.path:
                    # A server knows files by the digits in their names alone.
                    negotiated = make_dcz(old_data, new_data)
                    self._output.write(made.negotiated, negotiated, sha256_of(negotiated))
        return _with_ways(manifest, ways)

    def _write_patch(self, path: str, old: bytes, new: bytes) -> None:
        patch = make_patch(old, new)
        self._output.write(path, patch, sha256_of(patch))


def _pointer(manifest: WebManifest, data: bytes, origin: tuple[str, ...]) -> Pointer:
    """The pointer to a manifest, with as many ways to it as its size allows, the newest first."""
    digest = sha256_of(data)
    made = Pointer(
        version=manifest.version, manifest=manifest_path(digest[:HASH_DIGITS]), sha256=digest, size=len(data), origin=origin
    )
    fits = len(encode_document(made)) <= RELEASE_BYTES
    return made if fits or not origin else _pointer(manifest, data, origin[:-1])


def _with_manifest(worker: bytes, pointer: Pointer, manifest: bytes) -> bytes:
    """The worker with what it would ask for in front (docs/web-format.md §7)."""
    inside = {"sha256": pointer.sha256, "size": pointer.size, "text": manifest.decode(), "version": pointer.version}
    return b"self.modelport=" + msgspec.json.encode(inside, order="sorted") + b";\n" + worker


def _parts(data: bytes) -> tuple[Sha256, ...]:
    if len(data) <= PART_BYTES:
        return ()
    return tuple(sha256_of(data[at : at + PART_BYTES]) for at in range(0, len(data), PART_BYTES))


def _without_history(manifest: WebManifest) -> WebManifest:
    return _with_ways(manifest, {})


def _with_ways(manifest: WebManifest, ways: Mapping[str, tuple[str, int]]) -> WebManifest:
    """The manifest with the patches that lead to its files, by their paths."""
    replace = msgspec.structs.replace
    files = [replace(file, more=replace(file.more, patch=ways.get(file.path))) for file in manifest.files]
    return replace(manifest, files=tuple(files))


def _left_over(manifest: WebManifest, pointer: Pointer, earlier: Sequence[Earlier]) -> set[str]:
    """What earlier builds wrote and no release that is kept needs."""
    wanted = {*OURS, pointer.manifest, *manifest.written()}
    wanted |= {patch_path(origin, pointer.sha256) for origin in pointer.origin}
    # The ways to the release before this one led from all that were kept then.
    written = {patch_path(older.digits, earlier[0].digits) for older in earlier[1:]}
    for older in earlier:
        if older.digits in pointer.origin or older.digits == pointer.sha256[:HASH_DIGITS]:
            # A page that is gone is gone: who still shows that version has it stored, by its digest.
            hashed = {file.path for file in older.manifest.files if file.path != file.source}
            wanted |= {manifest_path(older.digits), *hashed, *(pack.path for pack in older.manifest.packs)}
        written |= {manifest_path(older.digits), *older.manifest.written()}
    return written - wanted
