"""What an upstream, a disk and clients can do to a caching mirror, and what it must never do: show an unverified byte."""

import concurrent.futures
import http.client
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.caching_world import fetcher_of, kept, parts_of, run_mirror, run_upstream
from tests.fetch_world import contents
from tests.servers import hostile
from tests.servers.hostile import run_hostile
from tests.site_world import publish_all

WEIGHTS = "/models/bert-v1.1.0/weights.bin"
QUICK = ("--upstream-timeout", "1", "--max-age", "0")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return publish_all(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def weights(tree):
    return (tree.sources["bert-v1.1.0"] / "weights.bin").read_bytes()


@pytest.fixture(scope="module")
def part(tree):
    path = max(parts_of(tree).values(), key=lambda one: one.stat().st_size)
    return f"/parts/{path.parent.name}/{path.name}", path.read_bytes()


@pytest.fixture
def place(tmp_path):
    return tmp_path / "mirror" / "site"


@pytest.fixture
def upstream(tree):
    objects = {path.relative_to(tree.store).as_posix(): path.read_bytes() for path in tree.store.rglob("*") if path.is_file()}
    with run_hostile(objects) as server:
        yield server


@pytest.fixture
def mirror(tree, upstream, place):
    with run_mirror(tree, upstream.url, place, *QUICK) as mirror:
        yield mirror


def redirected(talk):
    return hostile.redirects("http://127.0.0.1:9{target}")(talk)


LIES = {
    "wrong bytes of the right size": (hostile.bit_flip, {502}),
    "cut": (hostile.short, {502, 504}),
    "reset": (hostile.short_reset, {502, 504}),
    "hung before the answer": (hostile.silent, {504}),
    "a byte now and then": (hostile.slow_body, {504}),
    "a login page": (hostile.web_page, {502}),
    "another length": (hostile.other_length, {502}),
    "endless data": (hostile.endless, {502, 504}),
    "no http": (hostile.not_http, {502}),
    "encoded": (hostile.encoded, {502, 504}),
    "not there": (hostile.answers(404), {404}),
    "server error": (hostile.answers(503), {504}),
    "a redirect elsewhere": (redirected, {502, 504}),
}


@pytest.mark.parametrize("name", LIES)
def test_upstream_that_lies_or_stalls_about_parts_harms_nobody(upstream, mirror, place, part, weights, name):
    lie, expected = LIES[name]
    mirror.ask("/api/models/bert/revision/1.1.0")
    upstream.behave(lie, key=part[0])
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(mirror.ask, target) for target in (part[0], WEIGHTS)]
        other = mirror.ask("/models/bert-v1.0.0/config.json")
        assert other.status == 200
        for one, whole in zip(asked, (part[1], weights), strict=True):
            try:
                got = one.result()
            except (OSError, http.client.IncompleteRead) as error:
                # Cut after verified bytes: what came is the beginning, and nobody takes it for whole.
                came = getattr(error, "partial", b"")
                assert whole.startswith(came)
                assert len(came) < len(whole)
            else:
                # All pieces may have been right, one of them at the second attempt.
                assert got.body == whole if got.status == 200 else got.status in expected and got.body.count(b"\n") == 1
    assert time.monotonic() - began < 20
    assert part[0].rpartition("/")[2] not in kept(place, "parts")
    upstream._lies.clear()
    if name != "not there":
        got = mirror.ask(part[0])
        assert (got.status, got.body) == (200, part[1])
        assert mirror.ask(WEIGHTS).body == weights
    upstream_asked = [request for request in upstream.requests if request.target == part[0]]
    assert len(upstream_asked) <= 60


def test_part_that_is_not_there_is_not_asked_for_again_at_once(upstream, mirror):
    name = "0" * 64
    for _ in range(5):
        assert mirror.ask(f"/parts/00/{name}").status == 404
    assert len([request for request in upstream.requests if name in request.target]) == 1


