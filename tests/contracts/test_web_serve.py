"""The server for trying a release: its headers are those of the format, and nothing outside the folder comes out."""

import threading

import pytest
import urllib3
import zstandard

from pipeline.errors import UnavailableError, UsageError
from sw.serve import open_server, url_of
from tests.web_world import Site

ANY_PORT = ("127.0.0.1", 0)


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    lines = [f"export const value{line} = {line * 7919};" for line in range(900)]
    for number in (1, 2):
        site.write(
            {
                "index.html": "home",
                "help/index.html": "help",
                "about.html": "about",
                "x/app.js": "\n".join([*lines, f"// {number}"]),
            }
        )
        site.build(f"1.{number}.0")
    return site


@pytest.fixture
def ask(site):
    with open_server(site.to, ANY_PORT) as server, urllib3.PoolManager(retries=False) as pool:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def ask(path, method="GET", **headers):
            url = f"http://127.0.0.1:{server.server_address[1]}{path}"
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return pool.request(method, url, headers=named, decode_content=False)

        yield ask
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "body"),
    [("/", b"home"), ("/index.html", b"home"), ("/help/", b"help"), ("/about", b"about"), ("/?utm_source=x", b"home")],
)
def test_pages_are_found_as_people_ask_for_them(ask, path, body):
    answer = ask(path)
    assert (answer.status, answer.data) == (200, body)
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_hashed_files_are_kept_for_ever_and_the_pointer_is_asked_for_each_time(ask, site):
    name = site.names()["x/app.js"]
    assert ask(f"/{name}").headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert ask(f"/{name}").headers["Content-Type"] == "text/javascript; charset=utf-8"
    for path in ("/release.json", "/sw.js", "/sw-client.js"):
        assert ask(path).headers["Cache-Control"] == "no-cache"


def test_answer_that_did_not_change_has_no_body(ask):
    first = ask("/release.json")
    again = ask("/release.json", If_None_Match=first.headers["ETag"])
    assert (again.status, again.data) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        ("bytes=0-1", 206, b"ho", "bytes 0-1/4"),
        ("bytes=2-", 206, b"me", "bytes 2-3/4"),
        ("bytes=-1", 206, b"e", "bytes 3-3/4"),
        ("bytes=1-99", 206, b"ome", "bytes 1-3/4"),
        ("bytes=4-", 416, b"", "bytes */4"),
        ("bytes=0-1,2-3", 200, b"home", None),
        ("lines=1-2", 200, b"home", None),
    ],
)
def test_ranges(ask, asked, status, body, told):
    answer = ask("/index.html", Range=asked)
    assert (answer.status, answer.data, answer.headers.get("Content-Range")) == (status, body, told)


def test_head_has_the_headers_and_no_body(ask):
    answer = ask("/index.html", method="HEAD")
    assert (answer.status, answer.headers["Content-Length"], answer.data) == (200, "4", b"")


@pytest.mark.parametrize(
    "path", ["/gone.html", "/../secret", "/%2e%2e/secret", "/..%2fsecret", "//etc/passwd", "/link.html", "/help", "/a%00b"]
)
def test_nothing_else_comes_out(ask, site, path):
    (site.folder / "secret").write_text("secret")
    (site.to / "link.html").symlink_to(site.folder / "secret")
    assert ask(path).status == 404


def test_browser_that_has_the_file_before_gets_a_patch(ask, site):
    (patch,) = site.manifest.patches
    old = next(path for path in (site.to / "x").iterdir() if patch.origin[:16] in path.name).read_bytes()
    name = site.names()["x/app.js"]
    offer = ask(f"/x/app.{patch.origin[:16]}.js").headers["Use-As-Dictionary"]
    assert offer == f'match="/x/app.*.js", id="{patch.origin[:16]}"'
    answer = ask(f"/{name}", Dictionary_ID=f'"{patch.origin[:16]}"', Accept_Encoding="gzip, dcz")
    assert answer.headers["Content-Encoding"] == "dcz"
    assert "available-dictionary" in answer.headers["Vary"]
    dictionary = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    plain = zstandard.ZstdDecompressor(dict_data=dictionary).decompress(answer.data[40:])
    assert plain == site.served("x/app.js")
    assert len(answer.data) < len(plain) / 50


def test_browser_without_that_file_or_without_dcz_gets_all_of_it(ask, site):
    (patch,) = site.manifest.patches
    name = site.names()["x/app.js"]
    for headers in ({"Dictionary_ID": f'"{"0" * 16}"', "Accept_Encoding": "dcz"}, {"Dictionary_ID": f'"{patch.origin[:16]}"'}):
        answer = ask(f"/{name}", **headers)
        assert "Content-Encoding" not in answer.headers
        assert answer.data == site.served("x/app.js")


def test_isolation_is_sent_when_asked_for(site):
    with open_server(site.to, ANY_PORT, isolate=True) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        answer = urllib3.request("GET", f"http://127.0.0.1:{server.server_address[1]}/", retries=False)
        thread.join()
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"


def test_port_that_is_taken_is_one_clear_line(site):
    with open_server(site.to, ANY_PORT) as server, pytest.raises(UnavailableError, match=r"cannot listen at 127\.0\.0\.1:"):
        open_server(site.to, ("127.0.0.1", server.server_address[1]))


def test_address_of_the_newer_kind_is_served_and_spelled(site):
    with open_server(site.to, ("::1", 0)) as server:
        assert url_of(server) == f"http://[::1]:{server.server_address[1]}/"


def test_folder_that_is_not_there_is_one_clear_line(site):
    with pytest.raises(UsageError, match="is no folder"):
        open_server(site.folder / "gone", ANY_PORT)
