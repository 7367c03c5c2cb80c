"""Settings: what a person decided once, from four places, and the only reader of the environment.

Takes flags, the environment and the nearest ``modelport.yaml``; gives ``Settings``, each value checked
and with the place it came from. Precedence: flags > ``MODELPORT_*`` (nested keys joined with ``__``) >
``modelport.yaml``, found upwards from the working folder > defaults. Credentials are never
settings: the vendors' own variables hold them. docs/reference/settings.md is generated from ``setting_keys``.

next: ``outward``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.errors import SettingsError
from pipeline.meant import ask
from pipeline.providers import PROVIDERS, Credentials
from pipeline.setting_keys import KEYS
from pipeline.store_kinds import IN_MEMORY, SPELLED, scheme_of
from pipeline.store_lists import check_copies, split_stores
from pipeline.yamlfile import YamlDocument, read_yaml

FILE = "modelport.yaml"
PREFIX = "MODELPORT_"


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
    """Every setting, checked. ``store`` is the first one, ``copies`` are the others that were named with it. ``origins`` says where each came from; ``folder`` is where relative paths start.

    ``keys`` holds the URIs of a slot: root, targets, release, snapshot, timestamp, or a model's name;
    ``cdn_credentials`` stand in the order of ``cdn``; ``key_variables`` holds the variables that ``envvar:`` URIs name,
    ``auth_variables`` those that ``auth`` of a source or of a CDN's edge names.
    """

    store: str
    endpoint: str
    region: str
    ca_bundle: Path | None
    models_dir: Path
    source: tuple[Mapping[str, Any], ...]
    cdn: tuple[Mapping[str, Any], ...]
    keys: Mapping[str, tuple[str, ...]]
    connections: int
    part_size: int | None
    cache_limit: int
    web: Mapping[str, Any]
    folder: Path
    places: Places
    network: Network
    oss: OssCredentials
    cdn_credentials: tuple[Credentials, ...]
    key_variables: Mapping[str, str] = field(repr=False)
    auth_variables: Mapping[str, str] = field(repr=False)
    origins: Mapping[str, str]
    copies: tuple[Mapping[str, str], ...] = ()

    @property
    def prefetch_per_day(self) -> int | None:
        """The smallest configured daily prefetch quota of all CDNs, in URLs, or None."""
        return min((one["prefetch_per_day"] for one in self.cdn if "prefetch_per_day" in one), default=None)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret that was read for these settings, for masks."""
        read = (*self.key_variables.values(), *self.auth_variables.values())
        return (*read, *(secret for one in self.cdn_credentials for secret in one.secrets))


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

    def take(key: str, value: Any, where: str, start: Path) -> None:
        _known(key, where)
        if key == "store":
            value, copies = split_stores(value, where)
            values["copies"] = check_copies(copies, where, start, KEYS)
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
        network=read_network(environ, values["ca_bundle"]),
        oss=read_oss(environ),
        cdn_credentials=tuple(read_credentials(one, environ) for one in values["cdn"]),
        key_variables=read_key_variables(values["keys"], environ),
        auth_variables=read_auth_variables((*values["source"], *values["cdn"]), environ),
        origins=MappingProxyType(origins),
    )


def refuse_memory(settings: Settings) -> None:
    """Refuse stores and sources in memory, for programs that end before anybody can look.

    Raises:
        SettingsError: naming the setting.
    """
    named = [("store", settings.store), *(("store", one["url"]) for one in settings.copies)]
    for key, url in (*named, *(("source", one["url"]) for one in settings.source)):
        if scheme_of(url) == IN_MEMORY:
            raise SettingsError(
                f"{settings.origins[key]}: what is in {url} is gone when this command ends", hint=f"Use {SPELLED}."
            )


def find_file(folder: Path) -> Path | None:
    """Find the nearest ``modelport.yaml`` from ``folder`` upwards."""
    return next((place / FILE for place in (folder, *folder.parents) if is_file(place / FILE)), None)


