"""How long ``invoke --list`` takes beside ``invoke --version``: medians of twenty alternating runs.

Run from the root of a checkout: ``.venv/bin/python benchmarks/startup.py``. Target: at most 1.2 times.
"""

import os
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from figures import Job, in_turn

CHECKOUT = Path(__file__).resolve().parents[1]

INVOKE = Path(sys.executable).with_name("invoke")
# Where bytecode is not kept, each run compiles our modules, and only ours, anew.
ENVIRONMENT = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
RUNS = 20
TARGET = 1.2


def invoke(flag: str) -> None:
    subprocess.run([INVOKE, flag], cwd=CHECKOUT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)


def main() -> int:
    contenders = {flag: partial(invoke, flag) for flag in ("--version", "--list")}
    # The first run of each compiles bytecode and warms the page cache.
    in_turn(contenders, 1)
    taken = in_turn(contenders, RUNS)
    version, listing = taken.values()
    job = Job("startup", "Starting up", f"`invoke --list` beside `invoke --version`, {RUNS} alternating runs.")
    for flag, found in taken.items():
        job.amount(f"`invoke {flag}`", 1000 * statistics.median(found), "ms")
    times = statistics.median(listed / bare for listed, bare in zip(listing, version, strict=True))
    job.amount("the list beside the version", times, "times", most=TARGET)
    return job.finish()


if __name__ == "__main__":
    sys.exit(main())
