"""Two real S3 servers: SeaweedFS, which has conditional writes and checksums, and the JuiceFS gateway, which has neither."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import botocore.session
import urllib3
from botocore.config import Config
from botocore.loaders import create_loader

from tests.servers.processes import free_port, program, running, scratch

ACCESS_KEY = "testak"
SECRET_KEY = "testsecret123"
REGION = "us-east-1"
_COUNT = itertools.count(1)
# One for all sessions: it keeps what it has read of the service's description, which is slow to read.
_LOADER = create_loader()


@dataclass(frozen=True)
class S3Server:
    """Where a server listens, and who may use it."""

    endpoint: str
    pid: int
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = REGION
    pool: urllib3.PoolManager = field(default_factory=urllib3.PoolManager, repr=False, compare=False)

    @property
    def environment(self) -> dict[str, str]:
        """What a child program needs to use this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def session(self, *, access_key: str = "", secret_key: str = "", token: str | None = None) -> botocore.session.Session:
        session = botocore.session.Session()
        session.register_component("data_loader", _LOADER)
        session.set_credentials(access_key or self.access_key, secret_key or self.secret_key, token)
        return session

    def client(self):
        return self.session().create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self.endpoint,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def new_bucket(self) -> str:
        bucket = f"b{next(_COUNT)}-{secrets.token_hex(4)}"
        self.client().create_bucket(Bucket=bucket)
        return bucket


def _is_ready(url: str) -> bool:
    try:
        return urllib3.request("GET", url, retries=False, timeout=2.0).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _takes_objects(endpoint: str) -> bool:
    # /healthz says yes before volumes can be written: only a write shows it.
    server = S3Server(endpoint, 0)
    client = server.client()
    try:
        bucket = server.new_bucket()
        client.put_object(Bucket=bucket, Key="ready", Body=b"ready")
        client.delete_object(Bucket=bucket, Key="ready")
        client.delete_bucket(Bucket=bucket)
    except (client.exceptions.ClientError, botocore.exceptions.BotoCoreError):
        return False
    return True


@contextmanager
def run_seaweedfs() -> Iterator[S3Server]:
    weed = program("weed")
    with scratch("seaweedfs-") as folder:
        # gRPC listens 10,000 above each port.
        master, volume, filer, s3 = (free_port(also=[10_000]) for _ in range(4))
        (folder / "data").mkdir()
        # One volume a collection and many allowed: every bucket is a collection of its own.
        (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1=1\ncopy_2=1\ncopy_3=1\ncopy_other=1\n")
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        identity = {"name": "admin", "credentials": credentials, "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        arguments = [
            weed, "-logtostderr=true", "server", f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-master.port={master}", "-master.volumeSizeLimitMB=256", "-master.telemetry=false",
            f"-volume.port={volume}", "-volume.max=2000", "-volume.preStopSeconds=0",
            "-filer", f"-filer.port={filer}", f"-filer.localSocket={folder}/f.sock",
            "-s3", f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder}/s3.json",
            f"-s3.localSocket={folder}/s3.sock",
        ]  # fmt: skip
        endpoint = f"http://127.0.0.1:{s3}"

        def ready() -> bool:
            return _is_ready(f"{endpoint}/healthz") and _takes_objects(endpoint)

        environment = {**os.environ, "GOMEMLIMIT": "400MiB"}
        try:
            with running(arguments, folder=folder, ready=ready, environment=environment) as child:
                yield S3Server(endpoint, child.pid)
        finally:
            # It also keeps sockets beside its gRPC ports, in a place that no flag moves.
            for name, port in {"master": master, "volume": volume, "filer": filer, "s3": s3}.items():
                Path(f"/tmp/seaweedfs-{name}-grpc-{port + 10_000}.sock").unlink(missing_ok=True)


@contextmanager
def run_juicefs() -> Iterator[S3Server]:
    juicefs = program("juicefs")
    with scratch("juicefs-") as folder:
        meta = f"sqlite3://{folder}/meta.db"
        subprocess.run(
            [
                juicefs,
                "format",
                "--storage",
                "file",
                "--bucket",
                f"{folder}/data/",
                "--trash-days",
                "0",
                "--no-update",
                meta,
                "test",
            ],
            check=True,
            capture_output=True,
        )
        port, metrics = free_port(), free_port()
        arguments = [
            juicefs, "gateway", meta, f"127.0.0.1:{port}", "--multi-buckets", "--no-banner", "--keep-etag", "--object-meta",
            "--object-tag", "--no-usage-report", "--metrics", f"127.0.0.1:{metrics}", "--cache-dir", f"{folder}/cache",
            "--cache-size", "0", "--log", f"{folder}/jlog",
        ]  # fmt: skip
        environment = {**os.environ, "MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
        endpoint = f"http://127.0.0.1:{port}"
        with running(
            arguments, folder=folder, ready=lambda: _is_ready(f"{endpoint}/minio/health/live"), environment=environment
        ) as child:
            yield S3Server(endpoint, child.pid)
