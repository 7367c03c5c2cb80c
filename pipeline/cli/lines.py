"""Events as lines for people.

Takes an event, gives its line: that of a plain report, and what a terminal shows above its bars.

next: ``report``
"""

from __future__ import annotations

from pipeline.events import CdnAsked, Event, PartDone, Retrying, Serving, StepFinished, StepStarted, Warned
from pipeline.spelling import spell_count, spell_size


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
