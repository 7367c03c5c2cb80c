"""Work for tests in processes that are killed: one JSON line a job on stdin, one answer on stdout; both ends of it.

A child reads all modules once and then forks for every job; it has no threads of its own.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Counting:
    """Counts calls that change the disk; at number ``at`` (from 1) the process dies, just before or just after it."""

    def __init__(self, at: int, when: str = "before") -> None:
        self.count, self._at, self._when = 0, at, when

    def watch(self, calls: Iterable[str]) -> None:
        """Count these functions of ``os`` from now on."""
        for name in calls:
            setattr(os, name, self.wrap(name))

    def wrap(self, name: str):
        real = getattr(os, name)

        def call(*args, **named):
            self.count += 1
            hit = self.count == self._at
            if hit and self._when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*args, **named)
            finally:
                if hit:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call


def serve(work: Callable[[dict], dict]) -> None:
    """Do the jobs of stdin, each in a process of its own."""
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 0
            try:
                Path(job["result"]).write_text(json.dumps(work(job)))
            except BaseException:  # noqa: BLE001 (a child of a test: the test judges what it reports)
                Path(job["result"]).write_text(json.dumps({"error": traceback.format_exc()}))
                code = 1
            os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(json.dumps({"status": status}) + "\n")
        sys.stdout.flush()


@contextmanager
def served_by(module: str, folder: Path) -> Iterator[Callable[..., tuple[int, dict]]]:
    """Start a module that serves; called with the words of a job, it gives the job's exit status and its answer, {} if it was killed."""
    numbers = itertools.count()
    child = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[1],
        text=True,
    )
    assert child.stdin
    assert child.stdout
    asked, told = child.stdin, child.stdout

    def run(**job: object) -> tuple[int, dict]:
        result = folder / f"result{next(numbers)}"
        asked.write(json.dumps({**job, "result": str(result)}) + "\n")
        asked.flush()
        status = json.loads(told.readline())["status"]
        return status, json.loads(result.read_text()) if result.exists() else {}

    try:
        yield run
    finally:
        asked.close()
        child.wait()
        told.close()
