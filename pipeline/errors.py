"""Every error this product raises on purpose, and the exit code of each family.

The exit codes are a contract (docs/reference/exit-codes.md)::

    ModelportError                     .hint: one line, what to do next
    ├── UsageError                 2   the command, the settings or the source cannot be used as given
    │   ├── SettingsError
    │   ├── UnknownName                a release, model, channel or flag; names the nearest
    │   ├── SourceError                unreadable, illegal or clashing files
    │   ├── UnsafeStore                no conditional writes
    │   └── ClockSkew                  this clock, or the predecessor's, is off
    ├── IntegrityError             3   bytes are not what they must be
    │   ├── SourceChanged
    │   ├── PlanDiffers                what a saved plan says no longer holds
    │   ├── InvalidDocument            a fetched document breaks its format
    │   ├── DigestMismatch
    │   ├── SizeMismatch
    │   ├── PoisonedObject             a content name with other bytes
    │   ├── VerifyFailed
    │   ├── EdgeProofFailed            an edge does not serve what stands at the origin, or not as it should
    │   ├── SourceLied                 an answer contradicts what was asked or signed
    │   └── ObjectMissing              raised by ports; an integrity error when nobody expected it
    ├── TrustError                 4
    │   ├── KeyUnusable                missing, readable by others, wrong passphrase
    │   ├── NotDelegated
    │   ├── NotPinned
    │   ├── BadSignature
    │   ├── MetadataExpired
    │   └── RollbackRefused            older or other content than was seen
    ├── UnavailableError           5   network, store or CDN
    │   ├── AccessDenied
    │   ├── WrongStore                 no such bucket, other region
    │   ├── RedirectRefused            downgraded, endless, or to where it must not lead
    │   ├── StoreUnavailable           retryable
    │   ├── CdnUnavailable             retryable: throttled, or an error that surely changed nothing
    │   ├── CallUnanswered             a call went out and no clear answer came: ask before sending it again
    │   ├── CallRefused                the CDN will not do this; ``urls`` are those it names
    │   └── QuotaUsedUp                nothing more today; ``resets_at`` where it is known
    ├── DiskError                  6
    ├── LeftInLedger               7   done, but work is left
    ├── ConflictError              8
    │   ├── OtherContent               the same version with another identity
    │   ├── ChannelMoved
    │   ├── AnotherPublisher
    │   ├── ObjectExists               raised by ports for create-only writes
    │   └── ConditionFailed            raised by ports for compare-and-swap writes
    └── Interrupted              130

``retry`` asks an error nothing but its ``retryable``. Anything outside this tree is a bug:
exit code 1, with its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar


class ModelportError(Exception):
    """The root. ``str(error)`` says what failed, expected and found; ``hint`` what to do next."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    # Seconds that the other side asked us to wait (RFC 9110 §10.2.3), where it said so.
    retry_after_s: float | None = None

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ModelportError):
    """The command, a setting or the source cannot be used as given."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is unknown, malformed or contradicts another."""


class UnknownName(UsageError):
    """A release, model, channel or task that does not exist."""


class SourceError(UsageError):
    """A model folder, or a file in it, that cannot be published as it is."""


class UnsafeStore(UsageError):
    """A store without conditional writes, where two publishers could overwrite each other."""


class ClockSkew(UsageError):
    """This machine's clock differs too much from the store's or from the last signature's."""


class IntegrityError(ModelportError):
    """Bytes are not what they must be."""

    exit_code = 3


class SourceChanged(IntegrityError):
    """A file changed while it was being read."""


class PlanDiffers(IntegrityError):
    """A publish by a saved plan came upon something the plan did not foresee."""


class InvalidDocument(IntegrityError):
    """A fetched document breaks the format."""


class DigestMismatch(IntegrityError):
    """Bytes do not have the digest that was promised."""


class SizeMismatch(IntegrityError):
    """Bytes do not have the length that was promised."""


class PoisonedObject(IntegrityError):
    """An object stands under its content name with other bytes."""


class VerifyFailed(IntegrityError):
    """A verification named at least one missing, short or wrong object."""


class EdgeProofFailed(IntegrityError):
    """An edge does not serve an object, or serves it otherwise than the origin has it."""


class SourceLied(IntegrityError):
    """A source answered with another range, size, encoding or document than it was asked for."""


class ObjectMissing(IntegrityError):
    """The store has no object under this key."""

    def __init__(self, message: str, *, hint: str = "", settled: bool = False) -> None:
        """Nothing is waited for where it is ``settled``, as with a medium that is not here."""
        super().__init__(message, hint=hint)
        self.settled = settled


class TrustError(ModelportError):
    """A signature, key or trust decision failed."""

    exit_code = 4


class KeyUnusable(TrustError):
    """A signing key is missing, readable by others, or its passphrase is wrong."""


class NotDelegated(TrustError):
    """The model has no delegated role and the targets key is not at hand."""


class NotPinned(TrustError):
    """No root is pinned for this place."""


class BadSignature(TrustError):
    """Metadata is not signed by enough of the right keys."""


class MetadataExpired(TrustError):
    """Metadata is past its expiry."""


class RollbackRefused(TrustError):
    """Metadata is older than, or differs from, what was already seen under its version."""


class UnavailableError(ModelportError):
    """The network, the store or the CDN cannot serve us."""

    exit_code = 5


class AccessDenied(UnavailableError):
    """Credentials are missing, expired, or not allowed to do this."""


class WrongStore(UnavailableError):
    """The bucket does not exist, or stands in another region."""


class RedirectRefused(UnavailableError):
    """A redirect to plain http, to another scheme, into a private network, or one too many."""


class StoreUnavailable(UnavailableError):
    """Throttled, reset, timed out, or a server error. ``delivered`` bytes of a range had come before it broke."""

    retryable = True

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None, delivered: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s
        self.delivered = delivered


class CdnUnavailable(UnavailableError):
    """A CDN's control plane is throttled, unreachable or failing, and this call surely changed nothing."""

    retryable = True

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class CallUnanswered(UnavailableError):
    """A call to a CDN's control plane may have been carried out: its answer was lost, cut or meaningless."""


class CallRefused(UnavailableError):
    """A CDN's control plane understood the call and will not do it; ``urls`` are those it names, empty for the whole call."""

    def __init__(self, message: str, *, hint: str = "", code: str = "", urls: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.urls = tuple(urls)


class QuotaUsedUp(UnavailableError):
    """The CDN's quota of the day is used up; ``resets_at`` is when it begins anew, where that is known."""

    def __init__(self, message: str, *, hint: str = "", resets_at: datetime | None = None) -> None:
        super().__init__(message, hint=hint)
        self.resets_at = resets_at


class DiskError(ModelportError):
    """No space, a read-only file system, or a failing disk."""

    exit_code = 6


class LeftInLedger(ModelportError):
    """The release is committed, but work at a CDN or in another store is left for another run."""

    exit_code = 7


class ConflictError(ModelportError):
    """Somebody else's write stands in the way."""

    exit_code = 8


class OtherContent(ConflictError):
    """The version exists with another identity."""


class ChannelMoved(ConflictError):
    """The channel no longer points where it was seen."""


class AnotherPublisher(ConflictError):
    """A live lease of another publisher or collector stands in the way."""


class ObjectExists(ConflictError):
    """A create-only write found an object under its key."""


class ConditionFailed(ConflictError):
    """A compare-and-swap write found another ETag under its key."""


class Interrupted(ModelportError):
    """The person or the system asked us to stop."""

    exit_code = 130
