"""Is this place ready to sign for a model? Asked before a byte of the model is read.

Takes a store, its trust and its keys, gives ``Ready``: a publisher, what the tree holds, and the
delegation that a first publish of the model must commit besides the release.

next: ``steps.bases``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import KeyUnusable, NotPinned
from pipeline.release import Release
from pipeline.steps.lease import held_lease
from pipeline.steps.probe import Capabilities
from pipeline.trust.chain import is_empty
from pipeline.trust.changes import Delegate
from pipeline.trust.commit import Committed
from pipeline.trust.keys import Keyring
from pipeline.trust.publisher import Publisher
from pipeline.trust.setup import delegation_for, init_on_first_use, own_keys
from pipeline.trust.survey import survey_store
from pipeline.trust.view import View


@dataclass(frozen=True, slots=True)
class Ready:
    """A publisher whose keys suffice; ``view`` is the highest valid snapshot, announced or not."""

    publisher: Publisher
    view: View
    delegation: Delegate | None


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where keys come from: ``named`` by the settings, else ``home``, made there if ``first_use``."""

    named: Keyring | None
    home: Path
    first_use: bool


def ready_to_sign(publisher: Publisher, keys: KeyPlace, release: Release, *, probe: Callable[[], Capabilities]) -> Ready:
    """Open the tree for signing; begin one where this is the first use of one's own directory.

    ``probe`` is called before anything is written.

    Raises:
        NotPinned: the store holds no tree, or one that this place does not trust.
        KeyUnusable, NotDelegated: what is missing, and the command that gives it.
        UnsafeStore, ClockSkew, RollbackRefused, UnavailableError
    """
    empty = is_empty(publisher.store, publisher.state.pins)
    if empty and not (keys.first_use and keys.named is None):
        raise NotPinned(f"{publisher.store.url} has no tree yet", hint="Begin one with your keys: invoke trust.init")
    if empty or (keys.first_use and keys.named is None and not publisher.state.pins):
        publisher, _ = _begin(publisher, keys, release, probe)
    else:
        publisher = replace(publisher, keys=keys.named or own_keys(publisher, keys.home))
    view = survey_store(publisher).view
    if view is None:
        # A run that began the tree was killed before its first snapshot.
        if keys.named is not None or not keys.first_use:
            raise KeyUnusable(
                f"{publisher.store.url} has a root and no snapshot", hint="Finish what was begun: invoke trust.init"
            )
        publisher, begun = _begin(publisher, keys, release, probe)
        view = begun.view
    return Ready(publisher, view, delegation_for(publisher, view, release.model))


def _begin(
    publisher: Publisher, keys: KeyPlace, release: Release, probe: Callable[[], Capabilities]
) -> tuple[Publisher, Committed]:
    probe()
    # Taken for the release, whose commit then takes with it what a killed run left.
    with held_lease(publisher.store, str(release), publisher.listen):
        return init_on_first_use(publisher, keys.home)
