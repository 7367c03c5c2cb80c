"""Fetches for tests in processes that are killed: one JSON line a job on stdin, one answer on stdout.

This process reads all modules once and then forks for every job; it has no threads of its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

from tests.fetch_world import Fetcher, Reader

# Every call by which a fetch changes a disk.
CALLS = (
    "pwrite",
    "fsync",
    "rename",
    "replace",
    "link",
    "unlink",
    "mkdir",
    "fchmod",
    "posix_fallocate",
    "copy_file_range",
    "rmdir",
)


class Counting:
    """Counts calls that change the disk; at number ``at`` (from 1) the process dies, just before or just after it."""

    def __init__(self, at: int, when: str) -> None:
        self.count, self._at, self._when = 0, at, when

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


def work(job: dict) -> dict:
    counting = Counting(job["at"], job["when"])
    for name in CALLS:
        setattr(os, name, counting.wrap(name))
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(key: str, at: int, block: memoryview) -> memoryview:
        os.write(log, f"{len(block)}\n".encode())
        return block

    fetcher = Fetcher(Path(job["home"]), (Reader(Path(job["store"]), note),), job["fingerprint"])
    done = fetcher.fetch(job["want"], connections=1, to=Path(job["to"]) if job["to"] else None)
    return {"calls": counting.count, "bytes_fetched": done.bytes_fetched, "already_there": done.already_there}


def main() -> None:
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


if __name__ == "__main__":
    main()
