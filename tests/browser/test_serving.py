"""How the worker answers: pages, clean addresses, ranges, lost entries, isolation."""

import pytest

from sw.manifest import Navigate
from tests.browser_world import again, assets, build, controlled, noise, opened, outcome, served, stored, text, until
from tests.servers.web_host import corrupt, login, status

DROP = """async (digest) => {
  const bytes = await caches.open((await caches.keys()).find((name) => name.startsWith("modelport:")));
  for (const key of await bytes.keys()) if (/[0-9a-f]{64}$/.test(key.url) && key.url.endsWith(digest)) await bytes.delete(key);
}"""


def digest_of(public, source):
    import hashlib

    return hashlib.sha256((public / served(public, source)).read_bytes()).hexdigest()


def test_pages_answer_to_their_clean_addresses(page, context, host):
    controlled(page, host.url)
    context.set_offline(offline=True)
    for address, title, ends in [
        ("about", "about 1.0.0", "/about"),
        ("about.html?utm_source=x", "about 1.0.0", "/about.html?utm_source=x"),
        ("docs/", "docs 1.0.0", "/docs/"),
        ("docs", "docs 1.0.0", "/docs/"),
        ("about/", "about 1.0.0", "/about"),
        ("?fbclid=1", "1.0.0", "/?fbclid=1"),
        ("?page=2", "1.0.0", "/?page=2"),
    ]:
        page.goto(host.url + address)
        assert (page.title(), page.url.removeprefix(host.url[:-1])) == (title, ends)


def test_fallback_answers_what_it_is_allowed_to(page, context, host, public):
    build(public, assets(), navigate=Navigate(fallback="index.html", allow=(r"^app/",), deny=(r"^app/api/",)))
    controlled(page, host.url)
    context.set_offline(offline=True)
    page.goto(host.url + "app/users/7")
    assert page.title() == "1.0.0"
    for address in ("app/api/7", "elsewhere"):
        with pytest.raises(Exception, match=r"ERR_INTERNET_DISCONNECTED|ERR_FAILED"):
            page.goto(host.url + address)


def test_parameter_that_is_not_ignored_is_the_servers_to_answer(page, host):
    controlled(page, host.url)
    host.forget()
    page.goto(host.url + "about?q=1")
    assert "about" in host.paths()
    host.forget()
    page.goto(host.url + "about?utm_campaign=1")
    assert "about" not in host.paths()


def test_parameters_count_for_what_a_page_fetches_too(page, context, host, public):
    controlled(page, host.url)
    name = served(public, "lazy.js")
    (public / "robots.txt").write_text("asked")
    host.forget()
    assert text(page, "/robots.txt")[1] == "# 1.0.0\n"
    assert text(page, "/robots.txt?utm_source=x&fbclid=1")[1] == "# 1.0.0\n"
    assert text(page, "/robots.txt?q=1") == [200, "asked"]
    # What is named by its bytes is these bytes, whatever is added.
    assert text(page, f"/{name}?v=2")[1] == (public / name).read_text()
    assert [path for path in host.paths() if path != "release.json"] == ["robots.txt"]
    context.set_offline(offline=True)
    assert text(page, "/robots.txt?q=1") == [200, "# 1.0.0\n"]


def test_ranges_are_served_as_asked(page, host, public):
    movie = noise(20_000_000)
    build(public, assets(more={"movie.mp4": movie}))
    controlled(page, host.url)
    name = served(public, "movie.mp4")
    host.forget()
    ask = """([url, range]) => fetch(url, { headers: range ? { Range: range } : {} }).then(async (answer) => {
      const data = new Uint8Array(await answer.arrayBuffer());
      return [answer.status, answer.headers.get("Content-Range"), data.length, [...data.slice(0, 3)], answer.headers.get("Content-Type")];
    })"""
    edge = 8 << 20
    for asked, code, span in [
        ("bytes=100-199", 206, (100, 200)),
        (f"bytes={edge - 2}-{edge + 1}", 206, (edge - 2, edge + 2)),
        ("bytes=19999990-", 206, (19_999_990, 20_000_000)),
        ("bytes=-5", 206, (19_999_995, 20_000_000)),
        ("bytes=0-99999999", 206, (0, 20_000_000)),
        ("bytes=0-1,5-6", 200, (0, 20_000_000)),
        ("", 200, (0, 20_000_000)),
    ]:
        found = page.evaluate(ask, [name, asked])
        start, end = span
        told = f"bytes {start}-{end - 1}/20000000" if code == 206 else None
        assert found == [code, told, end - start, list(movie[start : min(start + 3, end)]), "video/mp4"], asked
    assert page.evaluate(ask, [name, "bytes=20000000-"])[:2] == [416, "bytes */20000000"]
    assert host.paths() == []


