"""What a person reads after ``keep`` and ``gc``.

Takes the results of walks, gives text.

next: ``garbage_tasks``
"""

from __future__ import annotations

from pipeline.collect import Collected, CollectedObject
from pipeline.keeping import Kept
from pipeline.release import Release
from pipeline.spelling import spell_count, spell_size

SHOWN = 20


def keep_summary(done: Kept) -> str:
    """After ``keep``."""
    names = ", ".join(done.releases)
    if done.action == "undo":
        said = f"{names}: {'the pin is gone' if done.changed else 'there was no such pin'}"
    else:
        until = f"until {done.until}" if done.until else "for ever"
        said = f"{names} stays {until}: {done.reason}{'' if done.changed else ' (it was so before)'}"
    return f"{said}\nnext: invoke show --model {Release.parse(done.releases[0]).model}"


def gc_summary(done: Collected) -> str:
    """After ``gc``."""
    lines = [f"{done.store}, snapshot {done.snapshot}"]
    lines += [
        f"  stays        {one.release}: {', '.join(one.why)}; {spell_size(one.bytes)}, {spell_size(one.alone)} of it alone"
        for one in done.kept[:SHOWN]
    ]
    lines += _more(len(done.kept))
    left = [one for one in done.garbage if not one.deleted]
    if done.applied:
        lines.append(f"  deleted      {spell_count(done.deleted, 'object')}, {spell_size(done.deleted_bytes)}")
    lines.append(f"  not needed   {spell_count(len(left), 'object')}, {spell_size(sum(one.size for one in left))}")
    lines += [f"    {one.key}  {spell_size(one.size)}, {_when(one)}" for one in left[:SHOWN]]
    lines += _more(len(left))
    if done.stopped_by:
        lines.append(f"  stopped by   {done.stopped_by}: what is left was recorded, not deleted")
        lines.append("next: invoke gc --apply, when that is done")
    elif not done.applied and done.due:
        lines.append(f"next: invoke gc --apply removes {spell_count(done.due, 'object')}, {spell_size(done.due_bytes)}")
    elif not done.applied and any(not one.recorded_at for one in left):
        lines.append("next: invoke gc --apply records them; a later run removes them")
    elif left:
        lines.append(f"next: invoke gc --apply{f', from {done.next_due_at} on' if done.next_due_at else ''}")
    return "\n".join(lines)


def _when(one: CollectedObject) -> str:
    if one.held_by:
        return f"waits for {one.held_by}"
    if one.due:
        return f"due since {one.due_at}"
    return f"due at {one.due_at}" if one.due_at else "not recorded yet"


def _more(count: int) -> list[str]:
    return [f"    … and {count - SHOWN} more"] if count > SHOWN else []
