"""Publishing, promoting and rolling back behind edges in memory: what users see, when, and what is recorded."""

import json
from dataclasses import replace

import pytest

from pipeline.cdn_work import resume_work
from pipeline.custody import renew_signatures, signing
from pipeline.digest import blake3_of, sha256_of
from pipeline.errors import (
    AccessDenied,
    AnotherPublisher,
    CallRefused,
    ChannelMoved,
    ConflictError,
    EdgeProofFailed,
    ObjectMissing,
    PoisonedObject,
    StoreUnavailable,
    UnknownName,
    UsageError,
)
from pipeline.events import StepStarted, ignore
from pipeline.keeping import keep_releases
from pipeline.layout import PARTS, TIMESTAMP, part_key
from pipeline.outcome import left_error
from pipeline.ports import Op
from pipeline.promote import promote_release, rollback_channel
from pipeline.release import Channel
from pipeline.show import show_tree
from pipeline.steps.ledger import Ledger
from pipeline.steps.serve import warmed_lately
from pipeline.trust.rotate import change_root
from pipeline.withdraw import yank_release
from tests.edge_world import BERT, front_memory, version
from tests.publish_world import STABLE


@pytest.fixture
def fronted(tmp_path):
    return front_memory(tmp_path)


def v(number):
    return str(version(number))


def prefetched(fronted, cdn=0):
    base = fronted.edges[cdn].url
    kept = fronted.cdns[cdn].kept.values()
    return [url.removeprefix(f"{base}/") for one in kept if one.task.op is Op.PREFETCH for url in one.task.urls]


def refuse_prefetch(submit):
    """A CDN whose account may refresh and no longer prefetch."""

    def refusing(op, urls, *, key):
        if op is Op.PREFETCH:
            raise AccessDenied("no credit", hint="Pay.")
        return submit(op, urls, key=key)

    return refusing


def refuse_everything(submit):
    """A CDN that serves another domain than the one that the settings name."""

    def refusing(op, urls, *, key):
        if op is Op.PREFETCH:
            raise CallRefused("no domain of yours", hint="Add it.", code="domain")
        return submit(op, urls, key=key)

    return refusing


def refreshed(fronted, cdn=0):
    base = fronted.edges[cdn].url
    kept = fronted.cdns[cdn].kept.values()
    return [url.removeprefix(f"{base}/") for one in kept if one.task.op is Op.REFRESH for url in one.task.urls]


# --- publish --------------------------------------------------------------------------------------


def test_publish_warms_proves_and_moves_the_channel(fronted):
    done = fronted.publish(0)
    assert done.complete
    assert done.channel == "stable"
    assert (done.left, done.channel_waits) == ([], "")
    assert [(edge.url, edge.objects, edge.hits, edge.misses) for edge in done.edges] == [
        ("http://edge0.test", done.parts.total + 1, done.parts.total + 1, 0)
    ]
    assert prefetched(fronted)[0] == done.manifest.path
    assert sorted(prefetched(fronted)[1:]) == sorted(fronted.site.parts())
    assert fronted.seen() == v(0)


def test_second_publish_prefetches_only_what_the_edge_lacks(fronted):
    fronted.publish(0)
    first = set(prefetched(fronted))
    done = fronted.publish(1)
    added = [key for key in prefetched(fronted) if key not in first]
    assert done.parts.reused > 0
    assert len(added) == done.parts.new + 1
    assert len(prefetched(fronted)) == len(first) + len(added)
    assert fronted.seen() == v(1)


def test_old_part_that_the_edge_lost_is_prefetched_again(fronted):
    fronted.publish(0)
    fronted.days += 2
    # A file that both releases have, and in this profile a part of its own.
    lost = part_key(blake3_of((fronted.sources[0] / "onnx" / "noise.bin").read_bytes()))
    del fronted.edges[0].kept[lost]
    before = len(prefetched(fronted))
    done = fronted.publish(1)
    again = prefetched(fronted)[before:]
    assert len(again) == done.parts.new + 2
    assert lost in again


