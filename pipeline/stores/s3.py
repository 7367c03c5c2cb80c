"""A store in a bucket of Amazon S3 or of anything that speaks its protocol.

Takes a bucket and a prefix, gives an ``ObjectStore``. Everything small goes through a client of
botocore, which is boto3 without its resources. A body does not: its sha256 is known, so the request is signed
over it by botocore's own signer and the bytes go straight to the socket, neither copied nor hashed again nor
wrapped in aws-chunked (docs/adr/0020). Addresses, regions and credentials are boto3's decision in both cases.

next: ``stores.oss``
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError
from botocore.session import Session, get_session
from botocore.utils import get_environ_proxies

from pipeline.bodies import Body, whole
from pipeline.digest import Sha256
from pipeline.errors import (
    AccessDenied,
    ModelportError,
    ObjectMissing,
    SettingsError,
    StoreUnavailable,
    UnavailableError,
    WrongStore,
)
from pipeline.layout import headers_for
from pipeline.ports import ObjectInfo, StoreProperties
from pipeline.stores.answers import (
    Answer,
    Asked,
    PastTheEnd,
    StoreClock,
    creation,
    date_of,
    next_page,
    place_in,
    read_answer,
    refusal,
    require,
    sha256_in,
)
from pipeline.stores.keys import check_key, store_prefix
from pipeline.stores.pools import CONNECT_S, READ_S, authorities, connection_fault, open_pool, read_body, send

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
_NO_KEYS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError, ProfileNotFound)


class _KnownPayload(S3SigV4Auth):
    """Signature V4 over a payload whose sha256 is known already."""

    def __init__(self, credentials: Any, service: str, region: str, sha256: Sha256) -> None:
        super().__init__(credentials, service, region)
        self._sha256 = sha256

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002 (botocore calls it with the request)
        return self._sha256


@dataclass(frozen=True, slots=True)
class _Line:
    """What boto3 decided for this bucket, and the connections to it."""

    client: S3Client
    credentials: Credentials
    pool: urllib3.PoolManager
    base_url: str
    region: str
    service: str


class _Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code)
        self.answer = answer


class S3Store:
    """An ``ObjectStore`` in ``bucket`` under ``prefix``.

    ``open_session`` is called at the first use, and again when the store says that credentials have
    expired, so that files and agents are asked anew.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str | None = None,
        connections: int = 16,
        ca_file: str | None = None,
        open_session: Callable[[], Session] = get_session,
    ) -> None:
        self._bucket = bucket
        self._prefix = store_prefix(prefix)
        self._endpoint = endpoint
        self._region = region
        self._connections = connections
        self._ca_file = ca_file
        self._open_session = open_session
        self._line: _Line | None = None
        self._lock = threading.Lock()
        self._clock = StoreClock()
        # Set by whatever succeeds, or is denied, in the bucket.
        self._bucket_seen = False
        self._keeps_sha256 = True

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def properties(self) -> StoreProperties:
        """``keeps_sha256`` is what the last write showed; until then, what S3 itself does."""
        return StoreProperties(create_only=None, compare_and_swap=None, keeps_sha256=self._keeps_sha256)

    def put(self, key: str, body: Body, *, sha256: Sha256, if_absent: bool = False, if_etag: str | None = None) -> ObjectInfo:
        view = whole(body)
        # Some servers make a bucket that is written to: a misspelt one must be found before.
        self._find_bucket()
        asked = self._asked("put", key, if_absent=if_absent, if_etag=if_etag is not None)
        served = headers_for(key)
        headers = {
            "Content-Type": served.content_type,
            "Cache-Control": served.cache_control,
            "User-Agent": "modelport",
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(sha256)).decode(),
        }
        if if_absent:
            headers["If-None-Match"] = "*"
        if if_etag is not None:
            headers["If-Match"] = if_etag
        told = f"{self.url}: put {key}"
        with creation(told, lambda: self.head(key), if_absent=if_absent):
            got = self._call(asked, lambda line: self._send(line, key, view, sha256, headers))
        require(told, got, "etag")
        kept = sha256_in(got.get("x-amz-checksum-sha256"))
        self._keeps_sha256 = kept is not None
        at = date_of(got) or datetime.now(UTC)
        return ObjectInfo(key, view.nbytes, at, got["etag"], kept)

    def draft(self) -> None:
        return None

    def _send(self, line: _Line, key: str, view: memoryview, sha256: Sha256, headers: dict[str, str]) -> dict[str, str]:
        url = line.base_url + quote(self._prefix + key, safe="/-_.~")
        request = AWSRequest("PUT", url, headers=dict(headers))
        _KnownPayload(line.credentials.get_frozen_credentials(), line.service, line.region, sha256).add_auth(request)
        got = send(line.pool, "PUT", url, headers=dict(request.headers.items()), body=view)
        self._clock.note(got.headers)
        if got.status != 200 or b"<Error>" in got.body[:512]:
            raise _Refused(read_answer(got.status if got.status != 200 else 500, got.headers, got.body))
        return dict(got.headers)

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        if size == 0:
            self.head(key)
            return iter(())
        asked = self._asked("get", key)
        wanted: dict[str, Any] = {}
        if start or size is not None:
            wanted["Range"] = f"bytes={start}-{'' if size is None else start + size - 1}"
        try:
            got = self._call(asked, lambda line: line.client.get_object(**self._named(key), **wanted))
        except PastTheEnd:
            return iter(())
        told, body = f"{self.url}: get {key}", got["Body"]
        require(told, got, "ContentLength")
        try:
            place = place_in(told, start, size, span=got.get("ContentRange"), length=got["ContentLength"])
        except StoreUnavailable:
            body.close()
            raise
        faults = (HTTPClientError, IncompleteReadError, urllib3.exceptions.HTTPError)
        return read_body(body.read, place, told, end=lambda _: body.close(), faults=faults)

    def head(self, key: str) -> ObjectInfo:
        asked = self._asked("head", key)
        try:
            got = self._call(asked, lambda line: line.client.head_object(**self._named(key), ChecksumMode="ENABLED"))
        except ObjectMissing:
            # A HEAD has no body, so "no key" and "no bucket" look alike.
            self._find_bucket()
            raise
        require(f"{self.url}: head {key}", got, "ContentLength", "LastModified", "ETag")
        # Some servers name no type; a digest over parts is told by its "-N" as well.
        full = got.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        kept = sha256_in(got.get("ChecksumSHA256")) if full else None
        return ObjectInfo(key, got["ContentLength"], got["LastModified"].astimezone(UTC), got["ETag"], kept)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        asked = self._asked("list", prefix)
        query: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        found: list[ObjectInfo] = []
        while True:
            page = self._call(asked, lambda line: line.client.list_objects_v2(**query))
            require(f"{self.url}: list {prefix}", page, "IsTruncated")
            for item in page.get("Contents", []):
                key = item["Key"].removeprefix(self._prefix)
                found.append(ObjectInfo(key, item["Size"], item["LastModified"].astimezone(UTC), item["ETag"]))
            if not page.get("IsTruncated"):
                break
            query["ContinuationToken"] = next_page(f"{self.url}: list {prefix}", page.get("NextContinuationToken"))
        # S3 lists in key order; servers that keep folders inside (SeaweedFS) give "a/b" before "a-b".
        return iter(sorted(found, key=lambda info: info.key))

    def delete(self, key: str) -> None:
        asked = self._asked("delete", key)
        try:
            self._call(asked, lambda line: line.client.delete_object(**self._named(key)))
        except ObjectMissing:
            return

    def now(self) -> datetime:
        """The Date of the store's last answer, carried on by a clock that nobody sets."""
        return self._clock.read(self.url, lambda: self._find_bucket(anew=True))

    def _find_bucket(self, *, anew: bool = False) -> None:
        if self._bucket_seen and not anew:
            return
        # Who may use objects but not describe the bucket is denied: then it is there.
        with suppress(AccessDenied):
            self._call(self._asked("find", "the bucket"), lambda line: line.client.head_bucket(Bucket=self._bucket))
        self._bucket_seen = True

    def _named(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key, prefix=self._prefix)}

    def _asked(self, op: str, key: str = "", *, if_absent: bool = False, if_etag: bool = False) -> Asked:
        if op not in {"list", "find"}:
            check_key(key, prefix=self._prefix)
        return Asked(op, self.url, key, if_absent=if_absent, if_etag=if_etag)

    def _call(self, asked: Asked, make: Callable[[_Line], T]) -> T:
        """Make one call, and once more with newer credentials if the store says that these have expired."""
        told = f"{self.url}: {asked.op} {asked.key}".rstrip()
        line: _Line | None = None
        while True:
            renewed = line
            try:
                line = self._opened(instead_of=renewed)
                got = make(line)
            except ClientError as error:
                answer = _answer_of(error)
            except _Refused as error:
                answer = error.answer
            except urllib3.exceptions.HTTPError as error:
                raise connection_fault(error, told) from None
            except ResponseParserError:
                raise StoreUnavailable(f"{told}: the answer is not an object store's", hint=_ENDPOINT_HINT) from None
            except BotoCoreError as error:
                raise _fault(error, told) from None
            else:
                self._bucket_seen = True
                return got
            if answer.status == 416:
                raise PastTheEnd
            if renewed is None and line is not None and answer.may_be_expiry(temporary=line.credentials.token is not None):
                continue
            source, region = (line.credentials.method, line.region) if line is not None else ("unknown", "")
            raise refusal(answer, replace(asked, credential_source=source, region=region, at=datetime.now(UTC))) from None

    def _opened(self, *, instead_of: _Line | None) -> _Line:
        with self._lock:
            if self._line is None or self._line is instead_of:
                self._line = self._open()
            return self._line

    def _open(self) -> _Line:
        session = self._open_session()
        ca_file = authorities(self._ca_file or session.get_config_variable("ca_bundle"))
        local = urlsplit(self._endpoint or "").hostname == "localhost"
        try:
            client: Any = session.create_client(
                "s3",
                endpoint_url=self._endpoint,
                region_name=self._region,
                verify=ca_file,
                config=Config(
                    signature_version="s3v4",
                    connect_timeout=CONNECT_S,
                    read_timeout=READ_S,
                    max_pool_connections=self._connections,
                    # Repetition is a wrapper's business; two of them would multiply.
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    # bucket.localhost resolves on few machines.
                    s3={"addressing_style": "path"} if local else None,
                ),
            )
        except ValueError as error:
            raise SettingsError(f"the endpoint {self._endpoint!r} cannot be used: {error}", hint=_ENDPOINT_HINT) from None
        client.meta.events.register("before-call.s3", _stay_here)
        client.meta.events.register("after-call.s3", self._after_call)
        credentials = session.get_credentials()
        if credentials is None:
            raise AccessDenied(f"{self.url}: no credentials were found", hint=_KEYS_HINT)
        # boto3 alone knows partitions, dual stacks and addressing styles: its own URL and scope are taken apart.
        parts = urlsplit(client.generate_presigned_url("put_object", Params={"Bucket": self._bucket, "Key": "k"}))
        scope = parse_qs(parts.query)["X-Amz-Credential"][0].split("/")
        base_url = urlunsplit((parts.scheme, parts.netloc, parts.path.removesuffix("k"), "", ""))
        pool = open_pool(ca_file=ca_file, proxy=get_environ_proxies(base_url).get(parts.scheme), connections=self._connections)
        return _Line(client, credentials, pool, base_url, region=scope[-3], service=scope[-2])

    def _after_call(self, parsed: dict[str, Any], **_: Any) -> None:
        self._clock.note(parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}))


