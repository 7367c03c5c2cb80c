"""The worker as it is served: modules joined into one classic script and written shortly.

Takes the modules of ``sw/worker/``, gives the bytes of ``sw.js`` and ``sw-client.js``: the same for one version of modelport on
every machine.

next: ``sw.spare``
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from sw.manifest import CLIENT, WORKER
from sw.shrink import shrunk

_ENGINE = ("bytes", "fetch", "route", "plan", "store", "versions", "serve", "install", "worker")
# Properties of what the modules pass to each other. What is stored, sent or received has names that stay.
_OWN = frozenset(
    {"bring", "fault", "hashed", "inside", "instead", "loose", "origin", "over", "piece", "pieces", "start", "way", "whole"}
)
_IMPORT = re.compile(rb"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(rb"^export ", re.MULTILINE)


def engine_files() -> Mapping[str, bytes]:
    """The worker's files by the names that they are served under."""
    # One scope for all modules: what one of them exports, the others call by its name. Nothing else runs in a worker of ours.
    engine = b"".join(_EXPORT.sub(b"", _IMPORT.sub(b"", _module(name))) for name in _ENGINE)
    return {WORKER: b'"use strict";' + shrunk(engine, _OWN) + b"\n", CLIENT: shrunk(_module("client")) + b"\n"}


def _module(name: str) -> bytes:
    return (files("sw") / "worker" / f"{name}.mjs").read_bytes()
