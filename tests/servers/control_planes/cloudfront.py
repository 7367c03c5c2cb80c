"""CloudFront's invalidations: XML, Signature V4, and a CallerReference that makes them idempotent."""

from __future__ import annotations

import hashlib
import hmac
import re
import urllib.parse
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.servers.control_planes.plane import REFRESH, REFRESH_PREFIX, Allowed, Asked, Job, Plane, Refused, Told

ACCESS, SECRET, TOKEN = "AKIACANARYCLOUDFRONT", "cloudfront-secret-canary", "cloudfront-session-canary"
DISTRIBUTION = "E1A2B3C4D5E6F7"
SPACE = "http://cloudfront.amazonaws.com/doc/2020-05-31/"
IN_PROGRESS = {REFRESH: 3000, REFRESH_PREFIX: 15}


class CloudFrontPlane(Plane):
    REFUSALS: ClassVar = {
        "signature": (403, "SignatureDoesNotMatch", "The signature does not match the one calculated from it."),
        "key": (403, "InvalidClientTokenId", "The security token included in the request is invalid."),
        "clock": (403, "RequestExpired", "Request has expired."),
        "nonce": (403, "SignatureDoesNotMatch", "Replayed."),
        "throttled": (400, "Throttling", "Rate exceeded"),
        "ill": (503, "ServiceUnavailable", "The service is unavailable."),
        "quota": (400, "TooManyInvalidationsInProgress", "Processing your request would exceed the limit."),
        "batch": (413, "BatchTooLarge", "Too many paths."),
        "url": (400, "InvalidArgument", "Your request contains one or more invalid invalidation paths."),
        "host": (400, "InvalidArgument", "Your request contains one or more invalid invalidation paths."),
        "other": (400, "InvalidationBatchAlreadyExists", "The caller reference is in use with another batch."),
        "distribution": (404, "NoSuchDistribution", "The specified distribution does not exist."),
        "unknown": (404, "NoSuchInvalidation", "The specified invalidation does not exist."),
        "parameter": (400, "InconsistentQuantities", "The value of Quantity and the size of Items do not match."),
    }
    ALLOWED: ClassVar = {REFRESH: Allowed(3000, 1 << 30, url_chars=4000), REFRESH_PREFIX: Allowed(15, 1 << 30, url_chars=4000)}
    HISTORY = timedelta(days=7)

    def name_of(self, asked: Asked) -> str:
        found = re.fullmatch(r"/2020-05-31/distribution/[0-9A-Z]+/invalidation(/[0-9A-Z]+)?", asked.path)
        return "" if not found else "CreateInvalidation" if asked.method == "POST" else "GetInvalidation" if found[1] else ""

    def check(self, asked: Asked) -> None:
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8}/us-east-1/cloudfront/aws4_request), SignedHeaders=([a-z0-9;-]+), "
            r"Signature=([0-9a-f]{64})",
            asked.headers.get("authorization", ""),
        )
        if not found:
            raise Refused("signature")
        if found[1] != ACCESS or asked.headers.get("x-amz-security-token", TOKEN) != TOKEN:
            raise Refused("key")
        names = found[3].split(";")
        if "host" not in names or "x-amz-date" not in names:
            raise Refused("signature", "host and x-amz-date must be signed")
        query = "&".join(
            sorted(f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}" for k, v in asked.query)
        )
        head = "".join(f"{name}:{' '.join(asked.headers.get(name, '').split())}\n" for name in names)
        canonical = "\n".join((asked.method, asked.path, query, head, found[3], hashlib.sha256(asked.body).hexdigest()))
        dated = asked.headers["x-amz-date"]
        text = "\n".join(("AWS4-HMAC-SHA256", dated, found[2], hashlib.sha256(canonical.encode()).hexdigest()))
        key = f"AWS4{SECRET}".encode()
        for part in found[2].split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        if not hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), found[4]):
            raise Refused("signature")
        self.within_clock(datetime.strptime(dated, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))

    def carry_out(self, name: str, asked: Asked) -> Told:
        if asked.path.split("/")[3] != DISTRIBUTION:
            raise Refused("distribution")
        if name == "GetInvalidation":
            job = self.known(asked.path.rpartition("/")[2])
            if job is None:
                raise Refused("unknown")
            return self._shown(job, 200)
        batch = ET.fromstring(asked.body)
        paths = [item.text or "" for item in batch.iterfind(f".//{{{SPACE}}}Path")]
        reference = batch.findtext(f"{{{SPACE}}}CallerReference") or ""
        if batch.findtext(f"{{{SPACE}}}Paths/{{{SPACE}}}Quantity") != str(len(paths)) or not reference:
            raise Refused("parameter")
        known = next((job for job in self.jobs.values() if job.more["reference"] == reference), None)
        if known is not None:
            if known.more["paths"] != paths:
                raise Refused("other")
            return self._shown(known, 201)
        return self._shown(self._made(paths, reference), 201)

    def _made(self, paths: list[str], reference: str) -> Job:
        if bad := [path for path in paths if not path.startswith("/")]:
            raise Refused("url", bad[0])
        op = REFRESH_PREFIX if any(path.endswith("*") for path in paths) else REFRESH
        running = sum(len(job.urls) for job in self.jobs.values() if job.op == op and self._word(job) == "InProgress")
        if running + len(paths) > IN_PROGRESS[op]:
            raise Refused("quota")
        return self.take(
            op, [f"https://{min(self.hosts)}{path.removesuffix('*')}" for path in paths], paths=paths, reference=reference
        )

    def job_id(self, count: int) -> str:
        return f"I{count:013d}"

    def refusal(self, status: int, code: str, message: str) -> Told:
        text = f"<Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message>"
        body = f'<ErrorResponse xmlns="{SPACE}"><Error>{text}</Error><RequestId>refused-1</RequestId></ErrorResponse>'
        return Told(body.encode(), status, {"Content-Type": "text/xml", "x-amzn-RequestId": "refused-1"})

    def _word(self, job: Job) -> str:
        done = all(self.state(job, url)[0] not in {"waiting", "running"} for url in job.urls)
        return "Completed" if done else "InProgress"

    def _shown(self, job: Job, status: int) -> Told:
        items = "".join(f"<Path>{escape(path)}</Path>" for path in job.more["paths"])
        body = (
            f'<?xml version="1.0"?>\n<Invalidation xmlns="{SPACE}"><Id>{job.id}</Id><Status>{self._word(job)}</Status>'
            f"<CreateTime>{job.made_at:%Y-%m-%dT%H:%M:%SZ}</CreateTime><InvalidationBatch><Paths>"
            f"<Quantity>{len(job.urls)}</Quantity><Items>{items}</Items></Paths>"
            f"<CallerReference>{escape(job.more['reference'])}</CallerReference></InvalidationBatch></Invalidation>"
        )
        return Told(body.encode(), status, {"Content-Type": "text/xml", "x-amzn-RequestId": f"request-{job.id}"})
