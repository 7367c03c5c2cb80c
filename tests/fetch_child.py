"""Fetches for tests in processes that are killed, as ``tests.forking`` runs them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.fetch_world import Fetcher, Reader
from tests.forking import Counting, serve

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


def work(job: dict) -> dict:
    counting = Counting(job["at"], job["when"])
    counting.watch(CALLS)
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(key: str, at: int, block: memoryview) -> memoryview:
        os.write(log, f"{len(block)}\n".encode())
        return block

    fetcher = Fetcher(Path(job["home"]), (Reader(Path(job["store"]), note),), job["fingerprint"])
    done = fetcher.fetch(job["want"], connections=1, to=Path(job["to"]) if job["to"] else None)
    return {"calls": counting.count, "bytes_fetched": done.bytes_fetched, "already_there": done.already_there}


if __name__ == "__main__":
    serve(work)
