"""Models in the page: whole files out of parts, verified, resumed, and shared between versions."""

from __future__ import annotations

import threading
from hashlib import sha256

import pytest
from blake3 import blake3

from sw.manifest import WebModel
from tests.browser_world import PART, again, assets, build, controlled, noise, outcome, publish_model, text, until
from tests.servers.web_host import corrupt, hang, run_web_host, status

# Too large for a pack: it is asked for by its name.
LARGE = {"large.bin": noise(300_000)}
FILES = {"config.json": b'{"a":1}', "onnx/model.onnx": noise(5 * PART + 17)}


@pytest.fixture
def tree(tmp_path):
    """A tree on a host of its own."""
    (tmp_path / "tree").mkdir()
    with run_web_host(tmp_path / "tree") as host:
        host.cors = True
        yield host


def deployed(public, tree, files=FILES, release="vad-v1.0.0", version="1.0.0", more=None):
    model = publish_model(tree.root, release, files)
    model = WebModel(release=release, tree=tree.url, manifest=model.manifest, sha256=model.sha256, size=model.size)
    build(public, assets(version, more), version, models={"vad": model})


DOWNLOAD = """id => { window.told = [];
  return client.model(id).download({ onprogress: (detail) => told.push(detail) }).then(() => "done", ({ kind, name }) => kind ?? name) }"""
DIGEST = """url => fetch(url).then((answer) => answer.arrayBuffer()).then((data) => crypto.subtle.digest("SHA-256", data))
  .then((digest) => [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join(""))"""


def test_model_is_whole_files_to_the_page_and_works_without_a_network(page, context, host, public, tree):
    deployed(public, tree)
    controlled(page, host.url)
    assert tree.asked == []
    assert page.evaluate("client.model('vad').here()") is False
    assert page.evaluate(DOWNLOAD, "vad") == "done"
    assert page.evaluate("client.model('vad').here()") is True
    assert page.evaluate("client.model('other').here()") is False
    assert page.evaluate("told.at(-1)")["done"] == page.evaluate("told.at(-1)")["total"] == sum(map(len, FILES.values()))
    context.set_offline(offline=True)
    url = page.evaluate("client.model('vad').url('onnx/model.onnx')")
    assert page.evaluate(DIGEST, url) == sha256(FILES["onnx/model.onnx"]).hexdigest()
    assert text(page, "/models/vad/config.json") == [200, '{"a":1}']
    assert text(page, "/models/vad/tokenizer.json")[0] == 404
    told = page.evaluate(
        """async (url) => {
          const head = await fetch(url, { method: "HEAD" });
          const part = await fetch(url, { headers: { Range: "bytes=0-0" } });
          return [head.status, head.headers.get("Content-Length"), part.status, part.headers.get("Content-Range")];
        }""",
        url,
    )
    size = len(FILES["onnx/model.onnx"])
    assert told == [200, str(size), 206, f"bytes 0-0/{size}"]


@pytest.mark.parametrize("leaves", [False, True], ids=["both stay", "the first one leaves"])
def test_model_that_two_tabs_download_at_once_comes_once(page, context, host, public, tree, leaves):
    deployed(public, tree)
    controlled(page, host.url)
    other = context.new_page()
    other.goto(host.url)
    outcome(other)
    reached, go = threading.Event(), threading.Event()
    tree.rule("parts/*", lambda talk: reached.set() or not go.wait(30))
    begin = "void (window.came = client.model('vad').download().then(() => 'done', ({ message }) => message))"
    page.evaluate(begin)
    assert reached.wait(30)
    other.evaluate(begin)
    until(other, "navigator.locks.query().then(({ pending }) => pending.length > 0)")
    if leaves:
        page.close()
    go.set()
    assert other.evaluate("came") == "done"
    if not leaves:
        assert page.evaluate("came") == "done"
        parts = [path for path in tree.paths() if path.startswith("parts/")]
        assert len(parts) == len(set(parts)) == 7
    assert other.evaluate("client.model('vad').here()") is True


