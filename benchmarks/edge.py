"""The proof of 1,000 objects at an edge beside curl, which asks for the same bytes and judges nothing; in turn in one run.

Run: ``.venv/bin/python benchmarks/edge.py [objects]``. nginx with slices before SeaweedFS, all on this machine; the objects
were prefetched. One object is one request on kept connections: the answer shows size, range, cache rule, encoding, and hit or
miss. A second table reads everything back and hashes it.

Target: one request an object. curl is the ground: what any program needs for the same bytes on as many connections.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from figures import Job, in_turn
from peers import look_for

from pipeline.digest import blake3_of, sha256_of
from pipeline.layout import part_key
from pipeline.ports import ObjectStore, Op
from pipeline.sources.edge import HttpEdge
from pipeline.steps.edge_proof import LOOKS_AT_ONCE, EdgeObject, prove_edge
from tests.servers.edges import EdgeServer, run_nginx
from tests.servers.origins import open_origin, public_bucket
from tests.servers.s3_servers import run_seaweedfs

SIZE = 256 << 10
ROUNDS = 5


def put_objects(store: ObjectStore, count: int) -> list[EdgeObject]:
    """Objects of 256 KiB: an edge keeps each in one slice, so that the warm-up does not take all day."""
    found = []
    for _ in range(count):
        body = os.urandom(SIZE)
        key = part_key(blake3_of(body))
        store.put(key, body, sha256=sha256_of(body))
        found.append(EdgeObject(key, SIZE, sha256_of(body)))
    return found


def by_curl(curl: str, server: EdgeServer, objects: list[EdgeObject], folder: Path) -> None:
    """Ask for one byte of each, as many at once as we do."""
    lines = [f'url = "{server.url}/{one.key}"\noutput = "/dev/null"\nrange = "{SIZE // 2}-{SIZE // 2}"' for one in objects]
    listed = folder / "urls"
    listed.write_text("\n".join(lines))
    subprocess.run(
        [curl, "--no-progress-meter", "--fail", "--parallel", "--parallel-max", str(LOOKS_AT_ONCE), "-K", str(listed)],
        check=True,
    )


def main() -> int:
    """Measure and print."""
    count = int(sys.argv[1] if len(sys.argv) > 1 else "1000")
    job = Job(
        "edge",
        "Proving an edge",
        f"{count} objects of {SIZE >> 10} KiB, prefetched, at nginx with slices before SeaweedFS, all on these cores; "
        f"{LOOKS_AT_ONCE} connections, kept. curl asks for the same bytes and judges nothing.",
    )
    curl = look_for("curl", job)
    with run_seaweedfs() as weed:
        origin = open_origin(weed, public_bucket(weed))
        objects = put_objects(origin.shelf.open(), count)
        with run_nginx(origin.server, origin.path) as server, tempfile.TemporaryDirectory() as folder:
            server.act(Op.PREFETCH, [f"{server.url}/{one.key}" for one in objects])
            edge = HttpEdge(server.url)
            contenders: dict[str, Callable[[], object]] = {
                "modelport": lambda: prove_edge(edge, objects, sample_percent=0, timestamp=False)
            }
            if curl:
                contenders["curl"] = lambda: by_curl(curl, server, objects, Path(folder))
            ours, *peers = in_turn(contenders, ROUNDS).values()
            for theirs in peers:
                job.compare("every object is right: one byte of each", "curl --parallel, judges nothing", ours, theirs)
            job.amount("requests for each object", edge.requests / ROUNDS / count, "", most=1)
            started = time.perf_counter()
            whole = prove_edge(edge, objects, sample_percent=100, timestamp=False)
            spent = time.perf_counter() - started
            job.amount("every byte read back and hashed", spent, "s")
            job.amount("… at", whole.bytes_read / spent / 1e6, "MB/s")
            edge.close()
            return job.finish()


if __name__ == "__main__":
    sys.exit(main())
