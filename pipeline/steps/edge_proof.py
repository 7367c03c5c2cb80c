"""Every object of a release answers at an edge as users will ask for it.

Takes an ``Edge`` and the objects that must be there, gives an ``EdgeProof``, or one line that says what is wrong. Each object
is asked for one byte somewhere in its middle: the answer shows its size, that ranges are honoured, the cache rule, that
nothing was encoded, and whether the edge had it. A byte at random, because the byte that was asked for is in the cache from
then on, and asking for it again would prove nothing. A sample is read back and hashed.

next: ``steps.show_edge``
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from pipeline.digest import Sha256
from pipeline.errors import EdgeProofFailed, ModelportError, ObjectMissing, RedirectRefused, SourceLied
from pipeline.events import Listener, Progress, StepFinished, StepStarted, ignore
from pipeline.layout import TIMESTAMP, headers_for, part_key
from pipeline.manifest import Manifest
from pipeline.ports import Cached, Cdn, Edge
from pipeline.retry import Patience, Retry
from pipeline.steps.sampling import SAMPLE_PERCENT, draw_sample
from pipeline.workers import in_order, threads

LOOKS_AT_ONCE = 16
READS_AT_ONCE = 4
NAMED = 3
# An edge that answers nothing for this long is down, and a publisher waits for it in vain.
PATIENCE = Patience(attempts=5, first_wait_s=0.5, longest_wait_s=10.0)
# Vendors name five to six minutes until a refresh is everywhere; a little more than that is waited for.
MEND_S = 600.0
LOOKS_S = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
# Asks the CDN to forget what it has under these keys, and waits until it says so.
Mend = Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Front:
    """A CDN before the store: its control plane, and its edge as users see it."""

    cdn: Cdn
    edge: Edge


@dataclass(frozen=True, slots=True)
class EdgeObject:
    """An object as the edge must serve it."""

    key: str
    size: int
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class EdgeProof:
    """What one edge showed. ``cold`` are the keys that it had to fetch when they were asked for; ``read`` were hashed.

    ``hits``, ``misses`` and ``unknown`` are counts and add up to ``objects``; ``requests`` counts all that was asked.
    """

    edge: str
    objects: int
    hits: int
    misses: int
    unknown: int
    cold: tuple[str, ...]
    read: int
    bytes_read: int
    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a proof waits: ``sleep`` and ``clock`` are passed in, so that tests take no time."""

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    patience: Patience = PATIENCE
    mend_s: float = MEND_S

    def until(self) -> Iterator[float]:
        """Yield the seconds waited so far, at growing intervals, until ``mend_s`` have passed."""
        begun = self.clock()
        for turn in range(1 << 30):
            waited_s = self.clock() - begun
            if waited_s >= self.mend_s:
                return
            self.sleep(LOOKS_S[min(turn, len(LOOKS_S) - 1)])
            yield self.clock() - begun


@dataclass(slots=True)
class _Looked:
    cached: list[tuple[str, Cached]] = field(default_factory=list)
    missing: list[EdgeObject] = field(default_factory=list)
    faults: list[ModelportError] = field(default_factory=list)


def edge_objects(manifest_key: str, manifest_sha256: Sha256, manifest_size: int, manifest: Manifest) -> tuple[EdgeObject, ...]:
    """The objects of a release, the manifest first, then its parts in order of first use."""
    parts = (EdgeObject(part_key(part.blake3), part.size, part.sha256) for part in manifest.parts)
    return (EdgeObject(manifest_key, manifest_size, manifest_sha256), *parts)


def prove_edge(
    edge: Edge,
    objects: Sequence[EdgeObject],
    listen: Listener = ignore,
    *,
    sample_percent: float = SAMPLE_PERCENT,
    mend: Mend | None = None,
    timestamp: bool = True,
    waiting: Waiting | None = None,
) -> EdgeProof:
    """See that ``edge`` serves every one of ``objects`` rightly, and hash ``sample_percent`` of them (at least one; 100: all).

    What answers 404 was perhaps asked for before it was there: ``mend`` lets the CDN forget that, once, and the edge
    is asked again for up to ten minutes. ``timestamp``: the one mutable object's cache rule is looked at too.

    Raises:
        EdgeProofFailed: an object is missing, or is served otherwise than it should be; the first few are named.
        AccessDenied, StoreUnavailable, UnavailableError
    """
    waiting = waiting or Waiting()
    started, asked = time.monotonic(), edge.requests
    listen(StepStarted("edge", len(objects)))
    looked = _look_at(edge, objects, listen, waiting)
    if timestamp:
        looked.faults += _timestamp_faults(edge, listen, waiting)
    # Objects that are wrong are not mended by waiting for others.
    if looked.missing and not looked.faults and mend is not None:
        mend([wanted.key for wanted in looked.missing])
        for _ in waiting.until():
            again = _look_at(edge, looked.missing, listen, waiting)
            looked.cached += again.cached
            looked.faults += again.faults
            looked.missing = again.missing
            if not looked.missing or looked.faults:
                break
    _check(edge, looked, len(objects))
    chosen = [objects[index] for index in draw_sample([one.sha256 for one in objects], sample_percent)]
    total = _read_back(edge, chosen, listen, waiting)
    found = [cached for _, cached in looked.cached]
    listen(StepFinished("edge", len(objects), total, time.monotonic() - started))
    return EdgeProof(
        edge=edge.url,
        objects=len(objects),
        hits=found.count("hit"),
        misses=found.count("miss"),
        unknown=found.count("unknown"),
        cold=tuple(key for key, cached in looked.cached if cached == "miss"),
        read=len(chosen),
        bytes_read=total,
        requests=edge.requests - asked,
        seconds=round(time.monotonic() - started, 3),
    )


