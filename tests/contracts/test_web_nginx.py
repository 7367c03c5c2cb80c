"""The nginx rules of the guide, run as they are printed: headers, pages, and patches for browsers that read them."""

import pytest
import urllib3
import zstandard

from tests.servers.web_nginx import run_web_nginx
from tests.web_world import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("web"))
    lines = [f"export const value{line} = {line * 7919};" for line in range(900)]
    for number in (1, 2):
        site.write(
            {"index.html": "home", "help.html": "help", "js/app.js": "\n".join([*lines, f"// {number}"]), "a.webmanifest": "{}"}
        )
        site.build(f"1.{number}.0")
    return site


@pytest.fixture(scope="module")
def ask(site):
    with run_web_nginx(site.to) as port, urllib3.PoolManager(retries=False) as pool:

        def ask(path, **headers):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return pool.request("GET", f"http://127.0.0.1:{port}{path}", headers=named, decode_content=False, timeout=5.0)

        yield ask


@pytest.mark.parametrize(("path", "body"), [("/", b"home"), ("/help", b"help"), ("/help.html", b"help")])
def test_pages_are_asked_for_each_time(ask, path, body):
    answer = ask(path)
    assert (answer.data, answer.headers["Cache-Control"]) == (body, "no-cache")


def test_pointer_and_worker_are_asked_for_each_time(ask):
    assert {ask(f"/{name}").headers["Cache-Control"] for name in ("release.json", "sw.js", "sw-client.js")} == {"no-cache"}


def test_hashed_names_are_kept_and_typed(ask, site):
    for source, kind in (("js/app.js", "text/javascript"), ("a.webmanifest", "application/manifest+json")):
        answer = ask(f"/{site.names()[source]}")
        assert answer.data == site.served(source)
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Content-Type"].startswith(kind)


def test_patch_goes_to_who_has_the_file_before(ask, site):
    (patch,) = site.manifest.patches
    before = f"/js/app.{patch.origin[:16]}.js"
    first = ask(before)
    assert first.headers["Use-As-Dictionary"] == f'match="/js/app.*.js", id="{patch.origin[:16]}"'
    answer = ask(f"/{site.names()['js/app.js']}", Accept_Encoding="gzip, dcb, dcz", Dictionary_ID=f'"{patch.origin[:16]}"')
    assert answer.headers["Content-Encoding"] == "dcz"
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert "available-dictionary" in answer.headers["Vary"]
    dictionary = zstandard.ZstdCompressionDict(first.data, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    assert zstandard.ZstdDecompressor(dict_data=dictionary).decompress(answer.data[40:]) == site.served("js/app.js")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Accept_Encoding": "dcz"},
        {"Accept_Encoding": "gzip", "Dictionary_ID": '"{before}"'},
        {"Accept_Encoding": "dcz", "Dictionary_ID": '"../../../x"'},
    ],
    ids=str,
)
def test_everybody_else_gets_the_file(ask, site, headers):
    (patch,) = site.manifest.patches
    words = {name: value.replace("{before}", patch.origin[:16]) for name, value in headers.items()}
    answer = ask(f"/{site.names()['js/app.js']}", **words)
    assert "Content-Encoding" not in answer.headers
    assert answer.data == site.served("js/app.js")


def test_inner_place_of_patches_is_not_for_users(ask, site):
    assert ask(f"/.dcz/js/{site.manifest.patches[0].negotiated}").status == 404
