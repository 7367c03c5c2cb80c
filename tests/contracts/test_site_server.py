"""What every server of a site must answer: one table, asked over real sockets."""

import email
import hashlib
from contextlib import closing
from urllib.parse import parse_qsl

import pytest

from bundles.site.holdings import Holdings
from bundles.site.routes import Request, find
from pipeline.layout import FOREVER, REVALIDATE
from tests.site_world import APP_SCRIPT

WEIGHTS = "/models/bert-v1.1.0/weights.bin"


@pytest.fixture(scope="module")
def weights(site_place):
    return site_place.source("bert-v1.1.0", "weights.bin")


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
def test_file_is_served_whole_with_its_digest(site_place, site_server, target, release, path, kind, cache):
    data = site_place.source(release, path)
    got = site_server.ask(target)
    assert (got.status, got.body) == (200, data)
    assert got.headers["etag"] == tag_of(data)
    assert got.headers["content-type"] == kind
    assert got.headers["cache-control"] == cache
    assert got.headers["accept-ranges"] == "bytes"
    assert "last-modified" not in got.headers
    head = site_server.ask(target, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert {name: value for name, value in head.headers.items() if name != "date"} == {
        name: value for name, value in got.headers.items() if name != "date"
    }
    assert head.headers["content-length"] == str(len(data))
    again = site_server.ask(target, If_None_Match=got.headers["etag"])
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
def test_one_range(site_server, weights, asked, start, end):
    got = site_server.ask(WEIGHTS, Range=asked)
    assert (got.status, got.body) == (206, weights[start:end])
    assert got.headers["content-range"] == f"bytes {start}-{end - 1}/{len(weights)}"


def test_several_ranges(site_server, weights):
    got = site_server.ask(WEIGHTS, Range="bytes=0-9,1000-1999,-5")
    assert got.status == 206
    message = email.message_from_bytes(f"Content-Type: {got.headers['content-type']}\r\n\r\n".encode() + got.body)
    pieces = {part["Content-Range"]: part.get_payload(decode=True) for part in message.get_payload()}
    size = len(weights)
    assert pieces == {
        f"bytes 0-9/{size}": weights[:10],
        f"bytes 1000-1999/{size}": weights[1000:2000],
        f"bytes {size - 5}-{size - 1}/{size}": weights[-5:],
    }


def test_range_past_the_end_is_refused(site_server, weights):
    got = site_server.ask(WEIGHTS, Range="bytes=12582912-")
    assert (got.status, got.headers["content-range"]) == (416, f"bytes */{len(weights)}")


def test_range_of_other_content_is_the_whole(site_server, weights):
    assert site_server.ask(WEIGHTS, Range="bytes=0-1", If_Range=tag_of(weights)).status == 206
    assert site_server.ask(WEIGHTS, Range="bytes=0-1", If_Range='"other"').body == weights


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_only_reading_is_served(site_server, method):
    got = site_server.ask("/models/bert-v1.0.0/config.json", method, body=b"x" if method in {"POST", "PUT"} else None)
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
def test_nothing_else_of_the_folder_is_served(site_server, target):
    got = site_server.ask(target)
    assert got.status in {400, 404}
    assert b"modelport" not in got.body


def test_tree_is_served_as_it_was_published(site_place, site_server):
    for path in sorted((site_place.folder / "metadata").iterdir()):
        got = site_server.ask(f"/metadata/{path.name}")
        assert (got.status, got.body) == (200, path.read_bytes())
        assert got.headers["cache-control"] == (REVALIDATE if path.name == "timestamp.json" else FOREVER)
    part = next(path for path in (site_place.folder / "parts").rglob("*") if path.is_file())
    got = site_server.ask(f"/parts/{part.parent.name}/{part.name}")
    assert got.body == part.read_bytes()
    assert got.headers["etag"] == f'"{part.name}"'


def test_connection_is_kept_between_requests(site_server):
    import http.client

    connection = http.client.HTTPConnection(*site_server.address, timeout=30)
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


# --- conditions and ranges ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{tag}", 'W/{tag}, "other"', '"other" , {tag}', "*"])
def test_what_a_client_has_is_not_sent_again(site_server, weights, form):
    got = site_server.ask(WEIGHTS, If_None_Match=form.format(tag=tag_of(weights)))
    assert (got.status, got.body) == (304, b"")
    assert got.headers["etag"] == tag_of(weights)
    assert got.headers["cache-control"] == FOREVER


@pytest.mark.parametrize("form", ['"other"', "", '"{hex}x"', "{hex}"])
def test_what_a_client_has_otherwise_is_sent(site_server, weights, form):
    got = site_server.ask(WEIGHTS, If_None_Match=form.format(hex=hashlib.sha256(weights).hexdigest()))
    assert (got.status, len(got.body)) == (200, len(weights))


@pytest.mark.parametrize("form", ["{tag}", '"other", {tag}', "*"])
def test_condition_that_holds_is_answered(site_server, weights, form):
    got = site_server.ask(WEIGHTS, If_Match=form.format(tag=tag_of(weights)), Range="bytes=5-9")
    assert (got.status, got.body) == (206, weights[5:10])
    assert got.headers["etag"] == tag_of(weights)


@pytest.mark.parametrize("form", ['"other"', "W/{tag}"])
def test_condition_that_does_not_hold_is_refused(site_server, weights, form):
    assert site_server.ask(WEIGHTS, If_Match=form.format(tag=tag_of(weights))).status == 412


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-0,0-0,0-0", "bytes=0-100,50-200", "bytes=5-2", "bytes=-0", "bytes=", "bytes=a-b", "items=0-1", "bytes=0-1,,2-3", "bytes=--1",
        "bytes=0-99999999999999999999999", "bytes=99999999999999999999999-", "bytes=-99999999999999999", "bytes=0-,1-,2-", "bytes=1-0,5-6",
        "bytes=" + ",".join(f"{at}-{at}" for at in range(0, 2000, 2)), "bytes=" + "0-," * 900,
    ],
)  # fmt: skip
def test_absurd_ranges_give_what_is_there_or_nothing(site_server, weights, asked):
    got = site_server.ask(WEIGHTS, Range=asked)
    size = len(weights)
    if got.status == 200:
        assert got.body == weights
    elif got.status == 416:
        assert got.headers["content-range"] == f"bytes */{size}"
    else:
        assert got.status == 206
        whole = f"Content-Type: {got.headers['content-type']}\r\n".encode()
        if "content-range" in got.headers:
            whole += f"Content-Range: {got.headers['content-range']}\r\n".encode()
        message = email.message_from_bytes(whole + b"\r\n" + got.body)
        for part in message.get_payload() if message.is_multipart() else [message]:
            start, end = (int(text) for text in part["Content-Range"].split()[1].partition("/")[0].split("-"))
            assert part.get_payload(decode=True) == weights[start : end + 1]
        assert len(got.body) <= 2 * size


