"""References in HTML and SVG: every attribute that a browser follows, inline style and script, and no other text."""

import pytest

from sw.scan.markup import markup_references


def found(code):
    return [(one.url.text, one.how) for one in markup_references(code.encode()).references]


def spelled(data):
    return [data[one.url.at[0] : one.url.at[-1]] for one in markup_references(data).references]


URLS = {
    "img": ('<img src="a.png">', ["a.png"]),
    "no quotes": ("<img src=a.png>", ["a.png"]),
    "single quotes": ("<img src='a.png'>", ["a.png"]),
    "upper case": ('<IMG SRC="a.png">', ["a.png"]),
    "spaces around": ('<img src = "a.png" >', ["a.png"]),
    "over lines": ('<img\n  alt="src=no.png"\n  src="a.png"\n>', ["a.png"]),
    "greater in a value": ('<img alt="a > b" src="a.png">', ["a.png"]),
    "first of two": ('<img src="a.png" src="no.png">', ["a.png"]),
    "srcset": ('<img srcset="a.png, b.png 2x, c.png 300w">', ["a.png", "b.png", "c.png"]),
    "srcset with a comma in an address": ('<img srcset="a,b.png 1x,c.png 2x">', ["a,b.png", "c.png"]),
    "srcset with a comma at the end": ('<img srcset="a.png,">', ["a.png"]),
    "srcset over lines": ('<source srcset="\n a.png 1x,\n b.png 2x\n">', ["a.png", "b.png"]),
    "srcset of data": ('<img srcset="data:image/gif;base64,AAAA 1x, a.png 2x">', ["data:image/gif;base64,AAAA", "a.png"]),
    "preload of a set": ('<link rel="preload" as="image" imagesrcset="a.png 1x">', ["a.png"]),
    "link": ('<link rel="stylesheet" href="a.css">', ["a.css"]),
    "icon": ('<link rel="icon" href="a.ico">', ["a.ico"]),
    "web manifest": ('<link rel="manifest" href="app.webmanifest">', ["app.webmanifest"]),
    "script": ('<script src="a.js"></script>', ["a.js"]),
    "video": ('<video src="a.mp4" poster="a.png"><track src="a.vtt"></video>', ["a.mp4", "a.png", "a.vtt"]),
    "object": ('<object data="a.svg"></object><embed src="b.svg">', ["a.svg", "b.svg"]),
    "image button": ('<input type="image" src="a.png">', ["a.png"]),
    "style attribute": ('<p style="background:url(a.png)">', ["a.png"]),
    "style attribute with entities": ('<p style="background:url(&quot;a.png&quot;)">', ["a.png"]),
    "style": ("<style>a{background:url(a.png)}</style>", ["a.png"]),
    "svg inside": ('<svg><image href="a.png"/><use xlink:href="s.svg#x"/></svg>', ["a.png", "s.svg#x"]),
    "svg presentation": ('<svg><rect fill="url(p.svg#g)"/></svg>', ["p.svg#g"]),
    "svg style": ("<svg><style>a{fill:url(p.svg#g)}</style></svg>", ["p.svg#g"]),
    "svg style in CDATA": ("<svg><style><![CDATA[a{fill:url(p.svg#g)}]]></style></svg>", ["p.svg#g"]),
    "style sheet of a drawing": ('<?xml-stylesheet href="a.css" type="text/css"?><svg/>', ["a.css"]),
    "entity": ('<img src="a&amp;b.png">', ["a&b.png"]),
    "numbered entities": ('<img src="&#97;&#x62;.png">', ["ab.png"]),
    "entity without semicolon before equals": ('<img src="a.png?x&copy=1">', ["a.png?x&copy=1"]),
    "percent": ('<img src="a%20b.png">', ["a%20b.png"]),
    "template": ('<template><img src="a.png"></template>', ["a.png"]),
    "noscript": ('<noscript><img src="a.png"></noscript>', ["a.png"]),
    "tags that are not closed": ('<p><b><img src="a.png"><div><img src=b.png></p>', ["a.png", "b.png"]),
    "after text with less than": ('1 < 2 <img src="a.png">', ["a.png"]),
    "page in an attribute": ("<iframe srcdoc=\"<img src='a.png'>\"></iframe>", ["a.png"]),
    "page in an attribute with entities": ('<iframe srcdoc="&lt;img src=&quot;a.png&quot;&gt;"></iframe>', ["a.png"]),
}
OTHERS = {
    "link to a page": ('<a href="b.html">', [("b.html", "route")]),
    "form": ('<form action="/go"><button formaction="/there">', [("/go", "route"), ("/there", "route")]),
    "frame": ('<iframe src="b.html"></iframe>', [("b.html", "route")]),
    "canonical": ('<link rel="canonical" href="/x">', [("/x", "route")]),
    "refresh": ('<meta http-equiv="refresh" content="3; url=b.html">', [("b.html", "route")]),
    "refresh in quotes": ("<meta http-equiv=refresh content=\"0;URL='b.html'\">", [("b.html", "route")]),
    "picture of a page": ('<meta property="og:image" content="a.png">', [("a.png", "maybe")]),
    "lazy": ('<img data-src="a.png" data-srcset="b.png 2x">', [("a.png", "maybe"), ("b.png", "maybe")]),
    "module": ('<script type="module">import "./a.js"</script>', [("./a.js", "module")]),
    "classic script": ("<script>navigator.serviceWorker.register('/sw2.js')</script>", [("/sw2.js", "keep")]),
    "import map": (
        '<script type="importmap">{"imports":{"a":"./a.js","./b.js":"./c.js"},"scopes":{"/x/":{"d":"./d.js"}}}</script>',
        [
            ("a", "key"),
            ("./a.js", "module"),
            ("./b.js", "key"),
            ("./c.js", "module"),
            ("/x/", "key"),
            ("d", "key"),
            ("./d.js", "module"),
        ],
    ),
}
NOTHING = {
    "tag in a tag": '<div <img src="a.png">',
    "tag that does not end": "<p><img src=a.png",
    "frame with fallback": "<iframe><img src='a.png'></iframe>",
    "comment": "<!-- <img src='a.png'> -->",
    "text": "<p>src='a.png' url(a.png) import './a.js'</p>",
    "textarea": "<textarea><img src='a.png'></textarea>",
    "title": "<title><img src='a.png'></title>",
    "alt": "<img alt='src=a.png url(a.png)'>",
    "data block": '<script type="application/ld+json">{"image":"a.png"}</script>',
    "template language": '<script type="text/x-template"><img src="a.png"></script>',
    "string in a script": "<script>x = '<img src=\"a.png\">'</script>",
    "description": '<meta name="description" content="a.png">',
    "preload of a type": '<p data-title="a.png">',
    "style of another kind": '<p title="background:url(a.png)">',
    "ping": '<a ping="a.png">',
}


