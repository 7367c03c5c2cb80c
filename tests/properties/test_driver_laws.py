"""Laws of the driver: whatever fails in whatever order, and whoever is killed, each URL is done once in the end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import AccessDenied, CallUnanswered, CdnUnavailable, ModelportError, QuotaUsedUp
from pipeline.plan.calls import url_of
from pipeline.ports import CallLimits, Op
from pipeline.steps.driving import STEPS
from pipeline.steps.prefetch import drive_job, warm_release
from tests.makers.driving import BASE, JOB, FaultyCdn, Killed, World, keys

FAULTS = st.sampled_from(
    [
        "lost",
        CallUnanswered("gone"),
        CdnUnavailable("busy"),
        CdnUnavailable("busy", retry_after_s=30),
        AccessDenied("no"),
        QuotaUsedUp("no more"),
    ]
)
QUESTIONS = st.sampled_from([CdnUnavailable("busy"), AccessDenied("no")])
PLANS = st.dictionaries(st.tuples(st.just("submit"), st.integers(1, 12)), FAULTS, max_size=8)
DOUBTS = st.dictionaries(st.tuples(st.sampled_from(["poll", "quota", "find"]), st.integers(1, 8)), QUESTIONS, max_size=6)
KILLS = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 6)), max_size=4)


class Steps:
    """Kills a run at the n-th time that it reaches a step."""

    def __init__(self, name="", nth=0):
        self.name, self.left = name, nth

    def __call__(self, name):
        if name == self.name:
            self.left -= 1
            if self.left == 0:
                raise Killed


@settings(max_examples=120, deadline=None)
@given(PLANS, DOUBTS, KILLS, st.integers(1, 25), st.integers(1, 7), st.integers(5, 30), st.booleans())
def test_every_url_is_done_once_whatever_fails(plan, doubts, kills, count, per_call, per_day, tells_quota):
    world = World()
    limits = {op: CallLimits(urls=per_call, per_second=50.0, per_day=per_day) for op in Op}
    inner = world.cdn(limits=limits, knows_keys=False, polls=2, tells_quota=tells_quota)
    world.cdns = [FaultyCdn(inner, {**plan, **doubts})]
    killed = iter(kills)
    for _ in range(60):
        dispatch = world.dispatch(Steps(*next(killed, ("", 0))))
        log = dispatch.ledger.open(JOB)
        try:
            if not log.job.known:
                warm_release(world.fronts, JOB, keys(count), dispatch, release=JOB)
            else:
                drive_job(world.fronts, log, dispatch)
        except (Killed, ModelportError):
            pass
        if world.job().finished and world.job().known:
            break
        world.clock.elapsed += 86_400
    assert world.job().complete
    assert dict(world.sent(inner)) == dict.fromkeys((url_of(BASE, key) for key in keys(count)), 1)
