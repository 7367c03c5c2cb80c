"""An installation is killed at each of its steps, and at any change of the disk: what was live stays, and the next run finishes."""

import shutil
import signal
from pathlib import Path

import pytest

from bundles.installer.walk import STEPS
from tests.fetch_world import contents, make_tree
from tests.forking import served_by
from tests.install_world import COLUMNS, lay_out_weights, site_files
from tests.media_world import pack

POINTS = 12


class Runner:
    """Runs installations in processes of their own."""

    def __init__(self, run) -> None:
        self._run = run

    def install(self, column: str, media: Path, site: Path, fingerprint: str, **job) -> tuple[int, dict]:
        return self._run(column=column, media=[str(media)], site=str(site), fingerprint=fingerprint, **job)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    with served_by("tests.install_child", tmp_path_factory.mktemp("results")) as run:
        yield Runner(run)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tree, media of an old closure, and differential media of the new one with a web application and a wheelhouse."""
    folder = tmp_path_factory.mktemp("world")
    tree = make_tree(folder / "tree")
    small = {"tensor_bytes": 256 << 10}
    tree.publish("bert-v1.0.0", lay_out_weights(folder / "one", **small))
    tree.lay_out("top-v1.0.0", seed=5, needs={"bert": "^1.0"})
    old = pack(tree, "bert-v1.0.0", "top-v1.0.0").write(folder / "old")
    tree.publish("bert-v1.1.0", lay_out_weights(folder / "two", changed=1, **small))
    app = folder / "app"
    app.mkdir()
    (app / "index.html").write_text("<p>hello</p>")
    tree.publish("app-v1.0.0", app, kind="web", profile="web")
    house = folder / "house"
    house.mkdir()
    (house / "tiny-1.0-py3-none-any.whl").write_bytes(b"a wheel")
    tree.publish("house-v1.0.0", house, kind="wheels")
    new = pack(tree, "bert-v1.1.0", "app-v1.0.0", "house-v1.0.0", volumes=2, bases=["bert-v1.0.0"]).write(folder / "new")
    return tree, old, new


FLAGS = {"keep": 1, "keep_parts": True}


def check_old(tree, site):
    """The old generation is live, and whole."""
    assert {entry.name: entry.resolve().name for entry in (site / "current").iterdir()} == {
        "bert": "bert-v1.0.0",
        "top": "top-v1.0.0",
    }
    for release in ("bert-v1.0.0", "top-v1.0.0"):
        assert contents(site / "models" / release) == contents(tree.sources[release])


def check_new(tree, site):
    """The new generation is live, and whole."""
    live = {entry.name: entry.resolve().name for entry in (site / "current").iterdir()}
    assert live == {"app": "app-v1.0.0", "bert": "bert-v1.1.0", "house": "house-v1.0.0", "top": "top-v1.0.0"}
    for release in ("bert-v1.1.0", "top-v1.0.0", "app-v1.0.0"):
        assert contents(site / "models" / release) == contents(tree.sources[release])
    assert (site / "wheels" / "house-v1.0.0" / "tiny-1.0-py3-none-any.whl").read_bytes() == b"a wheel"
    assert (site / "web" / "app" / "index.html").read_text() == "<p>hello</p>"


def check_live(tree, site) -> str:
    """Whatever is live is whole; which it is."""
    if not (site / "current").is_symlink():
        return ""
    new = (site / "current" / "app").exists()
    (check_new if new else check_old)(tree, site)
    return "new" if new else "old"


@pytest.fixture
def before(world, runner, tmp_path):
    """A site with the old generation, to be copied."""
    tree, old, _ = world
    site = tmp_path / "before"
    status, done = runner.install("bundle.install", old, site, tree.site.fingerprint, flags={"keep_parts": True})
    assert status == 0, done
    (site / "bin" / "install.pyz").write_bytes(b"of an earlier version")
    return site


@pytest.mark.parametrize("column", COLUMNS)
def test_every_step_is_survived(world, runner, before, tmp_path, column):
    tree, _, new = world
    calm = tmp_path / "calm"
    shutil.copytree(before, calm, symlinks=True)
    status, done = runner.install(column, new, calm, tree.site.fingerprint, flags=FLAGS)
    assert status == 0, done
    assert set(done["steps"]) == set(STEPS), "a step that no kill reaches"
    finished = site_files(calm)
    check_new(tree, calm)
    points = [(name, nth) for name in STEPS for nth in range(1, done["steps"].count(name) + 1)]
    for name, nth in points:
        site = tmp_path / "site"
        shutil.copytree(before, site, symlinks=True)
        status, told = runner.install(column, new, site, tree.site.fingerprint, flags=FLAGS, at=name, nth=nth)
        assert status == -signal.SIGKILL, (name, told)
        late = STEPS.index(name) > STEPS.index("switch")
        assert check_live(tree, site) == ("new" if late else "old"), name
        status, told = runner.install(column, new, site, tree.site.fingerprint, flags=FLAGS)
        assert status == 0, (name, told)
        assert set(site_files(site)) == set(finished), name
        check_new(tree, site)
        shutil.rmtree(site)


@pytest.mark.parametrize("column", COLUMNS)
def test_any_change_of_the_disk_is_survived(world, runner, before, tmp_path, column):
    tree, _, new = world
    calm = tmp_path / "calm"
    shutil.copytree(before, calm, symlinks=True)
    _, done = runner.install(column, new, calm, tree.site.fingerprint, flags=FLAGS)
    calls, finished = done["calls"], set(site_files(calm))
    killed = 0
    # All of the end, where names change; the rest in steps.
    points = sorted({*(1 + index * calls // POINTS for index in range(POINTS)), *range(calls - 16, calls + 1)})
    for call in points:
        site = tmp_path / "site"
        shutil.copytree(before, site, symlinks=True)
        status, told = runner.install(column, new, site, tree.site.fingerprint, flags=FLAGS, call=call)
        killed += status == -signal.SIGKILL
        assert check_live(tree, site) in {"old", "new"}, f"call {call}"
        status, told = runner.install(column, new, site, tree.site.fingerprint, flags=FLAGS)
        assert status == 0, (call, told)
        check_new(tree, site)
        assert set(site_files(site)) == finished, f"call {call}"
        shutil.rmtree(site)
    # Threads may order their calls otherwise than in the calm run, so that the last ones never come.
    assert killed >= len(points) - 5


def test_one_installer_goes_on_where_the_other_was_killed(world, runner, before, tmp_path):
    tree, _, new = world
    for first, second in (COLUMNS, COLUMNS[::-1]):
        for at in ("proof", "generation"):
            site = tmp_path / "site"
            shutil.copytree(before, site, symlinks=True)
            assert runner.install(first, new, site, tree.site.fingerprint, flags=FLAGS, at=at)[0] == -signal.SIGKILL
            status, told = runner.install(second, new, site, tree.site.fingerprint, flags=FLAGS)
            assert status == 0, told
            check_new(tree, site)
            shutil.rmtree(site)


@pytest.mark.parametrize("column", COLUMNS)
def test_first_installation_killed_anywhere_begins_again(world, runner, tmp_path, column):
    tree, old, _ = world
    for at in ("begin", "trust", "room", "noted", "record", "place", "switch", "receipt"):
        site = tmp_path / "site"
        assert runner.install(column, old, site, tree.site.fingerprint, at=at)[0] == -signal.SIGKILL
        check_live(tree, site)
        status, told = runner.install(column, old, site, tree.site.fingerprint)
        assert status == 0, (at, told)
        check_old(tree, site)
        shutil.rmtree(site)


@pytest.mark.parametrize("column", COLUMNS)
def test_rubbish_of_an_interrupted_run_is_never_taken_for_the_files(world, runner, tmp_path, column):
    tree, old, _ = world
    site = tmp_path / "site"
    assert runner.install(column, old, site, tree.site.fingerprint, at="proof")[0] == -signal.SIGKILL
    staged = next((site / "state" / "staging").rglob("weights.safetensors"))
    data = bytearray(staged.read_bytes())
    data[5000] ^= 1
    staged.write_bytes(data)
    status, told = runner.install(column, old, site, tree.site.fingerprint)
    assert (status, "did not come out as signed" in told["error"]) == (1, True)
    assert not (site / "current").exists()
    status, told = runner.install(column, old, site, tree.site.fingerprint)
    assert status == 0, told
    check_old(tree, site)
