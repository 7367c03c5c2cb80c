"""``bundle.install``: the installer, lent the tools that are here: BLAKE3, zstandard, numpy, and every kind of key.

Takes an ``Order`` as ``install.pyz`` does, gives what was installed as a document. The steps, rules and files are
the installer's own (``bundles.installer``); only what hashes, decodes and verifies is faster.

next: ``bundles.site_folders``
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from bundles.installer import faults
from bundles.installer.outcome import Done
from bundles.installer.preflight import Order
from bundles.installer.tools import Tools
from bundles.installer.tufrules import verify_ed25519
from bundles.installer.walk import install
from bundles.site_folders import installed_at_site
from bundles.translation import own_errors
from bundles.zipped import installer_bytes, installer_sha256
from pipeline.digest import blake3_of
from pipeline.encoding import ENCODER, decode_into
from pipeline.errors import ModelportError
from pipeline.events import Listener, Progress, StepFinished, StepStarted, Warned, one_at_a_time
from pipeline.manifest import CHUNK_BYTES, ENCODINGS
from pipeline.processors import usable_processors
from pipeline.sources.installed import Installs

STEP = "install"


class SiteRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A release that a bundle brought, and where it is laid out."""

    release: str
    kind: str
    folder: str
    manifest_sha256: str


class BundleInstalled(msgspec.Struct, frozen=True, kw_only=True):
    """What ``bundle.install`` did. ``missing`` are the numbers of volumes that it still needs; then nothing is live yet.

    ``generation`` is the live one's number, ``repaired`` names files that were put right, ``removed`` releases that
    no kept generation names, ``decoder`` what decoded, ``bytes_written`` plain bytes.
    """

    site: str
    bundle: str
    name: str
    volumes: int
    root_fingerprint: str
    snapshot: int
    releases: list[SiteRelease]
    generation: int
    missing: list[int]
    bytes_written: int
    repaired: list[str]
    removed: list[str]
    warnings: list[str]
    decoder: str
    receipt: str
    dry: bool


def install_bundle(
    order: Order,
    listen: Listener,
    *,
    installs: Installs | None = None,
    dry: bool = False,
    step: Callable[[str], None] = lambda _: None,
) -> BundleInstalled:
    """Install a bundle, as far as the volumes at hand go. ``step`` is called before each step of the installer.

    What was installed is recorded in ``installs``, so that ``verify --folder`` needs neither source nor medium.

    Raises:
        UsageError: the wrong base, an open dependency, a site in use.
        IntegrityError: a volume is damaged; what the others hold is kept for the next run.
        TrustError: nobody whom the site trusts signed it, or it is older than allowed.
        DiskError: the site's disk or the medium failed.
    """
    heard = one_at_a_time(listen)
    began = monotonic()
    heard(StepStarted(STEP))
    with own_errors():
        done = install(
            order,
            fast_tools(),
            step=step,
            done=lambda size: heard(Progress(STEP, size)),
            installer=installer_bytes(),
            facts={"installer": f"bundle.install {installer_sha256()}", "encoder": ENCODER},
            dry=dry,
        )
    if installs is not None and done.generation:
        _record(installs, done)
    for warning in done.warnings:
        heard(Warned("install", warning))
    heard(StepFinished(STEP, len(done.releases), done.bytes_written, monotonic() - began))
    return msgspec.convert(dataclasses.asdict(done), BundleInstalled)


def _record(installs: Installs, done: Done) -> None:
    for one in done.releases:
        folder = Path(done.site).resolve() / one["folder"]
        known = installed_at_site(folder)
        if known is not None:
            # A folder whose name is no text cannot be written down here; the site has a record of its own.
            with suppress(UnicodeEncodeError):
                installs.intend(msgspec.structs.replace(known[0], source=f"bundle {done.bundle}"), known[1])
                installs.confirm(folder)


def fast_tools() -> Tools:
    """Tools of this environment."""
    scratch = threading.local()

    def decode(stored: memoryview, encoding: str, plain: int) -> memoryview:
        if not hasattr(scratch, "room"):
            scratch.room = memoryview(bytearray(CHUNK_BYTES))
        out: memoryview = scratch.room[:plain]
        known = next((name for name in ENCODINGS if name == encoding), None)
        if known is None:
            raise faults.IntegrityError(f"a chunk has the unknown encoding {encoding!r}", "This release needs a newer modelport.")
        try:
            decode_into(stored, known, out)
        except ModelportError as error:
            raise faults.IntegrityError(str(error), error.hint) from error
        return out

    return Tools(verify=_verify, blake3=blake3_of, decode=decode, threads=min(4, usable_processors()))


def _verify(key: dict[str, Any], signature: bytes, message: bytes) -> bool:
    if key.get("keytype") == "ed25519":
        return verify_ed25519(key, signature, message)
    # The other kinds need libraries that take longer to import than a bundle takes to judge.
    from pipeline.trust.verdict import is_signature

    return is_signature(key, signature, message)
