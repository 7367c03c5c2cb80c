"""Publishing behind edges in memory: what users see and when, what the edges were asked, and a quota that is used up."""

import json

import pytest

from pipeline.cdn_work import resume_work
from pipeline.custody import renew_signatures, signing
from pipeline.digest import blake3_of, sha256_of
from pipeline.errors import (
    EdgeProofFailed,
    ObjectMissing,
    PoisonedObject,
    StoreUnavailable,
)
from pipeline.events import StepStarted
from pipeline.keeping import keep_releases
from pipeline.layout import TIMESTAMP, part_key
from pipeline.trust.rotate import change_root
from pipeline.withdraw import yank_release
from tests.edge_world import front_memory, taken_over, version


@pytest.fixture
def fronted(tmp_path):
    return front_memory(tmp_path)


def v(number):
    return str(version(number))


# --- publish --------------------------------------------------------------------------------------


def test_publish_warms_proves_and_moves_the_channel(fronted):
    done = fronted.publish(0)
    assert done.complete
    assert done.channel == "stable"
    assert (done.left, done.channel_waits) == ([], "")
    assert [(edge.url, edge.objects, edge.hits, edge.misses) for edge in done.edges] == [
        ("http://edge0.test", done.parts.total + 1, done.parts.total + 1, 0)
    ]
    assert fronted.prefetched()[0] == done.manifest.path
    assert sorted(fronted.prefetched()[1:]) == sorted(fronted.site.parts())
    assert fronted.seen() == v(0)


def test_second_publish_prefetches_only_what_the_edge_lacks(fronted):
    fronted.publish(0)
    first = set(fronted.prefetched())
    done = fronted.publish(1)
    added = [key for key in fronted.prefetched() if key not in first]
    assert done.parts.reused > 0
    assert len(added) == done.parts.new + 1
    assert len(fronted.prefetched()) == len(first) + len(added)
    assert fronted.seen() == v(1)


def test_old_part_that_the_edge_lost_is_prefetched_again(fronted):
    fronted.publish(0)
    fronted.days += 2
    # A file that both releases have, and in this profile a part of its own.
    lost = part_key(blake3_of((fronted.sources[0] / "onnx" / "noise.bin").read_bytes()))
    del fronted.edges[0].kept[lost]
    before = len(fronted.prefetched())
    done = fronted.publish(1)
    again = fronted.prefetched()[before:]
    assert len(again) == done.parts.new + 2
    assert lost in again


def test_every_edge_is_warmed_and_proved(tmp_path):
    fronted = front_memory(tmp_path, edges=2)
    done = fronted.publish(0)
    assert [edge.url for edge in done.edges] == ["http://edge0.test", "http://edge1.test"]
    assert sorted(fronted.prefetched(0)) == sorted(fronted.prefetched(1))
    assert (fronted.seen(0), fronted.seen(1)) == (v(0), v(0))


def test_failed_proof_stops_the_commit_and_users_see_what_they_saw(fronted):
    fronted.publish(0)
    announced = fronted.site.announced()
    fronted.edges[0].vices["*"] = "gzip"
    with pytest.raises(EdgeProofFailed, match="encoded as 'gzip'"):
        fronted.publish(1)
    fronted.edges[0].vices.clear()
    assert fronted.site.announced() == fronted.site.highest() == announced
    assert fronted.seen() == v(0)
    assert fronted.publish(1).complete
    assert fronted.seen() == v(1)


def test_publish_again_changes_nothing_and_asks_the_cdn_for_nothing_but_a_refresh(fronted):
    fronted.publish(0)
    calls = len(fronted.prefetched())
    snapshot = fronted.site.highest()
    done = fronted.publish(0)
    assert done.already_published
    assert done.complete
    assert fronted.site.highest() == snapshot
    assert len(fronted.prefetched()) == calls


def test_timestamp_is_refreshed_after_the_commit_and_seen_at_the_edge(fronted):
    fronted.publish(0)
    fronted.publish(1)
    assert fronted.refreshed()[-1] == TIMESTAMP
    assert json.loads(fronted.edges[0].kept[TIMESTAMP] or b"{}")["signed"]["version"] == fronted.site.announced()


def test_early_request_for_a_guessed_name_does_not_hide_it(fronted):
    fronted.publish(0)
    guessed = [f"metadata/{fronted.site.highest() + 1}.snapshot.json", f"metadata/{fronted.site.highest() + 1}.bert.json"]
    guessed += [f"metadata/{number}.bert.json" for number in range(2, 6)]
    for name in guessed:
        with pytest.raises(ObjectMissing):
            list(fronted.edges[0].get(name))
    fronted.publish(1)
    assert fronted.seen() == v(1)
    assert guessed[0] in fronted.refreshed()


def test_repair_is_refreshed_and_read_back_at_every_edge(tmp_path):
    fronted = front_memory(tmp_path, edges=2)
    fronted.publish(0)
    key = min(fronted.site.parts())
    good = b"".join(fronted.site.store.get(key))
    bad = good[:-1] + bytes([good[-1] ^ 1])
    fronted.site.store.put(key, bad, sha256=sha256_of(bad))
    for edge in fronted.edges:
        edge.forget([key])
        edge.warm([key])
    with pytest.raises(PoisonedObject):
        fronted.publish(0)
    done = fronted.publish(0, repair=True)
    assert done.complete
    for number, edge in enumerate(fronted.edges):
        assert key in fronted.refreshed(number)
        assert edge.kept[key] == good


