"""Bars for a person at a terminal: ``RichReport``, the only user of rich.

Takes the events of a run, shows one bar a step on stderr; the answer goes to stdout as plain text, so
that it can be copied. It is imported only when stderr is a terminal.

next: ``commands``
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text

from pipeline.cli.answer import Answer
from pipeline.cli.lines import in_line, plain_line
from pipeline.cli.streams import write_line
from pipeline.events import CdnAsked, Event, PartDone, Retrying, Serving, StepFinished, StepStarted, Warned
from pipeline.events import Progress as Progressed

if TYPE_CHECKING:
    from pipeline.cli.masking import Mask


class RichReport:
    """One bar for each running step; warnings and retries as lines above the bars."""

    def __init__(self, mask: Mask, console: Console | None = None) -> None:
        self._mask = mask
        self._console = console or Console(stderr=True, highlight=False)
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )

    def listen(self, event: Event) -> None:
        """Move a bar or write a line."""
        match event:
            case StepStarted(step, _, size):
                self._progress.start()
                self._bars[step] = self._progress.add_task(step, total=size or None)
            case Progressed(step, size) if step in self._bars:
                self._progress.advance(self._bars[step], size)
            case StepFinished(step):
                if step in self._bars:
                    self._progress.remove_task(self._bars.pop(step))
                self._line(plain_line(event), "green")
            case Warned() | Retrying() | Serving():
                self._line(plain_line(event), "yellow")
            case CdnAsked():
                self._line(plain_line(event), "")
            case PartDone(how="replaced"):
                self._line(plain_line(event), "yellow")
            case _:
                pass

    def answer(self, answer: Answer) -> None:
        """Write the summary to stdout."""
        write_line(sys.stdout, self._mask.text(answer.summary))

    def failed(self, code: int, message: str, hint: str) -> None:
        """Write what failed and what to do next."""
        del code  # It is the process's exit code; a person reads the words.
        self._line(f"error: {message}", "bold red")
        if hint:
            self._line(f"  {hint}", "")

    def close(self) -> None:
        """Take the bars off the terminal."""
        self._progress.stop()

    def _line(self, line: str, style: str) -> None:
        # Text, not markup: a file name may hold square brackets. Soft wrap: a hint may be a command to copy.
        self._console.print(Text(in_line(self._mask.text(line)), style=style), soft_wrap=True)
