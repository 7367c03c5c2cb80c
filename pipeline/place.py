"""Where a walk works: a store, what is trusted there, whose keys sign, and where caches lie.

``connect`` makes a ``Place`` from the settings; every walk takes one. Nothing here decides anything.

next: ``pipeline.publish``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.events import Event, Listener, Warned, one_at_a_time
from pipeline.ports import ObjectStore
from pipeline.steps.ready import KeyPlace
from pipeline.trust.keys import Keyring
from pipeline.trust.publisher import Publisher, no_step, utc_now
from pipeline.trust.reading import read_view
from pipeline.trust.state import TrustState
from pipeline.trust.view import View


@dataclass(frozen=True, slots=True)
class Place:
    """One store as this machine sees it.

    ``by`` is who is acting, for signed histories. ``bytes_sent`` counts all bodies sent to the store.
    ``step(name)`` is called just before each step that ``publish.STEPS`` and ``commit.STEPS`` name: tests
    stop there. ``media``: the store is a bundle, which is judged as at a place without a network.
    """

    store: ObjectStore
    state: TrustState
    keys: KeyPlace
    cache: Path
    by: str
    bytes_sent: Callable[[], int]
    now: Callable[[], datetime] = utc_now
    step: Callable[[str], None] = no_step
    media: bool = False

    def view(self) -> View:
        """The tree as a client sees it, verified.

        Raises:
            NotPinned, TrustError, IntegrityError, UnavailableError
        """
        return read_view(self.store, self.state, now=self.now, offline=self.media)

    def publisher(self, listen: Listener) -> Publisher:
        """A publisher here, with no keys yet: ``steps.ready`` finds them."""
        return Publisher(self.store, self.state, self.keys.named or Keyring({}), now=self.now, listen=listen, step=self.step)


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
