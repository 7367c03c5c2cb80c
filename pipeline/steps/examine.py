"""Examine a source: does it answer, how fast, and does it do all that a fetch would like of it?

Takes a reader and what is known of its tree, gives ``SourceHealth``. A source that fails a question is no error here: the
answer says so, and the other questions are asked all the same.

next: ``pipeline.doctor``
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from pipeline.errors import ModelportError
from pipeline.layout import TIMESTAMP, part_key
from pipeline.manifest import Part
from pipeline.ports import NotModified, TreeReader
from pipeline.sources.answers import date_of
from pipeline.sources.http import HttpReader
from pipeline.trust.facts import instant_text
from pipeline.trust.sealed import TIMESTAMP_BYTES
from pipeline.trust.view import View
from pipeline.wire import decode_manifest
from pipeline.workers import threads

LOOKS = 5
SAMPLE_AT_ONCE = 4
SAMPLE_BYTES = 8 << 20
SAMPLE_S = 3.0


class _Enough(Exception):
    """The sample took long enough."""


class SourceHealth(msgspec.Struct, kw_only=True):
    """What one source showed. None, or "", where it could not be found out; ``faults`` say why, each in one line.

    ``clock_skew_s`` is positive where the server's clock is ahead of ours. ``bytes_per_s`` is over ``sample_bytes`` of parts.
    """

    url: str
    works: bool = False
    faults: list[str] = []
    first_ms: float | None = None
    latency_ms: float | None = None
    ranges: bool | None = None
    etag: str = ""
    revalidates: bool | None = None
    bytes_per_s: int | None = None
    sample_bytes: int = 0
    clock_skew_s: float | None = None
    tls: str = ""
    tls_issuer: str = ""
    tls_until: str = ""
    congestion_control: str = ""
    snapshot: int | None = None
    snapshot_expires_at: str = ""
    root_fingerprint: str = ""


def examine_source(
    reader: TreeReader,
    view_of: Callable[[TreeReader], View],
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sample_s: float = SAMPLE_S,
) -> SourceHealth:
    """Ask ``reader`` everything; ``view_of`` gives its verified tree, from which a sample of a part is read."""
    health = SourceHealth(url=reader.url)
    for ask in (_answer, _latency, _etag):
        if not _asked(health, lambda ask=ask: ask(reader, health, now)):  # type: ignore[misc]  # the default binds the loop's value
            return health
    health.works = True
    _asked(health, lambda: _tree(reader, health, view_of, sample_s))
    return health


def _asked(health: SourceHealth, ask: Callable[[], None]) -> bool:
    try:
        ask()
    except ModelportError as error:
        fault = f"{error}" + (f" ({error.hint})" if error.hint else "")
        if fault not in health.faults:
            health.faults.append(fault)
        return False
    return True


def _answer(reader: TreeReader, health: SourceHealth, now: Callable[[], datetime]) -> None:
    begun, before = time.monotonic(), now()
    if not isinstance(reader, HttpReader):
        reader.revalidate(TIMESTAMP, "", cap=TIMESTAMP_BYTES)
        health.first_ms = _ms_since(begun)
        return
    seen = reader.look(TIMESTAMP)
    health.first_ms = _ms_since(begun)
    health.tls, health.tls_issuer, health.tls_until = seen.tls, seen.issuer, seen.until
    health.congestion_control = seen.congestion
    there = date_of(seen.head)
    if there is None:
        health.faults.append("it tells no Date: whether its clock and ours agree is not known")
        return
    # The header counts whole seconds, and was written at some moment between our question and its answer.
    ours = before + (now() - before) / 2
    health.clock_skew_s = round((there - ours).total_seconds() + 0.5, 1)


def _latency(reader: TreeReader, health: SourceHealth, now: Callable[[], datetime]) -> None:
    del now
    took = []
    for _ in range(LOOKS):
        begun = time.monotonic()
        reader.revalidate(TIMESTAMP, "", cap=TIMESTAMP_BYTES)
        took.append(_ms_since(begun))
    health.latency_ms = round(statistics.median(took), 3)


def _etag(reader: TreeReader, health: SourceHealth, now: Callable[[], datetime]) -> None:
    del now
    fresh = reader.revalidate(TIMESTAMP, "", cap=TIMESTAMP_BYTES)
    health.etag = fresh.etag
    if fresh.etag:
        health.revalidates = isinstance(reader.revalidate(TIMESTAMP, fresh.etag, cap=TIMESTAMP_BYTES), NotModified)
    else:
        health.revalidates = False
    if not health.revalidates:
        health.faults.append("it does not answer If-None-Match with 304: the timestamp is read whole each time")


def _tree(reader: TreeReader, health: SourceHealth, view_of: Callable[[TreeReader], View], sample_s: float) -> None:
    view = view_of(reader)
    health.snapshot = view.snapshot.version
    health.snapshot_expires_at = instant_text(view.snapshot.signed.expires)
    health.root_fingerprint = view.fingerprint
    parts = _some_parts(view)
    if not parts:
        health.faults.append("it has no release yet: its throughput is not known")
        return
    size, spent_s = _sample(reader, parts, sample_s)
    health.sample_bytes = size
    health.bytes_per_s = int(size / spent_s) if spent_s > 0 else None
    health.ranges = reader.honours_ranges if isinstance(reader, HttpReader) else True
    if health.ranges is False:
        health.faults.append("it answers a range with the whole object: nothing can be resumed or fetched in pieces")


def _some_parts(view: View) -> list[Part]:
    """Parts of the newest release of the first model that has one, the largest first."""
    for model in view.models():
        for target in reversed(view.releases(model)):
            manifest = decode_manifest(view.manifest_bytes(target.release), what=f"the manifest of {target.release}")
            if manifest.parts:
                return sorted(manifest.parts, key=lambda part: -part.size)[:SAMPLE_AT_ONCE]
    return []


def _sample(reader: TreeReader, parts: list[Part], sample_s: float) -> tuple[int, float]:
    """Read pieces of parts on a few connections at once until there is enough of it; (bytes, seconds)."""
    until = time.monotonic() + sample_s
    counts = [0] * SAMPLE_AT_ONCE

    def read(number: int) -> None:
        part = parts[number % len(parts)]

        def take(block: memoryview) -> None:
            counts[number] += len(block)
            if time.monotonic() > until:
                raise _Enough

        # From the second byte on, so that it is a range even of the smallest part.
        start = min(1, part.size - 1)
        try:
            reader.read_range(part_key(part.blake3), start, min(part.size - start, SAMPLE_BYTES), take, total=part.size)
        except _Enough:
            return

    begun = time.monotonic()
    with threads(SAMPLE_AT_ONCE, "sample") as pool:
        for future in [pool.submit(read, number) for number in range(SAMPLE_AT_ONCE)]:
            future.result()
    return sum(counts), time.monotonic() - begun


def _ms_since(begun: float) -> float:
    return round(1000 * (time.monotonic() - begun), 3)
