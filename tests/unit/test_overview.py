"""Where a release's bytes came from, and how that is drawn."""

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cdn_status import JobShown, LaneShown
from pipeline.cli.page import release_page, visible
from pipeline.manifest import Chunk, Dependency, File
from pipeline.overview import Overview, Span, join_spans, origin_of, spans_of
from pipeline.show import ShownPin
from pipeline.trust.facts import Move, ReleaseFacts
from pipeline.trust.signers import RoleShown

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
SPANS = st.lists(st.builds(Span, st.integers(1, 10_000), st.sampled_from(["", "a-v1.0.0", "repeat"])), max_size=60)


def chunk(part, name, plain=10):
    return Chunk(part, 0, plain, plain, name, "raw", "")


def overview(**changed):
    facts = ReleaseFacts(
        kind="model", dependencies=(), files=0, plain=0, stored=0, parts=0, part_size=64, created_at="2026-11-22T09:00:00Z"
    )
    empty = {
        name: []
        for name in ("channels", "pins", "bases", "dependencies", "files", "part_list", "roles", "cdns", "jobs", "warnings")
    }
    numbers = dict.fromkeys(("plain", "stored", "served", "added", "repeated", "parts", "chunks", "ranges_per_gib"), 0)
    texts = {"release": "bert-v1.0.0", "store": "s3://b", "root_fingerprint": "f" * 64, "manifest_sha256": "e" * 64}
    given = {"profile": "default", "encoder": "zstd", "part_size": 64, "history": {}, "fetch": [], "facts": facts}
    return Overview(**(texts | numbers | empty | given | changed))


def test_first_base_that_has_a_part_is_its_origin():
    bases = {"a-v1.0.0": {"x"}, "a-v0.9.0": {"x", "y"}}
    assert [origin_of(part, bases) for part in "xyz"] == ["a-v1.0.0", "a-v0.9.0", ""]


def test_chunk_that_stands_in_the_release_already_is_a_repeat_only_where_it_is_new():
    file = File(path="f", size=50, sha256="", chunks=(chunk(0, "a"), chunk(1, "b"), chunk(0, "a"), chunk(1, "b"), chunk(1, "c")))
    spans = list(spans_of(file, ["a-v1.0.0", ""], seen := set()))
    assert spans == [Span(10, "a-v1.0.0"), Span(10, ""), Span(10, "a-v1.0.0"), Span(10, "repeat"), Span(10, "")]
    assert seen == {"a", "b", "c"}


@given(SPANS)
def test_joined_spans_hold_the_same_bytes_and_no_equal_neighbours(spans):
    joined = list(join_spans(iter(spans)))
    assert [span.origin for span in spans for _ in range(span.bytes)] == [
        span.origin for span in joined for _ in range(span.bytes)
    ]
    assert all(one.origin != two.origin for one, two in itertools.pairwise(joined))


@given(SPANS)
def test_picture_of_a_file_is_as_long_as_the_file_and_never_longer_than_can_be_seen(spans):
    size = sum(span.bytes for span in spans)
    drawn = list(visible(spans, size))
    assert sum(span.bytes for span in drawn) == size
    assert len(drawn) <= 801


@pytest.mark.parametrize(
    "changed, said",
    [
        (
            {"channels": ["stable"], "history": {"stable": [Move(at="T", by="ann", origin="", to="bert-v1.0.0")]}},
            "<td>@stable</td><td>T</td><td>ann</td><td>nothing</td>",
        ),
        ({}, "No channel points to it."),
        ({"pins": [ShownPin(release="bert-v1.0.0", reason="audit", until="")]}, "pinned for ever"),
        ({"dependencies": [Dependency(model="tok", version="^1.2")]}, "Needs tok ^1.2"),
        ({"warnings": ["the clock <is> odd"]}, "the clock &lt;is&gt; odd"),
        ({"cdns": ["https://cdn.example"]}, "The ledger has no work of it."),
        ({"roles": [RoleShown("timestamp", 3, "2026-11-21T00:00:00Z", 1, ("k",))]}, "2026-11-21T00:00:00Z (expired)"),
        ({"roles": [RoleShown("timestamp", 3, "2026-11-21T00:00:00Z", 1, ("k",))]}, "<small>expired</small>"),
        ({"roles": [RoleShown("timestamp", 3, "2026-11-23T12:00:00Z", 1, ("k",))]}, "<small>1 day from this page</small>"),
        ({"roles": [RoleShown("bert", 0, "", 2, ("k", "l"))]}, "<td>not here</td><td></td><td>2 of 2</td>"),
    ],
)
def test_page_says_what_is_known(changed, said):
    assert said in release_page(overview(**changed), NOW)


def test_work_at_a_cdn_is_told_with_its_percent_and_states():
    lane = LaneShown(
        provider="aliyun",
        url="https://cdn.example",
        states={"done": 3, "left": 1, "failed": 0},
        percent=75,
        tasks=[],
        failed={},
        waits_until="",
    )
    job = JobShown(
        job="j", op="prefetch", release="bert-v1.0.0", by="ann", ordered_at="T", finished=False, channel="", cdns=[lane]
    )
    page = release_page(overview(jobs=[job], cdns=["https://cdn.example"]), NOW)
    assert "<td>prefetch</td><td>aliyun</td><td>https://cdn.example</td><td>75 %</td><td>3 done, 1 left</td><td>T</td>" in page