@pytest.mark.parametrize(
    "key, lie",
    [
        *(("timestamp.json", lie) for lie in ("bit_flip", "web_page", "endless", "not_http", "silent")),
        *((key, lie) for key in (".manifest.json", ".snapshot.json") for lie in ("bit_flip", "web_page")),
    ],
)
def test_upstream_that_lies_about_documents_is_not_believed(tree, upstream, place, weights, key, lie):
    with run_mirror(tree, upstream.url, place, *QUICK) as mirror:
        assert mirror.ask("/bert/resolve/1.0.0/config.json").status == 200
        good = mirror.ask("/metadata/timestamp.json").body
        upstream.behave(getattr(hostile, lie), key=key)
        got = mirror.ask("/metadata/timestamp.json")
        assert (got.status, got.body) == (200, good)
        if key == "timestamp.json":
            assert got.headers["modelport-upstream"].startswith(("unreachable; ", "refused; "))
        assert mirror.ask("/bert/resolve/1.0.0/config.json").status == 200
        other = mirror.ask(WEIGHTS)
        assert other.status in ({502, 504} if key == ".manifest.json" else {200})


def test_tree_of_other_keys_is_not_served(tree, upstream, place, tmp_path):
    other = publish_all(tmp_path / "other")
    with run_mirror(tree, upstream.url, place, *QUICK) as mirror:
        good = mirror.ask("/metadata/timestamp.json").body
        upstream.objects = {
            path.relative_to(other.store).as_posix(): path.read_bytes() for path in other.store.rglob("*") if path.is_file()
        }
        upstream.behave(hostile.whole, key="timestamp.json")
        got = mirror.ask("/metadata/timestamp.json")
        assert got.body == good
        assert got.headers["modelport-upstream"].startswith("refused; ")


def test_upstream_that_goes_back_in_time_is_not_followed(tmp_path):
    tree = publish_all(tmp_path / "tree")
    old = {path.relative_to(tree.store).as_posix(): path.read_bytes() for path in tree.store.rglob("*") if path.is_file()}
    tree.lay_out("late-v1.0.0")
    new = {path.relative_to(tree.store).as_posix(): path.read_bytes() for path in tree.store.rglob("*") if path.is_file()}
    with run_hostile(new) as server, run_mirror(tree, server.url, tmp_path / "mirror" / "site", *QUICK) as mirror:
        good = mirror.ask("/metadata/timestamp.json").body
        server.objects = old
        # The lie's ETag does not change: a web server that was set back gives another.
        server.behave(hostile.whole, key="timestamp.json")
        got = mirror.ask("/metadata/timestamp.json")
        assert got.body == good
        assert got.headers["modelport-upstream"].startswith("refused; ")


