"""Reading a volume back: the same digest and the same faults, wherever the hash of what was written stopped."""

import hashlib

import pytest

from bundles.hashing import Chain
from bundles.readback import read_back
from bundles.ustar import BLOCK, TRAILER
from tests.bundle_world import begin_tree, builder_of, flip, volume, volumes_in


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    builder_of(begin_tree(folder / "tree", tensor_bytes=100 << 10)).build(
        folder / "out", "bert-v1.0.0", "bert@stable", "plain-v1.0.0"
    )
    (path,) = volumes_in(folder / "out")
    return path


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """So that members of a few kilobytes take several of them, as large ones do."""
    monkeypatch.setattr("bundles.readback.BLOCK_BYTES", 16 << 10)


def stops(path):
    """Where a hash may have stopped: nowhere, in the index, around every member, in it, and behind the last one."""
    found = volume(path)
    members = found.layout.members
    around = {at + more for _, at in members for more in (-BLOCK - 1, -BLOCK, 0, 1)}
    return sorted({0, BLOCK, *around, *(at + member.size // 2 for member, at in members), path.stat().st_size - TRAILER})


def came_back(path, chain):
    found, sizes = volume(path), []
    answer = read_back(path, found.bundle, found.layout.number, sizes.append, chain=chain)
    return *answer, sum(sizes)


def test_the_digest_is_that_of_the_file_wherever_the_hash_stopped(built):
    data = built.read_bytes()
    found = volume(built)
    members = found.layout.members
    assert len(members) > 8
    for size in stops(built):
        chain = Chain(hashlib.sha256(data[:size]), size)
        whole = hashlib.sha256(data).hexdigest()
        assert came_back(built, chain) == (whole, "", sum(member.size for member, _ in members)), size
        assert chain.digest.hexdigest() == hashlib.sha256(data[:size]).hexdigest(), "the caller's own was changed"


def test_the_hash_that_was_begun_is_gone_on_with(built):
    size = stops(built)[-3]
    digest, fault, _ = came_back(built, Chain(hashlib.sha256(bytes(size)), size))
    assert fault == ""
    assert digest == hashlib.sha256(bytes(size) + built.read_bytes()[size:]).hexdigest()


def test_a_byte_that_came_back_wrong_is_told_on_both_sides_of_where_the_hash_stopped(built):
    data = built.read_bytes()
    found = volume(built)
    members = found.layout.members
    for size in (0, members[len(members) // 2].at, members[-1].at):
        chain = Chain(hashlib.sha256(data[:size]), size)
        for member, at in (members[0], members[len(members) // 2], members[-1]):
            flip(built, at + member.size - 1)
            _, fault, _ = came_back(built, chain)
            flip(built, at + member.size - 1)
            assert fault.startswith(f"{member.key}: its bytes have"), size
