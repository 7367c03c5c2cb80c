"""What a person decides about a web release besides its assets.

Takes nothing, gives ``WebOptions``; patterns are those of ``fnmatch``, on site paths. Pure.

next: ``sw.load``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from sw.manifest import APP, OURS, Group, Navigate, WebModel
from sw.scan.kinds import is_page

# Names that browsers, robots and other sites ask for as they are.
_KNOWN_NAMES = ("robots.txt", "favicon.ico", "humans.txt", "ads.txt", "sitemap.xml", "_headers", "_redirects", "CNAME")
OPTIONAL = "optional"


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
        return is_page(path) or path in _KNOWN_NAMES or path in OURS or path.startswith(".well-known/") or _any(path, self.keep)

    def group_of(self, path: str) -> str:
        """The group of a source path."""
        return OPTIONAL if _any(path, self.optional) else APP

    @property
    def groups(self) -> dict[str, Group]:
        """The groups there are."""
        return {APP: Group(required=True)} | ({OPTIONAL: Group(required=False)} if self.optional else {})


def _any(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
