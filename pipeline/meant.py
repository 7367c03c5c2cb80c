"""Which known word somebody probably meant.

Takes a word that nothing is called and the words that are, gives the end of an error message.

next: ``spelling``
"""

from __future__ import annotations

from collections.abc import Iterable

# So many known words fit into a line that is still read.
_SHOWN = 10


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.5) -> str:
    """The known word that is most like ``word``; empty where none is as like it as ``cutoff``, of 1."""
    # Not before somebody mistypes: it takes as long to import as half of the command line.
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def suggest(word: str, known: Iterable[str], *, before: str = "", none: str = "There is none.") -> str:
    """Say as a hint which known word was probably meant, spelled after ``before``; else what there is, else ``none``."""
    words = list(known)
    if near := nearest(word, words):
        return f"Did you mean {before}{near}?"
    if not words:
        return none
    return f"There is: {', '.join(words[:_SHOWN])}" + (f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else "")


def ask(word: str, known: Iterable[str]) -> str:
    """Ask at the end of a sentence which known word was meant, or name them all."""
    words = list(known)
    near = nearest(word, words)
    return f"did you mean {near!r}?" if near else f"known are: {', '.join(words)}"
