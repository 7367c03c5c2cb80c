"""A soak: releases come and go for hours at random, through a server that fails at random and processes that die at random.

    python -m tests.soak --rounds 300 [--seed 7]

Each round does one thing that people do (publish, promote, roll back, yank, retire, fetch, carry to a site, collect
garbage), again and again until it is done, as they would; then everything that stands is verified with the server
quiet. At the end nothing may be left over. What happens follows from the seed, but for how threads take turns.
"""

from __future__ import annotations

import argparse
import gc
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bundles.beside import Beside
from bundles.building import build_bundle
from bundles.installer.preflight import Order
from bundles.installing import install_bundle
from bundles.planning import BundleOrder
from bundles.recipes import RecipeShelf
from bundles.selecting import Selection
from bundles.site.tending import verify_whole
from bundles.verifying import verify_bundle
from pipeline.collect import CollectOrder, collect_garbage
from pipeline.digest import Sha256
from pipeline.errors import ModelportError, UnavailableError
from pipeline.events import ignore
from pipeline.fetch import FetchOrder, fetch_release
from pipeline.plan.wants import read_want
from pipeline.promote import promote_release, rollback_channel
from pipeline.release import Channel, ModelName, Release
from pipeline.retry import Patience
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.installed import Installs
from pipeline.sources.mirrors import Mirrors
from pipeline.sources.objects import StoreReader
from pipeline.supply import Supply
from pipeline.trust.publisher import no_step
from pipeline.trust.state import TrustState
from pipeline.verify import verify_release
from pipeline.verify_folder import prove_folder
from pipeline.withdraw import retire_release, yank_release
from tests.collect_world import Aging
from tests.fetch_world import contents
from tests.publish_world import STABLE, Killed, Machine, Site, lay_out, s3_shelf
from tests.servers.relay import Relay, Request, Rule, run_relay
from tests.servers.s3_servers import S3Server, run_seaweedfs

MODELS = ("bert", "gpt")
HASTY = Patience(attempts=4, first_wait_s=0.0, longest_wait_s=0.0)
# So many times somebody types the same command again before they look for the reason.
AGAIN = 12
TENSOR_BYTES = 48 << 10
# A pool keeps this many connections however long it goes on: both ends of each are in this process.
SOCKETS = 2 * 16
INSTALLER = b"#!/usr/bin/env python3\n# stands for the installer\n"


class Trouble:
    """A relay that spoils one request in some, in some way; ``quiet`` lets all pass."""

    def __init__(self, relay: Relay, chance: random.Random, share: float) -> None:
        self._relay, self._chance, self._share = relay, chance, share
        self._lock = threading.Lock()
        self.spoilt: Counter[str] = Counter()
        self._quiet = 0
        relay.take = self.take  # type: ignore[method-assign]  # the one place where a relay decides

    def take(self, request: Request) -> Rule | None:
        with self._lock:
            if self._quiet or self._chance.random() >= self._share:
                return None
            ways = ["answer", "reset", "lose answer", *(["cut answer"] if request.method == "GET" else [])]
            how = self._chance.choice(ways)
            self.spoilt[how] += 1
            return Rule(how, status=self._chance.choice((500, 503)), keep=self._chance.randrange(2000))  # type: ignore[arg-type]

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Nothing fails meanwhile."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1


