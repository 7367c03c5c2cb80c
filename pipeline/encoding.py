"""How a chunk becomes small, and how it is read back: raw, zstd, planes2, planes4, turned4 (docs/format.md §4).

Takes a chunk's plain bytes and its element type, gives its encoding and stored bytes; takes stored
bytes that may come from anybody, gives plain bytes of exactly the promised size or refuses. The
encoding follows from element type and bytes alone: neither time, nor place, nor thread counts.

Weights are noise but for their exponent and what goes with it. So the bytes of a float are parted into
planes, and the planes that hold anything are entropy-coded without looking for matches, which is as small
as any zstd level makes them and many times faster. Floats of 4 bytes are turned first, so that no bit of
the exponent lies among noise; planes4, the same without the turn, is only read.

next: ``sources``
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import zstandard
from typing_extensions import Buffer

from pipeline import planes
from pipeline.arrays import np, npt
from pipeline.errors import InvalidDocument, SizeMismatch
from pipeline.manifest import CHUNK_BYTES, Encoding
from pipeline.plan.cut import Element

# The number after the slash counts the rules of this module: any change of a stored byte raises it.
ENCODER = "zstd-" + ".".join(str(number) for number in zstandard.ZSTD_VERSION) + "/2"

# RFC 9659: what a browser accepts of Content-Encoding zstd, and so what any reader can afford.
WINDOW_BYTES = 8 << 20
# What does not become at least this much smaller is not worth a decoder: 97 % of its size.
WORTH_PERCENT = 97
# The most that is ever stored of a chunk: all its planes as they are, behind the longest header.
ENCODED_BYTES = CHUNK_BYTES + 16
# A longer chunk is judged by this many pieces of this size, spread evenly; a shorter one as a whole.
SAMPLE_PIECES = 8
PLANE_PIECE_BYTES = 4 << 10
TEXT_PIECE_BYTES = 16 << 10
# Vocabularies and code: 4 to 11 % smaller than at level 3; 12 gains another 1 to 5 % at a third of the speed.
TEXT_LEVEL = 6

_FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
_CHECKSUM_BYTES = 4
_BLOCK_HEADER_BYTES = 3
_RAW_BLOCK, _RLE_BLOCK, _COMPRESSED_BLOCK = 0, 1, 2
_PLANE_RAW = 1 << 31
_HINT = "The source was not written by modelport, or it was altered: try another source."

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A chunk as it is stored. ``stored`` of a raw chunk is the very buffer that was given."""

    encoding: Encoding
    stored: Buffer


def encode_chunk(plain: Buffer, element: Element, room: memoryview | None = None) -> Encoded:
    """Encode one chunk of 1 to 4 MiB bytes. Law: ``decode_chunk`` of it gives ``plain`` again.

    What is stored may lie in ``room``, memory of at least ENCODED_BYTES that is the caller's.

    Raises:
        ValueError: it is empty or over 4 MiB, which is an error of the caller.
    """
    data = np.frombuffer(memoryview(plain), np.uint8)
    if not 0 < data.size <= CHUNK_BYTES:
        raise ValueError(f"a chunk has {data.size} bytes, expected 1 to {CHUNK_BYTES}")
    encoding: Encoding
    stored: Buffer | None
    if element.floating and element.width == 2:
        encoding, stored = "planes2", _encode_planes(data, 2, room, turned=False)
    elif element.floating and element.width == 4:
        encoding, stored = "turned4", _encode_planes(data, 4, room, turned=True)
    else:
        encoding, stored = "zstd", _encode_bytes(data)
    if stored is None or not _worth(memoryview(stored).nbytes, data.size):
        return Encoded("raw", plain)
    return Encoded(encoding, stored)


def decode_chunk(stored: Buffer, encoding: Encoding, plain_size: int) -> bytes:
    """Decode one chunk into fresh memory; ``decode_into`` spares the copy.

    Raises:
        InvalidDocument, SizeMismatch: as ``decode_into``.
    """
    _check_plain(plain_size)
    if encoding == "raw":
        view = memoryview(stored).cast("B")
        _check_size("a raw chunk", len(view), plain_size)
        return bytes(view)
    out = np.empty(plain_size, np.uint8)
    decode_into(stored, encoding, out.data)
    return out.tobytes()


