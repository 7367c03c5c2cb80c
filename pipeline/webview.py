"""The web view: below ``web/<name>/`` stand the files of a web release, as browsers ask for them (docs/format.md §9).

Takes a place, a release and what signed metadata says, gives ``WebView``. Hashed files are laid down first and never change;
pages, the worker and, last, ``release.json`` follow the channel that the view shows. All of it can be made again from
signed metadata, so a run that stops anywhere is completed by the next one, or by ``web.sync``.

next: ``pipeline.publish``
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from pipeline.digest import Sha256
from pipeline.errors import ObjectMissing, UsageError
from pipeline.events import Listener, StepFinished, StepStarted, Warned
from pipeline.layout import WEB, is_hashed_web_file, web_key
from pipeline.manifest import File, Manifest
from pipeline.outcome import LeftResult, left_results
from pipeline.place import Heard, Place
from pipeline.ports import ObjectStore
from pipeline.release import ModelName, Release
from pipeline.steps.lease import held_lease
from pipeline.steps.show_edge import NOT_REFRESHED, Stale
from pipeline.steps.web_files import read_whole
from pipeline.trust.view import View
from pipeline.workers import in_order, threads

# The one file that says which version is current (docs/web-format.md §2), and those that it brings with it.
POINTER = "release.json"
_WORKER = ("sw-client.js", "sw.js")
AT_ONCE = 4
LARGE = 64 << 20
# A channel that moves faster than its view can be written is somebody's loop.
ROUNDS = 5
# The steps of a view, in their order; the last four only where it shows another release than before.
STEPS = ("web.lay", "web.pages", "web.pointer", "web.clear", "web.refresh", "web.look")


@dataclass
class WebView:
    """What was done to a view: ``release`` is what it shows, None while the channel shows none; sizes in bytes.

    ``keys`` are those of files that other bytes stand under now; ``stale`` are edges that may show what was there before.
    """

    release: Release | None = None
    written: int = 0
    size: int = 0
    removed: int = 0
    keys: list[str] = field(default_factory=list)
    stale: tuple[Stale, ...] = ()


class Synced(msgspec.Struct, kw_only=True):
    """The result of ``web.sync``; sizes in bytes. ``shows`` is "" while the channel shows no web release."""

    model: str
    channel: str
    shows: str
    store: str
    prefix: str
    files_written: int
    bytes_written: int
    files_removed: int
    complete: bool
    left: list[LeftResult]
    warnings: list[str]
    seconds: float


def show_everywhere(place: Place, release: Release, view: View, listen: Listener, holder: str) -> tuple[Stale, ...]:
    """Let edges and the web view serve what was committed just now, as ``view`` shows it; give the edges that do not follow.

    ``holder`` is the key of the lease under which that was done.

    Raises:
        As ``show_web``.
    """
    return (*place.show(listen, holder), *show_web(place, release, view, listen, holder).stale)


def show_web(place: Place, release: Release, view: View, listen: Listener, holder: str) -> WebView:
    """Lay down ``release`` after the commit that ``view`` shows, and let the view follow its channel.

    Nothing is done for a release of another kind. The caller holds a lease, so that no collector runs beside it.

    Raises:
        VerifyFailed, AccessDenied, StoreUnavailable, DiskError: the commit stands; run it again.
    """
    if release.model not in view.models() or view.release(release, retired=True).facts.kind != "web":
        return WebView()
    done = WebView()
    writing = _Writing(place, listen, done, holder)
    writing.lay(view.manifest(release))
    writing.follow(release.model, view)
    return done


def sync_view(model: ModelName, place: Place, listen: Listener) -> Synced:
    """Make the view of ``model`` again from signed metadata; every file that stands there is read and compared.

    Every CDN is asked to forget what it has of pages, worker and pointer, changed or not.

    Raises:
        UnknownName: no such model.
        UsageError: it has no release of kind web.
        VerifyFailed, TrustError, UnavailableError, DiskError
    """
    heard = Heard(listen)
    started_s = time.monotonic()
    with held_lease(place.store, str(model), heard.listen) as lease:
        view = place.view()
        if all(target.facts.kind != "web" for target in view.releases(model)):
            raise UsageError(f"{model} has no release of kind web", hint=f"invoke publish --kind web --model {model}-v1.0.0")
        done = WebView()
        _Writing(place, heard.listen, done, lease.key, reads=True).follow(model, view)
    left = left_results((), done.stale)
    return Synced(
        model=model,
        channel=place.web_channel,
        shows=str(done.release or ""),
        store=place.store.url,
        prefix=f"{WEB}{model}/",
        files_written=done.written,
        bytes_written=done.size,
        files_removed=done.removed,
        complete=not left,
        left=left,
        warnings=list(heard.warnings),
        seconds=round(time.monotonic() - started_s, 3),
    )


class _Writing:
    """One view being written. ``reads``: what stands under a hashed name is believed only after it was read."""

    def __init__(self, place: Place, listen: Listener, done: WebView, holder: str, *, reads: bool = False) -> None:
        self._place = place
        self._holder = holder
        self._store = place.store
        self._listen = listen
        self._done = done
        self._reads = reads

    def lay(self, manifest: Manifest) -> None:
        """Put every hashed file of a release where it is not yet; a collector may have taken some of an old one."""
        self._place.step("web.lay")
        there = {info.key: info.size for info in self._store.list(f"{WEB}{manifest.model}/")}
        files = [file for file in manifest.files if is_hashed_web_file(_key(manifest, file))]
        absent = [file for file in files if self._reads or there.get(_key(manifest, file)) != file.size]
        self._write(manifest, absent, compare=self._reads)

    def follow(self, model: ModelName, view: View) -> None:
        """Show what the channel shows; look again afterwards, for it may have moved meanwhile."""
        for _ in range(ROUNDS):
            shown = self._shown(model, view)
            if shown is None:
                return
            self._show(view, shown)
            self._place.step("web.look")
            view = self._place.view()
            if self._shown(model, view) == shown:
                return
        self._listen(Warned("web-moving", f"{model}@{self._place.web_channel} keeps moving: run invoke web.sync --model {model}"))

    def _shown(self, model: ModelName, view: View) -> Release | None:
        channel = self._place.web_channel
        if channel not in view.channels(model):
            return None
        release = Release.parse(view.channel(model, channel).release)
        return release if view.release(release).facts.kind == "web" else None

    def _show(self, view: View, release: Release) -> None:
        manifest = view.manifest(release)
        self.lay(manifest)
        self._done.release = release
        named = [file for file in manifest.files if not is_hashed_web_file(_key(manifest, file))]
        changed: list[str] = []
        for step, files in (
            ("web.pages", [file for file in named if file.path not in (*_WORKER, POINTER)]),
            ("web.pages", [file for file in named if file.path in _WORKER]),
            ("web.pointer", [file for file in named if file.path == POINTER]),
        ):
            self._place.step(step)
            changed += self._write(manifest, files, compare=True)
        self._place.step("web.clear")
        changed += self._clear(manifest)
        self._done.keys += changed
        # Whoever asks for the view to be mended may mean the edges.
        told = [_key(manifest, file) for file in named] if self._reads else []
        urls = list(dict.fromkeys([*changed, *told]))
        if urls:
            self._place.step("web.refresh")
            self._refresh(urls)

    def _clear(self, manifest: Manifest) -> Iterator[str]:
        """Remove pages that the release does not have; hashed files are the collector's."""
        kept = {_key(manifest, file) for file in manifest.files}
        for info in list(self._store.list(f"{WEB}{manifest.model}/")):
            if info.key not in kept and not is_hashed_web_file(info.key):
                self._store.delete(info.key)
                self._done.removed += 1
                yield info.key

    def _write(self, manifest: Manifest, files: Sequence[File], *, compare: bool) -> list[str]:
        """Put these files; the keys under which other bytes stood, or none."""
        if not files:
            return []
        self._listen(StepStarted("web view", len(files), sum(file.size for file in files)))
        put = partial(_put, self._store, manifest, compare=compare)
        changed = []
        for at_once, share in _shares(files):
            with threads(at_once, "web") as pool:
                for file, written in zip(share, in_order(pool, put, share, ahead=at_once), strict=True):
                    if written:
                        changed.append(_key(manifest, file))
                        self._done.written += 1
                        self._done.size += file.size
        self._listen(StepFinished("web view", len(changed)))
        return changed

    def _refresh(self, keys: Sequence[str]) -> None:
        # "web/shop/" is what people type for "web/shop/index.html"; an edge keeps both.
        index = "index.html"
        urls = [*keys, *(key.removesuffix(index) for key in keys if key.endswith(f"/{index}"))]
        stale = []
        for front in self._place.delivery.fronts:
            try:
                self._place.refresh(self._listen, self._holder)(front.cdn, urls)
            except NOT_REFRESHED as error:
                stale.append(
                    Stale(
                        front.edge.url,
                        f"it was not asked to forget pages of the web view: {error}; invoke cdn.resume goes on with it",
                    )
                )
                self._listen(Warned("edge-stale", f"{front.edge.url} may still show the web release before: {error}"))
        self._done.stale += tuple(stale)


def _shares(files: Sequence[File]) -> Iterator[tuple[int, list[File]]]:
    """How many at once, and which: a file is held in memory as a whole, so that large ones go one by one."""
    yield AT_ONCE, [file for file in files if file.size <= LARGE]
    yield 1, [file for file in files if file.size > LARGE]


def _key(manifest: Manifest, file: File) -> str:
    return web_key(manifest.release.model, file.path)


def _put(store: ObjectStore, manifest: Manifest, file: File, *, compare: bool) -> bool:
    key = _key(manifest, file)
    if compare and _stands(store, key, file):
        return False
    store.put(key, read_whole(store, manifest, file), sha256=file.sha256)
    return True


def _stands(store: ObjectStore, key: str, file: File) -> bool:
    """Whether the file's bytes stand under ``key``, as the store vouches for or as they are read."""
    try:
        info = store.head(key)
        if info.size != file.size:
            return False
        return (info.sha256 or _digest(store, key)) == file.sha256
    except ObjectMissing:
        return False


def _digest(store: ObjectStore, key: str) -> Sha256:
    state = hashlib.sha256()
    for block in store.get(key):
        state.update(block)
    return Sha256(state.hexdigest())
