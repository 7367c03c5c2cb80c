"""What publishes make that nobody disturbs, and the proof that a disturbed one, run again, made the same."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.release import Release
from tests.publish_world import STABLE, Mortal, Site, directory_shelf, lay_out


class Calm:
    """What publishes make that nobody disturbs, and the two folders they are made of."""

    def __init__(self, folder: Path) -> None:
        self.sources = lay_out(folder / "one"), lay_out(folder / "two", other=1)
        self.site = Site(folder, directory_shelf(folder / "store"))
        machine = self.site.machine("calm")
        self.manifests, self.parts, self.calls, self.copies = [], [], [], [folder / "nothing"]
        self.copies[0].mkdir()
        for number, source in enumerate(self.sources):
            mortal = Mortal(self.site.store)
            place = machine.place(store=mortal)
            done = machine.publish(self.release(number), source, profile="raw", channel=STABLE, place=place)
            self.manifests.append(done.manifest)
            self.parts.append(self.site.parts())
            self.calls.append(len(mortal.calls))
            self.copies.append(folder / f"after{number}")
            shutil.copytree(self.site.shelf.where, self.copies[-1] / "store")
            shutil.copytree(machine.home, self.copies[-1] / "machine")

    @staticmethod
    def release(number: int) -> str:
        return f"bert-v1.{number}.0"

    def site_before(self, number: int, folder: Path) -> Site:
        """A copy of the site as it was before release ``number``; its machine is called "machine"."""
        shutil.copytree(self.copies[number], folder)
        return Site(folder, directory_shelf(folder / "store"))


def finish(calm, site, number, machine, reader, *, told=""):
    """Run it again: only what is missing is sent, and everything is as if nobody had been killed."""
    there = site.parts()
    done = machine.publish(calm.release(number), calm.sources[number], profile="raw", channel=STABLE)
    assert done.manifest == calm.manifests[number], told
    now = site.parts()
    assert now == calm.parts[number], told
    sent = done.bytes_uploaded - sum(size for key, size in now.items() if key not in there)
    assert 0 <= sent < 60_000, f"{told}: {sent} bytes beside missing parts"
    releases = [calm.release(before) for before in range(number + 1)]
    assert site.releases() == releases, told
    assert site.channel("bert").release == releases[-1], told
    assert site.announced() == site.highest(), told
    assert site.leases() == [], told
    (reader or site.reader()).check(*map(Release.parse, releases))
