"""The journeys of docs/guides: every command is typed as it is printed, on real servers, and says what the page shows."""

import dataclasses
import functools
import hashlib
import re
import shutil
import signal
from pathlib import Path

import pytest

from pipeline.cli.reference import FAMILIES
from tests.guide_world import (
    VENDORS,
    Publisher,
    aliyun,
    bare_machine,
    cloudflare,
    machine,
    machine_with_python,
    open_bucket,
    oss_environment,
    run_control,
    run_front,
    s3_environment,
    said_of,
)
from tests.guides import CHECKOUT, GUIDES, Reader
from tests.internet import run_internet
from tests.servers.control_planes.plane import PREFETCH
from tests.servers.edges import run_nginx


@pytest.fixture
def internet(authority, ca_file):
    with run_internet(authority, ca_file) as internet:
        yield internet


def test_first_ten_minutes(tmp_path):
    reader = Reader({"laptop": bare_machine(tmp_path, "laptop")})
    reader.follow("first-ten-minutes.md")


def test_behind_a_cdn(tmp_path, internet, seaweedfs, oss_server):
    environment = {**oss_environment(oss_server), **s3_environment(seaweedfs), **VENDORS, **internet.environment}
    models, weights = "models.example.com", "weights.example.com"
    with (
        run_front(internet, seaweedfs, "acme-models", models) as near,
        run_front(internet, seaweedfs, "acme-weights", weights) as far,
        run_control(internet, aliyun(near, models), "cdn.aliyuncs.com") as plane,
        run_control(internet, cloudflare(far, weights), "api.cloudflare.com"),
    ):
        plane.allowed[PREFETCH] = dataclasses.replace(plane.allowed[PREFETCH], per_day=20)
        Reader({"desk": machine(tmp_path, "desk", environment)}, {"the next day": plane.next_day}).follow("behind-a-cdn.md")


def test_release_ci(tmp_path, seaweedfs, seaweedfs_relay):
    open_bucket(seaweedfs, "acme-release")
    place = {**s3_environment(seaweedfs), "AWS_ENDPOINT_URL": seaweedfs_relay.endpoint}
    names = ("desk", "pull request", "runner", "another runner")
    machines = {name: machine(tmp_path, name.replace(" ", "-"), place) for name in names}
    reader = Reader(machines)
    desk = machines["desk"]

    def set_up():
        fingerprint = said_of(desk, "modelport trust.show --report json")["fingerprint"]
        key = next(desk.home.glob(".local/share/modelport/keys/*/release.pem")).read_text()
        for name in names[1:]:
            shutil.copytree(desk.folder, machines[name].folder, dirs_exist_ok=True)
            secret = {} if name == "pull request" else {"RELEASE_KEY": key}
            machines[name].environment = {**place, "ROOT_FINGERPRINT": fingerprint, **secret}

    reader.may_happen("secret and variable are stored, and the repository is checked out on each runner", set_up)
    killed = functools.partial(reader.stop_at, seaweedfs_relay, "/parts/", nth=10, by=signal.SIGKILL)
    reader.may_happen("the runner is killed in the middle", killed)
    reader.follow("release-ci.md")


def test_consumers(tmp_path, internet, seaweedfs):
    open_bucket(seaweedfs, "acme-tree")
    publisher = Publisher(machine(tmp_path, "publisher", s3_environment(seaweedfs)), "s3://acme-tree/tree")
    publisher.publish("bert-v2.1.0")
    reading = machine(tmp_path, "reader", internet.environment, {"FINGERPRINT": publisher.fingerprint})
    with (
        run_front(internet, seaweedfs, "acme-tree", "models.example.com"),
        run_nginx(seaweedfs.endpoint, "/acme-tree") as mirror,
    ):
        internet.hosts["mirror.example.com"] = mirror.url
        happens = {
            "bert-v2.2.0 becomes stable": lambda: publisher.publish("bert-v2.2.0"),
            "the CDN goes down": lambda: internet.hosts.pop("models.example.com"),
        }
        Reader({"reader": reading}, happens).follow("consumers.md")


def test_air_gapped_site(tmp_path):
    publisher, operator = machine(tmp_path, "publisher"), machine_with_python(tmp_path, "operator")
    server = dataclasses.replace(machine(tmp_path, "server"), folder=operator.folder)

    def carry(name, origin, target):
        shutil.move(origin.folder / name, target.folder / name)

    def first_medium():
        carry("usb", publisher, operator)
        told = said_of(publisher, "modelport trust.show --report json")["fingerprint"]
        installer = hashlib.sha256((operator.folder / "usb/install.pyz").read_bytes()).hexdigest()
        operator.environment = {"FINGERPRINT": told, "INSTALLER": installer}

    happens = {
        "the medium is carried to the site": first_medium,
        "the inventory is carried back": lambda: carry("inventory.json", operator, publisher),
        "the disk is carried to the site": lambda: carry("disk", publisher, operator),
        "the second disk is carried to the site": lambda: carry("again", publisher, operator),
    }
    Reader({"publisher": publisher, "operator": operator, "server": server}, happens).follow("air-gapped-site.md")


def test_when_things_go_wrong(tmp_path, internet, seaweedfs_relay, seaweedfs):
    desk = machine(
        tmp_path, "desk", s3_environment(seaweedfs), {"AWS_ENDPOINT_URL": seaweedfs_relay.endpoint}, VENDORS, internet.environment
    )
    (desk.folder / "tasks.py").write_bytes((CHECKOUT / "tasks.py").read_bytes())
    with (
        run_front(internet, seaweedfs, "acme-trouble", "models.example.com") as edge,
        run_control(internet, aliyun(edge, "models.example.com"), "cdn.aliyuncs.com") as plane,
    ):
        plane.allowed[PREFETCH] = dataclasses.replace(plane.allowed[PREFETCH], per_day=4)
        reader = Reader({"desk": desk})
        reader.may_happen("Ctrl-C in the middle", lambda: reader.stop_at(seaweedfs_relay, "/parts/", nth=9, by=signal.SIGINT))
        reader.follow("when-things-go-wrong.md")
    assert {0, *(block.exits for block in reader.typed)} == set(FAMILIES) | {0}


def test_every_journey_is_followed():
    listed = re.findall(r"^\| .* \| \[.*\]\((.*)\) \|$", (GUIDES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    tests = (Path(__file__), CHECKOUT / "tests" / "browser" / "test_guide.py")
    followed = [page for file in tests for page in re.findall(r'follow\("(.*)"\)', file.read_text(encoding="utf-8"))]
    assert sorted(listed) == sorted(followed)
    assert len(listed) == 7
