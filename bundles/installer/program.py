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
import signal
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, NoReturn

from bundles.installer.faults import DiskError, IntegrityError, ModelportError, UsageError
from bundles.installer.folders import Folder
from bundles.installer.layout import LOCK
from bundles.installer.outcome import Done
from bundles.installer.preflight import Order
from bundles.installer.receipts import inventory
from bundles.installer.sitestate import load_state
from bundles.installer.strictjson import write_json
from bundles.installer.tools import Tools
from bundles.installer.verifying import verify_site
from bundles.installer.walk import install
from bundles.installer.zstds import KINDS

SELF_BYTES = 16 << 20
LEFT = 7
SHOWN = 5
INTERRUPTED = 130


def main(arguments: Sequence[str], *, own_path: str = "") -> int:
    """Run the program; ``own_path`` is the file that it was started from."""
    as_json = "--report=json" in arguments or ("--report", "json") in zip(arguments, arguments[1:])
    sys.excepthook = partial(_report_bug, as_json=as_json)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        wishes = _parser().parse_args(arguments)
        if wishes.inventory:
            return _inventory(wishes)
        if wishes.verify:
            return _verify(wishes)
        if not wishes.sources:
            raise UsageError("no medium is named", "Name the folder with the volumes: --from FOLDER")
        return _install(wishes, own_path)
    except ModelportError as error:
        return _failed(error.exit_code, str(error), error.hint, as_json=as_json)
    except KeyboardInterrupt:
        return _failed(INTERRUPTED, "interrupted", "Run it again: it goes on with what is missing.", as_json=as_json)


def _install(wishes: argparse.Namespace, own_path: str) -> int:
    order = Order(**{one.name: getattr(wishes, one.name) for one in dataclasses.fields(Order)})
    own = _own_bytes(own_path)
    name = f"install.pyz {hashlib.sha256(own).hexdigest()}" if own else "install.pyz"
    facts = {"installer": name, "python": sys.version.split()[0]}
    done = install(order, Tools(), installer=own, facts=facts, dry=wishes.check)
    _answer(wishes, dataclasses.asdict(done), summary(done))
    if not done.missing or done.dry:
        return 0
    return _failed(LEFT, *left_undone(done.name, done.missing, done.volumes), as_json=wishes.report == "json")


def spell_volumes(numbers: Sequence[int], of: int) -> str:
    """Say which volumes, up to the verb: ``volume 2 of 3 is``, ``volumes 1, 2 of 3 are``."""
    return f"volume{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))} of {of} {'are' if len(numbers) > 1 else 'is'}"


def left_undone(name: str, missing: Sequence[int], volumes: int) -> tuple[str, str]:
    """What is said, and what to do, where an installation waits for the next medium."""
    return (
        f"{name} is not installed yet: {spell_volumes(missing, volumes)} missing",
        "Put in a medium with one of them and run the same command again." if len(missing) > 1
        else "Put in the medium with it and run the same command again.",
    )  # fmt: skip


def summary(done: Done) -> str:
    """What a person reads after an installation."""
    missing = spell_volumes(done.missing, done.volumes)
    lines = [f"bundle {done.name} ({done.bundle[:16]}), snapshot {done.snapshot}, root {done.root_fingerprint}"]
    lines += [f"  warning      {warning}" for warning in done.warnings]
    lines += [f"  release      {one['release']} in {os.path.join(done.site, one['folder'])}" for one in done.releases]
    if done.dry:
        lines += [f"  altered      {path}, would be put right" for path in done.repaired]
        lines.append(f"checked: nothing was written{f'; {missing} not at hand' if done.missing else ''}")
        return "\n".join(lines)
    lines += [f"  put right    {path}" for path in done.repaired]
    lines += [f"  removed      {release}" for release in done.removed]
    if done.missing:
        lines.append(f"not live yet: {missing} missing; what came is safe, its media are not needed any more")
    else:
        lines += [
            f"  live         generation {done.generation} in {os.path.join(done.site, 'current')}",
            f"  receipt      {done.receipt}",
        ]
    return "\n".join(lines)


