"""Promoting and rolling back behind edges in memory: what users see, when, and what is recorded."""

from dataclasses import replace

import pytest

from pipeline.cdn_work import resume_work
from pipeline.digest import blake3_of
from pipeline.errors import (
    AccessDenied,
    AnotherPublisher,
    CallRefused,
    ChannelMoved,
    ConflictError,
    EdgeProofFailed,
    UnknownName,
    UsageError,
)
from pipeline.events import ignore
from pipeline.layout import PARTS, TIMESTAMP, part_key
from pipeline.outcome import left_error
from pipeline.ports import Op
from pipeline.promote import promote_release, rollback_channel
from pipeline.release import Channel
from pipeline.show import show_tree
from pipeline.steps.ledger import Ledger
from pipeline.steps.serve import warmed_lately
from pipeline.withdraw import yank_release
from tests.edge_world import BERT, front_memory, version
from tests.publish_world import STABLE


@pytest.fixture
def fronted(tmp_path):
    return front_memory(tmp_path)


def v(number):
    return str(version(number))


# --- promote --------------------------------------------------------------------------------------


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
    before = len(fronted.prefetched())
    seen = []

    def step(name):
        if name == "promote.warm":
            seen.append((fronted.seen(), len(fronted.prefetched()) - before))

    moved = fronted.rollback(step=step)
    assert seen == [(v(0), 0)]
    assert moved.forced
    assert moved.complete
    assert len(fronted.prefetched()) > before
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
    assert len(fronted.prefetched()) == len(set(fronted.prefetched())) == done[0].parts.total + 1
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
    assert {key.split("/")[0] + "/" for key in fronted.prefetched()} == {PARTS, "targets/"}
    assert done.parts.total == len(fronted.site.parts())
