"""install.pyz: the installer as one file that stock Python runs.

Takes nothing but the installer's own modules, gives the bytes of a zip application (docs.python.org, zipapp): the
same bytes on every machine for one version of modelport, so that its sha256 can be published.

next: ``installing``
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).with_name("installer")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SHEBANG = b"#!/usr/bin/env python3\n"
# Isolated from the folder it is started in and from PYTHON variables as far as a program can still be by itself.
_MAIN = b'''"""The door of install.pyz."""

import signal
import sys

if sys.version_info < (3, 9):
    sys.stderr.write("error: install.pyz needs Python 3.9 or newer, this is " + sys.version.split()[0] + "\\n")
    sys.exit(2)
sys.dont_write_bytecode = True

try:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from bundles.installer.program import main

    code = main(sys.argv[1:], own_path=sys.path[0])
except KeyboardInterrupt:
    sys.stderr.write("error: interrupted\\nhint: Run it again: it goes on with what is missing.\\n")
    code = 130
sys.exit(code)
'''


@cache
def installer_bytes() -> bytes:
    """The bytes of ``install.pyz``."""
    members = {"__main__.py": _MAIN, "bundles/__init__.py": b'"""modelport: what the installer needs of it."""\n'}
    for file in sorted(_PACKAGE.glob("*.py")):
        members[f"bundles/installer/{file.name}"] = file.read_text(encoding="utf-8").encode()
    out = io.BytesIO()
    out.write(_SHEBANG)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archive:
        # Stored, not deflated: deflate's bytes differ between zlib versions, and these can be read with any pager.
        for name, data in sorted(members.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return out.getvalue()


def installer_sha256() -> str:
    """What a person compares by another way before they run it."""
    return hashlib.sha256(installer_bytes()).hexdigest()
