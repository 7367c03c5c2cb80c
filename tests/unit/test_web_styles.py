"""References in CSS: every form of url() and its kin, and nothing that only looks like one."""

import pytest

from sw.scan.styles import style_references
from sw.scan.text import text_of


def found(code):
    return [one.url.text for one in style_references(text_of(code.encode()))]


def spelled(data):
    return [data[one.url.at[0] : one.url.at[-1]] for one in style_references(text_of(data))]


REFERENCES = {
    "bare": ("a{background:url(a.png)}", ["a.png"]),
    "double quotes": ('a{background:url("a.png")}', ["a.png"]),
    "single quotes": ("a{background:url('a.png')}", ["a.png"]),
    "spaces": ("a{background:url(  a.png\t)}", ["a.png"]),
    "spaces and quotes": ("a{background:url( 'a b.png' )}", ["a b.png"]),
    "upper case": ("a{background:URL(a.png)}", ["a.png"]),
    "src": ("a{background:src('a.png')}", ["a.png"]),
    "import of a string": ("@import 'a.css';", ["a.css"]),
    "import of a url": ("@import url(a.css) screen;", ["a.css"]),
    "import with layer and supports": ("@import 'a.css' layer(x) supports(display: grid) print;", ["a.css"]),
    "import in capitals": ('@IMPORT "a.css";', ["a.css"]),
    "image-set": ("a{background:image-set('a.png' 1x, url(b.png) 2x)}", ["a.png", "b.png"]),
    "image-set with types": (
        "a{background:image-set('a.avif' type('image/avif'), 'a.png' type('image/png'))}",
        ["a.avif", "a.png"],
    ),
    "old image-set": ("a{background:-webkit-image-set(url(a.png) 1x)}", ["a.png"]),
    "fonts": ("@font-face{src:url(a.woff2) format('woff2'),url(a.woff)}", ["a.woff2", "a.woff"]),
    "custom property": (":root{--logo:url(a.png)}", ["a.png"]),
    "nested": ("@media print{a{b{background:url(a.png)}}}", ["a.png"]),
    "escape by number": (r"a{background:url(a\62 c.png)}", ["abc.png"]),
    "escape of a bracket": (r"a{background:url(a\(1\).png)}", ["a(1).png"]),
    "escape in a string": ('a{background:url("a\\22 b.png")}', ['a"b.png']),
    "escaped name": (r"a{background:\75rl(a.png)}", ["a.png"]),
    "string that goes on": ('a{background:url("a\\\nb.png")}', ["ab.png"]),
    "many": ("a{background:url(a.png),url(b.png)}c{cursor:url(c.cur),auto}", ["a.png", "b.png", "c.cur"]),
    "not ASCII": ("/* ü */a{background:url(häuser.png)}", ["häuser.png"]),
    "after a comment": ("/* url(no.png) */a{background:url(a.png)}", ["a.png"]),
    "comment inside an import": ("@import/**/'a.css';", ["a.css"]),
    "source map": ("a{}\n/*# sourceMappingURL=a.css.map */\n", ["a.css.map"]),
    "filter": ("a{filter:url(a.svg#blur)}", ["a.svg#blur"]),
}
NOTHING = {
    "comment": "/* url(a.png) @import 'a.css' */",
    "string": "a{content:'url(a.png)'}",
    "another function": "a{background:element(url)}",
    "namespace": "@namespace svg url(http://www.w3.org/2000/svg);",
    "attribute selector": "a[href='a.png']{color:red}b{content:'x';background:none /* url( */}",
    "type of an image": "a{background:image-set(linear-gradient(red,blue) type('image/png'))}",
    "font name": "@font-face{font-family:'a.css';src:local('a.woff')}",
    "charset": "@charset 'utf-8';a{content:'\\75rl'}",
    "supports": "@supports (content:'a.png'){a{content:\"\\\\\"}}",
}


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_in_a_style_sheet_is_found(name):
    code, expected = REFERENCES[name]
    assert found(code) == expected


@pytest.mark.parametrize("name", NOTHING)
def test_what_only_looks_like_a_reference_is_none(name):
    assert found(NOTHING[name]) == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\f"], ids=["lf", "crlf", "cr", "ff"])
def test_places_are_those_of_the_file_whatever_ends_its_lines(end):
    data = b"\xef\xbb\xbf/* \xc3\xbc" + end + b"*/" + end + b"a{" + end + b"background:url( 'a b.png' )," + end + b"url(c.png)}"
    assert spelled(data) == [b"a b.png", b"c.png"]


@pytest.mark.parametrize("data", [b"", b"a{background:url(", b"@import '", b"url(\xff\xfe)", bytes(range(256)) * 8, b"url(a\nb)"])
def test_what_is_no_style_sheet_is_read_without_an_exception(data):
    style_references(text_of(data))


def test_sheet_that_is_nested_too_deep_is_read_without_an_exception():
    style_references(text_of(b"a{" * 20000 + b"background:url(a.png)"))
