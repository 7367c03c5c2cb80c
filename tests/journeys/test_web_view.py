"""A web release from build to the view that a store serves: what lies below web/<name>/ after each command, and after a kill."""

import json
from dataclasses import replace

import pytest

from pipeline.collect import CollectOrder, collect_garbage
from pipeline.digest import sha256_of
from pipeline.errors import CdnUnavailable, ConflictError, UsageError, VerifyFailed
from pipeline.layout import headers_for
from pipeline.ports import Op, read_object
from pipeline.promote import promote_release, rollback_channel
from pipeline.release import Channel, ModelName, Release
from pipeline.webview import STEPS, sync_view
from pipeline.withdraw import retire_channel
from sw.assemble import engine_files
from sw.build import BuildOrder, build_web
from tests.edge_world import front_memory, taken_over
from tests.publish_world import STABLE, Killed, Site, die, directory_shelf, memory_shelf, steps_until

SHOP = ModelName("shop")
ENGINE = engine_files()


def release(number):
    return Release.parse(f"shop-v1.{number}.0")


def assets_of(folder, number):
    """A page, a script that changes with each version, a picture that does not, and a page that only even versions have."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(f'<title>{number}</title><script type="module" src="app.js"></script>')
    (folder / "app.js").write_text(f'import "./lib.js"; export const version = {number}; new URL("./logo.png", import.meta.url);')
    (folder / "lib.js").write_text("export const lib = 1;")
    (folder / "logo.png").write_bytes(bytes(range(256)) * 300)
    (folder / "robots.txt").write_text("User-agent: *\n")
    even = folder / "even.html"
    even.write_text(f"<p>{number}") if number % 2 == 0 else even.unlink(missing_ok=True)
    return folder


class Shop:
    """One application, built and published version by version; ``place`` is where."""

    def __init__(self, folder, site, place=None):
        self.folder = folder
        self.site = site
        self.machine = site.machine("web")
        self._place = place

    def place(self, step=lambda _: None):
        return replace(self._place(step=step)) if self._place else self.machine.place(step=step)

    def build(self, number):
        """Each into a folder of its own, as CI does."""
        to = self.folder / f"public{number}"
        order = BuildOrder(assets_of(self.folder / f"dist{number}", number), to, "shop", f"1.{number}.0", ENGINE)
        build_web(order, lambda _: None)
        return to

    def publish(self, number, *, step=lambda _: None, **flags):
        return self.machine.publish(str(release(number)), self.build(number), place=self.place(step), kind="web", **flags)

    def promote(self, number, *, step=lambda _: None):
        return promote_release(release(number), STABLE, self.place(step), lambda _: None)

    def view(self):
        store = self.site.store
        return {info.key.removeprefix("web/shop/"): read_object(store, info.key, cap=1 << 24) for info in store.list("web/shop/")}

    def shows(self, number, *, hashed=()):
        """Whether the view is exactly version ``number``, beside hashed files of others."""
        built = {path.relative_to(self.build(number)).as_posix(): path.read_bytes() for path in self.files(number)}
        found = self.view()
        unhashed = {name for name in found if headers_for(f"web/shop/{name}").cache_control == "no-cache"}
        assert built.items() <= found.items()
        assert unhashed <= built.keys()
        return True

    def files(self, number):
        return [path for path in self.build(number).rglob("*") if path.is_file()]


@pytest.fixture
def shop(tmp_path):
    site = Site(tmp_path, memory_shelf())
    site.begin()
    return Shop(tmp_path, site)


def test_publish_lays_down_hashed_files_alone(shop):
    shop.publish(1)
    assert shop.view()
    assert {headers_for(f"web/shop/{name}").cache_control for name in shop.view()} == {"public, max-age=31536000, immutable"}
    assert [name for name in shop.view() if name.endswith((".html", "release.json", "sw.js"))] == []


def test_promote_shows_pages_worker_and_pointer(shop):
    shop.publish(1)
    shop.promote(1)
    assert shop.shows(1)
    assert json.loads(shop.view()["release.json"])["version"] == "1.1.0"


def test_publish_with_the_channel_shows_it_at_once(shop):
    shop.publish(1, channel=STABLE)
    assert shop.shows(1)


def test_channel_that_the_view_shows_is_not_removed(shop):
    shop.publish(1, channel=STABLE)
    with pytest.raises(ConflictError, match="web/shop/ shows it"):
        retire_channel(SHOP, STABLE, shop.place(), lambda _: None)
    place = replace(shop.place(), web_channel=Channel("live"))
    assert retire_channel(SHOP, STABLE, place, lambda _: None).changed


def test_other_channels_show_nothing(shop):
    shop.publish(1, channel=Channel("beta"))
    assert "release.json" not in shop.view()


def test_next_version_replaces_pages_and_leaves_the_old_hashed_files(shop):
    shop.publish(2, channel=STABLE)
    before = shop.view()
    shop.publish(3)
    assert shop.view()["index.html"] == before["index.html"]
    shop.promote(3)
    assert shop.shows(3)
    assert "even.html" not in shop.view()
    gone = before.keys() - shop.view().keys()
    assert gone == {"even.html"}


def test_rollback_shows_the_version_before(shop):
    shop.publish(1, channel=STABLE)
    shop.publish(2, channel=STABLE)
    rollback_channel(SHOP, STABLE, shop.place(), lambda _: None)
    assert shop.shows(1)


def test_hashed_files_that_a_collector_took_are_laid_down_again(shop):
    shop.publish(1, channel=STABLE)
    shop.publish(2, channel=STABLE)
    old = [key for key in shop.view() if key.startswith("app.") and b"version = 1" in shop.view()[key]]
    shop.site.store.delete(f"web/shop/{old[0]}")
    rollback_channel(SHOP, STABLE, shop.place(), lambda _: None)
    assert shop.shows(1)


def test_collection_takes_nothing_that_the_view_needs(shop):
    shop.publish(1, channel=STABLE)
    before = shop.view()
    collect_garbage(CollectOrder(apply=True), shop.place(), lambda _: None)
    assert shop.view() == before


def test_pointer_is_written_last_and_hashed_files_first(shop):
    shop.publish(1, channel=STABLE)
    put = []

    class Watched:
        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def put(self, key, *given, **named):
            put.append(key)
            return self.inner.put(key, *given, **named)

    place = shop.place()
    place = replace(place, store=Watched(place.store))
    shop.machine.publish(str(release(2)), shop.build(2), place=place, kind="web", channel=STABLE)
    web = [key for key in put if key.startswith("web/")]
    immutable = [headers_for(key).cache_control != "no-cache" for key in web]
    assert web[-1] == "web/shop/release.json"
    assert immutable == sorted(immutable, reverse=True)
    assert any(immutable)
    assert put.index("metadata/timestamp.json") < put.index("web/shop/index.html")


def test_publish_again_writes_nothing_into_the_view(shop):
    shop.publish(1, channel=STABLE)
    before = {info.key: info.modified_at for info in shop.site.store.list("web/")}
    assert shop.publish(1, channel=STABLE).already_published
    assert {info.key: info.modified_at for info in shop.site.store.list("web/")} == before


def test_packed_and_encoded_release_is_laid_down_as_it_was(shop):
    shop.publish(1, channel=STABLE, profile="default")
    assert shop.shows(1)


def test_sync_mends_what_somebody_damaged(shop):
    shop.publish(2, channel=STABLE)
    store = shop.site.store
    bad = b"<script>alert(1)</script>"
    hashed = next(name for name in shop.view() if name.startswith("app."))
    same_size = bytes(len(shop.view()[hashed]))
    for key, data in (("index.html", bad), (hashed, same_size), ("planted.html", bad)):
        store.put(f"web/shop/{key}", data, sha256=sha256_of(data))
    store.delete("web/shop/sw.js")
    done = sync_view(SHOP, shop.place(), lambda _: None)
    assert shop.shows(2)
    assert (done.shows, done.files_written, done.files_removed, done.complete) == ("shop-v1.2.0", 3, 1, True)
    assert sync_view(SHOP, shop.place(), lambda _: None).files_written == 0


def test_sync_refuses_what_is_no_web_application(shop, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.bin").write_bytes(b"1")
    shop.machine.publish("bert-v1.0.0", tmp_path / "model")
    with pytest.raises(UsageError, match="bert has no release of kind web"):
        sync_view(ModelName("bert"), shop.place(), lambda _: None)


def test_poisoned_part_never_reaches_the_view(shop):
    shop.publish(1, channel=STABLE)
    store = shop.site.store
    before = shop.view()
    for info in list(store.list("parts/")):
        data = bytes(info.size)
        store.put(info.key, data, sha256=sha256_of(data))
    for info in list(store.list("web/")):
        store.delete(info.key)
    with pytest.raises(VerifyFailed, match=r"other bytes than the manifest says"):
        sync_view(SHOP, shop.place(), lambda _: None)
    assert shop.view().items() <= before.items()
    assert "release.json" not in shop.view()


@pytest.mark.parametrize("step", STEPS)
def test_run_that_is_killed_in_the_view_is_completed_by_the_next(shop, step):
    shop.publish(1, channel=STABLE)
    with pytest.raises(Killed):
        shop.publish(2, channel=STABLE, step=steps_until(step, 1, die))
    pages = shop.view()
    # Whatever is named by a page that stands there is there as well.
    assert pages.keys() >= {name for name in pages["index.html"].decode().split('"') if name.endswith(".js")}
    assert json.loads(pages["release.json"])["manifest"] in pages
    shop.site.bury()
    assert shop.publish(2, channel=STABLE).already_published
    assert shop.shows(2)


def test_channel_that_moves_meanwhile_wins(shop):
    shop.publish(1, channel=STABLE)
    shop.publish(2)
    shop.publish(3)
    other = Shop(shop.folder, shop.site)
    shop.promote(2, step=steps_until("web.pages", 1, lambda: other.promote(3)))
    assert shop.shows(3)


def test_edges_forget_pages_that_changed_and_nothing_else(tmp_path):
    fronted = front_memory(tmp_path)
    shop = Shop(tmp_path, fronted.site, place=fronted.place)
    shop.publish(1, channel=STABLE)
    list(fronted.edges[0].get("web/shop/index.html"))
    shop.publish(2, channel=STABLE)
    tasks = [one.task for one in fronted.cdns[0].kept.values() if one.task.op is Op.REFRESH]
    forgotten = [url.removeprefix("http://edge0.test/") for url in tasks[-1].urls]
    assert sorted(forgotten) == ["web/shop/", "web/shop/even.html", "web/shop/index.html", "web/shop/release.json"]
    assert b"<title>2" in b"".join(fronted.edges[0].get("web/shop/index.html"))


def test_edge_that_cannot_be_told_is_work_left_and_sync_tells_it(tmp_path, monkeypatch):
    fronted = front_memory(tmp_path)
    shop = Shop(tmp_path, fronted.site, place=fronted.place)
    shop.publish(1, channel=STABLE)
    list(fronted.edges[0].get("web/shop/index.html"))
    cdn, real = fronted.cdns[0], fronted.cdns[0].submit

    def down(op, urls, *, key):
        if any("/web/" in url for url in urls):
            raise CdnUnavailable("the control plane is down")
        return real(op, urls, key=key)

    monkeypatch.setattr(cdn, "submit", down)
    done = shop.publish(2, channel=STABLE)
    assert (done.complete, done.channel) == (False, "stable")
    assert ["pages of the web view" in one.why for one in done.left] == [True]
    assert shop.shows(2)
    monkeypatch.setattr(cdn, "submit", real)
    assert sync_view(SHOP, shop.place(), lambda _: None).complete
    assert b"<title>2" in b"".join(fronted.edges[0].get("web/shop/index.html"))


def test_refresh_of_the_view_that_another_run_took_over_is_work_left(tmp_path, monkeypatch):
    fronted = front_memory(tmp_path)
    shop = Shop(tmp_path, fronted.site, place=fronted.place)
    shop.publish(1, channel=STABLE)
    monkeypatch.setattr(fronted.cdns[0], "submit", taken_over(fronted, lambda url: "/web/" in url))
    done = shop.publish(2, channel=STABLE)
    assert (done.complete, done.channel) == (False, "stable")
    assert ["ann@elsewhere took over" in one.why for one in done.left] == [True]
    assert shop.shows(2)


def test_view_in_a_directory_can_be_served_by_any_web_server(tmp_path):
    site = Site(tmp_path, directory_shelf(tmp_path / "store"))
    site.begin()
    shop = Shop(tmp_path, site)
    shop.publish(1, channel=STABLE)
    served = tmp_path / "store" / "web" / "shop"
    assert (served / "index.html").read_bytes() == (shop.build(1) / "index.html").read_bytes()
    assert shop.shows(1)
