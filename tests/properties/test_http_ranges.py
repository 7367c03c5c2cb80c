"""Whatever an answer claims: if it is made from the true object and accepted, it gives exactly the bytes that were asked for."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceLied
from pipeline.sources.answers import Head
from pipeline.sources.ranges import Asked, judge

OBJECT = bytes(range(200))
NUMBER = st.integers(0, 210)


@st.composite
def answers(draw):
    """An answer whose body is what its Content-Range says, or the whole object; fields may be left out or wrong."""
    first, last = draw(NUMBER), draw(NUMBER)
    spans = draw(st.booleans())
    body = OBJECT[first : last + 1] if spans else OBJECT
    total = draw(st.sampled_from([str(len(OBJECT)), "*", "199", "201"]))
    fields = [("content-range", f"bytes {first}-{last}/{total}")] if spans else []
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    if framing == "length":
        fields.append(("content-length", str(len(body))))
    elif framing == "chunked":
        fields.append(("transfer-encoding", "chunked"))
    return Head(draw(st.sampled_from([200, 206])), tuple(fields)), body


@given(answers(), NUMBER, st.integers(1, 210), st.booleans())
def test_accepted_answer_gives_the_bytes_that_were_asked_for(answer, start, size, known):
    head, body = answer
    asked = Asked(start, size, len(OBJECT) if known else None, ranged=True)
    try:
        accepted = judge(head, asked, "here")
    except SourceLied:
        return
    given_bytes = body[accepted.skip : accepted.skip + accepted.size]
    assert OBJECT[start : start + size].startswith(given_bytes)
    # Fewer bytes are seen by counting; more never come.
    assert accepted.size <= size
    if head.status == 200 and known and start + size <= len(OBJECT):
        assert given_bytes == OBJECT[start : start + size]
