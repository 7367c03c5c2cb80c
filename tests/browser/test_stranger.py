"""What no plan foresaw: odd names, scopes below the top, stores that fail, optional weight, models that come and go."""

from __future__ import annotations

import shutil

from tests.browser.test_models import DOWNLOAD, FILES, deployed
from tests.browser_world import PART, again, assets, build, controlled, noise, opened, outcome, served, text
from tests.servers.web_host import run_web_host

HERE = "client.model('vad').here()"
ODD = {
    "a b.js": b"export const a = 1;\n",
    "\u00fcml/\u00e9.txt": b"umlaut",
    "sharp#1.txt": b"sharp",
    "and&more=1+1.txt": b"and",
    "100%.html": b"<!doctype html><title>percent</title>",
    "notes": b"no ending",
}


def short_of(host, script):
    """Let the engine, wherever it runs, find another browser than there is."""
    host.rule("sw.js", lambda talk: talk.reply(200, script.encode() + talk.body) or True)


def test_names_that_a_url_cannot_hold_as_they_are(page, context, host, public):
    build(public, assets(more=ODD))
    controlled(page, host.url)
    context.set_offline(offline=True)
    for source, data in ODD.items():
        address = page.evaluate("path => '/' + path.split('/').map(encodeURIComponent).join('/')", served(public, source))
        assert text(page, address) == [200, data.decode()]
    page.goto(host.url + "100%25")
    assert page.title() == "percent"


def test_address_that_is_no_text_is_the_networks(page, host):
    controlled(page, host.url)
    host.forget()
    assert page.goto(host.url + "50%off").status == 404
    assert host.paths()[0].startswith("50")
    page.goto(host.url)
    assert page.title() == "1.0.0"


def test_application_below_the_top_keeps_to_itself(page, context, host, public, tmp_path):
    build(tmp_path / "site" / "shop", assets())
    (tmp_path / "site" / "about.html").write_text("<!doctype html><title>other</title>")
    host.root = tmp_path / "site"
    controlled(page, host.url + "shop/")
    page.goto(host.url + "about.html")
    assert page.title() == "other"
    context.set_offline(offline=True)
    page.goto(host.url + "shop/about?utm_source=x")
    assert page.title() == "about 1.0.0"
    page.goto(host.url + "shop/docs")
    assert page.url == host.url + "shop/docs/"


def test_optional_files_without_room_hold_no_version_up(page, host, public):
    build(public, assets(more={"extra/film.bin": noise(3_000_000)}), optional=("extra/*",))
    short_of(host, "navigator.storage.estimate = async () => ({ quota: 1000000, usage: 0 });")
    end, detail = opened(page, host.url)
    assert (end, detail["left"]) == ("ready", 1)
    assert page.evaluate("log.some(([type, { kind }]) => type === 'fault' && kind === 'quota')")
    assert served(public, "extra/film.bin") not in host.paths()


def test_browser_that_does_not_tell_its_room_installs(page, host):
    short_of(host, "navigator.storage.estimate = undefined;")
    assert opened(page, host.url)[0] == "ready"


def test_store_that_takes_nothing_is_told(page, host):
    short_of(host, 'CacheStorage.prototype.open = async () => { throw new DOMException("no", "SecurityError") };')
    end, detail = opened(page, host.url)
    assert (end, detail["kind"]) == ("failed", "storage")


def test_store_that_cannot_be_read_leaves_pages_to_the_network(page, host):
    controlled(page, host.url)
    worker = page.context.service_workers[0]
    worker.evaluate("() => { CacheStorage.prototype.match = async () => { throw new DOMException('no', 'UnknownError') } }")
    # A tab of a version gets nothing that nobody vouches for; a new page comes as it would without the worker.
    assert text(page, "/robots.txt")[0] == 504
    other = page.context.new_page()
    assert other.goto(host.url + "about.html").status == 200
    assert other.title() == "about 1.0.0"


def test_page_of_the_network_gets_its_files_from_there_when_the_worker_starts_anew(page, context, host, public):
    controlled(page, host.url)
    page.goto(host.url + "?page=2")
    page.wait_for_function("window.client")
    (public / "data.json").write_text("other")
    session = context.new_cdp_session(page)
    session.send("ServiceWorker.enable")
    session.send("ServiceWorker.stopAllWorkers")
    assert text(page, "/data.json") == [200, "other"]


def test_model_is_still_here_after_everything_was_verified(page, context, host, public, tmp_path):
    (tmp_path / "tree").mkdir()
    with run_web_host(tmp_path / "tree") as tree:
        tree.cors = True
        deployed(public, tree)
        controlled(page, host.url)
        assert page.evaluate(DOWNLOAD, "vad") == "done"
        page.evaluate("log.length = 0, client.verify()")
        assert outcome(page)[0] == "current"
        assert page.evaluate(HERE) is True
        page.evaluate(
            """async () => {
              const store = await caches.open((await caches.keys()).find((name) => name.startsWith("modelport:")));
              for (const key of await store.keys())
                if ((await (await store.match(key))?.blob())?.size === 17) await store.delete(key);
            }"""
        )
        assert page.evaluate(HERE) is False


def test_model_that_was_swept_is_not_here_after_a_rollback(page, host, public, tmp_path):
    (tmp_path / "tree").mkdir()
    with run_web_host(tmp_path / "tree") as tree:
        tree.cors = True
        deployed(public, tree)
        controlled(page, host.url)
        assert page.evaluate(DOWNLOAD, "vad") == "done"
        first = shutil.copytree(public, tmp_path / "first")
        other = FILES | {"onnx/model.onnx": noise(2 * PART, 9)}
        for version in ("1.1.0", "1.2.0", "1.3.0"):
            deployed(public, tree, other, "vad-v1.0.1", version)
            assert again(page)[0] == "ready"
            page.reload()
            outcome(page)
            assert page.evaluate(DOWNLOAD, "vad") == "done"
        # Tabs that showed the first version are long gone.
        page.evaluate(
            """async () => {
              const store = await caches.open((await caches.keys()).find((name) => name.startsWith("modelport:")));
              for (const key of await store.keys()) if (key.url.includes("/client/")) await store.delete(key);
            }"""
        )
        deployed(public, tree, other, "vad-v1.0.1", "1.4.0")
        assert again(page)[0] == "ready"
        host.root = first
        assert again(page)[0] == "ready"
        assert page.evaluate(HERE) is False
        notes = """async () => {
          const store = await caches.open((await caches.keys()).find((name) => name.startsWith("modelport:")));
          return (await store.keys()).filter(({ url }) => /(ready|model).[0-9a-f]{64}$/.test(url)).length;
        }"""
        assert page.evaluate(notes) <= 2


def test_model_with_the_same_part_twice_is_whole(page, host, public, tmp_path):
    (tmp_path / "tree").mkdir()
    with run_web_host(tmp_path / "tree") as tree:
        tree.cors = True
        deployed(public, tree, {"zeros.bin": bytes(3 * PART)})
        controlled(page, host.url)
        sized = "fetch('/models/vad/zeros.bin').then((a) => a.arrayBuffer()).then((b) => b.byteLength)"
        assert page.evaluate(sized) == 3 * PART
