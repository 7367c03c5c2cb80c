"""The cache of fetches and the records of what is installed: what is kept, found, dropped and forgotten."""

import errno
import os
import threading
from pathlib import Path

import pytest

from pipeline.digest import blake3_of, sha256_of
from pipeline.manifest import Chunk, File
from pipeline.plan.fetching import Spot
from pipeline.sources import cachefolder
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.installed import InstallRecord, Installs
from pipeline.wire import encode_manifest
from tests.makers.fetching import manifest_of


@pytest.fixture
def cache(tmp_path):
    return CacheFolder(tmp_path / "cache", 1 << 20)


def installed(folder: Path, name: str, *pieces: bytes) -> tuple[Path, File]:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(b"".join(pieces))
    chunks = tuple(Chunk(0, 0, len(piece), len(piece), blake3_of(piece), "raw", "") for piece in pieces)
    return path, File(path=name, size=path.stat().st_size, sha256=sha256_of(path.read_bytes()), chunks=chunks)


def test_chunks_of_a_kept_file_are_found_where_they_lie(cache, tmp_path):
    path, file = installed(tmp_path / "m", "a", b"one", b"twotwo", b"three")
    assert cache.keep_file(path, file)
    name = f"files/{file.sha256[:2]}/{file.sha256}"
    wanted = [blake3_of(b"three"), blake3_of(b"twotwo"), blake3_of(b"nowhere")]
    assert cache.spots(wanted, 7) == {wanted[0]: Spot(7, name, 9), wanted[1]: Spot(7, name, 3)}
    path.unlink()
    assert (cache.place / name).read_bytes() == b"onetwotwothree"


def test_a_file_is_kept_as_a_link_or_where_that_cannot_be_as_a_copy(cache, tmp_path, monkeypatch):
    one, file = installed(tmp_path / "m", "a", b"one")
    cache.keep_file(one, file)
    assert one.stat().st_nlink == 2
    two, other = installed(tmp_path / "m", "b", b"two")

    def refuse(*_, **__):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(cachefolder.os, "link", refuse)
    assert cache.keep_file(two, other)
    assert two.stat().st_nlink == 1
    assert list(cache.spots([blake3_of(b"two")], 0)) == [blake3_of(b"two")]


def test_a_torn_index_or_a_cut_file_holds_nothing(cache, tmp_path):
    path, file = installed(tmp_path / "m", "a", b"one", b"two")
    cache.keep_file(path, file)
    index = next(cache.place.glob("files/*/*.chunks"))
    whole = index.read_bytes()
    for torn in (whole[:-1], whole[:36], whole + b"x", b""):
        index.write_bytes(torn)
        assert cache.spots([blake3_of(b"one")], 0) == {}
    index.write_bytes(whole)
    index.with_suffix("").write_bytes(b"one")
    assert cache.spots([blake3_of(b"one")], 0) == {}


def test_what_was_used_longest_ago_goes_first(cache, tmp_path):
    for number, name in enumerate(("old", "middle", "new")):
        path, file = installed(tmp_path / "m", name, name.encode() * 1000)
        cache.keep_file(path, file)
        index = cache.place / f"files/{file.sha256[:2]}/{file.sha256}.chunks"
        os.utime(index, (1000 + number, 1000 + number))
    cache.used(next(iter(cache.spots([blake3_of(b"old" * 1000)], 0).values())).path)
    removed = cache.shrink(6500)
    assert (removed.files, removed.left_files) == (1, 2)
    assert set(cache.spots([blake3_of(name * 1000) for name in (b"old", b"middle", b"new")], 0)) == {
        blake3_of(b"old" * 1000),
        blake3_of(b"new" * 1000),
    }
    assert (tmp_path / "m" / "middle").exists()


def test_dry_shrinking_removes_nothing(cache, tmp_path):
    cache.keep_file(*installed(tmp_path / "m", "a", b"one"))
    assert cache.shrink(0, dry=True).files == 1
    assert cache.shrink(0).files == 1
    assert cache.shrink(0).files == 0


def test_a_file_beyond_the_limit_and_an_empty_one_are_not_kept(tmp_path):
    cache = CacheFolder(tmp_path / "cache", 10)
    assert not cache.keep_file(*installed(tmp_path / "m", "a", b"x" * 11))
    assert not cache.keep_file(*installed(tmp_path / "m", "b"))
    assert not CacheFolder(tmp_path / "none", 0).keep_file(*installed(tmp_path / "m", "c", b"x"))
    assert not (tmp_path / "none").exists()


