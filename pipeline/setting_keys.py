"""Each setting: how it is checked, its default, what it means, its JSON Schema.

Takes values as people write them in a file, a variable or a flag; gives checked ones, or an error that names
where the value stands. Nothing here reads anything.

next: ``settings``
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import SettingsError
from pipeline.manifest import CHUNK_BYTES, PART_BYTES
from pipeline.meant import ask
from pipeline.providers import PROVIDERS, Option, OptionKind
from pipeline.release import NameRefused, check_channel
from pipeline.setting_schemas import (
    CDN_SCHEMA,
    KEY_SCHEMA,
    SIZE,
    SIZE_SCHEMA,
    SOURCE_SCHEMA,
    STORE_SCHEMA,
    WEB_SCHEMA,
    mapping_schema,
)

# "release" signs snapshot, timestamp and models unless they have a key of their own.
KEY_SLOTS = ("root", "targets", "release", "snapshot", "timestamp")
Value = Any
# (value, where it stands, folder that relative paths start from) → the checked value
Check = Callable[[Value, str, Path], Any]

_SIZE = re.compile(SIZE)
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


def parse_size(value: Value, where: str) -> int:
    """Read bytes: a whole number, or text with a unit such as 64MiB.

    Raises:
        SettingsError: it is neither.
    """
    match = _SIZE.fullmatch(str(value).strip()) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise _wrong(where, value, "a size such as 64MiB or 67108864")
    return int(match[1]) * _UNITS[match[2] or ""]


def _wrong(where: str, value: Value, expected: str) -> SettingsError:
    return SettingsError(
        f"{where}: {value!r} is not {expected}", hint="docs/reference/settings.md shows each setting with an example."
    )


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


def _file_or_none(value: Value, where: str, folder: Path) -> Path | None:
    return _path(value, where, folder) if value != "" else None


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
    if not CHUNK_BYTES <= size <= PART_BYTES:
        raise _wrong(where, value, "auto, or a size from 4MiB to 256MiB")
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
                    f"{where}: {key!r} is unknown here; {ask(key, checks)}", hint="docs/reference/settings.md lists them."
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
    one = _fields({"url": _place, "channel": _channel, "auth": _fields({}, others=_text)})
    found = tuple(one({"url": item} if isinstance(item, str) else item, where, folder) for item in items)
    if not all("url" in item for item in found):
        raise _wrong(where, value, "a URL, a list of URLs, or mappings that have a url")
    return found


def _uris(value: Value, where: str, folder: Path) -> tuple[str, ...]:
    return tuple(_text(item, where, folder) for item in (value if isinstance(value, list) else [value]))


def _keys(value: Value, where: str, folder: Path) -> Mapping[str, tuple[str, ...]]:
    found = _fields(dict.fromkeys(KEY_SLOTS, _uris) | {"roles": _fields({}, others=_uris)})(value, where, folder)
    return {**found.pop("roles", {}), **found}


def _switch(value: Value, where: str, folder: Path) -> bool:
    del folder
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise _wrong(where, value, "true or false")
    return found


def _words(value: Value, where: str, folder: Path) -> tuple[str, ...]:
    items = value if isinstance(value, list) else str(value).replace(",", " ").split()
    return tuple(_text(item, where, folder) for item in items)


def _patterns(value: Value, where: str, folder: Path) -> tuple[str, ...]:
    """Texts that may hold spaces and commas: a list, or one."""
    return tuple(_text(item, where, folder) for item in (value if isinstance(value, list) else [value]))


def _regexps(value: Value, where: str, folder: Path) -> tuple[str, ...]:
    found = _patterns(value, where, folder)
    for one in found:
        try:
            re.compile(one)
        except re.error as error:
            raise _wrong(where, one, f"a regular expression ({error})") from None
    return found


def _bases(value: Value, where: str, folder: Path) -> tuple[str, ...]:
    return tuple(_web_url(item, where, folder) + "/" for item in _words(value, where, folder))


def _web_model(value: Value, where: str, folder: Path) -> Mapping[str, str]:
    found: dict[str, str] = _fields({"release": _text, "tree": _text})(
        {"release": value} if isinstance(value, str) else value, where, folder
    )
    if "release" not in found:
        raise _wrong(where, value, "a release, or a mapping that has a release")
    return found


def _web(value: Value, where: str, folder: Path) -> Mapping[str, Any]:
    navigate = _fields({"fallback": _text, "allow": _regexps, "deny": _regexps, "clean_urls": _switch, "ignore": _words})
    checks: Mapping[str, Check] = {
        "channel": _channel,
        "keep": _patterns,
        "optional": _patterns,
        "mirrors": _bases,
        "isolate": _switch,
        "packs": _switch,
        "navigate": navigate,
        "models": _fields({}, others=_web_model),
    }
    return {"channel": "stable", **_fields(checks)(value, where, folder)}


def _numbers(value: Value, where: str, folder: Path) -> tuple[int, ...]:
    items = value if isinstance(value, list) else str(value).replace(",", " ").split()
    return tuple(_count(0, 10**9 - 1)(item, where, folder) for item in items)


def _web_url(value: Value, where: str, folder: Path) -> str:
    text = _url(value, where, folder)
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise _wrong(where, text, "an http or https URL without query")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


_OPTION_CHECKS: Mapping[OptionKind, Check] = {
    "text": _text,
    "count": _count(1, 10**9 - 1),
    "switch": _switch,
    "list": _words,
    "numbers": _numbers,
    "url": _web_url,
}
# What every CDN's mapping may hold; the others are its provider's (pipeline.providers).
CDN_KEYS: Mapping[str, Check] = {
    "provider": _text,
    "base_url": _web_url,
    "endpoint": _web_url,
    "prefetch_per_day": _count(1, 10**9 - 1),
    "urls_per_call": _count(1, 10**6),
    "calls_per_second": _count(1, 10**4),
    "credentials": _fields({}, others=_text),
    "auth": _fields({}, others=_text),
}


def _option(option: Option) -> Check:
    def check(value: Value, where: str, folder: Path) -> Any:
        found = _OPTION_CHECKS[option.kind](value, where, folder)
        if option.one_of and found not in option.one_of:
            raise SettingsError(
                f"{where}: {found!r} is none of {', '.join(option.one_of)}; {ask(str(found), option.one_of)}",
                hint="docs/reference/cdns.md lists each provider's keys.",
            )
        return found

    return check


def _one_cdn(value: Value, where: str, folder: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(where, value, "a mapping such as {provider: aliyun, base_url: https://cdn.example.org}")
    name = value.get("provider")
    if name is None:
        # A quota alone decides the part size, before there is a CDN.
        alone = _fields({"prefetch_per_day": CDN_KEYS["prefetch_per_day"], "provider": _text})
        quota: Mapping[str, Any] = alone(value, where, folder)
        return quota
    if name not in PROVIDERS:
        raise SettingsError(
            f"{where}: the provider {name!r} is unknown; {ask(str(name), tuple(PROVIDERS))}",
            hint="docs/reference/cdns.md lists the providers.",
        )
    provider = PROVIDERS[name]
    found = _fields({**CDN_KEYS, **{key: _option(option) for key, option in provider.options.items()}})(value, where, folder)
    needed = [key for key, option in provider.options.items() if option.needed]
    needed += ["base_url"] + (["endpoint"] if not provider.endpoint and not provider.own_endpoint else [])
    missing = [key for key in needed if not found.get(key)]
    if missing:
        raise SettingsError(
            f"{where}: {name} needs {', '.join(sorted(missing))}", hint="docs/reference/cdns.md lists each provider's keys."
        )
    known = {credential.name for credential in provider.credentials}
    for credential in found.get("credentials", {}):
        if credential not in known:
            raise SettingsError(
                f"{where}: credentials: {credential!r} is unknown here; {ask(credential, tuple(sorted(known)))}",
                hint="It names the variable of a credential, as in {access_key_id: NAME_OF_A_VARIABLE}.",
            )
    defaults = {key: option.default for key, option in provider.options.items() if option.default is not None}
    return {"endpoint": provider.endpoint, **defaults, **found}


def _cdn(value: Value, where: str, folder: Path) -> tuple[Mapping[str, Any], ...]:
    found = tuple(_one_cdn(item, where, folder) for item in (value if isinstance(value, list) else [value] if value else []))
    bases = [one["base_url"] for one in found if "base_url" in one]
    for base in bases:
        if bases.count(base) > 1:
            raise SettingsError(f"{where}: two CDNs have the base_url {base}", hint="Each edge has an address of its own.")
    return found


KEYS: Mapping[str, Key] = {
    "store": Key(
        _place,
        "./.modelport/store",
        "Where the tree lies: a path, `file:///…`, `s3://bucket/prefix` or `oss://bucket/prefix`; or a list, of which the first decides.",
        STORE_SCHEMA,
    ),
    "endpoint": Key(_url, "", "URL of an S3-compatible or OSS endpoint; empty is the vendor's own.", {"type": "string"}),
    "region": Key(_text, "", "Region of the bucket; empty leaves it to the vendor's own chain.", {"type": "string"}),
    "ca_bundle": Key(
        _file_or_none,
        "",
        "File of certificate authorities (PEM) to trust for https; empty is `SSL_CERT_FILE`, else the system's.",
        {"type": "string"},
    ),
    "models_dir": Key(_path, "models", "Folder that holds one folder per release.", {"type": "string", "minLength": 1}),
    "source": Key(
        _source,
        [],
        "Where releases are fetched from: a base URL or a list; each may name a `channel` and `auth`, "
        "as in `{kind: bearer, token: NAME_OF_A_VARIABLE}` (also `none`, `basic`, `netrc`, `alibaba-a`, `cloudfront`). As a variable: URLs with spaces between.",
        {"oneOf": [*SOURCE_SCHEMA["oneOf"], {"type": "array", "items": SOURCE_SCHEMA}]},
    ),
    "cdn": Key(
        _cdn,
        [],
        "The CDN before the store, or a list: `provider`, `base_url` (the edge's address of the tree), `prefetch_per_day` (its daily "
        "prefetch quota in URLs; the smallest also decides the part size), `endpoint`, `urls_per_call`, `calls_per_second`, `auth` of a "
        "private edge, as a source has it, and the provider's own keys ([cdns.md](cdns.md)).",
        {"oneOf": [CDN_SCHEMA, {"type": "array", "items": CDN_SCHEMA}]},
    ),
    "keys": Key(
        _keys,
        {},
        "Signing keys as securesystemslib URIs, or lists of them: `root`, `targets`, `release`, where they differ `snapshot` and "
        "`timestamp`, and `roles: {model: uri}`. Empty: keys made on first use, below `$XDG_DATA_HOME/modelport/keys`.",
        mapping_schema(**dict.fromkeys(KEY_SLOTS, KEY_SCHEMA), roles={"type": "object", "additionalProperties": KEY_SCHEMA}),
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
        "Largest part, 4MiB to 256MiB (profile web: 16MiB). `auto` is the smallest of 64, 128, 256 MiB whose parts fit into 80 % of the prefetch quota.",
        SIZE_SCHEMA | {"pattern": f"^(?:auto|{SIZE})$"},
    ),
    "cache_limit": Key(_size, "20GiB", "Most bytes that the fetch cache keeps.", SIZE_SCHEMA),
    "web": Key(
        _web,
        {"channel": "stable"},
        "Web releases. The `channel` that the web view shows; for `web.build`: `keep` (names that are not hashed) and `optional` "
        "(files that hold no version up), as patterns; `mirrors`; `isolate`; `packs`; `navigate` (`fallback`, `allow`, `deny`, "
        "`clean_urls`, `ignore`); `models` (`{id: release}` or `{id: {release, tree}}`). The guide on web releases shows each.",
        WEB_SCHEMA,
    ),
}
