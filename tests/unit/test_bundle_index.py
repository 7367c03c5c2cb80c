"""What a volume says of itself: headers that a stock tar reads, and indexes that are refused."""

import io
import json
import tarfile

import jsonschema
import pytest

from bundles.index import Carried, Index, Member, Plan, bundle_of, decode_index
from bundles.ustar import header_for, member_bytes, stated_size
from pipeline.cli.reference import bundle_index_schema
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import InvalidDocument
from pipeline.wire import encode_document

HEX = "ab" * 32
PART = f"parts/ab/{HEX}"
LONGEST = f"targets/{'m' * 64}/{'1.0.0-' + 'a' * 58}/{HEX}.manifest.json"


def document(key=f"targets/bert/2.0.0/{HEX}.manifest.json", size=700):
    return Member(key, size, Sha256(HEX))


def plan(**changes):
    whole = {
        "name": "bert-v2.0.0",
        "root_fingerprint": HEX,
        "snapshot": 3,
        "releases": (
            Carried(release="bert-v2.0.0", kind="model", manifest_sha256=Sha256(HEX), files=1, plain=9, stored=9, chosen=True),
        ),
        "bases": (),
        "documents": (document(),),
        "volumes": ((Member(PART, 5000, Sha256(HEX)),), ()),
    }
    return Plan(**{**whole, **changes})


def data_of(changed, volume=1, **more):
    """An index as somebody might write it who knows the rules of its id."""
    bundle = sha256_of(encode_document(changed))
    return encode_document(Index(**{"bundle": bundle, "volume": volume, "plan": changed, **more}))


@pytest.mark.parametrize(("key", "size"), [("index.json", 0), (PART, 512), (LONGEST, 8**11 - 1), ("a/" + "n" * 100, 7)])
def test_a_stock_tar_reads_the_header(key, size):
    found = tarfile.TarInfo.frombuf(header_for(key, size), "utf-8", "strict")
    assert (found.name, found.size, found.type, found.mode, found.uid, found.mtime) == (key, size, b"0", 0o644, 0, 0)
    assert stated_size(header_for(key, size), key) == size


def test_python_writes_the_same_header():
    info = tarfile.TarInfo(LONGEST)
    info.size, info.mode, info.mtime = 12345, 0o644, 0
    theirs = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    # It writes device numbers of ordinary files, which the format leaves empty, so the sums differ too.
    theirs[329:345] = bytes(16)
    ours = header_for(LONGEST, 12345)
    assert theirs[:148] + theirs[156:] == ours[:148] + ours[156:]


@pytest.mark.parametrize("key", ["n" * 101, "p" * 156 + "/" + "n" * 10, ""])
def test_a_key_that_no_header_holds_is_refused(key):
    with pytest.raises(ValueError, match="no ustar header"):
        header_for(key, 1)


@pytest.mark.parametrize("at", [0, 100, 108, 124, 136, 148, 156, 157, 257, 265, 329, 345, 511])
def test_every_field_of_a_header_counts(at):
    header = bytearray(header_for("index.json", 64))
    header[at] ^= 1
    assert stated_size(bytes(header), "index.json") != 64


def test_a_volume_is_laid_out_without_gaps():
    bundle = bundle_of(plan())
    layout = bundle.layout(1)
    ends = [member_bytes(layout.index_size)]
    for member, at in layout.members:
        assert at == ends[-1] + 512
        ends.append(ends[-1] + member_bytes(member.size))
    assert layout.size == ends[-1] + 1024
    assert [one.member.key for one in bundle.layout(2).members] == [document().key]


def test_an_index_comes_back():
    bundle = bundle_of(plan())
    for number in bundle.numbers():
        assert decode_index(bundle.index(number), what="it") == (bundle, number)


def test_volumes_of_one_bundle_share_an_id_and_others_do_not():
    one, other = bundle_of(plan()), bundle_of(plan(snapshot=4))
    assert one.id != other.id
    assert one.head != other.head


