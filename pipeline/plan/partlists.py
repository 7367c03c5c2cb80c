"""Lists of a release's parts for programs that know nothing of modelport, and the script that joins them.

Takes a manifest and base URLs, gives texts: Metalink 4 (RFC 5854), aria2's input file, curl's configuration, sums for
``sha256sum``, a POSIX shell script. Pure. Part lists serve any release; joining parts makes files only in profile ``raw``.

next: ``plan.ocilayout``
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from pipeline.layout import part_key
from pipeline.manifest import File, Manifest, Part

ListFormat = Literal["metalink", "aria2", "curl"]
LIST_NAMES: Mapping[ListFormat, str] = {"metalink": "parts.meta4", "aria2": "parts.aria2", "curl": "parts.curl"}
PART_SUMS = "PARTS.sha256"
FILE_SUMS = "SHA256SUMS"
SCRIPT = "assemble.sh"


def part_list(form: ListFormat, parts: Sequence[Part], urls: Sequence[str]) -> str:
    """The list of ``parts`` in one form; every part has one address under each of ``urls``."""
    lines = {"metalink": metalink_lines, "aria2": aria2_lines, "curl": curl_lines}[form](parts, urls)
    return "".join(f"{line}\n" for line in lines)


def metalink_lines(parts: Iterable[Part], urls: Sequence[str]) -> Iterator[str]:
    """RFC 5854: sources by priority, the first is preferred."""
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield '<metalink xmlns="urn:ietf:params:xml:ns:metalink">'
    for part in parts:
        yield f"  <file name={quoteattr(part_key(part.blake3))}>"
        yield f"    <size>{part.size}</size>"
        yield f'    <hash type="sha-256">{part.sha256}</hash>'
        for priority, url in enumerate(urls, 1):
            yield f'    <url priority="{priority}">{escape(address(url, part))}</url>'
        yield "  </file>"
    yield "</metalink>"


def aria2_lines(parts: Iterable[Part], urls: Sequence[str]) -> Iterator[str]:
    """The input file of aria2c (its manual, "Input File"): addresses with tabs between, then options, indented."""
    for part in parts:
        yield "\t".join(address(url, part) for url in urls)
        yield f"  out={part_key(part.blake3)}"
        yield f"  checksum=sha-256={part.sha256}"


def curl_lines(parts: Iterable[Part], urls: Sequence[str]) -> Iterator[str]:
    """A configuration for ``curl --config``; curl takes one address a file and checks no digest, so the script does."""
    yield from ("fail", "location", "create-dirs", "parallel", "retry = 5", 'proto = "=http,https"')
    for part in parts:
        yield f'url = "{address(urls[0], part)}"'
        yield f'output = "{part_key(part.blake3)}"'


def address(url: str, part: Part) -> str:
    """Where a part lies under a base URL. Keys of parts need no quoting."""
    return f"{url.rstrip('/')}/{part_key(part.blake3)}"


def part_sums(parts: Iterable[Part]) -> str:
    """Digests of the parts, as ``sha256sum --check`` takes them."""
    return "".join(f"{part.sha256}  {part_key(part.blake3)}\n" for part in parts)


def file_sums(files: Iterable[File]) -> str:
    """Digests of the finished files by their paths in the release's folder, as ``sha256sum --check`` takes them.

    Paths hold no backslash and no line break (docs/format.md §1), so none needs its escape.
    """
    return "".join(f"{file.sha256}  {file.path}\n" for file in files)


def file_parts(manifest: Manifest, file: File) -> tuple[Part, ...]:
    """The parts whose concatenation is ``file``, in profiles ``raw`` and ``web``."""
    return tuple(manifest.parts[chunk.part] for chunk in file.chunks if chunk.offset == 0)


def assemble_script(manifest: Manifest) -> str:
    """The POSIX script that proves the parts, joins them into the release's folder, and proves that."""
    return "".join(f"{line}\n" for line in _script_lines(manifest))


def _script_lines(manifest: Manifest) -> Iterator[str]:
    release = str(manifest.release)
    yield "#!/bin/sh"
    yield f"# Joins the downloaded parts of {release} into the folder {release}. Run it beside parts/; it may be run again."
    yield "set -eu"
    # With it set, cd may lead to a folder of the same name elsewhere.
    yield "unset CDPATH"
    yield 'cd "$(dirname "$0")"'
    yield "if command -v sha256sum >/dev/null 2>&1; then"
    yield '  check() { sha256sum -c "$1"; }'
    yield "else"
    yield '  check() { shasum -a 256 -c "$1"; }'
    yield "fi"
    yield f"release={shlex.quote(release)}"
    yield 'building="$release.building"'
    yield "begin() {"
    yield '  mkdir -p "$(dirname "$building/$1")"'
    yield '  out="$building/$1"'
    yield '  : > "$out"'
    yield "}"
    yield 'join() { cat "parts/$1" >> "$out"; }'
    yield "stop() {"
    yield '  echo "assemble: $1" >&2'
    yield "  exit 1"
    yield "}"
    yield 'if [ -e "$release" ]; then'
    yield f'  (cd "$release" && check ../{FILE_SUMS} >/dev/null) || stop "$release is there, but it is not whole: move it away"'
    yield '  echo "$release is there and whole"'
    yield "  exit 0"
    yield "fi"
    # A release of empty files has no parts, and a list without a line is an error to sha256sum.
    if manifest.parts:
        yield f"check {PART_SUMS} >/dev/null || stop 'parts are missing or altered: download them again'"
    yield 'rm -rf "$building"'
    yield 'mkdir "$building"'
    for file in manifest.files:
        yield f"begin {shlex.quote(file.path)}"
        for part in file_parts(manifest, file):
            yield f"join {part_key(part.blake3).removeprefix('parts/')}"
        if file.executable:
            yield 'chmod +x "$out"'
    yield f'(cd "$building" && check ../{FILE_SUMS} >/dev/null) || stop "what was joined is not what was published"'
    yield 'mv "$building" "$release"'
    yield 'echo "$release is whole"'
