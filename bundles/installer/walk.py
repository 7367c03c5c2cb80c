"""The installation, step by step: verify, write beside, prove, make safe, and only then switch.

Takes an ``Order`` and ``Tools``, gives a ``Done``, or one clear refusal. Every change of the disk follows a step
that ``STEPS`` names; the tests kill the process at each of them, and the next run finishes. Until ``switched`` the
old generation is live and untouched; removing old generations comes last.

next: ``program``
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bundles.installer import generations, receipts, tree
from bundles.installer.copying import copy_from_bases
from bundles.installer.faults import IntegrityError, UsageError, raise_first
from bundles.installer.folders import Folder
from bundles.installer.index import Member
from bundles.installer.landing import Landing
from bundles.installer.layout import BIN, INSTALLER, LOCK, PROGRESS, STAGING, kept_wheel, part_file, receipt_file, web_link
from bundles.installer.outcome import Done, begun
from bundles.installer.placing import Read, blocks_of, place_part
from bundles.installer.preflight import Order, Ready, Wanted, prepare
from bundles.installer.progress import Progress
from bundles.installer.sitestate import load_state
from bundles.installer.tools import Tools
from bundles.installer.views import simple_pages
from bundles.installer.volumes import DamagedVolume, MediumFault, Volume
from bundles.installer.wanted import Job, Target
from bundles.installer.zstds import find_decoder

STEPS = (
    "begin", "trust", "room", "volume", "noted", "proof", "settle", "pages", "place", "record", "tree", "installer",
    "generation", "web", "switch", "receipt", "prune",
)  # fmt: skip
STATE_BYTES = 16 << 20
# A file of at least this size goes to the disk while others are still being written.
FLUSHED_BYTES = 8 << 20
MERGE = "; or, where modelport is at hand, merge the copies: bundle.repair --folder "
ROTTEN = "Remove what is named and run this again: its bytes are then taken from the medium, or from what is installed."


def _nothing(told: str | int) -> None:
    """Those who do not listen."""


def install(
    order: Order,
    tools: Tools,
    *,
    step: Callable[[str], None] = _nothing,
    done: Callable[[int], None] = _nothing,
    installer: bytes | None = None,
    facts: dict[str, Any] | None = None,
    dry: bool = False,
) -> Done:
    """Install a bundle, as far as the volumes at hand go; run it again for the next ones.

    ``step`` is called before each step, ``done`` with each number of bytes written; ``installer`` are the bytes
    that the site keeps as its checked copy, ``facts`` go into the receipt.

    Raises:
        UsageError, IntegrityError, TrustError, DiskError
    """
    if order.keep < 1:
        raise UsageError(f"--keep {order.keep} would leave no generation", "Keep at least 1.")
    with ExitStack() as stack:
        there = os.path.isdir(order.site)
        site = Folder(order.site, make=False) if there else None
        if site:
            stack.callback(site.close)
            if site.kind(LOCK):
                stack.enter_context(site.lock(LOCK, reading=dry))
        ready = prepare(order, tools, site)
        stack.callback(ready.medium.close)
        found = begun(order, ready, dry=dry)
        if ready.work.framed and tools.decode is None:
            # A wheel is unpacked beside what it will write, if that is there; its folder is removed at once.
            scratch = site.shown(STAGING) if site and site.kind(STAGING) == "folder" else None
            folders = [*order.sources, *([site.shown(BIN)] if site else [])]
            tools = dataclasses.replace(tools, decoder=find_decoder(folders, order.zstd, scratch))
        found.decoder = tools.decoder.name if tools.decoder else ""
        if dry and found.missing and ready.medium.faults:
            raise ready.medium.faults[0]
        if dry:
            return found
        step("begin")
        if site is None:
            site = Folder(order.site, make=True)
            stack.callback(site.close)
        if not site.kind(LOCK):
            stack.enter_context(site.lock(LOCK))
            if load_state(site).pins and not ready.state.site:
                raise UsageError(f"another installation began in {site.path}", "Run it again.")
        _Run(order, tools, site, ready, found, step, done).run(installer, facts or {})
    return found


@dataclass
class _Run:
    """One installation past its preflight."""

    order: Order
    tools: Tools
    site: Folder
    ready: Ready
    found: Done
    step: Callable[[str], None]
    done: Callable[[int], None]
    faults: dict[str, IntegrityError | MediumFault] = field(default_factory=dict)
    counting: threading.Lock = field(default_factory=threading.Lock)
    rotten: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.landings = [Landing(self.site, one.manifest, one.files) for one in self.ready.releases]
        self.progress = Progress(self.site)

    def run(self, installer: bytes | None, facts: dict[str, Any]) -> None:
        """Do it."""
        self.step("trust")
        self.ready.state.site = self.site
        self.ready.state.save()
        wheel = self.tools.decoder.wheel if self.tools.decoder else None
        if wheel and not self.site.kind(kept_wheel(wheel[0])):
            # The next medium may come without one.
            self.site.write(kept_wheel(wheel[0]), wheel[1])
        try:
            self._make_room()
            self._place()
        finally:
            for landing in self.landings:
                landing.close()
        raise_first(self.faults)
        if self.found.missing:
            # A volume that is here and damaged is told before those that are not here.
            for fault in self.ready.medium.faults:
                raise fault
            return
        self._prove()
        self._lay_out()
        self._make_live(installer, facts)

    def _make_room(self) -> None:
        self.step("room")
        growing = [landing for landing in self.landings if landing.files]
        needed = sum(landing.size - landing.allocated() for landing in growing)
        if self.order.keep_parts:
            needed += sum(job.part.size for name, job in self.ready.work.jobs.items() if name not in self.ready.kept)
        self.site.check_room(needed)
        self.site.make(STAGING)
        kept = {landing.folder.rpartition("/")[2] for landing in growing} | {PROGRESS.rpartition("/")[2]}
        for name in self.site.names(STAGING):
            if name not in kept:
                self.site.remove(f"{STAGING}/{name}")
        for landing in growing:
            if not landing.allocate():
                self.progress.forget(landing.manifest.sha256)
            landing.resumed = bool(self.progress.parts(landing.manifest.sha256))

    def _place(self) -> None:
        """Take everything out of the volumes at hand; what is safe on the disk is noted after each."""
        copies = self.ready.work.copies
        if copies:
            self.step("volume")
            copy_from_bases(self.site, self.ready.bases, copies, self.tools, self._write)
        jobs: dict[int, list[tuple[str, Job]]] = {}
        for name, job in self.ready.work.jobs.items():
            jobs.setdefault(0 if name in self.ready.kept else self.ready.carried[name][0], []).append((name, job))
        missing = set()
        for number in sorted(jobs):
            left = [(name, job) for name, job in jobs[number] if not self._is_placed(name, job)]
            if not left:
                continue
            if number and number not in self.ready.medium.volumes:
                missing.add(number)
                continue
            self.step("volume")
            with ThreadPoolExecutor(1) as flusher, ThreadPoolExecutor(self.tools.threads) as pool:
                taken, flushed = [], []
                for (_, job), right in zip(left, pool.map(partial(self._take, number), left)):
                    taken.append(right)
                    # The disk works while the next parts are decoded.
                    flushed.append(flusher.submit(self._flush, job))
                for one in flushed:
                    # The system tells a failed write once: to the first who asks.
                    one.result()
            placed = [name for (name, _), right in zip(left, taken) if right]
            for landing in self.landings:
                if landing.files:
                    landing.flush()
            self.step("noted")
            self.progress.add({landing.manifest.sha256 for landing in self.landings if landing.files}, placed)
        self.found.missing = sorted(missing)

    def _flush(self, job: Job) -> None:
        for landing, file in {(target.landing, target.file) for targets in job.chunks.values() for target in targets}:
            if self.landings[landing].manifest.files[file].size >= FLUSHED_BYTES:
                self.landings[landing].sync_file(file)

    def _is_placed(self, name: str, job: Job) -> bool:
        if self.order.keep_parts and name not in self.ready.kept and not tree.has_part(self.site, job.part.size, name):
            return False
        targets = {target.landing for places in job.chunks.values() for target in places}
        return all(name in self.progress.parts(self.landings[number].manifest.sha256) for number in targets)

    def _take(self, number: int, item: tuple[str, Job]) -> bool:
        """Place one part from any good copy of its volume; a bad one is named, and the others go on."""
        name, job = item
        faults: dict[str, IntegrityError | MediumFault] = {}
        for volume in self._sources(number, name):
            fault = self._try_source(volume, name, job)
            if fault is None:
                self.found.warnings += [f"a copy was passed over: {fault}" for fault in faults.values()]
                return True
            faults[volume.path if volume else self.site.shown(part_file(name))] = fault
        copies = self.ready.medium.volumes.get(number, ())
        folders = dict.fromkeys(shlex.quote(os.path.dirname(one.path) or ".") for one in copies)
        for place, fault in faults.items():
            # Each copy may be whole where the others are not, even within one part.
            fault.hint += f"{MERGE}{' --from '.join(folders)}" if len(folders) > 1 else ""
            self.faults.setdefault(place, fault)
        return False

    def _try_source(self, volume: Volume | None, name: str, job: Job) -> IntegrityError | MediumFault | None:
        source = _volume_reader(volume, self.ready.carried[name][1]) if volume else tree.kept_part(self.site, name)
        try:
            with source as read:
                self._take_from(read, name, job)
        except (MediumFault, DamagedVolume) as error:
            return error
        except IntegrityError as error:
            if volume:
                return volume.damaged(str(error))
            return IntegrityError(f"{self.site.shown(part_file(name))} is damaged: {error}", ROTTEN)
        return None

    def _take_from(self, read: Read, name: str, job: Job) -> None:
        scratch = self.site.shown(STAGING)
        if name in self.rotten or (self.order.keep_parts and name not in self.ready.kept):
            tree.keep_part(self.site, job, blocks_of(read, job.part.size))
            with tree.kept_part(self.site, name) as kept:
                place_part(kept, job, self.tools, self._write, scratch)
        elif job.chunks:
            place_part(read, job, self.tools, self._write, scratch)

    def _sources(self, number: int, name: str) -> Iterator[Volume | None]:
        """Where a part may be had, None for the site; one that rotted there is replaced by that of the medium."""
        if number == 0:
            yield None
            self.rotten.add(name)
            number = self.ready.carried[name][0] if name in self.ready.carried else 0
        yield from self.ready.medium.volumes.get(number, ())

    def _write(self, target: Target, plain: bytes | bytearray | memoryview) -> None:
        self.landings[target.landing].write(target.file, target.at, plain)
        with self.counting:
            self.found.bytes_written += len(plain)
            self.done(len(plain))

    def _prove(self) -> None:
        """Prove every file whose bytes were not all proven, chunk by chunk, by this very run."""
        self.step("proof")
        for landing in self.landings:
            if not landing.files or (self.tools.blake3 is not None and not landing.resumed):
                continue
            bad = landing.bad_files()
            if bad:
                landing.discard()
                self.progress.forget(landing.manifest.sha256)
                raise IntegrityError(
                    f"{landing.manifest.release}: {', '.join(bad[:5])} did not come out as signed; what was written is thrown away",
                    "Run it again. If it happens again, check this machine's memory and disk.",
                )

    def _lay_out(self) -> None:
        for one, landing in zip(self.ready.releases, self.landings):
            if landing.files or not one.stands:
                self.step("settle")
                self.found.warnings += landing.settle()
                if one.manifest.kind == "wheels" and not one.stands:
                    self.step("pages")
                    for path, page in simple_pages(one.manifest.files).items():
                        self.site.write(f"{landing.folder}/{path}", page)
                    self.site.sync(landing.folder)
                # Before the name: a folder that stands with a record is ours, and may be put right.
                self._record(one, landing)
                self.step("place")
                landing.take_place(replace=one.stands)
            elif receipts.installed_manifest(self.site, one.manifest.release) != one.manifest.sha256:
                # It is whole, and nobody noted by what: somebody copied it here, or a removal was killed.
                self._record(one, landing)
            receipts.mend_manifest(self.site, one.manifest)
        self.step("tree")
        tree.keep_channels(self.site, self.ready.documents)
        tree.drop_truncated(self.site, ((part.size, part.blake3) for one in self.ready.releases for part in one.manifest.parts))
        if self.order.keep_parts:
            tree.keep_documents(self.site, self.ready.documents)

    def _record(self, one: Wanted, landing: Landing) -> None:
        self.step("record")
        known = not one.stands or receipts.keeps_bits(self.site, one.manifest.release)
        receipts.record_installed(self.site, one.manifest, keeps_bits=landing.keeps_bits and known)

    def _make_live(self, installer: bytes | None, facts: dict[str, Any]) -> None:
        site, live = self.site, self.ready.live
        if installer is not None and site.read(INSTALLER, STATE_BYTES) != installer:
            self.step("installer")
            site.write(INSTALLER, installer, 0o755)
        number = generations.current_number(site)
        if generations.live_releases(site, number) != live or not number:
            self.step("generation")
            generations.drop_unswitched(site)
            number = generations.write_generation(site, live)
            self.step("web")
            for one in self.ready.releases:
                if one.manifest.kind == "web" and not generations.link_web(site, one.manifest.release):
                    self.found.warnings.append(f"{site.shown(web_link(one.manifest.model))} cannot be a link here: see current")
            self.step("switch")
            generations.switch(site, number)
        self.found.generation = number
        receipt = receipt_file(number, self.found.bundle)
        if not site.kind(receipt):
            self.step("receipt")
            receipts.write_receipt(site, number, self.found.bundle, self._facts(facts))
        self.found.receipt = site.shown(receipt)
        self.step("prune")
        self.found.removed = generations.prune(site, self.order.keep)
        site.remove(STAGING)

    def _facts(self, facts: dict[str, Any]) -> dict[str, Any]:
        found = self.found
        return {
            "name": found.name,
            "root_fingerprint": found.root_fingerprint,
            "snapshot": found.snapshot,
            "releases": [{"release": one["release"], "manifest_sha256": one["manifest_sha256"]} for one in found.releases],
            "repaired": found.repaired,
            # Strict readers refuse half characters, which stand for bytes of names that are no text.
            "warnings": [warning.encode(errors="replace").decode() for warning in found.warnings],
            "decoder": found.decoder,
            **facts,
        }


@contextmanager
def _volume_reader(volume: Volume, member: Member) -> Iterator[Read]:
    volume.check_around(member)
    yield lambda at, size: volume.range(member, at, size)
