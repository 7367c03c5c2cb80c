"""Connect: picks the adapters that the settings name. Nobody else knows them.

Takes ``Settings``, gives an ``Opened`` store: the adapter, its count of bytes, and retries around both. A vendor's SDK is
imported only when its adapter is picked.

next: ``cli``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import SettingsError
from pipeline.events import Listener, ignore
from pipeline.ports import ObjectStore
from pipeline.setting_keys import nearest
from pipeline.settings import Settings

SCHEMES = ("file", "s3", "oss", "memory")


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


def pick_store(settings: Settings) -> ObjectStore:
    """Make the adapter for ``settings.store``, bare of wrappers.

    Raises:
        SettingsError: as ``open_store``.
    """
    where = settings.origins["store"]
    scheme, _, rest = settings.store.partition(":")
    if not rest or "/" in scheme:
        scheme, rest = "", settings.store
    if scheme in {"", "file"}:
        from pipeline.stores.directory import DirectoryStore

        return DirectoryStore(_path_of(settings.store, where) if scheme else Path(settings.store))
    if scheme == "memory":
        from pipeline.stores.memory import MemoryStore

        return MemoryStore(rest or "memory")
    if scheme == "s3":
        from pipeline.stores.s3 import S3Store

        bucket, prefix = _bucket_of(settings.store, where)
        return S3Store(
            bucket,
            prefix,
            endpoint=settings.endpoint or None,
            region=settings.region or None,
            connections=settings.connections,
            ca_file=settings.network.ca_file or None,
        )
    if scheme == "oss":
        from pipeline.stores.oss import OssStore

        bucket, prefix = _bucket_of(settings.store, where)
        return OssStore(
            bucket,
            prefix,
            endpoint=settings.endpoint or settings.oss.endpoint,
            region=settings.region or settings.oss.region,
            credentials=settings.oss,
            connections=settings.connections,
            ca_file=settings.network.ca_file or None,
        )
    raise SettingsError(
        f"{where}: the store {settings.store!r} has the unknown scheme {scheme!r}; {nearest(scheme, SCHEMES)}",
        hint="Use a path, file:///path, s3://bucket/prefix or oss://bucket/prefix.",
    )


def _bucket_of(url: str, where: str) -> tuple[str, str]:
    """Divide ``scheme://bucket/prefix``; the prefix has no slash at its ends."""
    parts = urlsplit(url)
    if not parts.netloc or parts.query or parts.fragment or ":" in parts.netloc:
        raise SettingsError(f"{where}: {url!r} does not name a bucket", hint=f"Spell it {parts.scheme}://bucket/prefix.")
    return parts.netloc, parts.path.strip("/")


def _path_of(url: str, where: str) -> Path:
    """Read a file URL of this machine (RFC 8089)."""
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise SettingsError(f"{where}: {url!r} is not a file URL of this machine", hint="Spell it file:///absolute/path.")
    return Path(unquote(parts.path))
