"""What an object store's refusal means: its HTTP answer in, one of our errors out.

Takes an ``Answer`` (S3 or OSS; both speak in a status, a code and an XML document) and what was ``Asked``;
gives an error that says what failed, what was found, and what to do. Pure: both adapters ask here.

next: ``stores.pools``
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pipeline.clocks import elapsed_s
from pipeline.digest import Sha256, is_hex64
from pipeline.errors import (
    AccessDenied,
    ClockSkew,
    ConditionFailed,
    DigestMismatch,
    ModelportError,
    ObjectExists,
    ObjectMissing,
    SourceLied,
    StoreUnavailable,
    UnavailableError,
    UnsafeStore,
    WrongStore,
)
from pipeline.sources import ranges
from pipeline.sources.answers import Head, plain, read_date, read_retry_after
from pipeline.sources.ranges import Accepted

# Both vendors refuse a request whose time is off by more (S3 "RequestTimeTooSkewed", OSS the same).
SKEW = timedelta(minutes=15)
DOCUMENT_BYTES = 64 << 10

_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "SecurityTokenExpired"})
_DENIED = _EXPIRED | {
    "AccessDenied",
    "AllAccessDisabled",
    "AccountProblem",
    "Forbidden",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurityToken",
    "InvalidToken",
    "NotSignedUp",
    "SignatureDoesNotMatch",
    "UserDisable",
}
_TRY_AGAIN = frozenset(
    {
        "Busy",
        "ConditionalRequestConflict",
        "DownloadTrafficRateLimitExceeded",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "QpsLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "UploadTrafficRateLimitExceeded",
    }
)
_BAD_BYTES = frozenset(
    {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "CallbackFailed"}
)
_ELSEWHERE = frozenset({"PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed",
                        "IllegalLocationConstraintException"})  # fmt: skip
_NOT_KNOWN = frozenset({"NotImplemented", "OperationNotSupported", "InvalidArgument", "UnsupportedOperation"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back instead of success. Header names are lower case."""

    status: int
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    region: str = ""

    @property
    def expired(self) -> bool:
        """Tell whether the store says that the credentials have expired."""
        said = self.message.lower()
        return self.code in _EXPIRED or (self.status == 400 and "token" in said and "expired" in said)

    def may_be_expiry(self, *, temporary: bool) -> bool:
        """Tell whether newer credentials may help; a HEAD has no body to say so in, and only ``temporary`` ones expire."""
        return self.expired or (temporary and self.status in {400, 403} and not self.code)


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that was refused: ``conditional`` when it carried if_absent or if_etag."""

    op: str
    where: str
    key: str = ""
    if_absent: bool = False
    if_etag: bool = False
    credential_source: str = "unknown"
    region: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read a refusal off the wire. No XML parser: the document comes from anybody, and three fields are wanted."""
    text = body[:DOCUMENT_BYTES].decode("utf-8", errors="replace")
    if "<Error>" not in text[:512] and "<Error " not in text[:512]:
        text = ""
    lower = {name.lower(): value for name, value in headers.items()}
    return Answer(
        status=status,
        code=_field(text, "Code") or lower.get("x-oss-ec-code", ""),
        message=_field(text, "Message"),
        headers=lower,
        region=lower.get("x-amz-bucket-region") or _field(text, "Region") or _field(text, "Endpoint"),
    )


def refusal(answer: Answer, asked: Asked) -> ModelportError:
    """Say what ``answer`` means for ``asked``."""
    told = f"{asked.where}: {asked.op} {asked.key}".rstrip()
    said = _said(answer)
    return (
        _about_conditions(answer, asked, told, said)
        or _about_place(answer, asked, told, said)
        or _about_access(answer, asked, told, said)
        or _about_service(answer, told, said)
    )


