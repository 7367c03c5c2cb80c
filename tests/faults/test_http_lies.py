"""Class H of docs/faults.md: a source that answers wrongly in every way, on a real socket."""

from __future__ import annotations

import random
import time

import pytest

from pipeline.errors import AccessDenied, ObjectMissing, SourceLied, StoreUnavailable, UnavailableError
from pipeline.ports import Fresh, NotModified
from pipeline.sources.http import HttpReader
from pipeline.sources.pace import Limits
from tests.servers import hostile
from tests.servers.hostile import run_hostile

PART = "parts/ab/" + "ab" * 32
BODY = random.Random(5).randbytes(300_000)
START, SIZE = 70_000, 150_000
TOTAL = len(BODY)
QUICK = Limits(connect_s=5.0, idle_s=1.0, window_s=0.5, least_per_s=2000)


@pytest.fixture
def server():
    with run_hostile({PART: BODY, "metadata/timestamp.json": b"{}"}) as running:
        yield running


@pytest.fixture
def reader(server):
    made = HttpReader(server.url, limits=QUICK)
    yield made
    made.close()


class Got:
    """What came; ``blocks`` counts calls."""

    def __init__(self):
        self.data = bytearray()
        self.blocks = 0

    def __call__(self, block):
        self.data += block
        self.blocks += 1


def read(reader, start=START, size=SIZE, total=TOTAL):
    got = Got()
    reader.read_range(PART, start, size, got, total=total)
    return bytes(got.data)


@pytest.mark.parametrize(
    "way",
    [hostile.honest, hostile.whole, hostile.whole_chunked, hostile.whole_until_close, hostile.ok_with_span],
    ids=lambda way: way.__name__,
)
@pytest.mark.parametrize(
    "start, size", [(START, SIZE), (0, 1), (0, len(BODY)), (len(BODY) - 1, 1), (0, 200_000), (100_000, 200_000)]
)
def test_right_bytes_come_however_the_range_is_answered(server, reader, way, start, size):
    server.behave(way)
    for _ in range(2):
        assert read(reader, start, size) == BODY[start : start + size]


def test_body_longer_than_declared_is_cut_and_its_connection_ended(server, reader):
    server.behave(hostile.longer)
    for size in (SIZE, 10, 5000):
        assert read(reader, START, size) == BODY[START : START + size]
    assert server.connections == 3


@pytest.mark.parametrize("size", [10, 5000, SIZE])
def test_chunk_of_negative_size_ends_in_a_refusal_or_in_no_more_than_was_asked_for(server, reader, size):
    server.behave(hostile.negative_chunk)
    got = Got()
    with pytest.raises((SourceLied, StoreUnavailable)):
        reader.read_range(PART, START, size, got, total=len(BODY))
    assert len(got.data) <= size


def test_source_that_ignores_ranges_is_noticed(server, reader):
    read(reader)
    assert reader.honours_ranges is True
    server.behave(hostile.whole)
    read(reader)
    assert reader.honours_ranges is False


