"""Pages for people: what a site holds, and what a release holds.

Takes a catalogue, gives plain HTML without scripts.

next: ``routes``
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bundles.site.answers import HTML, Made
from bundles.site.catalogue import Catalogue, Held
from bundles.site.targets import join_target, quote
from pipeline.spelling import spell_count, spell_size

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2em 1em .2em 0;vertical-align:top}code{overflow-wrap:anywhere}"
)
# Nothing on these pages runs, whatever a name may hold.
_POLICY = (("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),)


def index_page(catalogue: Catalogue, *, tree: bool) -> Made:
    """The first page of a site."""
    rows = [
        _row(
            f'<a href="{escape(_folder_url(held))}">{escape(held.release)}</a>',
            escape(held.display_name or held.kind),
            "live" if catalogue.live.get(held.model) == held.release else "",
            escape(", ".join(_channels(catalogue, held))),
            spell_size(held.size),
            f"<code>{held.commit}</code>",
        )
        for held in (catalogue.releases[name] for name in sorted(catalogue.releases))
    ]
    lines = [f"<p>Generation {catalogue.generation}, {spell_count(len(rows), 'release')}.</p>"]
    lines.append(_table(("release", "", "", "channels", "size", "revision"), rows))
    lines += [f"<p>{escape(name)} is not served: {escape(why)}</p>" for name, why in sorted(catalogue.unserved.items())]
    webs = [held.model for held in catalogue.live_of_kind("web")]
    lines += [f'<p>Web application: <a href="{join_target(("web", name, ""))}">{escape(name)}</a></p>' for name in webs]
    if catalogue.live_of_kind("wheels"):
        lines.append('<p>Python packages: <code>pip install --index-url</code> <a href="/simple/">/simple/</a></p>')
    if any(held.kind == "model" for held in catalogue.releases.values()):
        lines.append("<p>Hugging Face clients: set <code>HF_ENDPOINT</code> to the address of this page.</p>")
    if tree:
        lines.append("<p>The signed tree: <code>modelport fetch --source</code> with the address of this page.</p>")
    return _page("Models at this site", lines)


def release_page(held: Held) -> Made:
    """The files of a release."""
    rows = [
        _row(f'<a href="{quote_path(file.path)}">{escape(file.path)}</a>', spell_size(file.size), f"<code>{file.sha256}</code>")
        for file in held.files.values()
    ]
    lines = [f"<p>Manifest <code>{held.manifest_sha256}</code></p>", _table(("file", "size", "sha256"), rows)]
    return _page(held.release, lines)


def quote_path(path: str) -> str:
    """A relative URL of a file."""
    return "/".join(quote(name) for name in path.split("/"))


def _channels(catalogue: Catalogue, held: Held) -> list[str]:
    return sorted(name for name, (release, _) in catalogue.channels.get(held.model, {}).items() if release == held.release)


def _folder_url(held: Held) -> str:
    return join_target((*held.folder.split("/"), ""))


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    return "<table>\n<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>\n" + "".join(rows) + "</table>"


def _page(title: str, lines: Sequence[str]) -> Made:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "\n".join([f"<h1>{escape(title)}</h1>", *lines])
    text = f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n'
    return Made(text.encode(), HTML, headers=_POLICY)
