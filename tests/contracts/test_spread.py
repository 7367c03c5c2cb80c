"""One tree in many stores: the first decides, the others follow, and who falls behind is named until it is level."""

from __future__ import annotations

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from pipeline.errors import AccessDenied, DiskError, StoreUnavailable, UsageError
from pipeline.layout import LEDGER, PARTS, TIMESTAMP
from pipeline.mirroring import MirrorOrder
from pipeline.release import Release
from pipeline.retry import Patience
from pipeline.spreading import UNDER_WAY, Spreading, behind_error, check_targets, spread_tree
from pipeline.steps.copies import Target, list_behind, note_behind, note_level
from pipeline.steps.ledger import Ledger
from pipeline.stores.directory import DirectoryStore
from pipeline.stores.s3 import S3Store
from pipeline.trust.reading import read_view
from tests.mirror_world import begin_tree, contents, current, publish_second
from tests.publish_world import Killed, Machine, Mortal, Site, directory_shelf
from tests.trust_world import Client

_COUNT = itertools.count(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("first"))


@pytest.fixture
def site(made, tmp_path):
    shutil.copytree(made[0].folder, tmp_path / "site")
    return Site(tmp_path / "site", directory_shelf(tmp_path / "site" / "store"), made[0].keys)


@pytest.fixture(params=["directory", "seaweedfs"])
def other(request, tmp_path):
    if request.param == "directory":
        return DirectoryStore(tmp_path / "copy")
    server = request.getfixturevalue("seaweedfs")
    bucket = request.getfixturevalue("bucket_on")(server)
    return S3Store(bucket, f"spread{next(_COUNT)}", endpoint=server.endpoint, region=server.region, open_session=server.session)


class Wrapped:
    """A store whose calls go through ``act(name, key)`` first; ``read(key, data)`` is what comes back."""

    def __init__(self, inner, act=lambda name, key: None, read=lambda key, data: data):
        self._inner, self._act, self._read = inner, act, read

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if name not in {"put", "get", "head", "list", "delete"}:
            return found

        def call(key, *args, **named):
            self._act(name, key)
            return iter([self._read(key, b"".join(found(key, *args, **named)))]) if name == "get" else found(key, *args, **named)

        return call


def dead(error=StoreUnavailable):
    def act(name, key):
        raise error("nobody is there", hint="-")

    return act


def fresh_view(site):
    machine = site.machine()
    return lambda: read_view(site.store, machine.state, now=lambda: datetime.now(UTC))


def spread(site, *stores, events=None, first=None, **flags):
    order = MirrorOrder(**{"connections": 4, **flags})
    spreading = Spreading(Target(first or site.store), fresh_view(site), order, "me@test", patience=Patience(2, 0.001))
    return spread_tree(spreading, [Target(store) for store in stores], (events if events is not None else []).append)


def ledger(site):
    return {record.store: record.why for record in list_behind(site.store)}


def check_reads(site, store, folder):
    Client(store, folder / f"reference{next(_COUNT)}", site.first_root).check(Release.parse("bert-v1.0.0"))


def test_copies_hold_the_tree_byte_for_byte(site, other, tmp_path):
    second = DirectoryStore(tmp_path / "second")
    found = spread(site, other, second)
    assert contents(other) == contents(second) == current(site.store)
    assert [(one.store, one.complete, one.announced) for one in found] == [
        (store.url, True, site.announced()) for store in (other, second)
    ]
    assert found[0].objects_copied == found[1].objects_copied > 0
    check_reads(site, other, tmp_path)
    assert ledger(site) == {}
    assert [one.objects_copied for one in spread(site, other, second)] == [0, 0]


def test_dead_and_full_stores_fall_behind_and_the_others_do_not(site, other, tmp_path):
    def full(name, key):
        if name == "put" and key.startswith(PARTS):
            raise DiskError("no space left", hint="-")

    gone = Wrapped(DirectoryStore(tmp_path / "gone"), dead())
    refusing = Wrapped(DirectoryStore(tmp_path / "refusing"), dead(AccessDenied))
    small = Wrapped(DirectoryStore(tmp_path / "small"), full)
    events = []
    found = spread(site, gone, other, small, refusing, events=events)
    assert [one.complete for one in found] == [False, True, False, False]
    assert contents(other) == current(site.store)
    assert ledger(site) == {
        gone.url: "nobody is there",
        small.url: "no space left",
        refusing.url: "nobody is there",
    }
    assert not list(small.list(TIMESTAMP))
    assert {event.code for event in events} == {"store-behind"}
    assert all(any(store.url in event.message for event in events) for store in (gone, small, refusing))
    # Mended, and run again: they are level, and the ledger says nothing of them any more.
    healed = [DirectoryStore(tmp_path / name) for name in ("gone", "small", "refusing")]
    assert all(one.complete for one in spread(site, *healed, repair=True))
    assert ledger(site) == {}
    assert all(contents(store) == current(site.store) for store in healed)


