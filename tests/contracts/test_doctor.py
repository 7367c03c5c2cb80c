"""What the doctor says of sources: honest ones, strange ones, dead ones; over TLS too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pipeline.doctor import Setting, diagnose
from pipeline.layout import TIMESTAMP
from pipeline.sources.http import HttpReader
from pipeline.sources.mirrors import Mirrors
from pipeline.sources.objects import FolderReader
from pipeline.sources.pace import Limits
from pipeline.steps.examine import examine_source
from pipeline.stores.memory import MemoryStore
from pipeline.supply import Supply
from pipeline.trust.reading import read_view
from tests.mirror_world import begin_tree, contents, supply_of
from tests.servers import hostile
from tests.servers.hostile import run_hostile

QUICK = Limits(connect_s=5.0, idle_s=1.0)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"))[0]


@pytest.fixture
def server(site):
    with run_hostile(contents(site.store)) as running:
        yield running


def examined(site, *readers, pins=None):
    known = supply_of(MemoryStore(), folder=site.folder, pins=[site.fingerprint] if pins is None else pins)
    supply = Supply(sources=Mirrors(readers), state=known.state, cache=known.cache, installs=known.installs)
    rows = [Setting(name="store", value="x", origin="default")]
    found = diagnose(supply, rows, lambda _: None)
    supply.sources.close()
    assert found.settings == rows
    return found


def one(site, url, **more):
    return examined(site, HttpReader(url, limits=QUICK), **more).sources[0]


def dated(ahead):
    """An honest server whose clock is off."""

    def behave(talk):
        return talk.plain(
            200, talk.body, f"Date: {format_datetime(datetime.now(UTC) + ahead, usegmt=True)}", f"ETag: {hostile.ETAG}"
        )

    return behave


def test_honest_source_has_every_answer(site, server):
    found = examined(site, HttpReader(server.url, limits=QUICK), FolderReader(site.folder / "store"))
    assert found.working == 2
    for source in found.sources:
        assert source.works
        assert source.latency_ms > 0
        assert source.ranges is True
        assert source.revalidates is True
        assert source.etag
        assert source.bytes_per_s > 0
        assert source.sample_bytes > 0
        assert (source.snapshot, source.root_fingerprint) == (site.announced(), site.fingerprint)
    assert [fault for fault in found.sources[0].faults if "Date" not in fault] == []
    assert found.sources[1].faults == []


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(minutes=20), -timedelta(hours=3)], ids=str)
def test_clock_is_compared_with_the_servers_date(site, server, ahead):
    server.behave(dated(ahead), key="timestamp")
    assert abs(one(site, server.url).clock_skew_s - ahead.total_seconds()) <= 1.5


def test_server_without_a_date_is_told(site, server):
    found = one(site, server.url)
    assert found.clock_skew_s is None
    assert any("Date" in fault for fault in found.faults)


def test_server_that_ignores_ranges_is_told(site, server):
    server.behave(hostile.whole, key="parts/")
    found = one(site, server.url)
    assert found.works
    assert found.ranges is False
    assert any("nothing can be resumed" in fault for fault in found.faults)


def test_server_without_etags_is_told(site, server):
    def without(talk):
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(talk.body), talk.body))
        return True

    server.behave(without, key="timestamp")
    found = one(site, server.url)
    assert (found.etag, found.revalidates) == ("", False)
    assert any("304" in fault for fault in found.faults)


def test_source_that_nobody_pinned_works_and_says_what_is_missing(site, server):
    found = one(site, server.url, pins=[])
    assert found.works
    assert found.bytes_per_s is None
    assert any(site.fingerprint in fault for fault in found.faults)


@pytest.mark.parametrize("lie", [hostile.answers(403), hostile.answers(503), hostile.hang_up, hostile.web_page, hostile.not_http])
def test_source_that_does_not_work_is_a_finding(site, server, lie):
    server.behave(lie)
    found = examined(site, HttpReader(server.url, limits=QUICK), FolderReader(site.folder / "store"))
    assert [source.works for source in found.sources] == [False, True]
    assert found.working == 1
    assert found.sources[0].faults


def test_dead_address_and_empty_tree_are_findings(site, tmp_path):
    found = examined(site, HttpReader("http://127.0.0.1:9", limits=QUICK), FolderReader(tmp_path))
    assert found.working == 0
    assert "127.0.0.1:9" in found.sources[0].faults[0]
    assert TIMESTAMP in found.sources[1].faults[0]


def test_tls_issuer_and_end_are_told(site, server_tls, ca_file):
    with run_hostile(contents(site.store), context=server_tls) as running:
        found = examined(site, HttpReader(running.url, ca_file=str(ca_file), limits=QUICK)).sources[0]
        stranger = one(site, running.url)
    assert found.works
    assert found.tls.startswith("TLSv1")
    assert "trustme" in found.tls_issuer
    assert found.tls_until
    assert not stranger.works
    assert "trustme" in stranger.faults[0]


def test_sample_ends_in_time(site, server):
    """A part that trickles is not waited for."""
    server.behave(hostile.slow_body, key="parts/")
    known = supply_of(MemoryStore(), folder=site.folder, pins=[site.fingerprint])
    reader = HttpReader(server.url, limits=QUICK)
    found = examine_source(reader, lambda one: read_view(one, known.state, now=known.now), sample_s=0.2)
    reader.close()
    assert found.works
    assert 0 < found.sample_bytes < sum(len(data) for key, data in server.objects.items() if key.startswith("parts/"))


def test_kernel_is_part_of_the_diagnosis(site):
    kernel = examined(site, FolderReader(site.folder / "store")).kernel
    assert kernel.usable
    assert kernel.congestion_control