def test_full_disk_serves_through_without_keeping(tree, tmp_path, part, weights):
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0755", "modelport-test", str(folder)], check=True)
    try:
        with run_upstream(tree.store) as upstream, run_mirror(tree, upstream.url, folder / "site", "--max-age", "0") as mirror:
            got = mirror.ask(part[0])
            assert (got.status, got.body) == (200, part[1]) or got.status in {503, 504}
            machine = fetcher_of(tree, mirror.url)
            machine.fetch("bert-v1.1.0")
            assert contents(machine.models / "bert-v1.1.0") == contents(tree.sources["bert-v1.1.0"])
            assert mirror.ask(WEIGHTS).body == weights
            assert mirror.ask(WEIGHTS, Range="bytes=11000000-11000099").body == weights[11000000:11000100]
            assert "cache=full" in mirror.ask("/metadata/timestamp.json").headers["modelport-upstream"]
            assert any("cache-full" in line for line in mirror.said)
            assert part[0].rpartition("/")[2] not in kept(folder / "site", "parts")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_killed_while_storing_leaves_nothing_half(tree, place, part):
    with run_upstream(tree.store, rate="4m") as upstream:
        with run_mirror(tree, upstream.url, place) as mirror:
            mirror.ask("/api/models/bert/revision/1.1.0")
            with socket.create_connection(mirror.address) as reader:
                reader.sendall(f"GET {part[0]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert reader.recv(65536).startswith(b"HTTP/1.1 200")
                os.kill(mirror.process.pid, signal.SIGKILL)
                mirror.process.wait()
        assert part[0].rpartition("/")[2] not in kept(place, "parts")
        assert list((place / "cache" / "new").iterdir())
    with run_upstream(tree.store) as upstream, run_mirror(tree, upstream.url, place) as mirror:
        assert list((place / "cache" / "new").iterdir()) == []
        assert mirror.ask(part[0]).body == part[1]
        assert part[0].rpartition("/")[2] in kept(place, "parts")


def test_client_that_goes_away_ends_no_transfer(tree, place, part):
    with run_upstream(tree.store, rate="8m") as upstream, run_mirror(tree, upstream.url, place) as mirror:
        mirror.ask("/api/models/bert/revision/1.1.0")
        with socket.create_connection(mirror.address) as reader:
            reader.sendall(f"GET {part[0]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert reader.recv(1000).startswith(b"HTTP/1.1 200")
        assert mirror.ask(part[0]).body == part[1]
        assert len(part[1]) <= sum(size for _, _, size in upstream.sent(part[0])) < len(part[1]) + (64 << 10)


def test_slow_readers_of_a_cold_part_cost_little_memory(tree, place, part):
    with run_upstream(tree.store) as upstream, run_mirror(tree, upstream.url, place) as mirror:
        mirror.ask("/api/models/bert/revision/1.1.0")
        before = _memory(mirror)
        readers = [socket.create_connection(mirror.address) for _ in range(100)]
        try:
            for reader in readers:
                reader.sendall(f"GET {part[0]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            for reader in readers:
                assert reader.recv(1000).startswith(b"HTTP/1.1 200")
            assert mirror.ask(part[0]).body == part[1]
            assert _memory(mirror) - before < 64 << 20
        finally:
            for reader in readers:
                reader.close()


def _memory(server):
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_names_that_were_made_up_do_not_keep_others_from_what_is_here(tree, upstream, place, part):
    with run_mirror(tree, upstream.url, place, "--upstream-timeout", "4") as mirror:
        assert mirror.ask(part[0]).body == part[1]
        upstream.behave(hostile.silent)
        flood = []
        try:
            for number in range(200):
                name = f"{number:064x}"
                flood.append(socket.create_connection(mirror.address, timeout=10))
                flood[-1].sendall(f"GET /parts/{name[:2]}/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            # All of them have been read when this is answered.
            assert mirror.ask("/healthz").status == 200
            assert mirror.ask(part[0]).body == part[1]
            assert not select.select(flood, [], [], 0)[0]
        finally:
            for connection in flood:
                connection.close()


def test_cold_documents_of_a_silent_upstream_do_not_keep_others_from_what_is_here(tree, upstream, place, part, weights):
    """As many as may wait ask for a manifest that is not here: the timestamp and what is kept are answered meanwhile."""
    cold = next(path for path in tree.store.glob("targets/bert/1.0.0/*.manifest.json")).relative_to(tree.store)
    with run_mirror(tree, upstream.url, place, "--upstream-timeout", "8") as mirror:
        assert mirror.ask(part[0]).body == part[1]
        assert mirror.ask(WEIGHTS).body == weights
        upstream.behave(hostile.silent)
        flood = []
        try:
            for _ in range(200):
                flood.append(socket.create_connection(mirror.address, timeout=10))
                flood[-1].sendall(f"GET /{cold} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert mirror.ask("/healthz").status == 200
            began = time.monotonic()
            assert mirror.ask("/metadata/timestamp.json").status == 200
            assert mirror.ask(part[0]).body == part[1]
            assert mirror.ask(WEIGHTS).body == weights
            # Each may wait a moment for the upstream to be asked how it is, and no longer.
            assert time.monotonic() - began < 8
            assert not select.select(flood, [], [], 0)[0]
        finally:
            for connection in flood:
                connection.close()
