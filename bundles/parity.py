"""Parity beside a volume: PAR2, made and used by a program, never by us (docs/adr/0112-parity-goes-with-its-volume.md).

Takes a volume's path and how many percent of it may be damaged; gives the files that were made, or a volume put right.
The program of the extra ``parity`` is used, else a ``par2`` of this machine. It is GPL and runs as a program only.

next: ``bundles.beside``
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import DiskError, UsageError, VerifyFailed

ENDING = ".par2"
# Memory of the program: the recovery blocks of one pass.
_MEMORY_MIB = 128
# Of a large volume every two-thousandth is a block; of a small one every 4 KiB, for each block has its own packet.
_MOST_BLOCKS = 2_000
_BLOCK_BYTES = 4096
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
    found = shutil.which("par2")
    if found is None:
        raise UsageError(
            "parity needs the program par2, which is not on this machine",
            hint="Install it: pip install 'modelport[parity]', or your system's package par2.",
        )
    return found


def parity_files(volume: Path) -> list[Path]:
    """The parity files of a volume that stand beside it, the index first."""
    index = volume.with_name(volume.name + ENDING)
    others = [
        path
        for path in volume.parent.iterdir()
        if path.name.startswith(f"{volume.name}.vol") and path.name.endswith(ENDING) and path.is_file()
    ]
    return [path for path in (index, *sorted(others)) if path.is_file()]


def make_parity(volume: Path, percent: int) -> list[Path]:
    """Write parity for ``percent`` of a volume, replacing what is there; gives its files.

    Raises:
        UsageError: there is no program.
        DiskError: it failed, which it does for want of space.
    """
    program = find_program()
    for path in parity_files(volume):
        path.unlink()
    blocks = max(2, min(_MOST_BLOCKS, volume.stat().st_size // _BLOCK_BYTES))
    ran = _run(
        [
            program,
            "create",
            "-q",
            "-q",
            f"-b{blocks}",
            f"-r{percent}",
            "-n1",
            f"-m{_MEMORY_MIB}",
            "--",
            volume.name + ENDING,
            volume.name,
        ],
        volume.parent,
    )
    if ran.returncode != 0:
        for path in parity_files(volume):
            path.unlink()
        raise DiskError(
            f"{program} could not write parity of {volume} (exit {ran.returncode}): {_last_words(ran)}",
            hint="Free space there, or build without --parity.",
        )
    found = parity_files(volume)
    for path in found:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return found


def repair_volume(volume: Path, others: Sequence[Path] = ()) -> None:
    """Put a volume right from its parity and, where they help, from ``others``: damaged copies of it.

    The file is replaced only by one whose every block has been checked.

    Raises:
        UsageError: there is no program, or no parity.
        VerifyFailed: more is damaged than the parity can make good.
    """
    program = find_program()
    found = parity_files(volume)
    if not found:
        raise UsageError(
            f"there is no parity beside {volume}", hint="Take another copy of it, or name one: invoke bundle.repair --from FOLDER"
        )
    before = set(volume.parent.iterdir())
    ran = _run([program, "repair", "-q", "-q", f"-m{_MEMORY_MIB}", "--", found[0].name, *map(str, others)], volume.parent)
    if ran.returncode != _REPAIRED:
        beyond = "more of it is damaged than its parity makes good" if ran.returncode == _IMPOSSIBLE else _last_words(ran)
        raise VerifyFailed(
            f"{volume} could not be repaired: {beyond} (exit {ran.returncode})",
            hint="Take another copy of this volume, have it made anew (invoke bundle.build --only), or name a second copy with --from.",
        )
    # The program keeps what it replaced as NAME.1, which may be gigabytes.
    for path in set(volume.parent.iterdir()) - before:
        if path.name.startswith(volume.name + "."):
            path.unlink()


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
