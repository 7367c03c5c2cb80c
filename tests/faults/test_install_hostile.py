"""Media that somebody made to do harm: headers, members and indexes that say what no bundle says. Both installers refuse them."""

import os
import time

import pytest

from tests.install_world import COLUMNS, Column, make_bundle_tree
from tests.media_world import member_bytes, pack, sha256, spelled, ustar_header


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_bundle_tree(tmp_path_factory.mktemp("tree") / "tree", tensor_bytes=512 << 10)


@pytest.fixture(scope="module")
def packed(tree):
    return pack(tree, "bert-v1.0.0", "raw-v1.0.0", volumes=2)


@pytest.fixture(params=COLUMNS)
def column(request, tmp_path):
    return Column(request.param, tmp_path)


# --- hostile tars: there is no way to say anything but the plan ------------------------------------


HOSTILE_HEADERS = {
    "symbolic link": {"type": b"2", "link": b"/etc/passwd".ljust(100, b"\0")},
    "hard link": {"type": b"1", "link": b"../../x".ljust(100, b"\0")},
    "device": {"type": b"3"},
    "FIFO": {"type": b"6"},
    "sparse": {"type": b"S"},
    "PAX record": {"type": b"x"},
    "PAX for all": {"type": b"g"},
    "GNU long name": {"type": b"L"},
    "setuid": {"mode": b"0004755\0"},
    "absolute name": {"name": b"/etc/passwd".ljust(100, b"\0")},
    "name that climbs": {"name": b"../../etc/passwd".ljust(100, b"\0")},
    "name that is not UTF-8": {"name": b"parts/\xff\xfe".ljust(100, b"\0")},
    "prefix that climbs": {"prefix": b"../..".ljust(155, b"\0")},
    "size in base 256": {"size": b"\x80" + b"\0" * 10 + b"\x01"},
    "negative size": {"size": b"\xff" * 12},
    "another owner": {"uid": b"0001750\0"},
    "GNU magic": {"magic": b"ustar  \0"},
    "wrong checksum": {"checksum": b"\0" * 8},
}


@pytest.mark.parametrize("hostile", HOSTILE_HEADERS)
def test_hostile_member_is_refused_and_nothing_is_written_outside(tree, packed, column, tmp_path, hostile):
    key, size, _ = packed.plan["volumes"][0][0]
    good = ustar_header(key, size)
    bad = ustar_header(key, size, **HOSTILE_HEADERS[hostile])
    if hostile == "wrong checksum":
        bad = good[:148] + b"0000000\0" + good[156:]

    def spoil(number, data):
        return data.replace(good, bad, 1) if number == 1 else data

    assert bad != good
    media = packed.write(tmp_path / "media", spoil=spoil)
    refused = column.install(media, tmp_path / "site", tree.site.fingerprint)
    assert (refused.code, "volume 1" in refused.error) == (3, True), refused.said
    assert not (tmp_path / "site" / "current").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "install.pyz") == ["media", "site"]


def test_additional_members_make_no_volume(tree, packed, column, tmp_path):
    extra = member_bytes("../../evil", b"x")
    media = packed.write(tmp_path / "media", spoil=lambda _, data: data[:-1024] + extra + bytes(1024))
    refused = column.install(media, tmp_path / "site", tree.site.fingerprint)
    assert (refused.code, "expected" in refused.error) == (3, True)
    assert not (tmp_path / "site").exists()


def test_a_million_empty_members_are_refused_at_once(tree, packed, column, tmp_path):
    media = packed.write(tmp_path / "media", only=[1])
    with (media / "bomb.tar").open("wb") as file:
        block = b"".join(member_bytes(f"empty{index}", b"") for index in range(1000))
        for _ in range(1000):
            file.write(block)
    with (media / "index-bomb.tar").open("wb") as file:
        file.write(ustar_header("index.json", 3) + b"{}\n".ljust(512, b"\0"))
        file.write(bytes(1 << 20))
    began = time.monotonic()
    found = column.install(media, tmp_path / "site", tree.site.fingerprint)
    assert (found.code, "index-bomb.tar" in found.error) == (3, True), found.said
    assert time.monotonic() - began < 20


