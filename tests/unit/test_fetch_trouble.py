"""Fetches from sources that alter, break off, are stale or are gone; interrupted ones; two at once; what was yanked or retired."""

import threading

import pytest

from pipeline.errors import (
    DigestMismatch,
    NotPinned,
    ObjectMissing,
    StoreUnavailable,
    UnknownName,
    UsageError,
)
from pipeline.release import Release
from pipeline.withdraw import retire_release, yank_release
from tests.fetch_world import TENSOR, Fetcher, Reader, check_arrived, copy_of, publish_four


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish_four(tmp_path_factory.mktemp("fetch") / "tree")


@pytest.fixture
def tree(published, tmp_path):
    """A tree of its own, for a test that changes it."""
    return copy_of(published, tmp_path / "tree")


# --- sources that fail ------------------------------------------------------------------------------


def flip_once(when):
    """Spoil the first block for which ``when`` holds."""
    left = [1]

    def spoil(key, at, block):
        if left[0] and when(at):
            left[0] -= 1
            return memoryview(bytes([block[0] ^ 1]) + bytes(block[1:]))
        return block

    return spoil


@pytest.mark.parametrize("release", ["bert-v1.0.0", "raw-v1.0.0"])
def test_a_flipped_bit_is_fetched_again_and_the_rest_kept(published, release):
    fetcher = published.fetcher(Reader(published.store, flip_once(lambda at: True)))
    done = fetcher.fetch(release, connections=1)
    check_arrived(published, fetcher, release)
    clean = published.fetcher().fetch(release).bytes_fetched
    assert clean < done.bytes_fetched <= clean + (1 << 20)


@pytest.mark.parametrize("release", ["bert-v1.0.0", "raw-v1.0.0"])
def test_a_source_that_always_lies_ends_the_fetch_and_nothing_is_installed(published, release):
    fetcher = published.fetcher(Reader(published.store, lambda key, at, block: memoryview(bytes(len(block)))))
    with pytest.raises(DigestMismatch, match="blake3"):
        fetcher.fetch(release)
    assert not (fetcher.models / release).exists()
    fetcher.readers = (Reader(published.store),)
    fetcher.fetch(release)
    check_arrived(published, fetcher, release)


def test_a_lying_mirror_is_named_and_its_work_taken_over(published):
    liar = Reader(published.store, lambda key, at, block: memoryview(bytes(len(block))), name="#liar")
    # Lies are quick: were the other one as quick, it might have brought all before the second lie.
    slow = threading.Event()
    fetcher = published.fetcher(liar, Reader(published.store, lambda key, at, block: slow.wait(0.02) or block))
    done = fetcher.fetch("raw-v1.0.0")
    check_arrived(published, fetcher, "raw-v1.0.0")
    assert "wrong bytes" in next(one.dropped for one in done.sources if one.url.endswith("#liar"))
    assert any("#liar" in message for message in done.warnings)


def test_a_stale_mirror_is_dropped_for_the_metadata(tree, published):
    fetcher = published.fetcher(Reader(published.store))
    fetcher.fetch("bert-v1.0.0")
    tree.lay_out("bert-v1.5.0", tensor_bytes=TENSOR, other=5)
    fetcher.readers = (Reader(tree.store),)
    fetcher.fetch("bert-v1.5.0")
    fetcher.readers = (Reader(published.store, name="#stale"), Reader(tree.store))
    done = fetcher.fetch("bert@^1")
    assert done.release == "bert-v1.5.0"
    assert "seen here before" in next(one.dropped for one in done.sources if one.url.endswith("#stale"))


def test_a_part_that_is_nowhere_is_named(tree):
    for part in (tree.store / "parts").rglob("*"):
        if part.is_file():
            part.unlink()
    with pytest.raises(ObjectMissing, match="parts/"):
        tree.fetcher().fetch("raw-v1.0.0")