def _about_conditions(answer: Answer, asked: Asked, told: str, said: str) -> ModelportError | None:
    code, status = answer.code, answer.status
    if code in _BAD_BYTES:
        return DigestMismatch(
            f"{told}: the store refused the bytes: {said}", hint="They changed between hashing and arrival: run it again."
        )
    if status == 412 or code in {"PreconditionFailed", "FileAlreadyExists", "ObjectAlreadyExists"}:
        if asked.if_etag:
            return ConditionFailed(
                f"{told}: the object has another ETag: {said}", hint="Somebody else wrote it first: read it again."
            )
        return ObjectExists(f"{told}: an object exists already ({said})")
    if asked.if_etag and status == 404 and code != "NoSuchBucket":
        return ConditionFailed(f"{told}: expected an object, found none", hint="Somebody else removed it: read it again.")
    if (asked.if_absent or asked.if_etag) and (status == 501 or (status == 400 and code in _NOT_KNOWN)):
        return UnsafeStore(
            f"{told}: the store refuses conditional writes: {said}; two publishers could overwrite each other",
            hint="Use a store with conditional writes, or --allow-unsafe-store with one publisher only.",
        )
    return None


def _about_place(answer: Answer, asked: Asked, told: str, said: str) -> ModelportError | None:
    if answer.code in {"NoSuchBucket", "InvalidBucketName"} or (answer.status == 404 and asked.op == "find"):
        return WrongStore(f"{told}: there is no such bucket: {said}", hint="Check the store's name and endpoint.")
    moved = answer.status in {301, 302, 307, 308} or answer.code in _ELSEWHERE
    # OSS tells it as AccessDenied, or as an argument of the signature.
    moved = moved or (answer.status == 403 and "specified endpoint" in answer.message)
    moved = moved or (answer.status == 400 and "signing region" in answer.message)
    # A HEAD signed for another region is a bare 400 that names the bucket's.
    moved = moved or (answer.status == 400 and not answer.code and bool(asked.region) and answer.region not in {"", asked.region})
    if moved:
        found = plain(answer.region, 100) or "not told"
        return WrongStore(
            f"{told}: the bucket is elsewhere: region or endpoint found: {found} ({said}); nothing was sent there",
            hint=f"Set the region{f' to {found}' if answer.region else ''}, and the endpoint if you use one.",
        )
    if answer.status == 404:
        return ObjectMissing(f"{told}: there is no such object ({said})")
    return None


def _about_access(answer: Answer, asked: Asked, told: str, said: str) -> ModelportError | None:
    if answer.code not in _DENIED | {"RequestTimeTooSkewed", "RequestExpired"} and answer.status not in {401, 403, 407}:
        return None
    server = date_of(answer.headers)
    off = answer.code == "RequestTimeTooSkewed" or (server is not None and abs(server - asked.at) > SKEW)
    if off:
        there = f"{server:%Y-%m-%dT%H:%M:%SZ}" if server else "unknown"
        return ClockSkew(
            f"{told}: this clock says {asked.at:%Y-%m-%dT%H:%M:%SZ}, the store's says {there}; at most 15 minutes are allowed",
            hint="Set this machine's clock.",
        )
    if answer.status == 407:
        return AccessDenied(f"{told}: the proxy wants credentials: {said}", hint="Check HTTPS_PROXY.")
    return AccessDenied(
        f"{told}: {said}; credentials from: {asked.credential_source}",
        hint="Renew them." if answer.expired else "Check the credentials and what they may do (get, put, list, delete).",
    )


def _about_service(answer: Answer, told: str, said: str) -> ModelportError:
    if answer.code in _TRY_AGAIN or answer.status >= 500 or answer.status in {408, 425, 429, 409}:
        return StoreUnavailable(
            f"{told}: {said}", hint="The store is busy or ill: run it again later.", retry_after_s=retry_after_s(answer.headers)
        )
    return UnavailableError(f"{told}: {said}", hint="Check the store's endpoint, region and name.")