def _stay_here(params: dict[str, Any], **_: Any) -> None:
    # boto3 would follow a bucket to another region by itself; a person must say where the store is.
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _fault(error: BotoCoreError, told: str) -> ModelportError:
    if isinstance(error, _NO_KEYS):
        return AccessDenied(f"{told}: {error}", hint=_KEYS_HINT)
    if isinstance(error, ParamValidationError):
        return WrongStore(f"{told}: {' '.join(str(error).split())[:200]}", hint="Check the store's name.")
    if isinstance(error, (BotoConnectionError, HTTPClientError)):
        return connection_fault(error, told)
    return UnavailableError(f"{told}: {' '.join(str(error).split())[:200]}", hint="Check the configuration of AWS.")


def _answer_of(error: ClientError) -> Answer:
    told, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    headers = meta.get("HTTPHeaders", {})
    code = told.get("Code", "")
    region = str(headers.get("x-amz-bucket-region") or told.get("Region") or told.get("Endpoint") or "")
    # Without a document botocore puts the status in the place of the code.
    return Answer(meta.get("HTTPStatusCode", 0), "" if code.isdigit() else code, told.get("Message", ""), headers, region)


_ENDPOINT_HINT = "Give it as https://host or https://host:port."
_KEYS_HINT = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role is given."
