"""A checkout of modelport: where it is, and running its checks.

Takes commands of the development environment, runs them one after the other; their words go to
stderr as they come, for stdout belongs to the answer.

next: ``dev_tasks``
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import UsageError, VerifyFailed
from pipeline.events import Listener, StepFinished, StepStarted

# It measures nothing: it writes down what the others found.
RESULTS = Path("benchmarks/results.py")


def root() -> Path:
    """Find the checkout that this code runs from.

    Raises:
        UsageError: modelport is installed as a package, without its tests and docs.
    """
    folder = Path(__file__).resolve().parents[2]
    if not (folder / "tasks.py").is_file():
        raise UsageError(f"{folder} is not a checkout of modelport", hint="Clone the repository and run this there.")
    return folder


def benchmarks(folder: Path, only: Sequence[str]) -> dict[str, str]:
    """Find the benchmarks by name: the scripts in ``benchmarks/`` that finish a job.

    Raises:
        UsageError: ``only`` names one that is not there.
    """
    found = {
        script.stem: str(script.relative_to(folder))
        for script in sorted((folder / "benchmarks").glob("*.py"))
        if "return job.finish()" in script.read_text(encoding="utf-8")
    }
    unknown = [name for name in only if name not in found]
    if unknown:
        raise UsageError(f"there is no benchmark {unknown[0]!r}", hint=f"There are: {', '.join(found)}")
    return {name: script for name, script in found.items() if not only or name in only}


def run_checks(folder: Path, checks: Iterable[tuple[str, tuple[str, ...]]], listen: Listener, *, dry: bool) -> dict[str, float]:
    """Run each named command in ``folder``, all of them even if one fails; gives seconds by name.

    Raises:
        VerifyFailed: naming those that failed.
    """
    seconds: dict[str, float] = {}
    failed: list[str] = []
    for name, words in checks:
        program = Path(sys.executable).with_name(words[0])
        if not program.is_file():
            raise UsageError(f"{words[0]} is not installed beside {sys.executable}", hint="pip install -e .[dev]")
        listen(StepStarted(name))
        started = time.monotonic()
        if (
            not dry
            and subprocess.run(
                [program, *words[1:]], cwd=folder, stdout=sys.stderr, stdin=subprocess.DEVNULL, check=False
            ).returncode
        ):
            failed.append(name)
        seconds[name] = round(time.monotonic() - started, 1)
        listen(StepFinished(name, seconds=seconds[name]))
    if failed:
        raise VerifyFailed(f"failed: {', '.join(failed)}", hint="Its words stand above.")
    return seconds
