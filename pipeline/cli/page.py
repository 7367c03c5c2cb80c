"""The report: one self-contained HTML page about a release, for light and dark, phones and wide screens.

Takes an ``Overview``, gives the page. It asks no network and runs no script; every name in it is escaped.

next: ``release_tasks``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape

from pipeline.overview import NEW, REPEAT, Overview, PartShown, ShownFile, Span
from pipeline.spelling import spell_count, spell_size
from pipeline.trust.facts import instant, instant_text

# A picture has no more bars than a person compares; the table below it has every file.
DRAWN_FILES = 24
DRAWN_PARTS = 600
# Spans thinner than this share of a file's bar cannot be seen and are drawn with their neighbour.
_THINNEST = 1 / 800
_HUES = ("base1", "base2", "base3", "base4")
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #586274; --page: #f6f7f9; --card: #ffffff; --line: #d9dee6;
  --new: #c2410c; --base1: #1d6fb8; --base2: #0f766e; --base3: #7c3aed; --base4: #4d7c0f; --repeat: #98a2b3; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf2; --soft: #a3adbd; --page: #10151d; --card: #18202b; --line: #2d3745;
  --new: #fb923c; --base1: #60a5fa; --base2: #2dd4bf; --base3: #c4b5fd; --base4: #a3e635; --repeat: #667085; --bad: #f97066; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.75rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 0 0 .75rem; }
p { margin: .25rem 0 .75rem; } .soft { color: var(--soft); } .bad { color: var(--bad); font-weight: 600; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1rem 1.25rem; margin-top: 1rem; }
.chips span { display: inline-block; border: 1px solid var(--line); border-radius: 1rem; padding: 0 .65rem; margin: .35rem .35rem 0 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1rem; margin: 0; }
.facts dt { color: var(--soft); font-size: .875rem; } .facts dd { margin: 0; font-size: 1.35rem; font-weight: 600; }
.facts small { display: block; font-size: .875rem; font-weight: 400; color: var(--soft); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9375rem; }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
code, pre { font: .875em/1.5 ui-monospace, monospace; } p code { overflow-wrap: anywhere; } td code { white-space: nowrap; }
pre { background: var(--page); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; overflow-x: auto; margin: 0; }
.legend span { margin-right: 1.25rem; white-space: nowrap; } .legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem; margin-right: .4rem; }
.file { display: grid; grid-template-columns: minmax(7rem, 16rem) 1fr 5.5rem; gap: .75rem; align-items: center; font-size: .875rem; padding: .15rem 0; }
.file b { font-weight: 400; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; direction: rtl; text-align: left; } .file em { text-align: right; font-style: normal; color: var(--soft); }
.bar { display: flex; height: 1rem; border-radius: .25rem; overflow: hidden; background: var(--line); } .bar i { min-width: 1px; }
.parts { display: flex; flex-wrap: wrap; gap: 3px; } .part { height: 1.6rem; min-width: .5rem; border-radius: .2rem; background: var(--line); overflow: hidden; }
.part i { display: block; height: 100%; }
.new { background: var(--new); } .base1 { background: var(--base1); } .base2 { background: var(--base2); } .base3 { background: var(--base3); }
.base4 { background: var(--base4); } .repeat { background: var(--repeat); }
@media (max-width: 40rem) { .file { grid-template-columns: 1fr 5.5rem; } .file .bar { grid-column: 1 / -1; grid-row: 2; } }
"""


def release_page(shown: Overview, made_at: datetime) -> str:
    """Write the page as it was at ``made_at``."""
    sections = [
        _numbers(shown, made_at),
        _picture(shown),
        _fetching(shown),
        _delivery(shown),
        _trust(shown, made_at),
        _files(shown),
    ]
    title = escape(shown.release)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style>"
    )
    body = "\n".join([_header(shown), *(f"<section>{section}</section>" for section in sections), _footer(shown, made_at)])
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><main>\n{body}\n</main></body></html>\n'


