"""CDN work goes on with what a publish had to leave, on other days and machines, and keeps what it promised."""

from dataclasses import replace

import pytest

from pipeline.cdn_work import keys_of, left_error, prefetch_paths, release_objects, resume_work
from pipeline.errors import ChannelMoved, EdgeProofFailed, LeftInLedger, VerifyFailed
from pipeline.layout import LEASES, TIMESTAMP
from pipeline.ports import Op
from pipeline.release import Channel
from pipeline.steps.ledger import Ledger
from pipeline.steps.prefetch import refresh_keys
from pipeline.trust.publisher import no_step
from pipeline.withdraw import retire_release
from tests.edge_world import front_memory, version
from tests.makers.driving import Killed

PER_DAY = 2
V0, V1 = str(version(0)), str(version(1))


@pytest.fixture
def fronted(tmp_path):
    """A site whose CDN prefetches two URLs a day."""
    return front_memory(tmp_path, per_day=PER_DAY)


def resume(fronted, name="other", *, step=no_step):
    machine = fronted.machine(name)
    return resume_work(fronted.place(name, step=step), machine.events.append)


def days_until_done(fronted, name="other", *, step=no_step):
    for day in range(1, 30):
        fronted.days += 1
        worked = resume(fronted, name, step=step)
        if worked.complete:
            return day, worked
    raise AssertionError("it does not end")


def prefetched(fronted, cdn=0):
    return [url for kept in fronted.cdns[cdn].kept.values() if kept.task.op is Op.PREFETCH for url in kept.task.urls]


def forget_leases(fronted):
    """A killed process of this machine is known to be dead; this one lives on."""
    for info in list(fronted.site.store.list(LEASES)):
        fronted.site.store.delete(info.key)


def key_of_manifest(fronted):
    """The key that the manifest of the first source will have."""
    other = front_memory(fronted.site.folder / "other")
    other.publish(0)
    return release_objects(other.place(), version(0))[0].key


def jobs(fronted):
    return [job for job in Ledger(fronted.site.store).jobs() if not job.finished]


def test_what_a_publish_left_is_ended_by_another_machine_which_moves_the_channel(fronted):
    done = fronted.publish(0)
    assert not done.complete
    assert fronted.seen() == ""
    objects = release_objects(fronted.place(), version(0))
    assert [url.removeprefix("http://edge0.test/") for url in prefetched(fronted)] == [one.key for one in objects[:PER_DAY]]
    days, worked = days_until_done(fronted)
    assert days == (len(objects) - 1) // PER_DAY
    (job,) = worked.jobs
    assert (job.channel, job.moved, job.over) == ("bert@stable", True, True)
    assert len(prefetched(fronted)) == len(set(prefetched(fronted))) == len(objects)
    assert fronted.seen() == V0
    assert fronted.history() == [("", V0, False)]
    assert left_error(worked) is None
    assert resume(fronted).jobs == []


def test_day_of_the_rest_and_what_to_do_are_told(fronted):
    fronted.publish(0)
    worked = resume(fronted)
    left = left_error(worked)
    assert isinstance(left, LeftInLedger)
    assert f"{worked.left} URLs are left in the ledger until {worked.jobs[0].cdns[0].until}" in str(left)
    assert "cdn.resume" in left.hint


def test_channel_that_was_moved_meanwhile_stays_and_the_promise_is_void(fronted):
    fronted.publish(0, promote_cold=True)
    fronted.publish(1)
    assert next(job for job in jobs(fronted) if job.name == V1).move.expected == V0
    # Who promised has a clock that is ahead: times decide nothing here.
    fronted.promote(1, cold=True)
    fronted.rollback()
    # It points again to where it pointed when the move was promised, and yet somebody decided since.
    with pytest.raises(ChannelMoved) as caught:
        days_until_done(fronted)
    assert "promote --model bert-v1.1.0" in caught.value.hint
    days_until_done(fronted)
    assert fronted.seen() == V0
    assert jobs(fronted) == []


