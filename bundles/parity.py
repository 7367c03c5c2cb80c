"""Parity beside a volume: PAR2, made and used by a program, never by us (docs/adr/0112-parity-goes-with-its-volume.md).

Takes a volume's path and how many percent of it may be damaged; gives the files that were made, or a volume put right.
The program of the extra ``parity`` is used, else a ``par2`` of this machine. It is GPL and runs as a program only.

next: ``bundles.beside``
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from bundles.medium import PARTIAL
from pipeline.errors import DiskError, UsageError, VerifyFailed

ENDING = ".par2"
# Memory of the program: the recovery blocks of one pass.
_MEMORY_MIB = 128
# Of a large volume every two-thousandth is a block; of a small one every 4 KiB, for each block has its own packet.
MOST_BLOCKS = 2_000
_BLOCK_BYTES = 4096
_COPY_BYTES = 1 << 20
_REPAIRED = 0
# par2cmdline: 1 repair is possible, 2 it is not, 5 verification found nothing to do with.
_IMPOSSIBLE = 2


def find_program() -> str:
    """The PAR2 program: that of the extra, else one of this machine.

    Raises:
        UsageError: there is none.
    """
    extra = find_spec("par2")
    for folder in extra.submodule_search_locations or () if extra else ():
        # The package's own command prints a line of its own before it runs this.
        if (program := Path(folder) / "binaries" / "par2").is_file():
            return str(program)
    # An entry of PATH that is not absolute means the folder one stands in, which may be the medium.
    found = shutil.which("par2", path=os.pathsep.join(filter(os.path.isabs, os.get_exec_path())))
    if found is None:
        raise UsageError(
            "parity needs the program par2, which is not on this machine",
            hint="Install it: pip install 'modelport[parity]', or your system's package par2.",
        )
    return found


def parity_files(volume: Path) -> list[Path]:
    """The parity files of a volume that stand beside it, the index first."""
    return [path for path in _parity_names(volume) if path.is_file() and not path.is_symlink()]


def _parity_names(volume: Path) -> list[Path]:
    """Where parity of a volume stands, in whatever capitals, and where its index belongs; that first."""
    index, begins = (volume.name + ENDING).lower(), f"{volume.name}.vol".lower()
    found = [path for path in volume.parent.iterdir() if path.name.lower().endswith(ENDING)]
    indexes = {volume.with_name(volume.name + ENDING), *(path for path in found if path.name.lower() == index)}
    return [*sorted(indexes), *sorted(path for path in found if path.name.lower().startswith(begins))]


def make_parity(volume: Path, percent: int = 0, *, blocks: int = 0) -> list[Path]:
    """Write parity for ``percent`` of a volume, or just so many recovery ``blocks``, replacing what is there; gives its files.

    Raises:
        UsageError: there is no program.
        DiskError: it failed, which it does for want of space.
    """
    program = find_program()
    _remove_parity(volume)
    divided = max(2, min(MOST_BLOCKS, volume.stat().st_size // _BLOCK_BYTES))
    ran = _run(
        [
            program,
            "create",
            "-q",
            "-q",
            f"-b{divided}",
            f"-c{blocks}" if blocks else f"-r{percent}",
            "-n1",
            f"-m{_MEMORY_MIB}",
            "--",
            volume.name + ENDING,
            volume.name,
        ],
        volume.parent,
    )
    if ran.returncode != 0:
        _remove_parity(volume)
        raise DiskError(
            f"{program} could not write parity of {volume} (exit {ran.returncode}): {_last_words(ran)}",
            hint="Free space there, or build without --parity.",
        )
    found = parity_files(volume)
    for path in found:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return found


def _remove_parity(volume: Path) -> None:
    """Remove what stands under the names of parity, links too: the program would write through one that leads nowhere."""
    for path in _parity_names(volume):
        with suppress(FileNotFoundError):
            path.unlink()


def repair_volume(volume: Path, others: Sequence[Path], fault_of: Callable[[Path], str]) -> None:
    """Put a volume right from its parity and, where they help, from ``others``: damaged copies of it.

    Nobody signs parity: its files may name any other file to be written. So the program works in a folder of its own that
    holds nothing else, and only a file of the volume's name in which ``fault_of`` finds no fault ("") is taken from there.

    Raises:
        UsageError: there is no program, or no parity.
        VerifyFailed: more is damaged than the parity can make good, or it is parity of something else.
        OSError: there is no room, or the volume cannot be written.
    """
    program = find_program()
    found = parity_files(volume)
    if not found:
        raise UsageError(
            f"there is no parity beside {volume}", hint="Take another copy of it, or name one: invoke bundle.repair --from FOLDER"
        )
    # What put the names of all files into capitals left those within them as they were.
    name = volume.name if found[0].name == volume.name + ENDING else volume.name.lower()
    with _workshop(volume, name) as work:
        index = work / (name + ENDING)
        _join(found, index)
        extras = [lent for number, other in enumerate(others) if (lent := _lend(other, work / f"copy{number}"))]
        ran = _run([program, "repair", "-q", "-q", f"-m{_MEMORY_MIB}", "--", index.name, *extras], work)
        if ran.returncode != _REPAIRED:
            beyond = "more of it is damaged than its parity makes good" if ran.returncode == _IMPOSSIBLE else _last_words(ran)
            raise VerifyFailed(
                f"{volume} could not be repaired: {beyond} (exit {ran.returncode})",
                hint="Take another copy of this volume, have it made anew (invoke bundle.build --only), or name a second copy with --from.",
            )
        made = work / name
        # Its link to the volume still stands there where the program found nothing to do with that.
        kept = made.is_symlink() and volume.is_file()
        fault = fault_of(volume if kept else made) if kept or made.is_file() else "it makes another file"
        if fault:
            raise VerifyFailed(
                f"{volume} could not be repaired: its parity does not lead to the volume that it should be: {fault}",
                hint="Its parity is of something else: take another copy of this volume, or have it made anew: invoke bundle.build --only",
            )
        if not kept:
            _take_over(made, volume)


@contextmanager
def _workshop(volume: Path, name: str) -> Iterator[Path]:
    """An empty folder with a link to the volume as ``name``, if that is there: beside it, or on a medium without links where temporary files are."""
    beside = volume.with_name(f".{volume.name}.repair")
    _clear(beside)
    try:
        beside.mkdir(mode=0o700)
        (beside / name).symlink_to(volume.absolute())
        work = beside
    except OSError:
        _clear(beside)
        work = Path(tempfile.mkdtemp(prefix="modelport-repair-"))
        (work / name).symlink_to(volume.absolute())
    try:
        if not volume.is_file():
            (work / name).unlink()
        yield work
    finally:
        _clear(work)


def _clear(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _join(files: Sequence[Path], whole: Path) -> None:
    """One file of all packets: the program takes only names of its own making for parts of one parity."""
    with whole.open("xb") as out:
        for path in files:
            with path.open("rb") as file:
                shutil.copyfileobj(file, out, _COPY_BYTES)


def _lend(copy: Path, name: Path) -> str:
    """Let the program read a copy; "" where that cannot be. It may rename what it is given, and follows no links."""
    try:
        try:
            os.link(copy, name, follow_symlinks=False)
        except OSError:
            shutil.copyfile(copy, name, follow_symlinks=False)
    except OSError:
        return ""
    return name.name


def _take_over(made: Path, volume: Path) -> None:
    """Write the blocks that differ into the volume: whatever stops this, it is never worse than it was."""
    target = volume if volume.exists() else volume.with_name(volume.name + PARTIAL)
    size = made.stat().st_size
    fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with made.open("rb") as source, os.fdopen(fd, "r+b") as file:
        at = 0
        while block := source.read(_COPY_BYTES):
            if os.pread(file.fileno(), len(block), at) != block:
                file.seek(at)
                file.write(block)
            at += len(block)
        if os.fstat(file.fileno()).st_size != size:
            file.truncate(size)
        file.flush()
        os.fsync(file.fileno())
    if target != volume:
        target.rename(volume)


def _run(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    # Its messages are read, so they must be in one language.
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
    try:
        return subprocess.run(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise UsageError(
            f"{words[0]} cannot be run: {error.strerror}", hint="Install it anew: pip install 'modelport[parity]'"
        ) from error


def _last_words(ran: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (ran.stderr + "\n" + ran.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
