"""Guides as programs: reads a page's blocks and runs its commands exactly as they are printed, on real servers.

What a reader does, this does. Each ``sh`` block is typed into bash; variables and folder go on from block to block.
A ``text`` block that follows is what they see. Times, spans, digests and who did it (you@laptop) differ by nature and are
compared by their form; ``…`` stands for anything else that does, alone on a line for any number of lines. A comment in front of a block says what no command can:

* ``<!-- exits 7 -->``: the block ends with that code, not with 0.
* ``<!-- at: site -->``: from here on at another machine, which shares no folder and no home with the first one.
* ``<!-- stays -->``: it goes on in a terminal of its own until ``<!-- Ctrl-C -->``; what it must have said is the ``text`` block.
* ``<!-- types: README.md -->``: the first ``sh`` block of that page is typed.
* ``<!-- happens: the next day -->``: something outside of the terminal; the test that runs the guide does it.

Nothing in a command is replaced but the ports of ``PORTS``, because a test may not take a port that somebody has.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.processes import free_port
from tests.servers.relay import Relay, Rule

CHECKOUT = Path(__file__).resolve().parents[1]
GUIDES = CHECKOUT / "docs" / "guides"
BIN = Path(sys.executable).parent
# Where the guides serve on one's own machine; a test takes free ports instead.
PORTS = ("8000", "8080")
PATIENCE_S = 120

_BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$|^<!-- (?P<mark>.*?) -->$", re.MULTILINE | re.DOTALL)
# What no two runs have in common, and what is compared in its place.
_FORMS = [
    # First: some digests begin like a date.
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "<digest>"),
    (re.compile(r"\b20\d\d-?\d\d-?\d\d(?:T\d\d:?\d\d:?\d\dZ)?"), "<time>"),
    (re.compile(r"\b\d+\.\d+ (?:m?s|ms/MiB)\b"), "<span>"),
    (re.compile(r"-[0-9a-f]{8}\b"), "-<id>"),
    (re.compile(r"\b[\w.-]+@[\w.-]+(?=[: ])(?<!@stable)"), "<who>"),
]
# Each block is a bash of its own that hands on what was exported and where it stands.
_SHELL = """[ ! -f {state} ] || . {state}
trap '{{ export -p; printf "cd %q\\n" "$PWD"; }} > {state}' EXIT
set -e
{text}"""


@dataclass(frozen=True)
class Block:
    """Commands of a page, and what is said about them."""

    line: int
    text: str
    exits: int = 0
    stays: bool = False
    shows: str | None = None


@dataclass(frozen=True)
class Mark:
    """Something that is no command: ``at``, ``happens`` or ``Ctrl-C``."""

    line: int
    kind: str
    value: str = ""


def read_guide(text: str) -> Iterator[Block | Mark]:
    """Read the steps of a page in order.

    Raises:
        ValueError: a mark that means nothing, or an output without a command before it.
    """
    waiting: Block | None = None
    said: dict[str, Any] = {}
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found["kind"] == "text":
            if waiting is None:
                raise ValueError(f"line {line}: no command is before this output")
            yield dataclasses.replace(waiting, shows=found["text"])
            waiting = None
            continue
        step = _read_mark(line, found["mark"]) if found["mark"] else Block(line, found["text"], **said)
        if isinstance(step, dict):
            said |= step
        elif found["mark"] or found["kind"] == "sh":
            if waiting:
                yield waiting
            waiting, said = (step, {}) if isinstance(step, Block) else (None, said)
            if isinstance(step, Mark):
                yield step
    if waiting:
        yield waiting


def _read_mark(line: int, mark: str) -> Block | Mark | dict[str, Any]:
    """What a comment says: something that happens, a block to type, or what is true of the next block."""
    kind, _, value = mark.partition(": ")
    if exits := re.fullmatch(r"exits (\d+)", kind):
        return {"exits": int(exits[1])}
    if kind == "stays":
        return {"stays": True}
    if kind == "types":
        return Block(line, first_commands(value))
    if kind in {"at", "happens", "Ctrl-C"}:
        return Mark(line, kind, value)
    raise ValueError(f"line {line}: {kind!r} is no mark of a guide")


def _formal(text: str) -> str:
    for form, name in _FORMS:
        text = form.sub(name, text)
    return text


def first_commands(page: str) -> str:
    """The first ``sh`` block of a page of the checkout."""
    return next(step.text for step in read_guide((CHECKOUT / page).read_text(encoding="utf-8")) if isinstance(step, Block))


def looks_like(shown: str, found: str) -> bool:
    """Whether an output is the one that a page shows."""
    pattern = ""
    shown, found = _formal(shown), _formal(found)
    for line in shown.rstrip("\n").split("\n"):
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(re.escape(piece) for piece in line.split("…")) + "\n"
    return re.fullmatch(pattern, re.sub(r"[ \t]+$", "", found.rstrip("\n"), flags=re.MULTILINE) + "\n") is not None


@dataclass
class Machine:
    """A computer of somebody: a home, a folder to work in, and what is installed there."""

    home: Path
    folder: Path
    path: str
    environment: Mapping[str, str] = field(default_factory=dict)
    wrap: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": self.path, "HOME": str(self.home), "LANG": "C.UTF-8", **self.environment}

    def start(self, text: str, *, mixed: bool = False) -> subprocess.Popen[str]:
        """Type something; ``mixed`` gives stderr among stdout, as a terminal shows it."""
        state = shlex.quote(str(self.home / ".shell-state"))
        return subprocess.Popen(
            [*self.wrap, "bash", "-c", _SHELL.format(state=state, text=text)],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if mixed else subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


class Reader:
    """Somebody who follows a guide from its first line to its last, on one machine or several."""

    def __init__(self, machines: Mapping[str, Machine], happens: Mapping[str, Callable[[], None]] | None = None) -> None:
        self.machines = machines
        self.at = next(iter(machines))
        self._happens = dict(happens or {})
        self._ports = {printed: str(free_port()) for printed in PORTS}
        self._staying: list[subprocess.Popen[str]] = []
        self.typed: list[Block] = []

    @property
    def folder(self) -> Path:
        """Where the reader's files are at the machine in use."""
        return self.machines[self.at].folder

    def follow(self, guide: str) -> None:
        """Do all that the page says, in order; everything that stays is ended."""
        try:
            for step in read_guide((GUIDES / guide).read_text(encoding="utf-8")):
                self._do(step, f"{guide}:{step.line}")
        finally:
            while self._staying:
                self._end(self._staying.pop())
        assert not self._happens, f"{guide} does not say that it happens: {sorted(self._happens)}"

    def may_happen(self, name: str, does: Callable[[], None]) -> None:
        """Add something that the page says happens."""
        self._happens[name] = does

    def stop_at(self, relay: Relay, path: str, *, nth: int, by: signal.Signals) -> None:
        """Let the next command be stopped by a signal while its nth upload below a path is on its way."""
        rule = relay.spoil(Rule("hold", "PUT", path, nth=nth))

        def stop() -> None:
            assert rule.held.wait(PATIENCE_S)
            os.killpg(self._child.pid, by)
            self._child.wait(PATIENCE_S)
            rule.release.set()

        threading.Thread(target=stop, daemon=True).start()

    def port(self, printed: str) -> str:
        """The port that stands for the one that is printed."""
        return self._ports[printed]

    def _do(self, step: Block | Mark, where: str) -> None:
        if isinstance(step, Block):
            self._type(step, where)
        elif step.kind == "at":
            self.at = step.value
        elif step.kind == "happens":
            self._happens.pop(step.value)()
        else:
            self._end(self._staying.pop())

    def _type(self, block: Block, where: str) -> None:
        self.typed.append(block)
        if block.stays:
            child = self.machines[self.at].start(self._real(block.text), mixed=True)
            self._staying.append(child)
            self._wait_for(child, block.shows or "", where)
            return
        code, out, err = self.answer(block)
        story = f"{where}\n{block.text}--- exit code {code}, expected {block.exits}\n{out}--- stderr\n{err}"
        assert code == block.exits, story
        if block.shows is not None:
            # What failed says so on stderr; what works says there only how far it is.
            said = out + err if block.exits else out
            assert looks_like(block.shows, said), f"{story}--- the page shows\n{block.shows}"

    def answer(self, block: Block) -> tuple[int, str, str]:
        """Type the commands; gives exit code, stdout and stderr as they would look with the printed ports and folders."""
        child = self._child = self.machines[self.at].start(self._real(block.text))
        try:
            out, err = child.communicate(timeout=PATIENCE_S)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
        # A shell that a signal ended is reported as shells report it.
        code = child.returncode if child.returncode >= 0 else 128 - child.returncode
        return code, self._printed(out), self._printed(err)

    def _wait_for(self, child: subprocess.Popen[str], shows: str, where: str) -> None:
        """Read what a server says until it is what the page shows."""
        assert child.stdout is not None
        said = ""
        while not looks_like(shows, self._printed(said)):
            line = child.stdout.readline()
            assert line, f"{where}: it ended\n{said}"
            said += line

    def _end(self, child: subprocess.Popen[str]) -> None:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGINT)
        child.communicate(timeout=30)

    def _real(self, text: str) -> str:
        for printed, taken in self._ports.items():
            text = re.sub(rf"\b{printed}\b", taken, text)
        return text

    def _printed(self, text: str) -> str:
        for printed, taken in self._ports.items():
            text = re.sub(rf"\b{taken}\b", printed, text)
        for machine in self.machines.values():
            text = text.replace(str(machine.home), "/home/you")
        return text
