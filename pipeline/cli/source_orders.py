"""From flags to what mirror, doctor, bench and export take.

Takes a task's flags and the settings, gives orders, rows, and the way to start ourselves as a process to be measured.

next: ``source_summaries``
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from pipeline.bench import BenchOrder, Ours, Start
from pipeline.connect import store_folder, trust_folder
from pipeline.doctor import Setting
from pipeline.errors import UsageError
from pipeline.export import ExportOrder
from pipeline.loopback import loopback_of
from pipeline.meant import suggest
from pipeline.plan.partlists import ListFormat
from pipeline.plan.wants import read_want
from pipeline.setting_keys import KEYS
from pipeline.settings import Settings
from pipeline.store_kinds import WEB, scheme_of
from pipeline.trust.state import TrustState

CONNECTIONS = ("1", "4", "16")
MOST_CONNECTIONS = 64


def setting_rows(settings: Settings) -> list[Setting]:
    """Every setting with its origin, and what is read beside them; no row can hold a credential."""
    rows = [Setting(name=name, value=_text(getattr(settings, name), name), origin=settings.origins[name]) for name in KEYS]
    network = settings.network
    beside = {
        "HTTPS_PROXY": _bare(network.https_proxy),
        "HTTP_PROXY": _bare(network.http_proxy),
        "NO_PROXY": network.no_proxy,
        "SSL_CERT_FILE": "" if settings.ca_bundle else network.ca_file,
    }
    rows += [Setting(name=name, value=value, origin="environment") for name, value in beside.items() if value]
    places = {"cache": settings.places.cache, "state": settings.places.state, "data": settings.places.data}
    rows += [Setting(name=f"({name} folder)", value=str(path), origin="XDG") for name, path in places.items()]
    return rows


def _text(value: Any, name: str = "") -> str:
    if value is None:
        return "auto" if name == "part_size" else ""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_text, value)) + "]"
    return str(value)


def _bare(url: str) -> str:
    """A proxy's URL without the user and password that may stand in it."""
    head, at, rest = url.rpartition("@")
    return f"{head.partition('//')[0]}//…@{rest}" if at else url


def export_order(settings: Settings, *, model: str, form: str, to: str, urls: Sequence[str], allow_yanked: bool) -> ExportOrder:
    """The order that these flags make.

    Raises:
        UsageError: an unknown format, or addresses for one that has none.
        NameRefused: ``model`` is none of the forms that name a release.
    """
    known = (*get_args(ListFormat), "oci")
    if form not in known:
        raise UsageError(f"--format {form} is unknown, expected {', '.join(known)}", hint=suggest(form, known))
    if form == "oci" and urls:
        raise UsageError(
            "--url says nothing with --format oci: an image layout holds the bytes and names no address", hint="Leave it out."
        )
    named = tuple(urls) or tuple(source["url"] for source in settings.source) or (settings.store,)
    return ExportOrder(read_want(model), Path(to), form, named, allow_yanked)  # type: ignore[arg-type]  # it is one of the known forms


def bench_order(*, model: Sequence[str], at: Sequence[str], repeat: str, work: str, url: str) -> BenchOrder:
    """The order that these flags make.

    Raises:
        UsageError: a number that is none.
        NameRefused: a name that is none.
    """
    wants = tuple(read_want(text) for text in model)
    connections = tuple(_count("at", text, MOST_CONNECTIONS) for text in (at or CONNECTIONS))
    return BenchOrder(wants, connections, _count("repeat", repeat or "3", 1000), url, Path(work) if work else None)


def _count(flag: str, text: str, most: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= number <= most:
        raise UsageError(f"--{flag} {text} is not a number from 1 to {most}", hint=f"Write it as --{flag} 4.")
    return number


@contextmanager
def source_to_measure(settings: Settings) -> Iterator[str]:
    """The address that all programs fetch from: the first source, or the store's folder served on this machine.

    Raises:
        UsageError: other programs cannot fetch from it.
    """
    if settings.source:
        url: str = settings.source[0]["url"]
        if scheme_of(url) not in WEB:
            raise UsageError(f"curl and aria2c cannot fetch from {url}", hint="Name an http or https source with --source.")
        yield url
        return
    folder = store_folder(settings)
    if folder is None:
        raise UsageError(f"{settings.store} cannot be served on this machine", hint="Name an http source with --source.")
    if not (folder / "metadata").is_dir():
        raise UsageError(f"{folder} holds no tree yet", hint="Publish something first: invoke sample, invoke publish --model …")
    with loopback_of(folder) as url:
        yield url


@contextmanager
def ours_for(settings: Settings, url: str) -> Iterator[Ours]:
    """How to start our own fetch as a process that finds nothing here: no cache, no state but the one trusted root."""
    with tempfile.TemporaryDirectory(prefix="modelport-bench-home-") as home:

        def start(fingerprint: str, release: str, folder: Path, connections: int) -> Start:
            TrustState(Path(home, trust_folder(url.rstrip("/")))).pin(fingerprint)
            # Only its own settings hold a source's credentials; all others are named, so that no mirror of it helps.
            source = [] if settings.source and settings.source[0].get("auth") else ["--source", url]
            source += ["--ca-bundle", str(settings.ca_bundle)] if settings.ca_bundle else []
            # -P: a folder of this package's name may lie where somebody works.
            words = [sys.executable, "-P", "-c", "from pipeline.cli.program import main; main()", "fetch", "--model", release]
            words += ["--to", str(folder), "--no-deps", "--cache-limit", "0", "--connections", str(connections), *source]
            return Start([*words, "--report", "json"], {**os.environ, "XDG_STATE_HOME": home, "XDG_CACHE_HOME": home}, Path.cwd())

        yield start
