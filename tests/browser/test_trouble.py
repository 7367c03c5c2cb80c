"""Full disks and killed browsers: the version that was there goes on working."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager

from tests.browser_world import CHROMIUM, again, age, assets, build, controlled, noise, opened, outcome, sizes, stored, until

MANY = {f"{number}.bin": noise(1_000_000, number) for number in range(12)}


@contextmanager
def killable(chromium, profile):
    """A Chromium with a profile that stays, and the means to end it as a power cut would."""
    profile.mkdir(exist_ok=True)
    told = profile / "DevToolsActivePort"
    told.unlink(missing_ok=True)
    options = ["--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--no-first-run", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        [CHROMIUM, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )

    def kill():
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)

    try:
        deadline = time.monotonic() + 60
        while not (told.is_file() and told.read_text().count("\n")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            # Chromium tells its port by a file, and nothing announces that.
            time.sleep(0.02)
        port = told.read_text().splitlines()[0]
        browser = chromium.connect_over_cdp(f"http://127.0.0.1:{port}")
        yield browser.contexts[0].pages[0], kill
    finally:
        kill()


def limit(page, size):
    """Give the origin so many bytes; nothing of it shows in the browser's estimate."""
    session = page.context.new_cdp_session(page)
    session.send("Storage.overrideQuotaForOrigin", {"origin": page.evaluate("location.origin"), "quotaSize": size})


def test_without_room_the_version_stays_and_nothing_partial_is_left(page, context, host, public):
    controlled(page, host.url)
    before = set(stored(page))
    build(public, assets("2.0.0", MANY), "2.0.0")
    limit(page, 5_000_000)
    end, detail = again(page)
    assert (end, detail["kind"]) == ("failed", "quota")
    assert detail["expected"] > 1_000_000
    assert set(stored(page)) == before
    context.set_offline(offline=True)
    page.reload()
    assert (page.title(), page.evaluate("lazy()")) == ("1.0.0", "lazy 1.0.0")


def test_what_is_needed_is_told_before_a_byte_is_fetched(page, host, public):
    build(public, assets("1.0.0", MANY), "1.0.0")
    short = b"navigator.storage.estimate = async () => ({ quota: 1000000, usage: 0 });"
    host.rule("sw.js", lambda talk: talk.reply(200, short + talk.body) or True)
    end, detail = opened(page, host.url)
    assert (end, detail["kind"], detail["found"]) == ("failed", "quota", 1_000_000)
    assert detail["expected"] > 12_000_000
    assert [path for path in host.paths() if path.endswith(".bin")] == []


def test_room_that_the_version_before_takes_is_used_for_the_new_one(page, host, public):
    def deploy(version):
        build(public, assets(version, {"a.bin": noise(4_000_000, int(version[0]))}), version)

    deploy("1.0.0")
    controlled(page, host.url)
    deploy("2.0.0")
    assert again(page)[0] == "ready"
    page.reload()
    outcome(page)
    age(page)
    page.reload()
    until(
        page,
        """async () => {
          const records = await caches.open((await caches.keys()).find((name) => name.startsWith("modelport:")));
          return (await records.keys()).filter(({ url }) => url.includes("/client/")).length < 3;
        }""",
    )
    deploy("3.0.0")
    limit(page, 11_000_000)
    assert again(page)[0] == "ready"
    assert sizes(page).count(4_000_000) == 2


def test_browser_killed_twenty_times_shows_one_whole_version_or_the_other(host, public, tmp_path, chromium):
    def deploy(version):
        build(public, assets(version, {f"{n}.bin": noise(300_000, int(version[0]) * 50 + n) for n in range(30)}), version)

    deploy("1.0.0")
    seen = []
    with killable(chromium, tmp_path / "profile") as (page, _):
        controlled(page, host.url)
    deploy("2.0.0")
    host.forget()
    for turn in range(20):
        with killable(chromium, tmp_path / "profile") as (page, kill):
            page.goto(host.url)
            seen.append((page.title(), page.evaluate("lazy()"), page.text_content("#said")))
            # Killed while it downloads, at another place each time.
            host.wait_for("*.bin" if turn < 12 else "*", min(2 * turn, 24) + 1)
            kill()
    assert set(seen) <= {(version, f"lazy {version}", version) for version in ("1.0.0", "2.0.0")}
    with killable(chromium, tmp_path / "profile") as (page, _):
        opened(page, host.url)
        page.reload()
        outcome(page)
        assert (page.title(), page.evaluate("lazy()")) == ("2.0.0", "lazy 2.0.0")
        assert sizes(page).count(300_000) >= 30
    # What came before a kill is not fetched again, but for what was under way.
    assert sum(path.endswith(".bin") for path in host.paths()) <= 30 + 20 * 6
