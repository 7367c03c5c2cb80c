"""``--no-skips``: what drops out of a run fails it, on one process and on two."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
BODIES = {
    "skipped": "import pytest\ndef test_a(): pytest.skip('no browser')\ndef test_b(): pass\n",
    "expected to fail": "import pytest\n@pytest.mark.xfail\ndef test_a(): assert False\n",
    "whole": "def test_a(): pass\n",
}


@pytest.mark.parametrize("body, processes", [("skipped", "0"), ("expected to fail", "0"), ("whole", "0"), ("skipped", "2")])
def test_run_fails_if_a_test_was_left_out(tmp_path, body, processes):
    (tmp_path / "test_it.py").write_text(BODIES[body])
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.plugins.no_skips",
        "--no-skips",
        f"--numprocesses={processes}",
        "-q",
        "test_it.py",
    ]
    shown = subprocess.run(
        words,
        cwd=tmp_path,
        env={"PYTHONPATH": str(CHECKOUT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert shown.returncode == (0 if body == "whole" else 1), shown.stdout
    assert ("LEFT OUT test_it.py::test_a" in shown.stdout) == (body != "whole")
