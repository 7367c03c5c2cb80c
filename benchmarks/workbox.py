"""Workbox, the peer of the web benchmarks: its worker for a site whose files are named after their content already.

Takes a site that we built, gives the seconds that workbox-build took, without starting Node. What only our worker reads (packs,
patches, the manifest, the worker itself) is not among its files.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from figures import Job
from peers import look_for

NAME = "Workbox 7"
_GENERATE = """
const [, workbox, site, written, options] = process.argv;
const { generateSW } = require(workbox);
const started = process.hrtime.bigint();
generateSW({ globDirectory: site, globPatterns: ["**/*"], swDest: written, maximumFileSizeToCacheInBytes: 1e9,
  globIgnores: ["packs/**", "patches/**", "sw*.js", "release.json", "manifest.*"],
  dontCacheBustURLsMatching: /\\.[0-9a-f]{16}\\./, ...JSON.parse(options) }).then(({ count, warnings }) =>
  console.log(JSON.stringify({ count, warnings, seconds: Number(process.hrtime.bigint() - started) / 1e9 })));
"""


@dataclass(frozen=True)
class Workbox:
    """The installed package, and the Node that runs it."""

    node: str
    package: str

    def generate(self, site: Path, written: Path, **options: object) -> float:
        """Let it write its worker; gives seconds by its own clock.

        Raises:
            SystemExit: it left files out.
        """
        words = [self.node, "-e", _GENERATE, "--", self.package, site, written, json.dumps(options)]
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=120)
        said = json.loads(done.stdout.splitlines()[-1])
        if said["warnings"]:
            raise SystemExit(f"Workbox: {said['warnings']}")
        return float(said["seconds"])


def look_for_workbox(job: Job) -> Workbox | None:
    """Find or install it; if it is not to be had the job says so."""
    node, package = look_for("node", job), look_for("workbox", job)
    return Workbox(node, package) if node and package else None