@pytest.mark.parametrize("name", URLS)
def test_reference_in_a_page_is_found(name):
    code, expected = URLS[name]
    assert sorted(found(code)) == sorted((url, "url") for url in expected)


@pytest.mark.parametrize("name", OTHERS)
def test_reference_of_another_kind_is_found(name):
    code, expected = OTHERS[name]
    assert sorted(found(code)) == sorted(expected)


@pytest.mark.parametrize("name", NOTHING)
def test_what_only_looks_like_a_reference_is_none(name):
    assert found(NOTHING[name]) == []


def test_places_are_those_of_the_file():
    data = '\ufeff<p>ü€😀\r\n<img\r\n src="ä&amp;b.png" alt=x>\r\n<style>a{b:url(c.png)}</style>'.encode()
    assert spelled(data) == ["ä&amp;b.png".encode(), b"c.png"]


def test_first_base_counts():
    assert markup_references(b'<base target=_top><base href="/x/"><base href="/y/">').base == "/x/"


def test_integrity_goes_with_its_reference():
    code = b'<script src="a.js" integrity="sha384-abc sha256-def"></script>'
    reference = markup_references(code).references[0]
    assert reference.integrity is not None
    assert code[reference.integrity.at[0] : reference.integrity.at[-1]] == b"sha384-abc sha256-def"


@pytest.mark.parametrize(
    "data", [b"", b"<", b"<img src=", b"<img src='a", b"<!", b"<![CDATA[", b"\xff\xfe<img src=\x00>", b"</", b"<?"]
)
def test_what_is_no_page_is_read_without_an_exception(data):
    markup_references(data)


def test_page_that_is_nested_deep_is_read_without_an_exception():
    assert len(markup_references(b"<div>" * 50000 + b"<img src=a.png>").references) == 1


def test_pages_in_pages_end_somewhere():
    page = "<img src=a.png>"
    for _ in range(200):
        page = '<iframe srcdoc="' + page.replace("&", "&amp;").replace('"', "&quot;") + '">' if len(page) < 50_000 else page
    markup_references(page.encode())


@pytest.mark.parametrize("odd", ["<![\0", "<![ x>", "<![foo[ y ]>", "<![1]>", "<![if !IE]>"])
def test_section_that_html_does_not_know_is_a_comment(odd):
    found = markup_references(f"{odd}><img src='a.png'>".encode())
    assert [reference.url.text for reference in found.references] == ["a.png"]
