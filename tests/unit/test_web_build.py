"""From assets to a folder that is served: names, rewritten references, documents, what stays and what goes."""

import base64
import hashlib
import json

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import SourceError
from pipeline.layout import is_hashed_web_file
from sw.check import check_folder
from tests.web_world import HASH, Site, page


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


# --- references are rewritten where they stand -------------------------------------------------------


def test_every_kind_of_reference_leads_to_the_hashed_name(site):
    site.write(
        {
            "index.html": page(
                '<link rel=stylesheet href="css/a.css"><link rel="manifest" href="app.webmanifest">',
                '<script type="importmap">{"imports": {"lib": "./js/lib.js"}}</script>',
                '<script type="module">import "lib"; import "./js/app.js";</script>',
                '<img src=\'p%C3%BC.png?x=1#y\' srcset="p&uuml;.png 2x"><a href="./">home</a>',
            ),
            "css/a.css": "@import 'b.css' layer(x);\r\na{background:url( \"../p\\fc.png\" )}",
            "css/b.css": "b{}",
            "js/app.js": "export * from './lib.js'; new Worker(new URL('./w.js', import.meta.url));\n//# sourceMappingURL=app.js.map",
            "js/app.js.map": '{"version":3,"file":"app.js","sources":["a.ts"],"mappings":""}',
            "js/lib.js": "export const lib = 1;",
            "js/w.js": "importScripts('x.js')",
            "js/x.js": "",
            "pü.png": b"\x89PNG",
            "app.webmanifest": '{"icons": [{"src": "pü.png"}], "start_url": "."}',
        }
    )
    built = site.build(strict=True)
    assert built.warnings == []
    assert site.text("index.html") == page(
        '<link rel=stylesheet href="css/a.#.css"><link rel="manifest" href="app.#.webmanifest">',
        '<script type="importmap">{"imports": {"lib": "./js/lib.#.js"}}</script>',
        '<script type="module">import "lib"; import "./js/app.#.js";</script>',
        '<img src=\'p%C3%BC.#.png?x=1#y\' srcset="p&uuml;.#.png 2x"><a href="./">home</a>',
    )
    assert site.text("css/a.css") == "@import 'b.#.css' layer(x);\r\na{background:url( \"../p\\fc.#.png\" )}"
    assert "from './lib.#.js'" in site.text("js/app.js")
    assert "new URL('./w.#.js'" in site.text("js/app.js")
    assert site.text("js/app.js").endswith("//# sourceMappingURL=app.js.#.map")
    assert site.text("js/app.js.map").startswith('{"version":3,"file":"app.#.js"')
    assert site.text("js/w.js") == "importScripts('x.#.js')"
    assert site.text("app.webmanifest") == '{"icons": [{"src": "pü.#.png"}], "start_url": "."}'
    assert check_folder(site.to).findings == []


def test_base_moves_where_references_lead(site):
    site.write({"x/index.html": '<base href="../y/"><script src="a.js"></script>', "y/a.js": "1", "x/a.js": "2"})
    site.build(strict=True)
    assert site.names()["y/a.js"][2:] in site.served("x/index.html").decode()


def test_base_on_another_site_leaves_everything(site):
    site.write({"index.html": '<base href="https://cdn.example/"><script src="a.js"></script>', "a.js": "1"})
    site.build(strict=True)
    assert site.text("index.html") == '<base href="https://cdn.example/"><script src="a.js"></script>'


def test_import_map_follows_in_keys_scopes_and_digests(site):
    import_map = {
        "imports": {"a": "./a.js", "./b.js": "./a.js"},
        "scopes": {"./": {"c": "./b.js"}},
        "integrity": {"./b.js": "sha256-" + "A" * 43 + "="},
    }
    site.write(
        {
            "index.html": f'<script type="importmap">{json.dumps(import_map)}</script>',
            "a.js": "1",
            "b.js": "import './a.js'",
        }
    )
    site.build(strict=True)
    written = json.loads(site.served("index.html").decode().split(">", 1)[1].rsplit("<", 1)[0])
    names = {source: f"./{path}" for source, path in site.names().items()}
    assert written["imports"] == {"a": names["a.js"], names["b.js"]: names["a.js"]}
    assert written["scopes"] == {"./": {"c": names["b.js"]}}
    assert list(written["integrity"]) == [names["b.js"]]
    digest = base64.b64encode(hashlib.sha256(site.served("b.js")).digest()).decode()
    assert written["integrity"][names["b.js"]] == f"sha256-{digest}"


def test_integrity_attribute_follows_the_bytes(site):
    site.write({"index.html": '<script src="b.js" integrity="sha256-AAAA"></script>', "b.js": "import './a.js'", "a.js": ""})
    site.build(strict=True)
    digest = base64.b64encode(hashlib.sha256(site.served("b.js")).digest()).decode()
    assert f'integrity="sha256-{digest}"' in site.served("index.html").decode()


