"""Events as lines for people.

Takes an event, gives its line: that of a plain report, and what a terminal shows above its bars.

next: ``report``
"""

from __future__ import annotations

import re

from pipeline.events import CdnAsked, Event, PartDone, Retrying, Serving, StepFinished, StepStarted, Warned
from pipeline.spelling import spell_count, spell_size

# What a terminal obeys, and what begins a line of its own or turns one round: the name of a file may hold any of it,
# and so may what a server answers.
_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def in_line(text: str) -> str:
    """Spell out whatever in a line is no character to be shown: the end of a line as a backslash and an n."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain_line(event: Event) -> str:
    """Say ``event`` in one line, or in none."""
    match event:
        case StepStarted(step, items, size):
            return f"{step}: " + (_amount(items, size) or "started")
        case StepFinished(step, items, size, seconds):
            done = _amount(items, size)
            return f"{step}: done" + (f", {done}" if done else "") + f" in {seconds:.1f} s"
        case Retrying(what, attempt, wait_s, why):
            return f"retry {attempt} of {what} in {wait_s:.1f} s: {why}"
        case Warned(code, message):
            return f"warning ({code}): {message}"
        case Serving(url, what):
            return f"serving {what} at {url}; Ctrl-C stops it"
        case CdnAsked(cdn, done, running, left, failed):
            more = ", ".join(f"{count} {word}" for count, word in ((left, "for later"), (failed, "failed")) if count)
            return f"{cdn}: {spell_count(done, 'URL')} done, {running} under way{f', {more}' if more else ''}"
        case PartDone(_, name, size, "replaced"):
            return f"replaced part {name} ({spell_size(size)})"
        case _:
            return ""


def _amount(items: int, size: int) -> str:
    return ", ".join([spell_count(items, "item")] * bool(items) + [spell_size(size)] * bool(size))
