"""The view that nginx looks names up in: a folder of links, so that its configuration never changes with what is installed.

Takes a catalogue, writes ``SITE/nginx/views/<number>`` and lets ``SITE/nginx/view`` lead there, by one rename. nginx resolves a
link and reads in the name of what it leads to what it needs to know (docs/adr/0180)::

    tags/<sha256>.<size>.<f|r>                  an empty file: what a file of a release is, and whether it may change
    bodies/<sha256>.<type>                      documents that were made, the same bytes as the embedded server's
    held/<release>@<manifest's sha256>@<folder> files/ web/ flat/ all/ info/ page oci: links to the above
    r/<release>                                 → held/…
    m/<model>/rev/<revision>                    → held/…; that of ``main`` → SITE/current/<model>, so that a switch is seen at once
    m/<model>/fixed/<revision>                  revisions that never move
    m/<model>/last                              → held/…: what was live when the view was made
    repos/<repository>/=                        → m/<model>
    simple/<form>/<project>  pages/<name>       → bodies/…

next: ``nginx_routes``
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bundles.installer.layout import CURRENT
from bundles.site.answers import Made
from bundles.site.catalogue import MAIN, Catalogue, Held
from bundles.site.hub import is_fixed
from bundles.site.routes import Request, find
from bundles.site.targets import join_target
from bundles.site.wheelhouse import SIMPLE_HTML, SIMPLE_JSON, normal_name, projects_of
from pipeline.digest import sha256_of
from pipeline.errors import DiskError
from pipeline.layout import FOREVER, JSON, WEB, headers_for
from pipeline.plan.ocilayout import CONFIG_TYPE, MANIFEST_TYPE

PLACE = "nginx"
VIEW = "nginx/view"
VIEWS = "nginx/views"
# The index of a folder or of a repository: no name of a release or a repository can be these.
HERE = ":"
ITSELF = "="
NOBODY = "-"
# What nginx calls a type by the ending of a made document.
BODY_TYPES = {
    "json": JSON,
    "html": "text/html; charset=utf-8",
    "simplehtml": SIMPLE_HTML,
    "simplejson": SIMPLE_JSON,
    "manifest": MANIFEST_TYPE,
    "config": CONFIG_TYPE,
}
FORMS = {"html": "text/html", "simplehtml": SIMPLE_HTML, "simplejson": SIMPLE_JSON}
_ENDINGS = {kind: ending for ending, kind in BODY_TYPES.items()}
_PUBLIC_FOLDER = 0o755
_PUBLIC_FILE = 0o644
_ABANDONED_S = 3600
_KEPT_VIEWS = 2


def write_view(place: Path, catalogue: Catalogue, *, tree: bool) -> Path:
    """Write a view of what is held now and go over to it; readers of the one before can finish.

    Raises:
        DiskError: nothing changed.
    """
    views = place / VIEWS
    try:
        _make(place / PLACE)
        _make(views)
        numbers = [int(path.name) for path in views.iterdir() if path.name.isdigit()]
        growing = views / f".grow-{os.getpid()}-{time.monotonic_ns()}"
        try:
            _Writer(place.absolute(), growing, catalogue, tree=tree).write()
            target = views / str(max(numbers, default=0) + 1)
            growing.rename(target)
        finally:
            shutil.rmtree(growing, ignore_errors=True)
        link = place / PLACE / f".view-{os.getpid()}"
        with suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(f"views/{target.name}")
        link.rename(place / VIEW)
        _prune(views, int(target.name))
    except OSError as error:
        raise DiskError(f"the view of nginx cannot be written in {views}: {error}", hint="The one before stands.") from error
    return target


def _prune(views: Path, newest: int) -> None:
    for path in views.iterdir():
        old = path.name.isdigit() and int(path.name) <= newest - _KEPT_VIEWS
        abandoned = path.name.startswith(".grow-") and time.time() - path.stat().st_mtime > _ABANDONED_S
        if old or abandoned:
            shutil.rmtree(path, ignore_errors=True)


def _make(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    # nginx's workers are another user, whatever the umask is here.
    if stat.S_IMODE(folder.stat().st_mode) != _PUBLIC_FOLDER:
        folder.chmod(_PUBLIC_FOLDER)


class _Writer:
    """One view being written. Keys are paths below it; a link leads to another key."""

    def __init__(self, place: Path, root: Path, catalogue: Catalogue, *, tree: bool) -> None:
        self._place = place
        self._root = root
        self._catalogue = catalogue
        self._tree = tree
        self._made: set[str] = set()

    def write(self) -> None:
        """Write all of it."""
        _make(self._root)
        catalogue = self._catalogue
        repos = self._repos()
        for name in ("m", "r", "repos", "pages", "simple"):
            self._folder(name)
        for held in catalogue.releases.values():
            self._held(held, [repo for repo, model in repos.items() if model == held.model])
        for model in sorted({held.model for held in catalogue.releases.values()}):
            self._model(model, [repo for repo, owner in repos.items() if owner == model])
        for repo, model in repos.items():
            self._link(f"repos/{repo}/{ITSELF}", f"m/{model}")
        self._made_link("pages/index", self._find(catalogue, "/"))
        self._made_link("pages/catalog", self._find(catalogue, "/v2/_catalog"))
        self._simple()

    def _repos(self) -> dict[str, str]:
        """Every id that a repository has, and the model that it means."""
        held = self._catalogue.releases.values()
        names = sorted({one.model for one in held} | {alias for one in held for alias in one.aliases})
        found = {name: self._catalogue.model_of(name) for name in names}
        return {name: model for name, model in found.items() if model is not None}

    def _held(self, held: Held, repos: list[str]) -> None:
        kind = held.folder.partition("/")[0]
        at = f"held/{held.release}@{held.manifest_sha256}@{kind}"
        self._folder(at)
        self._link(f"r/{held.release}", at)
        for file in held.files.values():
            self._link(f"{at}/files/{file.path}", self._tag(file.sha256, file.size, FOREVER))
            if held.kind == "web":
                cache = headers_for(f"{WEB}{held.model}/{file.path}").cache_control
                self._link(f"{at}/web/{file.path}", self._tag(file.sha256, file.size, cache))
        self._made_link(f"{at}/page", self._find(self._catalogue, join_target((*held.folder.split("/"), ""))))
        oci = f"/v2/{held.model}/manifests/sha256:{held.artifact.manifest_sha256}"
        self._made_link(f"{at}/oci", self._find(self._catalogue, oci))
        for repo in repos:
            names = ("api", "models", *repo.split("/"), "revision", held.manifest_sha256)
            self._made_link(f"{at}/info/{repo}/{ITSELF}", self._find(self._catalogue, join_target(names)))
        folders = {"", *(path[:at] for path in held.files for at, char in enumerate(path) if char == "/")}
        for folder in sorted(folders):
            inner = folder.split("/") if folder else ()
            target = join_target(("api", "models", held.model, "tree", held.manifest_sha256, *inner))
            where = f"{folder}/{HERE}" if folder else HERE
            self._made_link(f"{at}/flat/{where}", self._find(self._catalogue, target))
            self._made_link(f"{at}/all/{where}", self._find(self._catalogue, target, recursive="true"))

    def _model(self, model: str, repos: list[str]) -> None:
        catalogue, at = self._catalogue, f"m/{model}"
        ours = [held for _, held in sorted(catalogue.releases.items()) if held.model == model]
        self._revisions(model, ours)
        # What is live now may be another release by the time that somebody asks.
        for release in [*(held.release for held in ours), NOBODY]:
            self._made_link(
                f"{at}/refs/{release}", self._find(replace(catalogue, live={model: release}), f"/api/models/{model}/refs")
            )
        for repo in repos:
            target = join_target(("v2", *repo.split("/"), "tags", "list"))
            self._made_link(f"{at}/tags/{repo}/{ITSELF}", self._find(catalogue, target))
        # Out of the view, to the files themselves: nginx reads from the link where they lie.
        blobs = {file.sha256: f"{'../' * 3}{held.folder}/{file.path}" for held in ours for file in held.by_digest.values()}
        for digest, leads in blobs.items():
            self._link(f"{at}/blobs/{digest}", leads)
        for digest in {sha for held in ours for sha in (held.artifact.config_sha256, held.artifact.manifest_sha256)} - set(blobs):
            self._made_link(f"{at}/blobs/{digest}", self._find(catalogue, f"/v2/{model}/blobs/sha256:{digest}"))

    def _revisions(self, model: str, ours: list[Held]) -> None:
        catalogue, at = self._catalogue, f"m/{model}"
        channels = set(catalogue.channels.get(model, {}))
        fixed = {name for one in ours for name in (one.version, f"v{one.version}", one.release, one.commit, one.manifest_sha256)}
        for name in sorted(channels | fixed):
            pointed = catalogue.revision(model, name)
            if pointed is not None:
                self._link(f"{at}/rev/{name}", f"r/{pointed.release}")
                if is_fixed(pointed, name):
                    self._folder(f"{at}/fixed/{name}")
        live = catalogue.live_release(model)
        if live is not None:
            self._link(f"{at}/last", f"r/{live.release}")
            if MAIN not in channels:
                follows = (self._place / CURRENT).is_symlink()
                self._link(f"{at}/rev/{MAIN}", f"{'../' * 3}{CURRENT}/{model}" if follows else f"r/{live.release}")

    def _simple(self) -> None:
        spelled = {wheel.name.partition("-")[0] for wheels in projects_of(self._catalogue).values() for wheel in wheels}
        for form, accept in FORMS.items():
            self._made_link(f"simple/{form}/{HERE}", self._find(self._catalogue, "/simple/", accept=accept))
            for project in projects_of(self._catalogue):
                made = self._find(self._catalogue, f"/simple/{project}/", accept=accept)
                for name in {project, *(one for one in spelled if normal_name(one) == project)}:
                    self._made_link(f"simple/{form}/{name}", made)

    def _find(self, catalogue: Catalogue, target: str, *, accept: str = "", recursive: str = "") -> Made | None:
        query = {"recursive": recursive} if recursive else {}
        found = find(catalogue, Request(target.encode(), query, accept), tree=self._tree)
        return found if isinstance(found, Made) else None

    def _tag(self, sha256: str, size: int, cache: str) -> str:
        key = f"tags/{sha256}.{size}.{'f' if cache == FOREVER else 'r'}"
        if key not in self._made:
            self._made.add(key)
            self._folder("tags")
            os.close(os.open(self._root / key, os.O_CREAT | os.O_WRONLY, _PUBLIC_FILE))
            (self._root / key).chmod(_PUBLIC_FILE)
        return key

    def _made_link(self, key: str, made: Made | None) -> None:
        if made is None:
            return
        body = f"bodies/{sha256_of(made.body)}.{_ENDINGS[made.content_type]}"
        if body not in self._made:
            self._made.add(body)
            self._folder("bodies")
            with (self._root / body).open("wb") as file:
                file.write(made.body)
                file.flush()
                # The switch to this view must not outlive a power cut that its documents do not.
                os.fsync(file.fileno())
            (self._root / body).chmod(_PUBLIC_FILE)
        self._link(key, body)

    def _link(self, key: str, leads: str) -> None:
        """Let ``key`` lead to another key, or out of the view where ``leads`` climbs from its root."""
        parent, _, _ = key.rpartition("/")
        if parent:
            self._folder(parent)
        up = "../" * key.count("/")
        (self._root / key).symlink_to(f"{up}{leads}")

    def _folder(self, key: str) -> None:
        if key in self._made:
            return
        parent = key.rpartition("/")[0]
        if parent:
            self._folder(parent)
        _make(self._root / key)
        self._made.add(key)
