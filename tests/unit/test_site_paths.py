"""Paths, ranges, conditions and tokens: what a request says, before anything is looked up."""

import base64

import pytest

from bundles.site.guard import Guard, read_guard
from bundles.site.ranges import UNSATISFIABLE, Span, read_range
from bundles.site.replies import Content, reply_to
from bundles.site.targets import join_target, quote, split_target
from pipeline.errors import UsageError

CONTENT = Content(1000, "ab" * 32, "text/plain", "no-cache")
TAG = f'"{CONTENT.etag}"'


@pytest.mark.parametrize(
    "raw, names",
    [
        (b"/", ("",)),
        (b"/models/bert-v1.0.0/a%20b", ("models", "bert-v1.0.0", "a b")),
        (b"/web/app/", ("web", "app", "")),
        (b"/n%C3%A4me", ("näme",)),
        (b"/a%2Fb/c", ("a/b", "c")),
        (b"/a%252e%252e", ("a%2e%2e",)),
        (b"/...", ("...",)),
    ],
)
def test_path_is_decoded_once(raw, names):
    assert split_target(raw) == names


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"models", b"*", b"http://x/y", b"//", b"/a//b", b"//etc/passwd", b"/./a", b"/a/.", b"/..", b"/../x", b"/a/../b",
        b"/%2e%2e/x", b"/%2E./x", b"/.%2e", b"/a%2F..%2Fb", b"/..%2f..", b"/%2e", b"/a\\b", b"/a%5Cb", b"/a%00", b"/a%0d%0aX:1",
        b"/a\x7f", b"/%", b"/%2", b"/%zz", b"/%u002e", b"/%C0%AE%C0%AE/x", b"/%FF", b"/\xff", b"/%ED%A0%80", b"/" + b"a" * 9000,
    ],
)  # fmt: skip
def test_path_that_could_mean_another_place_is_none(raw):
    assert split_target(raw) is None


@pytest.mark.parametrize("names", [("a b", "ä/ö", "%2e"), ("x", ""), ('<&">',)])
def test_path_comes_back(names):
    assert split_target(join_target(names).encode()) == names


def test_quoted_name_holds_nothing_that_html_or_urls_know():
    assert quote("<a href='x'>\"&?#%/") == "%3Ca%20href%3D%27x%27%3E%22%26%3F%23%25%2F"


@pytest.mark.parametrize(
    "header, spans",
    [
        ("bytes=0-0", (Span(0, 1),)),
        ("bytes=0-", (Span(0, 1000),)),
        ("bytes=-1", (Span(999, 1000),)),
        ("bytes=-5000", (Span(0, 1000),)),
        ("bytes=990-99999999999999999", (Span(990, 1000),)),
        ("BYTES = 1-2", (Span(1, 3),)),
        ("bytes=500-599, 0-9", (Span(500, 600), Span(0, 10))),
        ("bytes=0-9,5-20", (Span(0, 21),)),
        ("bytes=0-9,10-19,,", (Span(0, 20),)),
        ("bytes=" + ",".join(["0-999"] * 100), (Span(0, 1000),)),
        ("bytes=0-1,5000-", (Span(0, 2),)),
    ],
)
def test_ranges_that_are_there(header, spans):
    assert read_range(header, 1000) == spans


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=5000-6000", "bytes=-0", "bytes=1000-,2000-"])
def test_ranges_that_are_not_there(header):
    assert read_range(header, 1000) is UNSATISFIABLE


@pytest.mark.parametrize(
    "header",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-1", "items=0-1", "bytes=0-1;2-3", "bytes=--1", "bytes=1--2",
        "bytes=+1-2", "bytes=0x1-2", "bytes=١-٢", "bytes=0-1,x", "bytes=" + ",".join(["0-0"] * 101), "bytes=" + "9" * 30 + "-",
    ],
)  # fmt: skip
def test_ranges_that_cannot_be_read_are_ignored(header):
    assert read_range(header, 1000) is None


