"""Publishers that race, and one that is stopped while others commit: nothing is lost, no reader ever refuses."""

import signal
import threading
import traceback

import pytest

from pipeline.layout import role_version
from pipeline.publish import STEPS
from pipeline.release import Release
from pipeline.trust import commit
from tests.publish_world import lay_out

FLAGS = {"profile": "raw"}
STABLE = {**FLAGS, "channel": "stable"}
CHANNEL_MOVED = 8


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return lay_out(tmp_path_factory.mktemp("source") / "m", tensor_bytes=4096)


class Poller:
    """The reference client, refreshing without a pause while the block runs; any refusal fails the test."""

    def __init__(self, site) -> None:
        self.reader, self.looks, self.failure = site.reader(), 0, None
        self._done = threading.Event()
        self._looked = threading.Condition()
        self._thread = threading.Thread(target=self._poll)

    def _poll(self) -> None:
        while self.failure is None and not self._done.wait(0.002):
            try:
                self.reader.refresh()
            except Exception as error:  # noqa: BLE001 (whatever it is, the test shows it)
                self.failure = error
            with self._looked:
                self.looks += 1
                self._looked.notify_all()

    def look_again(self) -> None:
        """Wait until it has begun and ended a whole look after this call, or has failed."""
        with self._looked:
            wanted = self.looks + 2
            self._looked.wait_for(lambda: self.looks >= wanted or self.failure is not None, 30)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        assert self.failure is None, "".join(traceback.format_exception(self.failure))
        assert self.looks


def job(machine, release, source, flags=FLAGS, **words):
    return ("publish", machine, {"release": release, "source": source, "flags": flags, **words})


def check_tree(site):
    """The highest snapshot is announced and no number of any role was used by two contents (create-only saw to it)."""
    assert site.announced() == site.highest()
    listed = [role_version(info.key) for info in site.store.list("metadata/")]
    assert len(set(listed)) == len(listed)


def check_channel(site, model, moved):
    """Every move that was reported stands in the history once, each from where the one before led to."""
    document = site.channel(model)
    history = document.history
    assert document.sequence == len(moved)
    # The newest hundred are kept.
    assert len(history) == min(100, len(moved))
    assert len({move.to for move in history}) == len(history)
    assert {move.to for move in history} <= set(moved)
    assert [move.origin for move in history[1:]] == [move.to for move in history[:-1]]
    assert document.release == history[-1].to


# --- two at once ----------------------------------------------------------------------------------


# A hundred rounds in four trees: what is measured is the race, not how large metadata grows.
@pytest.mark.parametrize(("kind", "rounds"), [*[("directory", 25)] * 4, ("seaweedfs", 10)])
def test_two_releases_of_one_model_published_at_once_are_both_there(make_site, children, source, kind, rounds):
    site = make_site(kind)
    here, there = site.machine(), site.machine()
    if kind == "directory":
        # Two machines that publish into one directory have its keys both.
        here.publish("bert-v0.0.1", source, profile="raw")
        there.home = here.home
    else:
        here.publish("bert-v0.0.1", source, profile="raw")
    moved, wanted = [], ["bert-v0.0.1"]
    with Poller(site):
        for turn in range(rounds):
            names = [f"bert-v1.{turn}.0", f"bert-v2.{turn}.0"]
            both = [job(machine, name, source, STABLE) for machine, name in zip((here, there), names, strict=True)]
            for child, name in zip(children.start_together(both), names, strict=True):
                code = child.wait()
                assert code in {0, CHANNEL_MOVED}, child.answer()
                if code:
                    assert child.answer()["kind"] == "ChannelMoved"
                else:
                    moved.append(name)
                wanted.append(name)
            assert len(moved) > turn
            check_tree(site)
    assert site.releases() == sorted(wanted)
    check_channel(site, "bert", moved)
    assert site.leases() == []


@pytest.mark.parametrize(("kind", "rounds"), [("directory", 20), ("seaweedfs", 5)])
def test_one_release_published_twice_at_once_is_one_release(make_site, children, source, kind, rounds):
    site = make_site(kind)
    here, there = site.machine(), site.machine()
    here.publish("other-v0.0.1", source, profile="raw")
    if kind == "directory":
        there.home = here.home
    with Poller(site):
        for turn in range(rounds):
            name = f"bert-v1.{turn}.0"
            both = children.start_together([job(machine, name, source, STABLE) for machine in (here, there)])
            assert [child.wait() for child in both] == [0, 0], [child.answer() for child in both]
            first, second = (child.answer() for child in both)
            assert first["manifest"] == second["manifest"]
    check_tree(site)
    assert site.releases() == sorted([*(f"bert-v1.{turn}.0" for turn in range(rounds)), "other-v0.0.1"])
    assert site.channel("bert").sequence == rounds
    here.publish(name, source, profile="raw")
    assert site.leases() == []