def _inventory(wishes: argparse.Namespace) -> int:
    site, path = _site(wishes.site), wishes.inventory
    signed = inventory(site, load_state(site))
    data = write_json({"signatures": [], "signed": signed})
    try:
        with open(path, "xb") as file:
            file.write(data)
    except OSError as error:
        raise DiskError(f"{path} cannot be written: {error.strerror}", "Name a new file: --inventory FILE") from error
    told = {"path": path, "releases": [one["release"] for one in signed["releases"]], "keyid": ""}
    told |= {name: signed[name] for name in ("snapshot", "root_fingerprint")}
    _answer(wishes, told, f"{path}: carry it to the publisher for: bundle.build --have {os.path.basename(path)}")
    return 0


def _verify(wishes: argparse.Namespace) -> int:
    site = _site(wishes.site)
    found = verify_site(site)
    lines = []
    for release, bad in found.items():
        shown = f": {', '.join(bad[:SHOWN])}{' …' if len(bad) > SHOWN else ''}" if bad else ""
        lines.append(f"{release} {'is damaged' if bad else 'is as it was signed'}{shown}")
    damaged = [release for release, bad in found.items() if bad]
    if wishes.report != "json" or not damaged:
        _answer(wishes, {"site": site.path, "releases": sorted(found)}, "\n".join(lines) or "nothing is installed")
    if damaged:
        bad_files = ", ".join(f"{release}/{path}" for release in damaged for path in found[release][:SHOWN])
        raise IntegrityError(
            f"{', '.join(damaged)} in {site.path} {'were' if len(damaged) > 1 else 'was'} altered after installation: {bad_files}",
            "Install it again from its medium: that rewrites the bad files only.",
        )
    return 0


def _site(place: str) -> Folder:
    site = Folder(place, make=False) if os.path.isdir(place) else None
    if site is None or not site.kind(LOCK):
        raise UsageError(f"nothing was installed into {place}", "Name the folder that was installed into: --site DIR")
    return site


class _Parser(argparse.ArgumentParser):
    """One that says what is wrong as everything else does."""

    def error(self, message: str) -> NoReturn:
        """Refuse."""
        raise UsageError(message, "All that can be asked for: install.pyz --help")

    def print_help(self, file: Any = None) -> None:
        """Say what can be asked for, to whoever still listens."""
        _say(self.format_help(), file or sys.stdout)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="install.pyz",
        description="Verify a modelport bundle and install it, with Python alone and without a network.",
        epilog="Compare the root fingerprint, and the sha256 of this file, with what the publisher told you by another way. "
        "Exit codes: 0 done, 2 usage, 3 damaged bytes, 4 trust, 6 disk or medium, 7 volumes are still missing.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--from", dest="sources", metavar="FOLDER", action="append", help="folder with volumes; repeat it for more")
    add("--site", metavar="DIR", required=True, help="folder to install into")
    add("--root-fingerprint", dest="fingerprint", metavar="HEX", default="", help="sha256 of the root; needed only at first")
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
    if not path.lower().endswith(".pyz"):
        return None
    try:
        with open(path, "rb") as file:
            return file.read(SELF_BYTES)
    except OSError:
        return None


def _answer(wishes: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    _say(write_json(document).decode() if wishes.report == "json" else text + "\n", sys.stdout)


def _failed(code: int, error: str, hint: str, *, as_json: bool) -> int:
    """Say why it ended so, as the last thing of all; gives the exit code."""
    if as_json:
        _say(write_json({"event": "failed", "code": code, "error": error, "hint": hint}).decode(), sys.stderr)
    else:
        _say(f"error: {error}\n" + (f"hint: {hint}\n" if hint else ""), sys.stderr)
    return code


def _report_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None, *, as_json: bool) -> None:
    _say("".join(traceback.format_exception(kind, error, trace)), sys.stderr)
    _failed(
        ModelportError.exit_code,
        f"{kind.__name__}: {error}",
        "This is a bug in modelport; please report it with the lines above.",
        as_json=as_json,
    )


def _say(text: str, stream: object) -> None:
    # A terminal that cannot show a character must not end an installation.
    data = text.encode(getattr(stream, "encoding", None) or "utf-8", "backslashreplace")
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        return
    try:
        buffer.write(data)
        buffer.flush()
    except OSError as error:
        # Python flushes once more at its end, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), buffer.fileno())
        # A reader who left changes nothing of what was done.
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            raise DiskError(f"the result cannot be written: {error.strerror}", "It was done all the same.") from error
