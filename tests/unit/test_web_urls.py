"""Where a URL leads: as a browser joins it, to a path of the site or to nothing of ours."""

import pytest

from sw.scan.text import text_of
from sw.urls import Local, local_path, place_of_hash

LOCAL = {
    ("a.js", ""): "a.js",
    ("a.js", "x/y/"): "x/y/a.js",
    ("./a.js", "x/"): "x/a.js",
    ("../a.js", "x/y/"): "x/a.js",
    ("../../../a.js", "x/"): "a.js",
    ("/a.js", "x/"): "a.js",
    ("a.js?v=1#x", ""): "a.js",
    (" a.js\n", ""): "a.js",
    ("a\t.js", ""): "a.js",
    ("x\\a.js", ""): "x/a.js",
    ("a%20b.js", ""): "a b.js",
    ("%C3%BC.js", ""): "ü.js",
    ("ü.js", ""): "ü.js",
    ("%2e%2e/a.js", "x/y/"): "x/a.js",
    ("x/./a.js", ""): "x/a.js",
    ("x//a.js", ""): "x/a.js",
    ("", "x/"): None,
    ("#top", "x/"): None,
    ("?q", "x/"): None,
    ("//cdn.example/a.js", ""): None,
    ("\\\\cdn.example/a.js", ""): None,
    ("https://example.com/a.js", ""): None,
    ("HTTPS://example.com/a.js", ""): None,
    ("data:text/css,a", ""): None,
    ("blob:x", ""): None,
    ("mailto:a@b", ""): None,
    ("javascript:void 0", ""): None,
    ("/", "x/"): "",
    ("x/", ""): "x/",
    ("..", "x/y/"): "x/",
    (".", "x/"): "x/",
}


@pytest.mark.parametrize(("url", "folder"), LOCAL)
def test_url_leads_where_a_browser_goes(url, folder):
    expected = LOCAL[url, folder]
    assert local_path(url, folder) == (None if expected is None else Local(expected))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("a.js", "a|.js"),
        ("a.min.js", "a.min|.js"),
        ("x.y/a.js", "x.y/a|.js"),
        ("a.js?v=1.2", "a|.js?v=1.2"),
        ("a.svg#i.j", "a|.svg#i.j"),
        ("a%2Ejs", "a|%2Ejs"),
        ("a.js \n", "a|.js \n"),
        ("x\\a.js", "x\\a|.js"),
    ],
)
def test_hash_goes_before_the_dot_of_the_ending(url, expected):
    at = place_of_hash(text_of(url.encode()))
    assert at is not None
    assert f"{url[:at]}|{url[at:]}" == expected


@pytest.mark.parametrize("url", ["a", "x.y/a", "", "?a.b"])
def test_name_without_an_ending_has_no_place_for_a_hash(url):
    assert place_of_hash(text_of(url.encode())) is None
