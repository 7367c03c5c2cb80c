"""What a person decides about a web release besides its assets.

Takes nothing, gives ``WebOptions``; patterns are those of ``fnmatch``, on site paths. Pure.

next: ``sw.load``
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from sw.manifest import APP, OURS, Group, Navigate, WebModel
from sw.scan.kinds import is_page

# Names that browsers, robots and other sites ask for as they are.
_KNOWN_NAMES = ("robots.txt", "favicon.ico", "humans.txt", "ads.txt", "sitemap.xml")
# Names that hosts keep for themselves, and would answer with a 404.
_HOSTS_NAMES = ("_headers", "_redirects", "CNAME")
_WELL_KNOWN = ".well-known/"
_SOURCE_MAP = re.compile(r"\.(?:[cm]?[jt]sx?|css|wasm)\.map$")
OPTIONAL = "optional"
# Of none of a manifest's groups: no install brings it, the worker fetches and verifies it when somebody asks.
ASKED = "asked"


@dataclass(frozen=True, slots=True)
class WebOptions:
    """``keep`` are not renamed; ``optional`` never hold a version up; ``single_file`` puts the manifest into the worker."""

    keep: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    navigate: Navigate = field(default_factory=Navigate)
    isolate: bool = False
    mirrors: tuple[str, ...] = ()
    models: Mapping[str, WebModel] = field(default_factory=dict)
    packs: bool = True
    single_file: bool = False

    def keeps(self, path: str) -> bool:
        """Whether ``path`` is served under its own name."""
        return is_page(path) or path in (*_KNOWN_NAMES, *_HOSTS_NAMES, *OURS) or path.startswith(".") or _any(path, self.keep)

    def group_of(self, path: str, led_to: Collection[str] = ()) -> str:
        """The group of a source path; ``led_to`` are those that references lead to."""
        if _any(path, self.optional):
            return OPTIONAL
        hidden = "/." in f"/{path}" and not path.startswith(_WELL_KNOWN) and path not in led_to
        return ASKED if path in _HOSTS_NAMES or hidden or _SOURCE_MAP.search(path) else APP

    @property
    def groups(self) -> dict[str, Group]:
        """The groups there are."""
        return {APP: Group(required=True)} | ({OPTIONAL: Group(required=False)} if self.optional else {})


def _any(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
