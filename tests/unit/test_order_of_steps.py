"""A step that is skipped does not type-check: the type checker is asked."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
HEAD = """
from pipeline.release import Channel
from pipeline.steps.commit import commit_release
from pipeline.steps.placed import Placed, place_manifest
from pipeline.steps.prefetch import Dispatch
from pipeline.steps.prove import Proved
from pipeline.steps.ready import Ready
from pipeline.steps.serve import Delivery, Served, Warmed, prove_edges, warm_edges
from pipeline.steps.upload import Uploaded


def walk(uploaded: Uploaded, proved: Proved, ready: Ready, delivery: Delivery, dispatch: Dispatch) -> None:
    placed = place_manifest(proved, repair=False)
    warmed = warm_edges(placed, delivery, dispatch)
    served = prove_edges(warmed, delivery, dispatch)
    commit_release(served, ready, channel=Channel("stable"), by="me")
"""
SKIPS = {
    "the proof at the origin": "    place_manifest(uploaded, repair=False)",
    "the manifest": "    warm_edges(proved, delivery, dispatch)",
    "warming": "    prove_edges(placed, delivery, dispatch)",
    "the proof at the edge": '    commit_release(warmed, ready, channel=Channel("stable"), by="me")',
    "both": '    commit_release(placed, ready, channel=Channel("stable"), by="me")',
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """What mypy says of a walk with every skip in a file of its own, in one run."""
    folder = tmp_path_factory.mktemp("walks")
    files = {}
    for number, (what, line) in enumerate({"nothing": "", **SKIPS}.items()):
        files[what] = folder / f"walk{number}.py"
        files[what].write_text(f"{HEAD}{line}\n")
    program = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *map(str, files.values())]
    said = subprocess.run(program, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=240)
    assert said.stderr == ""
    return {what: [line for line in said.stdout.splitlines() if file.name in line] for what, file in files.items()}


def test_walk_in_order_type_checks(judged):
    assert judged["nothing"] == []


@pytest.mark.parametrize("what", SKIPS)
def test_walk_that_skips_a_step_does_not_type_check(judged, what):
    assert len(judged[what]) == 1
    assert "arg-type" in judged[what][0]
