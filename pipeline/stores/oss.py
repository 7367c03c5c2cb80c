"""A store in a bucket of Aliyun OSS.

Takes a bucket, a prefix, an endpoint and keys, gives an ``ObjectStore``. Requests are signed by oss2 with
signature version 4. OSS verifies no sha256; it answers an upload with the CRC-64 of what arrived, which is
compared with our own (docs/adr/0021). It has a create-only write but no compare-and-swap.

next: ``stores.retrying``
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol
from xml.etree.ElementTree import ParseError

import fastcrc
import oss2
import requests
import urllib3
from oss2.credentials import StaticCredentialsProvider
from oss2.exceptions import ClientError, InconsistentError, OssError, RequestError
from requests.adapters import HTTPAdapter

from pipeline.bodies import Body, whole
from pipeline.digest import Sha256
from pipeline.errors import (
    AccessDenied,
    ObjectMissing,
    SettingsError,
    StoreUnavailable,
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
    refusal,
    require,
)
from pipeline.stores.keys import check_key, store_prefix
from pipeline.stores.pools import ANSWER_BYTES, CONNECT_S, READ_S, SLICE, authorities, connection_fault, make_patient, read_body

# https://www.alibabacloud.com/help/en/oss/user-guide/regions-and-endpoints
_ENDPOINT = re.compile(r"(?:https?://)?oss-(?P<region>[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com/?")


class OssKeys(Protocol):
    """An access key; ``session_token`` is empty for a permanent one."""

    @property
    def access_key_id(self) -> str: ...
    @property
    def access_key_secret(self) -> str: ...
    @property
    def session_token(self) -> str: ...


class OssStore:
    """An ``ObjectStore`` in ``bucket`` under ``prefix``; of ``endpoint`` and ``region`` one is found from the other.

    Raises:
        SettingsError: neither an endpoint nor a region is given, or the region cannot be found.
        AccessDenied: there are no keys.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str = "",
        region: str = "",
        credentials: OssKeys,
        connections: int = 16,
        ca_file: str | None = None,
    ) -> None:
        self._name = bucket
        self._prefix = store_prefix(prefix)
        self._clock = StoreClock()
        # Set by whatever succeeds, or is denied, in the bucket.
        self._bucket_seen = False
        url, region = _place(endpoint, region)
        if not (credentials.access_key_id and credentials.access_key_secret):
            raise AccessDenied(f"{self.url}: no credentials were found", hint="Set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET.")
        session = oss2.Session(adapter=_Trusting(authorities(ca_file), connections))
        keys = StaticCredentialsProvider(credentials.access_key_id, credentials.access_key_secret, credentials.session_token)
        try:
            self._bucket = oss2.Bucket(
                oss2.ProviderAuthV4(keys),
                url,
                bucket,
                session=session,
                region=region,
                connect_timeout=(CONNECT_S, READ_S),
                # It would hash 0.36 GB/s in this process, and what it guards is checked below.
                enable_crc=False,
            )
        except ClientError as error:
            raise WrongStore(f"{self.url}: {error.body}", hint="Check the store's name and endpoint.") from None

    @property
    def url(self) -> str:
        return f"oss://{self._name}/{self._prefix}".rstrip("/")

    @property
    def properties(self) -> StoreProperties:
        """``create_only`` is open: a bucket with versioning takes the header and ignores it."""
        return StoreProperties(create_only=None, compare_and_swap=False, keeps_sha256=False)

    def put(
        self,
        key: str,
        body: Body,
        *,
        sha256: Sha256,  # noqa: ARG002 (OSS verifies none)
        if_absent: bool = False,
        if_etag: str | None = None,
    ) -> ObjectInfo:
        view = whole(body)
        self._find_bucket()
        asked = self._asked("put", key, if_absent=if_absent, if_etag=if_etag is not None)
        served = headers_for(key)
        headers = {"Content-Type": served.content_type, "Cache-Control": served.cache_control}
        if if_absent:
            headers["x-oss-forbid-overwrite"] = "true"
        if if_etag is not None:
            headers["If-Match"] = if_etag
        told = f"{self.url}: put {key}"
        with creation(told, lambda: self.head(key), if_absent=if_absent):
            got = self._call(asked, lambda: self._bucket.put_object(self._prefix + key, _Slices.of(view), headers=headers))
        require(told, {"etag": got.etag}, "etag")
        self._check_arrival(key, view, got.crc, if_absent=if_absent)
        return ObjectInfo(key, view.nbytes, date_of(_lower(got.headers)) or datetime.now(UTC), got.etag)

    def draft(self) -> None:
        return None

    def _check_arrival(self, key: str, view: memoryview, crc: int | None, *, if_absent: bool) -> None:
        if crc is None or crc == fastcrc.crc64.xz(view):
            return
        if if_absent:
            # We made it a moment ago and it is not what we sent: nobody else can want it.
            self.delete(key)
        raise StoreUnavailable(
            f"{self.url}: put {key}: other bytes arrived than were sent (CRC-64 differs)",
            hint="Check the network, then run it again.",
        )

    def get(self, key: str, *, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        if size == 0:
            self.head(key)
            return iter(())
        span = None if start == 0 and size is None else (start, None if size is None else start + size - 1)
        # Without this header OSS answers a range past the end with the whole object and 200.
        headers = {"x-oss-range-behavior": "standard"}
        try:
            got = self._call(
                self._asked("get", key), lambda: self._bucket.get_object(self._prefix + key, byte_range=span, headers=headers)
            )
        except PastTheEnd:
            return iter(())
        raw, told = got.resp.response.raw, f"{self.url}: get {key}"

        def end(whole: bool) -> None:  # noqa: FBT001 (read_body calls it so)
            if not whole:
                raw.close()
            raw.release_conn()

        try:
            require(told, {"length": got.content_length}, "length")
            place = place_in(told, start, size, span=got.content_range, length=got.content_length)
        except StoreUnavailable:
            end(False)
            raise
        return read_body(partial(raw.read, decode_content=False), place, told, end=end)

    def head(self, key: str) -> ObjectInfo:
        try:
            got = self._call(self._asked("head", key), lambda: self._bucket.head_object(self._prefix + key))
        except ObjectMissing:
            # A HEAD has no body, so "no key" and "no bucket" look alike.
            self._find_bucket()
            raise
        require(f"{self.url}: head {key}", vars(got), "content_length", "last_modified", "etag")
        return ObjectInfo(key, got.content_length, _utc(got.last_modified), got.etag)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        found: list[ObjectInfo] = []
        token = ""
        while True:
            page = self._page(self._prefix + prefix, token)
            found.extend(
                ObjectInfo(item.key.removeprefix(self._prefix), item.size, _utc(item.last_modified), item.etag)
                for item in page.object_list
            )
            if not page.is_truncated:
                return iter(sorted(found, key=lambda info: info.key))
            token = next_page(f"{self.url}: list {prefix}", page.next_continuation_token)

    def delete(self, key: str) -> None:
        with suppress(ObjectMissing):
            self._call(self._asked("delete", key), lambda: self._bucket.delete_object(self._prefix + key))

    def now(self) -> datetime:
        """The Date of the store's last answer, carried on by a clock that nobody sets."""
        return self._clock.read(self.url, lambda: self._find_bucket(anew=True))

    def _page(self, prefix: str, token: str, *, most: int = 1000) -> Any:
        asked = self._asked("list", prefix.removeprefix(self._prefix))
        return self._call(
            asked, lambda: self._bucket.list_objects_v2(prefix=prefix, continuation_token=token, max_keys=most, fetch_owner=False)
        )

    def _find_bucket(self, *, anew: bool = False) -> None:
        if self._bucket_seen and not anew:
            return
        with suppress(AccessDenied):
            self._page(self._prefix, "", most=1)
        self._bucket_seen = True

    def _asked(self, op: str, key: str = "", *, if_absent: bool = False, if_etag: bool = False) -> Asked:
        if op != "list":
            check_key(key, prefix=self._prefix)
        return Asked(op, self.url, key, if_absent=if_absent, if_etag=if_etag, credential_source="OSS_ACCESS_KEY_ID")

    def _call(self, asked: Asked, make: Callable[[], Any]) -> Any:
        told = f"{asked.where}: {asked.op} {asked.key}".rstrip()
        try:
            got = make()
        except (RequestError, InconsistentError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise connection_fault(error, told) from None
        except OssError as error:
            answer = _answer_of(error)
            self._clock.note(answer.headers)
            if answer.status == 416:
                raise PastTheEnd from None
            raise refusal(answer, asked) from None
        except (RuntimeError, ValueError, ParseError):
            # What oss2 lets out for XML that is none, or lacks the elements and numbers that it looks for.
            raise StoreUnavailable(f"{told}: the answer is not OSS's", hint="Check the endpoint.") from None
        self._clock.note(_lower(got.headers))
        self._bucket_seen = True
        return got


class _Trusting(HTTPAdapter):
    """Certificates are judged by one file; requests alone would let other variables of the environment overrule it.

    Answers that are no object are read here, whole but bounded: oss2 leaves the rest of a long one, and with it
    the connection, lying about.
    """

    def __init__(self, ca_file: str | None, connections: int) -> None:
        super().__init__(pool_connections=1, pool_maxsize=connections)
        self._verify = ca_file or True

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more)
        make_patient(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **more: Any) -> Any:
        return make_patient(super().proxy_manager_for(proxy, **more))

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:  # type: ignore[override] # requests calls it by keywords only
        answer = super().send(request, **{**how, "verify": self._verify})
        if request.method != "GET" or answer.status_code >= 300:
            try:
                body = answer.raw.read(ANSWER_BYTES, decode_content=False)
            except urllib3.exceptions.HTTPError as error:
                raise requests.ConnectionError(error) from error
            finally:
                answer.close()
            answer.raw = io.BytesIO(body)
        return answer


class _Slices:
    """A body in slices: a socket's timeout covers one of them, not a whole part."""

    def __init__(self, view: memoryview) -> None:
        self._view = view

    @classmethod
    def of(cls, view: memoryview) -> _Slices | bytes:
        # requests sends an empty iterable chunked, which OSS refuses.
        return cls(view) if view.nbytes else b""

    def __len__(self) -> int:
        return self._view.nbytes

    def __iter__(self) -> Iterator[memoryview]:
        return (self._view[at : at + SLICE] for at in range(0, self._view.nbytes, SLICE))


def _place(endpoint: str, region: str) -> tuple[str, str]:
    known = _ENDPOINT.fullmatch(endpoint)
    region = region.removeprefix("oss-") or (known["region"] if known else "")
    if not region:
        raise SettingsError(
            f"the region of {endpoint or 'the OSS store'} is not known: signature version 4 needs it",
            hint="Set OSS_REGION (cn-hangzhou, for example) or MODELPORT_REGION.",
        )
    url = endpoint or f"oss-{region}.aliyuncs.com"
    # oss2 would take http for a bare name.
    return (url if "://" in url else f"https://{url}"), region


def _answer_of(error: OssError) -> Answer:
    details = error.details if isinstance(error.details, dict) else {}
    return Answer(
        status=max(0, error.status),
        code=error.code or "",
        message=error.message or "",
        headers=_lower(error.headers or {}),
        region=details.get("Region") or details.get("Endpoint") or "",
    )


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
