"""End to end through a real edge: nginx with slices before SeaweedFS, readers who poll without pause, publishers who die."""

import shutil
import signal
import threading
from collections import defaultdict

import pytest

from pipeline.errors import EdgeProofFailed, ModelportError
from pipeline.layout import PARTS
from pipeline.sources.http import HttpReader
from tests.edge_world import front_nginx, sources_in, version
from tests.fetch_world import Fetcher, contents
from tests.publish_children import open_children
from tests.servers.edges import run_nginx
from tests.servers.origins import open_origin, public_bucket

POLLERS = 3
# Where a publisher behind an edge may die with something done that nobody has seen yet.
DEADLY = (
    "publish.manifest",
    "publish.warm",
    "cdn.send",
    "cdn.call",
    "cdn.answer",
    "publish.edge",
    "publish.commit",
    "commit.names",
    "commit.swap",
    "publish.show",
    "publish.drop",
)


@pytest.fixture(scope="module")
def bucket(seaweedfs):
    return public_bucket(seaweedfs)


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    yield from open_children(tmp_path_factory.mktemp("children"))


@pytest.fixture
def fronted(seaweedfs, bucket, tmp_path):
    origin = open_origin(seaweedfs, bucket)
    with run_nginx(origin.server, origin.path) as server:
        fronted = front_nginx(tmp_path, origin, server)
        fronted.server = server
        yield fronted
        fronted.edges[0].close()


class Poller:
    """A user who fetches bert@stable through the edge again and again, with a cache of nothing."""

    def __init__(self, fronted, number):
        self.releases = []
        self.faults = []
        self._fronted = fronted
        self._home = fronted.site.folder / f"poller{number}"
        self._wanted = {str(version(at)): contents(source) for at, source in enumerate(fronted.sources)}
        self._thread = threading.Thread(target=self._run)
        self._stop = threading.Event()
        self._turned = threading.Condition()
        self._turns = 0

    def fetch(self):
        fetcher = Fetcher(self._home, [HttpReader(self._fronted.server.url)], self._fronted.site.fingerprint, cache_limit=0)
        try:
            done = fetcher.fetch("bert@stable")
            release = done.release
            found = contents(fetcher.models / release)
            if found != self._wanted[release]:
                self.faults.append(f"{release} is a mixture")
            if not self.releases or self.releases[-1] != release:
                self.releases.append(release)
        finally:
            for folder in ("models", "cache", "installed"):
                shutil.rmtree(self._home / folder, ignore_errors=True)

    def _run(self):
        while not self._stop.is_set():
            try:
                self.fetch()
            except (ModelportError, OSError) as error:
                self.faults.append(str(error))
            with self._turned:
                self._turns += 1
                self._turned.notify_all()

    def turn(self):
        """Wait for two whole turns: the second began after this was called."""
        with self._turned:
            until = self._turns + 2
            assert self._turned.wait_for(lambda: self._turns >= until, 60)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def by_key(fronted, prefix=PARTS):
    """For each part the words of the edge's log, in order: (who asked, HIT or MISS, status)."""
    found = defaultdict(list)
    for line in fronted.server.asked(f" /{prefix}"):
        _, path, status, _, cached, agent = line.split(" ", 5)
        found[path.removeprefix("/")].append((agent.partition("=")[2], cached.removeprefix("cache="), status))
    return found


def check_log(fronted):
    """No 404 but for a root that may come, and no user ever waited for the origin to give a part."""
    missing = [line for line in fronted.server.asked(" 404 .*by=modelport") if ".root.json" not in line]
    assert missing == []
    for key, asked in by_key(fronted).items():
        assert asked[0][1] == "MISS", key
        assert [cached for _, cached, _ in asked[1:]] == ["HIT"] * (len(asked) - 1), key
        assert "prefetch" in asked[0][0], key
        assert len(asked) >= 3, key


def test_release_is_missed_once_and_hit_from_then_on(fronted):
    fronted.publish(0, channel=None)
    fronted.promote(0)
    user = Poller(fronted, 0)
    user.fetch()
    assert (user.releases, user.faults) == ([str(version(0))], [])
    check_log(fronted)


def test_readers_who_poll_see_old_then_new_then_old_and_never_a_mixture(fronted):
    fronted.publish(0)
    old, new = str(version(0)), str(version(1))
    pollers = [Poller(fronted, number) for number in range(POLLERS)]
    with pollers[0], pollers[1], pollers[2]:
        for poller in pollers:
            poller.turn()
        fronted.publish(1)
        for poller in pollers:
            poller.turn()
        fronted.rollback()
        for poller in pollers:
            poller.turn()
    assert [poller.faults for poller in pollers] == [[]] * POLLERS
    assert [poller.releases for poller in pollers] == [[old, new, old]] * POLLERS
    check_log(fronted)


def test_publisher_killed_at_step_after_step_never_disturbs_a_reader(fronted, children):
    fronted.sources = sources_in(fronted.site.folder / "many", len(DEADLY) + 1)
    fronted.publish(0)
    with Poller(fronted, 0) as user:
        for number, step in enumerate(DEADLY, 1):
            assert _kill_at(children, fronted, number, step) == -signal.SIGKILL, f"{step} never came"
            user.turn()
            assert user.releases[-1] in {str(version(number - 1)), str(version(number))}
            assert fronted.publish(number, name="another").complete
            user.turn()
        fronted.rollback()
        user.turn()
    assert user.faults == []
    assert user.releases == [*(str(version(number)) for number in range(len(DEADLY) + 1)), str(version(len(DEADLY) - 1))]
    check_log(fronted)


def _kill_at(children, fronted, number, step):
    """Let a process of its own publish until ``step``, where it is killed; its exit code."""
    return children.start(
        "publish",
        fronted.machine(),
        release=str(version(number)),
        source=fronted.sources[number],
        flags={"profile": "raw", "channel": "stable"},
        at={"step": step, "signal": "SIGKILL"},
        edge=fronted.server.url,
    ).wait()


def test_name_that_was_guessed_too_early_is_refreshed_before_anything_announces_it(fronted):
    fronted.publish(0)
    number = fronted.site.highest() + 1
    guessed = [f"metadata/{number}.snapshot.json", f"metadata/{number}.bert.json", "metadata/2.bert.json", "metadata/3.bert.json"]
    for name in guessed:
        assert fronted.server.get(f"{fronted.server.url}/{name}").status == 404
    fronted.publish(1)
    user = Poller(fronted, 0)
    user.fetch()
    assert user.releases == [str(version(1))]
    assert any(f"/{guessed[0]}" in url for _, url in fronted.server.acted)


@pytest.mark.parametrize("vice", ["gzip", "rules", "login page"])
def test_publish_behind_a_bad_edge_commits_nothing(seaweedfs, bucket, tmp_path, vice):
    origin = open_origin(seaweedfs, bucket)
    with run_nginx(origin.server, origin.path, vice=vice) as server:
        fronted = front_nginx(tmp_path, origin, server)
        announced = fronted.site.announced()
        with pytest.raises(EdgeProofFailed, match=server.url):
            fronted.publish(0)
        assert fronted.site.announced() == fronted.site.highest() == announced
        assert fronted.site.leases()
        fronted.edges[0].close()
