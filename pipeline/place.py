"""Where a walk works: a store, what is trusted there, whose keys sign, and where caches lie.

``connect`` makes a ``Place`` from the settings; every walk takes one. Nothing here decides anything.

next: ``pipeline.publish``
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from pipeline.clocks import utc_now
from pipeline.events import Event, Listener, Warned, one_at_a_time
from pipeline.ports import ObjectStore
from pipeline.release import Channel
from pipeline.steps.ledger import Ledger
from pipeline.steps.prefetch import Dispatch
from pipeline.steps.ready import KeyPlace
from pipeline.steps.serve import Delivery, refresh_now
from pipeline.steps.show_edge import Refresh, Stale, prove_names, show_timestamp
from pipeline.trust.keys import Keyring
from pipeline.trust.publisher import Publisher, no_step
from pipeline.trust.reading import read_view
from pipeline.trust.state import TrustState
from pipeline.trust.view import View


@dataclass(frozen=True, slots=True)
class Place:
    """One store as this machine sees it.

    ``by`` is who is acting, for signed histories. ``bytes_sent`` counts all bodies sent to the store.
    ``step(name)`` is called just before each step that ``publish.STEPS`` and ``commit.STEPS`` name: tests
    stop there. ``delivery`` are the CDNs before the store, ``web_channel`` is what the web view shows. ``media``: the store
    is a bundle, which is judged as at a place without a network; ``allow_downgrade`` looks into one that is older than was seen.
    """

    store: ObjectStore
    state: TrustState
    keys: KeyPlace
    cache: Path
    by: str
    bytes_sent: Callable[[], int]
    now: Callable[[], datetime] = utc_now
    step: Callable[[str], None] = no_step
    delivery: Delivery = field(default_factory=Delivery)
    media: bool = False
    allow_downgrade: bool = False
    web_channel: Channel = Channel("stable")  # noqa: RUF009 (a name, which nothing changes)

    def view(self) -> View:
        """The tree as a client sees it, verified.

        Raises:
            NotPinned, TrustError, IntegrityError, UnavailableError
        """
        return read_view(self.store, self.state, now=self.now, offline=self.media, allow_downgrade=self.allow_downgrade)

    def publisher(self, listen: Listener) -> Publisher:
        """A publisher here, with no keys yet: ``steps.ready`` finds them. What it announces is proved at every edge before."""
        delivery = self.delivery

        def prove(keys: Sequence[str]) -> None:
            prove_names(delivery.fronts, self.store, keys, self.refresh(listen), listen, waiting=delivery.waiting)

        keys = self.keys.named or Keyring({})
        return Publisher(self.store, self.state, keys, now=self.now, listen=listen, step=self.step, prove_names=prove)

    def dispatch(self, holder: str, listen: Listener) -> Dispatch:
        """What driving a CDN needs, in the name of the lease whose key is ``holder``."""
        ledger = Ledger(self.store)
        return Dispatch(ledger, holder, self.by, self.delivery.tempo, listen, self.step)

    def show(self, listen: Listener, holder: str) -> tuple[Stale, ...]:
        """Let every edge serve what was committed just now; tell, and give, those that do not follow.

        ``holder`` is the key of the lease under which that was done: if this dies, another run sees that it did.
        """
        delivery, refresh = self.delivery, self.refresh(listen, holder)
        stale = show_timestamp(delivery.fronts, self.store, refresh, listen, waiting=delivery.waiting)
        for one in stale:
            listen(Warned("edge-stale", f"{one.edge} may still show what was there before: {one.found}"))
        return stale

    def refresh(self, listen: Listener, holder: str = "") -> Refresh:
        """How a CDN is made to forget what it has under some keys."""
        # In the middle of a commit nobody knows the lease; a refresh is a job of its own, and nobody waits for it.
        return partial(refresh_now, dispatch=self.dispatch(holder, listen))


class Heard:
    """A listener between a walk and its caller: passes events on one at a time, and keeps the warnings."""

    def __init__(self, listen: Listener) -> None:
        self.warnings: list[str] = []
        self._listen = listen
        self.listen: Listener = one_at_a_time(self._hear)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Warned):
            self.warnings.append(event.message)
        self._listen(event)
