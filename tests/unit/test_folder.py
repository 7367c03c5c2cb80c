"""Which files of a folder belong to the release, and what is refused by name."""

import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.errors import SourceChanged, SourceError
from pipeline.sources import folder as folder_module
from pipeline.sources.folder import scan_folder
from tests.open_files import open_below

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"


def lay(place, **files):
    for name, data in files.items():
        path = place / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return place


def paths(folder):
    return [file.path for file in folder.files]


def refusal(place, **options):
    with pytest.raises(SourceError) as error:
        scan_folder(place, **options)
    assert error.value.exit_code == 2
    assert error.value.hint
    str(error.value).encode()
    return str(error.value)


def test_every_regular_file_belongs_sorted_by_path(tmp_path):
    lay(tmp_path, b=b"1", a__z=b"22", Z=b"", a__b__c=b"4444")
    (tmp_path / ".hidden").write_bytes(b"h")
    (tmp_path / "run.sh").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "nothing").mkdir()
    found = scan_folder(tmp_path)
    assert paths(found) == [".hidden", "Z", "a/b/c", "a/z", "b", "run.sh"]
    assert [file.size for file in found.files] == [1, 0, 4, 2, 1, 10]
    assert [file.path for file in found.files if file.executable] == ["run.sh"]
    assert found.size == 18
    assert found.left_out == ()


def test_git_and_hub_caches_are_left_out_at_the_top_only(tmp_path):
    lay(tmp_path, model=b"m", sub__x=b"x")
    for name in (
        ".git/HEAD",
        ".cache/huggingface/a",
        ".cache/other",
        "sub/.git/HEAD",
        "sub/.cache/huggingface/a",
        ".github/ci.yml",
        ".gitignore",
    ):
        lay(tmp_path, **{name.replace("/", "__"): b"?"})
    found = scan_folder(tmp_path)
    assert found.left_out == (".cache/huggingface/", ".git/")
    assert paths(found) == sorted(
        ["model", "sub/x", ".cache/other", "sub/.git/HEAD", "sub/.cache/huggingface/a", ".github/ci.yml", ".gitignore"]
    )


def test_folder_of_nothing_but_what_is_left_out_is_refused(tmp_path):
    lay(tmp_path, **{".git__HEAD": b"ref"})
    assert "holds no files" in refusal(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "holds no files" in refusal(tmp_path / "empty")


def test_one_file_is_a_source(tmp_path):
    lay(tmp_path, **{"model.gguf": b"data"})
    found = scan_folder(tmp_path / "model.gguf")
    assert paths(found) == ["model.gguf"]
    (tmp_path / "link.bin").symlink_to("model.gguf")
    assert paths(scan_folder(tmp_path / "link.bin")) == ["link.bin"]
    assert "cannot be a release path" in refusal(lay(tmp_path, **{"aux.txt": b"1"}) / "aux.txt")


def test_place_that_is_not_there_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "none")
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be read" in refusal(tmp_path / "loop")
    assert "cannot be read" in refusal(lay(tmp_path, f=b"") / "f" / "g")


def test_links_to_files_inside_are_followed(tmp_path):
    lay(tmp_path, real__data=b"12345")
    (tmp_path / "near").symlink_to("real/data")
    (tmp_path / "absolute").symlink_to(tmp_path / "real" / "data")
    (tmp_path / "twice").symlink_to("near")
    found = scan_folder(tmp_path)
    assert paths(found) == ["absolute", "near", "real/data", "twice"]
    assert {file.place for file in found.files} == {tmp_path / "real" / "data"}
    assert {file.size for file in found.files} == {5}


def test_release_folder_may_itself_be_a_link(tmp_path):
    lay(tmp_path / "there", data=b"1")
    (tmp_path / "here").symlink_to("there")
    (tmp_path / "there" / "link").symlink_to("data")
    assert paths(scan_folder(tmp_path / "here")) == ["data", "link"]


@pytest.mark.parametrize(
    "target, why",
    [
        ("../outside", "leaves the folder"),
        ("/etc/passwd", "leaves the folder"),
        ("sub/../../outside", "leaves the folder"),
        ("../model-other/data", "leaves the folder"),
        ("missing", "leads nowhere"),
        ("link", "leads nowhere"),
        ("turn", "leads nowhere"),
        ("sub", "leads to a folder"),
        (".", "leads to a folder"),
        ("..", "leaves the folder"),
        ("/dev/zero", "leaves the folder"),
        ("data/x", "leads nowhere"),
    ],
)
def test_link_that_does_not_lead_to_a_file_inside_is_refused_by_name(tmp_path, target, why):
    lay(tmp_path, outside=b"secret", **{"model-other__data": b"other"})
    model = lay(tmp_path / "model", data=b"1", sub__x=b"2")
    (model / "link").symlink_to(target)
    if target == "turn":
        (model / "turn").symlink_to("link")
    assert re.match(f"the link (link|turn) {why}", refusal(model))


