"""What a person reads after fetch, ``verify --folder`` and ``cache.clean``.

Takes the results of walks, gives text.

next: ``fetch_tasks``
"""

from __future__ import annotations

from pipeline.cli.typable import flag_words
from pipeline.fetch import Fetched
from pipeline.sources.cachefolder import Removed
from pipeline.spelling import spell_count, spell_size
from pipeline.verify_folder import FolderVerified


def fetch_summary(done: Fetched, *, dry: bool = False) -> str:
    """After ``fetch``; ``dry`` when it only said what would come."""
    if done.already_there:
        return _there_summary(done)
    came = spell_size(done.bytes_fetched)
    network = f"{came} to come" if dry else f"{came} in {spell_count(done.requests, 'request')}"
    lines = [
        f"{'would fetch' if dry else 'fetched'}: {done.release}",
        f"  folder     {done.folder}",
        f"  files      {done.files}, {spell_size(done.bytes)}" + ("" if dry else ", every byte verified"),
        f"  network    {network}; {spell_size(done.bytes_reused)} were here",
    ]
    lines += [f"  needs      {one.release} in {one.folder}" for one in done.dependencies]
    lines += [
        f"  source     {one.url}: {spell_size(one.bytes)} in {one.seconds:.1f} s"
        + (f"; dropped: {one.dropped}" if one.dropped else "")
        for one in done.sources
    ]
    lines.append(f"  took       {done.seconds:.1f} s\nnext: {_verify(done)}")
    return "\n".join(lines)


def _there_summary(done: Fetched) -> str:
    needs = f" and {spell_count(len(done.dependencies), 'release')} that it needs" if done.dependencies else ""
    what = f"{spell_count(done.files, 'file')}, {spell_size(done.bytes)}"
    how = f"every byte verified against its signed manifest, in {done.seconds:.1f} s"
    return f"already installed: {done.release}{needs} in {done.folder}: {what}, {how}\nnext: {_verify(done)}"


def _verify(done: Fetched) -> str:
    return f"invoke verify{flag_words(folder=done.folder)}"


def folder_summary(done: FolderVerified) -> str:
    """After ``verify --folder``."""
    repaired = f"; put right: {', '.join(done.repaired)} ({spell_size(done.bytes_fetched)} fetched)" if done.repaired else ""
    return f"{done.folder} is {done.release}: {spell_count(done.files, 'file')}, {spell_size(done.bytes)}, in {done.seconds:.1f} s{repaired}"


def clean_summary(done: Removed, *, dry: bool = False) -> str:
    """After ``cache.clean``; ``dry`` when it only said what would go."""
    removed = f"{'would remove' if dry else 'removed'} {spell_count(done.files, 'entry')}, {spell_size(done.bytes)}"
    return f"{removed}; {spell_count(done.left_files, 'entry')}, {spell_size(done.left_bytes)}, left"