def test_a_broken_connection_goes_on_behind_the_last_whole_chunk(published):
    class Breaking(Reader):
        left = 2

        def read_range(self, key, start, size, take, *, total=None):
            if self.left and size > TENSOR:
                self.left -= 1
                super().read_range(key, start, size - 100_000, take, total=total)
                raise StoreUnavailable("cut", delivered=size - 100_000)
            super().read_range(key, start, size, take, total=total)

    fetcher = published.fetcher(Breaking(published.store))
    done = fetcher.fetch("raw-v1.0.0", connections=1)
    check_arrived(published, fetcher, "raw-v1.0.0")
    assert done.bytes_fetched < done.bytes + 3 * TENSOR


def test_a_tree_that_nobody_pinned_is_refused(published, tmp_path):
    fetcher = Fetcher(tmp_path / "f", (Reader(published.store),), "0" * 64)
    with pytest.raises(NotPinned):
        fetcher.fetch("bert-v1.0.0")
    assert not fetcher.models.exists()


def test_mirror_that_shows_no_root_at_all_is_dropped(published):
    class Portal(Reader):
        def get(self, key, *, start=0, size=None):
            yield b"<html>"

    fetcher = published.fetcher(Portal(published.store, name="#portal"), Reader(published.store))
    done = fetcher.fetch("raw-v1.0.0")
    assert "none of its roots" in next(one.dropped for one in done.sources if one.url.endswith("#portal"))


def test_interrupt_leaves_a_state_that_the_next_run_finishes(published):
    class Interrupting(Reader):
        def read_range(self, key, start, size, take, *, total=None):
            super().read_range(key, start, size, take, total=total)
            raise KeyboardInterrupt

    fetcher = published.fetcher(Interrupting(published.store))
    with pytest.raises(KeyboardInterrupt):
        fetcher.fetch("raw-v1.0.0", connections=1)
    first = fetcher.readers[0].part_bytes
    fetcher.readers = (Reader(published.store),)
    done = fetcher.fetch("raw-v1.0.0")
    check_arrived(published, fetcher, "raw-v1.0.0")
    assert done.bytes_fetched == done.bytes - first


def test_two_fetches_at_once_share_the_work(published):
    fetcher = published.fetcher()
    results, errors = [], []

    def work():
        try:
            results.append(fetcher.fetch("bert-v1.0.0"))
        except BaseException as error:  # noqa: BLE001 (a thread reports to its test)
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    check_arrived(published, fetcher, "bert-v1.0.0")
    assert sum(done.bytes_fetched for done in results) == max(done.bytes_fetched for done in results)


# --- yanked, retired --------------------------------------------------------------------------------


def test_a_yanked_release_is_taken_only_by_name_and_word(tree):
    machine = tree.site.machine("publisher")
    yank_release(Release.parse("bert-v1.1.0"), machine.place(), machine.events.append, reason="broken tokenizer")
    fetcher = tree.fetcher()
    for want in ("bert-v1.1.0", "bert@stable"):
        with pytest.raises(UsageError, match="broken tokenizer"):
            fetcher.fetch(want)
    with pytest.raises(UsageError):
        fetcher.fetch("bert@stable", allow_yanked=True)
    assert fetcher.fetch("bert@^1").release == "bert-v1.0.0"
    with pytest.raises(UnknownName, match=r"every release of bert in .* in the range ~1\.1 was yanked: 1\.1\.0") as caught:
        fetcher.fetch("bert@~1.1")
    assert "--model bert-v1.1.0 --allow-yanked" in caught.value.hint
    assert fetcher.fetch("bert-v1.1.0", allow_yanked=True).release == "bert-v1.1.0"


def test_a_retired_release_is_unknown(tree):
    machine = tree.site.machine("publisher")
    retire_release(Release.parse("bert-v2.0.0-rc.1"), machine.place(), machine.events.append, reason="old")
    with pytest.raises(UnknownName):
        tree.fetcher().fetch("bert-v2.0.0-rc.1")
