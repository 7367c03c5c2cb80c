"""The chain of roots: from a pin, or from the newest root already trusted, to the newest there is.

Takes anything that gives objects by key, and the state of a place; gives the newest verified root.
Each step is TUF's (specification §5.3): root N+1 must be signed by enough keys of N and of itself,
and is kept before the next one is asked for.

next: ``judge``
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tuf.api.metadata import Root

from pipeline.errors import InvalidDocument, NotPinned, ObjectMissing, RollbackRefused, TrustError
from pipeline.layout import TIMESTAMP, role_key
from pipeline.ports import TreeSource, read_object
from pipeline.store_kinds import WEB, scheme_of
from pipeline.trust.sealed import ROOT_BYTES, TIMESTAMP_BYTES, Sealed, check_signed, open_sealed
from pipeline.trust.state import TrustState

# As many as the reference client follows in one go (tuf.ngclient.UpdaterConfig).
NEW_ROOTS = 256
# So many numbers after a root that is not there are looked at, to say what is.
GAP = 16
HINT_TO_RESTORE = (
    "A tree keeps all its roots: ask its publisher to put them back, from a mirror or a bundle of it, or read from one of these."
)


def read_root(source: TreeSource, version: int) -> Sealed[Root] | None:
    """Root ``version`` of the tree, unverified, or None where there is none.

    Raises:
        InvalidDocument: it is not a root, or carries another number than its name.
    """
    key = role_key("root", version)
    try:
        data = read_object(source, key, cap=ROOT_BYTES)
    except ObjectMissing:
        return None
    root = open_sealed(data, Root, what=key, cap=ROOT_BYTES)
    if root.version != version:
        raise InvalidDocument(f"{key} says it is version {root.version}", hint="The tree was altered: try another source.")
    return root


def follow_roots(source: TreeSource, state: TrustState) -> Sealed[Root]:
    """Verify the chain up to the newest root of the tree, keeping every step in ``state``.

    Raises:
        NotPinned: this place trusts no root of this tree; the message gives the tree's fingerprint.
        BadSignature, InvalidDocument: the next root is not one; those before it stay trusted.
    """
    trusted = state.root() or _pinned_root(source, state)
    for _ in range(NEW_ROOTS):
        following = read_root(source, trusted.version + 1)
        if following is None:
            return trusted
        what = role_key("root", following.version)
        check_signed(trusted.signed, "root", following, what=what)
        check_signed(following.signed, "root", following, what=what)
        state.trust_root(following, trusted)
        trusted = following
    if read_root(source, trusted.version + 1) is None:
        return trusted
    raise TrustError(
        f"{source.url} has more than {NEW_ROOTS} roots above the newest one known here; root {trusted.version} is kept",
        hint="No honest tree rotates so often: ask its publisher. Running it again follows the next ones.",
    )


def check_same_tree(source: TreeSource, trusted: Sealed[Root]) -> None:
    """Refuse a tree whose root of the trusted number is missing or another: it is older, or not ours.

    Raises:
        RollbackRefused
    """
    there = read_root(source, trusted.version)
    if there is None or there.data != trusted.data:
        found = "has no such root" if there is None else f"has another one, fingerprint {there.sha256}"
        raise RollbackRefused(
            f"root {trusted.version} with fingerprint {trusted.sha256} was seen here, {source.url} {found}",
            hint="The store was set back, or is another one: check its address before publishing to it.",
        )


def newest_fingerprint(source: TreeSource) -> tuple[int, str] | None:
    """(version, fingerprint) of the newest root a tree shows, unverified: for people to compare."""
    found: tuple[int, str] | None = None
    version = 1
    while version <= 2 * NEW_ROOTS and (root := read_root(source, version)) is not None:
        found = (version, root.sha256)
        version += 1
    return found


def is_empty(store: TreeSource, pins: Sequence[str]) -> bool:
    """Whether no tree has been begun there.

    Raises:
        NotPinned: there is one, and its first root is lost.
    """
    if read_root(store, 1) is not None:
        return False
    if fault := lost_roots(store, pins):
        raise NotPinned(fault, hint=HINT_TO_RESTORE)
    return True


def lost_roots(source: TreeSource, pins: Sequence[str] = ()) -> str:
    """Say what is left of the roots of a tree whose first one is not there; "" where there is no tree at all."""
    try:
        read_object(source, TIMESTAMP, cap=TIMESTAMP_BYTES)
    except ObjectMissing:
        return ""
    there = [root for version in range(2, GAP + 2) if (root := read_root(source, version)) is not None]
    if not there:
        return f"{source.url} has {TIMESTAMP}, and its roots are lost"
    first = there[0]
    lost = "root 1 is" if first.version == 2 else f"roots 1 to {first.version - 1} are"
    ours = next((root for root in there if root.sha256 in pins), None)
    shown = f"{ours.version}, which this place trusts, is there" if ours else f"{first.version} has fingerprint {first.sha256}"
    return f"{source.url} has a tree whose {lost} lost; root {shown}"


def _hint_to_begin(url: str) -> str:
    if scheme_of(url) in WEB:
        return "Check the address: it is that of the folder which holds metadata/ and parts/."
    # Said in full: what was read as a source is not where publish goes without it.
    there = f"--store {shlex.quote(url)}"
    return f"Check the address. To begin a tree there: invoke publish --model NAME-vVERSION {there} (in a bucket first invoke trust.init {there})"


def shows_root(source: TreeSource, fingerprint: str) -> bool:
    """Whether one of the roots that a tree shows has this fingerprint."""
    version = 1
    while version <= 2 * NEW_ROOTS and (root := read_root(source, version)) is not None:
        if root.sha256 == fingerprint:
            return True
        version += 1
    return False


def _pinned_root(source: TreeSource, state: TrustState) -> Sealed[Root]:
    pins = state.pins
    version = 1
    shown: Sealed[Root] | None = None
    while pins and version <= 2 * NEW_ROOTS and (root := read_root(source, version)) is not None:
        if root.sha256 in pins:
            check_signed(root.signed, "root", root, what=role_key("root", version))
            state.trust_root(root, None)
            return root
        shown, version = root, version + 1
    newest = (shown.version, shown.sha256) if shown else newest_fingerprint(source)
    if newest is None:
        if fault := lost_roots(source, pins):
            raise NotPinned(fault, hint=HINT_TO_RESTORE)
        raise NotPinned(f"{source.url} has no root: nothing is published there yet", hint=_hint_to_begin(source.url))
    fault = f"this place trusts {', '.join(pins)}, which is none of its roots" if pins else "no root of it is trusted here"
    raise NotPinned(
        f"{source.url}: {fault}; its newest root is {newest[0]} with fingerprint {newest[1]}",
        hint=f"Compare this fingerprint with its publisher by another way, then: invoke trust.pin --fingerprint {newest[1]}",
    )
