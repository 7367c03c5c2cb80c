"""Hostile parity: PAR2 files that say they are of another file, as anybody can write them (PAR 2.0: packets with MD5 alone)."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from pathlib import Path

from bundles.parity import find_program

MAGIC = b"PAR2\0PKT"
MAIN = b"PAR 2.0\0Main\0\0\0\0"
FILE = b"PAR 2.0\0FileDesc"
SLICES = b"PAR 2.0\0IFSC\0\0\0\0"


def forge_parity(volume: Path, named: str, payload: bytes, work: Path) -> None:
    """Put parity beside ``volume`` that makes ``payload`` whole under the path ``named``."""
    work.mkdir()
    (work / "payload").write_bytes(payload)
    words = [find_program(), "create", "-q", "-q", "-b20", "-r100", "-n1", "--", "x.par2", "payload"]
    subprocess.run(words, cwd=work, check=True, capture_output=True)
    forged = b"".join(renamed(path.read_bytes(), named.encode()) for path in sorted(work.glob("*.par2")))
    volume.with_name(f"{volume.name}.par2").write_bytes(forged)


def renamed(data: bytes, name: bytes) -> bytes:
    """The same packets, of a file with another name: every digest is made anew."""
    packets = []
    while data:
        assert data.startswith(MAGIC)
        (size,) = struct.unpack("<Q", data[8:16])
        packets.append((data[48:64], data[64:size]))
        data = data[size:]
    file = next(body for kind, body in packets if kind == FILE)
    file_id = hashlib.md5(file[32:56] + name, usedforsecurity=False).digest()
    main = next(body[:12] for kind, body in packets if kind == MAIN) + file_id
    bodies = {MAIN: lambda _: main, FILE: lambda body: file_id + body[16:56] + name + bytes(-len(name) % 4)}
    bodies[SLICES] = lambda body: file_id + body[16:]
    set_id = hashlib.md5(main, usedforsecurity=False).digest()
    out = b""
    for kind, body in packets:
        rest = set_id + kind + bodies.get(kind, bytes)(body)
        out += MAGIC + struct.pack("<Q", 32 + len(rest)) + hashlib.md5(rest, usedforsecurity=False).digest() + rest
    return out
