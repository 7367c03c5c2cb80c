"""Connect: picks the adapters of stores and sources that the settings name.

Takes ``Settings``, gives an ``Opened`` store (the adapter, its count of bytes, and retries around both) or a whole ``Place``
(the store, what is trusted there, whose keys sign). A vendor's SDK is imported only when its adapter is picked.

next: ``cli``
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pipeline.connect_cdns import open_delivery
from pipeline.errors import SettingsError
from pipeline.events import Listener, ignore
from pipeline.outward import authorities_of, proxies_of
from pipeline.ports import ObjectStore, TreeReader
from pipeline.setting_checks import SOURCES, STORES, check_scheme
from pipeline.setting_keys import KEYS
from pipeline.settings import Settings, refuse_memory
from pipeline.state_folders import place_id, set_aside, trust_home
from pipeline.store_kinds import IN_MEMORY, SPELLED, WEB, is_own, scheme_of

if TYPE_CHECKING:
    from bundles.reader import BundleReader
    from pipeline.place import Place
    from pipeline.sources.pace import Limits
    from pipeline.supply import Supply


@dataclass(frozen=True, slots=True)
class Opened:
    """A store that is ready for a walk. ``bytes_sent()`` counts all bodies that went to it so far, repeated ones too."""

    store: ObjectStore
    bytes_sent: Callable[[], int]


def open_store(settings: Settings, *, dry: bool = False, listen: Listener = ignore) -> Opened:
    """Open the store of the settings; ``dry`` makes one that reads and records, but writes nothing.

    Raises:
        SettingsError: its URL has an unknown scheme, or lacks the bucket.
    """
    from pipeline.stores.counting import CountingStore
    from pipeline.stores.retrying import RetryingStore

    # Counting stands inside: a body that is sent again is sent.
    counting = CountingStore(pick_store(settings))
    store: ObjectStore = RetryingStore(counting, listen=listen)
    if dry:
        from pipeline.stores.dryrun import DryRunStore

        store = DryRunStore(store)
    return Opened(store, lambda: counting.counts.sent)


def open_place(
    settings: Settings,
    *,
    dry: bool = False,
    listen: Listener = ignore,
    passphrase: Callable[[str], str] | None = None,
) -> Place:
    """Open the store with what this machine trusts there and the keys that sign there.

    Keys are made on first use only for one's own directory. ``passphrase`` is asked for that of an encrypted key.

    Raises:
        SettingsError: as ``open_store``.
    """
    from pipeline.place import Place
    from pipeline.release import Channel
    from pipeline.steps.ready import KeyPlace
    from pipeline.steps.serve import Delivery
    from pipeline.trust.keys import Keyring, KeySecrets
    from pipeline.trust.state import TrustState

    opened = open_store(settings, dry=dry, listen=listen)
    medium = open_bundle(folder) if (folder := store_folder(settings)) else None
    state = trust_home(settings.places.state, medium.publisher if medium else opened.store.url, settings.endpoint)
    home = settings.places.data / "keys"
    if dry:
        state, home = set_aside(state, home)
    secrets = KeySecrets(settings.key_variables, passphrase)
    return Place(
        store=opened.store,
        state=TrustState(state),
        keys=KeyPlace(
            Keyring(settings.keys, secrets) if settings.keys else None,
            home,
            first_use=is_own(settings.store),
        ),
        cache=settings.places.cache,
        by=whoami(),
        bytes_sent=opened.bytes_sent,
        media=medium is not None,
        # A dry run calls nobody: not even a proof of names that it did not write.
        delivery=Delivery() if dry else open_delivery(settings),
        web_channel=Channel(settings.web["channel"]),
    )


def open_source_place(settings: Settings, *, listen: Listener = ignore) -> Place:
    """Open the first source of the settings as a place to look at: a bundle, a directory or a bucket.

    Raises:
        SettingsError: it is a web server, which cannot be listed.
    """
    url = settings.source[0]["url"]
    if scheme_of(url) != IN_MEMORY:
        check_scheme(url, "--source", "the source", SOURCES)
    if scheme_of(url) in WEB:
        raise SettingsError(
            f"--source {url}: this looks into stores and bundles, not into web servers",
            hint="invoke fetch takes a release from there and proves it; invoke doctor says what is there.",
        )
    return open_place(replace(settings, store=url, origins={**settings.origins, "store": "--source"}), listen=listen)


def open_supply(settings: Settings, *, offline: bool = False, listen: Listener = ignore) -> Supply:
    """Open the sources of the settings, or the store where none is named, with what is trusted there and the cache.

    Several sources serve one tree: what is trusted is kept under the first one's address, or a bundle's publisher.

    Raises:
        SettingsError: a source with an unknown scheme, or credentials that are not there.
    """
    from bundles.reader import BundleReader
    from pipeline.sources.cachefolder import CacheFolder
    from pipeline.sources.installed import Installs
    from pipeline.sources.mirrors import Mirrors
    from pipeline.supply import Supply
    from pipeline.trust.state import TrustState

    named = settings.source or ({"url": settings.store},)
    readers = [open_reader(settings, one) for one in named]
    media = {isinstance(reader, BundleReader) for reader in readers}
    if len(media) > 1:
        raise SettingsError(
            "--source names bundles and other sources", hint="Fetch from media alone, or from sources that are up to date alone."
        )
    first = readers[0]
    return Supply(
        sources=None if offline else Mirrors(readers, listen=listen),
        state=TrustState(
            trust_home(
                settings.places.state, first.publisher if isinstance(first, BundleReader) else first.url, settings.endpoint
            )
        ),
        cache=CacheFolder(settings.places.cache / "fetch", settings.cache_limit),
        installs=Installs(settings.places.state / "installed"),
        channel=named[0].get("channel", "stable"),
        media=media == {True},
    )


def open_target(
    settings: Settings, to: str, *, endpoint: str = "", region: str = "", dry: bool = False, listen: Listener = ignore
) -> ObjectStore:
    """Open the store that ``--to`` names; endpoint and region are those of the settings where they are not given.

    Raises:
        SettingsError: as ``open_store``.
    """
    target = replace(
        settings,
        store=str(KEYS["store"].check(to, "--to", Path.cwd())),
        endpoint=endpoint or settings.endpoint,
        region=region or settings.region,
        origins={**settings.origins, "store": "--to"},
    )
    refuse_memory(target)
    return open_store(target, dry=dry, listen=listen).store


def store_folder(settings: Settings) -> Path | None:
    """The folder of the settings' store, None where it is no directory."""
    if scheme_of(settings.store) not in {"", "file"}:
        return None
    return _folder_of(settings.store, settings.origins["store"])