@dataclass
class Soak:
    """One tree and its people. ``sources`` are the folders of all releases that are not retired, by name."""

    folder: Path
    site: Site
    chance: random.Random
    trouble: Trouble
    sources: dict[str, Path] = field(default_factory=dict)
    yanked: set[str] = field(default_factory=set)
    numbers: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    deaths: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.machine: Machine = self.site.begin()
        self.store = Aging(self.site.store)
        self.fingerprint = self.site.fingerprint
        self.home = self.folder / "consumer"
        TrustState(self.home / "trust").pin(Sha256(self.fingerprint))
        self.models = self.home / "models"
        self.place_of_site = self.folder / "site"
        for model in MODELS:
            self.publish(model)

    # --- what people do -------------------------------------------------------------------------

    def act(self) -> str:
        """Do one thing; gives its name."""
        weighed = {
            self.publish: 5,
            self.promote: 3,
            self.roll_back: 2,
            self.yank: 1,
            self.retire: 2,
            self.fetch: 4,
            self.carry: 2,
            self.collect: 2,
        }
        act = self.chance.choices([*weighed], [*weighed.values()])[0]
        act()
        self.done[act.__name__] += 1
        return act.__name__

    def publish(self, model: str = "") -> None:
        model = model or self.chance.choice(MODELS)
        self.numbers[model] += 1
        release = f"{model}-v1.{self.numbers[model]}.0"
        folder = self.folder / "sources" / release
        # Most of it is as before: what is shared is where a collector could be wrong.
        lay_out(folder, seed=len(model), other=self.chance.randrange(6), tensor_bytes=TENSOR_BYTES)
        (folder / "config.json").write_text(f'{{"release": "{release}"}}')
        flags = {"channel": STABLE} if self.chance.random() < 0.5 or self.numbers[model] == 1 else {}
        self._until_done(lambda step: self.machine.publish(release, folder, place=self._place(step), **flags))
        self.sources[release] = folder

    def promote(self) -> None:
        release = self.chance.choice([name for name in self.sources if name not in self.yanked])
        self._until_done(lambda step: promote_release(Release.parse(release), STABLE, self._place(step), ignore))

    def roll_back(self) -> None:
        model = self.chance.choice(MODELS)
        self._until_done(lambda step: rollback_channel(ModelName(model), STABLE, self._place(step), ignore), may_refuse=True)

    def yank(self) -> None:
        release = self.chance.choice([*self.sources])
        undo = release in self.yanked
        if not undo and release == self._on_channel(release):
            return
        self._until_done(lambda step: yank_release(Release.parse(release), self._place(step), ignore, reason="soaked", undo=undo))
        self.yanked ^= {release}

    def retire(self) -> None:
        release = self.chance.choice([*self.sources])
        if release == self._on_channel(release) or sum(name.startswith(release[:3]) for name in self.sources) < 3:
            return
        self._until_done(lambda step: retire_release(Release.parse(release), self._place(step), ignore, reason="old"))
        del self.sources[release]
        self.yanked.discard(release)

    def fetch(self) -> None:
        release = self.chance.choice([name for name in self.sources if name not in self.yanked])
        want = self.chance.choice((release, f"{release.partition('-')[0]}@stable"))
        order = FetchOrder(read_want(want), self.models, connections=2)
        fetched = self._until_done(lambda _: fetch_release(order, self._supply(), ignore))
        assert contents(self.models / fetched.release) == contents(self.sources[fetched.release])

    def carry(self) -> None:
        """Build a bundle, look at it as its receiver does, and install it."""
        release = self.chance.choice([name for name in self.sources if name not in self.yanked])
        medium = self.folder / "medium"
        shutil.rmtree(medium, ignore_errors=True)
        order = BundleOrder(Selection(wants=(read_want(release),)), volume_size=None, connections=2)
        shelf = RecipeShelf(self.home / "recipes")
        self._until_done(
            lambda _: build_bundle(order, self._supply(), medium, ignore, shelf=shelf, beside=lambda _: Beside(INSTALLER, {}))
        )
        verify_bundle([medium], ignore, fingerprint=self.fingerprint)
        install_bundle(Order((str(medium),), str(self.place_of_site), self.fingerprint, allow_downgrade=True, keep=2), ignore)
        assert contents(self.place_of_site / "models" / release) == contents(self.sources[release])

    def collect(self) -> None:
        """Collect twice, days apart: the first marks, the second deletes."""
        for _ in range(2):
            self._until_done(self._collect)
            self._pass_days(2)

    # --- how they do it -------------------------------------------------------------------------

    def _until_done(self, act: Callable[[Callable[[str], None]], object], *, may_refuse: bool = False) -> object:
        for attempt in range(AGAIN):
            # The last ones are left in peace: what was broken before must not stand in their way.
            left = self.chance.randrange(1, 16) if attempt < AGAIN - 2 and self.chance.random() < 0.3 else 0
            try:
                if attempt < AGAIN - 2:
                    return act(self._mortal(left))
                with self.trouble.quiet():
                    return act(no_step)
            except Killed:
                self.deaths += 1
                with self.trouble.quiet():
                    self.site.bury()
            except UnavailableError as error:
                self.refused[type(error).__name__] += 1
            except ModelportError as error:
                if may_refuse:
                    self.refused[type(error).__name__] += 1
                    return None
                raise
        raise AssertionError("it was never done, not even with the server quiet")

    def _mortal(self, left: int) -> Callable[[str], None]:
        lock = threading.Lock()

        def step(_: str) -> None:
            nonlocal left
            with lock:
                left -= 1
                if left == 0:
                    raise Killed

        return step

    def _place(self, step: Callable[[str], None]):
        return self.machine.place(store=self.store, step=step, patience=HASTY)

    def _supply(self) -> Supply:
        reader = StoreReader(self.store)
        return Supply(
            sources=Mirrors([reader], listen=ignore, sleep=lambda _: None),
            state=TrustState(self.home / "trust"),
            cache=CacheFolder(self.home / "cache", 64 << 20),
            installs=Installs(self.home / "installed"),
            now=self.machine.now,
            patience=HASTY,
            metadata_patience=HASTY,
        )

    def _collect(self, step: Callable[[str], None] = no_step):
        order = CollectOrder(grace=timedelta(days=1), metadata_grace=timedelta(days=1), apply=True)
        return collect_garbage(order, self._place(step), ignore)

    def _pass_days(self, days: float) -> None:
        self.store.passed += timedelta(days=days)
        self.machine.ahead_s += days * 86400

    def _on_channel(self, release: str) -> str:
        with self.trouble.quiet():
            view = self._place(no_step).view()
            return view.channel(Release.parse(release).model, Channel(STABLE)).release

    # --- what must hold -------------------------------------------------------------------------

    def check(self) -> None:
        """Everything that stands is whole: the tree for every reader, what was fetched, what was installed."""
        with self.trouble.quiet():
            place = self._place(no_step)
            view = place.view()
            names = {str(one.release) for model in view.models() for one in view.releases(model)}
            assert names == set(self.sources), names ^ set(self.sources)
            for name in names:
                verify_release(Release.parse(name), place, ignore, sample_percent=100)
            for folder in self.models.iterdir() if self.models.exists() else ():
                prove_folder(folder, self._supply(), ignore)
            if self.place_of_site.exists():
                verify_whole(self.place_of_site, ignore)

    def finish(self) -> None:
        """Collect until nothing is left to collect; then the store holds what is named, and no folder holds a leftover."""
        with self.trouble.quiet():
            self.site.bury()
            for _ in range(4):
                self._pass_days(2)
                done = self._collect()
            assert [one.key for one in done.garbage] == []
            self.check()
        left = [path for path in self.folder.rglob("*") if ".partial" in path.name or path.name.startswith(".modelport-")]
        assert left == []


