"""Range answers: what is accepted, and what is refused with which words."""

import pytest

from pipeline.errors import SourceLied
from pipeline.sources.answers import Head, telling_etag
from pipeline.sources.ranges import SKIP_BYTES, Accepted, Asked, judge, range_field

# 100 bytes from 50 of an object of 1000.
RANGE = Asked(50, 100, 1000, ranged=True)
UNKNOWN = Asked(50, 100, ranged=True)
ALL = Asked(0, 1000, 1000)
REST = Asked(50, None, exact=False, ranged=True)
MOST = Asked(950, 100, exact=False, ranged=True)
OPEN = Asked()


def head(status, *fields):
    return Head(status, tuple((name.lower(), str(value)) for name, value in fields))


def length(size):
    return ("Content-Length", size)


def span(text):
    return ("Content-Range", f"bytes {text}")


CHUNKED = ("Transfer-Encoding", "chunked")

ACCEPTED = [
    # 206 as it should be, with every way to say where the body ends
    (206, [length(100), span("50-149/1000")], RANGE, Accepted(0, 100, True, True)),
    (206, [CHUNKED, span("50-149/1000")], RANGE, Accepted(0, 100, True, True)),
    (206, [span("50-149/1000")], RANGE, Accepted(0, 100, True, True)),
    (206, [length(100), span("50-149/*")], RANGE, Accepted(0, 100, True, True)),
    (206, [length(100), span("50-149/5000")], UNKNOWN, Accepted(0, 100, True, True)),
    # fewer bytes than asked for, honestly declared: the rest is asked for again
    (206, [length(40), span("50-89/1000")], RANGE, Accepted(0, 40, True, True)),
    # 200 with a Content-Range that agrees in everything
    (200, [length(100), span("50-149/1000")], RANGE, Accepted(0, 100, True, True)),
    (200, [length(950), span("50-999/1000")], REST, Accepted(0, 950, True, True)),
    (200, [length(50), span("950-999/1000")], MOST, Accepted(0, 50, True, True)),
    # 200 with the whole object
    (200, [length(1000)], RANGE, Accepted(50, 100, False, False)),
    (200, [length(150)], UNKNOWN, Accepted(50, 100, False, False)),
    (200, [CHUNKED], RANGE, Accepted(50, 100, False, False)),
    (200, [], RANGE, Accepted(50, 100, False, False)),
    (200, [CHUNKED], Asked(900, 100, 1000, ranged=True), Accepted(900, 100, True, False)),
    (200, [length(1000)], REST, Accepted(50, 950, False, False)),
    (200, [length(1000)], MOST, Accepted(950, 50, False, False)),
    (200, [length(20)], MOST, Accepted(950, 0, False, False)),
    # the whole object, asked for
    (200, [length(1000)], ALL, Accepted(0, 1000, True, True)),
    (200, [CHUNKED], ALL, Accepted(0, 1000, True, True)),
    (200, [length(1000), span("0-999/1000")], ALL, Accepted(0, 1000, True, True)),
    (206, [length(1000), span("0-999/1000")], ALL, Accepted(0, 1000, True, True)),
    (200, [length(7)], OPEN, Accepted(0, 7, False, True)),
    (200, [CHUNKED], OPEN, Accepted(0, None, True, True)),
    (200, [length(1000), ("Content-Encoding", "identity")], ALL, Accepted(0, 1000, True, True)),
    (200, [length(1000), ("Content-Type", "application/octet-stream")], ALL, Accepted(0, 1000, True, True)),
]


@pytest.mark.parametrize("status, fields, asked, accepted", ACCEPTED)
def test_answer_is_accepted(status, fields, asked, accepted):
    assert judge(head(status, *fields), asked, "here") == accepted


