"""A first visit: what is fetched, what is believed, and what works without a network afterwards."""

import json
import threading
from collections import Counter

import pytest

from tests.browser_world import again, assets, build, controlled, noise, opened, outcome, served, stored, text
from tests.servers.web_host import corrupt, cut, hang, login, reset, run_web_host, status, truncate

LARGE = {"movie.mp4": noise(20_000_000)}


def test_application_opens_without_a_network(page, context, host):
    controlled(page, host.url)
    context.set_offline(offline=True)
    page.reload()
    assert page.title() == "1.0.0"
    assert page.text_content("#said") == "1.0.0"
    assert page.evaluate("lazy()") == "lazy 1.0.0"
    assert page.evaluate("inWorker()") == "lazy 1.0.0"


def test_small_files_come_in_packs_and_each_byte_once(page, host, public):
    many = {f"icons/{number}.svg": noise(2000, number) for number in range(60)}
    build(public, assets(more=many))
    host.forget()
    assert opened(page, host.url)[0] == "ready"
    assert [path for path in host.paths() if path.startswith("icons/")] == []
    assert len([path for path in host.paths() if path.startswith("packs/")]) == 1


def test_page_downloads_six_at_once(page, host, public):
    build(public, assets(more={f"{number}.bin": noise(100_000, number) for number in range(20)}), packs=False)
    host.delay_s = 0.2
    assert opened(page, host.url)[0] == "ready"
    assert host.most_at_once == 6


def test_request_does_not_wait_until_the_file_before_it_is_stored(page, host, public):
    build(public, assets(more={f"{number}.bin": noise(100_000, number) for number in range(20)}), packs=False, single_file=True)
    manifest = json.loads((public / "release.json").read_text())["sha256"]
    gate = f"""{{
      const put = Cache.prototype.put;
      const opened = new Promise((done) => (new BroadcastChannel("gate").onmessage = done));
      Cache.prototype.put = async function (key, data) {{
        if (/[0-9a-f]{{64}}$/.test(key) && !key.endsWith("{manifest}")) await opened;
        return put.call(this, key, data);
      }};
    }}"""
    host.rule("sw.js", lambda talk: talk.reply(200, gate.encode() + talk.body) or True)
    page.goto(host.url)
    host.wait_for("*.bin", 12)
    page.evaluate("new BroadcastChannel('gate').postMessage('open')")
    assert outcome(page)[0] == "ready"


def test_page_hears_of_its_first_download_from_the_beginning(page, host):
    def late(talk):
        """Let the browser register only when the download is under way."""
        if talk.headers.get("Service-Worker"):
            talk.host.wait_for("manifest.*")
        return False

    host.rule("sw.js", late)
    assert opened(page, host.url)[0] == "ready"
    assert page.evaluate("log.slice(0, 2).map(([type]) => type)") == ["checking", "update"]


def test_first_visit_asks_for_nothing_twice(page, host, public):
    build(public, assets(), packs=False)
    assert opened(page, host.url)[0] == "ready"
    # The worker's script is asked for by the page and, as often as it likes, by the browser.
    asked = Counter(host.paths())
    # The first page has two addresses.
    assert [path for path, times in asked.items() if times > 1] == ["index.html"]
    assert {"index.html", "sw-client.js", "release.json", served(public, "app.js")} <= asked.keys()


@pytest.mark.parametrize("bad", [hang, status(503)])
def test_first_question_that_fails_is_asked_again_by_the_worker(page, host, bad):
    host.rule("release.json", bad, times=1)
    assert opened(page, host.url)[0] == "ready"


def test_progress_counts_to_the_total_and_names_its_rate(page, host, public):
    build(public, assets(more=LARGE))
    opened(page, host.url)
    told = page.evaluate("log.filter(([type]) => type === 'progress').map(([, detail]) => detail)")
    assert told[-1]["done"] == told[-1]["total"] > 20_000_000
    assert [one["done"] for one in told] == sorted(one["done"] for one in told)
    assert told[-1]["files"] == told[-1]["of"]
    assert told[-1]["rate"] > 0


