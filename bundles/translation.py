"""The installer's errors told as ours: the same words, and the same exit codes.

next: ``bundles.site``
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bundles.installer import faults
from pipeline.errors import DiskError, IntegrityError, ModelportError, TrustError, UsageError

_FAMILIES: dict[type[faults.ModelportError], type[ModelportError]] = {
    faults.UsageError: UsageError,
    faults.IntegrityError: IntegrityError,
    faults.TrustError: TrustError,
    faults.DiskError: DiskError,
}


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise what the installer raises as an error of ours."""
    try:
        yield
    except faults.ModelportError as error:
        family = next((ours for theirs, ours in _FAMILIES.items() if isinstance(error, theirs)), None)
        if family is None:
            raise
        raise family(str(error), hint=error.hint) from error