LIES = {
    hostile.ok_with_other_span: "200 with Content-Range",
    hostile.earlier: "206 with Content-Range 'bytes 69990-",
    hostile.later: "206 with Content-Range 'bytes 70010-",
    hostile.other_total: "an object of 300005 bytes came, expected 300000",
    hostile.star_span: r"'bytes \*/300000' came, expected bytes 70000-219999/300000",
    hostile.no_span: "206 without Content-Range",
    hostile.two_spans: "2 Content-Range fields",
    hostile.multipart: "several ranges in one body",
    hostile.not_satisfiable: "416 .*expected an object that has them",
    hostile.longer_declared: "150004 bytes for Content-Range",
    hostile.endless: "more came than 150000 bytes",
    # Later Pythons count these themselves, and end there.
    hostile.endless_trailers: "bytes that are no body|got more than 100 trailers",
    hostile.endless_continue: "bytes that are no body|got more than 100 interim responses",
    hostile.many_fields: "more than 100 headers",
    hostile.encoded: "encoded as 'gzip'",
    hostile.encoded_range: "encoded as 'br'",
    hostile.encoded_transfer: "Transfer-Encoding 'gzip, chunked'",
    hostile.web_page: "a web page came",
    hostile.other_length: "an object of 300001 bytes came, expected 300000",
    hostile.two_lengths: "2 Content-Length fields",
    hostile.length_and_chunks: "Transfer-Encoding 'chunked' with 1 Content-Length",
    hostile.bad_length: "'-5' is not a number",
    hostile.not_http: "the answer is not HTTP",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_lie_is_refused_with_what_was_found(server, reader, lie):
    server.behave(lie)
    begun = time.monotonic()
    with pytest.raises(SourceLied, match=LIES[lie]) as refused:
        read(reader)
    assert time.monotonic() - begun < 10
    assert refused.value.hint
    assert server.url in str(refused.value)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_reader_is_whole_after_a_lie(server, reader, lie):
    server.behave(lie, times=1)
    with pytest.raises(SourceLied):
        read(reader)
    assert read(reader) == BODY[START : START + SIZE]


@pytest.mark.parametrize(
    "lie", [hostile.short, hostile.short_span, hostile.short_reset, hostile.chunked_without_end], ids=lambda lie: lie.__name__
)
def test_answer_that_breaks_off_says_how_much_came_and_goes_on_from_there(server, reader, lie):
    server.behave(lie, times=1)
    got = Got()
    with pytest.raises(StoreUnavailable) as broken:
        reader.read_range(PART, START, SIZE, got, total=len(BODY))
    came = broken.value.delivered
    assert broken.value.retryable
    assert came == len(got.data) <= SIZE // 2
    assert came or lie is hostile.short_reset
    reader.read_range(PART, START + came, SIZE - came, got, total=len(BODY))
    assert bytes(got.data) == BODY[START : START + SIZE]


@pytest.mark.parametrize(
    "lie, words",
    [
        (hostile.slow_body, "expected at least 2000 bytes a second"),
        (hostile.slow_head, "expected at least 2000 bytes a second"),
        (hostile.silent, "timed out"),
        (hostile.hang_up, "closed connection|reset"),
        (hostile.reset, "reset"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_dead_or_dripping_source_is_given_up_in_time(server, reader, lie, words):
    server.behave(lie)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match=words):
        read(reader)
    assert time.monotonic() - begun < 5


def test_slow_taker_is_not_the_sources_fault(server, reader):
    came = []

    def take(block):
        came.append(bytes(block))
        # Longer than any limit on the source, in all.
        time.sleep(0.25)

    reader.read_range(PART, 0, 1000, take)
    reader.read_range(PART, 0, len(BODY), take)
    assert b"".join(came) == BODY[:1000] + BODY


@pytest.mark.parametrize(
    "status, error, words",
    [
        (401, AccessDenied, "HTTP 401"),
        (403, AccessDenied, "asked without credentials"),
        (404, ObjectMissing, "no such object"),
        (410, ObjectMissing, "no such object"),
        (407, AccessDenied, "the proxy wants credentials"),
        (400, UnavailableError, "HTTP 400"),
        (300, UnavailableError, "HTTP 300"),
        (204, UnavailableError, "HTTP 204"),
        (304, UnavailableError, "HTTP 304"),
        (408, StoreUnavailable, "HTTP 408"),
        (500, StoreUnavailable, "HTTP 500"),
        (503, StoreUnavailable, "HTTP 503"),
    ],
)
def test_status_has_its_error(server, reader, status, error, words):
    server.behave(hostile.answers(status))
    with pytest.raises(error, match=words) as raised:
        read(reader)
    assert type(raised.value) is error


def test_retry_after_is_kept(server, reader):
    server.behave(hostile.answers(429, "Retry-After: 7"))
    with pytest.raises(StoreUnavailable) as raised:
        read(reader)
    assert raised.value.retry_after_s == 7


def test_connection_is_kept_and_a_closed_one_is_replaced(server, reader):
    for _ in range(5):
        read(reader)
    assert server.connections == 1
    # The server hangs up instead of a sixth answer: asked again on a new connection, and nobody hears of it.
    server.behave(hostile.hang_up, times=1)
    assert read(reader) == BODY[START : START + SIZE]
    assert server.connections == 2


def test_error_of_the_taker_goes_through_and_leaves_the_reader_whole(server, reader):
    def take(block):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        reader.read_range(PART, START, SIZE, take, total=len(BODY))
    assert read(reader) == BODY[START : START + SIZE]


def test_blocks_are_large_and_in_one_piece_of_memory(server, reader):
    got = Got()
    seen = set()

    def take(block):
        got(block)
        seen.add(id(block.obj))

    reader.read_range(PART, 0, len(BODY), take, total=len(BODY))
    reader.read_range(PART, 0, len(BODY), take, total=len(BODY))
    assert bytes(got.data) == BODY * 2
    assert len(seen) == 1


def test_closing_ends_a_read_under_way(server):
    server.behave(hostile.silent)
    made = HttpReader(server.url)

    def take(block):
        raise AssertionError

    import threading

    failed = []

    def work():
        try:
            made.read_range(PART, START, SIZE, take)
        except StoreUnavailable as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not server.requests:
        time.sleep(0.005)
    begun = time.monotonic()
    made.close()
    thread.join(5)
    assert failed
    # The source itself would have been waited for longer.
    assert time.monotonic() - begun < 5
    with pytest.raises(StoreUnavailable, match="closed"):
        made.get(PART)


def test_unchanged_object_is_not_sent_again(server, reader):
    fresh = reader.revalidate("metadata/timestamp.json", "", cap=100)
    assert fresh == Fresh(b"{}", hostile.ETAG)
    assert reader.revalidate("metadata/timestamp.json", hostile.ETAG, cap=100) == NotModified(hostile.ETAG)
    assert server.requests[-1].field("if-none-match") == hostile.ETAG
    assert server.connections == 1


def test_every_request_asks_for_the_bytes_as_they_are(server, reader):
    read(reader)
    b"".join(reader.get("metadata/timestamp.json"))
    assert [request.field("accept-encoding") for request in server.requests] == ["identity"] * 2
    assert server.requests[0].field("range") == "bytes=70000-219999"
    assert server.requests[1].field("range") == ""
    assert reader.requests == 2
