"""Settings: what a person decided once, from four places, and the only reader of the environment.

Takes flags, the environment and the nearest ``modelport.yaml``; gives ``Settings``, each value checked
and with the place it came from. Precedence: flags > ``MODELPORT_*`` (nested keys joined with ``__``) >
``modelport.yaml``, found upwards from the working folder > defaults. Credentials are never
settings: the vendors' own variables hold them. docs/reference/settings.md is generated from ``KEYS``.

next: ``connect``
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import SettingsError
from pipeline.manifest import PART_BYTES
from pipeline.release import NameRefused, check_channel
from pipeline.yamlfile import YamlDocument, read_yaml

FILE = "modelport.yaml"
PREFIX = "MODELPORT_"
KEY_ROLES = ("root", "targets", "release")
Value = Any
# (value, where it stands, folder that relative paths start from) → the checked value
Check = Callable[[Value, str, Path], Any]

_SIZE = re.compile(r"([0-9]+)\s*(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?")
_UNITS = {
    "": 1,
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: how it is checked, its default as a person would write it, what it means, its JSON Schema."""

    check: Check
    default: Value
    meaning: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Keys:
    """Signing keys as securesystemslib URIs; "" is the key made on first use. ``roles``: of single models."""

    root: str = ""
    targets: str = ""
    release: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Places:
    """Where modelport keeps what is its own (XDG Base Directory Specification 0.8)."""

    cache: Path
    state: Path
    data: Path


@dataclass(frozen=True, slots=True)
class Network:
    """Proxies and certificate authorities, by their usual variables; "" where none is set."""

    https_proxy: str = ""
    http_proxy: str = ""
    no_proxy: str = ""
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class OssCredentials:
    """Aliyun OSS credentials by their usual variables; never shown."""

    access_key_id: str = field(default="", repr=False)
    access_key_secret: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    endpoint: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, checked. ``origins`` says where each came from; ``folder`` is where relative paths start."""

    store: str
    endpoint: str
    region: str
    models_dir: Path
    source: tuple[Mapping[str, str], ...]
    cdn: Mapping[str, Any]
    keys: Keys
    connections: int
    part_size: int | None
    cache_limit: int
    web: Mapping[str, str]
    folder: Path
    places: Places
    network: Network
    oss: OssCredentials
    origins: Mapping[str, str]

    @property
    def prefetch_per_day(self) -> int | None:
        """The configured daily prefetch quota of the CDN, in URLs, or None."""
        quota: int | None = self.cdn.get("prefetch_per_day")
        return quota


def load_settings(flags: Mapping[str, str], environ: Mapping[str, str], folder: Path) -> Settings:
    """Read the settings that hold for a command run in ``folder``.

    Raises:
        SettingsError: an unknown key (naming the nearest known one and where it stands) or a value that cannot be.
    """
    file = find_file(folder)
    written = read_file(file) if file else YamlDocument({}, {})
    home = file.parent if file else folder
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(key: str, value: Value, where: str, start: Path) -> None:
        _known(key, where)
        values[key] = KEYS[key].check(value, where, start)
        origins[key] = where

    for key, entry in KEYS.items():
        take(key, entry.default, "default", home)
    for key, value in written.values.items():
        take(key, value, f"{file}:{written.lines[key]}", home)
    for key, (value, where) in from_environment(environ, written.values).items():
        take(key, value, where, folder)
    for key, text in flags.items():
        take(key, text, f"--{key.replace('_', '-')}", folder)
    return Settings(
        **values,
        folder=home,
        places=read_places(environ),
        network=read_network(environ),
        oss=read_oss(environ),
        origins=MappingProxyType(origins),
    )


def find_file(folder: Path) -> Path | None:
    """Find the nearest ``modelport.yaml`` from ``folder`` upwards."""
    return next((place / FILE for place in (folder, *folder.parents) if (place / FILE).is_file()), None)


def read_file(file: Path) -> YamlDocument:
    """Read a settings file.

    Raises:
        SettingsError: it cannot be read, is not YAML, or holds a key twice.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}", hint="Make it a readable UTF-8 file, or remove it.") from error
    return read_yaml(text, what=str(file), error=SettingsError)


def from_environment(environ: Mapping[str, str], written: Mapping[str, Any]) -> dict[str, tuple[Value, str]]:
    """Take the ``MODELPORT_*`` variables; a nested one (``MODELPORT_WEB__CHANNEL``) adds to the file's mapping.

    Raises:
        SettingsError: a key that is no setting, or one that is given whole and in pieces.
    """
    found: dict[str, tuple[Value, str]] = {}
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        key, *inner = name.removeprefix(PREFIX).lower().split("__")
        _known(key, name)
        if not inner:
            found[key] = environ[name], name
            continue
        before = found.get(key, (written.get(key, {}), ""))[0]
        if not isinstance(before, Mapping):
            raise SettingsError(
                f"{name} adds to {key}, which is given as one value elsewhere", hint=f"Give {key} in one way only."
            )
        found[key] = _set_inside(before, inner, environ[name]), name
    return found


