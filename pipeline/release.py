"""Names: models, versions and their ranges, releases, channels, and the paths of files inside a release.

Takes text from people, folders and documents; gives checked values or ``NameRefused``.
The rules are docs/format.md §1; they hold on every operating system, so that what one machine
publishes every other can install.

next: ``manifest``
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType

from semantic_version import NpmSpec
from semantic_version import Version as SemVer

from pipeline.errors import UsageError

ModelName = NewType("ModelName", str)
Channel = NewType("Channel", str)

MODEL_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,29}")
# Before the library's own parser, which also takes digits of other scripts and a newline at the end.
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9a-z.-]+)?")
# Each would clash with a role, a folder of the tree or a path of the site.
RESERVED_NAMES = frozenset(
    ["root", "targets", "snapshot", "timestamp", "models", "channels", "current", "control", "metadata", "parts", "web"]
)
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file; superscript digits count as digits there.
WINDOWS_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\..*)?", re.IGNORECASE | re.DOTALL)
# The rest of what the same page forbids in a name; docs/adr/0040.
WINDOWS_FORBIDDEN = frozenset('<>"|?*')
VERSION_CHARS = 64
RANGE_CHARS = 200
PATH_BYTES = 1024
WEB_PATH_BYTES = 700
COMPONENT_BYTES = 255
# Bidirectional controls (Unicode Standard Annex 9) make a name read as another one.
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
PERCENT_ENCODED = re.compile(r"%2[ef]", re.IGNORECASE)
# They look like "/" or "\" and some systems fold them to it.
SLASH_TWINS = frozenset("\u2044\u2215\u29f8\uff0f\uff3c\u2216\u29f5\ufe68")


class NameRefused(UsageError):
    """A model, version, channel or path that the format does not allow."""


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """One model at one version, ``<model>-v<version>``.

    Law: ``Release.parse(str(release)) == release``.
    """

    model: ModelName
    version: str

    def __post_init__(self) -> None:
        check_model(self.model)
        check_version(self.version)

    def __str__(self) -> str:
        return f"{self.model}-v{self.version}"

    @classmethod
    def parse(cls, text: str) -> Release:
        """Divide at the last ``-v`` whose remainder is a whole version.

        Raises:
            NameRefused: ``text`` is not a release name.
        """
        at = len(text)
        # What is further from the end is too long for a version.
        first = max(0, at - VERSION_CHARS - 2)
        while (at := text.rfind("-v", first, at)) > 0:
            version = text[at + 2 :]
            if _version_fault(version) is None:
                return cls(ModelName(text[:at]), version)
        raise NameRefused(
            f"{text[:200]!r} is not a release name: expected <model>-v<version>, as in bert-v2.1.0",
            hint=_hint_for(text),
        )

    @property
    def semver(self) -> SemVer:
        """The version as a value that compares by SemVer precedence."""
        return SemVer(self.version)


def _hint_for(text: str) -> str:
    model = text.partition("@")[0]
    if MODEL_NAME.fullmatch(model):
        if short := re.fullmatch(r".+-v[0-9]+(\.[0-9]+)?", text):
            return f"A version has three numbers, as in {text}{'.0' if short[1] else '.0.0'}."
        # A model alone, or bert@stable: what readers may say, and who writes may not.
        return f"Name one release; invoke show --model {model} lists them."
    return "Name the model in lower case and the version as SemVer without build metadata."


def check_model(name: str) -> ModelName:
    """Return ``name`` as a model (or web application) name.

    Raises:
        NameRefused: it breaks docs/format.md §1.
    """
    if MODEL_NAME.fullmatch(name) is None or ".." in name:
        fault = "expected 1 to 64 of a-z 0-9 . _ -, starting and ending with a letter or digit, without '..'"
    elif name in RESERVED_NAMES:
        fault = "the name is reserved"
    elif WINDOWS_DEVICE.fullmatch(name):
        fault = "Windows reserves this name for a device"
    else:
        return ModelName(name)
    model, at, _ = name.partition("@")
    hint = f"A channel or range is for fetch and bundles; here name the model: {model}" if at else "Choose another model name."
    raise NameRefused(f"model name {name!r} is refused: {fault}", hint=hint)


def check_version(text: str) -> str:
    """Return ``text`` as a version: SemVer, no build metadata, lower case, at most 64 characters.

    Raises:
        NameRefused: it is not one.
    """
    fault = _version_fault(text)
    if fault is not None:
        raise NameRefused(f"version {text!r} is refused: {fault}", hint="Use a SemVer version such as 2.1.0 or 2.1.0-rc.1.")
    return text


def check_range(text: str) -> str:
    """Return ``text`` as a range of versions, as npm writes it (github.com/npm/node-semver), at most 200 characters.

    Raises:
        NameRefused: it is none.
    """
    _range(text)
    return text


def takes(versions: str, release: Release) -> bool:
    """Tell whether a range of versions takes this release.

    Raises:
        NameRefused: it is no range.
    """
    return bool(_range(versions).match(release.semver))


def _range(text: str) -> NpmSpec:
    if len(text) > RANGE_CHARS:
        raise NameRefused(f"a range of versions has {len(text)} characters, at most {RANGE_CHARS} are allowed", hint=_RANGE_HINT)
    try:
        return NpmSpec(text)
    # The second is what the library does with "1.0 - <2".
    except (ValueError, AttributeError):
        raise NameRefused(f"{text!r} is no range of versions", hint=_RANGE_HINT) from None


_RANGE_HINT = "Write it as npm does: ^2.1, ~2.1.0, 2.1.0, '>=2 <3'."


def check_channel(text: str) -> Channel:
    """Return ``text`` as a channel name.

    Raises:
        NameRefused: it is not ``[a-z][a-z0-9-]{0,29}``.
    """
    if CHANNEL.fullmatch(text) is None:
        raise NameRefused(
            f"channel {text!r} is refused: expected a letter, then up to 29 of a-z 0-9 -",
            hint="Use a name such as stable, beta or canary-eu.",
        )
    return Channel(text)


def _version_fault(text: str) -> str | None:
    if len(text) > VERSION_CHARS:
        return f"it has {len(text)} characters, at most {VERSION_CHARS} are allowed"
    if text != text.lower():
        return "upper case"
    if "+" in text:
        return "build metadata"
    if re.search(r"-v[0-9]", text):
        return "'-v' followed by a digit"
    try:
        SemVer(text)
    except ValueError:
        return "not SemVer"
    return None if _VERSION.fullmatch(text) else "not SemVer"


def path_fault(path: str, *, limit: int = PATH_BYTES) -> str | None:
    """Say why ``path`` cannot be a file path in a release, or None when it can."""
    try:
        raw = path.encode("utf-8")
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    if not raw:
        return "it is empty"
    if len(raw) > limit:
        return f"it has {len(raw)} bytes, at most {limit} are allowed"
    if unicodedata.normalize("NFC", path) != path:
        return "it is not in Unicode normal form C"
    if path[0] in "/~-":
        return f"it starts with {path[0]!r}"
    return (
        _character_fault(path)
        or ("it spells out a percent-encoded dot or slash" if PERCENT_ENCODED.search(path) else None)
        or next((fault for part in path.split("/") if (fault := _component_fault(part))), None)
    )


def _character_fault(path: str) -> str | None:
    for character in path:
        if character in BIDI_CONTROLS or unicodedata.category(character) == "Cc":
            return f"it holds the control character U+{ord(character):04X}"
        if character in SLASH_TWINS:
            return f"it holds the look-alike slash U+{ord(character):04X}"
        if character in "\\:":
            return f"it holds {character!r}"
        if character in WINDOWS_FORBIDDEN:
            return f"it holds {character!r}, which Windows forbids in a name"
    return None


def _component_fault(part: str) -> str | None:
    if not part:
        return "it has an empty component"
    if part in {".", ".."}:
        return f"it has the component {part!r}"
    if len(part.encode()) > COMPONENT_BYTES:
        return f"a component has more than {COMPONENT_BYTES} bytes"
    if part[-1] in ". ":
        return f"the component {part!r} ends with a dot or a space"
    if WINDOWS_DEVICE.fullmatch(part):
        return f"Windows reserves {part!r} for a device"
    return None


def clash(paths: Iterable[str]) -> tuple[str, str, str] | None:
    """Find two paths that cannot stand side by side on every system.

    Returns:
        (one path, the other, why), or None.
    """
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        folded = fold(path)
        if folded in seen:
            return seen[folded], path, "they are equal where case and Unicode form do not count"
        seen[folded] = path
        at = folded.find("/")
        while at != -1:
            folders.setdefault(folded[:at], path)
            at = folded.find("/", at + 1)
    for folded, path in folders.items():
        if folded in seen:
            return seen[folded], path, "one is a folder of the other"
    return None


def fold(path: str) -> str:
    """Fold ``path`` as the most forgiving file system would compare it: NFKC and case."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
