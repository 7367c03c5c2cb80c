"""What a fetch does to the disk: room for every file before the first byte, and copies that the kernel makes."""

import ctypes
import errno
import os
import threading
from types import SimpleNamespace

import pytest

from pipeline.errors import DiskError
from pipeline.plan.fetching import Copy, Piece, Spot, Target
from pipeline.steps import holdings, proofread
from pipeline.steps.destination import look_at
from pipeline.steps.folders import open_folder, opened_folder
from pipeline.steps.holdings import Holder, copy_held
from pipeline.steps.landing import MANY_FILES, landing_at
from pipeline.steps.leftovers import remove_leftovers
from pipeline.steps.open_files import OpenFiles
from tests.fetch_world import Reader, contents, make_tree
from tests.makers.fetching import manifest_of
from tests.open_files import open_below

TENSOR = 600 << 10


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    tree = make_tree(tmp_path_factory.mktemp("disk") / "tree")
    tree.lay_out("bert-v1.0.0", tensor_bytes=TENSOR)
    tree.lay_out("bert-v1.1.0", tensor_bytes=TENSOR, other=1)
    return tree


def test_every_file_has_its_space_before_the_first_byte_comes(published):
    seen = {}

    def look(key, at, block):
        landing = next(fetcher.models.glob(".bert-v1.0.0.partial-*"))
        if not seen:
            files = [path for path in landing.rglob("*") if path.is_file()]
            seen.update({path.relative_to(landing).as_posix(): path.stat() for path in files})
        return block

    fetcher = published.fetcher(Reader(published.store, look))
    fetcher.fetch("bert-v1.0.0")
    source = contents(published.sources["bert-v1.0.0"])
    assert {path: found.st_size for path, found in seen.items()} == {path: len(data) for path, (data, _) in source.items()}
    # A hole would have no blocks: the disk may be full when its bytes come.
    assert all(found.st_blocks * 512 >= found.st_size for found in seen.values())


@pytest.mark.parametrize("fault", [None, errno.EXDEV, errno.EOPNOTSUPP])
def test_what_is_here_is_copied_by_the_kernel_where_it_can(published, monkeypatch, fault):
    fetcher = published.fetcher()
    fetcher.fetch("bert-v1.0.0")
    fetcher.cache.shrink(0)
    copied = []
    real = os.copy_file_range

    def copy(source, target, size, *offsets):
        if fault is not None:
            raise OSError(fault, os.strerror(fault))
        copied.append(real(source, target, size, *offsets))
        return copied[-1]

    monkeypatch.setattr(holdings.os, "copy_file_range", copy)
    done = fetcher.fetch("bert-v1.1.0")
    assert contents(fetcher.models / "bert-v1.1.0") == contents(published.sources["bert-v1.1.0"])
    assert done.bytes_reused > TENSOR * 1.9
    assert sum(copied) >= (done.bytes_reused if fault is None else 0)


def test_what_lies_behind_a_link_of_this_machine_serves_as_well(published, tmp_path):
    fetcher = published.fetcher()
    (tmp_path / "disk").mkdir()
    fetcher.cache.place.parent.mkdir(parents=True, exist_ok=True)
    fetcher.cache.place.symlink_to(tmp_path / "disk")
    fetcher.fetch("bert-v1.0.0")
    (fetcher.models / "bert-v1.0.0").rename(tmp_path / "moved")
    done = fetcher.fetch("bert-v1.1.0")
    assert contents(fetcher.models / "bert-v1.1.0") == contents(published.sources["bert-v1.1.0"])
    assert done.bytes_reused > TENSOR * 1.9


def test_a_file_that_cannot_be_taken_over_keeps_nothing_open(tmp_path):
    manifest = manifest_of([[("one", 3)]], paths=["sub/a"])
    old = tmp_path / "old" / "sub"
    old.mkdir(parents=True)
    (old / "a").write_bytes(b"one")
    with (
        opened_folder(tmp_path / "old") as old_fd,
        landing_at(tmp_path / "new", manifest, "k" * 16, waiting=lambda: None) as landing,
    ):
        (landing.folder / "sub").write_text("what an earlier run left")
        before = open_below(tmp_path)
        assert not landing.adopt(0, old_fd)
        assert open_below(tmp_path) == before


