"""Amazon CloudFront: invalidations through botocore, which is boto3 without its resources.

Takes URLs below the edge's base URL, gives invalidations of their paths. CloudFront has no prefetch. An
invalidation is idempotent: its CallerReference is the driver's key and its paths are sorted, so the same request sent
twice, from any machine, is one invalidation. botocore finds credentials, signs and parses; ``calling`` carries the request, so
that it is bounded and judged as every other vendor's.
API: https://docs.aws.amazon.com/cloudfront/latest/APIReference/API_CreateInvalidation.html

next: ``cdns.cloudflare``
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import urllib3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from botocore.session import Session, get_session

from pipeline.cdns.calling import Call, Calling
from pipeline.cdns.verdicts import SKEW
from pipeline.errors import (
    AccessDenied,
    CallRefused,
    CallUnanswered,
    CdnUnavailable,
    ClockSkew,
    ModelportError,
    SettingsError,
    UnavailableError,
)
from pipeline.ports import CallLimits, CdnTask, Op, Quota, TaskState, TaskStatus
from pipeline.providers import Credentials
from pipeline.sources.answers import read_date, read_retry_after

if TYPE_CHECKING:
    from mypy_boto3_cloudfront import CloudFrontClient

T = TypeVar("T")
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/invalidation-specifying-objects.html:
# 3,000 paths in progress, of them 15 that end with *; a path has at most 4,000 characters.
LIMITS = {
    Op.REFRESH: CallLimits(urls=3000, url_chars=4000, per_second=5.0, history=timedelta(days=7)),
    Op.REFRESH_PREFIX: CallLimits(urls=15, url_chars=4000, per_second=5.0, history=timedelta(days=7)),
}
_NO_KEYS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError, ProfileNotFound)
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
    """A ``Cdn`` over one distribution.

    ``open_session`` is called at the first use, so that opening asks nobody. Without ``credentials`` boto3 looks in its own places.
    """

    base_url: str
    distribution: str
    calling: Calling
    endpoint: str = ""
    credentials: Credentials = field(default_factory=lambda: Credentials({}))
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
        # A path has no host: that of another one would be invalidated here.
        foreign = tuple(url for url in urls if urlsplit(url).netloc != urlsplit(self.base_url).netloc)
        if foreign:
            raise CallRefused(
                f"cloudfront {self.distribution}: {foreign[0]} is not at {self.base_url}",
                hint="Check cdn.base_url.",
                urls=foreign,
            )
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
            raise _refusal(error, told, self._masked, changes=changes) from None
        except ResponseParserError:
            raise _meaningless(told, changes=changes) from None
        except BotoCoreError as error:
            raise _fault(error, told) from None

    def _masked(self, text: str) -> str:
        return Call("", "", "", secrets=self.credentials.secrets).shown(text)

    def _carry(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        # botocore writes some values as bytes, some as text.
        headers = {
            name: value.decode("latin-1") if isinstance(value, bytes) else str(value) for name, value in request.headers.items()
        }
        body = request.body or b""
        call = event_name.rpartition(".")[2]
        answer = self.calling.exchange(
            Call(
                f"cloudfront {call} {self.distribution}",
                request.method,
                request.url,
                {"Accept": "text/xml", **headers},
                body.encode() if isinstance(body, str) else bytes(body),
                asks=call.startswith("Get"),
                secrets=(*self.credentials.secrets, headers.get("X-Amz-Security-Token", "")),
            )
        )
        raw = urllib3.HTTPResponse(io.BytesIO(answer.body), answer.headers, answer.status, preload_content=False)
        return AWSResponse(request.url, answer.status, HTTPHeaders.from_dict(answer.headers), raw)

    def _opened(self) -> CloudFrontClient:
        with self._lock:
            if self._client is None:
                self._client = self._open()
            return self._client

    def _open(self) -> CloudFrontClient:
        own: dict[str, Any] = {}
        if self.credentials.get("access_key_id") and self.credentials.get("secret_access_key"):
            own = {
                "aws_access_key_id": self.credentials.get("access_key_id"),
                "aws_secret_access_key": self.credentials.get("secret_access_key"),
                "aws_session_token": self.credentials.get("session_token") or None,
            }
        try:
            client: Any = self.open_session().create_client(
                "cloudfront",
                # A global service, which signs for this region (AWS General Reference, CloudFront endpoints).
                region_name="us-east-1",
                endpoint_url=self.endpoint or None,
                # Repetition is the driver's business; two of them would multiply.
                config=Config(retries={"total_max_attempts": 1, "mode": "standard"}),
                **own,
            )
        except ValueError as error:
            raise SettingsError(f"cdn: endpoint {self.endpoint!r} cannot be used: {error}", hint=_ENDPOINT_HINT) from None
        client.meta.events.register("before-send.cloudfront", self._carry)
        opened: CloudFrontClient = client
        return opened


def open_cdn(
    *, base_url: str, endpoint: str, credentials: Credentials, options: Mapping[str, Any], calling: Calling
) -> CloudFront:
    """Open a distribution; nobody is called. Without keys in AWS_ACCESS_KEY_ID boto3 looks for them in its own places."""
    return CloudFront(base_url, options["distribution"], calling, endpoint, credentials)


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


def _refusal(error: ClientError, told: str, masked: Callable[[str], str], *, changes: bool) -> ModelportError:
    meta: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    code = str(error.response.get("Error", {}).get("Code", "")) or str(status)
    text = masked(str(error.response.get("Error", {}).get("Message", "")))
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
    if status >= 500:
        return CallUnanswered(said, hint=_AGAIN_HINT) if changes else CdnUnavailable(said, hint=_AGAIN_HINT)
    if code.isdigit():
        # botocore puts the status there when the answer was no document of the API.
        return _meaningless(f"{told}: {status}", changes=changes)
    return CallRefused(said, hint=_ENDPOINT_HINT, code=code)


def _meaningless(told: str, *, changes: bool) -> ModelportError:
    said = f"{told}: the answer is not CloudFront's"
    return CallUnanswered(said, hint=_ENDPOINT_HINT) if changes else CdnUnavailable(said, hint=_ENDPOINT_HINT)


def _fault(error: BotoCoreError, told: str) -> ModelportError:
    text = f"{told}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, _NO_KEYS):
        return AccessDenied(text, hint=_KEYS_HINT)
    if isinstance(error, ParamValidationError):
        return CallRefused(text, hint=_ENDPOINT_HINT)
    return UnavailableError(text, hint="Check the configuration of AWS.")