def test_every_edge_is_warmed_and_proved(tmp_path):
    fronted = front_memory(tmp_path, edges=2)
    done = fronted.publish(0)
    assert [edge.url for edge in done.edges] == ["http://edge0.test", "http://edge1.test"]
    assert sorted(prefetched(fronted, 0)) == sorted(prefetched(fronted, 1))
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
    calls = len(prefetched(fronted))
    snapshot = fronted.site.highest()
    done = fronted.publish(0)
    assert done.already_published
    assert done.complete
    assert fronted.site.highest() == snapshot
    assert len(prefetched(fronted)) == calls


def test_timestamp_is_refreshed_after_the_commit_and_seen_at_the_edge(fronted):
    fronted.publish(0)
    fronted.publish(1)
    assert refreshed(fronted)[-1] == TIMESTAMP
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
    assert guessed[0] in refreshed(fronted)


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
        assert key in refreshed(fronted, number)
        assert edge.kept[key] == good


def test_other_commits_are_shown_at_the_edge_too(fronted):
    fronted.publish(0)
    yank_release(version(0), fronted.place(), lambda event: None, reason="broken")
    assert refreshed(fronted)[-1] == TIMESTAMP
    keep_releases([version(0)], fronted.place(), lambda event: None, reason="shipped")
    assert json.loads(fronted.edges[0].kept[TIMESTAMP] or b"{}")["signed"]["version"] == fronted.site.announced()
    renew_signatures(fronted.place(), lambda event: None)
    assert json.loads(fronted.edges[0].kept[TIMESTAMP] or b"{}")["signed"]["version"] == fronted.site.announced()


def test_new_root_is_refreshed_for_clients_have_asked_for_it_before_it_was_there(fronted):
    fronted.publish(0)
    with pytest.raises(ObjectMissing):
        list(fronted.edges[0].get("metadata/2.root.json"))
    place = fronted.place()
    change_root(signing(place, lambda event: None), {}, settle=lambda: None)
    assert "metadata/2.root.json" in refreshed(fronted)
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
    assert prefetched(short)[0] == done.manifest.path
    assert short.seen() == ""
    assert short.site.releases() == [v(0)]


def test_next_day_the_rest_is_warmed_once_and_the_channel_moves(short):
    short.publish(0)
    day_one = prefetched(short)
    while not (done := _next_day(short)).complete:
        assert short.seen() == ""
    assert done.channel == "stable"
    assert short.seen() == v(0)
    assert len(prefetched(short)) == len(set(prefetched(short))) == done.parts.total + 1
    assert prefetched(short)[: len(day_one)] == day_one


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


# --- promote --------------------------------------------------------------------------------------


def test_promote_moves_a_channel_to_a_release_the_edge_has(fronted):
    fronted.publish(0, channel=None)
    assert fronted.seen() == ""
    moved = fronted.promote(0)
    assert (moved.origin, moved.to, moved.changed, moved.forced, moved.complete) == ("", v(0), True, False, True)
    assert fronted.seen() == v(0)
    again = fronted.promote(0)
    assert not again.changed
    assert len(fronted.history()) == 1


def test_promote_of_what_the_edge_lost_is_refused_and_overruled(fronted):
    fronted.publish(0)
    fronted.publish(1, channel=None)
    fronted.days += 2
    fronted.edges[0].kept.clear()
    with pytest.raises(EdgeProofFailed, match=r"http://edge0\.test does not have \d+ of \d+ objects of bert-v1\.1\.0") as refused:
        fronted.promote(1)
    assert refused.value.exit_code == 3
    assert fronted.seen() == v(0)
    fronted.edges[0].kept.clear()
    assert fronted.promote(1, cold=True).forced
    assert fronted.history()[-1] == (v(0), v(1), True)


def test_what_was_prefetched_lately_is_believed_though_our_edge_fetches_it(fronted):
    fronted.publish(0, channel=None)
    # As at a CDN that prefetches into its middle tier only.
    fronted.edges[0].kept.clear()
    assert not fronted.promote(0).forced


def test_promote_cold_does_not_overrule_an_edge_that_serves_wrongly(fronted):
    fronted.publish(0, channel=None)
    fronted.edges[0].vices["*"] = "gzip"
    with pytest.raises(EdgeProofFailed, match="gzip"):
        fronted.promote(0, cold=True)


