"""Amazon CloudFront: invalidations through botocore, which is boto3 without its resources.

Takes URLs below the edge's base URL, gives invalidations of their paths. CloudFront has no prefetch. An
invalidation is idempotent: its CallerReference is the driver's key and its paths are sorted, so the same request sent
twice, from any machine, is one invalidation.
API: https://docs.aws.amazon.com/cloudfront/latest/APIReference/API_CreateInvalidation.html

next: ``cdns.cloudflare``
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    SSLError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from botocore.session import Session, get_session

from pipeline.cdns.calling import Calling
from pipeline.cdns.verdicts import SKEW
from pipeline.errors import (
    AccessDenied,
    CallRefused,
    CallUnanswered,
    CdnUnavailable,
    ClockSkew,
    ModelportError,
    RedirectRefused,
    SettingsError,
    UnavailableError,
)
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials
from pipeline.sources.answers import read_date, read_retry_after

if TYPE_CHECKING:
    from mypy_boto3_cloudfront import CloudFrontClient

T = TypeVar("T")
CONNECT_S = 10.0
READ_S = 60.0
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/invalidation-specifying-objects.html:
# 3,000 paths in progress, of them 15 that end with *; a path has at most 4,000 characters.
LIMITS = {
    Op.REFRESH: CallLimits(urls=3000, url_chars=4000, per_second=5.0, history=timedelta(days=7)),
    Op.REFRESH_PREFIX: CallLimits(urls=15, url_chars=4000, per_second=5.0, history=timedelta(days=7)),
}
_NO_KEYS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError, ProfileNotFound)
_NEVER_SENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_KEYS_HINT = "Give credentials in any way boto3 knows (AWS_ACCESS_KEY_ID, AWS_PROFILE, …) that may create invalidations."
_AGAIN_HINT = "Run invoke cdn.resume when the API answers again."
_ENDPOINT_HINT = "Check the settings endpoint and distribution of this CDN, and what stands between here and AWS."
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "NotAuthorized",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_LATER = frozenset(
    {
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyInvalidationsInProgress",
        "TooManyRequestsException",
    }
)


@dataclass(slots=True)
class CloudFront:
    """A ``Cdn`` over one distribution. ``open_session`` is called at the first use, so that opening asks nobody."""

    base_url: str
    distribution: str
    endpoint: str = ""
    credentials: Credentials | None = None
    ca_file: str | None = None
    read_s: float = READ_S
    limits: Mapping[Op, CallLimits] = field(default_factory=lambda: LIMITS)
    open_session: Callable[[], Session] = field(default=get_session, repr=False)
    name: str = "cloudfront"
    can_poll: bool = True
    _client: CloudFrontClient | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def account(self) -> str:
        return self.distribution

    def submit(self, op: Op, urls: Sequence[str], *, key: str) -> Sequence[CdnTask]:
        paths = sorted({path_of(url, op) for url in urls})
        answer = self._call(
            "CreateInvalidation",
            lambda client: client.create_invalidation(
                DistributionId=self.distribution,
                InvalidationBatch={"Paths": {"Quantity": len(paths), "Items": paths}, "CallerReference": key},
            ),
            changes=True,
        )
        found = _invalidation(answer)
        if not found.get("Id"):
            raise _meaningless(f"cloudfront CreateInvalidation {self.distribution}", changes=True)
        return [CdnTask(id=str(found["Id"]), op=op, urls=tuple(urls), request_id=_request_id(answer))]

    def poll(self, tasks: Sequence[CdnTask]) -> Mapping[str, TaskStatus]:
        return {task.id: self._status(task.id) for task in tasks}

    def quota(self) -> Mapping[Op, Quota] | None:
        """Answer None: there is a price a path and a number of them in progress, but no call that tells either."""
        return None

    def find(self, op: Op, urls: Sequence[str], *, since: datetime) -> Sequence[CdnTask] | None:
        """Answer None: sending the same CallerReference again is exact, and lists do not show it."""
        del op, urls, since
        return None

    def _status(self, task_id: str) -> TaskStatus:
        try:
            answer = self._call(
                "GetInvalidation",
                lambda client: client.get_invalidation(DistributionId=self.distribution, Id=task_id),
                changes=False,
            )
        except CallRefused as error:
            if error.code == "NoSuchInvalidation":
                return TaskStatus(TaskState.UNKNOWN, detail="the distribution knows no such invalidation")
            raise
        found = _invalidation(answer)
        if found.get("Id") != task_id:
            raise _meaningless(f"cloudfront GetInvalidation {self.distribution}", changes=False)
        # Local stand-ins of the API spell it in capitals; these two values are all there are.
        if str(found.get("Status", "")).lower() == "completed":
            return TaskStatus(TaskState.DONE, percent=100)
        return TaskStatus(TaskState.RUNNING)

    def _call(self, call: str, request: Callable[[CloudFrontClient], T], *, changes: bool) -> T:
        told = f"cloudfront {call} {self.distribution}"
        try:
            return request(self._opened())
        except ClientError as error:
            raise _refusal(error, told, changes=changes) from None
        except ResponseParserError:
            raise _meaningless(told, changes=changes) from None
        except BotoCoreError as error:
            raise _fault(error, told, changes=changes) from None

    def _opened(self) -> CloudFrontClient:
        with self._lock:
            if self._client is None:
                self._client = self._open()
            return self._client

    def _open(self) -> CloudFrontClient:
        session = self.open_session()
        keys = self.credentials
        own = keys is not None and keys.get("access_key_id") and keys.get("secret_access_key")
        try:
            client: Any = session.create_client(
                "cloudfront",
                # A global service, which signs for this region (AWS General Reference, CloudFront endpoints).
                region_name="us-east-1",
                endpoint_url=self.endpoint or None,
                aws_access_key_id=keys.get("access_key_id") if keys is not None and own else None,
                aws_secret_access_key=keys.get("secret_access_key") if keys is not None and own else None,
                aws_session_token=(keys.get("session_token") or None) if keys is not None and own else None,
                verify=self.ca_file or session.get_config_variable("ca_bundle"),
                config=Config(
                    connect_timeout=CONNECT_S,
                    read_timeout=self.read_s,
                    # Repetition is the driver's business; two of them would multiply.
                    retries={"total_max_attempts": 1, "mode": "standard"},
                ),
            )
        except ValueError as error:
            raise SettingsError(f"cdn: endpoint {self.endpoint!r} cannot be used: {error}", hint=_ENDPOINT_HINT) from None
        opened: CloudFrontClient = client
        return opened


def open_cdn(
    *, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling
) -> CloudFront:
    """Open a distribution; nobody is called. Without keys in AWS_ACCESS_KEY_ID boto3 looks for them in its own places."""
    return CloudFront(base_url, options["distribution"], endpoint, credentials, calling.ca_file, calling.answer_s)


def path_of(url: str, op: Op) -> str:
    """Spell a URL as CloudFront's invalidation path: no host; a prefix ends with ``*``."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return f"{path}*" if op is Op.REFRESH_PREFIX else path