def test_if_range_of_other_bytes_gets_all_of_them(page, host):
    controlled(page, host.url)
    ask = "(tag) => fetch('/robots.txt', { headers: { Range: 'bytes=0-1', 'If-Range': tag } }).then(({ status }) => status)"
    etag = page.evaluate("fetch('/robots.txt').then(({ headers }) => headers.get('ETag'))")
    assert [page.evaluate(ask, etag), page.evaluate(ask, '"other"')] == [206, 200]


def test_head_tells_the_length_and_no_more(page, context, host):
    controlled(page, host.url)
    context.set_offline(offline=True)
    told = page.evaluate(
        """fetch('/robots.txt', { method: 'HEAD' }).then(async (answer) =>
          [answer.status, answer.headers.get('Content-Length'), await answer.text()])"""
    )
    assert told == [200, "8", ""]


def test_type_is_the_manifests_whatever_the_server_says(page, host):
    host.rule("robots.txt", lambda talk: talk.reply(200, talk.body, media="text/html") or True)
    controlled(page, host.url)
    assert page.evaluate("fetch('/robots.txt').then(({ headers }) => headers.get('Content-Type'))") == "text/plain; charset=utf-8"


def test_lost_entry_is_brought_again(page, context, host, public):
    controlled(page, host.url)
    page.evaluate(DROP, digest_of(public, "lazy.js"))
    assert page.evaluate("lazy()") == "lazy 1.0.0"
    until(
        page,
        """async (digest) => {
          const bytes = await caches.open((await caches.keys()).find((name) => name.startsWith("modelport:")));
          return (await bytes.keys()).some(({ url }) => url.endsWith(digest));
        }""",
        digest_of(public, "lazy.js"),
    )
    context.set_offline(offline=True)
    page.reload()
    assert page.evaluate("lazy()") == "lazy 1.0.0"


@pytest.mark.parametrize("lie", [corrupt, login, status(503)])
def test_lost_entry_is_never_replaced_by_other_bytes(page, host, public, lie):
    controlled(page, host.url)
    page.evaluate(DROP, digest_of(public, "lazy.js"))
    host.rule("lazy.*", lie)
    assert text(page, "/" + served(public, "lazy.js"))[0] == 504
    page.wait_for_function("log.some(([type, { kind }]) => type === 'fault' && kind)")


def test_lost_manifest_is_brought_again(page, host):
    controlled(page, host.url)
    page.evaluate(DROP, "")
    page.reload()
    outcome(page)
    assert (page.title(), page.evaluate("lazy()")) == ("1.0.0", "lazy 1.0.0")


def test_damaged_entry_is_found_by_verify_and_mended(page, host, public):
    controlled(page, host.url)
    digest = digest_of(public, "lazy.js")
    page.evaluate(
        """async (digest) => {
          const bytes = await caches.open((await caches.keys()).find((name) => name.startsWith("modelport:")));
          const key = (await bytes.keys()).find(({ url }) => url.endsWith(digest));
          const data = new Uint8Array(await (await bytes.match(key)).arrayBuffer());
          data[0] ^= 1;
          await bytes.put(key, new Response(data));
        }""",
        digest,
    )
    page.evaluate("log.length = 0, client.verify()")
    assert outcome(page)[0] == "current"
    assert page.evaluate("lazy()") == "lazy 1.0.0"


def test_isolation_is_given_to_pages_and_their_workers(page, host, public):
    build(public, assets(), isolate=True)
    opened(page, host.url)
    assert page.evaluate("crossOriginIsolated") is False
    page.reload()
    outcome(page)
    assert page.evaluate("crossOriginIsolated") is True
    assert page.evaluate("inWorker()") == "lazy 1.0.0"


def test_what_is_no_file_of_the_release_is_the_networks(page, host, public):
    controlled(page, host.url)
    (public / "api.json").write_text("1")
    assert text(page, "/api.json") == [200, "1"]
    (public / "api.json").write_text("2")
    assert text(page, "/api.json") == [200, "2"]
    assert text(page, "/nothing")[0] == 404


def test_requests_with_a_body_are_the_networks(page, host):
    controlled(page, host.url)
    assert page.evaluate("fetch('/robots.txt', { method: 'POST', body: 'x' }).then(({ status }) => status)") == 501


def test_everything_lost_and_a_new_version_deployed_heals_by_itself(page, host, public, tmp_path):
    controlled(page, host.url)
    page.evaluate(DROP, "")
    build(tmp_path / "two", assets("2.0.0"), "2.0.0")
    host.root = tmp_path / "two"
    page.reload()
    # The service worker may have brought it before the page could hear of it.
    assert outcome(page)[0] in {"ready", "current"}
    page.reload()
    outcome(page)
    assert page.title() == "2.0.0"
    assert len(stored(page)) > 5
    assert again(page)[0] == "current"
