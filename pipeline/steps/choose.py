"""Which inputs this publish goes by: those of an unfinished run of the same source, or its own.

Takes the flags, the leases of the release and what is signed, gives the ``Inputs``
(docs/format.md §3, "Determinism").

next: ``steps.cut``
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.digest import Sha256
from pipeline.errors import AnotherPublisher
from pipeline.manifest import Base, Profile
from pipeline.plan.inputs import EncodingChoice, Inputs
from pipeline.steps.lease import FoundLease, inputs_to_take


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the flags said; None where they were silent."""

    bases: tuple[Base, ...] | None = None
    part_size: int | None = None
    profile: Profile | None = None
    encoding: EncodingChoice | None = None


def choose_inputs(
    own: Inputs,
    wishes: Wishes,
    leases: Sequence[FoundLease],
    *,
    source: Sha256,
    own_id: str,
    still_signed: Callable[[Base], bool],
) -> Inputs:
    """Take over the inputs of the oldest lease of this source, else go by ``own``.

    ``own`` is what the flags and today's channels give. A lease whose bases are no longer signed
    is passed over. One that contradicts an explicit flag is passed over when it is stale.

    Raises:
        AnotherPublisher: a live lease contradicts an explicit flag, or was written by another encoder.
    """
    for lease, inputs in inputs_to_take(list(leases), source, own_id):
        if not all(still_signed(base) for base in inputs.bases):
            continue
        fault = _contradiction(inputs, wishes, own.encoder)
        if fault is None:
            return inputs
        if lease.live:
            raise AnotherPublisher(
                f"{lease.record.release} is being published from {lease.record.host or 'another machine'} with {fault}",
                hint="Use the same flags, or wait until that run ended; its lease is stale after one hour.",
            )
    return own


def _contradiction(inputs: Inputs, wishes: Wishes, encoder: str) -> str | None:
    if inputs.encoder != encoder:
        return f"encoder {inputs.encoder}, here it is {encoder}"
    if wishes.bases is not None and wishes.bases != inputs.bases:
        return f"--base {', '.join(base.release for base in inputs.bases) or 'none'}"
    for name in ("part_size", "profile", "encoding"):
        wish, found = getattr(wishes, name), getattr(inputs, name)
        if wish is not None and wish != found:
            return f"--{name.replace('_', '-')} {found}"
    return None
