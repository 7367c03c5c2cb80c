"""The embedded server of a site beside nginx: one client, many clients, and a Hugging Face client.

    python benchmarks/site.py [--rounds 3] [--mib 2048] [--many-mib 128] [--clients 64]

Both serve the same file on this machine, from the page cache, in processes of their own. One client is curl, which
throws the bytes away; many are as many curls at once, each reading the whole file of ``--many-mib``. Every round runs
both servers in turn. Memory is the peak of the server's process over all rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from figures import Job
from peers import look_for

from tests.servers.processes import free_port, running

# Row → how many times as long nginx should take.
LEAST = {"one client": 0.8, "many clients": 0.6, "hf_hub_download": 0.9}
BLOCK = 1 << 20
ONE, MANY = "weights.bin", "many.bin"
HF = "from huggingface_hub import hf_hub_download; hf_hub_download('bench', 'weights.bin')"


def make_site(folder: Path, one: int, many: int) -> Path:
    """A site that holds one release of two files, laid out as the installer does, from bytes made here."""
    site = folder / "site"
    release = site / "models" / "bench-v1.0.0"
    release.mkdir(parents=True)
    files = []
    for name, size in ((MANY, many), (ONE, one)):
        digest = hashlib.sha256()
        with (release / name).open("wb") as file:
            for _ in range(size):
                block = os.urandom(BLOCK)
                digest.update(block)
                file.write(block)
        files.append((name, size * BLOCK, digest.hexdigest()))
    record_site(site, files)
    return site


def record_site(site: Path, files: list[tuple[str, int, str]]) -> None:
    """The records of an installation, with a manifest of these files."""
    from pipeline.digest import Blake3, Sha256, sha256_of
    from pipeline.manifest import CHUNK_BYTES, Chunk, File, Manifest, Part
    from pipeline.release import ModelName
    from pipeline.wire import encode_document, encode_manifest

    parts, listed = [], []
    for name, size, sha256 in files:
        chunks = []
        for at in range(0, size, CHUNK_BYTES):
            length = min(CHUNK_BYTES, size - at)
            made = hashlib.sha256(f"{name} {at}".encode()).hexdigest()
            chunks.append(Chunk(len(parts), 0, length, length, Blake3(made), "raw", Blake3("")))
            parts.append(Part(blake3=Blake3(made), sha256=Sha256(made), size=length))
        listed.append(File(path=name, size=size, sha256=Sha256(sha256), chunks=tuple(chunks)))
    manifest = Manifest(
        model=ModelName("bench"), version="1.0.0", kind="model", dependencies=(), bases=(), part_size=64 << 20, profile="default",
        encoder="zstd-1.5.7/1", parts=tuple(parts), files=tuple(listed),
    )  # fmt: skip
    data = encode_manifest(manifest)
    sha256 = sha256_of(data)
    record = {"format": "modelport-site-install", "format_version": 1, "release": "bench-v1.0.0", "kind": "model"}
    places = {
        "state/lock": b"",
        "state/installed/bench-v1.0.0.json": encode_document({**record, "manifest_sha256": sha256}),
        f"state/installed/manifests/{sha256}.json": data,
    }
    for path, content in places.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    (site / "generations" / "1").mkdir(parents=True)
    (site / "generations" / "1" / "bench").symlink_to("../../models/bench-v1.0.0")
    (site / "current").symlink_to("generations/1")


@contextmanager
def ours(site: Path, folder: Path) -> Iterator[tuple[str, int]]:
    port = free_port()
    code = f"from pipeline.cli.program import main; import sys; sys.argv = ['modelport', 'site.serve', '--site', {str(site)!r}, "
    code += f"'--listen', '127.0.0.1:{port}']; main()"
    words = [sys.executable, "-c", code]
    with running(words, folder=make(folder / "ours"), ready=lambda: answers(port), environment=os.environ) as child:
        yield f"http://127.0.0.1:{port}/bench/resolve/1.0.0", child.pid


@contextmanager
def nginx(program: str, site: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Serve the same by nginx: sendfile, and the headers that a Hugging Face client needs."""
    port = free_port()
    place = make(folder / "nginx")
    commit = "0" * 40
    digest = next(iter((site / "state" / "installed" / "manifests").iterdir())).stem
    sha256 = {
        row["path"]: row["sha256"]
        for row in json.loads((site / "state/installed/manifests" / f"{digest}.json").read_bytes())["files"]
    }
    (place / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {place}/pid; error_log {place}/log; events {{ worker_connections 1024; }}\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {place}/b; proxy_temp_path {place}/p;"
        f" fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n"
        f"server {{ listen 127.0.0.1:{port}; location /bench/resolve/ {{\n"
        f"  rewrite ^/bench/resolve/[^/]+/(.*)$ /models/bench-v1.0.0/$1 break; root {site}; etag off; add_header ETag '\"{sha256[ONE]}\"';\n"
        f"  add_header X-Repo-Commit {commit}; }} }} }}\n"
    )
    words = [program, "-e", "stderr", "-c", str(place / "nginx.conf")]
    with running(words, folder=place, ready=lambda: answers(port), environment=os.environ) as child:
        yield f"http://127.0.0.1:{port}/bench/resolve/main", child.pid


