"""Several jobs of the ledger that fail in one run: each is told, none hides another, and what succeeded is kept."""

from dataclasses import replace

import pytest

from pipeline.cdn_work import failures_error, release_objects, resume_work
from pipeline.errors import AccessDenied, ChannelMoved, EdgeProofFailed, StoreUnavailable, VerifyFailed
from pipeline.ports import Op
from pipeline.release import Channel
from tests.edge_world import front_memory, version

V0, V1, V2 = (str(version(number)) for number in range(3))
ALPHA, BETA, GAMMA = (Channel(name) for name in ("alpha", "beta", "gamma"))


@pytest.fixture
def fronted(tmp_path):
    """Three releases wait for their channels: one is served wrongly, one's channel was moved, the third has nothing in its way."""
    fronted = front_memory(tmp_path, per_day=2)
    for number, channel in enumerate((ALPHA, BETA, GAMMA)):
        assert fronted.publish(number, channel=channel).channel_waits == channel
    fronted.edges[0].vices[release_objects(fronted.place(), version(0))[0].key] = "gzip"
    fronted.promote(2, channel=BETA, cold=True)
    (cdn,) = fronted.cdns
    cdn.limits = {**cdn.limits, Op.PREFETCH: replace(cdn.limits[Op.PREFETCH], per_day=1000)}
    fronted.days += 1
    return fronted


def run(fronted, failed=None):
    return resume_work(fronted.place("other"), fronted.machine("other").events.append, failed=failed)


def test_every_job_that_failed_is_told_with_its_error_and_what_succeeded_is_kept(fronted):
    failed = []
    worked = run(fronted, failed)
    assert sorted(type(error).__name__ for error in failed) == ["ChannelMoved", "EdgeProofFailed"]
    notes = {job.job: job.note for job in worked.jobs}
    assert (V0 in notes, "beta" in notes[V1], notes[V2]) == (True, True, "")
    assert sorted(filter(None, notes.values())) == sorted(map(str, failed))
    assert [job.job for job in worked.jobs if job.moved] == [V2]
    assert not worked.complete
    assert fronted.site.channel("bert", GAMMA).release == V2


def test_a_program_that_asks_for_no_list_gets_one_error_that_names_them_all(fronted):
    with pytest.raises(EdgeProofFailed) as caught:
        run(fronted)
    assert str(caught.value).startswith("2 things failed: ")
    assert "beta" in str(caught.value)
    assert fronted.site.channel("bert", GAMMA).release == V2


def test_gravest_is_what_is_wrong_and_last_what_may_mend_itself():
    away, denied, moved, wrong = (
        StoreUnavailable("away"),
        AccessDenied("no"),
        ChannelMoved("moved"),
        VerifyFailed("wrong", hint="look"),
    )
    told = failures_error([away, moved, wrong, denied])
    assert (type(told), str(told), told.hint) == (VerifyFailed, "4 things failed: away; moved; wrong; no", "look")
    assert failures_error([away, moved]).exit_code == 8
    assert failures_error([denied, away]).exit_code == 5
    assert failures_error([moved]) is moved


def test_same_failure_of_several_jobs_is_told_once():
    assert str(failures_error([StoreUnavailable("away"), StoreUnavailable("away")])) == "away"
