"""Fetch: a release, and all it depends on, arrives complete and proven.

Takes an order and a supply, gives ``Fetched``. Signed metadata first; then what is wanted, what is here, what must
come; then bytes, each verified as it lands; and at the end one rename a folder, dependencies before what needs them.

next: ``pipeline.verify_folder``
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from pipeline.errors import InvalidDocument, UnavailableError, UnknownName, UsageError
from pipeline.events import Listener, StepFinished, StepStarted, Warned, ignore
from pipeline.manifest import Manifest
from pipeline.place import Heard
from pipeline.plan.wants import Want
from pipeline.release import Release, check_channel, takes
from pipeline.resolve import resolve_dependencies
from pipeline.sources.mirrors import SourceUse
from pipeline.steps.assemble import STEP
from pipeline.steps.bring import Arrival, check_space
from pipeline.steps.destination import look_at
from pipeline.steps.neighbours import Neighbours
from pipeline.supply import Supply
from pipeline.trust.view import ReleaseTarget, View


@dataclass(frozen=True, slots=True)
class FetchOrder:
    """What to fetch and where to. ``place`` holds one folder a release; ``to`` names the folder of the wanted one itself.

    ``connections`` None lets the line decide.
    """

    want: Want
    place: Path
    to: Path | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    dependencies: bool = True
    allow_yanked: bool = False
    connections: int | None = None


class Brought(msgspec.Struct, kw_only=True):
    """One release in its folder. ``bytes_fetched`` are stored bytes from the network, ``bytes_reused`` plain ones from here."""

    release: str
    folder: str
    manifest_sha256: str
    files: int
    bytes: int
    bytes_fetched: int
    bytes_reused: int
    already_there: bool


class Fetched(msgspec.Struct, kw_only=True):
    """What a fetch did; sums are over the release and its dependencies, all other fields are the release's own."""

    release: str
    folder: str
    manifest_sha256: str
    root_fingerprint: str
    files: int
    bytes: int
    bytes_fetched: int
    bytes_reused: int
    already_there: bool
    requests: int
    sources: list[SourceUse]
    dependencies: list[Brought]
    warnings: list[str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Signed:
    """A release as signed metadata and its own manifest say it is."""

    target: ReleaseTarget
    data: bytes
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class _Learned:
    """All that the signed tree says of one order: the wanted release first, then what it needs."""

    releases: tuple[Signed, ...]
    fingerprint: str
    url: str
    warnings: tuple[str, ...]
    view: View


def fetch_release(order: FetchOrder, supply: Supply, listen: Listener, *, dry: bool = False) -> Fetched:
    """Bring what is ordered into its folder; nothing stands under its name before it is whole and proven.

    ``dry`` only says what would come.

    Raises:
        UnknownName, UsageError: no such release, a yanked one, dependencies that do not go together, a destination in use.
        TrustError, IntegrityError, UnavailableError, DiskError
    """
    heard = Heard(listen)
    started = time.monotonic()
    learned = supply.read(partial(_learn, order, supply.channel), heard.listen)
    for message in learned.warnings:
        heard.listen(Warned("trust", message))
    beside = (order.to.parent, order.place) if order.to else (order.place,)
    neighbours = Neighbours(learned.view, beside)
    arrivals = [
        _arrival(order, supply, signed, heard.listen, neighbours, main=number == 0)
        for number, signed in enumerate(learned.releases)
    ]
    coming = [arrival for arrival in arrivals if not arrival.found.complete]
    if dry:
        for arrival in coming:
            arrival.foresee(supply.cache, supply.installs)
        return _fetched(learned, arrivals, supply, heard, started)
    with ExitStack() as stack:
        # In one order on every machine: two fetches that need each other's folders must not wait for each other.
        for arrival in sorted(coming, key=lambda one: str(one.destination)):
            arrival.prepare(stack)
        check_space(coming)
        for arrival in coming:
            arrival.plan(supply.cache, supply.installs)
        total = sum(arrival.fetch_bytes for arrival in coming)
        if total and supply.sources is None:
            raise UnavailableError(
                f"{total} bytes of {learned.releases[0].target.release} are not on this machine, and --offline asks nobody",
                hint="Run it without --offline.",
            )
        # Where everything is there already, nothing begins and nothing ends.
        tell = heard.listen if coming else ignore
        tell(StepStarted(STEP, len(coming), total))
        begun = time.monotonic()
        for arrival in reversed(coming):
            arrival.carry_out(supply.reach, order.connections, supply.patience)
        # Dependencies first: who sees the release finds what it needs beside it.
        for arrival in reversed(coming):
            arrival.take_place(supply.installs, learned.url)
        for arrival in arrivals:
            arrival.remember(supply.cache, supply.installs)
        tell(StepFinished(STEP, len(coming), sum(one.bytes_fetched for one in coming), time.monotonic() - begun))
    return _fetched(learned, arrivals, supply, heard, started)


def _fetched(learned: _Learned, arrivals: Sequence[Arrival], supply: Supply, heard: Heard, started: float) -> Fetched:
    brought = [_brought(arrival) for arrival in arrivals]
    uses = supply.sources.uses() if supply.sources else []
    # What the mirrors told their own listener belongs to this run's warnings too.
    dropped = [f"{use.url} is not used any more: {use.dropped}" for use in uses if use.dropped]
    main = brought[0]
    return Fetched(
        release=main.release,
        folder=main.folder,
        manifest_sha256=main.manifest_sha256,
        root_fingerprint=learned.fingerprint,
        files=main.files,
        bytes=main.bytes,
        bytes_fetched=sum(one.bytes_fetched for one in brought),
        bytes_reused=sum(one.bytes_reused for one in brought),
        already_there=all(one.already_there for one in brought),
        requests=supply.requests,
        sources=uses,
        dependencies=brought[1:],
        warnings=list(dict.fromkeys([*heard.warnings, *dropped])),
        seconds=round(time.monotonic() - started, 3),
    )


def choose_release(view: View, want: Want, *, channel: str, allow_yanked: bool) -> ReleaseTarget:
    """The one release that ``want`` means in this tree.

    Raises:
        UnknownName: there is none.
        UsageError: it is yanked, and not named exactly with --allow-yanked.
    """
    if want.versions:
        return _newest_in_range(view, want)
    if want.release is not None:
        target = view.release(want.release)
    else:
        document = view.channel(want.model, want.channel or check_channel(channel))
        target = view.release(Release.parse(document.release))
        if target.sha256 != document.manifest_sha256:
            raise InvalidDocument(
                f"channel {document.model}@{document.channel} names another manifest of {document.release} than its signed target",
                hint="The tree was not written by modelport, or it was altered: try another source.",
            )
    yanked = target.facts.yanked
    if yanked is not None and not (allow_yanked and want.release is not None):
        raise UsageError(
            f"{target.release} was yanked at {yanked.at} by {yanked.by}" + (f": {yanked.reason}" if yanked.reason else ""),
            hint=f"Choose another release, or take it all the same: --model {target.release} --allow-yanked",
        )
    return target


def _newest_in_range(view: View, want: Want) -> ReleaseTarget:
    there = view.releases(want.model)
    matching = [one for one in there if takes(want.versions, one.release)]
    if not matching:
        known = ", ".join(one.release.version for one in there[-5:]) or "none"
        raise UnknownName(
            f"no release of {want.model} in {view.source.url} is in the range {want.versions}", hint=f"There is: {known}"
        )
    found = [one for one in matching if one.facts.yanked is None]
    if not found:
        yanked = ", ".join(one.release.version for one in matching[-5:])
        raise UnknownName(
            f"every release of {want.model} in {view.source.url} in the range {want.versions} was yanked: {yanked}",
            hint=f"Choose another range, or take one all the same: --model {matching[-1].release} --allow-yanked",
        )
    return found[-1]


def _learn(order: FetchOrder, channel: str, view: View) -> _Learned:
    target = choose_release(view, order.want, channel=channel, allow_yanked=order.allow_yanked)
    needed = resolve_dependencies(view, target) if order.dependencies else ()
    signed = tuple(read_signed(view, one) for one in (target, *needed))
    return _Learned(signed, view.fingerprint, view.source.url, view.warnings, view)


def read_signed(view: View, target: ReleaseTarget) -> Signed:
    """A release's manifest, held against what is signed of it.

    Raises:
        InvalidDocument, DigestMismatch, ObjectMissing
    """
    data = view.manifest_bytes(target.release)
    return Signed(target, data, view.manifest(target.release, data))


def _arrival(
    order: FetchOrder, supply: Supply, signed: Signed, listen: Listener, neighbours: Neighbours, *, main: bool
) -> Arrival:
    release = signed.target.release
    beside = order.to.parent if order.to else order.place
    folder = order.to if main and order.to else beside / str(release)
    look = partial(
        look_at,
        folder,
        signed.manifest,
        signed.target.sha256,
        supply.installs,
        include=order.include if main else (),
        exclude=order.exclude if main else (),
    )
    arrival = Arrival(signed.manifest, signed.data, signed.target.sha256, folder, look, listen, neighbours)
    for path in arrival.found.extra:
        listen(Warned("extra-file", f"{folder / path} is no file of {release}"))
    return arrival


def _brought(arrival: Arrival) -> Brought:
    files = [arrival.manifest.files[index] for index in arrival.found.files]
    return Brought(
        release=str(arrival.manifest.release),
        folder=str(arrival.destination),
        manifest_sha256=arrival.sha256,
        files=len(files),
        bytes=sum(file.size for file in files),
        bytes_fetched=arrival.bytes_fetched,
        bytes_reused=arrival.bytes_reused,
        already_there=arrival.found.complete,
    )