@pytest.mark.parametrize(("kind", "rounds"), [("directory", 20), ("seaweedfs", 5)])
def test_two_models_published_at_once_are_both_there(make_site, children, source, kind, rounds):
    site = make_site(kind)
    here, there = site.machine(), site.machine()
    here.publish("other-v0.0.1", source, profile="raw")
    if kind == "directory":
        there.home = here.home
    with Poller(site):
        for turn in range(rounds):
            # Every fourth time two models that the tree does not know yet: both need a role of their own.
            names = [f"{model}{turn // 4}-v1.{turn}.0" for model in ("bert", "gpt")]
            both = [job(machine, name, source) for machine, name in zip((here, there), names, strict=True)]
            for child in children.start_together(both):
                assert child.wait() == 0, child.answer()
            check_tree(site)
    assert len(site.releases()) == 2 * rounds + 1
    site.reader().check(*map(Release.parse, site.releases()))


def test_first_use_of_one_directory_by_two_processes_at_once_makes_one_tree(make_site, children, source):
    for turn in range(25):
        site = make_site("directory")
        here = site.machine()
        names = ["bert-v1.0.0", "bert-v1.1.0"] if turn % 2 else ["bert-v1.0.0", "gpt-v1.0.0"]
        for child in children.start_together([job(here, name, source) for name in names]):
            assert child.wait() == 0, child.answer()
        assert site.releases() == names
        check_tree(site)
        assert here.state.pins == (site.fingerprint,)
        site.reader().check(*map(Release.parse, names))


def test_first_use_of_one_directory_by_two_machines_at_once_tells_the_one_that_lost(make_site, children, source):
    refused = 0
    for _ in range(15):
        site = make_site("directory")
        both = children.start_together([job(site.machine(), "bert-v1.0.0", source), job(site.machine(), "gpt-v1.0.0", source)])
        codes = [child.wait() for child in both]
        assert 0 in codes, [child.answer() for child in both]
        for child, code in zip(both, codes, strict=True):
            if code:
                assert code == 4, child.answer()
                assert len(child.answer()["error"].splitlines()) == 1
                refused += 1
        assert len(site.releases()) == 1
        check_tree(site)
    assert refused == 15


# --- one is stopped -------------------------------------------------------------------------------

# commit.complete comes only where another run left a snapshot that nobody announced.
STOPS = tuple(step for step in (*STEPS[2:], *commit.STEPS) if step != "commit.complete")
COMMIT_STOPS = tuple(step for step in STOPS if step in commit.STEPS)
# OSS cannot compare before it swaps: a publisher stopped between its last look and its write shows an older timestamp.
BEFORE_THE_LAST_LOOK = tuple(step for step in COMMIT_STOPS if step != "commit.swap")


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        *(("directory", step) for step in STOPS),
        *(("seaweedfs", step) for step in ("publish.part", *COMMIT_STOPS)),
        *(("oss", step) for step in BEFORE_THE_LAST_LOOK),
    ],
)
def test_publisher_stopped_at_a_step_while_two_others_commit_loses_nothing(make_site, children, source, kind, step):
    site = make_site(kind)
    here = site.machine()
    here.publish("bert-v0.0.1", source, profile="raw")
    others = [site.machine(), site.machine()]
    if kind == "directory":
        for other in others:
            other.home = here.home
    stopped = children.start(
        "publish", here, release="bert-v1.0.0", source=source, flags=STABLE, at={"step": step, "signal": "SIGSTOP"}
    )
    stopped.wait_stopped()
    with Poller(site) as poller:
        other = children.start("publish", others[0], release="bert-v1.1.0", source=source, flags=FLAGS)
        assert other.wait() == 0, other.answer()
        other = children.start("publish", others[1], release="gpt-v1.0.0", source=source, flags=STABLE)
        assert other.wait() == 0, other.answer()
        assert site.announced() == site.highest()
        poller.look_again()
        stopped.signal(signal.SIGCONT)
        assert stopped.wait() == 0, stopped.answer()
    assert site.releases() == ["bert-v0.0.1", "bert-v1.0.0", "bert-v1.1.0", "gpt-v1.0.0"]
    assert site.channel("bert").release == "bert-v1.0.0"
    assert site.channel("gpt").release == "gpt-v1.0.0"
    check_tree(site)
    poller.reader.check(*map(Release.parse, site.releases()))


def test_publisher_stopped_between_look_and_swap_where_nothing_compares_heals_what_it_showed(make_site, children, source):
    site = make_site("oss")
    here, other = site.machine(), site.machine()
    here.publish("bert-v0.0.1", source, profile="raw")
    stopped = children.start(
        "publish", here, release="bert-v1.0.0", source=source, flags=FLAGS, at={"step": "commit.swap", "signal": "SIGSTOP"}
    )
    stopped.wait_stopped()
    done = children.start("publish", other, release="bert-v1.1.0", source=source, flags=FLAGS)
    assert done.wait() == 0, done.answer()
    stopped.signal(signal.SIGCONT)
    assert stopped.wait() == 0, stopped.answer()
    check_tree(site)
    assert site.releases() == ["bert-v0.0.1", "bert-v1.0.0", "bert-v1.1.0"]
    site.reader().check(*map(Release.parse, site.releases()))
