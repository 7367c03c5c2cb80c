"""Bring one release into one folder: keep what is right, copy what is here, fetch the rest, put it in place.

Takes a verified manifest and a destination, gives an ``Arrival`` that is prepared, carried out and settled one
after the other, so that the space for all releases of a fetch is checked before the first byte of any.

next: ``pipeline.supply``
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.digest import Sha256
from pipeline.errors import DiskError
from pipeline.events import Listener, Warned
from pipeline.manifest import Chunk, Manifest
from pipeline.plan.fetching import FetchPlan, Spot, Target, join_ranges, places_of, plan_fetch
from pipeline.retry import Patience
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.installed import InstallRecord, Installs
from pipeline.steps.assemble import Assembly, RangeSource
from pipeline.steps.destination import Found
from pipeline.steps.folders import disk_error, open_folder, opened_folder
from pipeline.steps.holdings import Holder, Holdings, copy_held
from pipeline.steps.landing import Landing, landing_at
from pipeline.steps.leftovers import remove_leftovers
from pipeline.steps.neighbours import Neighbours
from pipeline.steps.proofread import read_proof

# What directories and their entries may take besides.
SPARE_BYTES = 4 << 20


@dataclass(slots=True)
class Arrival:
    """One release on its way into ``destination``; ``look`` says what stands there, ``found`` what it said last.

    ``neighbours`` are folders that no fetch recorded; None: they are not looked at.
    """

    manifest: Manifest
    manifest_data: bytes
    sha256: Sha256
    destination: Path
    look: Callable[[], Found]
    listen: Listener
    neighbours: Neighbours | None = None
    found: Found = field(init=False)
    bytes_fetched: int = 0
    bytes_reused: int = 0
    _landing: Landing | None = None
    _adopted: set[int] = field(default_factory=set)
    _plan: FetchPlan | None = None
    _holdings: Holdings | None = None

    def __post_init__(self) -> None:
        self.found = self.look()

    @property
    def fetch_bytes(self) -> int:
        """Stored bytes that are to come over the network."""
        return self._plan.fetch_bytes if self._plan else 0

    def prepare(self, stack: ExitStack) -> None:
        """Lock the landing folder; look again at the destination if another fetch was at work there.

        Raises:
            UsageError, DiskError
        """
        waited = []

        def waiting() -> None:
            waited.append(True)
            self.listen(Warned("waiting", f"another fetch is filling {self.destination}: waiting for it"))

        landing = stack.enter_context(landing_at(self.destination, self.manifest, self.sha256, waiting=waiting))
        if waited:
            self.found = self.look()
            if self.found.complete:
                landing.discard()
                return
        self._landing = landing

    @property
    def needed_bytes(self) -> int:
        """Bytes that the file system must still find room for."""
        if self._landing is None:
            return 0
        files = self._not_adopted(self._whole())
        return max(0, sum(self.manifest.files[index].size for index in files) + SPARE_BYTES - self._landing.allocated())

    def plan(self, cache: CacheFolder, installs: Installs) -> None:
        """Decide where every byte comes from; the landing has room for all of them after this.

        Raises:
            DiskError
        """
        landing = self._landing
        if landing is None:
            return
        whole = self._whole()
        if whole:
            with opened_folder(self.destination) as folder_fd:
                self._adopted = {index for index in whole if landing.adopt(index, folder_fd)}
        files = self._not_adopted(self._adopted)
        begun = landing.allocate(files, keep=sorted(self._adopted))
        right = read_proof(landing.fd, self.manifest, begun, sparse=True).right
        places = places_of(self.manifest, files)
        self._holdings = self._find(places, right, cache, installs)
        self._plan = plan_fetch(self.manifest, places, right, self._holdings.spots)
        self.bytes_reused = self._plan.kept + sum(self.manifest.files[index].size for index in self._adopted)

    def foresee(self, cache: CacheFolder, installs: Installs) -> None:
        """Say what would come, as far as that can be said without a landing folder."""
        places = places_of(self.manifest, self.found.files)
        plan = plan_fetch(self.manifest, places, self.found.right, self._find(places, self.found.right, cache, installs).spots)
        self.bytes_fetched, self.bytes_reused = plan.fetch_bytes, plan.kept + plan.copy_bytes

    def carry_out(self, source: RangeSource, connections: int | None, patience: Patience) -> None:
        """Copy and fetch.

        Raises:
            ModelportError: what came stays for the next run.
        """
        landing, plan, holdings = self._landing, self._plan, self._holdings
        if landing is None or plan is None or holdings is None:
            return
        try:
            failed, copied = copy_held(landing, holdings.holders, plan.copies)
        except OSError as error:
            raise disk_error(error, landing.folder, needed=plan.copy_bytes) from error
        self.bytes_reused += copied
        ranges = plan.ranges
        if failed:
            ranges = join_ranges(self.manifest, [*(piece for one in plan.ranges for piece in one.pieces), *failed])
        if ranges:
            assembly = Assembly(source, landing, ranges, listen=self.listen, connections=connections, patience=patience)
            try:
                assembly.run()
            finally:
                self.bytes_fetched += assembly.bytes

    def take_place(self, installs: Installs, source: str) -> None:
        """Make it durable and give it its name; ``source`` is where it came from.

        Raises:
            DiskError, UsageError
        """
        if self._landing is None:
            return
        self._landing.settle(self.found.files)
        chosen = [self.manifest.files[index].path for index in self.found.files]
        record = InstallRecord(
            folder=str(self.destination),
            release=str(self.manifest.release),
            manifest_sha256=self.sha256,
            source=source,
            files=() if len(chosen) == len(self.manifest.files) else tuple(chosen),
            executable_bits=self._landing.keeps_bits,
        )
        installs.intend(record, self.manifest_data)
        self._landing.take_place()

    def replace_files(self, files: Sequence[int]) -> None:
        """Put these files in place of those of the folder, which stays as it is otherwise.

        Raises:
            DiskError
        """
        if self._landing is not None:
            self._landing.settle(files)
            self._landing.replace_files(files)

    def remember(self, cache: CacheFolder, installs: Installs) -> None:
        """Record what the folder holds, and keep the files that came in the cache.

        What was there already may be somebody's own work: only what a fetch put there may a fetch replace.

        Raises:
            DiskError
        """
        if installs.intended(self.destination, self.sha256):
            # A run that was killed after its rename may have left the old folder under the landing's name.
            remove_leftovers(self.destination)
            installs.confirm(self.destination)
        if self._landing is not None:
            for index in self.found.files:
                file = self.manifest.files[index]
                cache.keep_file(self.destination / file.path, file)
            cache.shrink()

    def _whole(self) -> set[int]:
        """Files of the old folder that are right from end to end, mode included."""
        proof = self.found.proof
        if not self.found.exists or not proof.right:
            return set()
        return {index for index in self.found.files if index not in proof.altered and index not in proof.missing}

    def _not_adopted(self, adopted: set[int]) -> list[int]:
        return [index for index in self.found.files if index not in adopted]

    def _find(self, places: Mapping[Target, Chunk], right: set[Target], cache: CacheFolder, installs: Installs) -> Holdings:
        wanted = {chunk.blake3 for target, chunk in places.items() if target not in right}
        holdings = Holdings(wanted)
        if not wanted:
            return holdings
        if self.found.right:
            spots = {
                chunk.blake3: Spot(0, self.manifest.files[target.file].path, target.at)
                for target, chunk in places_of(self.manifest, self.found.files).items()
                if target in self.found.right and chunk.blake3 in wanted
            }
            holdings.holders.append(Holder(self.destination))
            holdings.spots.update(spots)
        holdings.add_cache(
            cache, lambda path: self.listen(Warned("cache-rotten", f"{path} was damaged: it was dropped, its bytes come anew"))
        )
        records = sorted(installs.all(), key=lambda record: not record.release.startswith(f"{self.manifest.model}-v"))
        for record in records:
            if not holdings.complete:
                manifest = installs.manifest(record)
                if manifest is not None:
                    holdings.add_folder(Path(record.folder), manifest)
        self._ask_neighbours(holdings, places, passed={self.destination, *(Path(record.folder) for record in records)})
        return holdings

    def _ask_neighbours(self, holdings: Holdings, places: Mapping[Target, Chunk], *, passed: set[Path]) -> None:
        if self.neighbours is None or holdings.complete:
            return
        stored = {chunk.blake3: chunk.stored for chunk in places.values()}
        for folder, target in self.neighbours.near(self.manifest, passed):
            to_come = sum(stored[digest] for digest in holdings.wanted if digest not in holdings.spots)
            # The release that is wanted may stand beside its new place too.
            own = target.sha256 == self.sha256
            manifest = self.manifest if own else self.neighbours.manifest(target, to_come=to_come)
            if manifest is not None:
                holdings.add_folder(folder, manifest)
            if holdings.complete:
                return


def check_space(arrivals: Sequence[Arrival]) -> None:
    """Refuse to begin what cannot end: every file system must have room for all that goes there.

    Raises:
        DiskError: naming the bytes that are needed.
    """
    needed: dict[int, tuple[int, Path]] = {}
    for arrival in arrivals:
        fd = open_folder(arrival.destination.parent)
        try:
            device = os.fstat(fd).st_dev
            before = needed.get(device, (0, arrival.destination.parent))
            needed[device] = (before[0] + arrival.needed_bytes, before[1])
            room = os.fstatvfs(fd)
        finally:
            os.close(fd)
        free = room.f_bavail * room.f_frsize
        # No blocks at all: a file system that tells nothing of its room.
        if room.f_blocks and needed[device][0] > free:
            raise DiskError(
                f"{arrival.destination.parent}: {needed[device][0]} bytes are needed, {free} are free",
                hint="Free space there, or choose another folder with --to.",
            )
