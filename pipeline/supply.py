"""Where a fetch takes from: sources, what is trusted there, and what this machine has already.

``connect`` makes a ``Supply`` from the settings; fetch and ``verify --folder`` take one.

next: ``pipeline.resolve``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from pipeline.clocks import utc_now
from pipeline.errors import IntegrityError, ModelportError, NotPinned, TrustError, UnavailableError, UnknownName
from pipeline.events import Listener, Warned
from pipeline.ports import Take
from pipeline.retry import Patience, Retry
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.installed import Installs
from pipeline.sources.mirrors import Mirrors
from pipeline.steps.assemble import RangeSource
from pipeline.steps.known_tree import KnownTree
from pipeline.trust.reading import read_view
from pipeline.trust.state import TrustState
from pipeline.trust.view import View

T = TypeVar("T")


class _Nobody:
    """The source of --offline: everything must be here, and what proves rotten cannot come anew."""

    def read_range(self, key: str, start: int, size: int, take: Take, *, total: int | None = None) -> None:
        """Refuse."""
        del start, size, take, total
        raise UnavailableError(f"{key} must come anew, and --offline asks nobody", hint="Run it without --offline.")

    def close(self) -> None:
        """Nothing was opened."""


@dataclass(frozen=True, slots=True)
class Supply:
    """``sources`` is None under --offline. ``channel`` is what a model without a version means.

    ``media``: the sources are bundles, which are judged as at a place without a network (docs/format.md §8);
    ``allow_downgrade`` takes from them what is older than was seen of a model.
    """

    sources: Mirrors | None
    state: TrustState
    cache: CacheFolder
    installs: Installs
    channel: str = "stable"
    media: bool = False
    allow_downgrade: bool = False
    now: Callable[[], datetime] = utc_now
    patience: Patience = field(default_factory=Patience)
    # A person waits for the first word of a source that is not there.
    metadata_patience: Patience = field(default_factory=lambda: Patience(attempts=4))

    @property
    def requests(self) -> int:
        """Requests made so far."""
        return self.sources.requests if self.sources else 0

    @property
    def reach(self) -> RangeSource:
        """Where bytes come from; under --offline every request is refused."""
        return self.sources or _Nobody()

    def close(self) -> None:
        """Let go of every connection."""
        if self.sources is not None:
            self.sources.close()

    def read(self, look: Callable[[View], T], listen: Listener) -> T:
        """Give what ``look`` finds in the verified tree of the first source that stands up to it.

        A source that is out of date, damaged or away is dropped for this run and named, as long as there is another.

        Raises:
            NotPinned, TrustError, IntegrityError, UnavailableError: the first source's fault, when none is left.
            UnknownName: no source has it.
        """
        if self.sources is None:
            return look(read_view(KnownTree(None, self.state, self.cache), self.state, now=self.now, offline=True))
        retry = Retry(self.metadata_patience, listen=listen)
        failed = 0
        while True:
            first: ModelportError | None = None
            for reader in list(self.sources.readers):
                try:
                    return look(
                        read_view(
                            KnownTree(reader, self.state, self.cache),
                            self.state,
                            now=self.now,
                            offline=self.media,
                            allow_downgrade=self.allow_downgrade,
                        )
                    )
                except NotPinned:
                    raise
                except (TrustError, IntegrityError, UnavailableError, UnknownName) as error:
                    first = first or error
                    if len(self.sources.readers) > 1 and not isinstance(error, UnknownName):
                        self.sources.drop(reader, str(error))
                        listen(Warned("source-dropped", f"{reader.url}: {error}"))
            if first is None:
                raise UnavailableError("every source was dropped", hint="Try again later, or name another with --source.")
            failed += 1
            retry.pause(first, failed=failed, what="the signed metadata")