@pytest.mark.parametrize(
    "asked, status",
    [
        ({}, 200),
        ({"if-none-match": TAG}, 304),
        ({"if-none-match": f'"x", W/{TAG}'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": CONTENT.etag}, 200),
        ({"if-none-match": TAG, "range": "bytes=0-1"}, 304),
        ({"if-match": TAG}, 200),
        ({"if-match": f"W/{TAG}"}, 412),
        ({"if-match": '"x"'}, 412),
        ({"if-modified-since": "Sun, 22 Nov 2026 10:00:00 GMT"}, 200),
        ({"range": "bytes=0-1"}, 206),
        ({"range": "bytes=0-1", "if-range": TAG}, 206),
        ({"range": "bytes=0-1", "if-range": f"W/{TAG}"}, 200),
        ({"range": "bytes=0-1", "if-range": '"x"'}, 200),
        ({"range": "bytes=0-1", "if-range": "Sun, 22 Nov 2026 10:00:00 GMT"}, 200),
        ({"range": "bytes=9999-"}, 416),
        ({"range": "nonsense"}, 200),
    ],
)
def test_conditions(asked, status):
    reply = reply_to("GET", asked, CONTENT)
    assert reply.status == status
    assert dict(reply.headers)["ETag"] == TAG
    head = reply_to("HEAD", asked, CONTENT)
    assert head.pieces == ()
    # A range is defined for GET alone.
    assert head.status == (200 if status in {206, 416} else status)


def test_unsatisfiable_names_the_size():
    assert dict(reply_to("GET", {"range": "bytes=1000-"}, CONTENT).headers)["Content-Range"] == "bytes */1000"


def test_empty_content_has_no_pieces_and_no_range():
    empty = Content(0, "cd" * 32, "text/plain", "no-cache")
    assert reply_to("GET", {}, empty).pieces == ()
    assert reply_to("GET", {"range": "bytes=0-"}, empty).status == 416


def test_several_ranges_have_a_length_that_is_kept():
    reply = reply_to("GET", {"range": "bytes=0-9,500-509"}, CONTENT)
    size = sum(piece.size if isinstance(piece, Span) else len(piece) for piece in reply.pieces)
    assert dict(reply.headers)["Content-Length"] == str(size)
    assert dict(reply.headers)["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert [piece for piece in reply.pieces if isinstance(piece, Span)] == [Span(0, 10), Span(500, 510)]


# --- tokens ---------------------------------------------------------------------------------------

TOKEN = "0123456789abcdef-token"


@pytest.mark.parametrize(
    "header, opens",
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        ("Basic " + base64.b64encode(f"any:{TOKEN}".encode()).decode(), True),
        ("Basic " + base64.b64encode(TOKEN.encode()).decode(), False),
        (f"Bearer {TOKEN}x", False),
        ("Bearer ", False),
        ("", False),
        (TOKEN, False),
        ("Basic ####", False),
        (f"Digest {TOKEN}", False),
        ("Bearer \xff", False),
    ],
)
def test_token_opens_the_site(header, opens):
    assert Guard(("another-token-of-16", TOKEN)).admits(header) is opens


def test_site_without_tokens_is_open():
    assert Guard().admits("")


def test_token_file_is_read(tmp_path):
    file = tmp_path / "tokens"
    file.write_text(f"# for the lab\n\n{TOKEN}\n")
    file.chmod(0o600)
    assert read_guard(file).admits(f"Bearer {TOKEN}")
    assert not read_guard(file).admits("Bearer # for the lab")


@pytest.mark.parametrize(
    "text, mode, why",
    [
        ("", 0o600, "no token"),
        ("short\n", 0o600, "fewer than 16"),
        (TOKEN, 0o640, "others may read"),
        ("ä" * 20, 0o600, "cannot be read"),
    ],
)
def test_token_file_that_protects_nothing_is_refused(tmp_path, text, mode, why):
    file = tmp_path / "tokens"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(UsageError, match=why):
        read_guard(file)


def test_missing_token_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_guard(tmp_path / "none")