def read_places(environ: Mapping[str, str]) -> Places:
    """Resolve the cache, state and data folders. A relative XDG path is ignored, as the specification says."""

    def place(variable: str, below_home: str) -> Path:
        given = Path(environ.get(variable, ""))
        return (given if given.is_absolute() else Path(environ.get("HOME") or Path.home()) / below_home) / "modelport"

    return Places(
        cache=place("XDG_CACHE_HOME", ".cache"),
        state=place("XDG_STATE_HOME", ".local/state"),
        data=place("XDG_DATA_HOME", ".local/share"),
    )


def read_network(environ: Mapping[str, str]) -> Network:
    """Read the proxy variables, either spelling, and ``SSL_CERT_FILE``."""

    def first(name: str) -> str:
        return environ.get(name.lower()) or environ.get(name) or ""

    return Network(first("HTTPS_PROXY"), first("HTTP_PROXY"), first("NO_PROXY"), environ.get("SSL_CERT_FILE", ""))


def read_oss(environ: Mapping[str, str]) -> OssCredentials:
    """Read Aliyun's variables (https://www.alibabacloud.com/help/en/oss/developer-reference/oss-sdk-configure-access-credentials)."""
    names = ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN", "OSS_ENDPOINT", "OSS_REGION")
    return OssCredentials(*(environ.get(name, "") for name in names))


def parse_size(value: Value, where: str) -> int:
    """Read bytes: a whole number, or text with a unit such as 64MiB.

    Raises:
        SettingsError: it is neither.
    """
    match = _SIZE.fullmatch(str(value).strip()) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise _wrong(where, value, "a size such as 64MiB or 67108864")
    return int(match[1]) * _UNITS[match[2] or ""]


