"""A fetch is killed anywhere, and run again: the folder ends identical, and next to nothing comes twice."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.fetch_world import contents, make_tree
from tests.forking import served_by

POINTS = 50
TENSOR = 600 << 10
# One connection: what is on its way is one chunk, and what waits to be decoded.
IN_FLIGHT = {"raw-v1.0.0": TENSOR + (256 << 10), "bert-v1.0.0": 4 * TENSOR}


class Runner:
    """Runs fetches in processes of their own."""

    def __init__(self, run, folder: Path) -> None:
        self._run, self._log = run, folder / "log"

    def fetch(
        self, tree, home: Path, want: str, *, at: int = 0, when: str = "before", to: Path | None = None
    ) -> tuple[int, dict, int]:
        """(exit status, answer, part bytes that came)."""
        self._log.write_bytes(b"")
        status, told = self._run(
            home=str(home),
            store=str(tree.store),
            fingerprint=tree.site.fingerprint,
            want=want,
            to=str(to) if to else None,
            at=at,
            when=when,
            log=str(self._log),
        )
        return status, told, sum(map(int, self._log.read_text().split()))


@pytest.fixture
def runner(tmp_path):
    with served_by("tests.fetch_child", tmp_path) as run:
        yield Runner(run, tmp_path)


@pytest.fixture
def tree(tmp_path):
    tree = make_tree(tmp_path / "tree")
    tree.lay_out("bert-v1.0.0", tensor_bytes=TENSOR)
    tree.lay_out("raw-v1.0.0", tensor_bytes=TENSOR, seed=9, profile="raw")
    return tree


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("release", ["bert-v1.0.0", "raw-v1.0.0"])
def test_a_fetch_killed_at_any_change_of_the_disk_is_finished_by_the_next(tree, runner, tmp_path, release, when):
    status, calm, size = runner.fetch(tree, tmp_path / "calm", release)
    assert status == 0, calm
    calls = calm["calls"]
    wanted = contents(tree.sources[release])
    killed = 0
    for at in sorted({1 + index * calls // (POINTS // 2) for index in range(POINTS // 2)}):
        home = tmp_path / f"at{at}"
        status, _, first = runner.fetch(tree, home, release, at=at, when=when)
        killed += status == -signal.SIGKILL
        folder = home / "models" / release
        if folder.exists():
            assert contents(folder) == wanted, f"call {at}: something unfinished stands under its name"
        status, done, second = runner.fetch(tree, home, release)
        assert status == 0, done
        assert contents(folder) == wanted
        assert [path.name for path in folder.parent.iterdir()] == [release]
        assert first + second <= size + IN_FLIGHT[release], f"killed {when} call {at} of {calls}"
        shutil.rmtree(home)
    # Two threads may order their calls otherwise than in the calm run, so that the last ones never come.
    assert killed >= POINTS // 2 - 2


def test_an_update_killed_anywhere_shows_the_old_or_the_new_folder(tree, runner, tmp_path):
    old = contents(tree.sources["bert-v1.0.0"])
    new = contents(tree.lay_out("bert-v1.1.0", tensor_bytes=TENSOR, other=1))
    base = tmp_path / "machine"
    saved = tmp_path / "saved"

    def fetch(want: str, at: int = 0):
        return runner.fetch(tree, base, want, at=at, to=base / "place" / "model")

    assert fetch("bert-v1.0.0")[0] == 0
    # Records name folders by their paths, so the machine is put back where it was.
    shutil.copytree(base, saved)
    calls = fetch("bert-v1.1.0")[1]["calls"]
    killed = 0
    # All of the end, where names change; the rest in steps.
    points = [*range(1, calls - 16, 5), *range(max(1, calls - 16), calls + 1)]
    for at in points:
        shutil.rmtree(base)
        shutil.copytree(saved, base)
        killed += fetch("bert-v1.1.0", at)[0] == -signal.SIGKILL
        assert contents(base / "place" / "model") in (old, new), f"call {at}"
        status, done, _ = fetch("bert-v1.1.0")
        assert status == 0, done
        assert contents(base / "place" / "model") == new
        assert [path.name for path in (base / "place").iterdir()] == ["model"]
        # Whoever put it there may replace it again.
        assert fetch("bert-v1.0.0")[0] == 0
        assert contents(base / "place" / "model") == old
    assert killed >= len(points) - 3
