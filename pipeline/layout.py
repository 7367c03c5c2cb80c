"""The one place that knows a key, a URL path, a content type or a cache rule of the tree.

Takes names, gives relative POSIX keys (docs/format.md §2)::

    metadata/<N>.root.json  <N>.targets.json  <N>.snapshot.json  <N>.<model>.json  timestamp.json
    targets/<model>/<version>/<sha256>.manifest.json
    targets/<model>/channels/<sha256>.<channel>.json
    parts/<2 hex>/<blake3>
    web/<name>/<path>
    control/{leases,ledger,audit,probes}/…     for publishers only

next: ``wire``
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pipeline.digest import Blake3, Sha256
from pipeline.release import Channel, ModelName, NameRefused, Release, path_fault

METADATA = "metadata/"
TARGETS = "targets/"
PARTS = "parts/"
WEB = "web/"
CONTROL = "control/"
LEASES = "control/leases/"
LEDGER = "control/ledger/"
AUDIT = "control/audit/"
PROBES = "control/probes/"
TIMESTAMP = "metadata/timestamp.json"

FOREVER = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
PRIVATE = "no-store"
JSON = "application/json"
BYTES = "application/octet-stream"

# Amazon S3 and Aliyun OSS: 1,024 and 1,023 bytes with the store's prefix; docs/format.md §1 keeps below both.
KEY_BYTES = 1000

ObjectKind = Literal["root", "role", "timestamp", "manifest", "channel", "part"]

_MANIFEST_FILE = re.compile(r"targets/([a-z0-9._-]+)/([a-z0-9.-]+)/([0-9a-f]{64})\.manifest\.json")
_CHANNEL_FILE = re.compile(r"targets/([a-z0-9._-]+)/channels/([0-9a-f]{64})\.([a-z][a-z0-9-]*)\.json")
_ROLE_FILE = re.compile(r"metadata/([1-9][0-9]{0,15})\.([a-z0-9._-]+)\.json")
_LEDGER_FILE = re.compile(r"control/ledger/([A-Za-z0-9][A-Za-z0-9._-]{0,199})/([0-9]{8})\.json")
# "app.3f9c0a1b2c4d.js": the part of the web view that never changes under its name.
_HASHED_WEB_FILE = re.compile(r".*\.[0-9a-f]{12,64}\.[^/.]+(?:\.map)?")


@dataclass(frozen=True, slots=True)
class ObjectHeaders:
    """What an object is served with."""

    content_type: str
    cache_control: str


def check_tree_key(key: str) -> str:
    """Return ``key`` if a reader may ask for it.

    Raises:
        NameRefused: nothing of a tree can lie there.
    """
    fault = path_fault(key, limit=KEY_BYTES)
    if fault:
        raise NameRefused(f"key {key!r} is refused: {fault}", hint="Keys come from the tree's layout.")
    return key


def part_key(name: Blake3) -> str:
    """Key of the part with this name."""
    return f"{PARTS}{name[:2]}/{name}"


def part_name(key: str) -> Blake3 | None:
    """Name of the part under ``key``, or None. Law: ``part_name(part_key(n)) == n``."""
    match = re.fullmatch(r"parts/([0-9a-f]{2})/(\1[0-9a-f]{62})", key)
    return Blake3(match[2]) if match else None


def role_key(role: str, version: int) -> str:
    """Key of version ``version`` of a role's metadata; timestamp is the one without a number."""
    return TIMESTAMP if role == "timestamp" else f"{METADATA}{version}.{role}.json"


def role_version(key: str) -> tuple[str, int] | None:
    """(role, version) of a numbered metadata key, or None. Law: inverse of ``role_key``."""
    match = _ROLE_FILE.fullmatch(key)
    return (match[2], int(match[1])) if match else None


