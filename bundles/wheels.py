"""The wheels that travel with a bundle: zstandard for the site's Python, pinned by the installer.

Takes Python versions, platforms and a folder, gives file names and paths. Where a wheel is not at hand, ``pip`` may fetch it
by its digest into the cache; nothing else is ever carried.

next: ``bundles.keeping``
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundles.installer.wheel_pins import PINS
from pipeline.digest import sha256_of
from pipeline.errors import DigestMismatch, UsageError

_NAME = re.compile(
    r"(?P<package>[a-z0-9]+)-(?P<version>[0-9.]+)-cp(?P<major>3)(?P<minor>[0-9]+)-.*_(?P<platform>x86_64|aarch64)\.whl"
)
PIP_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Wheel:
    """One pinned wheel."""

    name: str
    package: str
    version: str
    python: str
    platform: str


def pinned_wheels(pins: Mapping[str, str] = PINS) -> list[Wheel]:
    """Every wheel that the installer would import."""
    found = [(name, match) for name in sorted(pins) if (match := _NAME.fullmatch(name))]
    return [
        Wheel(name, match["package"], match["version"], f"{match['major']}.{match['minor']}", match["platform"])
        for name, match in found
    ]


def choose_wheels(pythons: Sequence[str], platforms: Sequence[str], pins: Mapping[str, str] = PINS) -> list[Wheel]:
    """Those for these Python versions and platforms; none named are all.

    Raises:
        UsageError: there is no wheel for one of them; those that there are, are named.
    """
    wheels = pinned_wheels(pins)
    for flag, wanted, known in (
        ("--python", pythons, {wheel.python for wheel in wheels}),
        ("--platform", platforms, {wheel.platform for wheel in wheels}),
    ):
        for one in wanted:
            if one not in known:
                there = ", ".join(sorted(known, key=lambda text: (len(text), text)))
                raise UsageError(
                    f"{flag} {one}: no wheel is pinned for it, expected one of {there}", hint=f"Leave {flag} out for all."
                )
    return [
        wheel for wheel in wheels if (not pythons or wheel.python in pythons) and (not platforms or wheel.platform in platforms)
    ]


def find_wheels(wheels: Sequence[Wheel], folder: Path, pins: Mapping[str, str] = PINS) -> dict[str, Path]:
    """Those that lie in ``folder``, each held against its pin.

    Raises:
        DigestMismatch: a file with the name of a pinned wheel is another one.
    """
    found = {}
    for wheel in wheels:
        path = folder / wheel.name
        if path.is_file():
            digest = sha256_of(path.read_bytes())
            if digest != pins[wheel.name]:
                raise DigestMismatch(
                    f"{path} has sha256 {digest}, expected {pins[wheel.name]}", hint="Remove it: the installer would refuse it."
                )
            found[wheel.name] = path
    return found


def download_wheels(wheels: Sequence[Wheel], folder: Path, pins: Mapping[str, str] = PINS) -> str:
    """Let pip fetch into ``folder`` what is not there, by digest; gives "" or why it could not."""
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in wheels:
        if (folder / wheel.name).is_file():
            continue
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{pins[wheel.name]}\n")
        # -P: a folder named pip where the command was typed is not it.
        words = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        words += [
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--implementation=cp",
            f"--python-version={wheel.python}",
        ]
        words += [f"--platform=manylinux2014_{wheel.platform}", f"--platform=manylinux_2_17_{wheel.platform}"]
        words += [f"--dest={folder}", f"--requirement={wanted}"]
        try:
            ran = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"pip could not fetch {wheel.name}: {error}"
        finally:
            wanted.unlink(missing_ok=True)
        if ran.returncode or not (folder / wheel.name).is_file():
            lines = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")]
            return f"pip could not fetch {wheel.name}: {lines[-1] if lines else f'exit {ran.returncode}'}"
    return ""
