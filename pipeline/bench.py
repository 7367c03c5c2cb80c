"""Bench: the same release by modelport, curl and aria2c in turn, each as a process of its own.

Takes releases, numbers of connections and how to start ours; gives ``Benched``: size × connections × seconds × CPU. Ours
verifies every byte and lays the files out; aria2c verifies parts by sha256, curl nothing, and both leave only parts.

next: ``pipeline.setting_keys``
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline.errors import DiskError, UnavailableError
from pipeline.events import Listener, StepFinished, StepStarted, Warned
from pipeline.fetch import Signed, choose_release, read_signed
from pipeline.manifest import Manifest
from pipeline.place import Heard
from pipeline.plan.partlists import LIST_NAMES, ListFormat, part_list
from pipeline.plan.wants import Want
from pipeline.supply import Supply
from pipeline.trust.view import View

STEP = "bench"
PEERS = ("curl", "aria2c")
SAID_CHARS = 300


class Start(NamedTuple):
    """How to start a program: the words, the environment it needs, and where its settings lie; None is the folder it writes to."""

    words: Sequence[str]
    environ: Mapping[str, str]
    folder: Path | None = None


# (fingerprint of the root that is trusted, release, folder to make, connections) → how
Ours = Callable[[str, str, Path, int], Start]


@dataclass(frozen=True, slots=True)
class BenchOrder:
    """What to measure: each of ``wants`` (none: the largest release) by each number of connections, ``repeat`` times.

    ``url`` is where all of them fetch from; ``work`` the folder in which they write, each time anew.
    """

    wants: tuple[Want, ...]
    connections: tuple[int, ...]
    repeat: int
    url: str
    work: Path | None = None


class Row(msgspec.Struct, kw_only=True):
    """One program at one size and number of connections; medians. ``bytes`` came over the network, ``ratio`` is its time by ours."""

    program: str
    release: str
    bytes: int
    connections: int
    seconds: float
    cpu_seconds: float
    bytes_per_s: int
    ratio: float | None
    verified: str


class Benched(msgspec.Struct, kw_only=True):
    """The table, and which peers are not installed."""

    url: str
    rows: list[Row]
    not_installed: list[str]
    warnings: list[str]


class _Failed(Exception):
    """A peer could not do it; its words."""


@dataclass(frozen=True, slots=True)
class _Took:
    seconds: float
    cpu_seconds: float


def measure(order: BenchOrder, supply: Supply, ours: Ours, listen: Listener) -> Benched:
    """Measure, in turn, ours and every peer that is installed.

    Raises:
        UnavailableError: our own fetch failed; its words.
        UnknownName, TrustError, IntegrityError, DiskError
    """
    heard = Heard(listen)
    releases, fingerprint, warnings = supply.read(partial(_read, order.wants, supply.channel), heard.listen)
    for message in warnings:
        heard.listen(Warned("trust", message))
    peers = [name for name in PEERS if shutil.which(name)]
    rows = []
    heard.listen(StepStarted(STEP, len(releases) * len(order.connections) * order.repeat * (1 + len(peers))))
    began = time.monotonic()
    for signed in releases:
        for connections in order.connections:
            taken = _turns(order, signed.manifest, connections, peers, partial(ours, fingerprint), listen=heard.listen)
            rows += _rows(signed.manifest, connections, taken)
    heard.listen(StepFinished(STEP, len(rows), seconds=time.monotonic() - began))
    return Benched(
        url=order.url,
        rows=rows,
        not_installed=[name for name in PEERS if name not in peers],
        warnings=heard.warnings,
    )


def _read(wants: Sequence[Want], channel: str, view: View) -> tuple[list[Signed], str, tuple[str, ...]]:
    targets = [choose_release(view, want, channel=channel, allow_yanked=True) for want in wants]
    if not targets:
        known = [target for model in view.models() for target in view.releases(model)]
        targets = sorted(known, key=lambda target: target.facts.plain)[-1:]
    return [read_signed(view, target) for target in targets], view.fingerprint, view.warnings


def _turns(
    order: BenchOrder,
    manifest: Manifest,
    connections: int,
    peers: Sequence[str],
    ours: Callable[[str, Path, int], Start],
    *,
    listen: Listener,
) -> dict[str, list[_Took]]:
    taken: dict[str, list[_Took]] = {name: [] for name in ("modelport", *peers)}
    for _ in range(order.repeat):
        for name in list(taken):
            with _room(order.work) as folder:
                where = Path(folder)
                if name == "modelport":
                    start = ours(str(manifest.release), where / "release", connections)
                else:
                    start = _peer(name, manifest, order.url, where, connections)
                try:
                    taken[name].append(_run(start, where))
                except _Failed as failed:
                    if name == "modelport":
                        raise UnavailableError(f"our own fetch failed: {failed}", hint="Try it: invoke fetch") from None
                    listen(Warned("peer-failed", f"{name}: {failed}"))
                    del taken[name]
    return taken


def _room(work: Path | None) -> tempfile.TemporaryDirectory[str]:
    # Every program runs in a folder of its own, where a relative path would lead elsewhere.
    where = work.absolute() if work else None
    try:
        return tempfile.TemporaryDirectory(prefix="modelport-bench-", dir=where)
    except OSError as error:
        raise DiskError(
            f"cannot write into {where or tempfile.gettempdir()}: {error.strerror}", hint="Name a folder with --work."
        ) from error


def _peer(name: str, manifest: Manifest, url: str, folder: Path, connections: int) -> Start:
    """Start a peer on the list of the release's parts: as many parts at once as connections."""
    form: ListFormat = "curl" if name == "curl" else "aria2"
    path = folder / LIST_NAMES[form]
    try:
        path.write_text(part_list(form, manifest.parts, [url]), encoding="utf-8")
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror}", hint="Choose another folder with --work.") from error
    if name == "curl":
        words = ["curl", "--silent", "--show-error", "--parallel-max", str(connections), "--config", str(path)]
    else:
        words = ["aria2c", "--quiet", "--no-conf", f"--max-concurrent-downloads={connections}", f"--input-file={path}"]
        words += ["--split=1", "--file-allocation=falloc", f"--dir={folder}"]
    return Start(words, os.environ)


def _run(start: Start, folder: Path) -> _Took:
    """Run a program to its end; its processor time is its own and its children's."""
    with tempfile.TemporaryFile(dir=folder) as said:
        begun = time.monotonic()
        child = subprocess.Popen(
            list(start.words),
            cwd=start.folder or folder,
            env=dict(start.environ),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        try:
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if child.returncode is None:
                child.kill()
                child.wait()
        seconds = time.monotonic() - begun
        if child.returncode:
            said.seek(max(0, said.tell() - SAID_CHARS))
            raise _Failed(f"exit code {child.returncode}: {said.read().decode(errors='replace').strip()}")
    return _Took(seconds, used.ru_utime + used.ru_stime)


def _rows(manifest: Manifest, connections: int, taken: Mapping[str, Sequence[_Took]]) -> list[Row]:
    size = manifest.stored_bytes
    medians = {name: statistics.median(one.seconds for one in runs) for name, runs in taken.items()}
    return [
        Row(
            program=name,
            release=str(manifest.release),
            bytes=size,
            connections=connections,
            seconds=round(medians[name], 3),
            cpu_seconds=round(statistics.median(one.cpu_seconds for one in runs), 3),
            bytes_per_s=int(size / medians[name]),
            ratio=None if name == "modelport" else round(medians[name] / medians["modelport"], 2),
            verified={"modelport": "every byte", "aria2c": "parts, sha256"}.get(name, "nothing"),
        )
        for name, runs in taken.items()
    ]