def test_promote_cold_does_not_overrule_a_yank(fronted):
    fronted.publish(0)
    fronted.publish(1, channel=None)
    yank_release(version(1), fronted.place(), lambda event: None, reason="broken")
    with pytest.raises(ConflictError, match="is yanked"):
        fronted.promote(1, cold=True)
    assert fronted.seen() == v(0)


def test_promote_of_an_unknown_release_names_the_nearest(fronted):
    fronted.publish(0)
    with pytest.raises(UnknownName, match=r"bert-v1\.2\.0"):
        fronted.promote(2)


def test_edge_that_keeps_the_old_timestamp_is_told_as_work_left(fronted):
    fronted.publish(0)
    fronted.cdns[0]._act = None
    fronted.edges[0].warm([TIMESTAMP])
    fronted.publish(1, channel=None, promote_cold=True)
    moved = fronted.promote(1, cold=True)
    assert not moved.complete
    assert [one.urls for one in moved.left] == [0]
    assert fronted.site.channel("bert").release == v(1)
    assert fronted.seen() == v(0)


def test_channel_that_somebody_else_moves_meanwhile_stays_there(fronted):
    fronted.publish(0)
    fronted.publish(1, channel=None)
    fronted.publish(2, channel=None)

    def step(name):
        if name == "promote.commit":
            fronted.promote(2, name="other")

    with pytest.raises(ChannelMoved):
        fronted.promote(1, step=step)
    assert fronted.seen() == v(2)


def test_channels_are_apart(fronted):
    fronted.publish(0)
    fronted.publish(1, channel=Channel("beta"))
    assert fronted.seen() == v(0)
    assert fronted.site.channel("bert", "beta").release == v(1)


# --- rollback -------------------------------------------------------------------------------------


def test_rollback_goes_back_in_one_command_and_again_further(fronted):
    for number in range(3):
        fronted.publish(number)
    assert fronted.rollback().to == v(1)
    assert fronted.seen() == v(1)
    moved = fronted.rollback()
    assert (moved.origin, moved.to) == (v(1), v(0))
    assert fronted.seen() == v(0)
    with pytest.raises(UsageError, match="no release before it"):
        fronted.rollback()
    assert [to for _, to, _ in fronted.history()] == [v(0), v(1), v(2), v(1), v(0)]


def test_rollback_moves_though_a_cdn_cannot_be_asked_and_a_promotion_does_not(fronted):
    fronted.publish(0)
    fronted.publish(1)

    def lacks():
        raise AccessDenied("the credential token of the CDN is not set", hint="Set TOKEN.")

    place = fronted.place()
    lacking = replace(place, delivery=replace(place.delivery, check=lacks))
    with pytest.raises(AccessDenied):
        promote_release(version(0), STABLE, lacking, ignore)
    assert fronted.seen() == v(1)
    assert rollback_channel(BERT, STABLE, lacking, ignore).to == v(0)
    assert fronted.seen() == v(0)


def test_rollback_passes_over_yanked_releases(fronted):
    for number in range(3):
        fronted.publish(number)
    yank_release(version(1), fronted.place(), lambda event: None, reason="broken")
    assert fronted.rollback().to == v(0)


def test_rollback_to_a_named_release(fronted):
    for number in range(3):
        fronted.publish(number)
    assert fronted.rollback(to=version(0)).to == v(0)
    assert fronted.seen() == v(0)


def test_rollback_to_another_model_is_refused(fronted):
    fronted.publish(0)
    with pytest.raises(UsageError, match="no release of bert"):
        fronted.rollback(to=type(version(0)).parse("gpt-v1.0.0"))


def test_rollback_to_what_the_edge_lost_moves_first_and_warms_after(fronted):
    fronted.publish(0)
    fronted.publish(1)
    fronted.days += 2
    fronted.edges[0].kept.clear()
    before = len(prefetched(fronted))
    seen = []

    def step(name):
        if name == "promote.warm":
            seen.append((fronted.seen(), len(prefetched(fronted)) - before))

    moved = fronted.rollback(step=step)
    assert seen == [(v(0), 0)]
    assert moved.forced
    assert moved.complete
    assert len(prefetched(fronted)) > before
    assert fronted.history()[-1] == (v(1), v(0), True)