def cold_at(edge: Edge, objects: Sequence[EdgeObject], listen: Listener = ignore, *, waiting: Waiting | None = None) -> list[str]:
    """The keys of ``objects`` that ``edge`` does not have: it fetched them when they were asked for, or knows them as missing.

    Nothing else is judged here.

    Raises:
        AccessDenied, StoreUnavailable, UnavailableError
    """
    looked = _look_at(edge, objects, listen, waiting or Waiting())
    cold = {key for key, cached in looked.cached if cached == "miss"} | {wanted.key for wanted in looked.missing}
    return [wanted.key for wanted in objects if wanted.key in cold]


def cache_rule_fault(key: str, found: str) -> str:
    """Say how a Cache-Control differs from the layout's rule for ``key``; "" where it means the same."""
    wanted = headers_for(key).cache_control
    return "" if _directives(found) == _directives(wanted) else f"Cache-Control is {found!r}, expected {wanted!r}"


def _directives(rule: str) -> set[str]:
    # Order, case and white space carry no meaning (RFC 9111 §5.2).
    return {directive.strip().lower().replace(" ", "") for directive in rule.split(",") if directive.strip()}


def _look_at(edge: Edge, objects: Sequence[EdgeObject], listen: Listener, waiting: Waiting) -> _Looked:
    retry = Retry(waiting.patience, listen=listen, sleep=waiting.sleep)
    looked = _Looked()
    with threads(LOOKS_AT_ONCE, "edge") as pool:
        answers = in_order(pool, partial(_look, edge, retry), objects, ahead=2 * LOOKS_AT_ONCE)
        for wanted, found in zip(objects, answers, strict=True):
            if isinstance(found, ObjectMissing):
                looked.missing.append(wanted)
            elif isinstance(found, ModelportError):
                looked.faults.append(found)
            else:
                looked.cached.append((wanted.key, found))
    return looked


def _look(edge: Edge, retry: Retry, wanted: EdgeObject) -> Cached | ModelportError:
    at = secrets.randbelow(wanted.size)
    try:
        answer = retry.call(lambda: edge.look(wanted.key, at=at, size=wanted.size), what=f"look {wanted.key}")
    except (ObjectMissing, SourceLied, RedirectRefused) as error:
        return error
    if not answer.ranged:
        return EdgeProofFailed(
            f"{edge.url}/{wanted.key}: the whole object came for a range",
            hint="Let the edge honour ranges: without them nobody can fetch a part of a part, or resume.",
        )
    fault = cache_rule_fault(wanted.key, answer.cache_control)
    if fault:
        return _ruled(edge, wanted.key, fault)
    return answer.cached


def _timestamp_faults(edge: Edge, listen: Listener, waiting: Waiting) -> list[ModelportError]:
    retry = Retry(waiting.patience, listen=listen, sleep=waiting.sleep)
    try:
        answer = retry.call(lambda: edge.look(TIMESTAMP, at=0, size=None), what=f"look {TIMESTAMP}")
    except ObjectMissing:
        # Before a first commit there is none.
        return []
    except (SourceLied, RedirectRefused) as error:
        return [error]
    fault = cache_rule_fault(TIMESTAMP, answer.cache_control)
    return [_ruled(edge, TIMESTAMP, fault)] if fault else []


def _ruled(edge: Edge, key: str, fault: str) -> EdgeProofFailed:
    return EdgeProofFailed(
        f"{edge.url}/{key}: {fault}", hint="Let the CDN pass the origin's Cache-Control on, and switch its own rules off."
    )


def _check(edge: Edge, looked: _Looked, objects: int) -> None:
    wrong = len(looked.faults) + len(looked.missing)
    if not wrong:
        return
    lines = [str(error) for error in looked.faults]
    lines += [f"{edge.url}/{wanted.key}: there is no such object" for wanted in looked.missing]
    more = f" (and {wrong - NAMED} more)" if wrong > NAMED else ""
    hint = looked.faults[0].hint if looked.faults else "Check the CDN's origin and its rules for 404, then publish again."
    raise EdgeProofFailed(
        f"{wrong} of {objects} objects are not served as they should be: {'; '.join(lines[:NAMED])}{more}", hint=hint
    )


def _read_back(edge: Edge, chosen: Sequence[EdgeObject], listen: Listener, waiting: Waiting) -> int:
    retry = Retry(waiting.patience, listen=listen, sleep=waiting.sleep)

    def read(wanted: EdgeObject) -> int:
        return retry.call(lambda: _hashed(edge, wanted), what=f"read {wanted.key}")

    total = 0
    with threads(READS_AT_ONCE, "edge-read") as pool:
        for size in in_order(pool, read, chosen, ahead=READS_AT_ONCE):
            total += size
            listen(Progress("edge", size))
    return total


def _hashed(edge: Edge, wanted: EdgeObject) -> int:
    digest, size = hashlib.sha256(), 0
    for block in edge.get(wanted.key):
        size += len(block)
        if size > wanted.size:
            break
        digest.update(block)
    if size != wanted.size or digest.hexdigest() != wanted.sha256:
        raise EdgeProofFailed(
            f"{edge.url}/{wanted.key}: {min(size, wanted.size)} bytes with sha256 {digest.hexdigest()} came, "
            f"expected {wanted.size} with {wanted.sha256}",
            hint="The edge has other bytes: let the CDN forget them with `invoke publish --repair`, and look who altered them.",
        )
    return size
