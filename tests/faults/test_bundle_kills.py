"""A build is killed at each of its steps and run again: no half volume under a final name, and the same bytes in the end."""

import io
import os
import shutil
import signal
import tarfile

import pytest

from bundles.building import STEPS
from bundles.medium import PARTIAL, Volume, open_volume
from bundles.recipes import RecipeShelf
from bundles.verifying import damages, verify_bundle
from pipeline.sources.objects import FolderReader
from tests.bundle_world import Builder, begin_tree, builder_of, contents_of, least_size, volumes_in

WANTS = ("bert-v1.0.0", "bert@stable")


class World:
    """A tree, a calm build of three volumes, and the steps that it took."""

    def __init__(self, folder):
        self.folder = folder
        self.tree = begin_tree(folder / "tree", tensor_bytes=300 << 10)
        builder = builder_of(self.tree)
        self.size = least_size(builder, *WANTS)
        self.steps = []
        builder.build(folder / "calm", *WANTS, size=self.size, parity=10, step=self.steps.append)
        self.calm = contents_of(folder / "calm")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


def points(steps):
    """(step, nth): every occurrence, of members the first, the middle and the last of each volume."""
    found = []
    for name in STEPS:
        count = steps.count(name)
        chosen = range(1, count + 1) if name != "member" else sorted({1, 2, count // 3, count // 2, count - 1, count})
        found += [(name, nth) for nth in chosen]
    return found


def build_and_die(builder, to, size, name, nth):
    """Build in a process of its own that is killed just before the ``nth`` time of a step."""
    left = [nth]

    def step(found):
        if found == name:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            builder.build(to, *WANTS, size=size, parity=10, step=step)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_every_step_is_taken(world):
    assert set(world.steps) == set(STEPS), "a step that no kill reaches"
    assert len(volumes_in(world.folder / "calm")) >= 3


def test_a_killed_build_is_finished_by_the_next_to_the_byte(world, tmp_path, monkeypatch):
    # So that these small volumes reach the disk in several blocks, as large ones do.
    monkeypatch.setattr("bundles.tape.BLOCK_BYTES", 4 << 10)
    for name, nth in points(world.steps):
        to = tmp_path / f"{name}{nth}"
        builder = Builder(tmp_path / f"home-{name}{nth}", world.tree)
        assert build_and_die(builder, to, world.size, name, nth) == -signal.SIGKILL, f"{name} {nth}"
        for path in volumes_in(to) if to.exists() else ():
            found = open_volume(path)
            assert isinstance(found, Volume), f"{path} after a kill at {name} {nth}"
            assert list(damages([found])) == []
        standing = members_standing(to, world.calm)
        done = builder.build(to, *WANTS, size=world.size, parity=10)
        assert contents_of(to) == world.calm, f"after a kill at {name} {nth}"
        assert sum(one.kept for one in done.volumes) == standing, f"after a kill at {name} {nth}"
        if name == "member" and nth >= world.steps.count("member") - 1:
            assert standing > 0, "not even the first volume reached the disk"
        shutil.rmtree(to)


def members_standing(to, calm):
    """Bytes of the members that a killed build left whole, one after the other from the beginning of a volume."""
    total = 0
    for name in (name for name in calm if name.endswith(".tar")):
        path = next((path for path in (to / name, to / (name + PARTIAL)) if path.exists()), None)
        found = path.read_bytes() if path else b""
        with tarfile.open(fileobj=io.BytesIO(calm[name])) as tar:
            _, *members = tar
        for member in members:
            end = member.offset_data + member.size
            if found[:end] != calm[name][:end]:
                break
            total += member.size
    return total


@pytest.mark.parametrize("name", ["member", "rename", "read-back", "sums"])
def test_a_killed_build_is_finished_though_the_tree_moved_on(tmp_path, name):
    tree = begin_tree(tmp_path / "tree", tensor_bytes=100 << 10)
    builder = builder_of(tree)
    size = least_size(builder, *WANTS)
    builder.build(tmp_path / "calm", *WANTS, size=size, parity=10)
    shutil.rmtree(builder.home / "recipes")
    assert build_and_die(builder, tmp_path / "out", size, name, 4 if name == "member" else 1) == -signal.SIGKILL
    tree.lay_out("bert-v3.0.0", seed=3, tensor_bytes=8 << 10)
    builder.build(tmp_path / "out", *WANTS, size=size, parity=10)
    assert contents_of(tmp_path / "out") == contents_of(tmp_path / "calm")


def test_parts_come_again_only_from_where_it_was_stopped(world, tmp_path):
    class Counting(FolderReader):
        came = 0

        def read_range(self, key, start, size, take, *, total=None):
            Counting.came += size
            super().read_range(key, start, size, take, total=total)

    builder = Builder(tmp_path / "home", world.tree, readers=[Counting(world.tree.store)])
    members = world.steps.count("member")
    assert build_and_die(builder, tmp_path / "out", world.size, "member", members) == -signal.SIGKILL
    builder.build(tmp_path / "out", *WANTS, size=world.size, parity=10)
    whole = sum(len(data) for name, data in world.calm.items() if name.endswith(".tar"))
    assert Counting.came < whole / 2


def test_another_build_in_the_same_folder_is_refused(world, tmp_path):
    """While one build stands at a step, a second one comes."""
    refused = []

    def step(name):
        if name == "settle" and not refused:
            other = Builder(tmp_path / "other", world.tree)
            with pytest.raises(Exception, match="another build writes") as found:
                other.build(tmp_path / "out", *WANTS, size=world.size)
            refused.append(found.value.exit_code)

    Builder(tmp_path / "home", world.tree).build(tmp_path / "out", *WANTS, size=world.size, step=step)
    assert refused == [8]


def test_a_pin_that_fails_leaves_no_volume(world, tmp_path):
    def pin(recipe):
        raise PermissionError(recipe.bundle.id)

    builder = Builder(tmp_path / "home", world.tree)
    with pytest.raises(PermissionError):
        builder.build(tmp_path / "out", *WANTS, size=world.size, pin=pin)
    assert list((tmp_path / "out").iterdir()) == []
    assert isinstance(builder.shelf, RecipeShelf)


def test_verify_changes_nothing(world, tmp_path):
    copy = shutil.copytree(world.folder / "calm", tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in copy.iterdir()}
    done = verify_bundle([copy], lambda _: None)
    assert {path: path.stat().st_mtime_ns for path in copy.iterdir()} == before
    assert done.missing == []