REFUSED = [
    # another range
    (206, [length(100), span("40-139/1000")], RANGE, "206 with Content-Range 'bytes 40-139/1000' came, expected bytes 50-149/1000"),
    (206, [length(90), span("60-149/1000")], RANGE, "expected bytes 50-149/1000"),
    (206, [length(101), span("50-150/1000")], RANGE, "expected bytes 50-149/1000"),
    (206, [length(1000), span("0-999/1000")], RANGE, "expected bytes 50-149/1000"),
    (200, [length(100), span("0-99/1000")], RANGE, "200 with Content-Range"),
    (200, [length(40), span("50-89/1000")], RANGE, "200 with Content-Range"),
    (200, [length(100), span("50-149/*")], RANGE, "200 with Content-Range"),
    (200, [length(10), span("50-59/1000")], REST, "200 with Content-Range"),
    # less than there is, though nobody asks for the rest
    (206, [length(10), span("50-59/1000")], REST, "206 with Content-Range"),
    (206, [length(10), span("950-959/1000")], MOST, "206 with Content-Range"),
    # part of it, though all was asked for
    (206, [length(10), span("0-9/1000")], ALL, "expected the whole object"),
    (200, [length(10), span("0-9/1000")], ALL, "expected the whole object"),
    # another object
    (206, [length(100), span("50-149/1001")], RANGE, "an object of 1001 bytes came, expected 1000"),
    (206, [length(100), span("50-149/999")], RANGE, "an object of 999 bytes"),
    (206, [length(50), span("50-99/100")], UNKNOWN, "an object of 100 bytes came, expected at least 150"),
    (200, [length(1001)], RANGE, "an object of 1001 bytes"),
    (200, [length(999)], ALL, "an object of 999 bytes"),
    (200, [length(149)], UNKNOWN, "at least 150"),
    (200, [length(0)], RANGE, "an object of 0 bytes"),
    # no range at all
    (206, [length(100)], RANGE, "206 without Content-Range"),
    (206, [length(100)], ALL, "206 without Content-Range"),
    (206, [length(100), span("*/1000")], RANGE, r"'bytes \*/1000'"),
    (206, [length(100), span("149-50/1000")], RANGE, "impossible"),
    (206, [length(100), span("50-149/100")], RANGE, "impossible"),
    (206, [length(100), ("Content-Range", "items 50-149/1000")], RANGE, "items"),
    (206, [length(100), span("50-149/1000 ; x")], RANGE, "expected bytes"),
    (206, [length(100), span("٥٠-149/1000")], RANGE, "expected bytes"),
    (206, [length(100), span("50-149/1000"), span("50-149/1000")], RANGE, "2 Content-Range fields"),
    (206, [length(400), ("Content-Type", "multipart/byteranges; boundary=x")], RANGE, "several ranges"),
    # lengths that contradict
    (206, [length(99), span("50-149/1000")], RANGE, "99 bytes for Content-Range .* expected 100 bytes"),
    (206, [length(101), span("50-149/1000")], RANGE, "101 bytes"),
    (206, [length(100), length(100), span("50-149/1000")], RANGE, "2 Content-Length fields"),
    (206, [length(100), CHUNKED, span("50-149/1000")], RANGE, "Transfer-Encoding"),
    (206, [CHUNKED, CHUNKED, span("50-149/1000")], RANGE, "Transfer-Encoding"),
    (206, [("Transfer-Encoding", "gzip, chunked"), span("50-149/1000")], RANGE, "Transfer-Encoding"),
    (206, [length("1e2"), span("50-149/1000")], RANGE, "is not a number"),
    (206, [length("-1"), span("50-149/1000")], RANGE, "is not a number"),
    (206, [length("100, 100"), span("50-149/1000")], RANGE, "is not a number"),
    # bytes that are not the object's own
    (206, [length(100), span("50-149/1000"), ("Content-Encoding", "gzip")], RANGE, "encoded as 'gzip'"),
    (200, [length(1000), ("Content-Encoding", "zstd")], ALL, "encoded as 'zstd'"),
    (200, [length(1000), ("Content-Type", "Text/HTML")], ALL, "a web page came"),
]  # fmt: skip


@pytest.mark.parametrize("status, fields, asked, words", REFUSED)
def test_answer_is_refused(status, fields, asked, words):
    with pytest.raises(SourceLied, match=words) as refused:
        judge(head(status, *fields), asked, "here")
    assert str(refused.value).startswith("here: ")
    assert refused.value.hint


def test_web_page_that_was_asked_for_is_no_login_page():
    page = head(200, length(1000), ("Content-Type", "text/html"))
    assert judge(page, Asked(0, 1000, 1000, html=True), "here").size == 1000


def test_no_more_than_a_part_is_skipped():
    asked = Asked(SKIP_BYTES + 1, 10, ranged=True)
    with pytest.raises(SourceLied, match="the whole object instead of a range"):
        judge(head(200, length(SKIP_BYTES * 2)), asked, "here")


def test_range_field_names_the_last_byte():
    assert range_field(50, 100) == "bytes=50-149"
    assert range_field(50, None) == "bytes=50-"


@pytest.mark.parametrize(
    "written, found",
    [
        # In the second of the answer it may be written once more, with the same size.
        ("Sun, 22 Nov 2026 10:00:10 GMT", ""),
        ("Sun, 22 Nov 2026 10:00:09 GMT", ""),
        ("Sun, 22 Nov 2026 10:00:11 GMT", ""),
        ("Sun, 22 Nov 2026 10:00:08 GMT", '"6a5f-1e0"'),
        ("", '"6a5f-1e0"'),
        ("yesterday", '"6a5f-1e0"'),
    ],
)
def test_etag_of_what_was_written_just_now_tells_nothing(written, found):
    fields = {"date": "Sun, 22 Nov 2026 10:00:10 GMT", "etag": '"6a5f-1e0"', "last-modified": written}
    assert telling_etag(Head(200, tuple(fields.items()))) == found