def test_download_on_a_first_visit_waits_for_the_version_that_names_the_model(page, host, public, tree):
    deployed(public, tree, more=LARGE)
    reached, go = threading.Event(), threading.Event()
    host.rule("large.*.bin", lambda talk: reached.set() or not go.wait(30))
    page.goto(host.url)
    assert reached.wait(30)
    page.evaluate("void (window.came = client.model('vad').download().then(() => 'done', ({ message }) => message))")
    left = "client.model('vad').download({ signal: AbortSignal.timeout(1) }).catch(({ name }) => name)"
    assert page.evaluate(left) == "TimeoutError"
    assert tree.asked == []
    go.set()
    assert page.evaluate("came") == "done"
    assert page.evaluate("client.model('vad').here()") is True


def test_download_on_a_first_visit_that_fails_says_why(page, host, public, tree):
    deployed(public, tree, more=LARGE)
    host.rule("large.*.bin", status(404))
    page.goto(host.url)
    page.wait_for_function("window.client")
    assert "large" in page.evaluate("client.model('vad').download().catch(({ message }) => message)")


def test_tree_may_lie_beside_the_application(page, host, public):
    model = publish_model(public, "vad-v1.0.0", FILES)
    beside = WebModel(release="vad-v1.0.0", tree="./", manifest=model.manifest, sha256=model.sha256, size=model.size)
    build(public, assets(), models={"vad": beside})
    controlled(page, host.url)
    assert text(page, "/models/vad/config.json") == [200, '{"a":1}']


def test_model_streams_on_demand_and_each_part_is_fetched_once(page, host, public, tree):
    deployed(public, tree)
    controlled(page, host.url)
    url = "/models/vad/onnx/model.onnx"
    assert page.evaluate(DIGEST, url) == sha256(FILES["onnx/model.onnx"]).hexdigest()
    # What was streamed is stored beside it; nobody waits for that but this test.
    data = FILES["onnx/model.onnx"]
    digests = {sha256(data[at : at + PART]).hexdigest() for at in range(0, len(data), PART)}
    until(
        page,
        """async (wanted) => {
          const bytes = await caches.open((await caches.keys()).find((name) => name.startsWith("modelport:")));
          const held = new Set((await bytes.keys()).map(({ url }) => url.split("/").at(-1)));
          return wanted.every((name) => held.has(name));
        }""",
        sorted(digests),
    )
    assert page.evaluate(DOWNLOAD, "vad") == "done"
    parts = [path for path in tree.paths() if path.startswith("parts/")]
    assert len(parts) == len(set(parts)) == 7


def test_download_of_a_model_that_broke_off_goes_on_by_part(page, host, public, tree):
    deployed(public, tree)
    controlled(page, host.url)
    last = "parts/*/" + blake3(FILES["onnx/model.onnx"][5 * PART :]).hexdigest()
    tree.rule(last, status(404))
    assert page.evaluate(DOWNLOAD, "vad") == "http"
    tree.rules.clear()
    tree.forget()
    assert page.evaluate(DOWNLOAD, "vad") == "done"
    assert len(tree.paths()) == 1


def test_part_that_lies_is_never_served(page, host, public, tree):
    deployed(public, tree)
    controlled(page, host.url)
    tree.rule("parts/*", corrupt)
    assert text(page, "/models/vad/config.json")[0] == 504
    assert page.evaluate(DOWNLOAD, "vad") == "hash"


def test_new_version_of_a_model_brings_changed_parts_only(page, host, public, tree):
    deployed(public, tree)
    controlled(page, host.url)
    assert page.evaluate(DOWNLOAD, "vad") == "done"
    data = bytearray(FILES["onnx/model.onnx"])
    data[2 * PART + 5] ^= 1
    for version in ("1.1.0", "1.2.0"):
        # Between the two the old release of the web goes, and the model's parts stay.
        deployed(public, tree, FILES | {"onnx/model.onnx": bytes(data)}, "vad-v1.0.1", version)
        assert again(page)[0] == "ready"
    page.reload()
    page.wait_for_function("window.client")
    tree.forget()
    assert page.evaluate(DOWNLOAD, "vad") == "done"
    assert len(tree.paths()) == 2
    assert page.evaluate(DIGEST, "/models/vad/onnx/model.onnx") == sha256(data).hexdigest()


