"""Warming without a prefetch: the objects are read through the edge, a few at once, and thrown away.

Takes a ``Front`` whose CDN has no prefetch, and a ``Log``; gives nothing but records. Only the one location that
answers this machine is warm afterwards, and it says so.

next: ``steps.prefetch``
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

from pipeline.errors import ModelportError, SourceLied
from pipeline.events import Listener, Progress, Warned, ignore
from pipeline.manifest import PART_BYTES
from pipeline.plan.ledger import KeyState, Lane
from pipeline.plan.records import Again, Read
from pipeline.retry import Retry
from pipeline.spelling import spell_subject
from pipeline.steps.driving import Tempo
from pipeline.steps.edge_proof import Front
from pipeline.steps.ledger import Log, make
from pipeline.trust.publisher import no_step
from pipeline.workers import in_order, threads

READS_AT_ONCE = 4
# As many as may have to be read again after a kill.
RECORD_EVERY = 32


class WarmingReader:
    """One CDN's share of one job, by reads. ``sent_urls`` counts objects that were read; there are no calls."""

    def __init__(
        self, front: Front, log: Log, tempo: Tempo, *, listen: Listener = ignore, step: Callable[[str], None] = no_step
    ) -> None:
        self.error: ModelportError | None = None
        self.calls = 0
        self.sent_urls = 0
        self._front = front
        self._log = log
        self._tempo = tempo
        self._listen = listen
        self._step = step
        self._retry = Retry(tempo.patience, listen, tempo.sleep, tempo.rng)

    @property
    def lane(self) -> Lane:
        """Where its keys are."""
        return self._log.job.lanes[self._front.cdn.base_url]

    def send_all(self) -> None:
        """Read every key that is not warm yet."""
        base_url = self._front.cdn.base_url
        failed = self.lane.keys_in(KeyState.FAILED)
        if failed:
            self._log.append(make(Again, self._tempo.now(), cdn=base_url, keys=failed))
        wanted = self.lane.keys_in(KeyState.PLANNED)
        if not wanted:
            return
        self._listen(
            Warned(
                "one-location-warm",
                f"{self._front.cdn.name} has no prefetch: {spell_subject(len(wanted), 'object', 'are')} read through {base_url}, "
                "which warms the one location that answers this machine",
            )
        )
        with threads(READS_AT_ONCE, "warm") as pool:
            answers = zip(
                wanted, in_order(pool, partial(_read, self._front, self._retry), wanted, ahead=2 * READS_AT_ONCE), strict=True
            )
            while some := list(islice(answers, RECORD_EVERY)):
                self._record(some)

    def _record(self, some: Sequence[tuple[str, int | ModelportError]]) -> None:
        self._step("cdn.answer")
        warm = tuple(key for key, found in some if isinstance(found, int))
        failed = {key: str(found) for key, found in some if isinstance(found, ModelportError)}
        self._log.append(make(Read, self._tempo.now(), cdn=self._front.cdn.base_url, keys=warm, failed=failed))
        self.sent_urls += len(warm)
        self._listen(Progress("cdn", sum(found for _, found in some if isinstance(found, int))))


def _read(front: Front, retry: Retry, key: str) -> int | ModelportError:
    def through() -> int:
        size = 0
        for block in front.edge.get(key):
            size += len(block)
            if size > PART_BYTES:
                raise SourceLied(
                    f"{front.edge.url}/{key}: more than {PART_BYTES} bytes came",
                    hint="No object of a tree is that large: check the CDN's origin.",
                )
        return size

    try:
        return retry.call(through, what=f"{front.edge.url}: {key}")
    except ModelportError as error:
        return error
