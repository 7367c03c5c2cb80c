"""The installer's reader of volumes beside modelport's own: the same indexes, the same places, the same refusals."""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundles.index import CAPS, INDEX, Bundle, Carried, Member, Plan, Wanted, bundle_of, decode_index
from bundles.index import INDEX_BYTES as OUR_INDEX_BYTES
from bundles.index import MEMBERS as OUR_MEMBERS
from bundles.index import NAME as OUR_NAME
from bundles.index import VOLUMES as OUR_VOLUMES
from bundles.installer import (
    faults,
    frames,
    index,
    judging,
    layout,
    manifest,
    names,
    sitestate,
    strictjson,
    tree,
    tufrules,
    volumes,
)
from bundles.ustar import header_for
from pipeline import encoding, release
from pipeline import manifest as our_manifest
from pipeline.digest import Sha256, sha256_of
from pipeline.errors import ModelportError
from pipeline.layout import TIMESTAMP, part_key
from pipeline.trust import chain, sealed, state
from pipeline.wire import encode_document
from tests.unit.test_installer_documents import changed

HEX = [f"{number:x}" * 64 for number in range(16)]
KEYS = {
    "root": "metadata/1.root.json",
    "timestamp": "metadata/timestamp.json",
    "role": "metadata/3.bert.json",
    "manifest": f"targets/bert/1.0.0/{HEX[2]}.manifest.json",
    "channel": f"targets/bert/channels/{HEX[3]}.stable.json",
    "part": part_key(HEX[4]),
}


def plan(**changes) -> Plan:
    parts = [Member(part_key(HEX[number]), 1000 * number, Sha256(HEX[number])) for number in (5, 6, 7)]
    documents = tuple(Member(KEYS[kind], 700 + at, Sha256(HEX[at])) for at, kind in enumerate(KEYS) if kind != "part")
    known = {
        "name": "bert-v1.0.0",
        "root_fingerprint": Sha256(HEX[1]),
        "snapshot": 3,
        "releases": (
            Carried(release="bert-v1.0.0", kind="model", manifest_sha256=Sha256(HEX[2]), files=2, plain=9, stored=9, chosen=True),
        ),
        "bases": (Wanted(release="bert-v0.9.0", manifest_sha256=Sha256(HEX[3])),),
        "documents": documents,
        "volumes": ((parts[0], parts[1]), (parts[2],)),
    }
    return Plan(**(known | changes))


def ours(data: bytes) -> tuple[Bundle, int] | None:
    with suppress(ModelportError):
        return decode_index(data, what="the index")
    return None


def theirs(data: bytes) -> tuple[int, index.Plan, int] | None:
    fd = os.memfd_create("volume")
    try:
        os.write(fd, header_for(INDEX, len(data)) + data)
        with suppress(faults.ModelportError):
            return volumes._read_index(fd, os.pread(fd, 512, 0), "the volume")
        return None
    finally:
        os.close(fd)


def check_alike(data: bytes) -> None:
    found, alone = ours(data), theirs(data)
    assert (found is None) == (alone is None), data
    if found is None or alone is None:
        return
    bundle, number = found
    laid = bundle.layout(number)
    assert alone[0] == number
    assert alone[1].bundle == bundle.id
    offsets, end = volumes._offsets(alone[1], alone[0], alone[2])
    assert offsets == {placed.member.key: placed.at for placed in laid.members}
    assert end == laid.size
    for placed in laid.members:
        assert volumes.header_of(placed.member.key, placed.member.size) == header_for(placed.member.key, placed.member.size)


def index_of(document: dict) -> bytes:
    """An index of this plan, whatever it says, under the digest that it has."""
    plan = encode_document(document)
    return encode_document(
        {
            "format": "modelport-bundle",
            "format_version": 1,
            "bundle": sha256_of(plan),
            "plan": document,
            "volume": 1,
        }
    )


def test_every_volume_of_a_bundle_is_read_alike():
    bundle = bundle_of(plan())
    for number in bundle.numbers():
        assert theirs(bundle.index(number)) is not None
        check_alike(bundle.index(number))


@settings(max_examples=600, deadline=None)
@given(st.integers(0, 2**40))
def test_altered_plans_are_judged_alike(seed):
    chance = random.Random(seed)
    document = json.loads(encode_document(plan()))
    for _ in range(chance.randint(1, 2)):
        name = chance.choice(sorted(document))
        document = {**document, name: changed(document[name], chance)}
    check_alike(index_of(document))


