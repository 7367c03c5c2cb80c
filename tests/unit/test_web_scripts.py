"""References in JavaScript: where the language or the platform says that a string is a URL, and nowhere else."""

import pytest

from sw.scan.scripts import script_references


def found(code):
    data = code.encode() if isinstance(code, str) else code
    return [(one.url.text, one.how) for one in script_references(data)]


def spelled(code):
    """What stands in the file where each reference is, byte for byte."""
    data = code.encode() if isinstance(code, str) else code
    return [data[one.url.at[0] : one.url.at[-1]].decode() for one in script_references(data)]


REFERENCES = {
    "static": ('import a from "./a.js";', [("./a.js", "module")]),
    "bare": ("import './a.js'", [("./a.js", "module")]),
    "named over lines": ("import {\n  a, // from './no.js'\n  b as c\n} from\n'./a.js'", [("./a.js", "module")]),
    "namespace": ("import * as all from './a.js'", [("./a.js", "module")]),
    "default and named": ("import d, {e} from './a.js'", [("./a.js", "module")]),
    "attributes": ('import data from "./d.json" with { type: "json" };', [("./d.json", "module")]),
    "export all": ("export * from './a.js'", [("./a.js", "module")]),
    "export as": ("export * as x from './a.js'", [("./a.js", "module")]),
    "export named": ("export { a as default } from './a.js'", [("./a.js", "module")]),
    "dynamic": ("const x = await import('./a.js')", [("./a.js", "module")]),
    "dynamic with attributes": ("import('./d.json', { with: { type: 'json' } })", [("./d.json", "module")]),
    "dynamic template": ("import(`./a.js`)", [("./a.js", "module")]),
    "dynamic with a comment": ("import(/* webpackChunkName: './no.js' */ './a.js')", [("./a.js", "module")]),
    "inside a function": ("async () => { if (x) return (await import('./a.js')).default }", [("./a.js", "module")]),
    "package": ("import 'react'", [("react", "module")]),
    "new URL": ("new URL('./a.png', import.meta.url)", [("./a.png", "url")]),
    "new URL as bundlers write it": ("new Worker(new URL('/a.js',``+import.meta.url),{type:`module`})", [("/a.js", "url")]),
    "new URL over lines": ("new URL(\n  './a.png',\n  import.meta.url,\n)", [("./a.png", "url")]),
    "new URL of window": ("new window.URL('./a.png', import.meta.url).href", [("./a.png", "url")]),
    "worker": ("new Worker('w.js')", [("w.js", "page")]),
    "shared worker": ("new SharedWorker('w.js', 'name')", [("w.js", "page")]),
    "worker by URL": ("new Worker(new URL('./w.js', import.meta.url), { type: 'module' })", [("./w.js", "url")]),
    "importScripts": ("importScripts('a.js', \"b.js\")", [("a.js", "page"), ("b.js", "page")]),
    "importScripts of self": ("self.importScripts('a.js')", [("a.js", "page")]),
    "resolve": ("import.meta.resolve('./a.js')", [("./a.js", "module")]),
    "worklet": ("audio.audioWorklet.addModule('p.js')", [("p.js", "page")]),
    "service worker": ("navigator.serviceWorker.register('/worker.js')", [("/worker.js", "keep")]),
    "source map": ("let a;import.meta\n//# sourceMappingURL=a.js.map", [("a.js.map", "url")]),
    "source map in a block": ("let a;\n/*# sourceMappingURL=a.js.map */", [("a.js.map", "url")]),
    "last source map of many": ("//# sourceMappingURL=no.map\nlet a\n//# sourceMappingURL=yes.map\n", [("yes.map", "url")]),
    "after a regular expression": ("const r = /import '.\\/no.js'/; import('./a.js')", [("./a.js", "module")]),
    "after a division": ("x = a / b; import('./a.js'); y = c / d", [("./a.js", "module")]),
    "in a template's substitution": ("`${await import('./a.js')}`", [("./a.js", "module")]),
    "after a hashbang": ("#!/usr/bin/env node\nimport './a.js'", [("./a.js", "module")]),
    "beside JSX": ("const x = <a href='./no.js'>import './no.js'</a>; import './a.js'", [("./a.js", "module")]),
    "escapes": (r"import './\x61\u{62}\u0063.js'", [("./abc.js", "module")]),
    "line continuation": ("import './a\\\nb.js'", [("./ab.js", "module")]),
    "what Vite lists for lazy imports": (
        "const __vite__mapDeps=(i,m=__vite__mapDeps,d=(m.f||(m.f=['assets/a.js','assets/a.css'])))=>i.map(i=>d[i]);import('./a.js')",
        [("./a.js", "module"), ("assets/a.js", "page"), ("assets/a.css", "page")],
    ),
    "not ASCII": ("/* ü */ import './häuser.js'", [("./häuser.js", "module")]),
}
NOTHING = {
    "string": "const x = './a.js'",
    "comment": "// import './a.js'\n/* import('./a.js') */",
    "string that speaks of imports": "x = \"import './a.js'\"; y = 'new URL(\"a.png\", import.meta.url)'",
    "template": "x = `import './a.js'`",
    "computed import": "import('./' + name + '.js')",
    "template with substitution": "import(`./${name}.js`)",
    "new URL against another base": "new URL('./a.png', location.href); import.meta",
    "new URL alone": "new URL('https://example.com/a.png'); new URL(x, import.meta.url)",
    "fetch": "fetch('./data.json'); import.meta",
    "a function called resolve": "path.resolve('./a.js'); Promise.resolve('./a.js'); x = 'import'",
    "a method called import": "module.import('./a.js')",
    "another register": "registry.register('./a.js'); x = 'Worker'",
    "class of that name in words": "x = 'new Worker(\"a.js\")'",
    "map in a string": "x = '//# sourceMappingURL=a.map'",
    "map in a template": "x = `\n//# sourceMappingURL=a.map\n`",
}


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_in_a_script_is_found(name):
    code, expected = REFERENCES[name]
    assert sorted(found(code)) == sorted(expected)


