"""Laws of ranges: whatever is asked, the bytes sent are bytes of the content, at the places that are named."""

import email
import re

from hypothesis import given
from hypothesis import strategies as st

from bundles.site.ranges import Span, read_range
from bundles.site.replies import Content, reply_to
from bundles.site.targets import join_target, split_target

DATA = bytes(index % 251 for index in range(3000))
CONTENT = Content(len(DATA), "ab" * 32, "application/octet-stream", "no-cache")

numbers = st.integers(0, 4000)
specs = st.one_of(
    st.tuples(numbers, numbers).map(lambda pair: f"{min(pair)}-{max(pair)}"), numbers.map("{}-".format), numbers.map("-{}".format)
)


def body_of(reply):
    return b"".join(DATA[piece.start : piece.end] if isinstance(piece, Span) else piece for piece in reply.pieces)


@given(st.lists(specs, min_size=1, max_size=8))
def test_answer_holds_every_byte_that_was_asked_for_once(asked):
    reply = reply_to("GET", {"range": f"bytes={','.join(asked)}"}, CONTENT)
    headers = dict(reply.headers)
    body = body_of(reply)
    assert int(headers["Content-Length"]) == len(body)
    wanted = {
        at
        for spec in asked
        for span in (read_range(f"bytes={spec}", len(DATA)),)
        if isinstance(span, tuple)
        for at in range(*span[0])
    }
    if reply.status == 416:
        assert not wanted
        return
    assert reply.status == 206
    pieces = []
    if headers["Content-Type"].startswith("multipart"):
        message = email.message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode("ascii") + body)
        pieces = [(part["Content-Range"], part.get_payload(decode=True)) for part in message.get_payload()]
    else:
        pieces = [(headers["Content-Range"], body)]
    sent = []
    for text, data in pieces:
        start, end, size = map(int, re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text).groups())
        assert size == len(DATA)
        assert data == DATA[start : end + 1]
        sent += range(start, end + 1)
    assert len(sent) == len(set(sent))
    assert wanted <= set(sent)


@given(st.text(max_size=60))
def test_any_header_is_answered(text):
    reply = reply_to("GET", {"range": text, "if-none-match": text, "if-range": text}, CONTENT)
    assert reply.status in {200, 206, 304, 416}
    assert reply.status == 304 or int(dict(reply.headers)["Content-Length"]) == len(body_of(reply))


@given(st.binary(max_size=80))
def test_any_path_is_decoded_to_plain_names_or_to_none(raw):
    names = split_target(b"/" + raw)
    if names is not None:
        assert all(inner not in {".", ".."} for name in names for inner in name.split("/"))
        assert "" not in names[:-1]
        assert not re.search(r"[\x00-\x1f\x7f\\]", "".join(names))
        assert split_target(join_target(names).encode()) == names
