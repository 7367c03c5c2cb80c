"""The installer's readers beside our own: the same documents are taken, the same are refused."""

from __future__ import annotations

import json
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from semantic_version import NpmSpec
from semantic_version import Version as SemVer

from bundles.installer import faults
from bundles.installer.canonical import canonical_bytes
from bundles.installer.manifest import open_manifest
from bundles.installer.names import check_model, check_path, check_together, is_version, split_release
from bundles.installer.ranges import is_range, order_of, serves
from bundles.installer.strictjson import read_json, write_json
from pipeline import release, wire
from pipeline.errors import InvalidDocument, ModelportError
from pipeline.manifest import Chunk, Dependency
from tests.makers.manifests import A1, manifest, raw_manifest

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def taken(check, *args) -> bool:
    try:
        check(*args)
    except (faults.ModelportError, ModelportError):
        return False
    return True


@given(PLAIN)
def test_canonical_json_is_what_signers_sign(value):
    assert canonical_bytes(value).decode() == encode_canonical(value)


def test_a_fraction_has_no_canonical_spelling():
    with pytest.raises(faults.IntegrityError):
        canonical_bytes({"a": 1.5})


@given(PLAIN)
def test_documents_are_spelled_as_ours_are(value):
    assert write_json(value) == wire.encode_document(value)
    assert read_json(write_json(value), "it", 1 << 20) == wire.check_json(write_json(value), what="it")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"nul", b'{"a":1,"a":2}', b'{"a":{"b":1,"b":1}}', b"NaN", b"[Infinity]", b"-Infinity", b"1.0", b"1e3", b"1e999",
        b"9007199254740992", b"-9007199254740992", b"1" * 10_000, b"[" * 200_000, b'"\\ud800"', b'"\\udfff\\ud800"',
        b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b'"\xff"', b"{} {}", b'{"a":1,}', b"'a'",
    ],
    ids=lambda data: repr(data[:24]),
)  # fmt: skip
def test_what_is_not_strict_json_is_refused(data):
    with pytest.raises(faults.IntegrityError):
        read_json(data, "it", 1 << 20)
    with pytest.raises(InvalidDocument):
        wire.check_json(data, what="it")


def test_cap_is_judged_before_anything_is_read():
    with pytest.raises(faults.IntegrityError, match="at most 10"):
        read_json(b"[" * 11, "it", 10)


PATHS = st.text(st.sampled_from("abkKé/.-~ \\:\u0301\u212a\u202e%2eE\x00ßA\uff0f<con1"), max_size=12)


@given(PATHS)
def test_paths_are_judged_alike(path):
    assert taken(check_path, path, "it") == (release.path_fault(path) is None)


@given(st.lists(st.sampled_from(["a", "A", "a/b", "é", "e\u0301", "k", "\u212a", "a/b/c", "b", "ß", "SS"]), max_size=4))
def test_paths_that_clash_are_judged_alike(paths):
    assert taken(check_together, paths, "it") == (release.clash(paths) is None)


@given(
    st.lists(
        st.sampled_from(["bert", "-v", "1.0.0", "2.1", "-rc", ".", "0", "v", "-", "-v2.0.0", "con", "A", "+b", "00"]), max_size=7
    ).map("".join)
)
def test_names_are_judged_alike(text):
    assert taken(split_release, text) == taken(release.Release.parse, text)
    assert taken(check_model, text) == taken(release.check_model, text)
    assert is_version(text) == taken(release.check_version, text)
    if taken(split_release, text):
        found = release.Release.parse(text)
        assert split_release(text) == (found.model, found.version)


VERSIONS = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)).map(lambda numbers: ".".join(map(str, numbers)))
PRE = st.tuples(VERSIONS, st.sampled_from(["", "-rc.1", "-alpha", "-alpha.1", "-1", "-rc.10", "-rc.2"])).map("".join)
PARTIAL = st.one_of(PRE, VERSIONS, st.sampled_from(["*", "x", "1", "0", "0.1", "1.x", "1.2.*", "2.X.x", "0.0"]))
SIMPLE = st.tuples(st.sampled_from(["", "=", "^", "~", ">", ">=", "<", "<="]), PARTIAL).map("".join)
RANGES = st.one_of(
    SIMPLE,
    st.lists(SIMPLE, min_size=1, max_size=3).map(" ".join),
    st.tuples(SIMPLE, SIMPLE).map(" || ".join),
    st.tuples(VERSIONS, VERSIONS).map(" - ".join),
    st.just(""),
)