@pytest.mark.parametrize("what", [PARTS, "metadata/1.root", "snapshot.json"])
def test_store_that_lies_at_read_back_is_not_announced_and_is_put_right(site, other, tmp_path, what):
    liar = Wrapped(other, read=lambda key, data: data[:-1] + bytes([data[-1] ^ 1]) if what in key else data)
    (found,) = spread(site, liar)
    assert not found.complete
    assert what in found.why
    assert not list(other.list(TIMESTAMP))
    assert list(ledger(site)) == [other.url]
    assert spread(site, other, repair=True)[0].complete
    assert ledger(site) == {}
    assert contents(other) == current(site.store)


def test_store_that_kept_other_bytes_is_put_right_by_a_repair(site, tmp_path):
    other = DirectoryStore(tmp_path / "copy")
    assert spread(site, other)[0].complete
    part = next(path for path in (tmp_path / "copy" / "parts").rglob("*") if path.is_file())
    data = part.read_bytes()
    part.chmod(0o644)
    part.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (found,) = spread(site, other, repair=True)
    assert (found.complete, found.objects_copied) == (True, 1)
    assert part.read_bytes() == data


def test_copy_that_is_killed_at_any_call_is_named_and_gone_on_with(site, tmp_path):
    counted = Mortal(DirectoryStore(tmp_path / "counted"))
    assert spread(site, counted)[0].complete
    for nth in range(1, len(counted.calls) + 1, 3):
        where = tmp_path / f"copy{nth}"
        with pytest.raises(Killed):
            spread(site, Mortal(DirectoryStore(where), nth))
        store = DirectoryStore(where)
        assert ledger(site) == {store.url: UNDER_WAY}
        if list(store.list(TIMESTAMP)):
            check_reads(site, store, tmp_path)
        assert spread(site, store)[0].complete
        assert contents(store) == current(site.store)
        assert ledger(site) == {}


def test_first_store_that_is_killed_at_any_call_loses_no_name(site, tmp_path):
    counted = Mortal(site.store)
    spread(site, DirectoryStore(tmp_path / "counted"), first=counted)
    for nth in range(1, len(counted.calls) + 1, 5):
        store = DirectoryStore(tmp_path / f"copy{nth}")
        with pytest.raises(Killed):
            spread(site, store, first=Mortal(site.store, nth, "after"))
        whole = bool(list(store.list(TIMESTAMP)))
        assert whole or not list(store.list("")) or store.url in ledger(site)
        assert spread(site, store, repair=True)[0].complete
        assert ledger(site) == {}


def test_two_publishers_spread_at_once_and_no_copy_goes_backwards(site, other, tmp_path):
    before = fresh_view(site)()
    publish_second(site, Machine(site.folder / "first", site.shelf, site.keys))
    old = Spreading(Target(site.store), lambda: before, MirrorOrder(connections=2), "old@test")
    new = Spreading(Target(site.store), fresh_view(site), MirrorOrder(connections=2), "new@test")
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda one: spread_tree(one, [Target(other)], lambda _: None), (old, new)))
    assert done[1][0].complete
    assert contents(other)[TIMESTAMP] == contents(site.store)[TIMESTAMP]
    check_reads(site, other, tmp_path)
    # Whoever was late says so at worst; the next look finds the copy level.
    spread(site, other)
    assert ledger(site) == {}


def test_copy_that_is_ahead_of_what_was_read_is_read_again(site, other):
    before = fresh_view(site)()
    publish_second(site, Machine(site.folder / "first", site.shelf, site.keys))
    assert spread(site, other)[0].complete
    views = [before]
    looks = lambda: views.pop() if views else fresh_view(site)()  # noqa: E731 (a name for what follows)
    (found,) = spread_tree(Spreading(Target(site.store), looks, MirrorOrder(), "late@test"), [Target(other)], lambda _: None)
    assert (found.complete, found.announced) == (True, site.announced())
    assert ledger(site) == {}


def test_records_of_a_store_do_not_pile_up_and_are_no_work_for_a_cdn(site, tmp_path):
    gone = Wrapped(DirectoryStore(tmp_path / "gone"), dead())
    for _ in range(3):
        spread(site, gone)
    assert Ledger(site.store).jobs() == []
    assert Ledger(site.store).remove_finished(now=datetime.now(UTC)) == []
    assert list(ledger(site)) == [gone.url]
    for _ in range(3):
        spread(site, DirectoryStore(tmp_path / "gone"))
    assert len(list(site.store.list(LEDGER))) == 1


