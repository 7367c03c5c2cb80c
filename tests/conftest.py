"""Servers that tests share: each is started once a run, by the first test that asks for it."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import settings

from tests.servers.oss_shim import OssServer, run_oss
from tests.servers.processes import scratch
from tests.servers.relay import Relay, run_relay
from tests.servers.s3_servers import S3Server, run_juicefs, run_seaweedfs
from tests.site_nginx import SERVERS
from tests.site_world import SitePlace, SiteServer, install_all, publish_all


def pytest_configure() -> None:
    """Let what tests start hear Ctrl-C, which a shell that runs the suite in its background has all of it ignore; time no property."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A property that holds slowly holds: how long an example takes says what else the machine does.
    settings.register_profile("untimed", settings(), deadline=None)
    settings.load_profile("untimed")


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[S3Server]:
    """SeaweedFS: S3 with conditional writes and verified checksums."""
    with run_seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def juicefs() -> Iterator[S3Server]:
    """The JuiceFS gateway: S3 as older servers speak it, without conditional writes and checksums."""
    with run_juicefs() as server:
        yield server


@pytest.fixture(scope="session")
def oss_server(seaweedfs: S3Server) -> Iterator[OssServer]:
    """A server that speaks OSS before SeaweedFS."""
    with run_oss(seaweedfs) as server:
        yield server


@pytest.fixture(scope="session")
def bucket_on():
    """One bucket on each server: they are slow to make, and prefixes keep tests apart."""
    made = {}

    def find(server) -> str:
        if server.endpoint not in made:
            made[server.endpoint] = server.new_bucket()
        return made[server.endpoint]

    return find


@pytest.fixture
def disk_path() -> Iterator[Path]:
    """A folder on a disk, which that of tmp_path need not be: only there is a cache to go past."""
    with scratch(within="/var/tmp") as folder:
        yield folder


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts by default."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority's certificate, for SSL_CERT_FILE and its like."""
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """What a server of ours shows: a certificate for 127.0.0.1 and localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def seaweedfs_relay(seaweedfs: S3Server) -> Iterator[Relay]:
    """A relay before SeaweedFS, with no rules yet."""
    with run_relay(seaweedfs.endpoint) as relay:
        yield relay


@pytest.fixture
def seaweedfs_tls(seaweedfs: S3Server, server_tls: ssl.SSLContext) -> Iterator[Relay]:
    """A TLS relay before SeaweedFS."""
    with run_relay(seaweedfs.endpoint, context=server_tls) as relay:
        yield relay


@pytest.fixture
def oss_relay(oss_server: OssServer) -> Iterator[Relay]:
    """A relay before the OSS server."""
    with run_relay(oss_server.endpoint) as relay:
        yield relay


@pytest.fixture
def oss_tls(oss_server: OssServer, server_tls: ssl.SSLContext) -> Iterator[Relay]:
    """A TLS relay before the OSS server."""
    with run_relay(oss_server.endpoint, context=server_tls) as relay:
        yield relay


@pytest.fixture(scope="session")
def site_place(tmp_path_factory: pytest.TempPathFactory) -> SitePlace:
    """An installed site that kept its tree; whoever changes it makes a copy first."""
    folder = tmp_path_factory.mktemp("site")
    return install_all(publish_all(folder), folder / "site", keep_parts=True)


@pytest.fixture(scope="module", params=list(SERVERS))
def site_server(request: pytest.FixtureRequest, site_place: SitePlace) -> Iterator[SiteServer]:
    """That site, by every server there is for one."""
    with SERVERS[request.param](site_place.folder) as server:
        yield server
