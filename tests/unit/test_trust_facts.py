"""Signed facts: what metadata may say of releases, channels and pins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from pipeline.errors import InvalidDocument
from pipeline.release import Channel, Release
from pipeline.trust.facts import (
    as_plain,
    channel_from_bytes,
    check_agreement,
    facts_from_custom,
    facts_of,
    instant,
    instant_text,
    moved_channel,
    pins_from_field,
    signed_at,
)
from pipeline.wire import encode_document
from tests.makers.manifests import manifest
from tests.trust_world import some_facts

AT = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
RELEASE = Release.parse("bert-v2.1.0")
DIGEST = "ab" * 32


def test_facts_survive_metadata():
    facts = facts_of(manifest(), AT)
    assert facts_from_custom(as_plain(facts), "x") == facts
    assert facts.created_at == "2026-11-22T10:00:00Z"


def test_facts_agree_with_their_manifest_and_nothing_else():
    facts = facts_of(manifest(), AT)
    check_agreement(facts, manifest())
    for change in ({"files": 9}, {"plain": 1}, {"stored": 1}, {"parts": 9}, {"kind": "web"}, {"dependencies": ()}):
        with pytest.raises(InvalidDocument, match=next(iter(change))):
            check_agreement(msgspec.structs.replace(facts, **change), manifest())


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "movie"},
        {"files": -1},
        {"files": True},
        {"plain": 2**53},
        {"plain": "2"},
        {"part_size": 0},
        {"created_at": "yesterday"},
        {"created_at": "2026-13-01T00:00:00Z"},
        {"created_at": "2026-11-22T10:00:00.5Z"},
        {"created_at": "2026-11-22T10:00:00+00:00"},
        {"dependencies": [{"model": "../x", "version": "^1"}]},
        {"yanked": {"at": "never", "by": "me", "reason": "x"}},
        {"yanked": {"by": "me"}},
    ],
)
def test_malformed_facts_are_refused(change):
    with pytest.raises(InvalidDocument):
        facts_from_custom({**as_plain(some_facts()), **change}, "target x")


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_custom_that_is_no_object_is_refused(value):
    with pytest.raises(InvalidDocument):
        facts_from_custom(value, "target x")


def test_unknown_fields_are_ignored():
    assert facts_from_custom({**as_plain(some_facts()), "later": 1}, "x") == some_facts()


def test_channel_counts_and_keeps_a_hundred_moves():
    document = None
    for number in range(105):
        release = Release.parse(f"bert-v1.0.{number}")
        document = moved_channel(document, release, DIGEST, Channel("stable"), at=AT, by="me", forced=number == 7)
    assert document.sequence == 105
    assert len(document.history) == 100
    assert document.history[-1].to == "bert-v1.0.104"
    assert document.history[-1].origin == "bert-v1.0.103"
    data = encode_document(document)
    assert b'"from":"bert-v1.0.103"' in data
    assert channel_from_bytes(data, model="bert", channel="stable") == document


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"model": "gpt"},
        {"channel": "beta"},
        {"release": "gpt-v1.0.0"},
        {"release": "bert"},
        {"manifest_sha256": "AB" * 32},
        {"sequence": 0},
        {"history": [{"at": "x", "by": "me", "from": "", "to": "bert-v1.0.0"}]},
        {"history": [{"at": "2026-11-22T10:00:00Z", "by": "me", "from": "", "to": "a"}] * 101},
    ],
)
def test_malformed_channel_is_refused(change):
    good = as_plain(moved_channel(None, RELEASE, DIGEST, Channel("stable"), at=AT, by="me", forced=False))
    channel_from_bytes(encode_document(good), model="bert", channel="stable")
    with pytest.raises(InvalidDocument):
        channel_from_bytes(encode_document({**good, **change}), model="bert", channel="stable")


def test_pins_are_read_and_checked():
    assert pins_from_field(None, "x") == ()
    pins = pins_from_field([{"release": "bert-v1.0.0", "reason": "bundle", "until": "2027-11-22T10:00:00Z"}], "x")
    assert pins[0].until == "2027-11-22T10:00:00Z"
    for bad in ([{"release": "bert"}], "x", [{"release": "bert-v1.0.0", "reason": "x", "until": "soon"}]):
        with pytest.raises(InvalidDocument):
            pins_from_field(bad, "x")


def test_instants_are_utc_whole_seconds():
    east = datetime(2026, 11, 22, 12, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert instant_text(east) == "2026-11-22T10:00:00Z"
    assert instant("2026-11-22T10:00:00Z") == AT


def test_signed_time_is_required():
    with pytest.raises(InvalidDocument, match="x-modelport-signed-at"):
        signed_at({}, "timestamp")
