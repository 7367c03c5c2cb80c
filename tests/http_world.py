"""One object on a web server, and how a reader is asked for a stretch of it."""

from __future__ import annotations

PART = "parts/cd/" + "cd" * 32
BODY = bytes(range(256)) * 400
OBJECTS = {PART: BODY}


def read(reader, start=1000, size=5000):
    got = bytearray()
    reader.read_range(PART, start, size, got.extend, total=len(BODY))
    assert bytes(got) == BODY[start : start + size]
