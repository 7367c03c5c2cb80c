"""The picture of a job's figures, as SVG that is read on light and on dark.

Takes a ``Job``. Ratios stand on a logarithmic axis, where twice as quick is as far from the peer as half as quick: a bar leads
from the peer to the median, a line over it shows the spread of the turns, a mark the target. A job without a peer shows its
amounts, the bars of one unit on one scale.
next: ``results.py``
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from itertools import chain

from figures import Amount, Job, Ratio, spell, verdict

WIDTH, LEFT, RIGHT, HEAD = 800, 350, 110, 28
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
# Words that fit beside the bars, in characters of the two sizes.
WHAT_CHARS, PEER_CHARS = 48, 56
# Labels of two ticks closer than this run into each other.
TICK_PX = 26
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1c2430}.soft{fill:#586274;font-size:11px}.end{text-anchor:end}.mid{text-anchor:middle}"
    ".reached{fill:#3b82c4}.missed{fill:#d9642c}.free{fill:#98a2b3}.spread{stroke:#1c2430;stroke-width:1.5}"
    ".target{stroke:#1c2430;stroke-width:2.5}.tick{stroke:#d5dae2}.one{stroke:#667085}"
    "@media(prefers-color-scheme:dark){text{fill:#e8ecf2}.soft{fill:#a3adbd}.free{fill:#667085}.spread,.target{stroke:#f4f6f9}"
    ".tick{stroke:#333c4a}.one{stroke:#a3adbd}}"
)


def plot(job: Job) -> str:
    """One bar for each comparison, or for each amount where nothing is compared; empty if the job has neither."""
    ratios = [row for row in job.rows if isinstance(row, Ratio)]
    amounts = [row for row in job.rows if isinstance(row, Amount)]
    if ratios:
        return _page(job, HEAD + 38 * len(ratios) + 4, _ratios(ratios))
    if amounts:
        return _page(job, 10 + 24 * len(amounts), _amounts(amounts))
    return ""


def _page(job: Job, height: int, body: Iterator[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(job.title)}">\n'
        f"<style>{_STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"
    )


def _ratios(rows: list[Ratio]) -> Iterator[str]:
    values = [*chain.from_iterable(row.ratios for row in rows), *(row.target.value for row in rows if row.target)]
    low, high = math.log(min(0.8, *values) * 0.95), math.log(max(1.25, *values) * 1.05)

    def at(value: float) -> float:
        return LEFT + (math.log(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    foot, free = HEAD + 38 * len(rows), -math.inf
    yield f'<text class="soft end" x="{LEFT - 10}" y="14">the peer’s figure : ours</text>'
    for tick in TICKS:
        if low <= math.log(tick) <= high:
            yield f'<line class="{"one" if tick == 1 else "tick"}" x1="{at(tick):.1f}" y1="20" x2="{at(tick):.1f}" y2="{foot}"/>'
            if at(tick) - free >= TICK_PX:
                yield f'<text class="soft mid" x="{at(tick):.1f}" y="14">{tick:g}</text>'
                free = at(tick)
    for number, row in enumerate(rows):
        top = HEAD + 38 * number
        yield f'<text class="end" x="{LEFT - 10}" y="{top + 12}">{escape(row.what)}</text>'
        yield f'<text class="soft end" x="{LEFT - 10}" y="{top + 26}">{escape(row.peer)}</text>'
        start, end = sorted((at(1), at(row.found)))
        yield f'<rect class="bar {verdict(row)}" x="{start:.1f}" y="{top + 4}" width="{max(end - start, 1):.1f}" height="20"/>'
        yield _line("spread", at(min(row.ratios)), top + 14, at(max(row.ratios)), top + 14)
        if row.target:
            yield _line("target", at(row.target.value), top, at(row.target.value), top + 28)
        yield f'<text x="{WIDTH - RIGHT + 10}" y="{top + 18}">{spell(row.found)}</text>'


def _amounts(rows: list[Amount]) -> Iterator[str]:
    # Bars of one unit stand together, for they alone can be compared.
    units = list(dict.fromkeys(row.unit for row in rows))
    for number, row in enumerate(sorted(rows, key=lambda row: units.index(row.unit))):
        most = max(max(other.found, other.target.value if other.target else 0) for other in rows if other.unit == row.unit) or 1
        scale, top = (WIDTH - LEFT - RIGHT) / most, 6 + 24 * number
        yield f'<text class="end" x="{LEFT - 10}" y="{top + 13}">{escape(row.what.replace("`", ""))}</text>'
        yield f'<rect class="bar {verdict(row)}" x="{LEFT}" y="{top + 1}" width="{max(row.found * scale, 1):.1f}" height="16"/>'
        if row.target:
            yield _line("target", LEFT + row.target.value * scale, top - 2, LEFT + row.target.value * scale, top + 20)
        yield f'<text x="{WIDTH - RIGHT + 10}" y="{top + 13}">{escape(f"{spell(row.found)} {row.unit}".strip())}</text>'


def _line(kind: str, left: float, top: float, right: float, bottom: float) -> str:
    return f'<line class="{kind}" x1="{left:.1f}" y1="{top}" x2="{right:.1f}" y2="{bottom}"/>'