def trust_folder(url: str) -> str:
    """Where trust in a web source lies below ``$XDG_STATE_HOME``."""
    return f"modelport/trust/{place_id(url, '')}"


def open_reader(settings: Settings, source: Mapping[str, Any], *, limits: Limits | None = None) -> TreeReader:
    """Open one source; ``limits`` says how slow a web server may be.

    Raises:
        SettingsError: as ``open_supply``.
    """
    url, where = source["url"], settings.origins["source" if settings.source else "store"]
    scheme = scheme_of(url)
    if scheme in WEB:
        from pipeline.sources.auth import open_auth
        from pipeline.sources.http import HttpReader

        return HttpReader(
            url,
            auth=open_auth(source.get("auth", {}), settings.auth_variables, urlsplit(url).hostname or "", where=f"{where}: auth"),
            proxies=proxies_of(settings),
            ca_file=authorities_of(settings),
            limits=limits,
        )
    if scheme in {"", "file"}:
        from pipeline.sources.objects import FolderReader

        folder = _folder_of(url, where)
        return open_bundle(folder) or FolderReader(folder)
    if scheme not in _OPENERS:
        check_scheme(url, where, "the source", SOURCES)
    from pipeline.sources.objects import StoreReader
    from pipeline.stores.retrying import RetryingStore

    return StoreReader(RetryingStore(pick_store(replace(settings, store=url, origins={**settings.origins, "store": where}))))