def test_other_commits_are_shown_at_the_edge_too(fronted):
    fronted.publish(0)
    yank_release(version(0), fronted.place(), lambda event: None, reason="broken")
    assert fronted.refreshed()[-1] == TIMESTAMP
    keep_releases([version(0)], fronted.place(), lambda event: None, reason="shipped")
    assert json.loads(fronted.edges[0].kept[TIMESTAMP] or b"{}")["signed"]["version"] == fronted.site.announced()
    renew_signatures(fronted.place(), lambda event: None)
    assert json.loads(fronted.edges[0].kept[TIMESTAMP] or b"{}")["signed"]["version"] == fronted.site.announced()


def test_refresh_that_another_run_took_over_is_work_left_and_no_conflict(fronted, monkeypatch):
    fronted.publish(0)
    monkeypatch.setattr(fronted.cdns[0], "submit", taken_over(fronted, lambda url: url.endswith(TIMESTAMP)))
    done = fronted.publish(1)
    assert (done.complete, done.channel) == (False, "stable")
    assert ["ann@elsewhere took over" in one.why for one in done.left] == [True]
    assert fronted.site.channel("bert").release == v(1)


def test_new_root_is_refreshed_for_clients_have_asked_for_it_before_it_was_there(fronted):
    fronted.publish(0)
    with pytest.raises(ObjectMissing):
        list(fronted.edges[0].get("metadata/2.root.json"))
    place = fronted.place()
    change_root(signing(place, lambda event: None), {}, settle=lambda: None)
    assert "metadata/2.root.json" in fronted.refreshed()
    assert b"".join(fronted.edges[0].get("metadata/2.root.json")) == b"".join(fronted.site.store.get("metadata/2.root.json"))


def test_edge_that_is_down_stops_the_publish_before_the_commit(fronted):
    fronted.publish(0)
    fronted.edges[0].vices["*"] = "down"
    with pytest.raises(StoreUnavailable):
        fronted.publish(1)
    fronted.edges[0].vices.clear()
    assert fronted.seen() == v(0)
    assert fronted.publish(1).complete


def test_task_that_fails_is_left_and_the_channel_waits(fronted):
    lost = part_key(blake3_of((fronted.sources[0] / "onnx" / "noise.bin").read_bytes()))
    fronted.cdns[0].failing[f"{fronted.edges[0].url}/{lost}"] = "origin 5xx"
    done = fronted.publish(0)
    assert not done.complete
    assert done.channel_waits == "stable"
    assert [(one.urls, "origin 5xx" in one.why) for one in done.left] == [(1, True)]
    assert fronted.seen() == ""
    fronted.cdns[0].failing.clear()
    again = fronted.publish(0, name="another")
    assert again.complete
    assert fronted.seen() == v(0)


def test_edge_proof_that_took_long_is_followed_by_another_at_the_origin(fronted, monkeypatch):
    monkeypatch.setattr("pipeline.steps.placed.PROOF_S", -1.0)
    fronted.publish(0)
    names = [event.step for event in fronted.machine().events if isinstance(event, StepStarted)]
    assert names.index("edge") < len(names) - 1 - names[::-1].index("prove")


# --- quota ----------------------------------------------------------------------------------------


@pytest.fixture
def short(tmp_path):
    return front_memory(tmp_path, per_day=3)


def test_used_up_quota_commits_the_release_and_leaves_the_channel(short):
    done = short.publish(0)
    assert not done.complete
    assert (done.channel, done.channel_waits) == ("", "stable")
    assert [(one.cdn, one.urls) for one in done.left] == [("memory http://edge0.test", done.parts.total - 2)]
    assert done.left[0].until
    assert short.prefetched()[0] == done.manifest.path
    assert short.seen() == ""
    assert short.site.releases() == [v(0)]


def test_next_day_the_rest_is_warmed_once_and_the_channel_moves(short):
    short.publish(0)
    day_one = short.prefetched()
    while not (done := _next_day(short)).complete:
        assert short.seen() == ""
    assert done.channel == "stable"
    assert short.seen() == v(0)
    assert len(short.prefetched()) == len(set(short.prefetched())) == done.parts.total + 1
    assert short.prefetched()[: len(day_one)] == day_one


def _next_day(fronted):
    fronted.days += 1
    return fronted.publish(0, name="another")


def test_promise_outlives_a_publish_that_says_nothing_of_the_channel(short):
    short.publish(0)
    for _ in range(3):
        short.days += 1
        done = short.publish(0, channel=None)
    assert done.complete
    assert short.seen() == ""
    worked = resume_work(short.place("another"), lambda event: None)
    assert [(job.channel, job.moved) for job in worked.jobs] == [("bert@stable", True)]
    assert short.seen() == v(0)
    assert resume_work(short.place("another"), lambda event: None).jobs == []


def test_release_that_is_on_its_channel_already_does_not_wait_for_it(fronted):
    fronted.publish(0)
    fronted.days += 2
    fronted.edges[0].kept.clear()
    fronted.cdns[0].failing = dict.fromkeys((f"{fronted.edges[0].url}/{key}" for key in fronted.site.parts()), "origin 5xx")
    done = fronted.publish(0)
    assert not done.complete
    assert (done.channel, done.channel_waits) == ("stable", "")


def test_promote_cold_moves_the_channel_all_the_same_and_says_so(short):
    done = short.publish(0, promote_cold=True)
    assert not done.complete
    assert done.channel == "stable"
    assert short.history() == [("", v(0), True)]
    assert short.seen() == v(0)


def test_promote_of_a_release_that_waits_in_the_ledger_is_refused(short):
    short.publish(0)
    with pytest.raises(EdgeProofFailed, match="does not have") as refused:
        short.promote(0)
    assert "--promote-cold" in refused.value.hint
    assert short.seen() == ""
    moved = short.promote(0, cold=True)
    assert moved.forced
    assert short.history() == [("", v(0), True)]
    assert short.seen() == v(0)
