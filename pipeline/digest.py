"""Digests: lower-case hex strings, typed by their algorithm.

Takes bytes, gives names. Parts and chunks are named by BLAKE3 (github.com/BLAKE3-team/BLAKE3-specs),
files and everything that TUF or a browser verifies by SHA-256 (FIPS 180-4).

next: ``release``
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

import blake3 as _blake3
from typing_extensions import Buffer

Blake3 = NewType("Blake3", str)
Sha256 = NewType("Sha256", str)

HEX64 = re.compile(r"[0-9a-f]{64}")


def blake3_of(data: Buffer) -> Blake3:
    """Hash ``data`` on this thread; releases the interpreter lock above 2 KiB."""
    return Blake3(_blake3.blake3(data).hexdigest())


def sha256_of(data: Buffer) -> Sha256:
    """Hash ``data`` on this thread; releases the interpreter lock above 2 KiB."""
    return Sha256(hashlib.sha256(data).hexdigest())


def is_hex64(text: object) -> bool:
    """Tell whether ``text`` is a digest as every document of the format spells one."""
    return isinstance(text, str) and HEX64.fullmatch(text) is not None