def _invalidation(answer: Any) -> Mapping[str, Any]:
    found = answer.get("Invalidation")
    return found if isinstance(found, Mapping) else {}


def _request_id(answer: Any) -> str:
    return str(answer.get("ResponseMetadata", {}).get("RequestId", ""))


def _refusal(error: ClientError, told: str, *, changes: bool) -> ModelportError:
    meta: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    code = str(error.response.get("Error", {}).get("Code", "")) or str(status)
    text = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:200]
    said = f"{told}: {status} {code}: {text} (request {meta.get('RequestId', 'unknown')})"
    headers: Mapping[str, str] = meta.get("HTTPHeaders", {})
    if code in _DENIED or status in {401, 403}:
        there, here = read_date(headers.get("date", "")), datetime.now(UTC)
        if there is not None and abs(there - here) > SKEW:
            return ClockSkew(
                f"{said}; this clock says {here:%Y-%m-%dT%H:%M:%SZ}, the API's {there:%Y-%m-%dT%H:%M:%SZ}",
                hint="Set this machine's clock.",
            )
        return AccessDenied(said, hint=_KEYS_HINT)
    if code in _LATER or status in {429, 503}:
        after = read_retry_after(headers.get("retry-after", "").strip(), read_date(headers.get("date", "")))
        return CdnUnavailable(said, hint=_AGAIN_HINT, retry_after_s=after)
    if 300 <= status < 400:
        return RedirectRefused(f"{said}; a signed call goes nowhere else", hint=_ENDPOINT_HINT)
    if status >= 500:
        return CallUnanswered(said, hint=_AGAIN_HINT) if changes else CdnUnavailable(said, hint=_AGAIN_HINT)
    if code.isdigit():
        # botocore puts the status there when the answer was no document of the API.
        return _meaningless(f"{told}: {status}", changes=changes)
    return CallRefused(said, hint=_ENDPOINT_HINT, code=code)


def _meaningless(told: str, *, changes: bool) -> ModelportError:
    said = f"{told}: the answer is not CloudFront's"
    return CallUnanswered(said, hint=_ENDPOINT_HINT) if changes else CdnUnavailable(said, hint=_ENDPOINT_HINT)


def _fault(error: BotoCoreError, told: str, *, changes: bool) -> ModelportError:
    text = f"{told}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, _NO_KEYS):
        return AccessDenied(text, hint=_KEYS_HINT)
    if isinstance(error, ParamValidationError):
        return CallRefused(text, hint=_ENDPOINT_HINT)
    if isinstance(error, SSLError):
        return UnavailableError(text, hint="Set ca_bundle to your network's authorities; verification is never switched off.")
    if isinstance(error, _NEVER_SENT) or not changes:
        return CdnUnavailable(text, hint=_AGAIN_HINT)
    return CallUnanswered(text, hint=_AGAIN_HINT)