@pytest.mark.timeout(10)
def test_link_into_a_fifo_is_refused_without_opening_it(tmp_path):
    lay(tmp_path, **{".cache__huggingface__x": b"1"})
    os.mkfifo(tmp_path / ".cache" / "huggingface" / "pipe")
    (tmp_path / "link").symlink_to(".cache/huggingface/pipe")
    assert "the link link leads to a FIFO" in refusal(tmp_path)


@pytest.fixture
def hub(tmp_path):
    """A Hugging Face cache repository: snapshots/<revision>/… lead into blobs/."""
    repository = tmp_path / "hub" / "models--org--bert"
    lay(repository, blobs__aaa=b"weights", blobs__bbb=b"config")
    snapshot = repository / "snapshots" / "0123abcd"
    (snapshot / "onnx").mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/aaa")
    (snapshot / "onnx" / "config.json").symlink_to("../../../blobs/bbb")
    return snapshot


def test_hub_snapshot_publishes_as_it_is(hub):
    found = scan_folder(hub)
    assert [(file.path, file.size) for file in found.files] == [("model.safetensors", 7), ("onnx/config.json", 6)]
    assert all(file.place.parent.name == "blobs" for file in found.files)


def test_blobs_of_another_repository_are_refused(hub):
    other = lay(hub.parents[2] / "models--org--other", blobs__ccc=b"not ours")
    (hub / "stolen").symlink_to(other / "blobs" / "ccc")
    assert "stolen leaves the folder" in refusal(hub)


def test_files_below_or_beside_blobs_are_refused(hub):
    lay(hub.parents[1], blobs__deep__x=b"1", refs__main=b"0123abcd")
    (hub / "deep").symlink_to("../../blobs/deep/x")
    assert "deep leaves the folder" in refusal(hub)
    (hub / "deep").unlink()
    (hub / "ref").symlink_to("../../refs/main")
    assert "ref leaves the folder" in refusal(hub)


def test_blobs_that_are_a_link_elsewhere_are_refused(hub):
    blobs = hub.parents[1] / "blobs"
    blobs.rename(hub.parents[2] / "elsewhere")
    blobs.symlink_to("../elsewhere")
    assert "leaves the folder" in refusal(hub)


def test_blobs_serve_only_below_snapshots(hub):
    (hub.parents[1] / "copies").mkdir()
    moved = hub.rename(hub.parents[1] / "copies" / "0123abcd")
    assert "leaves the folder" in refusal(moved)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["FIFO", "socket", "device"])
def test_what_is_no_file_is_refused_without_opening_it(tmp_path, kind, monkeypatch):
    lay(tmp_path, data=b"1")
    monkeypatch.chdir(tmp_path)
    if kind == "FIFO":
        os.mkfifo("thing")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("thing")
    else:
        os.mknod("thing", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    assert f"thing is a {kind}" in refusal(tmp_path)
    assert f"thing is a {kind}" in refusal(tmp_path / "thing")


# Root reads everything, so the child gives its rights up after its imports are done.
AS_NOBODY = """
import os, pathlib, sys
from pipeline.errors import SourceError
from pipeline.events import ignore
from pipeline.sources.folder import scan_folder
from pipeline.steps.identify import hash_files

folders = [pathlib.Path(name) for name in sys.argv[1:]]
hash_files(scan_folder(folders[0]), {}, ignore)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for folder in folders:
    try:
        hash_files(scan_folder(folder), {}, ignore)
        print("fine")
    except SourceError as error:
        print(error, "|", error.exit_code)
"""


def test_unreadable_file_or_folder_is_refused_by_name():
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        top.chmod(0o755)
        for closed in ("nothing", "small", "large", "empty", "sub"):
            lay(top / closed, small=b"1", large=bytes(5000), empty=b"", sub__x=b"1")
        for closed in ("small", "large", "empty", "sub"):
            (top / closed / closed).chmod(0)
        arguments = [str(top / closed) for closed in ("nothing", "small", "large", "empty", "sub")]
        root = Path(__file__).parents[2]
        child = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=60
        )
    assert child.stdout.splitlines() == [
        "fine",
        "small cannot be read: Permission denied | 2",
        "large cannot be read: Permission denied | 2",
        "empty cannot be read: Permission denied | 2",
        "sub cannot be listed: Permission denied | 2",
    ]


@pytest.mark.parametrize(
    "data",
    [
        POINTER,
        POINTER.replace(b"oid", b"ext-0-x sha256:" + b"b" * 64 + b"\noid"),
        POINTER.replace(b"git-lfs.github", b"hawser.github"),
    ],
)
def test_lfs_pointer_is_refused_by_name(tmp_path, data):
    lay(tmp_path, **{"config.json": b"{}", "sub__model.bin": data})
    message = refusal(tmp_path)
    assert "sub/model.bin is a git-lfs pointer" in message


