"""PyTorch's zip (torch.save since 1.6, TorchScript): stored entries ``<name>/data/<key>`` are tensors.

Takes the end of the file, where a zip keeps its directory (APPNOTE.TXT 6.3.10, zip64 too), gives
the spans of its storages. Their element types stand in ``data.pkl``, which is read, not unpickled.

next: ``formats.pickled``
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.formats.finding import TENSORS, Cursor, Damaged, Header
from pipeline.formats.pickled import PICKLE_BYTES, storage_elements
from pipeline.plan.cut import BYTES, Element, Tensor

DIRECTORY_BYTES = 64 << 20
_LOCAL, _CENTRAL, _END, _END64, _LOCATOR64 = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_BYTES, _END64_BYTES, _LOCATOR64_BYTES, _CENTRAL_BYTES, _LOCAL_BYTES = 22, 56, 20, 46, 30
# PyTorch writes two at most; each is read whole, and its entries are sought among all.
PICKLES = 8
# A comment behind the directory's end has a 16-bit length.
_COMMENT_BYTES = 0xFFFF
_U16, _U32, _U64 = 0xFFFF, 0xFFFFFFFF, struct.Struct("<Q")
_ZIP64_EXTRA = 1
_ENCRYPTED = 1
_STORED = 0


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file of the archive that is stored as it is; ``offset`` is that of its local header."""

    offset: int
    size: int


def starts_zip(head: bytes, _size: int) -> bool:
    """Tell whether a file starts with a local file header."""
    return head[:4] == _LOCAL


def find_storages(header: Header) -> list[Tensor] | None:
    """Give the spans of the storages; None when the archive holds no ``data.pkl``: another zip.

    Raises:
        Damaged: the directory is not where or what it must be, or names too many pickles.
    """
    entries = dict(_entries(header))
    pickles = [name for name in entries if name.endswith((b"/data.pkl", b"/constants.pkl")) and name.count(b"/") == 1]
    if not any(name.endswith(b"/data.pkl") for name in pickles):
        return None
    if len(pickles) > PICKLES:
        raise Damaged(f"it holds {len(pickles)} pickles, at most {PICKLES} are read")
    tensors: list[Tensor] = []
    for pickle in pickles:
        folder = pickle.removesuffix(b".pkl") + b"/"
        elements = _elements(header, entries[pickle])
        for name, entry in entries.items():
            if name.startswith(folder) and b"/" not in (key := name[len(folder) :]):
                start = _data_start(header, entry)
                tensors.append(Tensor(start, start + entry.size, elements.get(key, BYTES)))
    return tensors


def _elements(header: Header, pickle: _Entry) -> Mapping[bytes, Element]:
    if pickle.size > PICKLE_BYTES:
        return {}
    return storage_elements(header.bytes(_data_start(header, pickle), pickle.size))


def _data_start(header: Header, entry: _Entry) -> int:
    """Where the bytes of the entry start: its local header has lengths of its own (PyTorch pads there)."""
    local = header.bytes(entry.offset, _LOCAL_BYTES)
    if local[:4] != _LOCAL:
        raise Damaged(f"no local file header at {entry.offset}")
    name, extra = struct.unpack_from("<HH", local, 26)
    start: int = entry.offset + _LOCAL_BYTES + name + extra
    if start + entry.size > header.size:
        raise Damaged(f"the entry at {entry.offset} reaches past the file")
    return start


def _entries(header: Header) -> Iterator[tuple[bytes, _Entry]]:
    """Yield the entries that are stored, not compressed or encrypted, from the central directory."""
    count, length, offset = _directory(header)
    if length > DIRECTORY_BYTES or count > TENSORS:
        raise Damaged(f"its directory claims {count} entries in {length} bytes, at most {TENSORS} in {DIRECTORY_BYTES} are read")
    if offset + length > header.size:
        raise Damaged(f"its directory lies at {offset} to {offset + length} of {header.size} bytes")
    cursor = Cursor(header, offset, offset + length)
    for _ in range(count):
        record = cursor.take(_CENTRAL_BYTES)
        if record[:4] != _CENTRAL:
            raise Damaged(f"no directory entry at {cursor.at - _CENTRAL_BYTES}")
        flags, method = struct.unpack_from("<HH", record, 8)
        stored, plain, name_length, extra_length, comment_length = struct.unpack_from("<IIHHH", record, 20)
        local: int = struct.unpack_from("<I", record, 42)[0]
        name = cursor.take(name_length)
        extra = cursor.take(extra_length)
        cursor.skip(comment_length)
        if method == _STORED and not flags & _ENCRYPTED:
            plain, stored, local = _widened(extra, plain, stored, local)
            if stored != plain:
                raise Damaged(f"the stored entry {name[:80]!r} has {stored} bytes, expected {plain}")
            yield name, _Entry(local, plain)


def _widened(extra: bytes, plain: int, stored: int, local: int) -> tuple[int, int, int]:
    """The three numbers, each taken from the zip64 extra field where the record has no room for it."""
    numbers = [plain, stored, local]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if kind != _ZIP64_EXTRA:
            continue
        for index, number in enumerate(numbers):
            if number == _U32 and len(field) >= _U64.size:
                numbers[index] = _U64.unpack_from(field)[0]
                field = field[_U64.size :]
        break
    return numbers[0], numbers[1], numbers[2]


def _directory(header: Header) -> tuple[int, int, int]:
    """Find (entries, bytes, offset) of the central directory."""
    tail_at = max(0, header.size - _END_BYTES - _COMMENT_BYTES)
    end_at = header.size - _END_BYTES
    # PyTorch writes no comment: the usual end is read alone.
    end = header.bytes(end_at, _END_BYTES) if end_at >= 0 else b""
    if end[:4] != _END:
        tail = header.bytes(tail_at, header.size - tail_at)
        at = tail.rfind(_END)
        if at < 0 or at + _END_BYTES > len(tail):
            raise Damaged("it has no end of central directory")
        end_at, end = tail_at + at, tail[at : at + _END_BYTES]
    count, length, offset = struct.unpack_from("<HII", end, 10)
    if count != _U16 and _U32 not in (length, offset):
        return count, length, offset
    locator_at = end_at - _LOCATOR64_BYTES
    if locator_at < 0:
        return count, length, offset
    locator = header.bytes(locator_at, _LOCATOR64_BYTES)
    if locator[:4] != _LOCATOR64:
        return count, length, offset
    end64 = header.bytes(_U64.unpack_from(locator, 8)[0], _END64_BYTES)
    if end64[:4] != _END64:
        raise Damaged("its zip64 end of central directory is not where its locator says")
    count, length, offset = struct.unpack_from("<QQQ", end64, 32)
    return count, length, offset
