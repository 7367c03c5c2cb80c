"""Clients of a site that do not mean well, and a site that changes under its readers."""

import asyncio
import json
import os
import random
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import uvicorn

from bundles.installing import install_bundle
from bundles.site import sending
from pipeline.events import ignore
from tests.install_world import order_for
from tests.media_world import pack
from tests.site_world import serving

WEIGHTS = "/models/bert-v1.1.0/weights.bin"
ROUNDS = 3000
PIECES = (
    b"GET ", b"HEAD ", b"POST ", b"/", b"..", b"%2e", b"%2F", b"%00", b"\\", b"models/", b"bert-v1.1.0/", b"state/lock", b"weights.bin",
    b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/9.9\r\n", b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"Host: x\r\n", b"Host: y\r\n",
    b"Range: bytes=0-1\r\n", b"Range: bytes=-1,5-,9-3\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x, chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"Connection: Upgrade\r\n",
    b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"If-None-Match: *\r\n", b"X: " + b"a" * 9000 + b"\r\n", b"simple/",
    b"api/models/bert/tree/main", b"?recursive=1&a=%zz", b"\xff\xfe", b"Accept: ;q=,\r\n", b"Authorization: Basic ====\r\n", b"http://evil/",
)  # fmt: skip


def test_server_asks_for_as_many_open_files_as_it_may_need(site_place):
    """A shell allows 1,024, which is fewer than the connections that are taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving(site_place.folder) as server:
        assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (max(soft, min(7024, hard)), hard)
    starting = ["prlimit", "--nofile=256:4096", sys.executable, "-c", OPEN_FILES]
    ran = subprocess.run(starting, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["4096", "4096"]


OPEN_FILES = """
import resource
from bundles.installer.folders import allow_open_files
from bundles.site.serving import OPEN_FILES
allow_open_files(OPEN_FILES)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


LAST = b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def talk(site_server, data, *, most=8 << 20, timeout_s=10.0):
    """Send these bytes; what comes back until the server closes, or says nothing for so long."""
    with socket.create_connection(site_server.address, timeout=timeout_s) as connection:
        found = b""
        try:
            connection.sendall(data)
            while len(found) < most and (block := connection.recv(65536)):
                found += block
        except (ConnectionError, TimeoutError):
            pass
        return found


def statuses(answer):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answer)]


def memory_of(site_server):
    words = Path(f"/proc/{site_server.process.pid}/statm").read_text().split()
    return int(words[1]) * os.sysconf("SC_PAGESIZE")


def test_thousands_of_broken_requests_give_nothing_away(site_server, record_property):
    chance = random.Random(7)

    def attack(seed):
        mine = random.Random(seed)
        data = b"".join(mine.choices(PIECES, k=mine.randint(1, 14)))
        if mine.random() < 0.5:
            data = b"GET /" + data
        # A whole request at the end: whatever was sent before it, the server closes then.
        return data, talk(site_server, data + LAST, timeout_s=0.5)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attack, [chance.random() for _ in range(ROUNDS)]))
    record_property("requests", ROUNDS)
    found = [(data, status) for data, answer in answers for status in statuses(answer)]
    assert {status for _, status in found} <= {100, 200, 206, 304, 308, 400, 404, 405, 416, 501, 505}
    assert sum(status >= 400 for _, status in found) > ROUNDS // 20
    assert not [data for data, answer in answers if b"modelport-trust" in answer or b"Traceback" in answer]
    assert site_server.ask("/healthz").status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: x\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b" Folded: x\r\n",
    ],
)
def test_request_that_two_servers_could_read_in_two_ways_is_refused(site_server, head):
    smuggled = b"GET /state/lock HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = talk(site_server, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + smuggled + LAST)
    assert 200 not in statuses(answer)[1:]
    assert statuses(answer)[:1] in ([400], [501], [])


