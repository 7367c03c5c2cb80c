"""Installations for tests in processes that are killed, as ``tests.forking`` runs them. Column
``install.pyz`` runs the installer with the tools of a bare Python, ``bundle.install`` with those of modelport.
"""

from __future__ import annotations

import os
import signal

from bundles.installer.preflight import Order
from bundles.installer.tools import Tools
from bundles.installer.walk import install
from bundles.installing import install_bundle
from bundles.zipped import installer_bytes
from pipeline.events import ignore
from tests.forking import Counting, serve

# Every call by which an installation changes a disk.
CALLS = (
    "write", "pwrite", "fsync", "rename", "replace", "symlink", "unlink", "mkdir", "rmdir", "fchmod", "posix_fallocate", "ftruncate",
)  # fmt: skip


def work(job: dict) -> dict:
    left = [job.get("nth", 1)]
    seen: list[str] = []
    counting = Counting(job.get("call", 0))
    counting.watch(CALLS)

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


if __name__ == "__main__":
    serve(work)
