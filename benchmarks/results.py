"""RESULTS.md and the plots: made of the kept figures and of what people wrote about them.

    python benchmarks/results.py [--check]

Takes ``figures/*.json`` in the order of ``ORDER`` and ``notes/*.md`` of the same names (why something was missed, profiles,
what was tried); writes ``RESULTS.md`` and ``plots/*.svg``. A test fails while they are stale.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from figures import FIGURES, read_job, table
from plots import plot

HERE = Path(__file__).parent
# As one meets them; what is not named here comes after, by name.
ORDER = (
    "index", "codec", "upload", "publish", "republish", "fetch", "long_line", "bundle", "sizes", "cdn", "edge", "site", "site_mirror",
    "web_build", "web_worker", "web_runtimes", "startup",
)  # fmt: skip
_HEAD = """# Results

<!-- Written by `invoke dev.bench`, or of the kept figures by `python benchmarks/results.py`. -->

Peer and ours take turns in one run. A ratio is the median of the ratios turn by turn, with the lowest and the highest behind it;
above 1 ours is the quicker, or the smaller. Absolute times belong to the machine that is named.
A load well above its cores says that others were at work on it; a command with flags is not the whole measurement.
A target that was not reached says **MISSED**, and the words below it say why.
"""


def pages() -> dict[str, str]:
    """Every file that is written, by its path from here."""
    jobs = [read_job(path) for path in sorted(FIGURES.glob("*.json"), key=lambda path: (_rank(path.stem), path.stem))]
    notes = {path.stem: path.read_text(encoding="utf-8").strip() for path in (HERE / "notes").glob("*.md")}
    lines = [_HEAD]
    for job, day, where in jobs:
        beside = "; beside " + ", ".join(f"{name} {version}" for name, version in job.versions.items()) if job.versions else ""
        lines += [f"## {job.title}\n", f"`{job.command}`: {job.setting}\n", f"Measured on {day}, {where}{beside}.\n"]
        if plot(job):
            lines.append(f"![{job.title}](plots/{job.name}.svg)\n")
        lines += [*table(job), ""]
        lines += [notes.pop(job.name), ""] if job.name in notes else []
    lines += [f"{text}\n" for _, text in sorted(notes.items())]
    plots = {f"plots/{job.name}.svg": plot(job) for job, _, _ in jobs if plot(job)}
    return {"RESULTS.md": "\n".join(lines).rstrip() + "\n", **plots}


def _rank(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


def main() -> int:
    """Write what is stale, remove plots of nothing, or with ``--check`` name them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    check = parser.parse_args().check
    made, stale = pages(), []
    for path in (HERE / "plots").glob("*.svg"):
        if f"plots/{path.name}" not in made:
            # Of a job that could not be measured this time.
            stale.append(f"plots/{path.name}")
            if not check:
                path.unlink()
    for name, text in made.items():
        path = HERE / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    print("\n".join(f"{'stale' if check else 'wrote'}: {name}" for name in stale) or "RESULTS.md is up to date")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