def test_what_only_speaks_of_lfs_is_a_file(tmp_path):
    lay(tmp_path, readme=b"see version https://git-lfs.github.com/spec/v1\n", large=POINTER + bytes(2000), short=POINTER[:60])
    assert len(scan_folder(tmp_path).files) == 3


@pytest.mark.parametrize(
    "name, why",
    [
        ("aux", "Windows reserves"),
        ("COM1.txt", "Windows reserves"),
        ("a.", "dot or a space"),
        ("a ", "dot or a space"),
        ("x:y", "holds ':'"),
        ("a\\b", "holds '\\\\'"),
        ("what?", "Windows forbids"),
        ("a\u202eb", "U+202E"),
        ("a\nb", "U+000A"),
        ("-rf", "starts with '-'"),
        ("~", "starts with '~'"),
        ("e\u0301", "normal form C"),
        ("%2e%2e", "percent-encoded"),
        ("a\u2215b", "U+2215"),
    ],
)
@pytest.mark.parametrize("folder", ["", "sub"])
def test_illegal_name_is_refused(tmp_path, name, why, folder):
    if folder and name[0] in "-~":
        return
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / name).write_bytes(b"")
    message = refusal(tmp_path)
    assert why in message
    assert name in message


def test_name_that_is_not_utf8_is_refused_in_words_that_can_be_printed(tmp_path):
    (tmp_path / os.fsdecode(b"a\xff\xfe")).write_bytes(b"1")
    assert "a\\udcff\\udcfe" in refusal(tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: Path(os.fsdecode(path)).symlink_to("nowhere")])
def test_refusals_of_other_kinds_can_be_printed_too(tmp_path, make):
    make(os.fsencode(tmp_path) + b"/b\xff")
    assert "b\\udcff" in refusal(tmp_path)


def test_long_names_and_paths_are_refused(tmp_path):
    deep = tmp_path / ("d" * 200) / ("e" * 200) / ("f" * 200) / ("g" * 95)
    deep.mkdir(parents=True)
    (deep / "x").write_bytes(b"1")
    assert len(scan_folder(tmp_path).files) == 1
    (deep / "xy").write_bytes(b"1")
    assert "701 bytes, at most 700" in refusal(tmp_path, kind="web")
    (deep / ("h" * 255)).mkdir()
    (deep / ("h" * 255) / ("i" * 100)).write_bytes(b"")
    assert "at most 1024" in refusal(tmp_path)


@pytest.mark.parametrize("names", [("Model.bin", "model.BIN"), ("é", "É"), ("k", "\u212a".lower() + "K"), ("straße", "strasse")])
def test_names_that_clash_somewhere_are_refused(tmp_path, names):
    if names[0] == "k":
        names = ("k", "K")
    for name in names:
        (tmp_path / name).write_bytes(b"1")
    message = refusal(tmp_path)
    assert all(name in message for name in names)


def test_file_that_is_anothers_folder_where_case_does_not_count_is_refused(tmp_path):
    lay(tmp_path, a__x=b"1", A=b"2")
    assert "folder of the other" in refusal(tmp_path)


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "MANIFEST_FILES", 3)
    lay(tmp_path, a=b"", b=b"", c=b"")
    assert len(scan_folder(tmp_path).files) == 3
    lay(tmp_path, d=b"")
    assert "more than 3 files" in refusal(tmp_path)


def test_model_yaml_is_read_and_belongs(tmp_path):
    lay(
        tmp_path,
        **{"model.yaml": b"display_name: BERT\ndependencies: {tokenizer: ^2.1.0}\n", "sub__model.yaml": b"anything: goes"},
    )
    found = scan_folder(tmp_path)
    assert found.about.display_name == "BERT"
    assert found.about.as_dependencies()[0].version == "^2.1.0"
    assert paths(found) == ["model.yaml", "sub/model.yaml"]


def test_file_that_vanishes_while_it_is_listed_is_a_change(tmp_path, monkeypatch):
    lay(tmp_path, a=b"1", b=b"2")
    listing = os.scandir

    class Vanishing:
        def __init__(self, place):
            self.inner = listing(place)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.inner.close()

        def __iter__(self):
            entries = list(self.inner)
            (tmp_path / "b").unlink()
            return iter(entries)

    monkeypatch.setattr(folder_module.os, "scandir", Vanishing)
    with pytest.raises(SourceChanged, match=r"^b changed"):
        scan_folder(tmp_path)


def test_scan_leaves_no_descriptor_open(tmp_path):
    lay(tmp_path, **{f"d{number}__f": b"x" for number in range(20)})
    before = open_below(tmp_path)
    scan_folder(tmp_path)
    lay(tmp_path, pointer=POINTER)
    refusal(tmp_path)
    assert open_below(tmp_path) == before
