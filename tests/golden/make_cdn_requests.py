"""Capture anew what the vendors' official clients send: ``python -m tests.golden.make_cdn_requests`` from the top of the checkout.

Only another signature of a vendor is a reason to. The requests keep the planes' checks, and our signers, honest where a client
is not installed.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import certifi

from tests.official_clients import CLIENTS, HOST
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.plane import REFRESH_PREFIX

REQUESTS = Path(__file__).parent / "vectors" / "cdn_requests"
# What is neither signed nor read.
NOISE = ("user-agent", "accept", "accept-encoding", "connection", "amz-sdk-", "x-stainless-", "api-version")


def main() -> None:
    REQUESTS.mkdir(exist_ok=True)
    for name, client in CLIENTS.items():
        at = datetime.now(UTC).replace(microsecond=0)
        with run_plane(client.plane(now=at)) as plane:
            for op in plane.allowed:
                client.call(plane.http, certifi.where(), op, [f"{HOST}/parts/aa/{'bb/' if op == REFRESH_PREFIX else 'bb'}"])
        signed = [asked.headers.get("authorization", "") for _, asked in plane.calls]
        captured = {
            "client": f"{client.package} {version(client.package)}",
            "at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            "requests": [
                {
                    "method": asked.method,
                    "target": asked.target,
                    "headers": {
                        header: value
                        for header, value in asked.headers.items()
                        if header in authorization or not header.startswith(NOISE)
                    },
                    "body": asked.body.decode(),
                }
                for (_, asked), authorization in zip(plane.calls, signed, strict=True)
            ],
        }
        (REQUESTS / f"{name.replace(' ', '-')}.json").write_text(json.dumps(captured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
