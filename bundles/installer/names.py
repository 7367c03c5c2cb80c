"""Names: which texts may become a file or a folder here, and which are refused on every system.

Takes texts from documents, gives them back checked, or ``IntegrityError``; the rules are docs/format.md §1. What
is let through can neither leave its folder nor mean something else on another system: no ``..``, no absolute
path, no drive, no look-alike of a slash, no Windows device, no character that makes a name read as another one.

next: ``ranges``
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from bundles.installer.faults import IntegrityError
from bundles.installer.strictjson import HINT

MODEL = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,29}")
# https://semver.org: no leading zeros in a number; here without build metadata and in lower case.
_NUMBER = r"(?:0|[1-9][0-9]*)"
_LABEL = r"(?:0|[1-9][0-9]*|[0-9]*[a-z-][0-9a-z-]*)"
VERSION = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_LABEL}(?:\.{_LABEL})*))?")
RESERVED = frozenset(
    ["root", "targets", "snapshot", "timestamp", "models", "channels", "current", "control", "metadata", "parts", "web"]
)
WINDOWS_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\..*)?", re.IGNORECASE | re.DOTALL)
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
SLASH_TWINS = frozenset("\u2044\u2215\u29f8\uff0f\uff3c\u2216\u29f5\ufe68")
PERCENT_ENCODED = re.compile(r"%2[ef]", re.IGNORECASE)
PATH_BYTES = 1024
WEB_PATH_BYTES = 700
COMPONENT_BYTES = 255


def check_model(name: str) -> str:
    """Give ``name`` back as the name of a model."""
    if MODEL.fullmatch(name) is None or ".." in name or name in RESERVED or WINDOWS_DEVICE.fullmatch(name):
        raise IntegrityError(f"{name[:80]!r} is no name of a model", HINT)
    return name


def check_channel(name: str) -> str:
    """Give ``name`` back as the name of a channel."""
    if CHANNEL.fullmatch(name) is None:
        raise IntegrityError(f"{name[:80]!r} is no name of a channel", HINT)
    return name


def is_version(text: str) -> bool:
    """Tell whether ``text`` is a version: SemVer, lower case, no build metadata, at most 64 characters."""
    return len(text) <= 64 and VERSION.fullmatch(text) is not None and re.search(r"-v[0-9]", text) is None


def split_release(text: str) -> tuple[str, str]:
    """Divide ``bert-v2.1.0`` into model and version, at the last ``-v`` whose remainder is a whole version."""
    at = len(text)
    while (at := text.rfind("-v", 0, at)) > 0:
        if is_version(text[at + 2 :]):
            return check_model(text[:at]), text[at + 2 :]
    raise IntegrityError(f"{text[:80]!r} is no name of a release", HINT)


def check_path(path: str, what: str, limit: int = PATH_BYTES) -> str:
    """Give ``path`` back as the path of a file within a release; ``limit`` is in bytes."""
    fault = _path_fault(path, limit)
    if fault:
        raise IntegrityError(f"{what}: the path {path[:200]!r} is refused: {fault}", HINT)
    return path


def check_together(paths: Iterable[str], what: str) -> None:
    """Refuse paths that some system would take for one, and a path that is another one's folder."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
        if folded in seen:
            raise IntegrityError(f"{what}: {seen[folded]!r} and {path!r} are one name on some systems", HINT)
        seen[folded] = path
        at = folded.find("/")
        while at != -1:
            folders.setdefault(folded[:at], path)
            at = folded.find("/", at + 1)
    for folded in folders.keys() & seen.keys():
        raise IntegrityError(f"{what}: {seen[folded]!r} is a file and the folder of {folders[folded]!r}", HINT)


def _path_fault(path: str, limit: int) -> str:
    try:
        size = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if not 0 < size <= limit:
        return f"it has {size} bytes, expected 1 to {limit}"
    if unicodedata.normalize("NFC", path) != path:
        return "it is not in Unicode normal form C"
    if path[0] in "/~-":
        return f"it starts with {path[0]!r}"
    if PERCENT_ENCODED.search(path):
        return "it spells out a percent-encoded dot or slash"
    faults = [_character_fault(character) for character in path] + [_component_fault(part) for part in path.split("/")]
    return next(filter(None, faults), "")


def _character_fault(character: str) -> str:
    if character in BIDI_CONTROLS or unicodedata.category(character) == "Cc":
        return f"it holds the control character U+{ord(character):04X}"
    return f"it holds {character!r}" if character in SLASH_TWINS or character in '\\:<>"|?*' else ""


def _component_fault(part: str) -> str:
    if part in {"", ".", ".."}:
        return f"it has the component {part!r}"
    if len(part.encode("utf-8")) > COMPONENT_BYTES:
        return f"a component has more than {COMPONENT_BYTES} bytes"
    if part[-1] in ". ":
        return f"the component {part!r} ends with a dot or a space"
    return f"Windows reserves {part!r} for a device" if WINDOWS_DEVICE.fullmatch(part) else ""
