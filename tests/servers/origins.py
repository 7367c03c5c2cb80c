"""A bucket on SeaweedFS that anybody may read, as a CDN's origin is."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.publish_world import Shelf, s3_shelf
from tests.servers.s3_servers import S3Server


@dataclass(frozen=True)
class Origin:
    """A store, and where an edge finds its tree: ``path`` below ``server``."""

    shelf: Shelf
    server: str
    path: str


def open_origin(server: S3Server, bucket: str) -> Origin:
    """A place of its own in ``bucket``."""
    shelf = s3_shelf(server, bucket)
    return Origin(shelf, server.endpoint, f"/{bucket}/{shelf.prefix}")


def public_bucket(server: S3Server) -> str:
    """A new bucket whose objects need no credentials to be read."""
    bucket = server.new_bucket()
    reading = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/*"],
    }
    server.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [reading]}))
    return bucket
