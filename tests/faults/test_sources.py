"""Sources that change under a publish, or cannot be read: refused by name, and nothing becomes visible."""

import contextlib
import os
import random
import shutil
import socket
import threading
from pathlib import Path

import pytest

from pipeline.errors import SourceChanged
from pipeline.publish import STEPS
from pipeline.release import Release
from pipeline.verify import verify_release
from tests.desk import Desk
from tests.publish_world import Site, directory_shelf, lay_out

NOBODY = 65534
FILE = "model.safetensors"


def tick(path: Path) -> None:
    """Wait until a file that is written now has a later time than ``path``: a file system's clock has grains."""
    scratch = path.with_name(f"{path.name}.tick")
    while True:
        scratch.write_bytes(b"")
        if scratch.stat().st_ctime_ns > path.stat().st_ctime_ns:
            break
    scratch.unlink()


def grow(path):
    with path.open("ab") as file:
        file.write(b"more")


def truncate(path):
    os.truncate(path, path.stat().st_size - 8)


def rewrite(path):
    """Other bytes, the same size, and the time put back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-64, os.SEEK_END)
        file.write(os.urandom(64))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def rename_over(path):
    other = path.with_name("other.tmp")
    data = path.read_bytes()
    other.write_bytes(data)
    shutil.copystat(path, other)
    other.replace(path)


def remove(path):
    path.unlink()


def swap_for_fifo(path):
    path.unlink()
    os.mkfifo(path)


def lead_elsewhere(path):
    path.rename(path.parent.with_name("moved-away"))
    path.symlink_to(path.parent.with_name("moved-away"))


CHANGES = [grow, truncate, rewrite, rename_over, remove, swap_for_fifo, lead_elsewhere]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("step", ["publish.ready", "publish.lease", "publish.cut"])
def test_file_that_changes_after_it_was_listed_ends_the_publish(make_site, step, change):
    site = make_site("directory")
    machine = site.machine()
    source = lay_out(site.folder / "model")
    tick(source / FILE)
    place = machine.place(step=lambda name: change(source / FILE) if name == step else None)
    with pytest.raises(SourceChanged, match=FILE) as raised:
        machine.publish("bert-v1.0.0", source, place=place, profile="raw", channel="stable")
    assert raised.value.exit_code == 3
    assert "\n" not in str(raised.value)
    assert site.releases() == []
    assert not list(site.store.list("targets/"))


@pytest.mark.parametrize("change", CHANGES)
def test_file_that_changes_while_it_is_uploaded_is_refused_or_was_published_as_it_was_hashed(make_site, change):
    site = make_site("directory")
    machine = site.machine()
    source = lay_out(site.folder / "model", tensor_bytes=5 << 20)
    wanted = machine.publish("same-v1.0.0", source, part_size=4 << 20)
    tick(source / FILE)
    changed = threading.Event()

    def once(name):
        if name == "publish.part" and not changed.is_set():
            changed.set()
            change(source / FILE)

    try:
        done = machine.publish("bert-v1.0.0", source, place=machine.place(step=once), part_size=4 << 20)
    except SourceChanged as error:
        refused = str(error)
        done = None
    if done is None:
        assert FILE in refused
        assert site.releases() == ["same-v1.0.0"]
    else:
        # All of it had been read: what was hashed is what stands there.
        assert (done.bytes, done.bytes_stored) == (wanted.bytes, wanted.bytes_stored)
        release = Release.parse("bert-v1.0.0")
        assert verify_release(release, machine.place(), machine.events.append, sample_percent=100).read == done.parts.total
    assert changed.is_set()
    site.reader().refresh()


def test_folder_that_somebody_keeps_writing_to_is_never_published_torn(make_site, tmp_path):
    site = make_site("directory")
    machine = site.machine()
    machine.publish("calm-v1.0.0", lay_out(tmp_path / "calm"), profile="raw")
    chance, done, outcomes = random.Random(4), threading.Event(), []

    def keep_writing(path):
        while not done.is_set():
            chance.choice([grow, truncate, rewrite, rename_over])(path)

    for turn in range(12):
        source = lay_out(site.folder / f"model{turn}", seed=turn, tensor_bytes=256 << 10)
        done.clear()
        writer = threading.Thread(target=keep_writing, args=(source / FILE,))
        writer.start()
        try:
            machine.publish(f"bert-v1.{turn}.0", source, profile="raw")
            outcomes.append("published")
        except SourceChanged:
            outcomes.append("refused")
        finally:
            done.set()
            writer.join()
    assert "refused" in outcomes
    assert len(site.releases()) == 1 + outcomes.count("published")
    site.reader().refresh()


def test_file_that_changes_after_its_release_is_other_content(make_site):
    site = make_site("directory")
    machine = site.machine()
    source = lay_out(site.folder / "model")
    machine.publish("bert-v1.0.0", source, profile="raw")
    tick(source / FILE)
    rewrite(source / FILE)
    desk = Desk(site.folder / "desk", site.folder / "home")
    first = desk.run("publish", "--model", "gpt-v1.0.0", "--source", str(source)).result
    assert not first["already_published"]
    tick(source / FILE)
    rewrite(source / FILE)
    assert FILE in desk.run("publish", "--model", "gpt-v1.0.0", "--source", str(source)).refused(8)


# --- what cannot be published, on the real command line ----------------------------------------------


def make_fifo(folder):
    os.mkfifo(folder / "pipe")
    return "pipe"


def make_socket(folder):
    # Its whole address would be too long for one.
    with contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as made:
        made.bind("sock")
    return "sock"


def make_link_out(folder):
    (folder.parent / "secret.txt").write_text("outside")
    (folder / "link.txt").symlink_to("../secret.txt")
    return "link.txt"


def make_loop(folder):
    (folder / "loop").symlink_to("loop")
    return "loop"


def make_dangling(folder):
    (folder / "gone.bin").symlink_to("nothing.bin")
    return "gone.bin"


def make_illegal_name(folder):
    (folder / "aux.txt").write_text("x")
    return "aux.txt"


def make_clash(folder):
    (folder / "Config.json").write_text("{}")
    return "onfig.json"


def make_pointer(folder):
    (folder / "weights.bin").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n")
    return "weights.bin"


def make_not_utf8(folder):
    (folder / os.fsdecode(b"bad-\xff.bin")).write_bytes(b"x")
    return "bad-"


def make_bad_yaml(folder):
    (folder / "model.yaml").write_text("display_nam: x\n")
    return "display_name"


SPOILS = [value for name, value in sorted(globals().items()) if name.startswith("make_")]


@pytest.mark.parametrize("spoil", SPOILS)
def test_folder_with_what_cannot_be_published_is_refused_by_name(tmp_path, spoil):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    source = lay_out(desk.folder / "models" / "bert-v1.0.0")
    named = spoil(source)
    assert named in desk.run("publish", "--model", "bert-v1.0.0").refused(2)
    assert not (desk.folder / ".modelport" / "store" / "targets").exists()


def test_unreadable_file_is_refused_by_name(open_path, children):
    site = Site(open_path, directory_shelf(open_path / "store"))
    machine = site.machine()
    source = lay_out(site.folder / "model")
    (source / "config.json").chmod(0)
    if os.getuid() == 0:
        # Root reads everything: the child becomes somebody else.
        for path in [open_path, *open_path.rglob("*")]:
            os.lchown(path, NOBODY, NOBODY)
    user = {"uid": NOBODY} if os.getuid() == 0 else {}
    child = children.start("publish", machine, release="bert-v1.0.0", source=source, **user)
    assert child.wait() == 2, child.answer()
    assert "config.json" in child.answer()["error"]
    (source / "config.json").chmod(0o644)
    again = children.start("publish", machine, release="bert-v1.0.0", source=source, **user)
    assert again.wait() == 0, again.answer()
    assert site.releases() == ["bert-v1.0.0"]


def test_steps_at_which_files_are_changed_are_steps_of_a_publish():
    assert {"publish.ready", "publish.lease", "publish.cut", "publish.part"} <= set(STEPS)
