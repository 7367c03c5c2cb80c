"""The two programs: the installed script ``modelport``, and ``invoke`` in a checkout. They differ by name alone.

Takes invoke's program, lets it list our tasks in the order of the walk and answer what it cannot parse as
every usage error here is answered: with 2 and the nearest known word.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from invoke.exceptions import Exit, ParseError
from invoke.parser.argument import Argument
from invoke.program import Program

from pipeline.cli.commands import flag_name, program_name
from pipeline.cli.namespace import GROUPS, build_namespace, list_as_walk, walk_order
from pipeline.cli.streams import drop
from pipeline.errors import Interrupted, UsageError
from pipeline.meant import nearest


def furnish(program: Program) -> None:
    """Let ``program`` list and refuse as ours do; invoke has read the checkout's tasks, but not yet what is to be done."""
    list_as_walk(program)
    program.core_args = _telling_of_dry(program.core_args)  # type: ignore[method-assign]  # as list_as_walk does
    program.parse_tasks = _unless_listing(program, program.parse_tasks)  # type: ignore[method-assign]  # as list_as_walk does
    for step in ("parse_core", "parse_tasks", "parse_cleanup"):
        setattr(program, step, _refusing(program, getattr(program, step)))


def mask_debug_log() -> None:
    """Take secrets out of what --debug logs of the command line that it parses; without it nothing is logged."""
    if logging.getLogger().handlers:
        from pipeline.cli.masking import Mask, mask_logs, secrets_in

        mask_logs(Mask(secrets_in(os.environ)))


def _telling_of_dry(make: Callable[[], list[Argument]]) -> Callable[[], list[Argument]]:
    """Let --dry be told as what it is here; invoke's own words are of shell commands."""

    def core_args() -> list[Argument]:
        made = make()
        for argument in made:
            if argument.name == "dry":
                argument.help = "Show what a task would do, and write nothing."
        return made

    return core_args


def _unless_listing(program: Program, parse: Callable[[], None]) -> Callable[[], None]:
    """Let --list parse no tasks where there are none to parse: invoke copies every flag of every task before it begins."""

    def parse_tasks() -> None:
        asked = program.args
        if program.core.unparsed or asked.help.value or not asked.list.value:
            parse()

    return parse_tasks


def _refusing(program: Program, parse: Callable[..., None]) -> Callable[..., None]:
    def refusing(*argv: Any) -> None:
        try:
            parse(*argv)
        except ParseError as error:
            context = error.context if error.context is not None else program.initial_context
            _refuse(
                _as_typed(str(error), program.argv),
                [*context.flag_names(), *program.initial_context.flag_names(), *walk_order()],
                context.name,
            )
        except Exit as end:
            if not end.message:
                raise
            _refuse(end.message, GROUPS)
        # It may only just have been found.
        mask_debug_log()

    return refusing


def _as_typed(message: str, words: Sequence[str]) -> str:
    """Invoke reads ``-model`` as the flags -m, -o, … and names the first of them: name what was typed."""
    found = re.search(r"'(-\w)'", message)
    typed = next((word for word in words if found and word.startswith(found[1]) and len(word) > len("-x")), "")
    return message.replace(f"'{found[1]}'", f"'{typed}'") if found and typed else message


def _refuse(message: str, known: Iterable[str], task: str | None = None) -> NoReturn:
    """End with what invoke's parser says, which has its words in quotes, or a flag as ``<Argument: models_dir>``."""
    found = re.search(r"'(.+)'", message)
    word = found[1] if found else ""
    looks = f"{program_name()} --help {task}" if task else f"{program_name()} --list"
    if near := _meant(word, known, task):
        hint = f"Did you mean {near!r}?"
    elif word and word in GROUPS and not task:
        hint = f"{looks} {word} shows what there is."
    elif task and word and not word.startswith("-"):
        hint = f"A value follows its flag, as in --model bert-v2.1.0; {looks} shows what there is."
    else:
        hint = f"{looks} shows what there is."
    said = re.sub(r"Flag <Argument: (\w+).*> needed value .*", lambda found: f"{flag_name(found[1])} needs a value", message)
    sys.stderr.write(f"error: {said}\n  {hint}\n")
    raise Exit(code=UsageError.exit_code)


def _meant(word: str, known: Iterable[str], task: str | None) -> str:
    """The word that was probably meant; none where it is no slip of the pen: a group, or a value without its flag."""
    if word.startswith("-"):
        # All flags are alike in their dashes.
        flags = {name.lstrip("-"): name for name in known if name.startswith("--")}
        return flags.get(nearest(word.lstrip("-"), flags, cutoff=0.6), "")
    return "" if task or word in GROUPS else nearest(word, known)


def make_program() -> Program:
    """Make ``modelport`` with its version and its listing."""
    from importlib.metadata import version

    program = Program(name="modelport", binary="modelport", version=version("modelport"), namespace=build_namespace())
    furnish(program)
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
