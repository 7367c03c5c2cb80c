"""Laws of hashed names, whatever refers to what: who is renamed, what bytes change, and that a patch leads where it says."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.digest import sha256_of
from sw.graph import groups_in_order
from sw.links import links_of
from sw.naming import Loaded, Served, name_files
from sw.patches import apply_patch, make_patch
from sw.scan.kinds import scan
from sw.scan.markup import markup_references
from sw.scan.scripts import script_references
from sw.scan.styles import style_references
from sw.scan.text import text_of

HASH = re.compile(rb"\.[0-9a-f]{16}(?=\.js)")
NODES = 8

edges_of = st.dictionaries(
    st.integers(0, NODES - 1), st.lists(st.integers(0, NODES - 1), max_size=4, unique=True), min_size=1, max_size=NODES
)


def name_of(node: int) -> str:
    return f"{'x/' if node % 2 else ''}n{node}.js"


def address(origin: int, to: int) -> str:
    return f"{'../' if origin % 2 else './'}{name_of(to)}"


def code_of(node: int, targets: list[int], word: str = "") -> bytes:
    imports = "".join(f"import '{address(node, to)}';\r\n" for to in targets)
    return f"{imports}// './n0.js' ü\nexport const word = '{word}{node}';".encode()


def build(edges: Mapping[int, list[int]], words: Mapping[int, str]) -> dict[str, Served]:
    nodes = {*edges, *(to for targets in edges.values() for to in targets)}
    data = {name_of(node): code_of(node, edges.get(node, []), words.get(node, "")) for node in nodes}
    files = {}
    for path, code in data.items():
        links, dangling = links_of(path, code, scan(path, code), data.keys())
        assert not dangling
        files[path] = Loaded(path, len(code), sha256_of(code), code, tuple(links))
    served = name_files(files, frozenset())
    for path, one in served.items():
        # Nothing but names of what is there went in.
        written = one.data if one.data is not None else data[path]
        assert HASH.sub(b"", written) == data[path]
        assert (len(written), sha256_of(written)) == (one.size, one.sha256)
        links, dangling = links_of(one.path, written, scan(one.path, written), {other.path for other in served.values()})
        assert not dangling
    return served


def reached_from(edges: Mapping[int, list[int]], start: int) -> set[int]:
    seen, waiting = set(), [start]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += edges.get(node, [])
    return seen


@settings(max_examples=60, deadline=None)
@given(edges=edges_of, data=st.data())
def test_changed_file_renames_exactly_itself_and_what_leads_to_it(edges, data):
    before = build(edges, {})
    changed = data.draw(st.sampled_from(sorted(int(re.search(r"n(\d)", path)[1]) for path in before)))
    after = build(edges, {changed: "changed"})
    leading = {name_of(node) for node in range(NODES) if changed in reached_from(edges, node)} & before.keys()
    assert {path for path in before if before[path].path != after[path].path} == leading


@settings(max_examples=40, deadline=None)
@given(edges=edges_of)
def test_same_files_get_the_same_names_in_any_order(edges):
    backwards = {node: edges[node] for node in sorted(edges, reverse=True)}
    assert build(edges, {}) == build(backwards, {})


@settings(max_examples=40, deadline=None)
@given(edges=edges_of)
def test_names_outside_circles_are_the_digests_of_the_served_bytes(edges):
    for path, one in build(edges, {}).items():
        node = int(re.search(r"n(\d)", path)[1])
        circle = any(node in reached_from(edges, to) for to in edges.get(node, []))
        assert circle or one.sha256[:16] in one.path


@given(edges=edges_of)
def test_groups_are_the_circles_and_come_after_what_they_lead_to(edges):
    named = {str(node): [str(to) for to in edges.get(node, [])] for node in range(NODES)}
    groups = groups_in_order(named)
    assert sorted(node for group in groups for node in group) == sorted(named)
    reached = {node: reached_from(edges, node) for node in range(NODES)}
    for number, group in enumerate(groups):
        members = {int(node) for node in group}
        assert all(members == {other for other in reached[node] if node in reached[other]} | {node} for node in members)
        before = {int(node) for earlier in groups[: number + 1] for node in earlier}
        assert all(reached[node] <= before for node in members)


def test_long_chain_of_imports_is_no_recursion():
    chain = {f"{number}": [f"{number + 1}"] for number in range(20_000)} | {"20000": []}
    assert len(groups_in_order(chain)) == 20_001


pieces = st.lists(st.sampled_from([b"a" * 40, b"the quick brown fox", b"\n\r\n", b"0123456789" * 5, b"\xff\x00"]), max_size=30)


@settings(deadline=None)
@given(old=pieces, new=pieces, noise=st.binary(max_size=200))
def test_patch_leads_from_any_bytes_to_any_others(old, new, noise):
    before, after = b"".join(old) + noise, noise + b"".join(new)
    assert apply_patch(before, make_patch(before, after), len(after)) == after
    assert make_patch(before, after) == make_patch(before, after)


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=300) | st.text("<>/\\'\"=&;#(){}[]`*-! \nsrchefimporturlstyle@", max_size=300).map(str.encode))
def test_whatever_is_read_no_scanner_fails_and_places_are_in_order(data):
    found = [*markup_references(data).references, *script_references(data), *style_references(text_of(data))]
    for one in found:
        places = list(one.url.at)
        assert places == sorted(places)
        assert 0 <= places[0] <= places[-1] <= len(data)


SHEET = [
    "a{background:url(a.png)}", "@import 'a.css' layer(x);", "/* url(no.png); { ( ' */", "b{content:'url(no.png);{('}", "{", "}", ";", "(", ")",
    "c{background:image-set('a.png' 1x, url( \"b.png\" ) 2x)}", "url(data:a;b{c}d)", "@namespace url(no);", "'open", '"open', "\n", "\r\n",
    ".md\\:d{color:red}", "@font-face{src:url(a.woff),url('b.woff')}", "url(a\\)b.png)", "[a='x;y']", "--x:{url(a.png);url(b.png)}", "/*", "\\",
]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(parts=st.lists(st.sampled_from(SHEET), max_size=12))
def test_reading_stretches_of_a_sheet_finds_what_reading_all_of_it_finds(parts):
    sheet = text_of("".join(parts).encode())
    with pytest.MonkeyPatch.context() as patch:
        found = [(one.url.text, *one.url.at) for one in style_references(sheet)]
        patch.setattr("sw.scan.styles._stretches", lambda text: [(0, len(text))])
        assert found == [(one.url.text, *one.url.at) for one in style_references(sheet)]