def nearest(word: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Say which of ``known`` was probably meant, as the end of a sentence."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"


def _known(key: str, where: str) -> None:
    if key not in KEYS:
        raise SettingsError(
            f"{where}: {key!r} is not a setting; {nearest(key, KEYS)}", hint="docs/reference/settings.md lists them all."
        )


def _wrong(where: str, value: Value, expected: str) -> SettingsError:
    return SettingsError(
        f"{where}: {value!r} is not {expected}", hint="docs/reference/settings.md shows each setting with an example."
    )


def _set_inside(mapping: Mapping[str, Any], path: list[str], value: str) -> dict[str, Any]:
    head, *rest = path
    inner = mapping.get(head, {})
    return {**mapping, head: _set_inside(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}


def _text(value: Value, where: str, folder: Path) -> str:
    del folder
    if not isinstance(value, str):
        raise _wrong(where, value, "text")
    return value


def _url(value: Value, where: str, folder: Path) -> str:
    text = _text(value, where, folder)
    try:
        user = "@" in urlsplit(text).netloc
    except ValueError:
        raise _wrong(where, text, "a URL") from None
    if user:
        raise SettingsError(
            f"{where}: a URL must not hold a user name or password",
            hint="Credentials are never settings: give them by the vendor's own variables, such as AWS_ACCESS_KEY_ID.",
        )
    return text


def _place(value: Value, where: str, folder: Path) -> str:
    text = _url(value, where, folder)
    if not text:
        raise _wrong(where, text, "a path or URL")
    return text if re.match(r"[a-z][a-z0-9+.-]*:", text) else str(folder / Path(text).expanduser())


def _path(value: Value, where: str, folder: Path) -> Path:
    text = _text(value, where, folder)
    if not text:
        raise _wrong(where, text, "a path")
    return folder / Path(text).expanduser()


def _count(low: int, high: int) -> Check:
    def check(value: Value, where: str, folder: Path) -> int:
        del folder
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", str(value)) or not low <= int(value) <= high:
            raise _wrong(where, value, f"a whole number from {low} to {high}")
        return int(value)

    return check


def _part_size(value: Value, where: str, folder: Path) -> int | None:
    del folder
    if value == "auto":
        return None
    size = parse_size(value, where)
    if not 1 << 20 <= size <= PART_BYTES:
        raise _wrong(where, value, "auto, or a size from 1MiB to 256MiB")
    return size


def _size(value: Value, where: str, folder: Path) -> int:
    del folder
    return parse_size(value, where)


def _fields(checks: Mapping[str, Check], *, others: Check | None = None) -> Check:
    def check(value: Value, where: str, folder: Path) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong(where, value, "a mapping")
        found = {}
        for key, item in value.items():
            one = checks.get(key, others)
            if one is None:
                raise SettingsError(
                    f"{where}: {key!r} is unknown here; {nearest(key, checks)}", hint="docs/reference/settings.md lists them."
                )
            found[key] = one(item, f"{where}: {key}", folder)
        return found

    return check


def _channel(value: Value, where: str, folder: Path) -> str:
    try:
        return check_channel(_text(value, where, folder))
    except NameRefused as error:
        raise SettingsError(f"{where}: {error}", hint=error.hint) from error


def _source(value: Value, where: str, folder: Path) -> tuple[Mapping[str, str], ...]:
    items = value if isinstance(value, list) else value.split() if isinstance(value, str) else [value]
    one = _fields({"url": _place, "channel": _channel})
    found = tuple(one({"url": item} if isinstance(item, str) else item, where, folder) for item in items)
    if not all("url" in item for item in found):
        raise _wrong(where, value, "a URL, a list of URLs, or mappings that have a url")
    return found


def _keys(value: Value, where: str, folder: Path) -> Keys:
    found = _fields({role: _text for role in KEY_ROLES} | {"roles": _fields({}, others=_text)})(value, where, folder)
    return Keys(**found)


_URL_SCHEMA = {"type": "string", "minLength": 1}
_SIZE_SCHEMA = {"type": ["string", "integer"], "pattern": f"^(?:{_SIZE.pattern})$", "minimum": 0}
_CHANNEL_SCHEMA = {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,29}$"}


def _mapping_schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


_SOURCE_SCHEMA = {"oneOf": [_URL_SCHEMA, _mapping_schema(url=_URL_SCHEMA, channel=_CHANNEL_SCHEMA) | {"required": ["url"]}]}
_KEY_SCHEMA = {"type": "string"}

KEYS: Mapping[str, Key] = {
    "store": Key(
        _place,
        "./.modelport/store",
        "Where the tree lies: a path, `file:///…`, `s3://bucket/prefix` or `oss://bucket/prefix`.",
        _URL_SCHEMA,
    ),
    "endpoint": Key(_url, "", "URL of an S3-compatible or OSS endpoint; empty is the vendor's own.", {"type": "string"}),
    "region": Key(_text, "", "Region of the bucket; empty leaves it to the vendor's own chain.", {"type": "string"}),
    "models_dir": Key(_path, "models", "Folder that holds one folder per release.", {"type": "string", "minLength": 1}),
    "source": Key(
        _source,
        [],
        "Where releases are fetched from: a base URL or a list; each may name a `channel`. As a variable: URLs with spaces between.",
        {"oneOf": [*_SOURCE_SCHEMA["oneOf"], {"type": "array", "items": _SOURCE_SCHEMA}]},
    ),
    "cdn": Key(
        _fields({"provider": _text, "url": _url, "prefetch_per_day": _count(1, 10**9 - 1)}),
        {},
        "The CDN before the store: `provider`, base `url`, and `prefetch_per_day`, its daily prefetch quota in URLs, "
        "which also decides the part size.",
        _mapping_schema(
            provider=_KEY_SCHEMA,
            url=_URL_SCHEMA,
            prefetch_per_day={"type": ["integer", "string"], "pattern": "^[0-9]{1,9}$", "minimum": 1},
        ),
    ),
    "keys": Key(
        _keys,
        {},
        "Signing keys as URIs: `root`, `targets`, `release`, and `roles: {model: uri}`. Empty: keys made on first use, "
        "below `$XDG_DATA_HOME/modelport/keys`.",
        _mapping_schema(**dict.fromkeys(KEY_ROLES, _KEY_SCHEMA), roles={"type": "object", "additionalProperties": _KEY_SCHEMA}),
    ),
    "connections": Key(
        _count(1, 64),
        8,
        "Transfers at the same time, 1 to 64.",
        {"type": ["integer", "string"], "pattern": "^[0-9]+$", "minimum": 1, "maximum": 64},
    ),
    "part_size": Key(
        _part_size,
        "auto",
        "Largest part, 1MiB to 256MiB. `auto` is the smallest of 64, 128, 256 MiB whose parts fit into 80 % of the prefetch quota.",
        _SIZE_SCHEMA | {"pattern": f"^(?:auto|{_SIZE.pattern})$"},
    ),
    "cache_limit": Key(_size, "20GiB", "Most bytes that the fetch cache keeps.", _SIZE_SCHEMA),
    "web": Key(
        _fields({"channel": _channel}),
        {"channel": "stable"},
        "The web view: the `channel` that it shows.",
        _mapping_schema(channel=_CHANNEL_SCHEMA),
    ),
}