def test_channel_that_points_there_by_now_is_no_conflict(fronted):
    fronted.publish(0)
    fronted.promote(0, cold=True)
    _, worked = days_until_done(fronted)
    assert worked.complete
    assert fronted.history() == [("", V0, True)]


@pytest.mark.parametrize("stop", ["commit.names", "commit.swap", "promote.show", "promote.drop", "cdn.finish"])
def test_resume_that_is_killed_at_a_step_of_its_move_is_ended_by_the_next(fronted, stop):
    fronted.publish(0)

    def step(name):
        if name == stop and not job_left():
            raise Killed

    def job_left():
        (job,) = [job for job in jobs(fronted) if job.name == V0]
        return not job.complete

    with pytest.raises(Killed):
        days_until_done(fronted, step=step)
    forget_leases(fronted)
    days_until_done(fronted, "third")
    assert fronted.seen() == V0
    assert fronted.history() == [("", V0, False)]
    assert jobs(fronted) == []


def test_edge_that_does_not_show_the_promised_move_is_told_as_work_left(fronted):
    fronted.publish(0)
    fronted.publish(1, channel=Channel("beta"))
    stubborn = fronted.edges[0]
    stubborn.warm([TIMESTAMP])
    act, fronted.cdns[0]._act = fronted.cdns[0]._act, lambda op, urls: act(op, urls) if op is Op.PREFETCH else None
    notes = []
    for _ in range(20):
        fronted.days += 1
        worked = resume(fronted)
        notes += [job.note for job in worked.jobs if job.moved]
        if notes:
            break
    assert "it may show what was there before" in notes[0]
    assert not worked.complete
    left = left_error(worked)
    assert isinstance(left, LeftInLedger)
    assert "it may show what was there before" in str(left)


def test_refresh_of_a_dead_run_is_ended_at_once(tmp_path):
    fronted = front_memory(tmp_path)
    fronted.publish(0)

    def step(name):
        if name == "cdn.polled":
            raise Killed

    with pytest.raises(Killed):
        fronted.promote(0, channel=Channel("beta"), step=step)
    assert len(jobs(fronted)) == 1
    forget_leases(fronted)
    assert resume(fronted).complete
    assert jobs(fronted) == []


def refresh_and_die(fronted):
    """A refresh that is killed between the CDN's answer and its record, as in the middle of a commit, which knows of no lease."""

    def step(name):
        if name == "cdn.answer":
            raise Killed

    with pytest.raises(Killed):
        refresh_keys(fronted.cdns, [TIMESTAMP], replace(fronted.place(), step=step).dispatch("", lambda event: None))


def test_refresh_that_somebody_may_be_at_is_told_and_is_no_peace(tmp_path):
    fronted = front_memory(tmp_path)
    fronted.publish(0)
    refresh_and_die(fronted)
    worked = resume(fronted)
    assert not worked.complete
    assert "may be at it still" in str(left_error(worked))
    fronted.days += 1
    assert resume(fronted).complete
    assert jobs(fronted) == []


def test_refresh_ordered_by_a_clock_that_was_far_ahead_is_not_left_for_ever(tmp_path):
    fronted = front_memory(tmp_path)
    fronted.publish(0)
    fronted.days += 3000
    refresh_and_die(fronted)
    fronted.days -= 3000
    assert resume(fronted).complete
    assert jobs(fronted) == []


def test_what_waits_for_its_move_alone_is_told(fronted):
    fronted.publish(0)
    place = fronted.place()
    keys = keys_of(place, tuple(fronted.cdns), release=version(0), paths=())
    for _ in range(20):
        fronted.days += 1
        worked = prefetch_paths(place, keys, release=version(0), listen=lambda event: None)
        if not worked.left:
            break
    assert str(left_error(worked)) == "all is warm, and bert@stable waits for its move"
    assert resume(fronted).complete
    assert fronted.seen() == V0