@pytest.mark.parametrize(
    "lie, kind",
    [(corrupt, "hash"), (login, "size"), (truncate, "size"), (cut, "network"), (status(404), "http"), (status(503), "http")],
)
def test_file_that_is_not_what_was_promised_stops_the_version_and_costs_only_itself_later(page, host, public, lie, kind):
    build(public, assets(more={f"{number}.bin": noise(300_000, number) for number in range(4)}))
    bad = served(public, "2.bin")
    host.rule(bad, lie)
    end, detail = opened(page, host.url)
    assert (end, detail["kind"]) == ("failed", kind)
    assert bad in detail["url"]
    assert kind in detail["message"]
    assert page.evaluate("client.status()")["version"] is None
    host.rules.clear()
    host.forget()
    assert again(page)[0] == "ready"
    assert host.paths() == ["release.json", bad]
    assert host.cost < 300_000 + 2048


@pytest.mark.parametrize("lie", [corrupt, login, truncate, cut, status(503), reset])
def test_file_that_was_wrong_once_is_asked_for_again(page, host, public, lie):
    build(public, assets(more={"a.bin": noise(300_000)}))
    host.rule(served(public, "a.bin"), lie, times=2)
    assert opened(page, host.url)[0] == "ready"


def test_bytes_of_an_http_cache_are_believed_only_if_they_are_right(page, host, public):
    build(public, assets(more={"a.bin": noise(300_000)}))
    name = served(public, "a.bin")
    host.rule(name, corrupt, times=1)
    page.goto(host.url + "robots.txt")
    assert text(page, host.url + name)[0] == 200
    assert opened(page, host.url)[0] == "ready"
    length = "(name) => fetch(name).then((answer) => answer.arrayBuffer()).then((data) => data.byteLength)"
    assert page.evaluate(length, name) == 300_000
    assert len([path for path in host.paths() if path == name]) == 2


def test_pack_that_lies_is_replaced_by_its_files(page, host):
    host.rule("packs/*", corrupt)
    assert opened(page, host.url)[0] == "ready"
    assert any(path.startswith("app.") for path in host.paths())


@pytest.mark.parametrize("lie", [login, corrupt, status(500)])
def test_pointer_or_manifest_that_lies_installs_nothing(page, host, lie):
    host.rule("release.json", lie)
    assert opened(page, host.url)[0] == "failed"
    host.rules.clear()
    host.rule("manifest.*", lie)
    assert again(page)[0] == "failed"
    assert stored(page) == []
    host.rules.clear()
    assert again(page)[0] == "ready"


def test_optional_file_holds_nothing_up_and_comes_when_it_can(page, host, public):
    build(public, assets(more={"extra/film.bin": noise(300_000)}), optional=("extra/*",))
    bad = served(public, "extra/film.bin")
    host.rule(bad, status(404))
    end, detail = opened(page, host.url)
    assert (end, detail["left"]) == ("ready", 1)
    assert page.evaluate("log.some(([type, { kind }]) => type === 'fault' && kind === 'http')")
    host.rules.clear()
    host.forget()
    end, detail = again(page)
    assert (end, detail["left"]) == ("current", 0)
    assert host.paths() == ["release.json", bad]


def test_what_no_page_needs_costs_nothing_and_is_verified_when_it_is_asked_for(page, host, public):
    script = assets()["app.js"] + b"//# sourceMappingURL=app.js.map\n"
    more = {"app.js": script, "app.js.map": b'{"version":3}', "_headers": b"/*", "CNAME": b"shop", ".htaccess": b"Deny"}
    build(public, assets(more=more))
    # Hosts keep these for themselves.
    for name in ("_headers", "CNAME", ".htaccess"):
        host.rule(name, status(404))
    controlled(page, host.url)
    name = served(public, "app.js.map")
    assert not [path for path in host.paths() if path.endswith(".map")]
    host.rule("*.map", corrupt)
    assert text(page, f"/{name}")[0] == 504
    host.rules.clear()
    assert text(page, f"/{name}") == [200, '{"version":3}']


def test_what_is_optional_is_left_where_data_is_to_be_saved(page, host, public):
    build(public, assets(more={"extra/film.bin": noise(300_000)}), optional=("extra/*",))
    page.add_init_script("Object.defineProperty(navigator, 'connection', { value: { saveData: true } })")
    end, detail = opened(page, host.url)
    assert (end, detail["left"]) == ("ready", 1)
    assert served(public, "extra/film.bin") not in host.paths()