def object_kind(key: str) -> ObjectKind | None:
    """What the object under ``key`` is, None for what no reader of the tree asks for."""
    if key == TIMESTAMP:
        return "timestamp"
    if part_name(key):
        return "part"
    role = role_version(key)
    if role:
        return "root" if role[0] == "root" else "role"
    if _CHANNEL_FILE.fullmatch(key):
        return "channel"
    return "manifest" if _MANIFEST_FILE.fullmatch(key) else None


def manifest_target(release: Release) -> str:
    """TUF target path of a release's manifest."""
    return f"{release.model}/{release.version}/manifest.json"


def channel_target(model: ModelName, channel: Channel) -> str:
    """TUF target path of a channel."""
    return f"{model}/channels/{channel}.json"


def target_key(target: str, sha256: Sha256) -> str:
    """Key of a target under TUF's consistent snapshots: the digest before the file name."""
    folder, _, name = target.rpartition("/")
    return f"{TARGETS}{folder}/{sha256}.{name}"


def model_paths(model: ModelName) -> str:
    """Path pattern that the targets role delegates to a model's role."""
    return f"{model}/*/*"


def lease_key(release: Release | str, lease_id: str) -> str:
    """Key of a publisher's lease."""
    return f"{LEASES}{release}.{lease_id}.json"


def ledger_key(job: str, number: int) -> str:
    """Key of one record of a job of the ledger. Keys sort by number."""
    return f"{LEDGER}{job}/{number:08d}.json"


def ledger_record(key: str) -> tuple[str, int] | None:
    """(job, number) of a ledger key, or None. Law: inverse of ``ledger_key``."""
    match = _LEDGER_FILE.fullmatch(key)
    return (match[1], int(match[2])) if match else None


def audit_key(record_id: str) -> str:
    """Key of the record of one collection."""
    return f"{AUDIT}{record_id}.json"


def web_key(model: ModelName, path: str) -> str:
    """Key of a file of the web view."""
    return f"{WEB}{model}/{path}"


def is_hashed_web_file(key: str) -> bool:
    """Tell whether ``key`` belongs to that part of the web view which never changes under its name."""
    return key.startswith(WEB) and _HASHED_WEB_FILE.fullmatch(key) is not None


def is_target(key: str) -> bool:
    """Tell whether ``key`` is that of a manifest or of a channel's document."""
    return target_digest(key) is not None


def target_digest(key: str) -> Sha256 | None:
    """Digest in the key of a manifest or of a channel's document, or None for any other key."""
    if match := _MANIFEST_FILE.fullmatch(key):
        return Sha256(match[3])
    match = _CHANNEL_FILE.fullmatch(key)
    return Sha256(match[2]) if match else None


def is_revalidated(key: str) -> bool:
    """Tell whether whoever keeps the object under ``key`` asks each time whether it is still the same."""
    return headers_for(key).cache_control == REVALIDATE


def headers_for(key: str) -> ObjectHeaders:
    """Content type and cache rule of the object under ``key``."""
    if key.startswith(CONTROL):
        return ObjectHeaders(JSON, PRIVATE)
    if key == TIMESTAMP:
        return ObjectHeaders(JSON, REVALIDATE)
    if key.startswith(WEB):
        kind = content_type(key)
        return ObjectHeaders(kind, FOREVER if is_hashed_web_file(key) else REVALIDATE)
    return ObjectHeaders(BYTES if key.startswith(PARTS) else JSON, FOREVER)


# The registered types of what a web build holds (iana.org/assignments/media-types). Our own table, for
# mimetypes answers from the tables of the machine it runs on.
_CONTENT_TYPES = {
    ".avif": "image/avif",
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".gif": "image/gif",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": JSON,
    ".map": JSON,
    ".md": "text/markdown; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg",
    ".otf": "font/otf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}


def known_types() -> dict[str, str]:
    """Content type by ending, without its dot: for servers that are told a table."""
    return {ending[1:]: kind for ending, kind in _CONTENT_TYPES.items()}


def content_type(path: str) -> str:
    """Content type of a web file by its ending: the same on every machine."""
    return _CONTENT_TYPES.get("." + path.rpartition(".")[2].lower(), BYTES)