def npm(text):
    # The publisher's library forgets the other bounds of a list in which one has a pre-release.
    if " " in text and any(label in text for label in ("-rc", "-alpha", "-1")):
        return None
    try:
        return NpmSpec(text)
    except ValueError:
        return None


@settings(max_examples=400)
@given(VERSIONS, RANGES)
def test_ranges_take_what_the_publisher_takes(version, text):
    spec = npm(text)
    if spec is not None:
        assert is_range(text)
        if any(label in text for label in ("-rc", "-alpha", "-1")):
            assert serves(version, text) or not spec.match(SemVer(version))
        else:
            assert serves(version, text) == spec.match(SemVer(version))


@settings(max_examples=400)
@given(PRE, RANGES)
def test_a_pre_release_that_the_publisher_takes_is_taken(version, text):
    spec = npm(text)
    if spec is not None and spec.match(SemVer(version)):
        assert serves(version, text)


@given(st.lists(PRE, min_size=2, max_size=6))
def test_versions_order_as_semver_says(versions):
    ours = sorted(versions, key=order_of)
    assert [SemVer(version) for version in ours] == sorted(SemVer(version) for version in versions)


# --- manifests -----------------------------------------------------------------------------------------

WHOLE = [wire.encode_manifest(manifest()), wire.encode_manifest(raw_manifest())]


def judged(data: bytes) -> tuple[bool, bool]:
    return taken(open_manifest, data, "0" * 64, "the manifest"), taken(wire.decode_manifest, data)


def test_manifests_are_read_alike():
    for data in WHOLE:
        ours, theirs = open_manifest(data, "0" * 64, "it"), wire.decode_manifest(data)
        assert [(file.path, file.size, file.sha256, file.executable) for file in ours.files] == list(theirs.identity.files)
        assert [tuple(part) for part in ours.parts] == [(part.blake3, part.sha256, part.size) for part in theirs.parts]
        assert ours.release == str(theirs.release)
        assert ours.size == theirs.plain_bytes


def test_one_digest_of_two_sizes_is_refused_by_both():
    twice = Chunk(0, 160, 20, 20, A1.blake3, "raw", "")
    files = (*manifest().files[:3], msgspec.structs.replace(manifest().files[3], size=20, chunks=(twice,)))
    assert judged(wire.encode_manifest(manifest(files=files))) == (False, False)


@pytest.mark.parametrize("versions", ["1.0 - <2", "latest", "^1.0.0+x y"])
def test_range_that_is_none_is_refused_by_both(versions):
    needs = (Dependency(model="tokenizer", version=versions),)
    assert judged(wire.encode_manifest(manifest(dependencies=needs))) == (False, False)


ODD = [
    0,
    -1,
    1,
    7,
    100,
    2**31,
    2**53,
    True,
    None,
    "",
    "a",
    "../x",
    "A" * 64,
    "f" * 64,
    [],
    {},
    "raw",
    "zstd",
    "planes2",
    1.5,
    "2.1.0",
    "^1",
]


def changed(value, chance: random.Random):
    """The same document with one thing in it that is otherwise."""
    if isinstance(value, dict) and value:
        name = chance.choice(sorted(value))
        what = chance.randrange(6)
        if what == 0:
            return {key: inner for key, inner in value.items() if key != name}
        if what == 1:
            return {**value, name: chance.choice(ODD)}
        return {**value, name: changed(value[name], chance)}
    if isinstance(value, list) and value:
        at = chance.randrange(len(value))
        what = chance.randrange(8)
        if what == 0:
            return value[:at] + value[at + 1 :]
        if what == 1:
            return [*value, value[at]]
        if what == 2:
            return value[::-1]
        return [*value[:at], changed(value[at], chance), *value[at + 1 :]]
    if isinstance(value, int) and chance.random() < 0.7:
        return value + chance.choice([-1, 1, 100])
    return chance.choice(ODD)


@settings(max_examples=1500, deadline=None)
@given(st.integers(0, 2**40))
def test_altered_manifests_are_judged_alike(seed):
    chance = random.Random(seed)
    document = changed(json.loads(chance.choice(WHOLE)), chance)
    ours, theirs = judged(json.dumps(document).encode())
    assert ours == theirs, document
