"""Folders made of bytes, cut and indexed as a publish does it, and put together again from parts."""

import random
import struct
from pathlib import Path

import blake3
import msgspec

from pipeline.digest import blake3_of, sha256_of
from pipeline.encoding import ENCODER, decode_chunk
from pipeline.events import ignore
from pipeline.manifest import Base, Part
from pipeline.plan.inputs import Inputs
from pipeline.release import Release
from pipeline.sources.folder import scan_folder
from pipeline.steps.cut import BaseRelease, cut_release
from pipeline.steps.index import index_release

MIB = 1 << 20


def noise(size, seed):
    """Bytes that nothing makes smaller; the same for the same seed."""
    return random.Random(seed).randbytes(size)  # not for secrets


def safetensors(tensors, pad=0):
    """A safetensors file of (name, type, bytes); ``pad`` spaces make its header longer."""
    header, at = {}, 0
    for name, kind, data in tensors:
        width = {"F32": 4, "BF16": 2, "F16": 2, "I8": 1, "U8": 1}[kind]
        header[name] = {"dtype": kind, "shape": [len(data) // width], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = msgspec.json.encode(header) + b" " * pad
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors)


def lay_files(place, files):
    """Write ``files`` (path → bytes) below ``place``."""
    for path, data in files.items():
        target = Path(place) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return Path(place)


def inputs(*, part_size=64 * MIB, profile="default", encoding="auto", bases=()):
    return Inputs(
        bases=tuple(base.name for base in bases), part_size=part_size, profile=profile, encoding=encoding, encoder=ENCODER
    )


def cut_folder(place, name="bert-v1.0.0", *, bases=(), listen=ignore, kind="model", **options):
    folder = scan_folder(Path(place), kind=kind)
    return cut_release(Release.parse(name), kind, folder, inputs(bases=bases, **options), bases, listen=listen)


def name_part(body):
    """The part that these bytes are, hashed in one go."""
    return Part(blake3=blake3_of(body), sha256=sha256_of(body), size=len(body))


class Shelf:
    """Where parts go: a ``ship`` that keeps what it is given, and tells when the same comes twice."""

    def __init__(self):
        self.bodies = {}
        self.shipped = []

    def __call__(self, part, body):
        assert part == name_part(body)
        self.bodies[part.blake3] = bytes(body)
        self.shipped.append(part)

    @property
    def shipped_bytes(self):
        return sum(part.size for part in self.shipped)


def index_folder(place, name="bert-v1.0.0", *, shelf=None, listen=ignore, **options):
    """Index ``place`` onto ``shelf``; the result, and the shelf."""
    shelf = Shelf() if shelf is None else shelf
    return index_release(cut_folder(place, name, listen=listen, **options), shelf, listen, step="upload"), shelf


def as_base(indexed):
    return BaseRelease(Base(release=str(indexed.manifest.release), manifest_sha256=indexed.sha256), indexed.manifest)


def rebuild(manifest, bodies):
    """The files of ``manifest`` (path → bytes), every byte range verified as a reader must."""
    files = {}
    for file in manifest.files:
        plain = bytearray()
        for chunk in file.chunks:
            part = manifest.parts[chunk.part]
            body = bodies[part.blake3]
            assert (len(body), blake3_of(body), sha256_of(body)) == (part.size, part.blake3, part.sha256)
            stored = body[chunk.offset : chunk.offset + chunk.stored]
            assert blake3.blake3(stored).hexdigest() == (chunk.stored_blake3 or chunk.blake3)
            piece = decode_chunk(stored, chunk.encoding, chunk.plain)
            assert blake3_of(piece) == chunk.blake3
            plain += piece
        assert sha256_of(plain) == file.sha256
        files[file.path] = bytes(plain)
    return files


def folder_bytes(place):
    """The folder's own files (path → bytes)."""
    return {file.path: file.place.read_bytes() for file in scan_folder(Path(place)).files}
