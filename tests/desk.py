"""A person at a desk: the real command line in a folder of its own, with a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

BIN = Path(sys.executable).parent
# Nothing of the machine that runs the tests: no settings, no credentials, no proxies.
CLEAN = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict:
        """The JSON document of a command that did what it was asked."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    def refused(self, code: int) -> str:
        """The one line of a command that did not, and its hint: stdout is empty, stderr ends with the failure."""
        assert self.code == code, (self.code, self.out, self.err)
        assert self.out == ""
        last = json.loads(self.err.splitlines()[-1])
        assert (last["event"], last["code"]) == ("failed", code)
        assert last["error"]
        assert "\n" not in last["error"]
        assert "Traceback" not in self.err
        return f"{last['error']} {last['hint']}"


@dataclass
class Desk:
    """``folder`` is where the person works; ``home`` holds state, cache and keys."""

    folder: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(parents=True, exist_ok=True)

    @property
    def environ(self) -> dict[str, str]:
        places = {f"XDG_{name.upper()}_HOME": str(self.home / name) for name in ("state", "cache", "data")}
        return {**CLEAN, "HOME": str(self.home), **places, **self.environment}

    def start(self, *words: str, program: str = "modelport", **more) -> subprocess.Popen[str]:
        """Begin a command."""
        return subprocess.Popen(
            [BIN / program, *words],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def run(self, *words: str, report: str = "json", **more) -> Said:
        """Run a command to its end."""
        child = self.start(*words, "--report", report, **more)
        out, err = child.communicate(timeout=120)
        return Said(child.returncode, out, err)

    def keep(self) -> None:
        """Remember both folders as they are now."""
        for folder in (self.folder, self.home):
            shutil.copytree(folder, folder.with_name(f"{folder.name}.kept"), symlinks=True)

    def restore(self) -> None:
        """Bring both folders back to what ``keep`` saw: quicker than doing it all again."""
        for folder in (self.folder, self.home):
            shutil.rmtree(folder)
            shutil.copytree(folder.with_name(f"{folder.name}.kept"), folder, symlinks=True)