def test_second_host_is_refused(site_server):
    answer = talk(site_server, b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: a\r\n" + LAST)
    assert statuses(answer)[:1] == [400]


def test_second_range_is_refused_or_not_read(site_server, site_place):
    request = f"GET {WEIGHTS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=0-1\r\nRange: bytes=5-6\r\n\r\n"
    answer = talk(site_server, request.encode())
    assert statuses(answer) in ([400], [206])
    if statuses(answer) == [206]:
        assert answer.partition(b"\r\n\r\n")[2] == site_place.source("bert-v1.1.0", "weights.bin")[:2]


def test_pipelined_requests_are_answered_in_order(site_server, site_place):
    first = b"GET /models/bert-v1.1.0/config.json HTTP/1.1\r\nHost: x\r\n\r\n"
    second = b"GET /models/bert-v1.1.0/weights.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\nConnection: close\r\n\r\n"
    answer = talk(site_server, first + second)
    assert statuses(answer) == [200, 206]
    assert answer.endswith(site_place.source("bert-v1.1.0", "weights.bin")[:10])


def test_slow_and_half_open_readers_cost_neither_memory_nor_other_readers(site_server, site_place):
    data = site_place.source("bert-v1.1.0", "weights.bin")
    before = memory_of(site_server)
    held = []
    try:
        for number in range(300):
            connection = socket.create_connection(site_server.address, timeout=10)
            held.append(connection)
            if number % 3 == 0:
                # Half a request, and nothing after it.
                connection.sendall(b"GET /models/bert-v1.1.0/weights.bin HTTP/1.1\r\nHo")
            else:
                # A whole one, whose answer is never read.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(b"GET /models/bert-v1.1.0/weights.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(5):
            assert site_server.ask(WEIGHTS).body == data
        # 200 answers of 12 MiB wait in the kernel, not in the server.
        assert memory_of(site_server) - before < 40 << 20
    finally:
        for connection in held:
            connection.close()
    assert site_server.ask(WEIGHTS).body == data


def test_reader_that_goes_away_is_forgotten(site_server):
    for _ in range(20):
        with socket.create_connection(site_server.address, timeout=10) as connection:
            connection.sendall(b"GET /models/bert-v1.1.0/weights.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1000)
    deadline = time.monotonic() + 10
    while any(b"weights.bin" in name for name in open_files(site_server)):
        assert time.monotonic() < deadline, open_files(site_server)
        time.sleep(0.01)
    assert site_server.ask("/healthz").status == 200


def open_files(site_server):
    found = []
    for path in Path(f"/proc/{site_server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.fsencode(path.readlink()))
    return found


# --- a site that changes --------------------------------------------------------------------------


@pytest.fixture
def other(site_place, tmp_path):
    """The same site in a place of its own, and its server."""
    shutil.copytree(site_place.folder, tmp_path / "site", symlinks=True)
    with serving(tmp_path / "site") as server:
        yield tmp_path / "site", server


def test_file_replaced_under_a_reader_is_read_to_its_end(other, site_place):
    site, server = other
    data = site_place.source("bert-v1.1.0", "weights.bin")
    with socket.create_connection(server.address, timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(f"GET {WEIGHTS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        found = connection.recv(1000)
        # As the installer puts a file right: a new one, renamed over the old.
        target = site / "models" / "bert-v1.1.0" / "weights.bin"
        target.with_name("new").write_bytes(b"x" * len(data))
        target.with_name("new").rename(target)
        while block := connection.recv(1 << 16):
            found += block
    assert found.partition(b"\r\n\r\n")[2] == data


def test_file_that_became_shorter_under_a_reader_ends_its_connection(other):
    site, server = other
    with socket.create_connection(server.address, timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(f"GET {WEIGHTS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        found = connection.recv(1000)
        os.truncate(site / "models" / "bert-v1.1.0" / "weights.bin", 1 << 20)
        try:
            while block := connection.recv(1 << 16):
                found += block
        except ConnectionError:
            pass
    assert len(found.partition(b"\r\n\r\n")[2]) < 12 << 20
    assert server.ask(WEIGHTS).status == 500


def test_what_is_not_as_long_as_signed_is_not_served(other):
    site, server = other
    (site / "models" / "bert-v1.1.0" / "config.json").write_bytes(b"{}")
    got = server.ask("/models/bert-v1.1.0/config.json")
    assert got.status == 500
    assert b"not what was signed" in got.body
    assert server.ask("/models/bert-v1.0.0/config.json").status == 200


@pytest.mark.parametrize("link", ["models/bert-v1.1.0/config.json", "models/bert-v1.1.0/onnx", "models/bert-v1.1.0", "models"])
def test_planted_link_is_not_followed(other, link, tmp_path):
    site, server = other
    outside = tmp_path / "outside"
    (site / link).rename(outside)
    (site / link).symlink_to(outside)
    assert server.ask("/models/bert-v1.1.0/" + ("onnx/noise.bin" if link.endswith("onnx") else "config.json")).status in {
        404,
        503,
    }


def test_damaged_record_takes_nothing_else_down(other):
    site, server = other
    record = json.loads((site / "state/installed/app-v1.0.0.json").read_bytes())
    manifest = site / "state" / "installed" / "manifests" / f"{record['manifest_sha256']}.json"
    manifest.write_bytes(b"{}")
    with serving(site) as fresh:
        assert fresh.ask("/web/app/").status == 404
        assert fresh.ask(WEIGHTS).status == 200
        assert b"is not served" in fresh.ask("/").body
        assert any("unserved" in line for line in fresh.said)
    assert server.ask(WEIGHTS).status == 200


def test_installation_is_seen_without_a_restart_and_never_in_halves(site_place, tmp_path):
    media = pack(site_place.tree, "bert-v1.0.0").write(tmp_path / "one")
    newer = pack(site_place.tree, "bert-v1.1.0").write(tmp_path / "two")
    site = tmp_path / "site"
    install_bundle(order_for((media,), site, site_place.tree.site.fingerprint), ignore)
    commits = {}
    with serving(site) as server:
        commits[server.ask("/api/models/bert/revision/main").json["sha"]] = "bert-v1.0.0"
        assert server.ask("/api/models/bert/revision/1.1.0").status == 404
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(install_bundle, order_for((newer,), site, site_place.tree.site.fingerprint), ignore)
            seen = []
            while not running.done():
                seen.append(server.ask("/bert/resolve/main/config.json").status)
            running.result()
        assert set(seen) == {200}
        assert server.ask("/api/models/bert/revision/main").json["sha"] not in commits
        assert server.ask("/bert/resolve/main/weights.bin").body == site_place.source("bert-v1.1.0", "weights.bin")
        assert server.ask("/bert/resolve/stable/weights.bin").body == site_place.source("bert-v1.0.0", "weights.bin")


def test_two_servers_of_one_site_do_not_disturb_each_other(site_server, site_place):
    with serving(site_place.folder) as second:
        assert second.address != site_server.address
        assert second.ask(WEIGHTS).body == site_server.ask(WEIGHTS).body


def test_reader_who_takes_nothing_of_what_was_made_for_it_is_let_go(monkeypatch):
    monkeypatch.setattr(sending, "STALL_S", 0.2)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(64 << 20)})

    async def ask_and_take_nothing():
        config = uvicorn.Config(app, http=sending.SendingProtocol, ws="none", lifespan="off", interface="asgi3", log_config=None)
        state = uvicorn.server.ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: sending.SendingProtocol(config, state, {}), "127.0.0.1", 0)
        async with server:
            with socket.create_connection(server.sockets[0].getsockname()) as reader:
                reader.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                async with asyncio.timeout(10):
                    while not state.connections:  # noqa: ASYNC110 (uvicorn announces no change of this set)
                        await asyncio.sleep(0.01)
                    while state.connections:  # noqa: ASYNC110 (as above, nothing announces it)
                        await asyncio.sleep(0.01)

    asyncio.run(ask_and_take_nothing())


@pytest.mark.parametrize(
    "sent", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHo"]
)
def test_half_a_request_holds_no_connection_for_ever(sent, monkeypatch):
    monkeypatch.setattr(sending, "HEAD_S", 0.2)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def talk_to_it():
        config = uvicorn.Config(app, http=sending.SendingProtocol, ws="none", lifespan="off", interface="asgi3", log_config=None)
        state = uvicorn.server.ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: sending.SendingProtocol(config, state, {}), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 4)
            writer.close()
        return answer

    assert statuses(asyncio.run(talk_to_it())) == ([204] if sent.endswith(b"Ho") else [])
