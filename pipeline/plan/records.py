"""The records of a ledger: what is written down, in which words (docs/format.md §5). Pure.

Takes the bytes of a record, gives it as a type of its own; ``plan.ledger`` folds them.

next: ``plan.ledger``
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from pipeline.errors import InvalidDocument
from pipeline.ports import Op
from pipeline.wire import check_json

FORMAT = "modelport-ledger"
VERSION = 1
RECORD_BYTES = 64 << 20
# Without its zone a time cannot be compared with any other.
At = Annotated[datetime, msgspec.Meta(tz=True)]
DAMAGED = "Remove this record with your store's tools: at worst some URLs are sent to the CDN again."


class LedgerRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", omit_defaults=True):
    """What every record has."""

    format: str
    version: int
    at: At


class CdnName(msgspec.Struct, frozen=True, kw_only=True):
    """One CDN, as the settings name it; ``base_url`` tells it from the others."""

    provider: str
    account: str
    base_url: str


class Ordered(LedgerRecord, frozen=True, kw_only=True, tag="ordered"):
    """Somebody wants ``op`` on ``keys`` at ``cdns``. ``more``: besides what was wanted before, instead of in its stead."""

    op: Op
    keys: tuple[str, ...]
    cdns: tuple[CdnName, ...]
    holder: str
    by: str
    release: str = ""
    more: bool = False


class Claimed(LedgerRecord, frozen=True, kw_only=True, tag="claimed"):
    """Whoever holds the lease ``holder`` goes on with it."""

    holder: str
    by: str


class Sending(LedgerRecord, frozen=True, kw_only=True, tag="sending"):
    """A call is about to go out; without a record after it, nobody knows what became of it."""

    cdn: str
    chunk: str
    keys: tuple[str, ...]


class Unsent(LedgerRecord, frozen=True, kw_only=True, tag="unsent"):
    """The call surely changed nothing: its keys are planned as before."""

    cdn: str
    chunk: str
    why: str


class Refused(LedgerRecord, frozen=True, kw_only=True, tag="refused"):
    """The CDN will not do ``keys``, each with its reason. Those of ``chunk`` that are not among them are planned as before."""

    cdn: str
    chunk: str
    keys: dict[str, str]


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task that the CDN accepted."""

    id: str
    keys: tuple[str, ...]
    request_id: str = ""


class Accepted(LedgerRecord, frozen=True, kw_only=True, tag="accepted"):
    """The call was taken. ``final``: this CDN tells no more, so that accepted is done."""

    cdn: str
    chunk: str
    tasks: tuple[TaskRecord, ...]
    final: bool = False


class Polled(LedgerRecord, frozen=True, kw_only=True, tag="polled"):
    """What tasks became: ``ended`` ones are done but for ``failed`` keys; the CDN no longer knows ``lost`` ones."""

    cdn: str
    ended: tuple[str, ...] = ()
    failed: dict[str, str] = {}
    lost: tuple[str, ...] = ()


class Read(LedgerRecord, frozen=True, kw_only=True, tag="read"):
    """Keys that were warmed by reading them through the edge, and those that could not be read."""

    cdn: str
    keys: tuple[str, ...]
    failed: dict[str, str] = {}


class Again(LedgerRecord, frozen=True, kw_only=True, tag="again"):
    """Failed keys are planned once more."""

    cdn: str
    keys: tuple[str, ...]


class Waits(LedgerRecord, frozen=True, kw_only=True, tag="waits"):
    """The quota is used up: what is planned waits until ``until``."""

    cdn: str
    until: At


class Promised(LedgerRecord, frozen=True, kw_only=True, tag="promised"):
    """When all is warm, ``channel`` shall move to ``release`` if it still points to ``expected`` ("" for nowhere).

    ``sequence`` is the channel's when this was promised (0 for one that is not there): another one says that somebody
    decided since, whatever the clocks of the machines say.
    """

    model: str
    channel: str
    release: str
    expected: str
    sequence: int
    by: str


class Finished(LedgerRecord, frozen=True, kw_only=True, tag="finished"):
    """Nothing is left to do; a later order begins anew."""

    why: str


class Behind(LedgerRecord, frozen=True, kw_only=True, tag="behind"):
    """``store`` lacks ``snapshot`` of the first one, whole or of ``names``; see ``steps.copies``."""

    store: str
    snapshot: int
    why: str
    by: str
    endpoint: str = ""
    region: str = ""
    names: tuple[str, ...] = ()


class Level(LedgerRecord, frozen=True, kw_only=True, tag="level"):
    """The store ``store`` announces ``snapshot``, or a newer one."""

    store: str
    snapshot: int
    by: str


Record = (
    Behind
    | Level
    | Ordered
    | Claimed
    | Sending
    | Unsent
    | Refused
    | Accepted
    | Polled
    | Read
    | Again
    | Waits
    | Promised
    | Finished
)


def decode_record(data: bytes, what: str) -> Record:
    """Decode a record; ``what`` names it.

    Raises:
        InvalidDocument: damaged, or written by a newer modelport.
    """
    value = check_json(data, what=what, cap=RECORD_BYTES, hint=DAMAGED)
    if isinstance(value, dict) and value.get("format") == FORMAT and value.get("version") != VERSION:
        raise InvalidDocument(
            f"{what} has version {value.get('version')}, expected {VERSION}", hint="It needs a newer modelport: update it."
        )
    try:
        found: Record = msgspec.convert(value, Record)
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"{what} is no ledger record: {error}", hint=DAMAGED) from error
    if found.format != FORMAT:
        raise InvalidDocument(f"{what} is no ledger record: format {found.format[:40]!r}, expected {FORMAT!r}", hint=DAMAGED)
    return found