def is_file(path: Path) -> bool:
    """Tell whether there is a file that may be looked at."""
    try:
        return path.is_file()
    except PermissionError:
        # Whoever works below another user's folder cannot look into it, and has no settings there.
        return False


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


def from_environment(environ: Mapping[str, str], written: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Take the ``MODELPORT_*`` variables; a nested one (``MODELPORT_WEB__CHANNEL``) adds to the file's mapping.

    Raises:
        SettingsError: a key that is no setting, or one that is given whole and in pieces.
    """
    found: dict[str, tuple[Any, str]] = {}
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
    """Resolve the cache, state and data folders. A relative XDG path is ignored, as the specification says.

    Raises:
        SettingsError: there is no home folder for them.
    """

    def place(variable: str, below_home: str) -> Path:
        given = Path(environ.get(variable, ""))
        try:
            return (given if given.is_absolute() else Path(environ.get("HOME") or Path.home()) / below_home) / "modelport"
        except RuntimeError as error:
            # A container that runs as a user of its own number, which nobody has named.
            raise SettingsError("this user has no home folder: HOME is not set", hint=f"Set HOME, or {variable}.") from error

    return Places(
        cache=place("XDG_CACHE_HOME", ".cache"),
        state=place("XDG_STATE_HOME", ".local/state"),
        data=place("XDG_DATA_HOME", ".local/share"),
    )


def read_network(environ: Mapping[str, str], ca_bundle: Path | None = None) -> Network:
    """Read the proxy variables, either spelling, and ``SSL_CERT_FILE``, for which a set ``ca_bundle`` stands in."""

    def first(name: str) -> str:
        return environ.get(name.lower()) or environ.get(name) or ""

    return Network(
        first("HTTPS_PROXY"), first("HTTP_PROXY"), first("NO_PROXY"), str(ca_bundle or environ.get("SSL_CERT_FILE", ""))
    )


def read_oss(environ: Mapping[str, str]) -> OssCredentials:
    """Read Aliyun's variables (https://www.alibabacloud.com/help/en/oss/developer-reference/oss-sdk-configure-access-credentials)."""
    names = ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN", "OSS_ENDPOINT", "OSS_REGION")
    return OssCredentials(*(environ.get(name, "") for name in names))


def read_key_variables(keys: Mapping[str, tuple[str, ...]], environ: Mapping[str, str]) -> dict[str, str]:
    """Read the variables that ``envvar:NAME`` key URIs name; one that is not set is left out."""
    named = {uri.removeprefix("envvar:") for uris in keys.values() for uri in uris if uri.startswith("envvar:")}
    return {name: environ[name] for name in sorted(named) if name in environ}


def read_auth_variables(places: Sequence[Mapping[str, Any]], environ: Mapping[str, str]) -> dict[str, str]:
    """Read the variables that ``auth`` of sources and edges names; one that is not set is left out."""
    given = [place["auth"] for place in places if "auth" in place]
    if not given:
        return {}
    from pipeline.sources.auth import auth_variables

    named = {name for one in given for name in auth_variables(one)}
    return {name: environ[name] for name in sorted(named) if name in environ}


def read_credentials(cdn: Mapping[str, Any], environ: Mapping[str, str]) -> Credentials:
    """Read the credentials of one CDN: by the vendor's own variables, or those that ``credentials`` of its settings name."""
    provider = PROVIDERS.get(cdn.get("provider", ""))
    if provider is None:
        return Credentials({})
    named = cdn.get("credentials", {})
    places = {one.name: (named[one.name],) if one.name in named else one.variables for one in provider.credentials}
    found = {name: next((environ[at] for at in variables if environ.get(at)), "") for name, variables in places.items()}
    return Credentials({name: value for name, value in found.items() if value}, places)


def _known(key: str, where: str) -> None:
    if key not in KEYS:
        raise SettingsError(f"{where}: {key!r} is not a setting; {ask(key, KEYS)}", hint="Correct it, or take it out.")


def _set_inside(mapping: Mapping[str, Any], path: list[str], value: str) -> dict[str, Any]:
    head, *rest = path
    inner = mapping.get(head, {})
    return {**mapping, head: _set_inside(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}
