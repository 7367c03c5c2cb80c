"""The directory store on a real file system: what is named is whole, what is a link is not followed, what is left is swept."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import resource
import signal
import stat

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import (
    AccessDenied,
    ConditionFailed,
    DiskError,
    ObjectExists,
    ObjectMissing,
    UnsafeStore,
    UsageError,
    WrongStore,
)
from pipeline.release import NameRefused
from pipeline.stores import placing
from pipeline.stores.directory import SMALL_BYTES, DirectoryStore
from tests.open_files import open_below


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "store")


def put(store, key, body=b"x", **conditions):
    return store.put(key, body, sha256=sha256_of(body), **conditions)


def left(store):
    return sorted(path.name for path in (store.path / ".tmp").iterdir())


def test_a_store_is_made_by_its_first_write_and_not_by_reading(store):
    assert list(store.list("")) == []
    with pytest.raises(ObjectMissing):
        store.head("parts/x")
    store.delete("parts/x")
    assert not store.path.exists()
    put(store, "parts/x")
    assert (store.path / "parts/x").read_bytes() == b"x"


def test_asking_for_the_time_makes_no_disk_write(store, monkeypatch):
    put(store, "parts/x")
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    before = store.now()
    assert store.now() >= before
    assert synced == []
    assert left(store) == ["lock"]


def test_no_temporary_file_stays_or_shows(store):
    put(store, "parts/x", if_absent=True)
    put(store, "parts/x")
    with pytest.raises(ObjectExists):
        put(store, "parts/x", if_absent=True)
    store.now()
    assert left(store) == ["lock"]
    assert [info.key for info in store.list("")] == ["parts/x"]


@pytest.mark.parametrize("key", [".tmp/lock", ".tmp", ".tmp/x/y"])
def test_unfinished_files_are_nobodys_keys(store, key):
    put(store, "parts/x")
    for call in (store.head, store.get, store.delete, lambda key: put(store, key)):
        with pytest.raises(NameRefused):
            call(key)


def test_files_can_be_served_by_another_user(store):
    before = os.umask(0o022)
    try:
        put(store, "parts/x", if_absent=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((store.path / "parts/x").stat().st_mode) == 0o644


@pytest.mark.parametrize("target", ["outside", "/etc", "../outside"])
def test_a_link_to_a_folder_is_not_entered(store, tmp_path, target):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "passwd").write_text("secret")
    put(store, "parts/x")
    (store.path / "parts" / "ab").symlink_to(tmp_path / target)
    for call in (store.head, store.get):
        with pytest.raises(ObjectMissing):
            call("parts/ab/passwd")
    with pytest.raises((UsageError, ObjectMissing)):
        put(store, "parts/ab/new", if_absent=True)
    store.delete("parts/ab/passwd")
    assert [info.key for info in store.list("")] == ["parts/x"]
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["passwd"]


def test_a_link_in_the_place_of_a_file_is_not_read_and_not_written_through(store, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    put(store, "parts/x")
    (store.path / "parts/link").symlink_to(outside)
    for call in (store.head, store.get):
        with pytest.raises(ObjectMissing, match="link"):
            call("parts/link")
    with pytest.raises(ObjectExists):
        put(store, "parts/link", if_absent=True)
    put(store, "parts/link", b"ours")
    assert outside.read_text() == "theirs"
    assert not (store.path / "parts/link").is_symlink()


def test_the_root_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    put(DirectoryStore(tmp_path / "store"), "parts/x")
    assert (tmp_path / "disk/parts/x").read_bytes() == b"x"


def test_a_pipe_in_the_place_of_a_file_does_not_hang(store):
    put(store, "parts/x")
    os.mkfifo(store.path / "parts/pipe")
    for call in (store.head, store.get):
        with pytest.raises(ObjectMissing, match="not a file"):
            call("parts/pipe")
    assert [info.key for info in store.list("")] == ["parts/x"]


def test_a_key_that_is_a_folder_of_another_is_refused(store):
    put(store, "a/b")
    with pytest.raises(UsageError, match="folder of another"):
        put(store, "a/b/c")
    with pytest.raises(UsageError, match="folder of another"):
        put(store, "a")
    with pytest.raises(ObjectMissing):
        store.head("a/b/c")
    with pytest.raises(ObjectMissing):
        store.head("a")


def test_a_component_that_is_too_long_is_refused(store):
    with pytest.raises(UsageError, match="too long"):
        put(store, "a/" + "x" * 300)


def test_a_root_that_is_a_file_is_a_wrong_store(tmp_path):
    (tmp_path / "store").write_text("")
    store = DirectoryStore(tmp_path / "store")
    below = DirectoryStore(tmp_path / "store" / "below")
    for call in (lambda: put(store, "x"), lambda: store.head("x"), lambda: list(store.list("")), lambda: put(below, "x")):
        with pytest.raises(WrongStore, match="not a folder"):
            call()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_links_a_rename_that_replaces_nothing_is_used(store, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    put(store, "parts/x", b"first", if_absent=True)
    monkeypatch.setattr("pipeline.stores.directory._exists", lambda *_: False)
    with pytest.raises(ObjectExists):
        put(store, "parts/x", b"second", if_absent=True)
    assert (store.path / "parts/x").read_bytes() == b"first"
    assert left(store) == []


def test_with_neither_the_store_is_unsafe(store, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, "no links")

    class Libc:
        renameat2 = staticmethod(lambda *_: -1)

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(placing.ctypes, "CDLL", lambda *_, **__: Libc)
    monkeypatch.setattr(placing.ctypes, "get_errno", lambda: errno.EINVAL)
    with pytest.raises(UnsafeStore, match="two publishers"):
        put(store, "parts/x", if_absent=True)
    assert left(store) == []


@pytest.mark.parametrize(
    ("call", "code", "kind"),
    [
        ("posix_fallocate", errno.ENOSPC, DiskError),
        ("pwrite", errno.ENOSPC, DiskError),
        ("pwrite", errno.EDQUOT, DiskError),
        ("pwrite", errno.EIO, DiskError),
        ("fsync", errno.EIO, DiskError),
        ("fsync", errno.ENOSPC, DiskError),
        ("link", errno.EROFS, DiskError),
        ("open", errno.EROFS, DiskError),
        ("open", errno.EACCES, AccessDenied),
        ("open", errno.EMFILE, DiskError),
    ],
)
def test_each_failure_of_the_system_is_one_of_our_errors_and_leaves_nothing(store, monkeypatch, call, code, kind):
    put(store, "parts/before")

    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(kind) as caught:
            put(store, "parts/x", bytes(2 << 20), if_absent=True)
    if code in {errno.ENOSPC, errno.EDQUOT}:
        assert "2097152 bytes are needed" in str(caught.value)
    assert caught.value.hint
    assert left(store) in ([], ["lock"])
    assert [info.key for info in store.list("")] == ["parts/before"]


def _beyond_the_limit(path, answers):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    store = DirectoryStore(path)
    try:
        put(store, "parts/x", bytes(3 << 20), if_absent=True)
    except DiskError as error:
        answers.put((str(error), left(store), [info.key for info in store.list("")]))


def test_a_file_that_really_does_not_fit_is_told_with_its_size(tmp_path):
    answers = multiprocessing.get_context("spawn").Queue()
    child = multiprocessing.get_context("spawn").Process(target=_beyond_the_limit, args=(tmp_path / "store", answers))
    child.start()
    told, kept, keys = answers.get(timeout=30)
    child.join()
    assert "3145728 bytes are needed" in told
    assert (kept, keys) == ([], [])


def test_what_a_dead_process_left_is_swept_and_what_a_live_one_writes_is_not(store):
    put(store, "parts/x")
    temp = store.path / ".tmp"
    (temp / "dead").write_bytes(b"half")
    with (temp / "alive").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        put(DirectoryStore(store.path), "parts/y")
        assert left(store) == ["alive", "lock"]
    put(DirectoryStore(store.path), "parts/z")
    assert left(store) == ["lock"]


def _die_while_writing(path):
    os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)
    put(DirectoryStore(path), "parts/x", bytes(2 << 20), if_absent=True)


def test_a_writer_that_is_killed_leaves_no_object(tmp_path):
    path = tmp_path / "store"
    put(DirectoryStore(path), "parts/before")
    child = multiprocessing.get_context("spawn").Process(target=_die_while_writing, args=(path,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    store = DirectoryStore(path)
    assert len([name for name in left(store) if name != "lock"]) == 1
    assert [info.key for info in store.list("")] == ["parts/before"]
    put(store, "parts/x", b"again", if_absent=True)
    assert [name for name in left(store) if name != "lock"] == []


def _swap(path, barrier, wins):
    store = DirectoryStore(path)
    for n in range(25):
        seen = store.head("metadata/timestamp.json")
        barrier.wait()
        try:
            put(store, "metadata/timestamp.json", b"%d by %d" % (n, os.getpid()), if_etag=seen.etag)
        except ConditionFailed:
            continue
        else:
            wins.put(n)
        finally:
            barrier.wait()


def test_of_two_processes_that_swap_at_once_exactly_one_wins(tmp_path):
    context = multiprocessing.get_context("spawn")
    path, barrier, wins = tmp_path / "store", context.Barrier(2), context.Queue()
    put(DirectoryStore(path), "metadata/timestamp.json", b"first")
    children = [context.Process(target=_swap, args=(path, barrier, wins)) for _ in range(2)]
    for child in children:
        child.start()
    won = sorted(wins.get(timeout=60) for _ in range(25))
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert won == list(range(25))
    assert wins.empty()


@pytest.mark.parametrize("size", [0, 1, SMALL_BYTES, SMALL_BYTES + 1])
def test_an_etag_holds_while_the_file_does(store, size):
    info = put(store, "parts/x", bytes(size))
    assert store.head("parts/x").etag == info.etag
    assert put(store, "parts/x", b"\1" * size).etag != info.etag or size == 0


def test_a_small_file_replaced_in_the_same_instant_has_another_etag(store):
    """Coarse times and reused inodes make two files look alike to stat."""
    seen = {put(store, "metadata/timestamp.json", b"%03d" % n).etag for n in range(50)}
    assert len(seen) == 50


def test_a_get_that_has_begun_keeps_its_file(store):
    put(store, "parts/x", b"a" * (3 << 20))
    blocks = store.get("parts/x")
    first = next(blocks)
    put(store, "parts/x", b"b")
    assert first + b"".join(blocks) == b"a" * (3 << 20)


def test_a_file_cut_short_while_read_is_told(store):
    put(store, "parts/x", b"a" * (3 << 20))
    blocks = store.get("parts/x")
    next(blocks)
    os.truncate(store.path / "parts/x", 1 << 20)
    with pytest.raises(DiskError, match="ended at byte 1048576"):
        list(blocks)


def test_readers_do_not_leak_descriptors(store):
    put(store, "parts/x", b"a" * 100)
    before = open_below(store.path)
    for _ in range(50):
        store.head("parts/x")
        list(store.get("parts/x"))
        list(store.list(""))
        with pytest.raises(ObjectMissing):
            store.get("parts/none/none")
    assert open_below(store.path) == before


def test_an_object_that_nobody_goes_on_to_read_is_closed(store):
    put(store, "parts/x", b"x" * 10)
    before = open_below(store.path)
    for start in (0, 5, 10):
        store.get("parts/x", start=start)
    assert open_below(store.path) == before


def test_a_write_that_is_refused_keeps_nothing_open(store):
    store.path.mkdir()
    (store.path / ".tmp").write_text("in the way")
    before = open_below(store.path)
    for _ in range(3):
        with pytest.raises(UsageError):
            put(store, "parts/x")
    assert open_below(store.path) == before


def test_a_store_that_cannot_be_opened_is_told_by_a_listing_too(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ObjectMissing, match="link"):
        list(DirectoryStore(tmp_path / "loop").list(""))


def second_of(store, key):
    return int((store.path / key).stat().st_mtime)


@pytest.mark.parametrize("key", ["metadata/timestamp.json", "web/shop/release.json", "web/shop/index.html"])
def test_what_is_asked_for_anew_is_dated_a_second_after_what_it_replaces(store, key):
    put(store, key, b"1")
    # In the future, so that no clock that goes on meanwhile dates the next ones later by itself.
    first = second_of(store, key) + 60
    os.utime(store.path / key, (first, first + 0.9))
    dates = []
    for body in (b"2", b"3"):
        written = put(store, key, body)
        assert int(written.modified_at.timestamp()) == second_of(store, key)
        dates.append(second_of(store, key))
    assert dates == [first + 1, first + 2]


def test_what_is_older_than_its_second_takes_the_time_of_the_clock(store):
    put(store, "metadata/timestamp.json", b"1")
    os.utime(store.path / "metadata/timestamp.json", (1, 1))
    before = store.now()
    assert put(store, "metadata/timestamp.json", b"2").modified_at >= before


def test_a_renewed_lease_never_runs_ahead_of_the_clock(store):
    key = "control/leases/bert-v1.0.0.x.json"
    for body in (b"1", b"2", b"3"):
        put(store, key, body)
    assert store.head(key).modified_at <= store.now()
