"""Publish, promote and roll back below a real browser: nginx serves the store, and people come in the middle."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from pipeline.promote import promote_release, rollback_channel
from pipeline.release import ModelName, Release
from pipeline.webview import STEPS, sync_view
from tests.browser_world import again, assets, build, controlled, outcome
from tests.publish_world import STABLE, Site, directory_shelf
from tests.servers.web_nginx import run_web_nginx

SHOWN = "async () => [document.title, document.querySelector('#said').textContent, await lazy()]"


def whole(version):
    return [version, version, f"lazy {version}"]


class Shop:
    """An application in a store, and the folder in which it is built."""

    def __init__(self, folder):
        self.folder = folder
        self.site = Site(folder, directory_shelf(folder / "store"))
        self.site.begin()
        self.machine = self.site.machine("web")

    def publish(self, version, **flags):
        build(self.folder / "public", assets(version), version)
        self.machine.publish(f"shop-v{version}", self.folder / "public", kind="web", **flags)

    @contextmanager
    def halting(self, deploy):
        """Run ``deploy(place)`` beside the test; gives what leads it from step to step of the view and names each."""
        reached, go = SimpleQueue(), SimpleQueue()

        def step(name):
            if name.startswith("web."):
                reached.put(name)
                go.get()

        def work():
            try:
                deploy(self.machine.place(step=step))
            finally:
                reached.put("")

        thread = threading.Thread(target=work)
        thread.start()

        def steps():
            while name := reached.get(timeout=60):
                yield name
                go.put(True)

        try:
            yield steps()
        finally:
            # A test that failed in the middle lets it run to its end.
            for _ in range(100):
                go.put(True)
            thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def url(shop):
    shop.publish("1.0.0", channel=STABLE)
    with run_web_nginx(shop.folder / "store") as port:
        yield f"http://localhost:{port}/web/shop/"


def newcomer(browser, url):
    """What somebody sees who was never there: at once, and of the worker if it could be had by then."""
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(url)
        page.wait_for_function("window.lazy")
        first = page.evaluate(SHOWN)
        outcome(page, "ready", "failed")
        page.reload()
        page.wait_for_function("window.lazy")
        return first, page.evaluate(SHOWN)
    finally:
        context.close()


@pytest.mark.parametrize("back", [False, True], ids=["promote", "rollback"])
def test_browser_in_the_middle_of_a_deployment_gets_one_version_or_the_other(page, browser, shop, url, back):
    shop.publish("2.0.0")
    if back:
        promote_release(Release.parse("shop-v2.0.0"), STABLE, shop.machine.place(), lambda _: None)
    before, after = ("2.0.0", "1.0.0") if back else ("1.0.0", "2.0.0")
    controlled(page, url)
    assert page.evaluate(SHOWN) == whole(before)

    def deploy(place):
        if back:
            rollback_channel(ModelName("shop"), STABLE, place, lambda _: None)
        else:
            promote_release(Release.parse("shop-v2.0.0"), STABLE, place, lambda _: None)

    met, seen = [], []
    with shop.halting(deploy) as steps:
        for name in steps:
            met.append(name)
            # What was open stays as it is, and opens anew as one or the other.
            assert page.evaluate("lazy()") == f"lazy {page.title()}"
            page.reload()
            outcome(page)
            seen.append(page.evaluate(SHOWN))
            if name in {"web.pages", "web.clear"}:
                seen.extend(newcomer(browser, url))
    assert tuple(dict.fromkeys(met)) == STEPS
    assert {tuple(one) for one in seen} == {tuple(whole(before)), tuple(whole(after))}
    again(page)
    page.reload()
    outcome(page)
    assert page.evaluate(SHOWN) == whole(after)
    assert newcomer(browser, url) == (whole(after), whole(after))


def test_view_that_somebody_damaged_is_never_seen_and_is_mended_by_sync(page, context, shop, url):
    controlled(page, url)
    shop.publish("2.0.0", channel=STABLE)
    view = shop.folder / "store" / "web" / "shop"
    for path in view.iterdir():
        if path.name.startswith(("app.", "lazy.", "packs")) and path.is_file():
            path.write_bytes(path.read_bytes()[::-1])
    for path in (view / "packs").iterdir():
        path.write_bytes(path.read_bytes()[::-1])
    assert again(page)[0] == "failed"
    page.reload()
    outcome(page)
    assert page.evaluate(SHOWN) == whole("1.0.0")
    sync_view(ModelName("shop"), shop.machine.place(), lambda _: None)
    assert again(page)[0] == "ready"
    context.set_offline(offline=True)
    page.reload()
    outcome(page)
    assert page.evaluate(SHOWN) == whole("2.0.0")
