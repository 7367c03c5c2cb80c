"""Reporting: how events, answers and failures reach a person or a program.

Takes events of ``pipeline.events`` and answers of commands; writes the answer to stdout and all
else to stderr, masked. ``plain`` is one line a fact, ``rich`` has bars and is for terminals,
``json`` is JSON Lines on stderr and one JSON document on stdout. Fields are only ever added.

next: ``commands``
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from pipeline.cli.answer import Answer
from pipeline.cli.lines import in_line, plain_line
from pipeline.cli.pace import Pace
from pipeline.cli.streams import write_line
from pipeline.errors import ModelportError, UsageError
from pipeline.events import CdnAsked, Event, PartDone, Progress, Retrying, Serving, StepFinished, StepStarted, Warned
from pipeline.spelling import spell_size

if TYPE_CHECKING:
    from types import TracebackType

    from pipeline.cli.masking import Mask

MODES = ("auto", "plain", "json")
JSON_PACE_S = 1.0
# Often enough that no CI system takes a long publish for a hung one.
PLAIN_PACE_S = 30.0
EVENT_NAMES: dict[type[Event], str] = {
    StepStarted: "step_started",
    Progress: "progress",
    PartDone: "part_done",
    Retrying: "retrying",
    Warned: "warned",
    Serving: "serving",
    CdnAsked: "cdn_asked",
    StepFinished: "step_finished",
}


class Reporter(Protocol):
    """Shows one command's run. ``listen`` is the listener that walks are given."""

    def listen(self, event: Event) -> None:
        """Show that something happened."""
        ...

    def answer(self, answer: Answer) -> None:
        """Write the result to stdout, once, at the end."""
        ...

    def failed(self, code: int, message: str, hint: str) -> None:
        """Write why there is no result, as the last thing on stderr."""
        ...

    def close(self) -> None:
        """Give the terminal back."""
        ...


def open_report(mode: str, mask: Mask) -> Reporter:
    """Choose how to report; ``auto`` is rich on a terminal and plain lines elsewhere.

    Raises:
        UsageError: ``mode`` is none of auto, plain, json.
    """
    for stream in (sys.stdout, sys.stderr):
        # A file name that this terminal's encoding cannot spell must not end a publish.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if mode == "json":
        return JsonReport(mask)
    if mode not in MODES:
        raise UsageError(f"--report {mode}: expected one of {', '.join(MODES)}", hint="Leave it out to let the terminal decide.")
    if mode == "auto" and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from pipeline.cli.terminal import RichReport

        return RichReport(mask)
    return PlainReport(mask)


class PlainReport:
    """One line for each fact that a person would want in a log, and a sign of life in every long step."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._pace = Pace(PLAIN_PACE_S)
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}

    def listen(self, event: Event) -> None:
        """Write a line for ``event`` if it has one."""
        if isinstance(event, StepStarted):
            self._done[event.step], self._total[event.step] = 0, event.bytes
        line = self._progress_line(event) if isinstance(event, Progress) else plain_line(event)
        if line:
            self._line(line)

    def _progress_line(self, event: Progress) -> str:
        told = self._pace.add(event)
        if told is None:
            return ""
        self._done[event.step] = done = self._done.get(event.step, 0) + told.bytes
        total = self._total.get(event.step, 0)
        return f"{event.step}: {spell_size(done)}" + (f" of {spell_size(total)}" if total else "")

    def answer(self, answer: Answer) -> None:
        """Write the summary to stdout."""
        write_line(sys.stdout, self._mask.text(answer.summary))

    def failed(self, code: int, message: str, hint: str) -> None:
        """Write what failed and what to do next."""
        del code  # It is the process's exit code; a person reads the words.
        self._line(f"error: {message}")
        if hint:
            self._line(f"  {hint}")

    def close(self) -> None:
        """Nothing was opened."""

    def _line(self, line: str) -> None:
        write_line(sys.stderr, in_line(self._mask.text(line)))


class JsonReport:
    """JSON Lines on stderr, one document on stdout."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._pace = Pace(JSON_PACE_S)

    def listen(self, event: Event) -> None:
        """Write ``event`` as one object; progress is summed up and told once a second."""
        told: Event | None = event
        if isinstance(event, Progress):
            told = self._pace.add(event)
        elif isinstance(event, StepFinished) and (rest := self._pace.rest(event.step)):
            self._write_event(rest)
        if told is not None:
            self._write_event(told)

    def answer(self, answer: Answer) -> None:
        """Write the document to stdout on one line."""
        self._write(sys.stdout, plain_value(answer.document))

    def failed(self, code: int, message: str, hint: str) -> None:
        """Write the object that is always the last line of a failure."""
        self._write(sys.stderr, {"event": "failed", "code": code, "error": message, "hint": hint})

    def close(self) -> None:
        """Nothing was opened."""

    def _write_event(self, event: Event) -> None:
        self._write(sys.stderr, {"event": EVENT_NAMES[type(event)]} | asdict(event))

    def _write(self, stream: TextIO, value: Any) -> None:
        write_line(stream, json.dumps(self._mask.value(value), ensure_ascii=False, default=str))


def plain_value(value: Any) -> Any:
    """Turn dataclasses and structs into what JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain_value(asdict(value))
    if hasattr(value, "__struct_fields__"):
        import msgspec

        return msgspec.to_builtins(value)
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    return value


def report_bug(
    reporter: Reporter, mask: Mask, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Show an exception that no one raised on purpose: its traceback, masked, then the failure. Exit code 1.

    Takes the place of ``sys.excepthook`` while a command runs.
    """
    reporter.close()
    write_line(sys.stderr, mask.text("".join(traceback.format_exception(kind, error, trace)).rstrip("\n")))
    reporter.failed(
        ModelportError.exit_code,
        f"{kind.__name__}: {error}",
        "This is a bug in modelport; please report it with the lines above.",
    )
