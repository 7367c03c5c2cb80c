"""The words that start a program in a network of its own, with nothing in it.

Root does that by itself; anybody else needs to become root of a user namespace first, which the kernel refuses within
a chroot (user_namespaces(7), EPERM of clone(2)): so root does not ask for one.
"""

from __future__ import annotations

import os

WITHOUT_NETWORK = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")