@pytest.mark.parametrize("name", NOTHING)
def test_what_only_looks_like_a_reference_is_none(name):
    assert found(NOTHING[name]) == []


def test_places_are_those_of_the_file_byte_for_byte():
    assert spelled("\ufeff/* ü€😀 */\r\nimport './häuser.js'\r\n") == ["./häuser.js"]
    assert spelled(r"import './\x61.js'") == [r"./\x61.js"]


@pytest.mark.parametrize(
    "data", [b"", b"\x00\xff\xfeimport(", b"import '", b"import './a.js", bytes(range(256)) * 8, b"{" * 5000]
)
def test_what_is_no_script_is_read_without_an_exception(data):
    script_references(data)


FILLER = "\nexport function f(a) { return a / 2 + `text ${a}` + '//' } // words\n" * 2000


@pytest.mark.parametrize("name", [*REFERENCES, *NOTHING])
def test_what_follows_a_reference_from_afar_changes_nothing(name):
    code = REFERENCES[name][0] if name in REFERENCES else NOTHING[name]
    if "sourceMappingURL" not in code:
        assert found(f"{code}{FILLER}") == found(code)
        assert found(f"function outer() {{ if (x) {{ y = `${{z(async () => {{ /* */\n{FILLER}") == []


@pytest.mark.parametrize("opened", ["", "function outer() {\n", "const x = {\n  y() {\n", "if (a) { b(() => {\n"])
def test_reference_deep_in_a_long_script_is_found_wherever_reading_ends(opened):
    code = f"{opened}import('./a.js');\n{FILLER}"
    assert found(code) == [("./a.js", "module")]


def test_map_at_the_end_of_a_long_script_is_found_without_reading_it_all():
    assert found(f"import './a.js'{FILLER}//# sourceMappingURL=a.js.map\n") == [("./a.js", "module"), ("a.js.map", "url")]