REFUSED = {
    "format": data_of(plan(), format="modelport-manifest"),
    "version": data_of(plan(), format_version=2),
    "id": data_of(plan(), bundle=HEX),
    "volume-0": data_of(plan(), volume=0),
    "volume-3": data_of(plan(), volume=3),
    "no-volumes": data_of(plan(volumes=())),
    "name": data_of(plan(name="../etc")),
    "name-long": data_of(plan(name="n" * 201)),
    "root": data_of(plan(root_fingerprint="AB" * 32)),
    "snapshot": data_of(plan(snapshot=0)),
}


def _with_release(**changes):
    fields = {name: getattr(plan().releases[0], name) for name in plan().releases[0].__struct_fields__}
    return Carried(**{**fields, **changes})


REFUSED |= {
    "release": data_of(plan(releases=(_with_release(release="../x"),))),
    "release-digest": data_of(plan(releases=(_with_release(manifest_sha256="x"),))),
    "release-twice": data_of(plan(releases=(_with_release(), _with_release()))),
    "release-size": data_of(plan(releases=(_with_release(plain=-1),))),
    "key-escape": data_of(plan(documents=(document("../../etc/passwd"),))),
    "key-absolute": data_of(plan(documents=(document("/etc/passwd"),))),
    "key-control": data_of(plan(documents=(document("control/leases/x.json"),))),
    "key-web": data_of(plan(documents=(document("web/app/index.html"),))),
    "part-as-document": data_of(plan(documents=(Member(PART, 5, Sha256(HEX)),), volumes=((),))),
    "document-as-part": data_of(plan(documents=(), volumes=((document(),),))),
    "part-misnamed": data_of(plan(volumes=((Member(f"parts/cd/{HEX}", 5, Sha256(HEX)),),))),
    "twice": data_of(plan(volumes=((Member(PART, 5, Sha256(HEX)),), (Member(PART, 5, Sha256(HEX)),)))),
    "digest": data_of(plan(volumes=((Member(PART, 5, Sha256("AB" * 32)),),))),
    "empty": data_of(plan(volumes=((Member(PART, 0, Sha256(HEX)),),))),
    "negative": data_of(plan(volumes=((Member(PART, -1, Sha256(HEX)),),))),
    "part-huge": data_of(plan(volumes=((Member(PART, (256 << 20) + 1, Sha256(HEX)),),))),
    "root-huge": data_of(plan(documents=(document("metadata/1.root.json", 512_001),))),
    "spaces": data_of(plan()).replace(b":", b": ", 1),
    "more-fields": data_of(plan()).replace(b'{"bundle"', b'{"also":1,"bundle"', 1),
    "no-newline": data_of(plan()).rstrip(),
    "twice-a-key": data_of(plan()).replace(b'"volume":1', b'"volume":1,"volume":1'),
    "float": data_of(plan()).replace(b'"snapshot":3', b'"snapshot":3.0'),
    "bool": data_of(plan()).replace(b'"snapshot":3', b'"snapshot":true'),
    "bom": b"\xef\xbb\xbf" + data_of(plan()),
    "utf-16": data_of(plan()).decode().encode("utf-16"),
    "deep": b"[" * 200_000,
    "nothing": b"",
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_index_that_breaks_the_format_is_refused(name):
    with pytest.raises(InvalidDocument):
        decode_index(REFUSED[name], what="the index")


def test_a_later_format_says_what_is_needed():
    with pytest.raises(InvalidDocument) as refused:
        decode_index(REFUSED["version"], what="the index")
    assert "update modelport" in refused.value.hint


def test_what_is_not_refused_is_accepted():
    assert decode_index(data_of(plan()), what="the index")[1] == 1


def test_a_tar_with_the_index_as_its_first_member_is_read_by_python():
    bundle = bundle_of(plan())
    index = bundle.index(1)
    data = header_for("index.json", len(index)) + index + bytes(-len(index) % 512) + bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["index.json"]


def test_the_schema_takes_a_real_index_and_refuses_a_broken_one():
    value = json.loads(bundle_of(plan()).index(1))
    jsonschema.validate(value, bundle_index_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**value, "volume": "first"}, bundle_index_schema())
