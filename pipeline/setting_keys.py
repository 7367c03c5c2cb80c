"""Each setting: how it is checked, its default, what it means, its JSON Schema.

Takes values as people write them in a file, a variable or a flag; gives checked ones, or an error that names
where the value stands. Nothing here reads anything.

next: ``settings``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError
from pipeline.manifest import CHUNK_BYTES, PART_BYTES
from pipeline.meant import ask
from pipeline.providers import PROVIDERS, Option, OptionKind, Provider
from pipeline.setting_checks import (
    Check,
    Value,
    check_channel_name,
    check_file_or_none,
    check_numbers,
    check_path,
    check_patterns,
    check_place,
    check_regexps,
    check_size,
    check_switch,
    check_text,
    check_url,
    check_web_url,
    check_words,
    count_between,
    fields_of,
    parse_size,
    wrong,
)
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
from pipeline.store_kinds import SPELLED

# "release" signs snapshot, timestamp and models unless they have a key of their own.
KEY_SLOTS = ("root", "targets", "release", "snapshot", "timestamp")


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: how it is checked, its default as a person would write it, what it means, its JSON Schema."""

    check: Check
    default: Value
    meaning: str
    schema: Mapping[str, Any]


def _part_size(value: Value, where: str, folder: Path) -> int | None:
    del folder
    if value == "auto":
        return None
    size = parse_size(value, where)
    if not CHUNK_BYTES <= size <= PART_BYTES:
        raise wrong(where, value, "auto, or a size from 4MiB to 256MiB")
    return size


def _source(value: Value, where: str, folder: Path) -> tuple[Mapping[str, str], ...]:
    items = value if isinstance(value, list) else value.split() if isinstance(value, str) else [value]
    one = fields_of({"url": check_place, "channel": check_channel_name, "auth": fields_of({}, others=check_text)})
    found = tuple(one({"url": item} if isinstance(item, str) else item, where, folder) for item in items)
    if not all("url" in item for item in found):
        raise wrong(where, value, "a URL, a list of URLs, or mappings that have a url")
    return found


def _uris(value: Value, where: str, folder: Path) -> tuple[str, ...]:
    return tuple(check_text(item, where, folder) for item in (value if isinstance(value, list) else [value]))


def _keys(value: Value, where: str, folder: Path) -> Mapping[str, tuple[str, ...]]:
    found = fields_of(dict.fromkeys(KEY_SLOTS, _uris) | {"roles": fields_of({}, others=_uris)})(value, where, folder)
    return {**found.pop("roles", {}), **found}


def _bases(value: Value, where: str, folder: Path) -> tuple[str, ...]:
    return tuple(check_web_url(item, where, folder) + "/" for item in check_words(value, where, folder))


def _web_model(value: Value, where: str, folder: Path) -> Mapping[str, str]:
    found: dict[str, str] = fields_of({"release": check_text, "tree": check_text})(
        {"release": value} if isinstance(value, str) else value, where, folder
    )
    if "release" not in found:
        raise wrong(where, value, "a release, or a mapping that has a release")
    return found


def _web(value: Value, where: str, folder: Path) -> Mapping[str, Any]:
    navigate = fields_of(
        {"fallback": check_text, "allow": check_regexps, "deny": check_regexps, "clean_urls": check_switch, "ignore": check_words}
    )
    checks: Mapping[str, Check] = {
        "channel": check_channel_name,
        "keep": check_patterns,
        "optional": check_patterns,
        "mirrors": _bases,
        "isolate": check_switch,
        "packs": check_switch,
        "navigate": navigate,
        "models": fields_of({}, others=_web_model),
    }
    return {"channel": "stable", **fields_of(checks)(value, where, folder)}