def test_rollback_whose_warming_fails_has_moved_and_says_what_is_left(fronted):
    fronted.publish(0)
    fronted.publish(1)
    fronted.days += 2
    fronted.edges[0].kept.clear()
    fronted.cdns[0].submit = refuse_prefetch(fronted.cdns[0].submit)
    moved = fronted.rollback()
    assert fronted.seen() == v(0)
    assert not moved.complete
    assert "no credit" in moved.left[0].why


@pytest.mark.parametrize("stop", ["publish.warm", "cdn.order"])
def test_two_machines_that_publish_one_release_spend_its_urls_once(fronted, stop):
    done = []

    def step(name):
        if name == stop and not done:
            done.append(fronted.publish(0, name="other"))

    try:
        fronted.publish(0, step=step)
    except AnotherPublisher:
        assert stop == "cdn.order"
        fronted.publish(0)
    assert len(prefetched(fronted)) == len(set(prefetched(fronted))) == done[0].parts.total + 1
    assert fronted.seen() == v(0)


def test_urls_that_the_cdn_refuses_wait_for_nothing(fronted):
    base = fronted.edges[0].url
    fronted.cdns[0].submit = refuse_everything(fronted.cdns[0].submit)
    done = fronted.publish(0, channel=None)
    assert [(one.refused, one.urls) for one in done.left] == [(True, done.parts.total + 1)]
    error = left_error("it is committed", done.left)
    assert f"{done.parts.total + 1} URLs were refused" in str(error)
    assert "no domain of yours" in str(error)
    assert "wait in the ledger" not in str(error)
    assert "run it again" in error.hint
    del fronted.cdns[0].submit
    assert fronted.publish(0, channel=None).complete
    assert {f"{base}/{key}" for key in fronted.site.parts()} <= {f"{base}/{key}" for key in fronted.edges[0].kept}


def test_warming_that_takes_days_counts_from_when_each_object_was_fetched(tmp_path):
    fronted = front_memory(tmp_path, per_day=2)
    fronted.publish(0, channel=None)
    for _ in range(20):
        fronted.days += 1
        if resume_work(fronted.place(), lambda event: None).complete:
            break
    edge = fronted.edges[0]
    job = Ledger(fronted.site.store).open(v(0)).job
    recent = warmed_lately(job, fronted.delivery.fronts, fronted.now())
    assert 0 < len(recent) <= 4
    # Its nodes fetch from the middle tier, which has what was prefetched today.
    for key in recent:
        edge.kept.pop(key)
    assert not fronted.promote(0).forced


def test_rollback_goes_on_where_an_edge_serves_wrongly_and_says_so(fronted):
    fronted.publish(0)
    fronted.publish(1)
    key = part_key(blake3_of((fronted.sources[0] / "onnx" / "noise.bin").read_bytes()))
    fronted.edges[0].vices[key] = "rule"
    with pytest.raises(EdgeProofFailed, match="Cache-Control"):
        fronted.promote(0)
    moved = fronted.rollback()
    assert (moved.to, moved.forced, moved.complete) == (v(0), True, False)
    assert "Cache-Control is 'max-age=60'" in moved.left[0].why
    assert fronted.seen() == v(0)
    assert fronted.history()[-1] == (v(1), v(0), True)


def test_without_a_cdn_channels_move_as_well(tmp_path):
    fronted = front_memory(tmp_path, edges=0)
    fronted.publish(0)
    fronted.publish(1, channel=None)
    assert fronted.promote(1).complete
    assert fronted.site.channel("bert").release == v(1)
    assert fronted.rollback().to == v(0)


def test_history_says_who_when_from_and_to(fronted):
    fronted.publish(0)
    fronted.publish(1)
    fronted.rollback(name="another")
    shown = show_tree(fronted.place(), BERT).models[0]
    assert [(move.by, move.origin, move.to) for move in shown.history[STABLE]] == [
        ("publisher@test", "", v(0)),
        ("publisher@test", v(0), v(1)),
        ("another@test", v(1), v(0)),
    ]
    assert all(move.at.endswith("Z") for move in shown.history[STABLE])


def test_old_parts_are_all_below_parts(fronted):
    done = fronted.publish(0)
    assert {key.split("/")[0] + "/" for key in prefetched(fronted)} == {PARTS, "targets/"}
    assert done.parts.total == len(fronted.site.parts())
