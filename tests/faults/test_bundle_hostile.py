"""Hostile tars of every kind, at verify and at a fetch out of volumes; secrets; memory; no network."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time

import pytest

from bundles.index import INDEX
from bundles.medium import is_medium, open_medium
from bundles.reader import BundleReader
from bundles.ustar import header_for
from bundles.verifying import verify_bundle
from pipeline.errors import ModelportError, UsageError, VerifyFailed
from tests.bundle_forge import forge
from tests.bundle_world import Builder, begin_tree, builder_of, contents_of, flip, member_at, volume, volumes_in
from tests.fetch_world import contents
from tests.no_network import WITHOUT_NETWORK


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"), tensor_bytes=64 << 10)


@pytest.fixture(scope="module")
def built(tree):
    builder_of(tree).build(tree.folder / "built", "bert@stable")
    return tree.folder / "built"


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "copy")


def verify(*folders, **flags):
    return verify_bundle(folders, lambda _: None, **flags)


def with_sum(header: bytearray) -> bytes:
    """A header whose checksum is right for what it says."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def changed(at, data):
    def make(header):
        header[at : at + len(data)] = data
        return with_sum(header)

    return make


def name_of(data):
    return changed(0, data.ljust(100, b"\0"))


# What a member's header may become: each is one that some tar would read, and act upon.
HEADERS = {
    "hard link": changed(156, b"1"),
    "link": changed(156, b"2"),
    "character device": changed(156, b"3"),
    "block device": changed(156, b"4"),
    "folder": changed(156, b"5"),
    "fifo": changed(156, b"6"),
    "contiguous": changed(156, b"7"),
    "old file": changed(156, b"\0"),
    "sparse": changed(156, b"S"),
    "long name": changed(156, b"L"),
    "long link": changed(156, b"K"),
    "PAX": changed(156, b"x"),
    "global PAX": changed(156, b"g"),
    "Solaris": changed(156, b"X"),
    "multi-volume": changed(156, b"M"),
    "setuid": changed(100, b"0004755\0"),
    "link name": changed(157, b"/etc/passwd"),
    "absolute": name_of(b"/etc/passwd"),
    "escape": name_of(b"../../etc/passwd"),
    "not UTF-8": name_of(b"parts/\xff\xfe"),
    "other part": name_of(b"parts/00/" + b"0" * 64),
    "prefix": changed(345, b"../.."),
    "larger size": changed(124, b"77777777777\0"),
    "smaller size": changed(124, b"00000000001\0"),
    "base-256 size": changed(124, b"\x80" + bytes(10) + b"\x01"),
    "negative size": changed(124, b"\xff" * 12),
    "time": changed(136, b"00000000001\0"),
    "owner": changed(265, b"root"),
    "magic of GNU": changed(257, b"ustar  \0"),
    "wrong sum": lambda header: bytes(header[:148]) + b"000000\0 " + bytes(header[156:]),
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_that_says_anything_else_is_named(copy, what):
    path = volumes_in(copy)[0]
    at, _ = member_at(path, "parts/")
    data = bytearray(path.read_bytes())
    data[at - 512 : at] = HEADERS[what](data[at - 512 : at])
    path.write_bytes(data)
    with pytest.raises(VerifyFailed, match=r"parts/.*: its header is not the one that the plan gives it"):
        verify(copy)


@pytest.mark.parametrize("what", HEADERS)
def test_a_fetch_does_not_even_look_at_headers(copy, tree, what):
    path = volumes_in(copy)[0]
    data = bytearray(path.read_bytes())
    for member, at in volume(path).layout.members:
        assert member.size
        data[at - 512 : at] = HEADERS[what](data[at - 512 : at])
    path.write_bytes(data)
    fetcher = tree.fetcher(BundleReader(copy))
    fetcher.fetch("bert-v2.0.0")
    assert contents(fetcher.models / "bert-v2.0.0") == contents(tree.sources["bert-v2.0.0"])


def tar_of(*members, form=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            tar.addfile(info)
    return out.getvalue()


FOREIGN = {
    "link first": tar_of(("index.json", tarfile.SYMTYPE, "/etc/passwd")),
    "device first": tar_of(("index.json", tarfile.CHRTYPE, "")),
    "PAX first": tar_of(("index.json" + "ü" * 60, tarfile.REGTYPE, ""), form=tarfile.PAX_FORMAT),
    "index second": tar_of(("other", tarfile.REGTYPE, ""), ("index.json", tarfile.REGTYPE, "")),
    "million empty members": header_for("x", 0) * 1_000_000 + bytes(1024),
    "zeros": bytes(1 << 20),
    "nothing": b"",
    "one block": header_for(INDEX, 5000),
    "8 GiB of index": header_for(INDEX, 8**11 - 1) + bytes(4096),
    "32 MiB of index": header_for(INDEX, 32 << 20) + bytes(4096),
    "deep": header_for(INDEX, 400_000) + b"[" * 400_000 + bytes(1024),
    "empty index": header_for(INDEX, 0) + bytes(1024),
    "not JSON": header_for(INDEX, 512) + b"\xff" * 512 + bytes(1024),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_tar_is_refused_or_passed_by_at_once(tmp_path, what):
    (tmp_path / "x.tar").write_bytes(FOREIGN[what])
    started = time.monotonic()
    with pytest.raises(ModelportError) as refused:
        verify(tmp_path)
    assert time.monotonic() - started < 5
    assert refused.value.exit_code in {2, 3}
    assert not (is_medium(tmp_path) and "first" in what)


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_tar_beside_a_bundle_does_not_harm_it(copy, what, tree):
    (copy / "0.tar").write_bytes(FOREIGN[what])
    medium = open_medium([copy])
    assert medium.missing == []
    fetcher = tree.fetcher(BundleReader(copy))
    assert fetcher.fetch("bert-v2.0.0").release == "bert-v2.0.0"


def test_an_index_is_read_in_little_memory(tmp_path):
    """Under a limit, in a process of its own: a bomb of brackets, and an index that claims more than there is."""
    for name, data in FOREIGN.items():
        (tmp_path / f"{name.replace(' ', '-')}.tar").write_bytes(data)
    program = (
        "import resource, sys; from pathlib import Path; from bundles.medium import open_medium\n"
        "from pipeline.errors import ModelportError\n"
        "import bundles.verifying\n"
        "limit = int(Path('/proc/self/statm').read_text().split()[0]) * 4096 + (150 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "try: open_medium([Path(sys.argv[1])])\n"
        "except ModelportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], env={"PYTHONPATH": "."}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_peak_memory_does_not_grow_with_the_bundle(tmp_path, quick_path):
    """Build and verify of 400 MB in a process of its own stay below 256 MiB."""
    tree = begin_tree(quick_path / "tree", tensor_bytes=8 << 10)
    tree.lay_out("big-v1.0.0", tensor_bytes=100 << 20, profile="raw")
    program = (
        "import sys; from pathlib import Path; from tests.fetch_world import Tree; from tests.publish_world import Site, directory_shelf\n"
        "from tests.bundle_world import Builder\n"
        "from bundles.verifying import verify_bundle\n"
        "home, store, to = map(Path, sys.argv[1:])\n"
        "tree = Tree(store.parent, Site(store.parent, directory_shelf(store)))\n"
        "Builder(home, tree).build(to, 'big-v1.0.0')\n"
        "verify_bundle([to], lambda _: None)\n"
        "print([int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')][0] >> 10)\n"
    )
    words = [sys.executable, "-c", program, quick_path / "home", tree.store, quick_path / "out"]
    done = subprocess.run(words, env={"PYTHONPATH": ".", "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    assert sum(path.stat().st_size for path in volumes_in(quick_path / "out")) > 300 << 20
    assert int(done.stdout) <= 256


def test_a_canary_is_in_no_file_of_a_bundle(tree, tmp_path, monkeypatch):
    canary = "AKIACANARY0123456789"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", canary)
    monkeypatch.setenv("MODELPORT_SOURCE", f"https://{canary}.example/tree?X-Amz-Signature={canary}")
    builder = Builder(tmp_path / canary, tree)
    builder.build(tmp_path / "out", "bert@stable", parity=10)
    for name, data in contents_of(tmp_path / "out").items():
        for secret in (canary, str(tree.folder), str(tmp_path), os.environ.get("USER", "no such name")):
            assert secret.encode() not in data, name


def test_verify_repair_and_a_source_open_no_socket(copy, tree, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    verify(copy, fingerprint=tree.site.fingerprint)
    fetcher = tree.fetcher(BundleReader(copy))
    fetcher.fetch("bert-v2.0.0")


def test_verify_works_where_there_is_no_network(copy, tree):
    words = [
        sys.executable,
        "-c",
        "from pipeline.cli.program import main; main()",
        "bundle.verify",
        "--from",
        copy,
        "--report",
        "json",
    ]
    done = subprocess.run(
        [*WITHOUT_NETWORK, *words], env={"PYTHONPATH": ".", "HOME": "/nonexistent"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["missing"] == []


def test_a_bundle_signed_by_nobody_is_refused(copy):
    """Its targets role is another tree's: right digests in the index, wrong signature."""
    path = volumes_in(copy)[0]
    found = volume(path)
    data = path.read_bytes()
    bodies = {member.key: data[at : at + member.size] for member, at in found.layout.members}
    role = next(key for key in bodies if key.endswith(".targets.json"))
    document = json.loads(bodies[role])
    document["signatures"][0]["sig"] = "ab" * 64
    forged = forge(path, copy.parent / "forged", bodies={role: json.dumps(document).encode()})
    with pytest.raises(ModelportError) as refused:
        verify(forged.parent)
    assert refused.value.exit_code in {3, 4}


def test_a_rotten_trailer_is_named(copy):
    path = volumes_in(copy)[0]
    flip(path, path.stat().st_size - 3)
    with pytest.raises(VerifyFailed, match="does not end as it must"):
        verify(copy)


def test_two_bundles_as_a_source_are_refused(copy, tree, tmp_path):
    builder_of(tree).build(tmp_path / "other", "plain-v1.0.0")
    shutil.copy(volumes_in(tmp_path / "other")[0], copy)
    with pytest.raises(UsageError, match="of bundle") as refused:
        BundleReader(copy)
    assert "folder of its own" in refused.value.hint
