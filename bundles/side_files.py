"""What stands beside the volumes: README.txt for the person at the site, and SHA256SUMS.

Takes a bundle and what was written, gives text. No time, no path of this machine, no name of a person is in it: the same
bundle has the same files wherever it is built.

next: ``bundles.parity``
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from bundles.index import Bundle
from pipeline.digest import Sha256

README = "README.txt"
SUMS = "SHA256SUMS"
INSTALLER = "install.pyz"
WHEELS = "wheels"
_PARITY = """\

   Or repair it with any PAR2 program. Nobody signs parity, so copy the volume and its
   .par2 files into an empty folder first, run there
     par2 repair NAME.vol001.tar.par2
   and copy the volume back: what is repaired is then verified as everything else is.
"""
_CODEC = """\

   What it holds is compressed with zstandard: {carried}.
   The program `zstd`, or Python 3.14 or newer, serves as well.
"""
# What a bundle is of, by kind.
_NOUNS = {"model": "AI models", "web": "web applications", "wheels": "Python packages"}
# Where what is no model is found, by kind.
_OTHERS = {
    "web": "   Web applications are in SITE/web/NAME, for any web server.\n",
    "wheels": "   Python packages: pip install --no-index --find-links SITE/wheels/RELEASE PACKAGE\n",
}
_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


def readme_text(bundle: Bundle, *, installer_sha256: Sha256, needs_codec: bool, wheels: bool, parity: bool) -> str:
    """Tell a person who may never have heard of modelport what this is and what to do with it."""
    plan = bundle.plan
    volumes = len(plan.volumes)
    names = bundle.file_name(1) + (f" to {bundle.file_name(volumes)}" if volumes > 1 else "")
    held = "\n".join(
        f"  {one.release}  ({one.kind}, {one.files} file{'s' * (one.files != 1)}, {one.plain} bytes{'' if one.chosen else ', needed by another'})"
        for one in plan.releases
    )
    bases = ""
    if plan.bases:
        bases = "It adds to what the site has, and installs only where this is installed:\n" + "\n".join(
            f"  {one.release}" for one in plan.bases
        )
        bases += "\n\n"
    media = (
        f"The bundle has {volumes} volumes. They may come in any order, all at once or one after the other; the\n"
        "   installer says which are still missing, and goes on where it stopped.\n"
        if volumes > 1
        else "Running it again after any interruption goes on where it stopped.\n"
    )
    partly = "\n   (with --ignore-missing as long as not all volumes lie here)" if volumes > 1 else ""
    carried = "what is carried in wheels/ does that" if wheels else "this bundle carries nothing that does that"
    nouns = [noun for kind, noun in _NOUNS.items() if any(one.kind == kind for one in plan.releases)]
    what = ", ".join(nouns[:-1]) + (" and " if nouns[1:] else "") + nouns[-1]
    others = "".join(text for kind, text in _OTHERS.items() if any(one.kind == kind for one in plan.releases))
    codec = _CODEC.format(carried=carried) if needs_codec else ""
    return f"""\
This is {plan.name}, a bundle of {what} for a place without a network.
Bundle {bundle.id}

It holds
{held}
in {names}.

{bases}What to do at the site, in the folder in which this file lies

1. Compare. Anybody could have written these files, so ask the sender by another way (by telephone, from the
   release page, on paper) for the two numbers below, 64 digits each. If one of them differs: stop.

   sha256 of the installer, which `sha256sum install.pyz` must print:
     {installer_sha256}
   fingerprint of the root of trust:
     {plan.root_fingerprint}

2. Look whether the media are sound (the installer does so, too; this needs nothing but coreutils):

     sha256sum -c {SUMS}{partly}

   A volume that is not can be sent again alone: tell the sender its name.
{_PARITY if parity else ""}
3. Install. Python 3.9 or newer is all that it needs; no network is used. SITE is the folder to install into:

     python3 {INSTALLER} --from . --site SITE --root-fingerprint {plan.root_fingerprint}

   {media}   Nothing that is installed is touched before everything new is verified and safe on disk.
   A site that has trusted this root before kept a copy of the installer. Run that one; it needs no fingerprint:

     python3 SITE/bin/install.pyz --from . --site SITE
{codec}
4. What was installed is then in SITE/current. A receipt of what was done lies in SITE/state/receipts; carry it
   back if the sender asks for it.
{others}"""


def sums_text(sums: Mapping[str, Sha256]) -> str:
    """What ``sha256sum -c`` reads, sorted by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def read_sums(text: str) -> dict[str, Sha256]:
    """Name to digest of each well-formed line; others are nobody's."""
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return {match[2]: Sha256(match[1]) for match in found if match}
