"""What to type next, so that it can be typed: by the program that runs, with the store that it was given.

Takes a summary or a hint with ``invoke TASK --flags`` in it, and the settings that were given as flags;
gives the text with those flags added to each task that takes them, and the program's own name.

next: ``report``
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

# Without these another task would look elsewhere, or make other parts; the rest only decides how fast it goes.
CARRIED = ("store", "source", "ca_bundle", "endpoint", "region", "models_dir", "part_size")

_COMMAND = re.compile(r"\binvoke (--help )?([a-z]+(?:\.[a-z]+)?)((?: --[a-z-]+(?: (?!--)(?:'[^']*'|[^\s`,;]+))?)*)")


def flag_words(**flags: str | Sequence[str]) -> str:
    """Spell flags as one types them, each after a space; a list repeats its flag, nothing leaves it out."""
    given = [(name, text) for name, value in flags.items() for text in ([value] if isinstance(value, str) else value)]
    return "".join(f" --{name.strip('_').replace('_', '-')} {shlex.quote(text)}" for name, text in given if text)


def make_typable(text: str, *, program: str, takes: Mapping[str, Sequence[str]], given: Mapping[str, str | Sequence[str]]) -> str:
    """Complete each command in ``text``. ``takes`` has the settings that each task takes as flags, ``given`` those of this run."""

    def complete(found: re.Match[str]) -> str:
        asks, task, rest = found.groups()
        if task not in takes:
            return found[0]
        places: dict[str, str | Sequence[str]] = {}
        if not asks:
            said = [name for name in CARRIED if name in given and f"--{name.replace('_', '-')} " not in f"{rest} "]
            places = {name: given[name] for name in said if name in takes[task]}
        return f"{program} {asks or ''}{task}{rest}{flag_words(**places)}"

    return _COMMAND.sub(complete, text)