# --- documents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept, kind",
    [
        ("", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+json"),
        (
            "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
            "application/vnd.pypi.simple.v1+json",
        ),
        ("application/vnd.pypi.simple.v1+html, text/html;q=0.5", "application/vnd.pypi.simple.v1+html"),
        ("text/html, application/vnd.pypi.simple.v1+json;q=0.5", "text/html; charset=utf-8"),
    ],
)
@pytest.mark.parametrize("target", ["/simple/", "/simple/tiny-thing/"])
def test_index_is_a_page_or_json_as_it_is_asked_for(site_server, target, accept, kind):
    got = site_server.ask(target, Accept=accept)
    assert (got.status, got.headers["content-type"]) == (200, kind)
    assert got.headers["vary"] == "Accept"
    assert b"tiny-thing" in got.body.lower().replace(b"_", b"-")
    assert site_server.ask(target, Accept=accept, If_None_Match=got.headers["etag"]).status == 304


@pytest.mark.parametrize(
    "target",
    [
        "/", "/models/bert-v1.1.0/", "/wheels/house-v1.0.0/", "/api/models/bert", "/api/models/acme/bert-base/revision/stable",
        "/api/models/bert/revision/v1.0.0", "/api/models/bert/tree/main", "/api/models/bert/tree/main?recursive=true",
        "/api/models/bert/tree/1.1.0/onnx", "/api/models/bert/refs", "/v2/_catalog", "/v2/bert/tags/list", "/v2/acme/bert-base/tags/list",
        "/v2/bert/manifests/latest", "/v2/bert/manifests/stable", "/v2/bert/manifests/1.0.0",
    ],
)  # fmt: skip
def test_documents_are_the_same_wherever_they_come_from(site_server, site_place, target):
    got = site_server.ask(target)
    assert got.status == 200
    assert got.headers["etag"] == tag_of(got.body)
    assert got.headers["cache-control"] == REVALIDATE
    path, _, query = target.partition("?")
    with closing(Holdings(site_place.folder)) as holdings:
        made = find(holdings.look(), Request(path.encode(), dict(parse_qsl(query))), tree=True)
    assert (got.body, got.headers["content-type"]) == (made.body, made.content_type)
    for name, value in made.headers:
        assert got.headers[name.lower()] == value


