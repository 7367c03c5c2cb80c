"""Where guides take place: buckets that exist, edges before them, control planes that act on them, and clones."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.guides import BIN, CHECKOUT, Machine
from tests.internet import Internet
from tests.servers.control_planes.acting import acting_at
from tests.servers.control_planes.aliyun import ACCESS_KEY_ID, ACCESS_KEY_SECRET, AliyunPlane
from tests.servers.control_planes.cloudflare import TOKEN, CloudflarePlane
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.plane import Plane
from tests.servers.edges import EdgeServer, run_nginx
from tests.servers.oss_shim import OssServer
from tests.servers.s3_servers import S3Server

SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Stands for the package index and the system's packages: a fresh machine is another test than a guide.
FETCHES = '#!/bin/sh\necho "$(basename "$0") $*" >> "$HOME/installed"\n'
VENV = """#!/bin/sh
[ "$*" = "-m venv .venv" ] || exec {python} "$@"
{python} -m venv --without-pip .venv && cp {pip} .venv/bin/pip && ln -s {bin}/invoke {bin}/modelport .venv/bin/
"""
VENDORS = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": ACCESS_KEY_ID,
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ACCESS_KEY_SECRET,
    "CLOUDFLARE_API_TOKEN": TOKEN,
}


def write_tool(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def bare_machine(folder: Path, name: str = "bare") -> Machine:
    """A machine where nothing of ours is installed, with a clone of this repository."""
    tools = folder / "tools"
    pip = write_tool(tools / "pip", FETCHES)
    write_tool(tools / "apt-get", FETCHES)
    write_tool(tools / "python3", VENV.format(python=sys.executable, pip=pip, bin=BIN))
    machine = Machine(folder / name, folder / name / "modelport", f"{tools}:{SYSTEM}")
    (machine.folder / "tasks.py").write_bytes((CHECKOUT / "tasks.py").read_bytes())
    return machine


def machine(folder: Path, name: str, *environments: dict[str, str]) -> Machine:
    """A machine where modelport is installed."""
    environment = {name: value for one in environments for name, value in one.items()}
    return Machine(folder / name, folder / name / "work", f"{BIN}:{os.environ['PATH']}", environment)


def machine_with_python(folder: Path, name: str) -> Machine:
    """A machine that has Python and what every system has, and nothing of ours."""
    tools = folder / f"{name}-tools"
    tools.mkdir()
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    return Machine(folder / name, folder / name / "work", f"{tools}:{SYSTEM}")


def said_of(machine: Machine, text: str) -> Any:
    """The JSON document that a command answers with at a machine."""
    child = machine.start(text)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return json.loads(out)


def s3_environment(server: S3Server) -> dict[str, str]:
    """Credentials, and where S3 is: on a user's machine that is the vendor's own address."""
    return {**server.environment, "AWS_ENDPOINT_URL": server.endpoint}


def open_bucket(server: S3Server, bucket: str) -> None:
    """Make a bucket that a CDN may read without credentials, as guides take it for granted."""
    server.client().create_bucket(Bucket=bucket)
    resource = f"arn:aws:s3:::{bucket}/*"
    reading = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": [resource]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [reading]})
    server.client().put_bucket_policy(Bucket=bucket, Policy=policy)


@contextlib.contextmanager
def run_front(internet: Internet, server: S3Server, bucket: str, host: str) -> Iterator[EdgeServer]:
    """An edge with the name ``host`` before a bucket, which is made if there is none."""
    if bucket not in {one["Name"] for one in server.client().list_buckets()["Buckets"]}:
        open_bucket(server, bucket)
    with run_nginx(server.endpoint, f"/{bucket}") as edge:
        internet.hosts[host] = edge.url
        yield edge


@contextlib.contextmanager
def run_control(internet: Internet, plane: Plane, name: str) -> Iterator[Plane]:
    """A vendor's control plane under the vendor's own name."""
    # Guides wait for nobody: tasks are done when they are taken, and calls of one moment are many.
    plane.rate = 1 << 30
    with run_plane(plane):
        internet.hosts[name] = plane.http
        yield plane


def aliyun(edge: EdgeServer, host: str) -> AliyunPlane:
    return AliyunPlane(hosts=(host,), act=acting_at(edge), now=datetime.now(UTC), takes_s=0)


def cloudflare(edge: EdgeServer, host: str) -> CloudflarePlane:
    return CloudflarePlane(hosts=(host,), act=acting_at(edge), now=datetime.now(UTC), takes_s=0)


def oss_environment(server: OssServer) -> dict[str, str]:
    return dict(server.environment)


class Publisher:
    """Who publishes what others fetch in their guides: a bucket, and releases of the sample model."""

    def __init__(self, desk: Machine, store: str) -> None:
        self.desk = desk
        self.type(f"echo 'store: {store}' > modelport.yaml; modelport sample; modelport trust.init")
        self.fingerprint = said_of(desk, "modelport trust.show --report json")["fingerprint"]

    def type(self, text: str) -> None:
        child = self.desk.start(text)
        _, err = child.communicate(timeout=120)
        assert child.returncode == 0, err

    def publish(self, release: str, *flags: str) -> None:
        """Publish a release of the sample model on stable; each version is tuned a little from the first."""
        version = release.rpartition("-v")[2]
        if version != "2.1.0":
            self.type(
                f"cp -r models/bert-v2.1.0 models/{release};"
                f" printf {version} | dd of=models/{release}/model.safetensors bs=1 seek=50000000 conv=notrunc status=none"
            )
        self.type(" ".join(["modelport publish --channel stable --model", release, *flags]))
