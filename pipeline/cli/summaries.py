"""What a person reads when a task is done: short, sizes in units, what to type next.

Takes the results of walks, gives text. Programs read the JSON document instead.

next: ``release_tasks``
"""

from __future__ import annotations

from pipeline.outcome import CopyResult, EdgeResult, LeftResult, Published
from pipeline.overview import Overview
from pipeline.plan.cost import ReleasePlan
from pipeline.promote import Moved
from pipeline.release import Release
from pipeline.show import Shown, ShownPin
from pipeline.spelling import spell_count, spell_size
from pipeline.trust.facts import Move
from pipeline.verify import Verified
from pipeline.withdraw import Withdrawn

SHOWN_MOVES = 10


def publish_summary(done: Published) -> str:
    """After ``publish``."""
    share = f", {100 * done.bytes_stored / done.bytes:.1f} %" if done.bytes else ""
    verb = "already published" if done.already_published else "published"
    lines = [
        f"{verb} {done.release}" + (f" on channel {done.channel}" if done.channel else ""),
        f"  files        {done.files}, {spell_size(done.bytes)}",
        f"  stored       {spell_size(done.bytes_stored)}{share}",
        f"  parts        {done.parts.total}: {done.parts.new} new, {done.parts.reused} reused",
        f"  chunks       {done.chunks.total}: {done.chunks.new} new, {done.chunks.reused} reused",
        f"  sent         {spell_size(done.bytes_uploaded)} in {done.seconds:.1f} s",
        f"  tree         {done.store}",
        f"  fingerprint  {done.root_fingerprint}",
    ]
    if done.bases:
        lines.insert(5, f"  bases        {', '.join(done.bases)}")
    if done.left_out:
        lines.append(f"  left out     {', '.join(done.left_out)}")
    lines += [f"  edge         {edge_line(edge)}" for edge in done.edges]
    lines += [f"  left         {left_line(left)}" for left in done.left]
    lines += [f"  copy         {copy_line(copy)}" for copy in done.copies]
    if done.channel_waits:
        lines.append(f"  channel      {done.channel_waits} moves when that is done")
    lines.append("next: invoke cdn.resume" if done.left else f"next: invoke verify --model {done.release} --all")
    return "\n".join(lines)


def copy_line(copy: CopyResult) -> str:
    """What became of one copy."""
    if not copy.complete:
        return f"{copy.store} fell behind: {copy.why}"
    return f"{copy.store} shows snapshot {copy.announced}: {copy.objects_copied} objects, {spell_size(copy.bytes_copied)} copied"


def edge_line(edge: EdgeResult) -> str:
    """What one edge showed."""
    read = f", {edge.read} read back ({spell_size(edge.bytes_read)})" if edge.read else ""
    untold = f", {edge.unknown} it does not tell" if edge.unknown else ""
    misses = f"{edge.misses} {'miss' if edge.misses == 1 else 'misses'}"
    right = f"{spell_count(edge.objects, 'object')} as they should be: {spell_count(edge.hits, 'hit')}, {misses}"
    return f"{edge.url}: {right}{untold}{read}"


def left_line(left: LeftResult) -> str:
    """What is left at one CDN."""
    what = f"{spell_count(left.urls, 'URL')}: " if left.urls else ""
    return f"{left.cdn}: {what}{left.why}" + (f", until {left.until}" if left.until else "")


def moved_summary(done: Moved) -> str:
    """After ``promote`` and ``rollback``."""
    where = f"{done.model}@{done.channel}"
    if not done.changed:
        first = f"{where} points to {done.to} (it did before)"
    else:
        first = f"{where} points to {done.to}" + (f", before to {done.origin}" if done.origin else "")
    if done.forced:
        first += "; an edge lacked objects of it"
    lines = [first, *(f"  edge  {edge_line(edge)}" for edge in done.edges), *(f"  left  {left_line(left)}" for left in done.left)]
    lines.append("next: invoke cdn.resume" if done.left else f"next: invoke show --model {done.model}")
    return "\n".join(lines)


def plan_summary(plan: ReleasePlan, following: str) -> str:
    """After ``plan``; ``following`` are the words that publish what was planned."""
    totals, estimate = plan.totals, plan.estimate
    bases = ", ".join(base.release for base in plan.inputs.bases)
    sources = "the release itself" if plan.already_published else bases
    lines = [
        f"plan for {plan.release} into {plan.store}" + (": already published" if plan.already_published else ""),
        f"  files     {plan.files}, {spell_size(plan.plain)}; stored {spell_size(plan.stored)}",
        f"  parts     {len(plan.parts)}: {len(plan.new_parts)} to send, {len(plan.parts) - len(plan.new_parts)} in the store",
        f"  chunks    {plan.chunks}: {f'{plan.chunks_reused} from {sources}' if sources else 'all new'}",
        f"  send      {spell_count(totals.objects, 'object')}, {spell_size(totals.bytes)}",
        f"  requests  about {spell_count(totals.writes, 'write')} and {spell_count(totals.reads, 'read')}",
        f"  estimate  {estimate.requests / 1e6:.4f} USD for requests, {estimate.storage_month / 1e6:.4f} USD a month for storage",
    ]
    lines.append(f"next: invoke publish{following}")
    return "\n".join(lines)


