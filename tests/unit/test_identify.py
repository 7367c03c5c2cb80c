"""The identity of a folder: every file hashed once, and differences said in words."""

import hashlib
import os

import msgspec
import pytest

from pipeline.errors import SourceChanged
from pipeline.events import Progress, ignore
from pipeline.manifest import Dependency
from pipeline.sources.folder import scan_folder
from pipeline.steps import identify
from pipeline.steps.identify import first_difference, hash_files, identity_of
from tests.makers.releases import MIB, index_folder, lay_files, noise

TREE = {"a": b"", "b/c": b"small", "w.bin": noise(5 * MIB + 3, 1), "model.yaml": b"dependencies: {tokenizer: ^1}"}


@pytest.fixture
def model(tmp_path):
    lay_files(tmp_path, TREE)
    (tmp_path / "b" / "c").chmod(0o755)
    return tmp_path


def test_every_file_is_hashed(model):
    told = []
    digests = hash_files(scan_folder(model), {}, told.append)
    assert digests == {path: hashlib.sha256(data).hexdigest() for path, data in TREE.items()}
    assert sum(event.bytes for event in told if isinstance(event, Progress)) == sum(map(len, TREE.values()))


def test_no_more_threads_than_processors_that_this_process_may_use(model, monkeypatch):
    asked = []
    pool = identify.threads
    monkeypatch.setattr(identify, "threads", lambda count, name: asked.append(count) or pool(count, name))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    hash_files(scan_folder(model), {}, ignore)
    assert asked == [1]


def test_known_files_are_not_read_again(model, monkeypatch):
    opened = []
    whole = identify.open_source
    monkeypatch.setattr(identify, "open_source", lambda path, *rest: opened.append(path) or whole(path, *rest))
    known = {"w.bin": "f" * 64, "a": "e" * 64, "model.yaml": "d" * 64}
    assert hash_files(scan_folder(model), known, ignore)["w.bin"] == "f" * 64
    assert opened == ["b/c"]


@pytest.mark.parametrize("path", list(TREE))
def test_file_that_changed_since_it_was_listed_is_refused(model, path):
    folder = scan_folder(model)
    with (model / path).open("ab") as target:
        target.write(b"!")
    with pytest.raises(SourceChanged, match=path):
        hash_files(folder, {}, ignore)


def test_file_rewritten_in_place_while_it_is_hashed_is_refused(model, monkeypatch):
    folder = scan_folder(model)
    whole = os.preadv
    place = model / "w.bin"
    times = place.stat()

    def rewrite(descriptor, views, offset):
        if offset >= 4 * MIB:
            with place.open("r+b") as target:
                target.write(b"x")
            os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
        return whole(descriptor, views, offset)

    monkeypatch.setattr(os, "preadv", rewrite)
    with pytest.raises(SourceChanged, match=r"w\.bin changed"):
        hash_files(folder, {}, ignore)


def test_identity_is_that_of_the_manifest_made_of_the_folder(model):
    made, _ = index_folder(model)
    folder = scan_folder(model)
    found = identity_of(folder, "model", hash_files(folder, {}, ignore))
    assert found == made.manifest.identity
    assert first_difference(found, made.manifest.identity) == "nothing differs"


def test_differences_are_said_in_words(model):
    folder = scan_folder(model)
    mine = identity_of(folder, "model", hash_files(folder, {}, ignore))
    change = msgspec.structs.replace
    (a, c, *rest) = mine.files
    for other, words in (
        (change(mine, kind="web"), "its kind is web, here it is model"),
        (change(mine, dependencies=()), "its dependencies are others"),
        (change(mine, dependencies=(Dependency(model="tokenizer", version="^2"),)), "its dependencies are others"),
        (change(mine, files=(c, *rest)), "a is new"),
        (change(mine, files=(a, ("aa", 1, "0" * 64, False), c, *rest)), "aa is missing here"),
        (change(mine, files=(a, (*c[:3], False), *rest)), "b/c differs"),
        (change(mine, files=(a, (c[0], c[1], "0" * 64, c[3]), *rest)), "b/c differs"),
    ):
        assert first_difference(mine, other) == words