def open_bundle(folder: Path) -> BundleReader | None:
    """The bundle whose volumes lie in ``folder``; None where there are none."""
    from bundles.medium import is_medium
    from bundles.reader import BundleReader

    return BundleReader(folder) if is_medium(folder) else None


def whoami() -> str:
    """Say who is acting, for signed histories: user@host."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # A container may run as a number that has no name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def pick_store(settings: Settings) -> ObjectStore:
    """Make the adapter for ``settings.store``, bare of wrappers.

    Raises:
        SettingsError: as ``open_store``.
    """
    scheme, where = scheme_of(settings.store), settings.origins["store"]
    if scheme in WEB:
        raise SettingsError(
            f"{where}: {settings.store} is a web server, which nothing can be written to", hint=f"A store is {SPELLED}."
        )
    if scheme not in _OPENERS:
        check_scheme(settings.store, where, "the store", STORES)
    return _OPENERS[scheme](settings, where)


def _open_folder(settings: Settings, where: str) -> ObjectStore:
    from pipeline.stores.directory import DirectoryStore

    folder = _folder_of(settings.store, where)
    return open_bundle(folder) or DirectoryStore(folder)


def _open_memory(settings: Settings, where: str) -> ObjectStore:
    from pipeline.stores.memory import MemoryStore

    del where
    return MemoryStore(settings.store.removeprefix(f"{IN_MEMORY}:"))


def _open_s3(settings: Settings, where: str) -> ObjectStore:
    from pipeline.stores.s3 import S3Store

    bucket, prefix = _bucket_of(settings.store, where)
    return S3Store(
        bucket,
        prefix,
        endpoint=settings.endpoint or None,
        region=settings.region or None,
        connections=settings.connections,
        ca_file=authorities_of(settings),
    )


def _open_oss(settings: Settings, where: str) -> ObjectStore:
    from pipeline.stores.oss import OssStore

    bucket, prefix = _bucket_of(settings.store, where)
    return OssStore(
        bucket,
        prefix,
        endpoint=settings.endpoint or settings.oss.endpoint,
        region=settings.region or settings.oss.region,
        credentials=settings.oss,
        connections=settings.connections,
        ca_file=authorities_of(settings),
    )


_OPENERS: Mapping[str, Callable[[Settings, str], ObjectStore]] = {
    "": _open_folder,
    "file": _open_folder,
    "s3": _open_s3,
    "oss": _open_oss,
    IN_MEMORY: _open_memory,
}


def _bucket_of(url: str, where: str) -> tuple[str, str]:
    """Divide ``scheme://bucket/prefix``; the prefix has no slash at its ends."""
    parts = urlsplit(url)
    if not parts.netloc or parts.query or parts.fragment or ":" in parts.netloc:
        raise SettingsError(f"{where}: {url!r} does not name a bucket", hint=f"Spell it {parts.scheme}://bucket/prefix.")
    return parts.netloc, parts.path.strip("/")


def _folder_of(place: str, where: str) -> Path:
    """The folder that a path or a file URL of this machine (RFC 8089) names."""
    folder = Path(place)
    if scheme_of(place):
        parts = urlsplit(place)
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/") or parts.query or parts.fragment:
            raise SettingsError(f"{where}: {place!r} is not a file URL of this machine", hint="Spell it file:///absolute/path.")
        folder = Path(unquote(parts.path))
    if folder.is_file():
        raise SettingsError(f"{where}: {folder} is a file, expected a folder", hint="Name the folder that holds the tree.")
    return folder