def test_byte_order_mark_and_line_ends_stay(site):
    site.write({"index.html": "\ufeff<p>\r\n\t<img src=a.png >\r\r\n", "a.png": b"1"})
    site.build()
    assert HASH.sub("", site.served("index.html").decode()) == "\ufeff<p>\r\n\t<img src=a.png >\r\r\n"


def test_only_references_change(site):
    text = "const path = 'a.js'; // a.js ./a.js\nconst html = `<script src=\"a.js\">`;\nimport './a.js';\n"
    site.write({"b.js": text, "a.js": ""})
    site.build()
    assert site.text("b.js") == text.replace("import './a.js'", "import './a.#.js'")


def test_circles_are_named_together_and_by_their_bytes(site):
    files = {"a.js": "import './b.js'", "b.js": "import './c.js'; import './leaf.js'", "c.js": "import './a.js'", "leaf.js": "1"}
    site.write(files)
    site.build("1.0.0", to=site.folder / "one", strict=True)
    site.build("1.0.0")
    before = site.names()
    assert all(HASH.search(name) for name in before.values())
    assert before["b.js"] in site.served("a.js").decode()
    assert before["a.js"] in site.served("c.js").decode()
    site.write({**files, "leaf.js": "2"})
    site.build("1.1.0")
    assert {source for source, name in site.names().items() if before[source] != name} == set(files)
    site.write({**files, "other.js": "import './a.js'"})
    site.build("1.2.0")
    assert {source: name for source, name in site.names().items() if source in files} == before


def test_file_that_imports_itself_is_named(site):
    site.write({"a.js": "import './a.js'; new Worker(new URL('./a.js', import.meta.url))"})
    site.build(strict=True)
    assert site.served("a.js").decode().count(site.names()["a.js"]) == 2


def test_names_hold_the_digest_of_the_served_bytes(site):
    site.write({"a.js": "import './b.js'", "b.js": "1", "c.png": b"2"})
    site.build()
    for path in site.names().values():
        assert sha256_of((site.to / path).read_bytes())[:16] in path
        assert is_hashed_web_file(f"web/shop/{path}")


# --- what keeps its name --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["index.html", "x/page.htm", "robots.txt", "favicon.ico", ".well-known/x.json", "LICENSE", ".htaccess", "CNAME"]
)
def test_name_that_others_know_stays(site, name):
    site.write({name: "x"})
    site.build()
    assert site.names() == {name: name}


def test_script_of_a_service_worker_keeps_its_name(site):
    site.write({"app.js": "navigator.serviceWorker.register('/push.js')", "push.js": "import './a.js'", "a.js": ""})
    site.build(strict=True)
    assert site.names()["push.js"] == "push.js"
    assert site.text("push.js") == "import './a.#.js'"
    assert site.text("app.js") == "navigator.serviceWorker.register('/push.js')"


def test_patterns_keep_names(site):
    site.write({"embed/v1.js": "1", "app.js": "import './embed/v1.js'"})
    site.build(keep=("embed/*",))
    assert site.names()["embed/v1.js"] == "embed/v1.js"
    assert site.text("app.js") == "import './embed/v1.js'"


def test_kept_name_that_looks_hashed_is_refused(site):
    site.write({"page.0123456789abcdef.html": "x"})
    with pytest.raises(SourceError, match=r"page\.0123456789abcdef\.html .*looks hashed"):
        site.build()


def test_name_that_is_too_long_with_its_hash_is_refused(site):
    site.write({f"{'a' * 250}.js": "1"})
    with pytest.raises(SourceError, match="aaa"):
        site.build()


# --- references that lead nowhere -----------------------------------------------------------------


def test_dangling_reference_is_a_warning_with_file_and_line(site):
    site.write({"index.html": page("<p>", '<img src="gone.png">')})
    built = site.build()
    assert built.warnings == ["index.html:3: 'gone.png' leads to no file"]
    assert site.warnings() == built.warnings


def test_dangling_reference_is_an_error_when_strict_and_nothing_is_written(site):
    site.write({"index.html": '<img src="gone.png"><img src="lost.png">'})
    with pytest.raises(SourceError, match=r"index\.html:1: 'gone\.png' leads to no file, and 1 more"):
        site.build(strict=True)
    assert not site.to.exists()


def test_what_an_application_answers_by_itself_is_no_warning(site):
    site.write(
        {
            "index.html": '<a href="/basket">x</a><a href="help">y</a><form action="/search"></form><a href="gone.html">z</a>',
            "help.html": "",
        }
    )
    assert site.build().warnings == ["index.html:1: 'gone.html' leads to no file"]


def test_file_that_nothing_refers_to_is_told(site):
    site.write({"index.html": "<script src=a.js></script>", "a.js": "fetch('data.json')", "data.json": "{}", "chunk.12.js": "1"})
    assert site.build(strict=True).warnings == []
    (told,) = site.warnings()
    assert told.startswith("chunk.12.js and 1 more: no reference leads there")
    site.events.clear()
    site.build(keep=("data.json", "chunk.*"))
    assert site.warnings() == []
