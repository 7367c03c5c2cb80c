"""An OSS server for tests: checks signatures V1 and V4 with code of its own and keeps objects in an S3 server.

It knows what a store adapter uses: put, get, head and delete of objects, and listing (version 2). Bodies are
streamed. What Aliyun documents and S3 does otherwise: x-oss-forbid-overwrite (409 FileAlreadyExists), the CRC-64
of an upload, ``standard`` ranges, error documents, `%20` in listed keys.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import crcmod
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers.listening import Connection, listening
from tests.servers.s3_servers import S3Server

ACCESS_KEY_ID = "ossak"
ACCESS_KEY_SECRET = "osssecret-canary-77"
REGION = "cn-test-1"
BLOCK = 1 << 20
# https://www.alibabacloud.com/help/en/oss/developer-reference/check-data-transmission-integrity-by-using-crc-64
CRC64 = 0x142F0E1EBA9EA3693
_KEPT = ("content-type", "cache-control", "content-encoding", "content-disposition", "content-length")
_TOLD = ("etag", "last-modified", "content-type", "cache-control", "content-encoding", "content-range", "accept-ranges")
# Parameters that signature V1 takes into the resource (help.aliyun.com, "Include signatures in the Authorization header").
_SUB_RESOURCES = frozenset(
    [
        "acl",
        "append",
        "callback",
        "callback-var",
        "cors",
        "delete",
        "encryption",
        "lifecycle",
        "location",
        "logging",
        "objectMeta",
        "partNumber",
        "policy",
        "position",
        "referer",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "security-token",
        "sequential",
        "symlink",
        "tagging",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
        "x-oss-process",
        "continuation-token",
    ]
)


@dataclass
class OssServer:
    """A running shim and the knobs of a test."""

    upstream: S3Server
    endpoint: str
    region: str = REGION
    access_key_id: str = ACCESS_KEY_ID
    access_key_secret: str = ACCESS_KEY_SECRET
    session_token: str = ""
    # Buckets with versioning take x-oss-forbid-overwrite and ignore it.
    versioned: set[str] = field(default_factory=set)
    # Keys whose next upload arrives with a flipped bit.
    damaged: set[str] = field(default_factory=set)
    expired_tokens: set[str] = field(default_factory=set)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def new_bucket(self) -> str:
        return self.upstream.new_bucket()

    @property
    def environment(self) -> dict[str, str]:
        """What a child program needs to use this server."""
        return {
            "OSS_ACCESS_KEY_ID": self.access_key_id,
            "OSS_ACCESS_KEY_SECRET": self.access_key_secret,
            "OSS_ENDPOINT": self.endpoint,
            "OSS_REGION": self.region,
        }


@contextmanager
def run_oss(upstream: S3Server) -> Iterator[OssServer]:
    class Shim(_Shim):
        pass

    with listening(Shim) as port:
        Shim.oss = OssServer(upstream, f"http://127.0.0.1:{port}")
        yield Shim.oss


class _RefusedError(Exception):
    def __init__(self, status: int, code: str, message: str = "", more: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.more = status, code, message, more


class _Shim(Connection):
    oss: OssServer

    def _serve(self):
        parts = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(parts.path)
        query = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.oss.requests.append((self.command, path, headers))
        try:
            self._check(path, query, headers)
            _, bucket, key = (path + "/").split("/", 2)
            if key.rstrip("/"):
                self._object(bucket, key[:-1], headers)
            elif self.command == "GET" and dict(query).get("list-type") == "2":
                self._list(bucket, dict(query))
            else:
                raise _RefusedError(501, "NotImplemented", "this server keeps objects only")
        except _RefusedError as refused:
            self._refuse(refused)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815 (http.server's names)

    def _check(self, path: str, query: list[tuple[str, str]], headers: Mapping[str, str]) -> None:
        said = headers.get("authorization", "")
        if token := headers.get("x-oss-security-token"):
            if token in self.oss.expired_tokens:
                raise _RefusedError(403, "SecurityTokenExpired", "The security token you provided has expired.")
            if token != self.oss.session_token:
                raise _RefusedError(403, "InvalidSecurityToken", "The security token you provided is invalid.")
        if said.startswith("OSS "):
            key_id, _, found = said[4:].partition(":")
            wanted = sign_v1(self.oss.access_key_secret, self.command, path, query, headers)
        elif said.startswith("OSS4-HMAC-SHA256 "):
            fields = dict(re.findall(r"(\w+)=([^,\s]+)", said))
            key_id, _, scope = fields["Credential"].partition("/")
            found = fields["Signature"]
            extra = [name for name in fields.get("AdditionalHeaders", "").split(";") if name]
            wanted = sign_v4(self.oss.access_key_secret, self.command, path, query, headers, scope, extra)
            self._check_scope(scope, headers)
        else:
            raise _RefusedError(403, "AccessDenied", "Anonymous access is forbidden for this operation.")
        if key_id != self.oss.access_key_id:
            raise _RefusedError(403, "InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist in our records.")
        if not hmac.compare_digest(found, wanted):
            raise _RefusedError(
                403, "SignatureDoesNotMatch", "The request signature we calculated does not match the one you provided."
            )

    def _check_scope(self, scope: str, headers: Mapping[str, str]) -> None:
        at = datetime.strptime(headers["x-oss-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC) - at) > timedelta(minutes=15):
            raise _RefusedError(
                403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
            )
        if scope.split("/")[1:] != [self.oss.region, "oss", "aliyun_v4_request"]:
            raise _RefusedError(400, "InvalidArgument", f"Invalid signing region in Authorization header: {scope.split('/')[1]}")

    def _object(self, bucket: str, key: str, headers: Mapping[str, str]) -> None:
        sent = {name: headers[name] for name in _KEPT if name in headers}
        if "range" in headers and self.command == "GET":
            sent["range"] = headers["range"]
        if headers.get("x-oss-forbid-overwrite") == "true" and bucket not in self.oss.versioned:
            sent["if-none-match"] = "*"
        with self._upstream(self.command, f"/{bucket}/{key}", "", sent) as connection:
            crc = self._send_body(connection, f"{bucket}/{key}") if self.command == "PUT" else None
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            if answer.status >= 300:
                self._refuse_for(answer, headers)
            self.send_response(answer.status)
            for name in _TOLD:
                if name in told:
                    self.send_header(name, told[name])
            if crc is not None:
                self.send_header("x-oss-hash-crc64ecma", str(crc))
            self.send_header("Content-Length", told.get("content-length", "0") if self.command in {"GET", "HEAD"} else "0")
            self.send_header("x-oss-request-id", "0" * 24)
            self.end_headers()
            while block := answer.read(BLOCK):
                self.wfile.write(block)

    def _send_body(self, connection: http.client.HTTPConnection, name: str) -> int:
        crc = crcmod.Crc(CRC64, initCrc=0, rev=True, xorOut=0xFFFFFFFFFFFFFFFF)
        left = int(self.headers["content-length"])
        while left:
            block = self.rfile.read(min(BLOCK, left))
            if not block:
                raise ConnectionError("the client went away")
            left -= len(block)
            if name in self.oss.damaged:
                self.oss.damaged.discard(name)
                block = bytes([block[0] ^ 1]) + block[1:]
            crc.update(block)
            connection.send(block)
        return crc.crcValue

    def _list(self, bucket: str, query: Mapping[str, str]) -> None:
        names = ("list-type", "prefix", "max-keys", "continuation-token", "start-after", "delimiter")
        asked = {name: query[name] for name in names if query.get(name)} | {"encoding-type": "url"}
        text = "&".join(f"{name}={urllib.parse.quote(value, safe='-_.~')}" for name, value in sorted(asked.items()))
        with self._upstream("GET", f"/{bucket}", text, {}) as connection:
            answer = connection.getresponse()
            if answer.status >= 300:
                self._refuse_for(answer, {})
            body = answer.read().decode()
        body = re.sub(r' xmlns="[^"]*"', "", body)
        body = re.sub(r"(T\d\d:\d\d:\d\d)(?:\.\d+)?Z<", r"\1.000Z<", body)
        body = body.replace("</Contents>", "<Type>Normal</Type></Contents>")
        # OSS spells a space as %20 here, the server behind as "+" (and "+" as %2B).
        body = re.sub(r"<(Key|Prefix)>([^<]*)<", lambda match: f"<{match[1]}>{match[2].replace('+', '%20')}<", body)
        self._answer(200, body.encode())

    @contextmanager
    def _upstream(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPConnection]:
        target = urllib.parse.quote(path, safe="/-_.~") + (f"?{query}" if query else "")
        request = AWSRequest(method, self.oss.upstream.endpoint + target, headers=dict(headers))
        request.context["payload_signing_enabled"] = False
        credentials = Credentials(self.oss.upstream.access_key, self.oss.upstream.secret_key)
        _Unsigned(credentials, "s3", self.oss.upstream.region).add_auth(request)
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.oss.upstream.endpoint).netloc)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            yield connection
        finally:
            connection.close()

    def _refuse_for(self, answer: http.client.HTTPResponse, headers: Mapping[str, str]) -> None:
        code = re.search(r"<Code>([^<]+)<", answer.read(64 << 10).decode(errors="replace"))
        if answer.status == 412 and "x-oss-forbid-overwrite" in headers:
            raise _RefusedError(409, "FileAlreadyExists", "The object you specified already exists and can not be overwritten.")
        named = {404: "NoSuchKey", 416: "InvalidRange"}
        raise _RefusedError(
            answer.status, code[1] if code else named.get(answer.status, "InternalError"), "as the server behind says"
        )

    def _refuse(self, refused: _RefusedError) -> None:
        self.close_connection = True
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n  <Code>{refused.code}</Code>\n  <Message>{refused.message}</Message>\n'
            f"  <RequestId>{'0' * 24}</RequestId>\n  <HostId>127.0.0.1</HostId>\n{refused.more}</Error>\n"
        ).encode()
        self._drain()
        self._answer(refused.status, body)

    def _drain(self) -> None:
        # A body that nobody reads would reset the connection before the answer is seen.
        left = int(self.headers.get("content-length") or 0) if self.command == "PUT" else 0
        self.connection.settimeout(0.2)
        try:
            while left > 0 and (block := self.rfile.read1(min(BLOCK, left))):
                left -= len(block)
        except TimeoutError:
            return
        finally:
            self.connection.settimeout(None)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("x-oss-request-id", "0" * 24)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            # Said, or a client sends its next request into a connection that ends.
            self.send_header("Connection", "close")
        if self.command == "HEAD" and status >= 300:
            self.send_header("x-oss-err", base64.b64encode(body).decode())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Unsigned(S3SigV4Auth):
    def payload(self, request):
        return "UNSIGNED-PAYLOAD"


def sign_v1(secret: str, method: str, path: str, query: list[tuple[str, str]], headers: Mapping[str, str]) -> str:
    """Signature version 1 (help.aliyun.com/document_detail/31951.html)."""
    own = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-oss-"))
    named = sorted((name, value) for name, value in query if name in _SUB_RESOURCES)
    resource = path + ("?" + "&".join(f"{name}={value}" if value else name for name, value in named) if named else "")
    date = headers.get("x-oss-date") or headers.get("date", "")
    text = "\n".join([method, headers.get("content-md5", ""), headers.get("content-type", ""), date]) + f"\n{own}{resource}"
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def sign_v4(
    secret: str,
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: Mapping[str, str],
    scope: str,
    extra: list[str],
) -> str:
    """Signature version 4 (help.aliyun.com, "V4 signature in the Authorization header")."""

    def spelled(text: str) -> str:
        return urllib.parse.quote(text, safe="-_.~")

    parameters = "&".join(spelled(name) + (f"={spelled(value)}" if value else "") for name, value in sorted(query))
    signed = [
        name for name in sorted(headers) if name.startswith("x-oss-") or name in {"content-type", "content-md5"} or name in extra
    ]
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in signed)
    payload = headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD")
    whole = [method, urllib.parse.quote(path, safe="/-_.~"), parameters, lines, ";".join(sorted(extra)), payload]
    canonical = "\n".join(whole)
    text = "\n".join(["OSS4-HMAC-SHA256", headers["x-oss-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"aliyun_v4{secret}".encode()
    for step in scope.split("/"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