def test_what_somebody_else_put_beside_a_destination_keeps_no_leftover(tmp_path):
    for number in range(3):
        (tmp_path / f".bert.partial-{number}0").write_text("not ours")
        (tmp_path / f".bert.partial-{number}1").mkdir()
    remove_leftovers(tmp_path / "bert")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".bert.partial-{number}0" for number in range(3)]


def copy_from(folder, destination, rotten, *, used=lambda _: None):
    """Copy the chunks "one" and "two" from the file of a folder where they should lie."""
    manifest = manifest_of([[("one", 3), ("two", 3)]])
    chunks = manifest.files[0].chunks
    copies = [Copy(Spot(0, "f0000", 3 * number), Piece(chunk, (Target(0, 3 * number),))) for number, chunk in enumerate(chunks)]
    with landing_at(destination, manifest, "k" * 16, waiting=lambda: None) as landing:
        landing.allocate([0])
        return copy_held(landing, [Holder(folder, rotten, used)], copies)


def test_a_file_with_several_rotten_chunks_is_told_once(tmp_path):
    rotten, used = [], []
    (tmp_path / "f0000").write_bytes(b"ONETWO")
    failed, copied = copy_from(tmp_path, tmp_path / "new", rotten.append, used=used.append)
    assert (len(failed), copied, rotten, used) == (2, 0, ["f0000"], [])
    (tmp_path / "f0000").write_bytes(b"oneTWO")
    failed, copied = copy_from(tmp_path, tmp_path / "new", rotten.append, used=used.append)
    assert (len(failed), copied, rotten, used) == (1, 3, ["f0000"] * 2, ["f0000"])


def test_what_a_failing_disk_cannot_read_any_more_is_fetched(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "f0000").write_bytes(b"onetwo")
    monkeypatch.setattr(os, "copy_file_range", broken)
    monkeypatch.setattr(os, "pread", broken)
    rotten = []
    failed, copied = copy_from(tmp_path, tmp_path / "new", rotten.append)
    assert (len(failed), copied, rotten) == (2, 0, ["f0000"])


class WithoutExchange:
    """The C library of a system that cannot exchange two names."""

    renameat2 = staticmethod(lambda *_: -1)


@pytest.fixture
def no_exchange(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: WithoutExchange())
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EINVAL)


def landed(tmp_path):
    with landing_at(tmp_path / "bert", manifest_of([]), "k" * 16, waiting=lambda: None) as landing:
        (landing.folder / "new").touch()
        landing.take_place()


def test_a_file_system_without_exchange_loses_nothing_of_others(tmp_path, no_exchange):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "old").touch()
    (tmp_path / ".bert.old").mkdir()
    (tmp_path / ".bert.old" / "thesis").touch()
    landed(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        ".bert.old",
        ".bert.old/thesis",
        "bert",
        "bert/new",
    ]


def test_what_a_kill_between_two_renames_leaves_is_removed_later(tmp_path, no_exchange, monkeypatch):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "old").touch()
    rename, calls = os.rename, []

    def killed(*names, **where):
        calls.append(names)
        # Over the folder that is there, aside, then into place.
        if len(calls) == 3:
            raise KeyboardInterrupt
        rename(*names, **where)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            landed(tmp_path)
    landed(tmp_path)
    remove_leftovers(tmp_path / "bert")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["bert", "bert/new"]


def test_a_descriptor_that_is_in_use_when_all_are_closed_for_good_is_closed_after_that(tmp_path):
    (tmp_path / "file").touch()
    files = OpenFiles(lambda _: os.open(tmp_path / "file", os.O_RDWR))
    before = open_below(tmp_path)
    with files.using(0):
        files.close(for_good=True)
    assert open_below(tmp_path) == before


