"""numpy as this project uses it: for arrays alone, without the threads of its linear algebra.

OpenBLAS starts a thread for every core when numpy is imported, and each spins for some 25 ms before it sleeps. Nothing here
multiplies matrices, so that was a core taken from whatever a command did first (docs/adr/0159).

next: ``planes``
"""

from __future__ import annotations

import os

# Read by OpenBLAS once, when it is loaded; whoever set it meant it.
_THREADS = "OPENBLAS_NUM_THREADS"
_unset = _THREADS not in os.environ
if _unset:
    os.environ[_THREADS] = "1"
import numpy as np  # noqa: E402 (it is loaded with the setting)
import numpy.typing as npt  # noqa: E402 (as above)

if _unset:
    # Programs that this one starts may have other uses for their cores.
    del os.environ[_THREADS]

__all__ = ["np", "npt"]