def date_of(headers: Mapping[str, str]) -> datetime | None:
    """The Date of an answer (RFC 9110 §6.6.1), UTC, or None."""
    return read_date(headers.get("date", ""))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait, or None."""
    return read_retry_after(headers.get("retry-after", "").strip(), date_of(headers))


def require(told: str, answer: Mapping[str, object], *names: str) -> None:
    """Check that a successful answer has the fields that a store always sends: a login page of a network has not.

    Raises:
        StoreUnavailable: one is missing.
    """
    if any(answer.get(name) is None for name in names):
        raise StoreUnavailable(
            f"{told}: the answer is not an object store's", hint="Check the endpoint, and whether the network wants a login."
        )


def place_in(told: str, start: int, size: int | None, *, span: str | None, length: int) -> Accepted:
    """Say where the bytes from ``start``, ``size`` of them or all the rest, lie in a body of ``length`` bytes.

    ``span`` is its Content-Range; without one it is the whole object, whatever was asked for.

    Raises:
        StoreUnavailable: it is another range, or less than all of this one.
    """
    fields = (("content-length", str(length)), *((("content-range", span),) if span else ()))
    asked = ranges.Asked(start, size, exact=False, ranged=bool(start) or size is not None, html=True)
    try:
        return ranges.judge(Head(206 if span else 200, fields), asked, told)
    except SourceLied as error:
        raise StoreUnavailable(f"{told}: asked for bytes from {start}, answered {plain(span or 'all')}") from error


def next_page(told: str, token: str | None) -> str:
    """Give the token of a listing's next page.

    Raises:
        StoreUnavailable: there is none, so that asking on would begin anew.
    """
    if not token:
        raise StoreUnavailable(f"{told}: there is more, but the answer does not say where it goes on", hint="Check the endpoint.")
    return token


@contextmanager
def creation(told: str, look: Callable[[], object], *, if_absent: bool) -> Iterator[None]:
    """Write in this block; where the connection breaks and ``look`` finds an object, a write with ``if_absent`` has its answer.

    The body went out, the answer was lost: some servers refuse early and cut the line, and would again.

    Raises:
        ObjectExists
    """
    try:
        yield
    except StoreUnavailable:
        if if_absent and _finds(look):
            raise ObjectExists(f"{told}: the connection broke, and an object is there") from None
        raise


def _finds(look: Callable[[], object]) -> bool:
    try:
        look()
    except ModelportError:
        return False
    return True


def sha256_in(text: str | None) -> Sha256 | None:
    """The digest in a checksum header; None for none, and for the "-N" form of one over parts."""
    try:
        found = base64.b64decode(text or "", validate=True).hex()
    except ValueError:
        return None
    return Sha256(found) if is_hex64(found) else None


class PastTheEnd(Exception):
    """The range asked for starts at or past the end; it never leaves an adapter."""


class StoreClock:
    """The Date of the last answer, carried on by a clock that nobody sets."""

    def __init__(self) -> None:
        self._seen: tuple[datetime, float] | None = None

    def note(self, headers: Mapping[str, str]) -> None:
        """Take the Date of an answer, if it has one."""
        date = date_of(headers)
        if date is not None:
            self._seen = (date, elapsed_s())

    def now(self) -> datetime | None:
        """The other side's time, or None before its first answer."""
        seen = self._seen
        return None if seen is None else seen[0] + timedelta(seconds=elapsed_s() - seen[1])

    def read(self, told: str, ask: Callable[[], object]) -> datetime:
        """The other side's time; before its first answer, ``ask`` gets one.

        Raises:
            StoreUnavailable: its answers have no Date.
        """
        found = self.now()
        if found is None:
            ask()
            found = self.now()
        if found is None:
            raise StoreUnavailable(f"{told}: the store's answers have no Date", hint="Check the endpoint.")
        return found


def _said(answer: Answer) -> str:
    parts = (f"HTTP {answer.status}", plain(answer.code, 60), plain(answer.message, 200))
    return " ".join(part for part in parts if part)


def _field(text: str, name: str) -> str:
    match = re.search(rf"<{name}>([^<]{{1,1000}})</{name}>", text)
    return html.unescape(match[1]).strip() if match else ""