def test_a_disk_that_fails_while_a_folder_is_hashed_leaves_nothing_open(tmp_path, monkeypatch):
    (tmp_path / "f0000").write_bytes(b"x" * 128)
    manifest = manifest_of([[(f"{number:02}", 2) for number in range(64)]])
    failed = threading.Event()

    def broken(fd, at, size):
        if failed.is_set():
            # Long enough for those behind it to be called off.
            threading.Event().wait(0.1)
        failed.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(proofread, "BATCH_BYTES", 16)
    monkeypatch.setattr(proofread, "hash_at", broken)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    with opened_folder(tmp_path) as folder_fd:
        before = open_below(tmp_path)
        with pytest.raises(OSError, match="Input/output error"):
            proofread.read_proof(folder_fd, manifest, [0])
        assert open_below(tmp_path) == before


class Counted(tuple):
    """Counts how often it is gone through."""

    __slots__ = ()
    times = 0

    def __iter__(self):
        type(self).times += 1
        return super().__iter__()


def test_a_folder_of_many_files_is_looked_at_in_one_go(tmp_path, monkeypatch):
    manifest = manifest_of([[("one", 3)]] * 100)
    for number in range(100):
        (tmp_path / f"f{number:04}").write_bytes(b"one")
        (tmp_path / f"extra{number}").touch()
    kept = SimpleNamespace(
        manifest_sha256="d", executable_bits=True, files=Counted(file.path for file in manifest.files), beside={}
    )
    installs = SimpleNamespace(find=lambda _: kept, manifest=lambda _: manifest)
    monkeypatch.setattr("pipeline.steps.destination.wanted_files", lambda *_: tuple(range(50)))
    walked = []
    monkeypatch.setattr("pipeline.steps.destination._paths", lambda one: walked.append(one) or {file.path for file in one.files})
    found = look_at(tmp_path, manifest, "d", installs, include=(), exclude=())
    assert found.complete
    assert (len(found.files), len(found.extra)) == (100, 100)
    assert Counted.times < 5
    assert len(walked) < 5


@pytest.mark.parametrize("make", [True, False])
def test_folders_on_the_way_need_only_be_passed_through(tmp_path, monkeypatch, make):
    (tmp_path / "home" / "me").mkdir(parents=True)
    real = os.open

    def guarded(name, flags, *mode, **where):
        # As a folder of others with mode 0711.
        if name == "home" and not flags & os.O_PATH:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(name, flags, *mode, **where)

    monkeypatch.setattr(os, "open", guarded)
    fd = open_folder(tmp_path / "home" / "me", make=make)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def test_many_files_that_the_disk_could_not_write_are_told(tmp_path, monkeypatch):
    manifest = manifest_of([[("one", 3)]] * (MANY_FILES + 1))
    monkeypatch.setattr("pipeline.steps.folders._SYNCFS", lambda _: -1, raising=False)
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EIO)
    with landing_at(tmp_path / "bert", manifest, "k" * 16, waiting=lambda: None) as landing:
        landing.allocate(range(MANY_FILES + 1))
        with pytest.raises(DiskError, match="Input/output error"):
            landing.settle(range(MANY_FILES + 1))


def test_files_that_their_owner_protects_are_taken_over(tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "f0000").write_bytes(b"one")
    real = os.open

    def guarded(name, flags, *mode, **where):
        if name == "f0000" and flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(name, flags, *mode, **where)

    monkeypatch.setattr(os, "open", guarded)
    with (
        opened_folder(tmp_path / "old") as old_fd,
        landing_at(tmp_path / "bert", manifest_of([[("one", 3)]]), "k" * 16, waiting=lambda: None) as landing,
    ):
        assert landing.adopt(0, old_fd)
        landing.settle([0])
        landing.take_place()
    assert (tmp_path / "bert" / "f0000").read_bytes() == b"one"


def test_a_hint_that_cannot_be_given_ends_nothing(tmp_path, monkeypatch):
    def no_more(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with landing_at(tmp_path / "bert", manifest_of([[("one", 3)]]), "k" * 16, waiting=lambda: None) as landing:
        landing.allocate([0])
        monkeypatch.setattr("pipeline.steps.landing.open_file", no_more)
        landing.begin_writeback(0, 0, 3)
        with pytest.raises(DiskError, match="Too many open files"):
            landing.write(0, 0, b"one")