def _header(shown: Overview) -> str:
    facts = shown.facts
    chips = [f"@{name}" for name in shown.channels] + [facts.kind, f"profile {shown.profile}"]
    chips += [f"pinned {f'until {pin.until}' if pin.until else 'for ever'}" for pin in shown.pins]
    marks = "".join(f"<span>{escape(chip)}</span>" for chip in chips)
    lines = [f"<h1>{escape(shown.release)}</h1>", f'<p class="chips">{marks}</p>']
    if facts.yanked:
        lines.append(f'<p class="bad">Yanked at {facts.yanked.at}: {escape(facts.yanked.reason or "no reason given")}</p>')
    lines += [f'<p class="bad">{escape(warning)}</p>' for warning in shown.warnings]
    return "<header>" + "\n".join(lines) + "</header>"


def _numbers(shown: Overview, made_at: datetime) -> str:
    until = min((role.expires_at for role in shown.roles if role.expires_at), default="")
    days = (instant(until) - made_at).days if until else 0
    shares = ", ".join(f"{spell_size(base.bytes)} with {base.base}" for base in shown.bases) or "it has no base"
    cells = [
        ("Files", spell_size(shown.plain), spell_count(len(shown.files), "file")),
        (
            "Stored",
            spell_size(shown.stored),
            f"{_percent(shown.stored, shown.plain)} of the files, {spell_count(shown.parts, 'part')}",
        ),
        ("Saved", spell_size(max(0, shown.plain - shown.served)), f"{spell_size(shown.repeated)} of it by repeats within"),
        ("Added to the store", spell_size(shown.added), f"shared: {shares}"),
        (
            "Signed until",
            until[:10],
            "" if not until else f"{spell_count(days, 'day')} from this page" if days >= 0 else "expired",
        ),
    ]
    lines = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{escape(note)}</small></dd></div>" for name, value, note in cells)
    return f'<h2>In numbers</h2><dl class="facts">{lines}</dl>'


def _picture(shown: Overview) -> str:
    names = [base.base for base in shown.bases]
    legend = [("new", "new in this release"), *((_hue(name, names), f"from {name}") for name in names)]
    legend += (
        [(REPEAT, "stands in it already")] if any(span.origin == REPEAT for file in shown.files for span in file.spans) else []
    )
    keys = "".join(f'<span><i class="{hue}"></i>{escape(text)}</span>' for hue, text in legend)
    largest = sorted(shown.files, key=lambda file: -file.size)[:DRAWN_FILES]
    left = len(shown.files) - len(largest)
    bars = "".join(_file_bar(file, names) for file in largest)
    more = f'<p class="soft">The {DRAWN_FILES} largest; {spell_count(left, "more file")} below.</p>' if left else ""
    parts = "".join(_part_box(part, names, shown.part_size) for part in shown.part_list[:DRAWN_PARTS])
    hidden = shown.parts - DRAWN_PARTS
    rest = f'<p class="soft">and {spell_count(hidden, "part")} more</p>' if hidden > 0 else ""
    return (
        f'<h2>Where its bytes came from</h2><p class="legend">{keys}</p>{bars}{more}'
        f"<h2 style='margin-top:1.25rem'>{spell_count(shown.parts, 'part')} in the store, {spell_count(shown.chunks, 'chunk')}</h2>"
        f'<div class="parts">{parts}</div>{rest}<p class="soft">A part is as wide as it is large; what is filled is what this release reads of it.</p>'
    )


def _file_bar(file: ShownFile, bases: Sequence[str]) -> str:
    pieces = "".join(
        f'<i class="{_hue(span.origin, bases)}" style="flex:{span.bytes} 0 0" title="{escape(_spell_span(span))}"></i>'
        for span in visible(file.spans, file.size)
    )
    path = escape(file.path)
    return f'<div class="file"><b title="{path}">&lrm;{path}</b><span class="bar">{pieces}</span><em>{spell_size(file.size)}</em></div>'


def _spell_span(span: Span) -> str:
    return f"{spell_size(span.bytes)}, {'new' if span.origin == NEW else span.origin}"