def make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def answers(port: int) -> bool:
    ran = subprocess.run(["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/"], check=False)
    return ran.returncode == 0


def one_client(url: str) -> float:
    began = time.monotonic()
    subprocess.run(["curl", "-s", "-f", "-o", "/dev/null", f"{url}/{ONE}"], check=True)
    return time.monotonic() - began


def many_clients(url: str, clients: int) -> float:
    began = time.monotonic()
    every = [subprocess.Popen(["curl", "-s", "-f", "-o", "/dev/null", f"{url}/{MANY}"]) for _ in range(clients)]
    codes = [child.wait() for child in every]
    seconds = time.monotonic() - began
    if any(codes):
        raise RuntimeError(f"curl failed: {codes}")
    return seconds


def hf_client(url: str, folder: Path) -> float:
    home = folder / "hf"
    shutil.rmtree(home, ignore_errors=True)
    endpoint = url.partition("/bench")[0]
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", HF], env=environment, check=True, capture_output=True)
    return time.monotonic() - began


def peak_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM"))) / 1024


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--many-mib", type=int, default=128)
    parser.add_argument("--clients", type=int, default=64)
    wishes = parser.parse_args()
    job = Job(
        "site",
        "Serving a site",
        f"the embedded server beside nginx with sendfile, {wishes.rounds} turns: {wishes.mib} MiB for one client, "
        f"{wishes.many_mib} MiB for each of {wishes.clients} at once; curl throws the bytes away, `hf_hub_download` stores them.",
    )
    program = look_for("nginx", job)
    if not program:
        return job.finish()
    folder = Path(tempfile.mkdtemp(prefix="bench-site-"))
    try:
        site = make_site(folder, wishes.mib, wishes.many_mib)
        rows: dict[str, Callable[[str], float]] = {
            "one client": one_client,
            "many clients": lambda url: many_clients(url, wishes.clients),
            "hf_hub_download": lambda url: hf_client(url, folder),
        }
        taken: dict[str, tuple[list[float], list[float]]] = {row: ([], []) for row in rows}
        with ours(site, folder) as (url, pid), nginx(program, site, folder) as (peer, peer_pid):
            for _ in range(wishes.rounds):
                for row, measure in rows.items():
                    for seconds, server in zip(taken[row], (url, peer), strict=True):
                        seconds.append(measure(server))
            for row, (own, its) in taken.items():
                job.compare(row, "nginx", own, its, least=LEAST[row])
            job.amount("peak memory of our server", peak_mib(pid), "MiB")
            job.amount("peak memory of nginx", peak_mib(peer_pid), "MiB")
        return job.finish()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
