"""RESULTS.md and the plots: made of the kept figures and of what people wrote about them.

    python benchmarks/results.py [--check]

Takes ``figures/*.json`` in the order of ``ORDER`` and ``notes/*.md`` of the same names (why something was missed, profiles,
what was tried); writes ``RESULTS.md`` and ``plots/*.svg``. A test fails while they are stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

from figures import FIGURES, Job, Ratio, read_job, spell, table

HERE = Path(__file__).parent
# As one meets them; what is not named here comes after, by name.
ORDER = (
    "index", "codec", "upload", "publish", "republish", "fetch", "long_line", "bundle", "sizes", "cdn", "edge", "site",
    "web_build", "web_worker", "web_runtimes", "startup",
)  # fmt: skip
_HEAD = """# Results

<!-- Written by `invoke dev.bench`, or of the kept figures by `python benchmarks/results.py`. -->

Peer and ours take turns in one run. A ratio is the median of the ratios turn by turn, with the lowest and the highest behind it;
above 1 ours is the quicker, or the smaller. Absolute times belong to the machine that is named.
A target that was not reached says **MISSED**, and the words below it say why.
"""
WIDTH, LEFT, BAR = 720, 300, 26


def pages() -> dict[str, str]:
    """Every file that is written, by its path from here."""
    jobs = [read_job(path) for path in sorted(FIGURES.glob("*.json"), key=lambda path: (_rank(path.stem), path.stem))]
    notes = {path.stem: path.read_text(encoding="utf-8").strip() for path in (HERE / "notes").glob("*.md")}
    lines = [_HEAD]
    for job, day, where in jobs:
        lines += [f"## {job.title}\n", f"`{job.command}`: {job.setting}\n", f"Measured on {day}, {where}.\n"]
        if drawn(job):
            lines.append(f"![{job.title}](plots/{job.name}.svg)\n")
        lines += [*table(job), ""]
        lines += [notes.pop(job.name), ""] if job.name in notes else []
    lines += [f"{text}\n" for _, text in sorted(notes.items())]
    plots = {f"plots/{job.name}.svg": plot(job) for job, _, _ in jobs if drawn(job)}
    return {"RESULTS.md": "\n".join(lines).rstrip() + "\n", **plots}


def _rank(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


def drawn(job: Job) -> list[Ratio]:
    """The rows of a job that a picture shows."""
    return [row for row in job.rows if isinstance(row, Ratio)]


def plot(job: Job) -> str:
    """One bar for each comparison: the median ratio, its spread as a line, the target as a mark, 1 as the axis of no difference."""
    rows = drawn(job)
    most = max([1.2, *(max(*row.ratios, row.target.value if row.target else 0) for row in rows)])
    scale = (WIDTH - LEFT - 90) / most
    height = 40 + len(rows) * (BAR + 12)
    body = "".join(_bars(rows, scale))
    one = LEFT + scale
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(job.title)}">'
        "<style>text{font:13px system-ui,sans-serif;fill:#1c2430}.soft{fill:#586274}.reached{fill:#1d6fb8}.missed{fill:#c2410c}"
        ".free{fill:#667085}.mark{stroke:#1c2430;stroke-width:1.5}.one{stroke:#98a2b3;stroke-dasharray:3 3}"
        "@media(prefers-color-scheme:dark){text{fill:#e8ecf2}.soft{fill:#a3adbd}.reached{fill:#60a5fa}.missed{fill:#fb923c}.mark{stroke:#e8ecf2}}</style>"
        f'<line class="one" x1="{one:.1f}" y1="22" x2="{one:.1f}" y2="{height}"/><text class="soft" x="{one:.1f}" y="16" text-anchor="middle">as the peer</text>'
        f"{body}</svg>\n"
    )


def _bars(rows: list[Ratio], scale: float) -> Iterator[str]:
    for number, row in enumerate(rows):
        top = 30 + number * (BAR + 12)
        middle = top + BAR / 2
        hue = "free" if row.target is None else "reached" if row.target.reached(row.found) else "missed"
        yield f'<text x="{LEFT - 10}" y="{middle - 2}" text-anchor="end">{escape(row.what)}</text>'
        yield f'<text class="soft" x="{LEFT - 10}" y="{middle + 13}" text-anchor="end" font-size="11">{escape(row.peer)}</text>'
        yield f'<rect class="{hue}" x="{LEFT}" y="{top}" width="{row.found * scale:.1f}" height="{BAR}" rx="3"/>'
        low, high = min(row.ratios) * scale + LEFT, max(row.ratios) * scale + LEFT
        yield f'<line class="mark" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>'
        if row.target is not None:
            at = LEFT + row.target.value * scale
            yield f'<line class="mark" x1="{at:.1f}" y1="{top - 3}" x2="{at:.1f}" y2="{top + BAR + 3}"/>'
        end = max(high, LEFT + (row.target.value if row.target else 0) * scale, row.found * scale + LEFT)
        yield f'<text x="{end + 8:.1f}" y="{middle + 4}">{spell(row.found)}</text>'


def main() -> int:
    """Write what is stale, or with ``--check`` name it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
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