def visible(spans: Iterable[Span], size: int) -> Iterator[Span]:
    """Merge spans too thin to be seen into one of the larger one's colour, so that thousands stay a small page."""
    held: list[Span] = []
    for span in spans:
        held.append(span)
        total = sum(one.bytes for one in held)
        if total >= size * _THINNEST:
            yield Span(total, max(held, key=lambda one: one.bytes).origin)
            held = []
    if held:
        yield Span(sum(one.bytes for one in held), max(held, key=lambda one: one.bytes).origin)


def _part_box(part: PartShown, bases: Sequence[str], largest: int) -> str:
    where = "new" if part.origin == NEW else f"from {part.origin}"
    title = f"{part.blake3[:16]}…: {spell_size(part.size)}, {spell_count(part.chunks, 'chunk')}, {where}"
    filled = _percent(part.used, part.size)
    wide = f"{max(0.5, 6 * part.size / largest):.2f}rem"
    return f'<div class="part" style="width:{wide}" title="{escape(title)}"><i class="{_hue(part.origin, bases)}" style="width:{filled.replace(" ", "")}"></i></div>'


def _hue(origin: str, bases: Sequence[str]) -> str:
    if origin in (NEW, REPEAT):
        return "new" if origin == NEW else REPEAT
    return _HUES[bases.index(origin) % len(_HUES)]


def _fetching(shown: Overview) -> str:
    needs = "".join(
        f"<p>Needs {escape(one.model)} {escape(one.version)}, which is fetched with it.</p>" for one in shown.dependencies
    )
    commands = escape("\n".join(shown.fetch))
    return f"<h2>Fetch it</h2>{needs}<pre>{commands}</pre>"


def _delivery(shown: Overview) -> str:
    lines = ["<h2>Channels and edges</h2>"]
    moves = [(name, move) for name, history in shown.history.items() for move in history[-5:]]
    lines.append(
        _table(
            ("channel", "moved", "by", "from"),
            [(f"@{name}", move.at, move.by, move.origin or "nothing") for name, move in reversed(moves)],
        )
        if moves
        else "<p>No channel points to it.</p>"
    )
    lines += [f"<p>Edge: <code>{escape(url)}</code></p>" for url in shown.cdns]
    rows = []
    for job in shown.jobs:
        for lane in job.cdns:
            states = ", ".join(f"{count} {state}" for state, count in lane.states.items() if count)
            rows.append((job.op, lane.provider, lane.url, f"{lane.percent} %", states, job.ordered_at))
    if rows:
        lines.append(_table(("work", "CDN", "edge", "done", "objects", "ordered"), rows))
    elif shown.cdns:
        lines.append("<p>The ledger has no work of it.</p>")
    return "\n".join(lines)


def _trust(shown: Overview, made_at: datetime) -> str:
    rows = [
        (
            role.role,
            str(role.version) if role.version else "not here",
            role.expires_at + (" (expired)" if role.expires_at and instant(role.expires_at) < made_at else ""),
            f"{role.threshold} of {len(role.keys)}",
        )
        for role in shown.roles
    ]
    return (
        f"<h2>Trust</h2><p>Root fingerprint <code>{shown.root_fingerprint}</code><br>Manifest sha256 <code>{shown.manifest_sha256}</code></p>"
        + _table(("role", "version", "until", "signatures"), rows)
    )


def _files(shown: Overview) -> str:
    rows = "".join(
        f'<tr><td>{escape(file.path)}</td><td class="number">{spell_size(file.size)}</td><td><code>{file.sha256}</code></td></tr>'
        for file in shown.files
    )
    head = '<tr><th>path</th><th class="number">size</th><th>sha256</th></tr>'
    return f'<h2>{spell_count(len(shown.files), "file").capitalize()}</h2><div class="scroll"><table>{head}{rows}</table></div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _footer(shown: Overview, made_at: datetime) -> str:
    return f'<p class="soft">Published {shown.facts.created_at} into <code>{escape(shown.store)}</code>. Everything here was verified when this page was made, {instant_text(made_at)}.</p>'


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"
