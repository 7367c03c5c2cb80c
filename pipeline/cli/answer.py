"""An answer: what a task found out, for programs and for people.

Takes nothing of the command line, so that tasks make it and reports show it without knowing each other.

next: ``report``
"""

from __future__ import annotations

from typing import Any

from pipeline.errors import ModelportError

NEXT = "next: "


class Answer:
    """What a command found out: a document for programs and a short summary for people.

    ``left``: the run is done, but its exit code is this error's, as when work is left in the ledger.
    """

    def __init__(self, document: Any, summary: str, *, left: ModelportError | None = None) -> None:
        self.document = document
        self.summary = summary
        self.left = left


def summary_of_dry_run(summary: str) -> str:
    """What a person reads of a run that changed nothing: worded as if it had been done, except for what to do next."""
    lines = summary.split("\n")
    said = [line for line in lines if not line.startswith(NEXT)]
    # What it names may not be there: a file to look at, a release to verify.
    after = [f"{NEXT}the same without --dry"] if len(said) < len(lines) else []
    return "\n".join(["dry run, nothing was changed:", *said, *after])
