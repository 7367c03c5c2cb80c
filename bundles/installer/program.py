"""The command line of ``install.pyz``.

Takes arguments, prints what was done, gives an exit code: 0 done, 2 usage, 3 damaged bytes, 4 trust, 6 disk or
medium, 7 volumes are still missing, 130 interrupted (docs/reference/exit-codes.md).

next: nothing; this is the door.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import sys
from collections.abc import Sequence

from bundles.installer.faults import DiskError, IntegrityError, ModelportError, UsageError
from bundles.installer.folders import Folder
from bundles.installer.layout import LOCK
from bundles.installer.preflight import Order
from bundles.installer.receipts import inventory
from bundles.installer.sitestate import load_state
from bundles.installer.strictjson import write_json
from bundles.installer.tools import Tools
from bundles.installer.verifying import verify_site
from bundles.installer.walk import Done, install
from bundles.installer.zstds import KINDS

SELF_BYTES = 16 << 20
LEFT = 7
SHOWN = 5
INTERRUPTED = 130


def main(arguments: Sequence[str], *, own_path: str = "") -> int:
    """Run the program; ``own_path`` is the file that it was started from."""
    wishes = _parser().parse_args(arguments)
    try:
        if wishes.inventory:
            return _inventory(wishes.site, wishes.inventory)
        if wishes.verify:
            return _verify(wishes.site)
        if not wishes.source:
            raise UsageError("no medium is named", "Name the folder with the volumes: --from FOLDER")
        return _install(wishes, own_path)
    except ModelportError as error:
        if wishes.report == "json":
            _say(
                write_json({"event": "failed", "code": error.exit_code, "error": str(error), "hint": error.hint}).decode(),
                sys.stderr,
            )
        else:
            _say(f"error: {error}\n{f'hint: {error.hint}' if error.hint else ''}".rstrip() + "\n", sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted: run it again to go on\n", sys.stderr)
        return INTERRUPTED


def _install(wishes: argparse.Namespace, own_path: str) -> int:
    order = Order(
        tuple(wishes.source),
        wishes.site,
        wishes.root_fingerprint,
        wishes.require_fresh,
        wishes.allow_downgrade,
        wishes.allow_yanked,
        wishes.keep_parts,
        wishes.keep,
        wishes.zstd,
    )
    own = _own_bytes(own_path)
    facts = {
        "installer": f"install.pyz {hashlib.sha256(own).hexdigest()}" if own else "install.pyz",
        "python": sys.version.split()[0],
    }
    done = install(order, Tools(), installer=own, facts=facts, dry=wishes.check)
    _say(write_json(dataclasses.asdict(done)).decode() if wishes.report == "json" else summary(done) + "\n", sys.stdout)
    return LEFT if done.missing and not done.dry else 0


def summary(done: Done) -> str:
    """What a person reads after an installation."""
    missing = ", ".join(map(str, done.missing))
    lines = [f"bundle {done.name} ({done.bundle[:16]}), snapshot {done.snapshot}, root {done.root_fingerprint}"]
    lines += [f"  warning      {warning}" for warning in done.warnings]
    lines += [f"  release      {one['release']} in {os.path.join(done.site, one['folder'])}" for one in done.releases]
    if done.dry:
        lines.append(f"checked: nothing was written{f'; volumes {missing} of {done.volumes} are not at hand' if missing else ''}")
        return "\n".join(lines)
    lines += [f"  put right    {path}" for path in done.repaired]
    lines += [f"  removed      {release}" for release in done.removed]
    if done.missing:
        lines.append(f"not done: volumes {missing} of {done.volumes} are still missing; what came is safe")
        lines.append("next: put in a medium with one of them and run the same command again; the others are not needed any more")
    else:
        lines += [
            f"  live         generation {done.generation} in {os.path.join(done.site, 'current')}",
            f"  receipt      {done.receipt}",
        ]
    return "\n".join(lines)


def _inventory(place: str, path: str) -> int:
    site = _site(place)
    data = write_json({"signatures": [], "signed": inventory(site, load_state(site))})
    try:
        with open(path, "xb") as file:
            file.write(data)
    except OSError as error:
        raise DiskError(f"{path} cannot be written: {error.strerror}", "Name a new file: --inventory FILE") from error
    _say(f"{path}: carry it to the publisher for: bundle.build --have {os.path.basename(path)}\n", sys.stdout)
    return 0


def _verify(place: str) -> int:
    site = _site(place)
    found = verify_site(site)
    for release, bad in found.items():
        shown = f": {', '.join(bad[:SHOWN])}{' …' if len(bad) > SHOWN else ''}" if bad else ""
        _say(f"{release} {'is damaged' if bad else 'is as it was signed'}{shown}\n", sys.stdout)
    damaged = [release for release, bad in found.items() if bad]
    if damaged:
        raise IntegrityError(
            f"{', '.join(damaged)} in {site.path} was altered since it was installed",
            "Install it again from its medium: that rewrites the bad files only.",
        )
    return 0


def _site(place: str) -> Folder:
    site = Folder(place, make=False) if os.path.isdir(place) else None
    if site is None or not site.kind(LOCK):
        raise UsageError(f"nothing was installed into {place}", "Name the folder that was installed into: --site DIR")
    return site


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="install.pyz",
        description="Verify a modelport bundle and install it, with Python alone and without a network.",
        epilog="Compare the root fingerprint, and the sha256 of this file, with what the publisher told you by another way. "
        "Exit codes: 0 done, 2 usage, 3 damaged bytes, 4 trust, 6 disk or medium, 7 volumes are still missing.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--from", dest="source", metavar="FOLDER", action="append", help="folder with volumes; repeat it for more")
    add("--site", metavar="DIR", required=True, help="folder to install into")
    add("--root-fingerprint", metavar="HEX", default="", help="sha256 of the publisher's root; needed the first time only")
    add("--check", action="store_true", help="verify what is signed and what would be done; write nothing")
    add("--require-fresh", action="store_true", help="refuse expired metadata (default: a recorded warning)")
    add("--allow-downgrade", action="store_true", help="accept older metadata of a model than was seen here (recorded)")
    add("--allow-yanked", action="store_true", help="install a release that its publisher yanked (recorded)")
    add("--keep-parts", action="store_true", help="keep the tree, too, so that this site can serve it to others")
    add("--keep", metavar="N", type=int, default=3, help="generations to keep (default 3)")
    add("--zstd", choices=KINDS, default="auto", help="which decoder to use (default auto: the first that is there)")
    add("--verify", action="store_true", help="prove every installed file again, without a medium, and do nothing else")
    add("--inventory", metavar="FILE", default="", help="write what the site has to a new FILE, and do nothing else")
    add("--report", choices=("plain", "json"), default="plain", help="form of the result (default plain)")
    return parser


def _own_bytes(path: str) -> bytes | None:
    """This program's own bytes, which a person compared before they started it."""
    if not path.endswith(".pyz"):
        return None
    try:
        with open(path, "rb") as file:
            return file.read(SELF_BYTES)
    except OSError:
        return None


def _say(text: str, stream: object) -> None:
    # A terminal that cannot show a character must not end an installation.
    data = text.encode(getattr(stream, "encoding", None) or "utf-8", "backslashreplace")
    buffer = getattr(stream, "buffer", None)
    if buffer is not None:
        buffer.write(data)
        buffer.flush()
