"""A mirror of a tree: byte for byte, never backwards, whole at every moment, in a directory and in S3."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner

from pipeline.digest import sha256_of
from pipeline.errors import (
    DigestMismatch,
    NotPinned,
    OtherContent,
    PoisonedObject,
    RollbackRefused,
    UnknownName,
)
from pipeline.fetch import FetchOrder, fetch_release
from pipeline.layout import LEASES, PARTS, TIMESTAMP
from pipeline.mirroring import MirrorOrder, mirror_tree
from pipeline.plan.wants import read_want
from pipeline.release import Release
from pipeline.stores.directory import DirectoryStore
from pipeline.stores.dryrun import DryRunStore
from pipeline.stores.memory import MemoryStore
from pipeline.stores.s3 import S3Store
from pipeline.trust.copying import announce_copy
from pipeline.trust.rotate import rotate_key
from pipeline.trust.whole import gather_tree
from tests.mirror_world import begin_tree, client_of, contents, current, mirrored, one_release_later, supply_of
from tests.publish_world import Killed, Mortal, lay_out

_COUNT = itertools.count(1)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A tree with two models, and the machine that publishes to it."""
    return begin_tree(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(first, tmp_path_factory):
    return one_release_later(first[0], tmp_path_factory.mktemp("second"))


@pytest.fixture
def source(first):
    return first[0]


@pytest.fixture(params=["directory", "seaweedfs"])
def target(request, tmp_path):
    if request.param == "directory":
        return DirectoryStore(tmp_path / "copy")
    server = request.getfixturevalue("seaweedfs")
    bucket = request.getfixturevalue("bucket_on")(server)
    return S3Store(bucket, f"copy{next(_COUNT)}", endpoint=server.endpoint, region=server.region, open_session=server.session)


# ---- a copy


def test_copy_is_the_tree_byte_for_byte_and_both_readers_accept_it(source, target, tmp_path):
    done = mirrored(source, target)
    assert contents(target) == current(source.store)
    assert (done.moved, done.announced, done.objects_copied) == (True, source.announced(), done.objects)
    client_of(source, target, tmp_path).check(Release.parse("bert-v1.0.0"), Release.parse("gpt-v1.0.0"))
    supply = supply_of(target, folder=tmp_path, pins=[source.fingerprint])
    fetched = fetch_release(FetchOrder(read_want("bert@stable"), tmp_path / "models"), supply, lambda _: None)
    assert (tmp_path / "models" / "bert-v1.0.0" / "model.safetensors").read_bytes() == (
        source.folder / "bert1" / "model.safetensors"
    ).read_bytes()
    assert fetched.bytes_fetched > 0


def test_second_run_copies_nothing_and_leaves_no_lease(source, target):
    mirrored(source, target)
    before = contents(target, control=True)
    again = mirrored(source, target)
    assert (again.objects_copied, again.bytes_copied, again.metadata_written, again.moved) == (0, 0, 0, False)
    assert contents(target, control=True) == before
    assert not list(target.list(LEASES))


def test_copy_follows_its_source(source, second, target, tmp_path):
    mirrored(source, target)
    client = client_of(source, target, tmp_path)
    client.check(Release.parse("bert-v1.0.0"))
    done = mirrored(second, target)
    assert done.moved
    assert 0 < done.bytes_copied < done.bytes
    client.check(Release.parse("bert-v1.0.0"), Release.parse("bert-v2.0.0"))
    assert contents(target).items() >= current(second.store).items()


def test_only_what_was_chosen_is_copied_with_all_metadata(second, target, tmp_path):
    done = mirrored(second, target, "bert-v1.0.0")
    assert done.releases == ["bert-v1.0.0"]
    whole, copied = current(second.store), contents(target)
    assert copied.items() <= whole.items()
    assert {key for key in copied if key.startswith("metadata/")} >= {TIMESTAMP, "metadata/1.root.json"}
    assert len([key for key in copied if key.startswith(PARTS)]) < len([key for key in whole if key.startswith(PARTS)])
    client_of(second, target, tmp_path).check(Release.parse("bert-v1.0.0"))
    rest = mirrored(second, target)
    assert rest.releases == ["bert-v1.0.0", "bert-v2.0.0", "gpt-v1.0.0"]
    assert rest.objects_copied < rest.objects


@pytest.fixture(scope="module")
def needy(tmp_path_factory):
    """needy needs middle, middle needs gpt; nobody needs bert. An older needy wants what nobody has."""
    folder = tmp_path_factory.mktemp("needy")
    site, machine = begin_tree(folder)
    for seed, (release, needs) in enumerate(
        [("needy-v0.9.0", "gpt: ^9"), ("middle-v1.0.0", "gpt: ^1.0"), ("needy-v1.0.0", "middle: ^1.0")], 4
    ):
        source = lay_out(folder / release, seed=seed, tensor_bytes=4096)
        (source / "model.yaml").write_text(f"dependencies:\n  {needs}\n")
        machine.publish(release, source)
    return site


@pytest.mark.parametrize("name", ["needy", "needy-v1.0.0"])
def test_what_chosen_models_need_is_copied_too(needy, tmp_path, name):
    target = MemoryStore()
    done = mirrored(needy, target, name)
    assert set(done.releases) - {"needy-v0.9.0"} == {"gpt-v1.0.0", "middle-v1.0.0", "needy-v1.0.0"}
    # An old release that no longer goes together with anything stops nobody, and is named.
    assert ["gpt ^9" in warning for warning in done.warnings] == ([True] if name == "needy" else [])
    supply = supply_of(target, folder=tmp_path, pins=[needy.fingerprint])
    fetched = fetch_release(FetchOrder(read_want("needy-v1.0.0"), tmp_path / "models"), supply, lambda _: None)
    assert {one.release for one in fetched.dependencies} == {"gpt-v1.0.0", "middle-v1.0.0"}


def test_what_is_needed_and_was_left_out_is_named(needy):
    done = mirrored(needy, MemoryStore(), "needy-v1.0.0", dependencies=False)
    assert done.releases == ["needy-v1.0.0"]
    assert any("middle" in warning and "not chosen" in warning for warning in done.warnings)


def test_every_root_is_copied_whichever_is_pinned(tmp_path):
    site, machine = begin_tree(tmp_path)
    publisher = replace(machine.place().publisher(lambda _: None), pause=lambda _: None)
    rotate_key(publisher, "root", [CryptoSigner.generate_ed25519()])
    newest = sha256_of(b"".join(site.store.get("metadata/2.root.json")))
    target = MemoryStore()
    supply = supply_of(site.store, folder=tmp_path, pins=[newest])
    mirror_tree(MirrorOrder(), supply, target, lambda _: None, by="me@test")
    assert {"metadata/1.root.json", "metadata/2.root.json"} <= contents(target).keys()
    client_of(site, target, tmp_path).check(Release.parse("bert-v1.0.0"))


def test_dry_run_writes_nothing_and_tells_what_would_be_copied(source):
    inner = MemoryStore()
    done = mirrored(source, DryRunStore(inner), dry=True)
    assert (done.objects_copied, done.moved) == (done.objects, False)
    assert not list(inner.list(""))


# ---- never backwards, never another


def test_copy_that_is_newer_than_its_source_is_left_alone(source, second, target):
    mirrored(second, target)
    before = contents(target, control=True)
    with pytest.raises(RollbackRefused, match="announces snapshot"):
        mirrored(source, target)
    assert contents(target, control=True) == before


def test_timestamp_that_became_newer_meanwhile_is_left_alone(source, second, tmp_path):
    target = MemoryStore()
    mirrored(second, target)
    before = contents(target)
    supply = supply_of(source.store, folder=tmp_path, pins=[source.fingerprint])
    tree = supply.read(lambda view: gather_tree(view, (), with_live=False), lambda _: None)
    assert announce_copy(target, tree) == (second.announced(), False)
    assert contents(target) == before


def test_another_tree_in_its_place_is_refused(source, target, tmp_path):
    other, _ = begin_tree(tmp_path / "other")
    mirrored(other, target, "gpt")
    before = contents(target, control=True)
    with pytest.raises(OtherContent, match="another tree") as caught:
        mirrored(source, target)
    assert caught.value.exit_code == 8
    assert contents(target, control=True) == before


def test_torn_timestamp_of_a_copy_is_replaced(source):
    target = MemoryStore()
    mirrored(source, target)
    target.put(TIMESTAMP, b"{", sha256=sha256_of(b"{"))
    assert mirrored(source, target).moved
    assert contents(target) == current(source.store)


def test_source_that_nobody_pinned_is_refused_before_anything_is_written(source, tmp_path):
    target = MemoryStore()
    with pytest.raises(NotPinned):
        mirror_tree(MirrorOrder(), supply_of(source.store, folder=tmp_path, pins=[]), target, lambda _: None, by="me@test")
    assert not list(target.list(""))


def test_unknown_release_is_refused_before_anything_is_written(source):
    target = MemoryStore()
    with pytest.raises(UnknownName, match=r"bert-v1\.0\.1"):
        mirrored(source, target, "bert-v1.0.1")
    assert not list(target.list(""))


# ---- wrong bytes


def test_poisoned_object_of_the_copy_is_refused_and_replaced_under_repair(source, target):
    mirrored(source, target)
    key = next(info.key for info in target.list(PARTS))
    good = b"".join(target.get(key))
    target.put(key, good + b"x", sha256=sha256_of(good + b"x"))
    with pytest.raises(PoisonedObject, match="expected"):
        mirrored(source, target)
    done = mirrored(source, target, repair=True)
    assert done.objects_copied == 1
    assert b"".join(target.get(key)) == good


def test_object_that_is_poisoned_between_the_look_and_the_lease_is_not_replaced_without_repair(source):
    target = MemoryStore()
    mirrored(source, target)
    key = next(info.key for info in target.list(PARTS))

    class Raced(MemoryStore):
        def put(self, name, data, **more):
            if name.startswith(LEASES) and not self.poisoned:
                self.poisoned = b"other bytes"
                super().put(key, self.poisoned, sha256=sha256_of(self.poisoned))
            return super().put(name, data, **more)

    raced = Raced("raced")
    raced.poisoned = b""
    for info in target.list(""):
        data = b"".join(target.get(info.key))
        MemoryStore.put(raced, info.key, data, sha256=sha256_of(data))
    with pytest.raises(PoisonedObject, match="expected"):
        mirrored(source, raced)
    assert b"".join(raced.get(key)) == raced.poisoned
    assert list(raced.list(LEASES)) == []


def spoiled(site, folder, spoil):
    """The same tree with one part altered."""
    shutil.copytree(site.folder / "store", folder / "spoiled")
    part = max((folder / "spoiled" / "parts").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else -1)
    data = bytearray(part.read_bytes())
    part.chmod(0o644)
    part.write_bytes(spoil(data))
    return DirectoryStore(folder / "spoiled")


def flip(data):
    data[len(data) // 2] ^= 1
    return bytes(data)


def test_altered_part_never_reaches_the_copy(source, tmp_path):
    target = MemoryStore()
    store = spoiled(source, tmp_path, flip)
    with pytest.raises(DigestMismatch):
        mirrored(source, target, stores=(store,))
    assert TIMESTAMP not in contents(target)
    assert contents(target).items() <= current(source.store).items()


@pytest.mark.parametrize("spoil", [flip, lambda data: bytes(data[:-1])], ids=["altered", "short"])
def test_altered_part_is_taken_from_the_other_source(source, tmp_path, spoil):
    target = MemoryStore()
    store = spoiled(source, tmp_path, spoil)
    mirrored(source, target, stores=(store, source.store))
    assert contents(target) == current(source.store)


# ---- killed at every call


def test_copy_killed_at_any_call_serves_the_old_tree_or_the_new_one_and_goes_on(source, second, tmp_path):
    old = MemoryStore()
    mirrored(source, old)
    probe = Mortal(_clone(old))
    mirrored(second, probe)
    total = len(probe.calls)
    assert total > 10
    seen = set()
    for nth in range(1, total + 1):
        target = _clone(old)
        reader = client_of(source, target, tmp_path)
        reader.check(Release.parse("bert-v1.0.0"))
        # What changes nothing is the same before and after.
        when = "after" if nth % 2 and probe.calls[nth - 1] in {"put", "delete"} else "before"
        with pytest.raises(Killed):
            mirrored(second, Mortal(target, nth, when))
        reader.check(Release.parse("bert-v1.0.0"))
        seen.add(reader.refresh()._trusted_set.timestamp.version)
        _bury(target)
        assert mirrored(second, target).announced == second.announced()
        reader.check(Release.parse("bert-v2.0.0"))
    assert seen == {source.announced(), second.announced()}


def _clone(store):
    clone = MemoryStore()
    for key, data in contents(store, control=True).items():
        clone.put(key, data, sha256=sha256_of(data))
    return clone


def _bury(store):
    for info in list(store.list(LEASES)):
        store.delete(info.key)