def decode_into(stored: Buffer, encoding: Encoding, out: memoryview) -> None:
    """Decode one chunk so that it fills ``out`` exactly; on failure ``out`` holds rubbish.

    The stored bytes' digest is checked before and the plain bytes' afterwards, by the caller.
    Memory beyond ``out`` is scratch of 4.5 MiB a thread and a decoder, whatever the stored bytes claim.

    Raises:
        InvalidDocument: not exactly one well-formed frame with size and checksum and without
            dictionary, a window over 8 MiB, ``out`` not of 1 to 4 MiB, bytes left over or missing, a failed checksum, or an
            encoding this version does not know.
        SizeMismatch: it would decode to another size than ``out`` has.
    """
    source = memoryview(stored).cast("B")
    target = out.cast("B")
    _check_plain(len(target))
    if encoding == "raw":
        _check_size("a raw chunk", len(source), len(target))
        np.copyto(np.frombuffer(target, np.uint8), np.frombuffer(source, np.uint8))
    elif encoding == "zstd":
        _read_frame(source, target)
    elif encoding == "planes2":
        _decode_planes(source, target, 2, turned=False)
    elif encoding in {"planes4", "turned4"}:
        _decode_planes(source, target, 4, turned=encoding == "turned4")
    else:
        raise InvalidDocument(f"a chunk has the unknown encoding {encoding!r}", hint="This release needs a newer modelport.")


class _Workshop(threading.local):
    """One thread's zstd contexts and scratch memory: contexts must not be shared, scratch stays warm."""

    def __init__(self) -> None:
        # Huffman only: the tiny hash table and long minimum match find nothing in weights but runs.
        # targetLength 1 would switch literal coding off (zstd manual, ZSTD_c_targetLength).
        entropy = zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST,
            hash_log=6,
            min_match=7,
            target_length=0,
            window_log=17,
            write_content_size=True,
            write_checksum=True,
        )
        text = zstandard.ZstdCompressionParameters.from_level(
            TEXT_LEVEL, source_size=CHUNK_BYTES, write_content_size=True, write_checksum=True
        )
        self.entropy = zstandard.ZstdCompressor(compression_params=entropy)
        self.text = zstandard.ZstdCompressor(compression_params=text)
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
        self.planes: Bytes = np.empty(CHUNK_BYTES, np.uint8)
        self.words: Bytes = np.empty(planes.SCRATCH_BYTES, np.uint8)


_workshop = _Workshop()


def _encode_bytes(data: Bytes) -> bytes | None:
    """One frame, by matches and entropy or by entropy alone, as a sample tells; None: not worth it."""
    sample = _sample(data, TEXT_PIECE_BYTES)
    by_entropy = len(_workshop.entropy.compress(sample.data))
    by_matches = len(_workshop.text.compress(sample.data))
    if not _worth(min(by_entropy, by_matches), sample.size):
        return None
    compressor = _workshop.text if _worth(by_matches, by_entropy) else _workshop.entropy
    return compressor.compress(data.data)


def _encode_planes(data: Bytes, width: int, room: memoryview | None, *, turned: bool) -> memoryview | None:
    """Header, planes, remainder; None when no plane is worth a frame."""
    count = data.size // width
    words = data[: count * width]
    wanted = _worth_frames(words.reshape(count, width), turned=turned)
    if not any(wanted):
        return None
    at = 4 * width
    out = np.empty(at + data.size, np.uint8) if room is None else np.frombuffer(room, np.uint8, at + data.size)
    lengths = out[:at].view("<u4")
    # Raw planes before the first frame, the low bytes of every weight, are parted into their final place.
    leading = wanted.index(True)
    rows = [out[at + index * count :][:count] for index in range(leading)]
    rows += list(_workshop.planes[: (width - leading) * count].reshape(width - leading, count))
    planes.split(words, rows, _workshop.words, turned=turned)
    for index, (row, worth) in enumerate(zip(rows, wanted, strict=True)):
        frame = _workshop.entropy.compress(row.data) if worth else b""
        framed = bool(frame) and _worth(len(frame), count)
        lengths[index] = len(frame) if framed else count | _PLANE_RAW
        end = at + (len(frame) if framed else count)
        if framed or index >= leading:
            out[at:end] = np.frombuffer(frame, np.uint8) if framed else row
        at = end
    if np.all(lengths & _PLANE_RAW):
        return None
    rest = data[words.size :]
    out[at : at + rest.size] = rest
    return out[: at + rest.size].data


def _worth_frames(words: Bytes, *, turned: bool) -> list[bool]:
    """Which planes of ``words``, one to a row, are worth a frame."""
    count, width = words.shape
    if not count:
        return [False] * width
    sample = np.ascontiguousarray(_sample(words, PLANE_PIECE_BYTES))
    rows = list(_workshop.planes[: sample.size].reshape(width, len(sample)))
    planes.split(sample.reshape(-1), rows, _workshop.words, turned=turned)
    return [_worth(len(_workshop.entropy.compress(row.data)), row.size) for row in rows]