def test_ledger_remembers_which_releases_a_copy_shall_hold(site, tmp_path):
    gone = Wrapped(DirectoryStore(tmp_path / "gone"), dead())
    spread(site, gone, names=(Release.parse("bert-v1.0.0"),))
    assert list_behind(site.store)[0].names == ("bert-v1.0.0",)
    spread(site, gone, names=(Release.parse("gpt-v1.0.0"),))
    assert list_behind(site.store)[0].names == ("bert-v1.0.0", "gpt-v1.0.0")
    spread(site, gone)
    assert list_behind(site.store)[0].names == ()


@pytest.mark.parametrize(("quorum", "enough"), [("", 3), ("1", 1), ("2", 2), ("3", 3)])
def test_quorum_counts_the_first_store(site, tmp_path, quorum, enough):
    stores = [Wrapped(DirectoryStore(tmp_path / "gone"), dead()), DirectoryStore(tmp_path / "copy")]
    assert check_targets(Target(site.store), [Target(store) for store in stores], quorum) == enough
    error = behind_error("done", spread(site, *stores), enough)
    assert (error is None) == (enough <= 2)
    if error:
        assert error.exit_code == 7
        assert stores[0].url in str(error)


@pytest.mark.parametrize("quorum", ["0", "4", "-1", "all", "٢"])
def test_quorum_that_cannot_be_is_refused(tmp_path, quorum):
    stores = [Target(DirectoryStore(tmp_path / name)) for name in ("a", "b", "c")]
    with pytest.raises(UsageError, match="quorum"):
        check_targets(stores[0], stores[1:], quorum)
    with pytest.raises(UsageError, match="twice"):
        check_targets(stores[0], [stores[1], stores[0]], "")


def meanwhile(site, target, act):
    """The first store; ``act`` happens just before its next record of a copy is written."""
    left = [act]

    def call(name, key):
        if name == "put" and key.startswith(f"{LEDGER}copy.") and left:
            left.pop()()

    return Wrapped(site.store, call)


def test_newer_snapshot_that_a_store_lacks_is_not_forgotten_when_an_older_one_came(site, tmp_path):
    target, at = Target(DirectoryStore(tmp_path / "copy")), datetime.now(UTC)
    note_behind(site.store, target, (), 5, UNDER_WAY, by="me@test", at=at)
    first = meanwhile(site, target, lambda: note_behind(site.store, target, (), 6, UNDER_WAY, by="you@test", at=at))
    note_level(first, target, 5, by="me@test", at=at)
    assert [record.snapshot for record in list_behind(site.store)] == [6]
    # A slower publisher, who comes with less.
    note_behind(site.store, target, (), 5, "slow", by="me@test", at=at)
    note_level(site.store, target, 5, by="me@test", at=at)
    assert [record.snapshot for record in list_behind(site.store)] == [6]
    note_level(site.store, target, 6, by="me@test", at=at)
    assert list_behind(site.store) == []


def test_two_publishers_at_once_leave_the_names_of_both(site, tmp_path):
    target, at = Target(DirectoryStore(tmp_path / "copy")), datetime.now(UTC)
    first = meanwhile(site, target, lambda: note_behind(site.store, target, ("gpt-v1.0.0",), 5, "full", by="you@test", at=at))
    note_behind(first, target, ("bert-v1.0.0",), 5, "full", by="me@test", at=at)
    assert list_behind(site.store)[0].names == ("bert-v1.0.0", "gpt-v1.0.0")


@pytest.mark.parametrize("there", [True, False], ids=["it is there", "it is yet to be made"])
def test_one_directory_by_two_paths_is_one_store(tmp_path, there):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    if there:
        (tmp_path / "real" / "a b").mkdir()
    one, same = (Target(DirectoryStore(tmp_path / name / "a b")) for name in ("real", "link"))
    other = Target(DirectoryStore(tmp_path / "other"))
    with pytest.raises(UsageError, match="is named twice"):
        check_targets(one, [other, same], "2")
    assert check_targets(one, [other], "") == 2


def test_a_store_that_falls_behind_while_another_run_tidies_up_is_not_forgotten(site, tmp_path):
    target, at = Target(DirectoryStore(tmp_path / "copy")), datetime.now(UTC)
    note_behind(site.store, target, (), 5, UNDER_WAY, by="me@test", at=at)
    left = [lambda: note_level(site.store, target, 5, by="you@test", at=at)]

    def call(name, key):
        # The records were listed, and are gone before they are read.
        if name == "get" and key.startswith(f"{LEDGER}copy.") and left:
            left.pop()()

    note_behind(Wrapped(site.store, call), target, (), 6, UNDER_WAY, by="me@test", at=at)
    assert [record.snapshot for record in list_behind(site.store)] == [6]