@pytest.mark.parametrize(
    "target, to",
    [
        ("/models/bert-v1.1.0", "/models/bert-v1.1.0/"), ("/web/app", "/web/app/"), ("/web/app/docs", "/web/app/docs/"),
        ("/simple", "/simple/"), ("/simple/tiny-thing", "/simple/tiny-thing/"),
    ],
)  # fmt: skip
def test_folder_is_asked_for_with_its_slash(site_server, target, to):
    got = site_server.ask(target)
    assert (got.status, got.headers["location"]) == (308, to)


@pytest.mark.parametrize(
    "target, code",
    [
        ("/none/resolve/main/config.json", "RepoNotFound"), ("/bert/resolve/9.9.9/config.json", "RevisionNotFound"),
        ("/bert/resolve/refs%2Fpr%2F1/config.json", "RevisionNotFound"), ("/bert/resolve/main/none.json", "EntryNotFound"),
        ("/api/models/none", "RepoNotFound"), ("/api/models/bert/revision/none", "RevisionNotFound"),
        ("/api/models/bert/tree/main/none", "EntryNotFound"),
    ],
)  # fmt: skip
def test_hub_clients_hear_what_is_missing(site_server, target, code):
    got = site_server.ask(target)
    assert (got.status, got.headers["x-error-code"]) == (404, code)
    assert got.headers["x-error-message"]
    assert "immutable" not in got.headers.get("cache-control", "")


def test_hub_clients_read_the_file_from_its_headers(site_server, site_place):
    data = site_place.source("bert-v1.0.0", "weights.bin")
    got = site_server.ask("/acme/bert-base/resolve/stable/weights.bin", "HEAD")
    assert got.headers["x-repo-commit"] == site_server.ask("/api/models/bert/revision/1.0.0").json["sha"]
    assert got.headers["x-linked-etag"] == tag_of(data)
    assert got.headers["x-linked-size"] == str(len(data)) == got.headers["content-length"]


def test_blob_is_a_file_of_the_release(site_server, site_place):
    data = site_place.source("bert-v1.1.0", "config.json")
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    got = site_server.ask(f"/v2/acme/bert-base/blobs/{digest}")
    assert (got.body, got.headers["content-type"], got.headers["cache-control"]) == (data, "application/octet-stream", FOREVER)
    assert got.headers["docker-content-digest"] == digest
    manifest = site_server.ask("/v2/bert/manifests/1.1.0")
    again = site_server.ask(f"/v2/bert/manifests/{manifest.headers['docker-content-digest']}")
    assert (again.body, again.headers["cache-control"]) == (manifest.body, FOREVER)
    config = site_server.ask(f"/v2/bert/blobs/{manifest.json['config']['digest']}")
    assert hashlib.sha256(config.body).hexdigest() == manifest.json["config"]["digest"].partition(":")[2]


@pytest.mark.parametrize(
    "head", ["state", "control", "nginx", "nginx/view", "nginx/site.conf", "generations", ".send/state", ".body", ".git"]
)
@pytest.mark.parametrize("tail", ["/lock", "%2Flock", "/../lock", "/", ""])
def test_inner_folders_have_no_address(site_server, head, tail):
    assert site_server.ask(f"/{head}{tail}").status in {400, 404}
