"""What a benchmark found out, in a form that a table, a picture and a later run can be made of.

A benchmark makes one ``Job``, adds what it measured, and ends with ``finish``: that prints the table and keeps the figures in
``benchmarks/figures/NAME.json``, of which ``results.py`` makes RESULTS.md and the plots.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

FIGURES = Path(__file__).with_name("figures")
Sign = Literal["≥", "≤", ""]


@dataclass(frozen=True)
class Target:
    """What is to be reached: at least, or at most, this."""

    sign: Sign
    value: float

    def reached(self, found: float) -> bool:
        """Tell whether ``found`` reaches it."""
        return found >= self.value if self.sign == "≥" else found <= self.value

    def __str__(self) -> str:
        return f"{self.sign} {spell(self.value)}"


@dataclass
class Ratio:
    """Ours beside a peer, turn by turn. ``ratio`` is the peer's figure through ours: above 1 ours is the quicker or smaller."""

    what: str
    peer: str
    ours: list[float]
    theirs: list[float]
    unit: str = "s"
    target: Target | None = None
    kind: str = "ratio"

    @property
    def ratios(self) -> list[float]:
        """The ratio of each turn."""
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def found(self) -> float:
        """The median of the turns' ratios, which a slow moment of the machine disturbs least."""
        return statistics.median(self.ratios)


@dataclass
class Amount:
    """A figure by itself, such as bytes or requests."""

    what: str
    found: float
    unit: str
    target: Target | None = None
    kind: str = "amount"


@dataclass
class Job:
    """One benchmark's findings, by ``versions`` of its peers.

    ``setting`` says what was measured on what; ``command``, this process's own, repeats it.
    """

    name: str
    title: str
    setting: str
    command: str = field(default_factory=lambda: shlex.join([f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]))
    rows: list[Ratio | Amount] = field(default_factory=list)
    not_measured: list[tuple[str, str]] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def compare(
        self, what: str, peer: str, ours: Sequence[float], theirs: Sequence[float], *, unit: str = "s", least: float | None = None
    ) -> None:
        """Add a comparison of as many turns as both lists have; ``least`` is the ratio to be reached."""
        target = Target("≥", least) if least is not None else None
        self.rows.append(Ratio(what, peer, list(ours), list(theirs), unit, target))

    def amount(self, what: str, found: float, unit: str, *, least: float | None = None, most: float | None = None) -> None:
        """Add a figure; ``least`` or ``most`` is what is to be reached."""
        target = Target("≥", least) if least is not None else Target("≤", most) if most is not None else None
        self.rows.append(Amount(what, found, unit, target))

    def show(self, *lines: str) -> None:
        """Add lines of Markdown, such as a table of another shape."""
        self.more += ["", *lines]

    def lacks(self, peer: str, why: str) -> None:
        """Name a peer that could not be measured, and why."""
        self.not_measured.append((peer, why))

    def missed(self) -> list[str]:
        """What was not reached."""
        return [row.what for row in self.rows if verdict(row) == "missed"]

    def finish(self) -> int:
        """Print the table and keep the figures; gives the exit code: 1 if a target was missed."""
        print("\n".join(table(self)))
        FIGURES.mkdir(exist_ok=True)
        found = asdict(self) | {"measured_at": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine()}
        (FIGURES / f"{self.name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return 1 if self.missed() else 0


def in_turn(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Run every contender once in each round, one after the other; gives the seconds of each by name."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            started_s = time.perf_counter()
            contender()
            taken[name].append(time.perf_counter() - started_s)
    return taken


def read_job(path: Path) -> tuple[Job, str, str]:
    """A kept job, the day that it was measured on, and the machine."""
    found = json.loads(path.read_text(encoding="utf-8"))
    day, where = found.pop("measured_at"), found.pop("machine")
    rows: list[Ratio | Amount] = []
    for row in found.pop("rows"):
        target = Target(**row.pop("target")) if row["target"] else row.pop("target")
        rows.append((Ratio if row["kind"] == "ratio" else Amount)(**row, target=target))
    lacking = [(peer, why) for peer, why in found.pop("not_measured")]
    return Job(**found, rows=rows, not_measured=lacking), day, where


def table(job: Job) -> list[str]:
    """The Markdown of a job's figures."""
    ratios = [row for row in job.rows if isinstance(row, Ratio)]
    amounts = [row for row in job.rows if isinstance(row, Amount)]
    lines: list[str] = []
    if ratios:
        lines += [
            "| what | ours | peer | its | its : ours (lowest to highest) | target | |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_ratio_line(row) for row in ratios]
    if amounts:
        lines += [*([""] if lines else []), "| what | found | target | |", "| --- | --- | --- | --- |"]
        lines += [f"| {_cell(row.what)} | {f'{spell(row.found)} {row.unit}'.strip()} | {_target(row)} |" for row in amounts]
    lines += job.more if lines else job.more[1:]
    lines += [f"\nNot measured: {peer}: {why}." for peer, why in job.not_measured]
    return lines


def _ratio_line(row: Ratio) -> str:
    ours, theirs = statistics.median(row.ours), statistics.median(row.theirs)
    spread = f" ({spell(min(row.ratios))} to {spell(max(row.ratios))})" if len(row.ratios) > 1 else ""
    return f"| {_cell(row.what)} | {spell(ours)} {row.unit} | {_cell(row.peer)} | {spell(theirs)} {row.unit} | {spell(row.found)}{spread} | {_target(row)} |"


def _target(row: Ratio | Amount) -> str:
    return f"{row.target} | {'reached' if verdict(row) == 'reached' else '**MISSED**'}" if row.target else " | "


def verdict(row: Ratio | Amount) -> Literal["reached", "missed", "free"]:
    """Whether the target was reached; free is who has none."""
    if row.target is None:
        return "free"
    return "reached" if row.target.reached(row.found) else "missed"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def spell(value: float) -> str:
    """Three digits that count; whole numbers whole."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> str:
    """The processor, cores, memory and Python that the figures belong to, and how busy they were, this job among the rest."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {cpu or platform.machine()}, {gib:.0f} GiB, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
