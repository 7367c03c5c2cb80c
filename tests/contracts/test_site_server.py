"""What every server of a site must answer: one table, asked over real sockets."""

import email
import hashlib

import pytest

from pipeline.layout import FOREVER, REVALIDATE
from tests.site_world import APP_SCRIPT, install_all, publish_all, serving

WEIGHTS = "/models/bert-v1.1.0/weights.bin"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    return install_all(publish_all(folder), folder / "site", keep_parts=True)


@pytest.fixture(scope="module")
def server(place):
    with serving(place.folder) as server:
        yield server


@pytest.fixture(scope="module")
def weights(place):
    return place.source("bert-v1.1.0", "weights.bin")


def tag_of(data):
    return f'"{hashlib.sha256(data).hexdigest()}"'


@pytest.mark.parametrize(
    "target, release, path, kind, cache",
    [
        ("/models/bert-v1.0.0/config.json", "bert-v1.0.0", "config.json", "application/json", FOREVER),
        ("/models/bert-v1.1.0/onnx/noise.bin", "bert-v1.1.0", "onnx/noise.bin", "application/octet-stream", FOREVER),
        ("/models/bert-v1.1.0/empty.txt", "bert-v1.1.0", "empty.txt", "text/plain; charset=utf-8", FOREVER),
        ("/models/bert-v1.1.0/n%C3%A4me%20%26amp%3B%20%C3%BCnd.txt", "bert-v1.1.0", "näme &amp; ünd.txt", "text/plain; charset=utf-8", FOREVER),
        ("/bert/resolve/main/weights.bin", "bert-v1.1.0", "weights.bin", "application/octet-stream", REVALIDATE),
        ("/acme/bert-base/resolve/1.0.0/weights.bin", "bert-v1.0.0", "weights.bin", "application/octet-stream", FOREVER),
        ("/web/app/", "app-v1.0.0", "index.html", "text/html; charset=utf-8", REVALIDATE),
        (f"/web/app/{APP_SCRIPT}", "app-v1.0.0", APP_SCRIPT, "text/javascript; charset=utf-8", FOREVER),
        ("/wheels/house-v1.0.0/Tiny_Thing-1.0-py3-none-any.whl", "house-v1.0.0", "Tiny_Thing-1.0-py3-none-any.whl", "application/octet-stream", FOREVER),
    ],
)  # fmt: skip
def test_file_is_served_whole_with_its_digest(place, server, target, release, path, kind, cache):
    data = place.source(release, path)
    got = server.ask(target)
    assert (got.status, got.body) == (200, data)
    assert got.headers["etag"] == tag_of(data)
    assert got.headers["content-type"] == kind
    assert got.headers["cache-control"] == cache
    assert got.headers["accept-ranges"] == "bytes"
    assert "last-modified" not in got.headers
    head = server.ask(target, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert {name: value for name, value in head.headers.items() if name != "date"} == {
        name: value for name, value in got.headers.items() if name != "date"
    }
    assert head.headers["content-length"] == str(len(data))
    again = server.ask(target, If_None_Match=got.headers["etag"])
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "asked, start, end",
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-2000000", 1000000, 2000001),
        ("bytes=12582911-", 12582911, 12582912),
        ("bytes=-10", 12582902, 12582912),
    ],
)
def test_one_range(server, weights, asked, start, end):
    got = server.ask(WEIGHTS, Range=asked)
    assert (got.status, got.body) == (206, weights[start:end])
    assert got.headers["content-range"] == f"bytes {start}-{end - 1}/{len(weights)}"


def test_several_ranges(server, weights):
    got = server.ask(WEIGHTS, Range="bytes=0-9,1000-1999,-5")
    assert got.status == 206
    message = email.message_from_bytes(f"Content-Type: {got.headers['content-type']}\r\n\r\n".encode() + got.body)
    pieces = {part["Content-Range"]: part.get_payload(decode=True) for part in message.get_payload()}
    size = len(weights)
    assert pieces == {
        f"bytes 0-9/{size}": weights[:10],
        f"bytes 1000-1999/{size}": weights[1000:2000],
        f"bytes {size - 5}-{size - 1}/{size}": weights[-5:],
    }


def test_range_past_the_end_is_refused(server, weights):
    got = server.ask(WEIGHTS, Range="bytes=12582912-")
    assert (got.status, got.headers["content-range"]) == (416, f"bytes */{len(weights)}")


def test_range_of_other_content_is_the_whole(server, weights):
    assert server.ask(WEIGHTS, Range="bytes=0-1", If_Range=tag_of(weights)).status == 206
    assert server.ask(WEIGHTS, Range="bytes=0-1", If_Range='"other"').body == weights


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_only_reading_is_served(server, method):
    got = server.ask("/models/bert-v1.0.0/config.json", method, body=b"x" if method in {"POST", "PUT"} else None)
    assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "target",
    [
        "/state/trust/state.json", "/state/lock", "/state/installed/bert-v1.0.0.json", "/bin/install.pyz", "/control/leases/x.json",
        "/generations/1/bert/config.json", "/current/bert/config.json", "/models/../state/lock", "/models/bert-v1.0.0/../../state/lock",
        "/models/bert-v1.0.0/%2e%2e/%2e%2e/state/lock", "/models/bert-v1.0.0/..%2f..%2fstate%2flock", "/%2e%2e/%2e%2e/etc/passwd",
        "/models/bert-v1.0.0/..%5c..%5cstate", "/web/app/..%2f..%2fstate/lock", "//etc/passwd", "/models/bert-v1.0.0/config.json%00",
        "/models/bert-v1.0.0//config.json", "/bert/resolve/main/..%2f..%2f..%2fstate/lock", "/models/BERT-v1.0.0/config.json",
    ],
)  # fmt: skip
def test_nothing_else_of_the_folder_is_served(server, target):
    got = server.ask(target)
    assert got.status in {400, 404}
    assert b"modelport" not in got.body


def test_tree_is_served_as_it_was_published(place, server):
    for path in sorted((place.folder / "metadata").iterdir()):
        got = server.ask(f"/metadata/{path.name}")
        assert (got.status, got.body) == (200, path.read_bytes())
        assert got.headers["cache-control"] == (REVALIDATE if path.name == "timestamp.json" else FOREVER)
    part = next(path for path in (place.folder / "parts").rglob("*") if path.is_file())
    got = server.ask(f"/parts/{part.parent.name}/{part.name}")
    assert got.body == part.read_bytes()
    assert got.headers["etag"] == f'"{part.name}"'


def test_connection_is_kept_between_requests(server):
    import http.client

    connection = http.client.HTTPConnection(*server.address, timeout=30)
    try:
        for _ in range(3):
            connection.request("GET", WEIGHTS)
            reply = connection.getresponse()
            assert len(reply.read()) == 12 << 20
            socket = connection.sock
            assert socket is not None
        assert connection.sock is socket
    finally:
        connection.close()