def test_download_ends_when_its_signal_says_so_and_holds_nothing_else_up(page, host, public, tree):
    deployed(public, tree)
    controlled(page, host.url)
    tree.rule("parts/*", hang)
    page.evaluate(
        """() => { window.stop = new AbortController();
          window.end = client.model("vad").download({ signal: stop.signal }).catch(({ name }) => name); return 1 }"""
    )
    tree.wait_for("parts/*")
    page.evaluate("stop.abort()")
    assert page.evaluate("end") == "AbortError"
    assert again(page, "current")[0] == "current"


def test_download_that_is_stopped_stops_no_other(page, host, public, tree):
    deployed(public, tree)
    controlled(page, host.url)
    model = publish_model(tree.root, "other-v1.0.0", {"other.bin": noise(3 * PART, 5)})
    models = {
        name: WebModel(release=name, tree=tree.url, manifest=one.manifest, sha256=one.sha256, size=one.size)
        for name, one in (("vad", publish_model(tree.root, "vad-v1.0.0", FILES)), ("other", model))
    }
    build(public, assets("2.0.0"), "2.0.0", models=models)
    assert again(page)[0] == "ready"
    page.reload()
    page.wait_for_function("window.client")
    build(public, assets("3.0.0", {"a.bin": noise(300_000)}), "3.0.0", models=models)
    go, begun = threading.Event(), {host.port: threading.Event(), tree.port: threading.Event()}

    def waits(talk):
        begun[talk.host.port].set()
        assert go.wait(60)
        return False

    host.rule("a.*.bin", waits)
    tree.rule("parts/*", waits)
    page.evaluate("log.length = 0, client.update()")
    page.evaluate(
        """() => { window.stop = new AbortController();
          window.end = client.model("vad").download({ signal: stop.signal }).catch(({ name }) => name);
          window.other = client.model("other").download().then(() => "done"); }"""
    )
    assert all(event.wait(60) for event in begun.values())
    page.evaluate("stop.abort()")
    assert page.evaluate("end") == "AbortError"
    go.set()
    assert page.evaluate("other") == "done"
    assert outcome(page, "ready", "failed")[0] == "ready"


def test_pause_stops_a_models_download_too(page, host, public, tree):
    deployed(public, tree)
    controlled(page, host.url)
    tree.rule("parts/*", hang)
    page.evaluate("window.end = client.model('vad').download().catch(({ kind }) => kind), 1")
    tree.wait_for("parts/*")
    page.evaluate("client.pause()")
    assert page.evaluate("end") == "paused"
    tree.rules.clear()
    page.evaluate("client.resume()")
    assert page.evaluate(DOWNLOAD, "vad") == "done"


def test_signal_that_comes_while_the_browser_is_asked_for_room_counts(page, host, public, tree):
    deployed(public, tree)
    controlled(page, host.url)
    told = page.evaluate(
        """async () => { const stop = new AbortController();
          const end = client.model("vad").download({ signal: stop.signal }).catch(({ name }) => name);
          stop.abort(); return end }"""
    )
    assert told == "AbortError"
    assert tree.asked == []


def test_download_says_so_where_the_worker_cannot_be_had(page, context, host, public, tree):
    deployed(public, tree)
    controlled(page, host.url)
    # A script that the host lost, and that no cache of the browser has.
    page.evaluate("void (window.Worker = class extends Worker { constructor() { super('/gone.js'); } })")
    told = page.evaluate("client.model('vad').download().catch(({ message }) => message)")
    assert told == f"{host.url}sw.js cannot be had, or is no script"


def test_removed_model_leaves_no_parts(page, host, public, tree):
    deployed(public, tree)
    controlled(page, host.url)
    before = page.evaluate("navigator.storage.estimate().then(({ usageDetails }) => usageDetails?.caches ?? 0)")
    assert page.evaluate(DOWNLOAD, "vad") == "done"
    page.evaluate("client.model('vad').remove()")
    until(
        page,
        "(most) => navigator.storage.estimate().then(({ usageDetails }) => (usageDetails?.caches ?? 0) < most)",
        before + PART,
    )
