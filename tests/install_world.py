"""Two installers and one table: ``install.pyz`` on a bare Python, and ``bundle.install`` of modelport.

A ``Column`` installs media at a site and tells the exit code and what was said. What both must do the same is
tested once, with ``column`` as a parameter.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bundles.installer.preflight import Order
from bundles.installing import install_bundle
from bundles.zipped import installer_bytes
from pipeline.errors import ModelportError
from pipeline.events import ignore
from pipeline.wire import encode_document
from tests.fetch_world import Tree, make_tree
from tests.publish_world import lay_out

COLUMNS = ("install.pyz", "bundle.install")


@dataclass
class Outcome:
    """What an installation came to."""

    code: int
    done: dict = field(default_factory=dict)
    error: str = ""
    hint: str = ""

    @property
    def said(self) -> str:
        return f"{self.error} {self.hint}"


@dataclass
class Column:
    """One of the two installers."""

    name: str
    folder: Path
    python: str = sys.executable

    def install(self, media: Path | Sequence[Path], site: Path, fingerprint: str = "", **flags) -> Outcome:
        sources = [media] if isinstance(media, Path) else list(media)
        if self.name == "bundle.install":
            return self._ours(sources, site, fingerprint, flags)
        return self._alone(sources, site, fingerprint, flags)

    def _ours(self, sources, site, fingerprint, flags) -> Outcome:
        dry = flags.pop("check", False)
        try:
            done = install_bundle(Order(tuple(map(str, sources)), str(site), fingerprint, **flags), ignore, dry=dry)
        except ModelportError as error:
            return Outcome(error.exit_code, {}, str(error), error.hint)
        found = json.loads(encode_document(done))
        return Outcome(7 if done.missing and not dry else 0, found)

    def _alone(self, sources, site, fingerprint, flags) -> Outcome:
        words = [item for source in sources for item in ("--from", str(source))]
        words += ["--site", str(site), "--report", "json"]
        words += ["--root-fingerprint", fingerprint] if fingerprint else []
        for name, value in flags.items():
            flag = "--" + name.replace("_", "-")
            words += [flag] if value is True else [] if value is False else [flag, str(value)]
        ran = self.run(*words)
        if ran.stdout:
            return Outcome(ran.returncode, json.loads(ran.stdout))
        said = json.loads(ran.stderr.splitlines()[-1]) if ran.stderr.startswith("{") else {"error": ran.stderr, "hint": ""}
        return Outcome(ran.returncode, {}, said["error"], said["hint"])

    def run(self, *words: str, env: dict[str, str] | None = None, before: Sequence[str] = ()) -> subprocess.CompletedProcess:
        """Start install.pyz on a bare Python: isolated, without site-packages, in an empty environment."""
        pyz = self.folder / "install.pyz"
        if not pyz.exists():
            pyz.write_bytes(installer_bytes())
        return subprocess.run(
            [*before, self.python, "-I", "-S", str(pyz), *words],
            env=env or {},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def order_for(sources: Sequence[Path], site: Path, fingerprint: str = "") -> Order:
    """The plainest order: everything at its default."""
    return Order(tuple(map(str, sources)), str(site), fingerprint)


def site_files(site: Path) -> dict[str, bytes | str]:
    """Everything at a site: the bytes of files, the targets of links."""
    found: dict[str, bytes | str] = {}
    for folder, folders, files in os.walk(site):
        for name in [*folders, *files]:
            path = Path(folder, name)
            key = path.relative_to(site).as_posix()
            if path.is_symlink():
                found[key] = f"-> {path.readlink()}"
            elif path.is_file():
                found[key] = path.read_bytes()
    return found


def pythons() -> list[str]:
    """Every CPython from 3.9 on that is found on this machine, one for each version; at least the one that runs the tests."""
    candidates = [sys.executable, *(shutil.which(f"python3.{minor}") or "" for minor in range(9, 20)), "/usr/bin/python3"]
    candidates += sorted(map(str, Path.home().glob(".pyenv/versions/3.*/bin/python3")))
    found = {}
    for path in filter(None, candidates):
        words = [path, "-I", "-S", "-c", "import sys; print(sys.implementation.name, *sys.version_info[:2])"]
        ran = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        if ran.returncode == 0:
            name, major, minor = ran.stdout.split()
            if name == "cpython" and (int(major), int(minor)) >= (3, 9):
                found.setdefault((int(major), int(minor)), path)
    return [found[version] for version in sorted(found)]


def lay_out_weights(folder: Path, *, seed: int = 1, changed: int = 0, tensor_bytes: int = 2 << 20) -> Path:
    """A model whose chunks have every encoding: weights of two widths, text, noise; ``changed`` settles one tensor."""
    source = lay_out(folder, seed=seed, other=changed, tensor_bytes=64 << 10)
    tensors = {}
    for index, dtype in enumerate((np.float32, np.float32, np.float16)):
        number = seed * 100 + index + (1000 * changed if index == 1 else 0)
        values = np.random.default_rng(number).normal(0, 0.02, tensor_bytes // np.dtype(dtype).itemsize)
        tensors[f"w{index}"] = (values.astype(dtype), "F32" if dtype is np.float32 else "F16")
    header, at = {}, 0
    for name, (values, dtype) in tensors.items():
        header[name] = {"dtype": dtype, "shape": [values.size], "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(values.tobytes() for values, _ in tensors.values())
    (source / "weights.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (source / "vocab.txt").write_text("".join(f"token-{number}\n" for number in range(40_000)))
    return source


def make_bundle_tree(folder: Path, *, tensor_bytes: int = 2 << 20) -> Tree:
    """bert 1.0.0 and 1.1.0 (one tensor changed), raw 1.0.0 of profile raw, and top 1.0.0 that needs bert."""
    tree = make_tree(folder)
    small = {"part_size": 4 << 20}
    tree.publish("bert-v1.0.0", lay_out_weights(folder / "sources" / "bert-v1.0.0", tensor_bytes=tensor_bytes), **small)
    tree.lay_out("raw-v1.0.0", seed=9, profile="raw", tensor_bytes=tensor_bytes)
    tree.lay_out("top-v1.0.0", seed=5, needs={"bert": "^1.0"})
    tree.publish(
        "bert-v1.1.0", lay_out_weights(folder / "sources" / "bert-v1.1.0", changed=1, tensor_bytes=tensor_bytes), **small
    )
    return tree