@pytest.mark.parametrize("kind", KEYS)
def test_members_have_the_same_caps(kind):
    for size in (0, 1, CAPS[kind] - 1, CAPS[kind], CAPS[kind] + 1):
        member = Member(KEYS[kind], size, Sha256(HEX[9]))
        one = plan(volumes=((member,),)) if kind == "part" else plan(documents=(member,))
        data = bundle_of(one).index(1)
        assert (ours(data) is not None) == (1 <= size <= CAPS[kind])
        check_alike(data)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["metadata/", "targets/", "parts/", "1.", "01.", "root", "timestamp", "targets", "snapshot", "bert", "Bert", "con", ".json",
             "/", "channels/", "1.0.0/", HEX[1], HEX[1][:2], ".manifest", ".stable", ".Stable", "control/", "web/", "..", "é", "\0"]
        ),
        max_size=7,
    ).map("".join)
)  # fmt: skip
def test_no_key_is_taken_that_ours_would_refuse(key):
    data = bundle_of(plan(documents=(Member(key, 5, Sha256(HEX[9])),))).index(1)
    # The installer also looks at the names of models, versions and channels in a key.
    if theirs(data) is not None:
        check_alike(data)


@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_key_is_taken(kind):
    member = Member(KEYS[kind], 5, Sha256(HEX[9]))
    data = bundle_of(plan(volumes=((member,),)) if kind == "part" else plan(documents=(member,))).index(1)
    assert theirs(data) is not None
    check_alike(data)


@pytest.mark.parametrize(
    "here, there",
    [
        (index.INDEX_BYTES, OUR_INDEX_BYTES),
        (index.MOST_MEMBERS, OUR_MEMBERS),
        (index.MOST_VOLUMES, OUR_VOLUMES),
        (manifest.MANIFEST_BYTES, our_manifest.MANIFEST_BYTES),
        (manifest.MOST_CHUNKS, our_manifest.MANIFEST_CHUNKS),
        (manifest.MOST_FILES, our_manifest.MANIFEST_FILES),
        (manifest.MOST_PARTS, our_manifest.MANIFEST_PARTS),
        (manifest.MOST_BASES, our_manifest.MANIFEST_BASES),
        (manifest.PART_BYTES, our_manifest.PART_BYTES),
        (manifest.WEB_PART_BYTES, our_manifest.WEB_PART_BYTES),
        (manifest.CHUNK_BYTES, our_manifest.CHUNK_BYTES),
        (manifest.ENCODINGS, our_manifest.ENCODINGS),
        (names.PATH_BYTES, release.PATH_BYTES),
        (names.WEB_PATH_BYTES, release.WEB_PATH_BYTES),
        (names.RESERVED, release.RESERVED_NAMES),
        (tufrules.ROOT_BYTES, sealed.ROOT_BYTES),
        (tufrules.TIMESTAMP_BYTES, sealed.TIMESTAMP_BYTES),
        (tufrules.ROLE_BYTES, sealed.TARGETS_BYTES),
        (tufrules.ROLE_BYTES, sealed.SNAPSHOT_BYTES),
        (judging.NEW_ROOTS, chain.NEW_ROOTS),
        (judging.TIMESTAMP, TIMESTAMP),
        (sitestate.FORMAT, state.FORMAT),
        (sitestate.NOTES, state.NOTES),
        (strictjson.INTEGER_LIMIT, our_manifest.INTEGER_LIMIT),
        (names.COMPONENT_BYTES, release.COMPONENT_BYTES),
        (frames.WINDOW_BYTES, encoding.WINDOW_BYTES),
        (tree.DOCUMENT_BYTES, max(cap for kind, cap in CAPS.items() if kind != "part")),
        (layout.part_file(HEX[1]), part_key(HEX[1])),
    ],
)
def test_what_both_must_know_is_the_same(here, there):
    assert here == there


@given(st.text(st.sampled_from("abA0._-/é"), max_size=6))
def test_names_of_bundles_are_judged_alike(name):
    assert (index.NAME.fullmatch(name) is None) == (OUR_NAME.fullmatch(name) is None)
