"""Installations for tests in processes that are killed: one JSON line a job on stdin, one answer on stdout.

This process reads all modules once and then forks for every job; it has no threads of its own. Column
``install.pyz`` runs the installer with the tools of a bare Python, ``bundle.install`` with those of modelport.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

from bundles.installer.preflight import Order
from bundles.installer.tools import Tools
from bundles.installer.walk import install
from bundles.installing import install_bundle
from bundles.zipped import installer_bytes
from pipeline.events import ignore

# Every call by which an installation changes a disk.
CALLS = (
    "write", "pwrite", "fsync", "rename", "replace", "symlink", "unlink", "mkdir", "rmdir", "fchmod", "posix_fallocate", "ftruncate",
)  # fmt: skip


class Counting:
    """Counts calls that change the disk; at number ``at`` (from 1) the process dies, just before it."""

    def __init__(self, at: int) -> None:
        self.count, self._at = 0, at

    def wrap(self, name: str):
        real = getattr(os, name)

        def call(*args, **named):
            self.count += 1
            if self.count == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **named)

        return call


def work(job: dict) -> dict:
    left = [job.get("nth", 1)]
    seen: list[str] = []
    counting = Counting(job.get("call", 0))
    for name in CALLS:
        setattr(os, name, counting.wrap(name))

    def step(name: str) -> None:
        seen.append(name)
        if name == job.get("at"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    order = Order(tuple(job["media"]), job["site"], job["fingerprint"], **job.get("flags", {}))
    if job["column"] == "bundle.install":
        done = install_bundle(order, ignore, step=step)
    else:
        done = install(order, Tools(), step=step, installer=installer_bytes())
    return {"steps": seen, "missing": done.missing, "generation": done.generation, "calls": counting.count}


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