def test_a_rotten_document_is_no_document(cache):
    cache.keep_document(b"{}")
    assert cache.document(sha256_of(b"{}")) == b"{}"
    next(cache.place.glob("documents/*/*")).write_bytes(b"[]")
    assert cache.document(sha256_of(b"{}")) is None
    assert list(cache.place.glob("documents/*/*")) == []


def test_a_cache_that_cannot_be_written_ends_nothing(tmp_path):
    (tmp_path / "cache").write_text("a file")
    cache = CacheFolder(tmp_path / "cache", 1 << 20)
    cache.keep_document(b"{}")
    assert cache.document(sha256_of(b"{}")) is None
    assert not cache.keep_file(*installed(tmp_path / "m", "a", b"one"))


def test_leftovers_of_killed_processes_are_swept_once_they_are_old(cache, tmp_path, monkeypatch):
    cache.keep_file(*installed(tmp_path / "m", "a", b"one"))
    left = next(cache.place.glob("files/*")) / ".new-0011"
    left.write_bytes(b"half")
    cache.shrink()
    assert left.exists()
    monkeypatch.setattr(cachefolder.time, "time", lambda: left.stat().st_ctime + 3601)
    cache.shrink()
    assert not left.exists()


def test_many_at_once_keep_and_shrink(cache, tmp_path):
    files = [installed(tmp_path / "m", f"f{number}", bytes([number]) * 1000) for number in range(20)]
    errors = []

    def work(offset):
        try:
            for path, file in files[offset:] + files[:offset]:
                cache.keep_file(path, file)
                cache.shrink(15_000)
                cache.spots([file.chunks[0].blake3], 0)
        except BaseException as error:  # noqa: BLE001 (a thread reports to its test)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number * 5,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert cache.shrink(15_000).left_bytes <= 15_000


# --- records ----------------------------------------------------------------------------------------


@pytest.fixture
def record(tmp_path):
    data = encode_manifest(manifest_of([[("a", 10)]]))
    (tmp_path / "place").mkdir()
    return InstallRecord(
        folder=str(tmp_path / "place"), release="bert-v1.0.0", manifest_sha256=sha256_of(data), source="https://x"
    ), data


def test_a_record_counts_once_it_is_confirmed(tmp_path, record):
    installs, (made, data) = Installs(tmp_path / "state"), record
    folder = Path(made.folder)
    installs.intend(made, data)
    assert installs.find(folder) is None
    assert installs.intended(folder, made.manifest_sha256)
    assert not installs.intended(folder, sha256_of(b"another"))
    installs.confirm(folder)
    assert installs.find(folder) == made
    assert encode_manifest(installs.manifest(made)) == data
    assert list(installs.all()) == [made]
    folder.rmdir()
    assert list(installs.all()) == []


@pytest.mark.parametrize("damage", [b"", b"{}", b"not json"])
def test_a_damaged_record_is_no_record(tmp_path, record, damage):
    installs, (made, data) = Installs(tmp_path / "state"), record
    installs.intend(made, data)
    installs.confirm(Path(made.folder))
    next(installs.place.glob("*.json")).write_bytes(damage)
    assert installs.find(Path(made.folder)) is None


def test_a_record_of_another_folder_under_this_name_is_no_record(tmp_path, record):
    installs, (made, data) = Installs(tmp_path / "state"), record
    installs.intend(made, data)
    installs.confirm(Path(made.folder))
    file = next(installs.place.glob("*.json"))
    file.write_bytes(file.read_bytes().replace(b"/place", b"/other"))
    assert installs.find(Path(made.folder)) is None


def test_a_damaged_manifest_is_no_manifest(tmp_path, record):
    installs, (made, data) = Installs(tmp_path / "state"), record
    installs.intend(made, data)
    next(installs.place.glob("manifests/*")).write_bytes(data + b" ")
    assert installs.manifest(made) is None


def test_a_cache_that_cannot_be_read_or_tidied_holds_nothing(cache, monkeypatch):
    cache.keep_document(b"{}")
    name = next(path for path in (cache.place / "documents").rglob("*") if path.is_file())
    name.write_bytes(b"rotten")
    # As on a medium that is mounted for reading only.
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only file system")))
    assert cache.document(sha256_of(b"{}")) is None
    (cache.place / "files").symlink_to(cache.place / "files")
    assert cache.spots([blake3_of(b"one")], 0) == {}
