"""Hashed names: every file but the pages is called after its final bytes, and what refers to it says so.

Takes files, their links and what keeps its name; gives ``Served`` files. A name goes in as ``.<hash>`` before the dot
of the ending, where the reference stands; no other byte of a file changes. docs/web-format.md §5 has the rules. Pure.

next: ``sw.manifest``
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.digest import Sha256, sha256_of
from sw.graph import groups_in_order
from sw.links import Link
from sw.urls import place_of_hash

HASH_DIGITS = 16
# W3C Subresource Integrity §3.2: what an integrity attribute may hold.
_DIGEST = re.compile(r"(sha256|sha384|sha512)-[A-Za-z0-9+/_=-]+")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file as it is before naming: its digest, and its bytes if it may refer to others."""

    path: str
    size: int
    sha256: Sha256
    data: bytes | None
    links: Sequence[Link] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """A file as it is served. ``data`` is None if its bytes are those of the source."""

    source: str
    path: str
    size: int
    sha256: Sha256
    data: bytes | None


def name_files(files: Mapping[str, Loaded], kept: Collection[str]) -> dict[str, Served]:
    """Name ``files``; ``kept`` are not renamed.

    The result is by source path, in the order in which it was made: what is referred to first.
    """
    named: dict[str, Served] = {}
    edges = {path: [link.target for link in file.links if _names(link, kept)] for path, file in files.items()}
    for group in groups_in_order(edges):
        for path, digest in _digests(group, files, named, kept).items():
            # Where a member is called for is known from here on; its bytes follow.
            named[path] = Served(path, _hashed(path, digest, kept), files[path].size, files[path].sha256, None)
        for path in group:
            named[path] = _finished(files[path], named, kept)
    for path, file in files.items():
        if any(link.reference.how == "back" for link in file.links):
            named[path] = _finished(file, named, kept, back=True)
    return named


def _names(link: Link, kept: Collection[str]) -> bool:
    """Whether a file's bytes depend on the name of what a link leads to."""
    return link.reference.how != "back" and link.target not in kept and _can_be_named(link.target)


def _can_be_named(path: str) -> bool:
    return "." in path.rpartition("/")[2].lstrip(".")


def _hashed(path: str, digest: str, kept: Collection[str]) -> str:
    if path in kept or not _can_be_named(path):
        return path
    stem, _, ending = path.rpartition(".")
    return f"{stem}.{digest[:HASH_DIGITS]}.{ending}"


def _digests(
    group: Sequence[str], files: Mapping[str, Loaded], named: Mapping[str, Served], kept: Collection[str]
) -> dict[str, str]:
    """What the members of a group are called after: their final bytes, or in a circle what can be known of them."""
    plain = {path: _edited(files[path], _edits(files[path], named, kept, leave=group)) for path in group}
    if len(group) == 1:
        return {path: files[path].sha256 if data is None else sha256_of(data) for path, data in plain.items()}
    known = {path: data if data is not None else files[path].data or b"" for path, data in plain.items()}
    whole = hashlib.sha256()
    for path, data in known.items():
        _add(whole.update, path.encode(), data)
    return {path: _digest(whole.digest(), path.encode(), data) for path, data in known.items()}


def _add(update: Callable[[bytes], object], *fields: bytes) -> None:
    # The length before each keeps two fields from reading as one.
    for field in fields:
        update(len(field).to_bytes(8, "big"))
        update(field)


def _digest(*fields: bytes) -> str:
    made = hashlib.sha256()
    _add(made.update, *fields)
    return made.hexdigest()


def _finished(file: Loaded, named: Mapping[str, Served], kept: Collection[str], *, back: bool = False) -> Served:
    data = _edited(file, _edits(file, named, kept, back=back))
    path = named[file.path].path
    return (
        Served(file.path, path, file.size, file.sha256, None)
        if data is None
        else Served(file.path, path, len(data), sha256_of(data), data)
    )


def _edits(
    file: Loaded,
    named: Mapping[str, Served],
    kept: Collection[str],
    *,
    leave: Collection[str] = (),
    back: bool = False,
) -> list[tuple[int, int, bytes]]:
    """What changes in ``file``: (from byte, to byte, new text). References to ``leave`` stay as they are."""
    edits = []
    for link in file.links:
        if link.target in leave:
            continue
        at = place_of_hash(link.reference.url)
        if at is not None and (_names(link, kept) or (back and link.target not in kept)):
            edits.append((at, at, _insertion(named[link.target])))
        integrity, target = link.reference.integrity, named.get(link.target)
        if integrity is not None and target is not None and target.data is not None:
            # Its bytes changed with the names in it, so the digest that a page gives for it must follow.
            told = _DIGEST.sub(partial(_spell_digest, data=target.data), integrity.text)
            edits.append((integrity.at[0], integrity.at[-1], told.encode()))
    return edits


def _insertion(target: Served) -> bytes:
    digest = target.path.rpartition(".")[0].rpartition(".")[2]
    return f".{digest}".encode()


def _edited(file: Loaded, edits: Sequence[tuple[int, int, bytes]]) -> bytes | None:
    """The bytes of ``file`` with ``edits``; None if there are none."""
    if not edits or file.data is None:
        return None
    pieces: list[bytes] = []
    done = 0
    for start, end, text in sorted(set(edits)):
        pieces += file.data[done:start], text
        done = end
    return b"".join([*pieces, file.data[done:]])


def _spell_digest(match: re.Match[str], *, data: bytes) -> str:
    return f"{match[1]}-{base64.b64encode(hashlib.new(match[1], data).digest()).decode()}"
