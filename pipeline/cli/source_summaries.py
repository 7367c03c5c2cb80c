"""What a person reads after mirror, doctor, bench and export.

Takes the results of walks, gives text.

next: ``source_tasks``
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.bench import Benched
from pipeline.cli.summaries import copy_line
from pipeline.doctor import Diagnosis
from pipeline.export import Exported
from pipeline.mirroring import Mirrored
from pipeline.ociexport import OciExported
from pipeline.plan.partlists import LIST_NAMES, SCRIPT
from pipeline.spelling import spell_count, spell_size
from pipeline.spreading import Repaired
from pipeline.steps.examine import SourceHealth

SHOWN = 20


def mirror_summary(done: Mirrored, *, applied: bool, dry: bool = False) -> str:
    """After ``mirror``; ``dry`` when it only said what would be copied."""
    verb, copied = ("would mirror", "to copy") if dry else ("mirrors", "copied")
    at = f"stands at snapshot {done.announced}" if done.announced else "announces nothing yet"
    lines = [
        f"{done.store} {verb} {done.source}: it {f'moved to snapshot {done.announced}' if done.moved else at}",
        f"  releases     {len(done.releases)}, models {len(done.models)}",
        f"  objects      {done.objects}, {spell_size(done.bytes)}; {copied} {done.objects_copied}, {spell_size(done.bytes_copied)}",
        f"  fingerprint  {done.root_fingerprint}",
        f"  took         {done.seconds:.1f} s",
        *(f"  copy         {copy_line(copy)}" for copy in done.copies),
    ]
    deleted = [one for one in done.garbage if one.deleted]
    left = [one for one in done.garbage if not one.deleted]
    if deleted:
        lines.append(f"  deleted      {spell_count(len(deleted), 'object')}, {spell_size(sum(one.size for one in deleted))}")
    if left:
        lines.append(f"  not needed   {spell_count(len(left), 'object')}, {spell_size(sum(one.size for one in left))}")
        lines += [f"    {one.key}  {f'may go at {one.due_at}' if one.due_at else 'not recorded yet'}" for one in left[:SHOWN]]
        lines += [f"    … and {len(left) - SHOWN} more"] if len(left) > SHOWN else []
        if not applied:
            lines.append(
                "next: add --apply to record them now, and to remove them once they were recorded for 7 days (metadata 30)"
            )
    return "\n".join(lines)


def repaired_summary(done: Repaired) -> str:
    """After ``mirror --repair`` for the copies of a store."""
    if not done.copies:
        return f"{done.store}: no copy fell behind"
    return "\n".join([f"{done.store}: its copies", *(f"  copy         {copy_line(copy)}" for copy in done.copies)])


def doctor_summary(found: Diagnosis) -> str:
    """After ``doctor``."""
    lines = [line for source in found.sources for line in _source_lines(source)]
    kernel = found.kernel
    buffers = f"receive {_size(kernel.receive_buffer_bytes)}, send {_size(kernel.send_buffer_bytes)} a connection"
    scaling = {True: "on", False: "off", None: "unknown"}[kernel.window_scaling]
    lines += [
        "kernel",
        f"  congestion   {kernel.congestion_control or 'unknown'} by default; a fetch may choose {', '.join(kernel.usable) or 'none'}",
        f"  buffers      {buffers}; window scaling {scaling}",
    ]
    lines += [f"  would help   {change.line}\n               {change.why}" for change in kernel.changes]
    lines.append("settings")
    rows = [(row.name, row.value, row.origin) for row in found.settings]
    return "\n".join([*lines, *_columns(rows, indent="  ")])


def _source_lines(source: SourceHealth) -> list[str]:
    lines = [f"{source.url}: {'works' if source.works else 'does not work'}"]
    if source.works:
        rate = f"{spell_size(source.bytes_per_s)}/s over {spell_size(source.sample_bytes)}" if source.bytes_per_s else "not known"
        ranges = {True: "yes", False: "no", None: "not known"}[source.ranges]
        etag = f"{source.etag or 'none'}{', revalidates' if source.revalidates else ''}"
        lines += [
            f"  latency      {_ms(source.latency_ms)}, first answer after {_ms(source.first_ms)}",
            f"  throughput   {rate}; ranges: {ranges}",
            f"  ETag         {etag}",
        ]
        if source.clock_skew_s is not None:
            lines.append(f"  clock        {source.clock_skew_s:+.1f} s from ours")
        if source.tls:
            lines.append(f"  TLS          {source.tls}, issued by {source.tls_issuer}, until {source.tls_until}")
        if source.congestion_control:
            lines.append(f"  congestion   {source.congestion_control}")
        if source.snapshot is not None:
            lines.append(
                f"  trust        snapshot {source.snapshot} until {source.snapshot_expires_at}, {source.root_fingerprint}"
            )
    return [*lines, *(f"  fault        {fault}" for fault in source.faults)]


def bench_summary(done: Benched) -> str:
    """After ``bench``."""
    head = ("program", "release", "size", "connections", "seconds", "CPU s", "per second", "× ours", "verified")
    rows = [
        (
            row.program,
            row.release,
            spell_size(row.bytes),
            str(row.connections),
            f"{row.seconds:.2f}",
            f"{row.cpu_seconds:.2f}",
            spell_size(row.bytes_per_s),
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.verified,
        )
        for row in done.rows
    ]
    lines = [f"from {done.url}", *_columns([head, *rows], indent="")]
    if done.not_installed:
        lines.append(f"not installed: {', '.join(done.not_installed)}")
    return "\n".join(lines)


def export_summary(done: Exported) -> str:
    """After ``export``."""
    name = next(found for form, found in LIST_NAMES.items() if form == done.format)
    start = {
        "metalink": f"aria2c --metalink-file={name}",
        "aria2": f"aria2c --input-file={name} --max-concurrent-downloads=4",
        "curl": f"curl --config {name}",
    }[done.format]
    return "\n".join(
        [
            f"{done.release}: {spell_count(done.parts, 'part')}, {spell_size(done.bytes)}, for {spell_count(done.files, 'file')}",
            f"  written      {', '.join(done.written)} in {done.folder}",
            f"  from         {', '.join(done.urls)}",
            f"next: in a folder with these files: {start} && sh {SCRIPT}",
        ]
    )


def _size(size: int | None) -> str:
    return "unknown" if size is None else spell_size(size)


def _ms(spent: float | None) -> str:
    return "unknown" if spent is None else f"{spent:.1f} ms"


def _columns(rows: Sequence[Sequence[str]], *, indent: str) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return [(indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip() for row in rows]


def layout_summary(done: OciExported) -> str:
    """After ``export --format oci``."""
    return "\n".join(
        [
            f"{done.release}: {spell_count(done.layers, 'layer')}, {spell_size(done.bytes)}, in {done.folder}",
            f"  digest       {done.digest}",
            f"  there        {spell_count(done.reused, 'layer')} already; {spell_size(done.bytes_fetched)} fetched",
            *(f"next: skopeo copy oci:{done.folder}:{name} docker://REGISTRY/{name}" for name in done.names),
        ]
    )
