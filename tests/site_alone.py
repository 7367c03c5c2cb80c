"""A site and its clients in a network of their own: a loopback device and nothing else.

Started within ``unshare --net``; takes the server's name, the site's folder and a scratch folder, gives one JSON document.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

from tests.site_nginx import SERVERS
from tests.site_world import ALIAS, BIN, CLEAN

CLIENT = """
import json, os, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

alias, found = sys.argv[1], {}
def read(path):
    with open(path, "rb") as file:
        return len(file.read())
def below(folder):
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names)
found["file"] = read(hf_hub_download("bert", "weights.bin"))
found["alias"] = os.path.realpath(hf_hub_download(alias, "onnx/noise.bin", revision="stable")).rpartition("/")[2]
found["branch"] = below(snapshot_download(alias, revision="stable"))
found["version"] = below(snapshot_download("bert", revision="1.1.0"))
commit = HfApi().model_info("bert", revision="1.0.0").sha
found["commit"] = [commit, os.path.basename(snapshot_download("bert", revision=commit))]
found["patterns"] = below(snapshot_download(alias, allow_patterns=["*.json", "onnx/*"], ignore_patterns=["*.yaml"], cache_dir="patterns"))
for name, what in (("entry", ("bert", "nope", "main")), ("repo", ("nope", "x", "main")), ("revision", ("bert", "config.json", "9.9.9"))):
    try:
        hf_hub_download(what[0], what[1], revision=what[2])
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        found[name] = type(error).__name__
found["refs"] = [ref.name for ref in HfApi().list_repo_refs("bert").branches]
print(json.dumps(found))
"""


def raise_loopback() -> None:
    """Switch the loopback device on: in a new network it is off (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        up_and_running = 0x1 | 0x40
        fcntl.ioctl(device, 0x8914, struct.pack("16sh14x", b"lo", up_and_running))


def main(name: str, site: Path, scratch: Path) -> None:
    raise_loopback()
    devices = sorted(name for _, name in socket.if_nameindex())
    with SERVERS[name](site) as server:
        environment = {**CLEAN, "HOME": str(scratch), "HF_HOME": str(scratch / "hf"), "HF_ENDPOINT": server.url}
        client = subprocess.run(
            [sys.executable, "-c", CLIENT, ALIAS],
            env=environment,
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        command = subprocess.run(
            [BIN / "hf", "download", ALIAS, "weights.bin", "--revision", "1.0.0", "--local-dir", scratch / "local"],
            env=environment, cwd=scratch, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    print(json.dumps({"devices": devices, "client": client.stdout, "said": client.stderr[-4000:], "hf": command.returncode}))


if __name__ == "__main__":
    os.environ["NO_COLOR"] = "1"
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
