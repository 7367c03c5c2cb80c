"""The one place that knows where something lies at a site (docs/format.md §9).

    models/<release>/  wheels/<release>/  web/<name>        what people use
    generations/<n>/<model>  current                        which releases are live, together
    state/trust/  state/installed/  state/receipts/  state/targets/  state/staging/  state/lock
    bin/install.pyz  bin/wheels/                            the checked installer, and the checked wheel it used
    parts/…  metadata/…  targets/…                          only with --keep-parts

next: ``folders``
"""

from __future__ import annotations

CURRENT = "current"
GENERATIONS = "generations"
STATE = "state"
LOCK = "state/lock"
STAGING = "state/staging"
INSTALLED = "state/installed"
MANIFESTS = "state/installed/manifests"
RECEIPTS = "state/receipts"
PROGRESS = "state/staging/progress.json"
PARTS = "parts"
BIN = "bin"
INSTALLER = "bin/install.pyz"


def release_folder(release: str, kind: str) -> str:
    """Where a release is laid out."""
    return f"{'wheels' if kind == 'wheels' else 'models'}/{release}"


def web_link(name: str) -> str:
    """What a web server is pointed at for the web application ``name``."""
    return f"web/{name}"


def generation(number: int) -> str:
    """One set of live releases."""
    return f"{GENERATIONS}/{number}"


def installed_record(release: str) -> str:
    """What was installed under the name of a release."""
    return f"{INSTALLED}/{release}.json"


def kept_manifest(sha256: str) -> str:
    """The manifest that something was installed by, to be verified without a medium."""
    return f"{MANIFESTS}/{sha256}.json"


def receipt_file(number: int, bundle: str) -> str:
    """The receipt of a bundle that became part of generation ``number``."""
    return f"{RECEIPTS}/{number}.{bundle[:16]}.json"


def staging(manifest_sha256: str) -> str:
    """Where the files of a release grow until all of them are safe."""
    return f"{STAGING}/{manifest_sha256}"


def kept_wheel(name: str) -> str:
    """A wheel that the site keeps, for media that come without one."""
    return f"{BIN}/wheels/{name}"


def part_file(blake3: str) -> str:
    """A part that the site keeps: its key in the tree."""
    return f"{PARTS}/{blake3[:2]}/{blake3}"
