"""What a person reads after a task of web releases: short, sizes in units, what to type next.

Takes the results, gives text. Programs read the JSON document instead.

next: ``web_tasks``
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.cli.summaries import left_line
from pipeline.cli.typable import flag_words
from pipeline.spelling import spell_count, spell_size

if TYPE_CHECKING:
    from pipeline.webview import Synced
    from sw.build import Built
    from sw.check import Checked


def built_summary(done: Built) -> str:
    """After ``web.build``."""
    verb = "built" if done.changed else "nothing changed since"
    lines = [
        f"{verb} {done.name} {done.version} in {done.seconds:.2f} s",
        f"  files     {done.files}, {spell_size(done.bytes)}; {spell_size(done.bytes_written)} written",
        f"  packs     {done.packs}",
        f"  patches   {done.patches}, {spell_size(done.patch_bytes)}",
        f"  manifest  {done.manifest}",
    ]
    if done.removed:
        lines.append(f"  removed   {spell_count(done.removed, 'file')} of releases that are no longer kept")
    if done.warnings:
        lines.append(f"  warnings  {len(done.warnings)} references lead to no file; --strict refuses them")
    return "\n".join([*lines, f"next: invoke web.check{flag_words(to=done.to)}"])


def killed_summary(to: str) -> str:
    """After ``web.build --kill``."""
    return f"every worker of {to} is told to leave\nnext: serve it; the next web.build brings workers back"


def checked_summary(done: Checked) -> str:
    """After ``web.check``."""
    sizes = done.sizes
    return "\n".join(
        [
            f"{done.name} {done.version} in {done.folder} is right",
            f"  files       {done.files}, {spell_size(done.bytes)}",
            f"  references  {done.references}, each leads to a file",
            f"  worker      {sizes.worker} bytes compressed, the page's side {sizes.client}",
            f"  documents   release.json {sizes.release} bytes, {done.manifest} {sizes.manifest}",
            f"next: invoke web.serve{flag_words(to=done.folder)}",
            f"then: invoke publish{flag_words(kind='web', source=done.folder, model=f'{done.name}-v{done.version}')}",
        ]
    )


def synced_summary(done: Synced) -> str:
    """After ``web.sync``."""
    shows = done.shows or f"nothing: {done.model} has no channel {done.channel}"
    wrote = f"{spell_count(done.files_written, 'file')} written ({spell_size(done.bytes_written)}), {done.files_removed} removed"
    lines = [f"{done.prefix} in {done.store} shows {shows}", f"  {wrote}"]
    lines += [f"  left  {left_line(left)}" for left in done.left]
    return "\n".join([*lines, f"next: invoke show --model {done.model}"])
