"""A store, the CDN before it, machines that publish through both, and readers who see nothing but the edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.cdns.memory import LIMITS, MemoryCdn
from pipeline.errors import ObjectMissing
from pipeline.order import PublishOrder
from pipeline.outcome import Published
from pipeline.place import Place
from pipeline.plan.records import Claimed
from pipeline.ports import Edge, Op
from pipeline.promote import Moved, promote_release, rollback_channel
from pipeline.publish import publish_release
from pipeline.release import Channel, ModelName, Release
from pipeline.sources.edge import HttpEdge
from pipeline.steps.driving import Tempo
from pipeline.steps.edge_proof import Front
from pipeline.steps.ledger import Ledger, make
from pipeline.steps.serve import Delivery
from pipeline.trust.publisher import no_step
from pipeline.trust.reading import read_view
from pipeline.trust.state import TrustState
from tests.edges import Clock, MemoryEdge
from tests.publish_world import STABLE, Machine, Site, lay_out, memory_shelf
from tests.servers.edges import EdgeServer
from tests.servers.origins import Origin

BERT = ModelName("bert")


class EdgeReader:
    """What a client has of a tree: an edge, which it may ask for whole objects and nothing else."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self.url = edge.url

    def get(self, key: str, *, start: int = 0, size: int | None = None):
        assert (start, size) == (0, None)
        return self._edge.get(key)


@dataclass
class Fronted:
    """A site behind edges; ``days`` moves the clock of the CDNs and of whoever waits for them."""

    site: Site
    sources: tuple[Path, ...]
    edges: list[Edge]
    cdns: list[MemoryCdn]
    clock: Clock
    days: float = 0.0
    looks: int = 0
    machines: dict[str, Machine] = field(default_factory=dict)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)

    @property
    def delivery(self) -> Delivery:
        fronts = tuple(Front(cdn, edge) for cdn, edge in zip(self.cdns, self.edges, strict=True))
        tempo = Tempo(now=self.now, elapsed_s=self.clock, sleep=self.clock.sleep)
        return Delivery(fronts, tempo, self.clock.waiting())

    def machine(self, name: str = "publisher") -> Machine:
        if name not in self.machines:
            self.machines[name] = self.site.machine(name)
        return self.machines[name]

    def place(self, name: str = "publisher", *, step: Callable[[str], None] = no_step) -> Place:
        return replace(self.machine(name).place(step=step), delivery=self.delivery)

    def publish(self, number: int, *, name: str = "publisher", step: Callable[[str], None] = no_step, **flags) -> Published:
        """Publish ``sources[number]`` as bert-v1.<number>.0, on stable unless told otherwise."""
        order = PublishOrder(
            release=version(number), source=self.sources[number], **{"profile": "raw", "channel": STABLE, **flags}
        )
        return publish_release(order, self.place(name, step=step), self.machine(name).events.append)

    def promote(self, number: int, *, channel: Channel = STABLE, name: str = "publisher", step=no_step, **flags) -> Moved:
        place = self.place(name, step=step)
        return promote_release(version(number), channel, place, self.machine(name).events.append, **flags)

    def rollback(self, *, name: str = "publisher", step=no_step, **flags) -> Moved:
        place = self.place(name, step=step)
        return rollback_channel(BERT, STABLE, place, self.machine(name).events.append, **flags)

    def seen(self, edge: int = 0) -> str:
        """The release of stable as somebody sees it who asks the edge alone; "" for none."""
        self.looks += 1
        state = TrustState(self.site.folder / f"user{self.looks}")
        state.pin(self.site.fingerprint)
        try:
            view = read_view(EdgeReader(self.edges[edge]), state, now=lambda: datetime.now(UTC))
        except ObjectMissing:
            return ""
        if BERT not in view.models() or STABLE not in view.channels(BERT):
            return ""
        return view.channel(BERT, STABLE).release

    def prefetched(self, cdn: int = 0) -> list[str]:
        """The keys that a CDN was asked to fetch, in order."""
        return self._asked(Op.PREFETCH, cdn)

    def refreshed(self, cdn: int = 0) -> list[str]:
        """The keys that a CDN was asked to forget, in order."""
        return self._asked(Op.REFRESH, cdn)

    def _asked(self, op: Op, cdn: int) -> list[str]:
        base = self.edges[cdn].url
        return [
            url.removeprefix(f"{base}/") for one in self.cdns[cdn].kept.values() if one.task.op is op for url in one.task.urls
        ]

    def history(self) -> list[tuple[str, str, bool]]:
        return [(move.origin, move.to, move.forced) for move in self.site.channel("bert").history]


def version(number: int) -> Release:
    return Release.parse(f"bert-v1.{number}.0")


def sources_in(folder: Path, count: int = 3) -> tuple[Path, ...]:
    return tuple(lay_out(folder / f"source{number}", other=number) for number in range(count))


def front_memory(folder: Path, *, edges: int = 1, per_day: int = 1000, urls: int = 100, keeps_timestamp: bool = True) -> Fronted:
    """A site in memory behind edges in memory, which keep even the timestamp until they are told."""
    site = Site(folder, memory_shelf())
    site.begin()
    made = [MemoryEdge(site.store, f"http://edge{number}.test", keeps_timestamp=keeps_timestamp) for number in range(edges)]
    fronted = Fronted(site, sources_in(folder), list(made), [], Clock())
    prefetch = replace(LIMITS[Op.PREFETCH], per_day=per_day, urls=urls)
    for edge in made:
        limits = {**LIMITS, Op.PREFETCH: prefetch}
        fronted.cdns.append(MemoryCdn(edge.url, limits=limits, now=fronted.now, act=_acting(edge)))
    return fronted


def front_nginx(folder: Path, origin: Origin, server: EdgeServer) -> Fronted:
    """A site on a real store behind a real edge, whose control plane is in memory."""
    site = Site(folder, origin.shelf)
    site.begin()
    fronted = Fronted(site, sources_in(folder), [HttpEdge(server.url)], [], Clock())
    fronted.cdns.append(MemoryCdn(server.url, now=fronted.now, act=server.act))
    return fronted


def _acting(edge: MemoryEdge) -> Callable[[Op, Sequence[str]], None]:
    def act(op: Op, urls: Sequence[str]) -> None:
        keys = [url.removeprefix(f"{edge.url}/") for url in urls]
        edge.warm(keys) if op is Op.PREFETCH else edge.forget(keys)

    return act


def taken_over(fronted: Fronted, wanted: Callable[[str], bool]) -> Callable[..., object]:
    """The first CDN's ``submit``, but for a refresh of ``wanted`` URLs another run takes over the ledger's job beside it."""
    store, real = fronted.site.store, fronted.cdns[0].submit

    def submit(op: Op, urls: Sequence[str], *, key: str) -> object:
        if op is Op.REFRESH and any(map(wanted, urls)):
            ledger = Ledger(store)
            for job in [job for job in ledger.jobs(finished=False) if job.op is op]:
                ledger.open(job.name).append(make(Claimed, fronted.now(), holder="another", by="ann@elsewhere"))
        return real(op, urls, key=key)

    return submit
