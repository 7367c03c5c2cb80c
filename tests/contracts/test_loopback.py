"""The server that is measured against: whole objects, ranges, ETags, and nothing outside its folder."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import pytest

from pipeline.errors import ObjectMissing
from pipeline.loopback import loopback_of
from pipeline.ports import NotModified
from pipeline.sources.http import HttpReader

BODY = bytes(range(256)) * 4000


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "tree"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "a").write_bytes(BODY)
    (folder.parent / "secret").write_bytes(b"secret")
    with loopback_of(folder) as address:
        yield address


@pytest.fixture
def reader(url):
    made = HttpReader(url)
    yield made
    made.close()


def test_whole_objects_and_ranges(reader):
    assert b"".join(reader.get("parts/a")) == BODY
    for start, size in ((0, 1), (1, 70_000), (len(BODY) - 1, 1)):
        got = bytearray()
        reader.read_range("parts/a", start, size, got.extend, total=len(BODY))
        assert got == BODY[start : start + size]
    assert reader.honours_ranges
    assert b"".join(reader.get("parts/a", start=len(BODY))) == b""


def test_etag_saves_a_second_reading(reader):
    fresh = reader.revalidate("parts/a", "", cap=len(BODY))
    assert isinstance(reader.revalidate("parts/a", fresh.etag, cap=len(BODY)), NotModified)


@pytest.mark.parametrize("key", ["parts/b", "parts", "parts/a/b"])
def test_what_is_not_there_is_missing(reader, key):
    with pytest.raises(ObjectMissing):
        list(reader.get(key))


@pytest.mark.parametrize("path", ["/../secret", "/parts/../../secret", "/%2e%2e/secret", "//etc/passwd", "/", "/parts/"])
def test_nothing_outside_is_served(url, path):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (404, b"")
    connection.close()


def test_connection_is_kept(url):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    for _ in range(3):
        connection.request("GET", "/parts/a")
        assert connection.getresponse().read() == BODY
    connection.close()
