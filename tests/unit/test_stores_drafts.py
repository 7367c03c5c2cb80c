"""Drafts: an object that is written before its key is known, and seen by nobody before it is put."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import ConditionFailed, DiskError, ObjectExists, ObjectMissing
from pipeline.past_cache import aligned_memory
from pipeline.ports import read_object
from pipeline.retry import Patience, Retry
from pipeline.stores.counting import CountingStore
from pipeline.stores.directory import DirectoryStore
from pipeline.stores.dryrun import DryRunStore
from pipeline.stores.faulty import Fault, FaultyStore
from pipeline.stores.memory import MemoryStore
from pipeline.stores.retrying import RetryingStore
from tests.open_files import open_below

KEY = "parts/ab/part"
BODY = os.urandom((2 << 20) + 4097)


@pytest.fixture
def store(disk_path):
    return DirectoryStore(disk_path / "store")


def write(draft, body=BODY, *, block=1 << 20):
    """In blocks of memory that is used again, as a publish does."""
    with memoryview(aligned_memory(block)) as memory:
        for at in range(0, len(body), block):
            piece = body[at : at + block]
            memory[: len(piece)] = piece
            draft.write(memory[: len(piece)], at)


def put(store, draft, key=KEY, **conditions):
    return store.put(key, draft, sha256=sha256_of(BODY), **conditions)


def left(store):
    return sorted(path.name for path in (store.path / ".tmp").iterdir() if path.name != "lock")


def test_a_draft_is_seen_once_it_was_put_and_is_whole_then(store):
    draft = store.draft()
    write(draft)
    assert list(store.list("")) == []
    told = put(store, draft, if_absent=True)
    draft.close()
    assert read_object(store, KEY, cap=len(BODY)) == BODY
    assert store.head(KEY) == told
    assert told.size == len(BODY)
    assert left(store) == []
    assert open_below(store.path) == []


def test_a_draft_that_is_not_put_leaves_nothing(store):
    with store.draft() as draft:
        write(draft)
        assert len(left(store)) == 1
    assert left(store) == []
    assert list(store.list("")) == []
    assert open_below(store.path) == []


def test_a_draft_keeps_the_conditions_of_a_put_and_can_be_put_after_a_refusal(store):
    old = store.put(KEY, b"old", sha256=sha256_of(b"old"))
    with store.draft() as draft:
        write(draft)
        with pytest.raises(ObjectExists):
            put(store, draft, if_absent=True)
        with pytest.raises(ConditionFailed):
            put(store, draft, if_etag="another")
        assert read_object(store, KEY, cap=3) == b"old"
        put(store, draft, if_etag=old.etag)
    assert read_object(store, KEY, cap=len(BODY)) == BODY


def test_a_put_whose_answer_was_lost_meets_its_own_object(store):
    with store.draft() as draft:
        write(draft)
        put(store, draft, if_absent=True)
        with pytest.raises(ObjectExists):
            put(store, draft, if_absent=True)
    assert read_object(store, KEY, cap=len(BODY)) == BODY


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_disk_that_fails_is_told_by_the_put_with_key_and_size(store, monkeypatch, call):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with store.draft() as draft:
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            write(draft)
            with pytest.raises(DiskError, match=f"{KEY}.*{len(BODY)} bytes are needed"):
                put(store, draft, if_absent=True)
        if call == "pwrite":
            # What is not whole never becomes so by trying again.
            with pytest.raises(DiskError):
                put(store, draft, if_absent=True)
    with pytest.raises(ObjectMissing):
        store.head(KEY)
    assert left(store) == []
    assert open_below(store.path) == []


def test_a_live_draft_is_swept_by_nobody_and_a_dead_one_by_the_next_writer(store):
    draft = store.draft()
    write(draft)
    dead = store.path / ".tmp" / "what-a-killed-writer-left"
    dead.write_bytes(b"half")
    other = DirectoryStore(store.path)
    other.put("parts/other", b"x", sha256=sha256_of(b"x"))
    assert left(store) == [draft.name]
    put(store, draft, if_absent=True)
    draft.close()
    assert read_object(other, KEY, cap=len(BODY)) == BODY


def test_a_draft_that_cannot_begin_keeps_nothing_open(store, monkeypatch):
    real = os.open

    def refuse(path, flags, *more, **named):
        if flags & os.O_EXCL:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, flags, *more, **named)

    store.put("parts/x", b"x", sha256=sha256_of(b"x"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(DiskError, match="Too many open files"):
            store.draft()
    assert open_below(store.path) == []


def test_a_draft_of_another_store_is_refused_and_nothing_is_written(store):
    other = MemoryStore()
    assert other.draft() is None
    with store.draft() as draft:
        write(draft)
        with pytest.raises(TypeError, match="belongs to the store that gave it"):
            put(other, draft)
    assert list(other.list("")) == []


def test_wrappers_hand_drafts_through_and_count_their_bytes(store):
    counting = CountingStore(FaultyStore(store, [Fault("put", "lose answer", key="parts/")]))
    retrying = RetryingStore(counting, retry=Retry(Patience(attempts=3), sleep=lambda _: None))
    with retrying.draft() as draft:
        write(draft)
        with pytest.raises(ObjectExists):
            put(retrying, draft, if_absent=True)
    assert counting.counts.sent == 2 * len(BODY)
    assert read_object(store, KEY, cap=len(BODY)) == BODY


def test_a_store_whose_bodies_are_to_be_spoilt_and_a_dry_run_give_none(store):
    assert FaultyStore(store, [Fault("put", "flip bit")]).draft() is None
    assert DryRunStore(store).draft() is None
    assert not (store.path / ".tmp").exists()


@pytest.mark.parametrize("code, said", [(errno.ENOSPC, "No space left on device"), (errno.ENOENT, "No such file or directory")])
def test_a_draft_that_cannot_begin_is_a_fault_of_the_disk_and_speaks_of_no_bytes(store, monkeypatch, code, said):
    real = os.open

    def refuse(path, flags, *more, **named):
        if flags & os.O_EXCL:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *more, **named)

    store.put("parts/x", b"x", sha256=sha256_of(b"x"))
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DiskError, match=said) as error:
        store.draft()
    assert "bytes" not in str(error.value)


def test_a_draft_is_let_go_of_whatever_the_disk_says(store, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    draft = store.draft()
    monkeypatch.setattr(os, "unlink", fail)
    draft.close()
    assert open_below(store.path) == []


FORKS = """
import os, sys
from pipeline.digest import sha256_of
from pipeline.stores.directory import DirectoryStore

store = DirectoryStore(sys.argv[1])
draft = store.draft()
draft.write(memoryview(b"whole"), 0)
child = os.fork()
if child == 0:
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
store.put("parts/x", draft, sha256=sha256_of(b"whole"), if_absent=True)
"""


def test_a_child_that_was_forked_and_ends_takes_no_draft_from_its_parent(store):
    subprocess.run([sys.executable, "-c", FORKS, store.path], cwd=Path(__file__).parents[2], check=True)
    assert read_object(store, "parts/x", cap=5) == b"whole"


def test_a_draft_that_is_closed_twice_closes_nobody_elses_file(store):
    draft = store.draft()
    taken = (draft.fd, draft.folder_fd)
    draft.close()
    with Path(os.devnull).open("rb") as other:
        # Its numbers are free now, and are given to others.
        for fd in taken:
            if fd != other.fileno():
                os.dup2(other.fileno(), fd)
        draft.close()
        for fd in taken:
            assert os.fstat(fd).st_rdev == os.fstat(other.fileno()).st_rdev
            if fd != other.fileno():
                os.close(fd)