def test_dead_network_is_given_up_soon(page, host, public):
    build(public, assets(more={f"{number}.bin": noise(300_000, number) for number in range(40)}), packs=False)
    host.rule("*.bin", reset)
    assert opened(page, host.url)[0] == "failed"
    assert len([path for path in host.paths() if path.endswith(".bin")]) <= 40


def test_large_file_goes_on_by_part_after_a_cut(page, host, public):
    build(public, assets(more=LARGE))
    name = served(public, "movie.mp4")
    part = 8 << 20

    def last_part_fails(talk):
        return talk.headers.get("Range", "").startswith(f"bytes={2 * part}-") and cut(talk)

    host.rule(name, last_part_fails)
    assert opened(page, host.url)[0] == "failed"
    host.rules.clear()
    host.forget()
    assert again(page)[0] == "ready"
    assert [one.range for one in host.asked if one.path == name] == [f"bytes={2 * part}-{20_000_000 - 1}"]


def test_host_without_ranges_serves_large_files_too(page, host, public):
    build(public, assets(more=LARGE))
    host.ranges = False
    assert opened(page, host.url)[0] == "ready"
    assert (
        page.evaluate("name => fetch(name).then((a) => a.arrayBuffer()).then((b) => b.byteLength)", served(public, "movie.mp4"))
        == 20_000_000
    )


def test_mirror_helps_where_the_host_fails_or_lies(page, host, public, tmp_path):
    with run_web_host(public) as mirror:
        mirror.cors = True
        build(public, assets(more={"a.bin": noise(300_000), "b.bin": noise(300_000, 2)}), mirrors=(mirror.url,))
        host.rule(served(public, "a.bin"), status(503))
        host.rule(served(public, "b.bin"), corrupt)
        assert opened(page, host.url)[0] == "ready"
        assert {served(public, "a.bin"), served(public, "b.bin")} <= set(mirror.paths())


def test_answer_that_hangs_is_left(page, host, public):
    build(public, assets(more={"a.bin": noise(300_000)}))
    host.rule(served(public, "a.bin"), hang, times=1)
    end, _ = opened(page, host.url)
    assert end == "ready"


def test_pause_stops_every_tab_and_resume_goes_on(page, context, host, public):
    build(public, assets(more={f"{number}.bin": noise(300_000, number) for number in range(12)}))
    host.rule("[6-9]*.bin", hang)
    page.goto(host.url)
    host.wait_for("[6-9]*.bin", 2)
    other = context.new_page()
    other.goto(host.url)
    other.wait_for_function("window.client")
    other.evaluate("client.pause()")
    outcome(page, "paused")
    page.wait_for_function("log.some(([type, { kind }]) => type === 'failed' && kind === 'paused')")
    assert page.evaluate("client.status()")["paused"] is True
    host.rules.clear()
    host.forget()
    page.evaluate("log.length = 0, client.update()")
    page.evaluate("client.resume()")
    assert outcome(page)[0] == "ready"
    assert page.evaluate("client.status()")["paused"] is False


def test_service_worker_goes_on_when_the_last_page_closes(page, context, host, public):
    build(public, assets(more={f"{number}.bin": noise(300_000, number) for number in range(12)}))
    begun, go = threading.Event(), threading.Event()

    def waits(_):
        begun.set()
        assert go.wait(60)
        return False

    host.rule("[0-9]*.bin", waits)
    page.goto(host.url)
    page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
    page.wait_for_function("window.log?.some(([type]) => type === 'update')")
    assert begun.wait(60)
    page.close()
    go.set()
    # A page asks for six at once: the others are the service worker's.
    host.wait_until(lambda: len({path for path in host.paths() if path[0].isdigit()}) == 12)


def test_two_tabs_bring_a_version_once(page, context, host, public):
    build(public, assets(more={f"{number}.bin": noise(300_000, number) for number in range(8)}))
    host.delay_s = 0.1
    other = context.new_page()
    page.goto(host.url)
    other.goto(host.url)
    outcome(page, "ready")
    outcome(other, "ready")
    bins = [path for path in host.paths() if path[0].isdigit()]
    assert len(bins) == len(set(bins)) == 8


def test_look_at_an_unchanged_site_costs_one_small_request(page, host):
    controlled(page, host.url)
    host.forget()
    assert again(page)[0] == "current"
    assert host.paths() == ["release.json"]
    assert host.cost <= 300
