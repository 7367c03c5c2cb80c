"""The installed script ``modelport``: the same tasks as ``invoke`` in a checkout, without one.

Takes the command line, gives the exit code. Its one difference to ``invoke``: a command line that
cannot be parsed ends with 2, as every usage error here does, and names the nearest known word.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from importlib.metadata import version

from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from pipeline.cli.masking import Mask, mask_logs, secrets_in
from pipeline.cli.namespace import build_namespace, list_as_walk, walk_order
from pipeline.cli.streams import drop
from pipeline.errors import Interrupted, UsageError


class ModelportProgram(Program):
    """invoke's program with our namespace and our answer to what cannot be parsed."""

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse the core flags."""
        try:
            super().parse_core(argv)
        except ParseError as error:
            self._refuse(error)
        mask_logs(Mask(secrets_in(os.environ)))

    def parse_tasks(self) -> None:
        """Parse the tasks and their flags."""
        try:
            super().parse_tasks()
        except ParseError as error:
            self._refuse(error)

    def parse_cleanup(self) -> None:
        """Answer ``--help`` and ``--list``."""
        try:
            super().parse_cleanup()
        except ParseError as error:
            self._refuse(error)

    def _refuse(self, error: ParseError) -> None:
        context = error.context if error.context is not None else self.initial_context
        known = [*context.flag_names(), *self.initial_context.flag_names(), *walk_order()]
        word = re.search(r"No idea what '(.+)' is!", str(error))
        close = difflib.get_close_matches(word[1], known, n=1, cutoff=0.5) if word else []
        where = f" {error.context.name}" if error.context is not None and error.context.name else ""
        hint = f"Did you mean {close[0]!r}?" if close else f"{self.binary} --help{where} shows what there is."
        sys.stderr.write(f"error: {error}\n  {hint}\n")
        raise Exit(code=UsageError.exit_code) from error


def make_program() -> ModelportProgram:
    """Make the program with its version and its listing."""
    program = ModelportProgram(name="modelport", binary="modelport", version=version("modelport"), namespace=build_namespace())
    list_as_walk(program)
    return program


def main() -> None:
    """Run ``modelport``; ends the process."""
    try:
        make_program().run()
    except KeyboardInterrupt:
        sys.exit(Interrupted.exit_code)
    except BrokenPipeError:
        # A listing or a help text whose reader had seen enough, as in `modelport --help fetch | head`.
        drop(sys.stdout)