_OPTION_CHECKS: Mapping[OptionKind, Check] = {
    "text": check_text,
    "count": count_between(1, 10**9 - 1),
    "switch": check_switch,
    "list": check_words,
    "numbers": check_numbers,
    "url": check_web_url,
}
# What every CDN's mapping may hold; the others are its provider's (pipeline.providers).
CDN_KEYS: Mapping[str, Check] = {
    "provider": check_text,
    "base_url": check_web_url,
    "endpoint": check_web_url,
    "prefetch_per_day": count_between(1, 10**9 - 1),
    "urls_per_call": count_between(1, 10**6),
    "calls_per_second": count_between(1, 10**4),
    "credentials": fields_of({}, others=check_text),
    "auth": fields_of({}, others=check_text),
}


def _option(option: Option) -> Check:
    def check(value: Value, where: str, folder: Path) -> Any:
        found = _OPTION_CHECKS[option.kind](value, where, folder)
        if option.one_of and found not in option.one_of:
            raise SettingsError(
                f"{where}: {found!r} is none of {', '.join(option.one_of)}; {ask(str(found), option.one_of)}",
                hint=f"It is the {option.meaning}.",
            )
        return found

    return check


def _meanings(provider: Provider, keys: Iterable[str]) -> Iterator[str]:
    """What each of these keys of a CDN is."""
    of_all = {"base_url": "where users reach the tree through it", "endpoint": "where its control plane is called"}
    for key in sorted(keys):
        yield f"{key}: {of_all.get(key) or provider.options[key].meaning}"


def _one_cdn(value: Value, where: str, folder: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong(where, value, "a mapping such as {provider: aliyun, base_url: https://cdn.example.org}")
    name = value.get("provider")
    if name is None:
        # A quota alone decides the part size, before there is a CDN.
        alone = fields_of({"prefetch_per_day": CDN_KEYS["prefetch_per_day"], "provider": check_text})
        quota: Mapping[str, Any] = alone(value, where, folder)
        return quota
    if not isinstance(name, str) or name not in PROVIDERS:
        raise SettingsError(
            f"{where}: the provider {name!r} is unknown; {ask(str(name), tuple(PROVIDERS))}",
            hint="Correct it; an in-house CDN is driven by the provider webhook.",
        )
    provider = PROVIDERS[name]
    found = fields_of({**CDN_KEYS, **{key: _option(option) for key, option in provider.options.items()}})(value, where, folder)
    needed = [key for key, option in provider.options.items() if option.needed]
    needed += ["base_url"] + (["endpoint"] if not provider.endpoint and not provider.own_endpoint else [])
    missing = [key for key in needed if not found.get(key)]
    if missing:
        raise SettingsError(
            f"{where}: {name} needs {', '.join(sorted(missing))}", hint=f"{'; '.join(_meanings(provider, missing))}."
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
        check_place,
        "./.modelport/store",
        f"Where the tree lies: {SPELLED}; or a list, of which the first decides.",
        STORE_SCHEMA,
    ),
    "endpoint": Key(check_url, "", "URL of an S3-compatible or OSS endpoint; empty is the vendor's own.", {"type": "string"}),
    "region": Key(check_text, "", "Region of the bucket; empty leaves it to the vendor's own chain.", {"type": "string"}),
    "ca_bundle": Key(
        check_file_or_none,
        "",
        "File of certificate authorities (PEM) to trust for https; empty is `SSL_CERT_FILE`, else the system's.",
        {"type": "string"},
    ),
    "models_dir": Key(check_path, "models", "Folder that holds one folder per release.", {"type": "string", "minLength": 1}),
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
        count_between(1, 64),
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
    "cache_limit": Key(check_size, "20GiB", "Most bytes that the fetch cache keeps.", SIZE_SCHEMA),
    "web": Key(
        _web,
        {"channel": "stable"},
        "Web releases. The `channel` that the web view shows; for `web.build`: `keep` (names that are not hashed) and `optional` "
        "(files that hold no version up), as patterns; `mirrors`; `isolate`; `packs`; `navigate` (`fallback`, `allow`, `deny`, "
        "`clean_urls`, `ignore`); `models` (`{id: release}` or `{id: {release, tree}}`). The guide on web releases shows each.",
        WEB_SCHEMA,
    ),
}
