"""The list beside the volumes: what SHA256SUMS says of a folder, what it does not say, and what of that is proven without it.

Takes folders and their bundle, gives names and faults; and writes lines anew for what the bundle itself, this modelport or
the list of another copy proves. Nobody signs the list (docs/adr/0231-the-list-is-held-against-the-volumes-when-told-to.md).

next: ``bundles.companions``
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from bundles.beside import write_whole
from bundles.index import Bundle
from bundles.installer.wheel_pins import PINS
from bundles.medium import ENDING, Volume, is_volume_name, medium_error, opened, standing
from bundles.parity import ENDING as PARITY
from bundles.parity import parity_files
from bundles.side_files import INSTALLER, README, SUMS, WHEELS, read_sums, readme_text, sums_text
from bundles.zipped import installer_sha256
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import ModelportError
from pipeline.workers import in_order, threads

_HEX64 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_WHEEL = ".whl"
_README_BYTES = 1 << 20
# Ten thousand volumes with all that may stand beside each have shorter ones.
SUMS_BYTES = 64 << 20
_BLOCK = 1 << 20
_THREADS = 2


def sums_of(folder: Path) -> tuple[Mapping[str, Sha256], str]:
    """The digests that stand in a folder, none where there are none; and what is wrong with the list itself.

    Raises:
        AccessDenied, DiskError
    """
    path = standing(folder, SUMS)
    if not path.is_file():
        # Volumes that were copied alone have no list; where its other files stand, it was lost.
        return {}, "it is gone" if any(os.path.lexists(standing(folder, name)) for name in (INSTALLER, README)) else ""
    try:
        with opened(path) as (fd, size), open(fd, "rb", closefd=False) as file:
            if size > SUMS_BYTES:
                return {}, f"it has {size} bytes, at most {SUMS_BYTES} are allowed"
            return read_sums(file.read().decode("utf-8", errors="replace")), ""
    except OSError as error:
        raise medium_error(error, path) from error


def is_beside(name: str) -> bool:
    """Whether it is a file of the folder or of its wheels: nobody signs these names."""
    folder, slash, file = name.rpartition("/")
    return (not slash or folder.lower() == WHEELS) and not file.startswith(".")


def volume_of(name: str) -> str:
    """The name of the volume that a file of this name is parity of; "" where it is none."""
    at = name.lower().find(ENDING)
    return name[: at + len(ENDING)] if name.lower().endswith(PARITY) and at >= 0 else ""


def digest_fault(path: Path, expected: Sha256) -> str:
    """What is wrong with a file that should have this digest; "" where nothing is."""
    try:
        found = digest_of(path)
    except FileNotFoundError:
        return "it is gone"
    except ValueError:
        return "no file has such a name"
    except (OSError, ModelportError) as error:
        return "it is gone" if not os.path.lexists(path) else str(error)
    return "" if found == expected else f"its sha256 is {found}, {SUMS} says {expected}"


def digest_of(path: Path, done: Callable[[int], None] = lambda _: None) -> Sha256:
    """The sha256 of a file; ``done`` hears bytes read.

    Raises:
        OSError, ValueError, UsageError, AccessDenied, DiskError
    """
    digest, at = hashlib.sha256(), 0
    with opened(path) as (fd, _):
        while block := os.pread(fd, _BLOCK, at):
            digest.update(block)
            at += len(block)
            done(len(block))
    return Sha256(digest.hexdigest())


def contradictions(folders: Sequence[Path], bundle: Bundle) -> Iterator[tuple[Path, str, str]]:
    """Yield (folder, name, fault) where documents of the media say different things, without reading a volume."""
    said: dict[str, tuple[Path, Sha256]] = {}
    for folder in folders:
        sums, _ = sums_of(folder)
        for name, digest in sums.items():
            first, before = said.setdefault(name.lower(), (folder, digest))
            if is_volume_name(name) and digest != before:
                yield folder, SUMS, f"it says that {name} has sha256 {digest}, that of {first} says {before}"
            pinned = PINS.get(name.rpartition("/")[2], digest)
            if digest != pinned:
                yield folder, SUMS, f"it says that {name} has sha256 {digest}, the installer takes only {pinned}"
        if fault := _readme_fault(folder, bundle, _by_lower(sums)):
            yield folder, README, fault


def _readme_fault(folder: Path, bundle: Bundle, listed: Mapping[str, tuple[str, Sha256]]) -> str:
    """What a person is told to compare must be what is there. What is not here or not as listed is named by others."""
    try:
        with opened(standing(folder, README)) as (fd, _):
            data = os.pread(fd, _README_BYTES, 0)
        installer = digest_of(standing(folder, INSTALLER))
    except (OSError, ModelportError):
        return ""
    found = {README.lower(): sha256_of(data), INSTALLER: installer}
    if any(listed.get(name, ("", digest))[1] != digest for name, digest in found.items()):
        return ""
    named = set(_HEX64.findall(data.decode("utf-8", errors="replace")))
    if not named & {installer}:
        return f"it names another sha256 of the installer than {INSTALLER} has ({installer})"
    if bundle.plan.root_fingerprint not in named:
        return f"it names another fingerprint of the root than the volumes do ({bundle.plan.root_fingerprint})"
    return ""


def volume_faults(volumes: Sequence[Volume], done: Callable[[int], None]) -> Iterator[str]:
    """Hash volumes whole, as ``sha256sum -c`` does, and say what the list beside each says otherwise.

    Raises:
        AccessDenied, DiskError
    """
    lists = {folder: _by_lower(sums_of(folder)[0]) for folder in {volume.path.parent for volume in volumes}}

    def look(volume: Volume) -> str:
        path, sums = volume.path, lists[volume.path.parent]
        if not sums:
            return ""
        listed = sums.get(path.name.lower())
        if listed is None:
            return f"{path.name}: {SUMS} does not name it"
        try:
            found = digest_of(path, done)
        except OSError as error:
            raise medium_error(error, path) from error
        return "" if found == listed[1] else f"{path.name}: its sha256 is {found}, {SUMS} says {listed[1]}; the volume is whole"

    with threads(_THREADS, "sums") as pool:
        yield from filter(None, in_order(pool, look, volumes, ahead=_THREADS))


def unlisted(folder: Path, bundle: Bundle, sums: Mapping[str, Sha256]) -> list[str]:
    """Names of files beside the volumes of which a list says nothing.

    Raises:
        AccessDenied, DiskError
    """
    listed = _by_lower(sums)
    try:
        there = [path for path in (standing(folder, INSTALLER), standing(folder, README)) if os.path.lexists(path)]
        wheels = standing(folder, WHEELS)
        if wheels.is_dir() and not wheels.is_symlink():
            there += sorted(path for path in wheels.iterdir() if path.name.lower().endswith(_WHEEL))
        for number in bundle.numbers():
            there += parity_files(standing(folder, bundle.file_name(number)))
    except OSError as error:
        raise medium_error(error, folder) from error
    names = [path.relative_to(folder).as_posix() for path in there]
    return [name for name in names if name.lower() not in listed]


def restore_sums(folder: Path, others: Sequence[Path], whole: Collection[str], bundle: Bundle) -> list[str]:
    """Let SHA256SUMS say of volumes that are ``whole`` what they are, and of other files what is proven; else it stays as it is.

    Raises:
        AccessDenied, DiskError
    """
    sums, fault = sums_of(folder)
    path = standing(folder, SUMS)
    # One that cannot be read is named and left; volumes that were copied alone never had any.
    if os.path.lexists(path) == bool(fault):
        return []
    listed = _by_lower(sums)
    fresh: dict[str, Sha256] = {}
    try:
        for name in whole:
            if name.isprintable():
                fresh[listed.get(name.lower(), (name,))[0]] = digest_of(folder / name)
    except OSError as error:
        raise medium_error(error, folder) from error
    fresh |= _proven(folder, others, unlisted(folder, bundle, sums), bundle, sums)
    if {**sums, **fresh} == sums:
        return []
    write_whole(path, sums_text({**sums, **fresh}).encode())
    return [SUMS]


def _proven(
    folder: Path, others: Sequence[Path], names: Sequence[str], bundle: Bundle, sums: Mapping[str, Sha256]
) -> dict[str, Sha256]:
    """Digests of those of ``names`` that this modelport, the bundle or another copy's list knows."""
    lists = [_by_lower(sums_of(other)[0]) for other in others]
    installers = installers_of(sums)
    proven: dict[str, Sha256] = {}
    for name in names:
        try:
            found = digest_of(folder / name)
        except (OSError, ModelportError):
            continue
        known = {listed[name.lower()][1] for listed in lists if name.lower() in listed}
        if name.lower() == INSTALLER:
            known.add(Sha256(installer_sha256()))
        elif name.lower() == README.lower():
            known |= {found} if readme_of(bundle, found, installers) else set()
        elif name.rpartition("/")[2] in PINS:
            known.add(Sha256(PINS[name.rpartition("/")[2]]))
        if found in known:
            proven[name] = found
    return proven


def installers_of(sums: Mapping[str, Sha256]) -> set[Sha256]:
    """Digests of the installers that a README may speak of: this modelport's, and the one that is listed."""
    return {Sha256(installer_sha256()), *(digest for name, digest in sums.items() if name.lower() == INSTALLER)}


def readme_of(bundle: Bundle, sha256: Sha256, installers: Collection[Sha256]) -> str:
    """The README of a bundle that has this digest: what it says follows from the bundle and three facts. "" where there is none."""
    either = (False, True)
    for installer, codec, wheels, parity in itertools.product(installers, either, either, either):
        text = readme_text(bundle, installer_sha256=installer, needs_codec=codec, wheels=wheels, parity=parity)
        if sha256_of(text.encode()) == sha256:
            return text
    return ""


def _by_lower(sums: Mapping[str, Sha256]) -> dict[str, tuple[str, Sha256]]:
    """Names as they are written, and digests, by the names in small letters."""
    return {name.lower(): (name, digest) for name, digest in sums.items()}
