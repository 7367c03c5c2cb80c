"""How long ``invoke --list`` takes beside ``invoke --version``: medians of twenty alternating runs.

Run from the root of a checkout: ``.venv/bin/python benchmarks/startup.py``. Target: at most 1.2 times.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
INVOKE = Path(sys.executable).with_name("invoke")
RUNS = 20
TARGET = 1.2


def seconds(flag: str) -> float:
    started = time.perf_counter()
    subprocess.run([INVOKE, flag], cwd=CHECKOUT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> int:
    # The first run of each compiles bytecode and warms the page cache.
    seconds("--version"), seconds("--list")
    taken: dict[str, list[float]] = {"--version": [], "--list": []}
    for _ in range(RUNS):
        for flag, found in taken.items():
            found.append(seconds(flag))
    version, listing = (statistics.median(found) for found in taken.values())
    ratio = listing / version
    print("| what | median of 20 runs | ratio | target | |")
    print("| --- | --- | --- | --- | --- |")
    print(f"| `invoke --version` | {version * 1000:.0f} ms | 1.00 | | |")
    print(
        f"| `invoke --list` | {listing * 1000:.0f} ms | {ratio:.2f} | ≤ {TARGET} | {'reached' if ratio <= TARGET else 'MISSED'} |"
    )
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