def _sample(data: Bytes, piece: int) -> Bytes:
    """The pieces that decide for ``data``; all of it when it is not twice as long as they are."""
    if len(data) < 2 * SAMPLE_PIECES * piece:
        return data
    last = len(data) - piece
    starts = [last * index // (SAMPLE_PIECES - 1) for index in range(SAMPLE_PIECES)]
    return np.concatenate([data[start : start + piece] for start in starts])


def _worth(size: int, before: int) -> bool:
    return size * 100 <= before * WORTH_PERCENT


def _decode_planes(source: memoryview, out: memoryview, width: int, *, turned: bool) -> None:
    head = 4 * width
    if len(source) < head:
        raise _broken(f"{len(source)} bytes are too few for {width} planes")
    count = len(out) // width
    lengths = [int.from_bytes(source[at : at + 4], "little") for at in range(0, head, 4)]
    rest = len(out) - count * width
    stored = head + sum(length & ~_PLANE_RAW for length in lengths) + rest
    if stored != len(source):
        raise _broken(f"its planes account for {stored} bytes, found {len(source)}")
    at = head
    found: list[Bytes] = []
    for index, length in enumerate(lengths):
        size = length & ~_PLANE_RAW
        piece = source[at : at + size]
        at += size
        if length & _PLANE_RAW:
            _check_size(f"raw plane {index}", size, count)
            found.append(np.frombuffer(piece, np.uint8) if count else _workshop.planes[:0])
        else:
            plane = _workshop.planes[index * count : (index + 1) * count]
            _read_frame(piece, plane.data)
            found.append(plane)
    target = np.frombuffer(out, np.uint8)
    planes.merge(found, target[: count * width], _workshop.words, turned=turned)
    target[count * width :] = np.frombuffer(source[at:], np.uint8) if rest else 0


def _read_frame(frame: memoryview, out: memoryview) -> None:
    """Decode ``frame``, which must be exactly one zstd frame (RFC 8878) of ``len(out)`` bytes."""
    if frame[:4] != _FRAME_MAGIC:
        raise _broken("it does not start with a zstd frame")
    try:
        parameters = zstandard.get_frame_parameters(frame)
        header = zstandard.frame_header_size(frame)
    except zstandard.ZstdError as error:
        raise _broken(f"its zstd header cannot be read ({error})") from error
    if parameters.content_size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
        raise _broken("its zstd frame does not tell its size")
    _check_size("a zstd frame", parameters.content_size, len(out))
    if not parameters.has_checksum:
        raise _broken("its zstd frame has no checksum")
    if parameters.dict_id:
        raise _broken(f"its zstd frame asks for dictionary {parameters.dict_id}")
    if parameters.window_size > WINDOW_BYTES:
        raise _broken(f"its zstd window has {parameters.window_size} bytes, at most {WINDOW_BYTES} are allowed")
    end = _frame_end(frame, header)
    if end != len(frame):
        raise _broken(f"its zstd frame ends after {end} bytes, found {len(frame)}")
    # An empty plane still needs room: a reader that is given none does not look at the checksum.
    target = out if len(out) else memoryview(bytearray(1))
    # Never ZstdDecompressor.decompress: it allocates what the frame claims.
    with _workshop.decompressor.stream_reader(frame, read_across_frames=False) as reader:
        try:
            got = reader.readinto(target)
            more = reader.read(1)
        except zstandard.ZstdError as error:
            raise _broken(f"its zstd frame is damaged ({error})") from error
    if more:
        raise SizeMismatch(f"a zstd frame decodes to more than {len(out)} bytes", hint=_HINT)
    _check_size("a zstd frame", got, len(out))


def _frame_end(frame: memoryview, at: int) -> int:
    """Where the frame ends, from its block headers alone (RFC 8878 §3.1.1.2).

    A decoder stops silently at the end of a frame, and where one is cut off; so count ourselves.
    """
    while at + _BLOCK_HEADER_BYTES <= len(frame):
        head = int.from_bytes(frame[at : at + _BLOCK_HEADER_BYTES], "little")
        last, kind, size = head & 1, head >> 1 & 3, head >> 3
        if kind not in (_RAW_BLOCK, _RLE_BLOCK, _COMPRESSED_BLOCK):
            raise _broken("its zstd frame has a block of an unknown type")
        at += _BLOCK_HEADER_BYTES + (1 if kind == _RLE_BLOCK else size)
        if last:
            return at + _CHECKSUM_BYTES
    raise _broken("its zstd frame is cut off")


def _check_plain(size: int) -> None:
    if not 0 < size <= CHUNK_BYTES:
        raise InvalidDocument(f"a chunk claims {size} plain bytes, expected 1 to {CHUNK_BYTES}", hint=_HINT)


def _check_size(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise SizeMismatch(f"{what} has {found} bytes, expected {expected}", hint=_HINT)


def _broken(rule: str) -> InvalidDocument:
    return InvalidDocument(f"a stored chunk breaks its encoding: {rule}", hint=_HINT)