def verify_summary(done: Verified) -> str:
    """After ``verify``."""
    how = (
        f"{done.read} of them read to the last byte ({spell_size(done.bytes_read)})"
        if done.read
        else "by size and the store's digest"
    )
    more = "" if done.read == done.objects else f"\nnext: invoke verify --model {done.release} --all"
    return f"{done.release} is whole: {spell_count(done.objects, 'object')}, {how}, in {done.seconds:.1f} s{more}"


def tree_summary(shown: Shown) -> str:
    """After ``show`` of a tree."""
    lines = [f"{shown.store}, snapshot {shown.snapshot}, expires {shown.expires_at}", f"fingerprint {shown.root_fingerprint}"]
    for model in shown.models:
        lines.append(model.model)
        points = {release: [name for name, to in model.channels.items() if to == release] for release in model.channels.values()}
        for version in model.releases:
            marks = [f"@{name}" for name in points.get(version.release, [])]
            marks += ["pinned"] if any(pin.release == version.release for pin in model.pins) else []
            marks += ["yanked"] if version.yanked else []
            marks += ["retired"] if version.retired else []
            sizes = f"{spell_size(version.plain):>10} in {spell_count(version.files, 'file')}, {spell_size(version.stored)} in {spell_count(version.parts, 'part')}"
            lines.append(f"  {version.release:<24} {sizes}  {' '.join(marks)}".rstrip())
        for name, moves in model.history.items() if len(shown.models) == 1 else ():
            lines.append(
                f"  history of @{name}" + (f", the last {SHOWN_MOVES} of {len(moves)}" if len(moves) > SHOWN_MOVES else "")
            )
            lines += [f"    {_move_line(move)}" for move in moves[-SHOWN_MOVES:]]
        lines += [f"  {_pin_line(pin)}" for pin in model.pins] if len(shown.models) == 1 else []
    if not shown.models:
        lines.append("nothing is published yet\nnext: invoke publish --model NAME-vVERSION")
    return "\n".join(lines)


def _pin_line(pin: ShownPin) -> str:
    return f"pin of {pin.release} {f'until {pin.until}' if pin.until else 'for ever'}: {pin.reason}"


def _move_line(move: Move) -> str:
    forced = " (forced: an edge lacked objects)" if move.forced else ""
    return f"{move.at}  {move.by}: {move.origin or 'nothing'} -> {move.to}{forced}"


def release_summary(shown: Overview) -> str:
    """After ``show`` of a release."""
    marks = [f"@{name}" for name in shown.channels]
    marks += [f"yanked: {shown.facts.yanked.reason}"] if shown.facts.yanked else []
    lines = [
        f"{shown.release} {' '.join(marks)}".rstrip(),
        f"  created   {shown.facts.created_at}, kind {shown.facts.kind}, profile {shown.profile}, {shown.encoder}",
        f"  files     {len(shown.files)}, {spell_size(shown.plain)}",
        f"  stored    {spell_size(shown.stored)} in {spell_count(shown.parts, 'part')} up to {spell_size(shown.part_size)}, {spell_count(shown.chunks, 'chunk')}",
        f"  ranges    {shown.ranges_per_gib:g} per GiB",
    ]
    lines += [
        f"  shares    {spell_size(base.bytes)} ({spell_count(base.chunks, 'chunk')}, {spell_count(base.parts, 'part')}) with {base.base}"
        for base in shown.bases
    ]
    lines += [f"  needs     {dependency.model} {dependency.version}" for dependency in shown.dependencies]
    lines += [f"  {_pin_line(pin)}" for pin in shown.pins]
    lines.append(f"  manifest  {shown.manifest_sha256}")
    lines.extend(f"    {spell_size(file.size):>10}  {file.path}" for file in shown.files)
    return "\n".join(lines)


def withdrawn_summary(done: Withdrawn) -> str:
    """After ``yank`` and ``retire``."""
    words = {"yank": "is yanked", "unyank": "is no longer yanked", "retire": "is retired"}[done.action]
    model = Release.parse(done.release).model
    what = done.release
    if done.channel:
        what, words = f"{model}@{done.channel}", f"is removed; {done.release}, to which it pointed, stays"
    return f"{what} {words}{'' if done.changed else ' (nothing was to be done)'}\nnext: invoke show --model {model}"