def open_files() -> tuple[int, int]:
    """How many file descriptors this process has that are no sockets, and how many sockets."""
    gc.collect()
    kinds = Counter[bool]()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            kinds[entry.readlink().name.startswith("socket:")] += 1
    return kinds[False], kinds[True]


def own_threads() -> list[threading.Thread]:
    """Threads that are not the relay's, which has one for each connection that is kept."""
    return [one for one in threading.enumerate() if "process_request_thread" not in one.name]


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Let this process make its temporary files in ``folder``."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def run_soak(
    seaweedfs: S3Server, folder: Path, *, rounds: int, seed: int, share: float = 0.05, say: Callable[[str], None] = print
) -> Soak:
    """Soak for so many rounds. ``share``: of all requests, how many are spoilt."""
    say(f"soak: seed {seed}, {rounds} rounds")
    chance = random.Random(seed)
    # A folder of its own for temporary files: other tests have theirs in the usual one.
    (temporary := folder / "temporary").mkdir()
    with run_relay(seaweedfs.endpoint) as relay, temporary_files_in(temporary):
        trouble = Trouble(relay, random.Random(chance.random()), share)
        with trouble.quiet():
            bucket = seaweedfs.new_bucket()
            soak = Soak(folder, Site(folder, s3_shelf(seaweedfs, bucket, endpoint=relay.endpoint)), chance, trouble)
        # What is opened once and kept (a pool of connections, a log) is not a leak: counted when all of it has been done.
        for act in (soak.fetch, soak.carry, soak.collect, soak.promote):
            act()
        soak.check()
        files, threads = open_files()[0], len(own_threads())
        for number in range(rounds):
            try:
                name = soak.act()
                soak.check()
            except (AssertionError, ModelportError):
                say(f"soak: seed {seed}, round {number}: {dict(soak.done)}")
                raise
            if number % 25 == 24:
                say(f"  {number + 1}: {name}; files and sockets {open_files()}, {len(own_threads())} threads")
        soak.finish()
        relay.forget()
        _settles(lambda: open_files()[0] <= files, "files")
        _settles(lambda: open_files()[1] <= SOCKETS, "sockets")
        _settles(lambda: len(own_threads()) <= threads, "threads")
        assert [*temporary.iterdir()] == []
    return soak


def _settles(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until, f"{what} are left: {open_files()}, {own_threads()}"
        time.sleep(0.1)


def main() -> None:
    """Soak for long, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int(datetime.now(UTC).timestamp()))
    parser.add_argument("--share", type=float, default=0.05, help="of all requests, how many are spoilt")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, run_seaweedfs() as seaweedfs:
        started = time.monotonic()
        soak = run_soak(seaweedfs, Path(folder), rounds=given.rounds, seed=given.seed, share=given.share)
        spent = time.monotonic() - started
    print(f"{sum(soak.done.values())} done in {spent:.0f} s: {dict(soak.done)}")
    print(
        f"{sum(soak.trouble.spoilt.values())} requests spoilt {dict(soak.trouble.spoilt)}, {soak.deaths} deaths, {dict(soak.refused)}"
    )


if __name__ == "__main__":
    sys.exit(main())
