"""CDN work on its own: warm, refresh and look."""

import pytest

from pipeline.cdn_status import plan_calls, read_status
from pipeline.cdn_work import keys_of, left_error, prefetch_paths, refresh_paths
from pipeline.digest import sha256_of
from pipeline.errors import CallRefused, UnknownName, UsageError
from pipeline.layout import PARTS, TIMESTAMP
from pipeline.ports import Op
from pipeline.release import Release
from pipeline.steps.ledger import Ledger
from tests.edge_world import front_memory, version

PER_DAY = 2
V0 = str(version(0))


@pytest.fixture
def fronted(tmp_path):
    """A site whose CDN prefetches two URLs a day."""
    return front_memory(tmp_path, per_day=PER_DAY)


def jobs(fronted):
    return [job for job in Ledger(fronted.site.store).jobs() if not job.finished]


def test_release_is_warmed_by_hand(tmp_path):
    fronted = front_memory(tmp_path)
    fronted.publish(0, channel=None)
    fronted.days += 3
    fronted.edges[0].kept.clear()
    place, cdns = fronted.place(), tuple(fronted.cdns)
    keys = keys_of(place, cdns, release=version(0), paths=())
    worked = prefetch_paths(place, keys, release=version(0), listen=fronted.machine().events.append)
    assert worked.complete
    assert set(keys) <= set(fronted.edges[0].kept)
    assert worked.jobs[0].cdns[0].urls == len(keys)
    assert keys[0].endswith(".manifest.json")
    assert all(key.startswith(PARTS) for key in keys[1:])


def test_paths_and_urls_name_the_same_objects(tmp_path):
    fronted = front_memory(tmp_path)
    place, cdns = fronted.place(), tuple(fronted.cdns)
    found = keys_of(place, cdns, release=None, paths=["/a/b", "http://edge0.test/a/b", "HTTP://EDGE0.test:80/c%20d"])
    assert found == ("a/b", "c d")
    for wrong in ("http://elsewhere.test/a", "ftp://edge0.test/a", "http://edge0.test/a?x=1"):
        with pytest.raises(UsageError):
            keys_of(place, cdns, release=None, paths=[wrong])


def test_unknown_release_is_told_before_anything_is_asked(fronted):
    fronted.publish(0, channel=None)
    with pytest.raises(UnknownName):
        keys_of(fronted.place(), tuple(fronted.cdns), release=Release.parse("bert-v9.0.0"), paths=())


def test_refresh_by_hand_evicts_and_waits(tmp_path):
    fronted = front_memory(tmp_path)
    fronted.publish(0)
    fronted.edges[0].warm([TIMESTAMP])
    worked = refresh_paths(fronted.place(), [TIMESTAMP], prefix=False, listen=fronted.machine().events.append)
    assert worked.complete
    assert TIMESTAMP not in fronted.edges[0].kept


def test_url_that_the_cdn_refuses_is_an_error_of_its_own(tmp_path):
    fronted = front_memory(tmp_path)
    fronted.site.store.put("parts/bad", b"bad", sha256=sha256_of(b"bad"))
    fronted.cdns[0].refused = {"http://edge0.test/parts/bad"}
    worked = prefetch_paths(fronted.place(), ["parts/bad"], release=None, listen=fronted.machine().events.append)
    left = left_error(worked)
    assert isinstance(left, CallRefused)
    assert "parts/bad" in str(left)
    assert left.exit_code == 5


def test_jobs_that_ended_long_ago_are_removed_on_the_way(tmp_path):
    fronted = front_memory(tmp_path)
    fronted.publish(0)
    # The store's clock is the machine's: ask for what it would remove a month from now.
    ledger = Ledger(fronted.site.store)
    assert ledger.remove_finished(now=fronted.site.store.now()) == []
    fronted.days += 31
    gone = ledger.remove_finished(now=fronted.now())
    assert V0 in gone
    assert ledger.jobs() == []


def test_status_shows_jobs_tasks_failures_and_quota(fronted):
    fronted.publish(0)
    shown = read_status(fronted.site.store, fronted.cdns, now=fronted.now)
    (job,) = shown.jobs
    (lane,) = job.cdns
    assert (job.job, job.channel, job.finished) == (V0, "bert@stable", False)
    assert lane.states["done"] == PER_DAY
    assert lane.waits_until
    assert 0 < lane.percent < 100
    quota = next(one for one in shown.quotas if one.op == "prefetch")
    assert (quota.limit, quota.remaining, quota.told_by) == (PER_DAY, 0, "api")
    everything = read_status(fronted.site.store, fronted.cdns, all_jobs=True, now=fronted.now)
    assert len(everything.jobs) > len(shown.jobs)


def test_status_asks_for_open_tasks_and_survives_a_cdn_that_is_silent(tmp_path):
    fronted = front_memory(tmp_path)
    fronted.cdns[0].polls = 10**9
    fronted.publish(0)
    fronted.cdns[0].failing = {}
    shown = read_status(fronted.site.store, fronted.cdns, now=fronted.now)
    task = next(task for job in shown.jobs for lane in job.cdns for task in lane.tasks)
    assert (task.state, task.percent) == ("running", 50)
    silent = read_status(fronted.site.store, [Silent(fronted.cdns[0])], now=fronted.now)
    assert any("its tasks are not known" in warning for warning in silent.warnings)
    assert any("its quota is not known" in warning for warning in silent.warnings)
    unasked = read_status(fronted.site.store, [Silent(fronted.cdns[0])], ask=False, now=fronted.now)
    assert unasked.warnings == []
    assert next(one for one in unasked.quotas if one.op == "prefetch").told_by == "settings"


class Silent:
    """A CDN that answers no question."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def _refuse(self, *_):
        raise CallRefused("it says nothing")

    poll = quota = _refuse


def test_plan_tells_calls_urls_and_the_last_day_without_asking(fronted):
    keys = [f"parts/aa/{number}" for number in range(12)]
    (planned,) = plan_calls(fronted.site.store, [Silent(fronted.cdns[0])], keys, Op.PREFETCH, now=fronted.now).cdns
    assert (planned.urls, planned.today, planned.remaining, planned.by_reads) == (12, PER_DAY, PER_DAY, False)
    # Two a day: one call on each of six days.
    assert planned.calls == 6
    assert planned.last_day > f"{fronted.now():%Y-%m-%d}"