def test_what_the_origin_lacks_is_not_asked_for(fronted):
    with pytest.raises(VerifyFailed, match="parts/no/thing"):
        prefetch_paths(fronted.place(), ["parts/no/thing"], release=None, listen=lambda event: None)
    assert prefetched(fronted) == []


def test_rest_of_a_release_that_was_retired_and_collected_is_not_asked_for(fronted):
    fronted.publish(0, channel=None)
    before = prefetched(fronted)
    later = [one.key for one in release_objects(fronted.place(), version(0))[PER_DAY:]]
    fronted.site.store.delete(later[0])
    fronted.days += 1
    with pytest.raises(VerifyFailed, match=later[0]):
        resume(fronted)
    retire_release(version(0), fronted.place(), lambda event: None, reason="broken")
    worked = resume(fronted)
    assert worked.complete
    assert "was retired" in worked.warnings[0]
    assert jobs(fronted) == []
    assert prefetched(fronted) == before


def test_refused_url_of_a_promised_move_is_asked_for_again_when_the_cdn_was_mended(tmp_path):
    fronted = front_memory(tmp_path)
    manifest = f"http://edge0.test/{key_of_manifest(fronted)}"
    fronted.cdns[0].refused = {manifest}
    assert fronted.publish(0).channel_waits == "stable"
    assert not resume(fronted).complete
    fronted.cdns[0].refused = set()
    assert resume(fronted).complete
    assert fronted.seen() == V0


def test_failed_edge_proof_leaves_the_channel_and_the_job(fronted):
    fronted.publish(0)
    manifest = release_objects(fronted.place(), version(0))[0].key
    fronted.edges[0].vices[manifest] = "gzip"
    with pytest.raises(EdgeProofFailed):
        days_until_done(fronted)
    assert fronted.seen() == ""
    assert [job.name for job in jobs(fronted)] == [V0]
    fronted.edges[0].vices.clear()
    assert resume(fronted).complete
    assert fronted.seen() == V0


def test_release_whose_publish_has_not_ended_is_warmed_and_left_to_it(fronted):
    def step(name):
        if name == "publish.edge":
            raise Killed

    with pytest.raises(Killed):
        fronted.publish(0, step=step)
    forget_leases(fronted)
    for _ in range(10):
        fronted.days += 1
        worked = resume(fronted)
        if worked.left == 0:
            break
    assert not worked.complete
    assert "its publish has not ended" in worked.jobs[0].note
    assert "its publish has not ended" in str(left_error(worked))
    assert fronted.publish(0).complete
    assert fronted.seen() == V0
    assert resume(fronted).complete


def test_publisher_that_comes_first_ends_the_job_itself(fronted):
    fronted.publish(0)
    for _ in range(10):
        fronted.days += 1
        if fronted.publish(0).complete:
            break
    assert fronted.seen() == V0
    assert jobs(fronted) == []
    assert len(prefetched(fronted)) == len(set(prefetched(fronted)))


def test_job_that_a_live_publisher_holds_is_left_to_it_and_told(fronted):
    seen = []

    def step(name):
        if name == "cdn.polled" and not seen:
            seen.append(resume(fronted))

    fronted.publish(0, step=step)
    (worked,) = seen
    assert not worked.complete
    assert "is at work on the ledger's job" in worked.jobs[0].note
    assert len(prefetched(fronted)) == PER_DAY


def test_one_job_that_fails_does_not_stop_the_others(fronted):
    fronted.publish(0)
    fronted.publish(1, channel=Channel("beta"))
    manifest = release_objects(fronted.place(), version(0))[0].key
    fronted.edges[0].vices[manifest] = "gzip"
    assert {job.name for job in jobs(fronted)} == {V0, V1}
    failures = 0
    for _ in range(20):
        fronted.days += 1
        try:
            resume(fronted)
        except EdgeProofFailed:
            failures += 1
    assert failures
    assert [job.name for job in jobs(fronted)] == [V0]