def indexes(packed):
    """Index bytes that must be refused, each with why."""
    document = {"format": "modelport-bundle", "format_version": 1, "bundle": packed.bundle, "volume": 1, "plan": packed.plan}
    text = spelled(document)
    yield "a newer format", spelled({**document, "format_version": 2}), "newer"
    yield "a duplicate key", text[:-2] + b',"volume":1}\n', "twice"
    yield "another spelling", text.replace(b'"volume":1', b'"volume": 1'), "spelled"
    yield "another bundle's id", spelled({**document, "bundle": sha256(b"x")}), "bundle"
    yield "a volume beyond the plan", spelled({**document, "volume": 9}), "volume"
    yield "nesting", b"[" * 100_000 + b"]" * 100_000 + b"\n", "nested"
    yield "not UTF-8", b'{"a":"\xff"}\n', "JSON"
    for name, change in {
        "a key that climbs": {"documents": [["metadata/../../x.json", 1, sha256(b"")]]},
        "an absolute key": {"documents": [["/etc/passwd", 1, sha256(b"")]]},
        "a control key": {"documents": [["control/leases/x.json", 1, sha256(b"")]]},
        "a document twice": {"documents": [packed.plan["documents"][0]] * 2},
        "a huge part": {"volumes": [[["parts/" + "a" * 2 + "/" + "a" * 64, 1 << 30, sha256(b"")]], []]},
        "a negative size": {"documents": [["metadata/1.root.json", -1, sha256(b"")]]},
        "a size that is true": {"documents": [["metadata/1.root.json", True, sha256(b"")]]},
        "no volumes": {"volumes": []},
        "a strange name": {"name": "../x"},
        "a release that is no name": {"releases": [{**packed.plan["releases"][0], "release": "../x-v1.0.0"}]},
    }.items():
        plan = {**packed.plan, **change}
        yield name, spelled({**document, "plan": plan, "bundle": sha256(spelled(plan))}), ""


@pytest.mark.parametrize("column", COLUMNS[1:], indirect=True)
def test_index_that_breaks_its_format_is_refused(tree, packed, column, tmp_path):
    for number, (name, index, why) in enumerate(indexes(packed)):
        media = tmp_path / f"media{number}"
        media.mkdir()
        (media / "x.tar").write_bytes(member_bytes("index.json", index) + bytes(1024))
        refused = column.install(media, tmp_path / "site", tree.site.fingerprint)
        assert (refused.code, why in refused.said) == (3, True), (name, refused)
    assert not (tmp_path / "site").exists()


def test_index_that_lists_a_part_nobody_signed_is_refused(tree, packed, column, tmp_path):
    foreign = b"nobody signed this"
    key = f"parts/ab/ab{sha256(foreign)[2:]}"
    plan = {**packed.plan, "volumes": [[[key, len(foreign), sha256(foreign)]], *packed.plan["volumes"]]}
    other = type(packed)(packed.name, plan, {**packed.objects, key: foreign})
    refused = column.install(other.write(tmp_path / "media"), tmp_path / "site", tree.site.fingerprint)
    assert (refused.code, "no signed manifest" in refused.error) == (3, True)
    assert not (tmp_path / "site").exists()


def test_index_that_gives_a_part_another_digest_is_refused(tree, packed, column, tmp_path):
    key, size, _ = packed.plan["volumes"][0][0]
    forged = os.urandom(size)
    plan = {**packed.plan, "volumes": [[[key, size, sha256(forged)], *packed.plan["volumes"][0][1:]], packed.plan["volumes"][1]]}
    other = type(packed)(packed.name, plan, {**packed.objects, key: forged})
    refused = column.install(other.write(tmp_path / "media"), tmp_path / "site", tree.site.fingerprint)
    assert (refused.code, "no signed manifest" in refused.error) == (3, True)


def test_release_that_the_index_only_claims_is_refused(tree, packed, column, tmp_path):
    rows = [{**packed.plan["releases"][0], "release": "bert-v9.0.0"}, *packed.plan["releases"]]
    rows.sort(key=lambda row: row["release"])
    other = type(packed)(packed.name, {**packed.plan, "releases": rows}, packed.objects)
    refused = column.install(other.write(tmp_path / "media"), tmp_path / "site", tree.site.fingerprint)
    assert (refused.code, "bert/9.0.0/manifest.json" in refused.error) == (4, True), refused.said
    assert not (tmp_path / "site").exists()
