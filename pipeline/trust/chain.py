"""The chain of roots: from a pin, or from the newest root already trusted, to the newest there is.

Takes anything that gives objects by key, and the state of a place; gives the newest verified root.
Each step is TUF's (specification §5.3): root N+1 must be signed by enough keys of N and of itself,
and is kept before the next one is asked for. The pinned root is known by the digest of its bytes alone:
no other is read as a root to find it.

next: ``judge``
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from tuf.api.metadata import Root

from pipeline.digest import sha256_of
from pipeline.errors import InvalidDocument, NotPinned, ObjectMissing, RollbackRefused, TrustError
from pipeline.layout import TIMESTAMP, role_key
from pipeline.ports import TreeSource, read_object
from pipeline.store_kinds import WEB, scheme_of
from pipeline.trust.sealed import ROOT_BYTES, TIMESTAMP_BYTES, Sealed, check_signed, open_sealed, open_signed
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
    data = _root_bytes(source, version)
    if data is None:
        return None
    return _numbered(open_sealed(data, Root, what=role_key("root", version), cap=ROOT_BYTES), version)


def follow_roots(source: TreeSource, state: TrustState) -> Sealed[Root]:
    """Verify the chain up to the newest root of the tree, keeping every step in ``state``.

    Raises:
        NotPinned: this place trusts no root of this tree; the message gives the tree's fingerprint.
        TrustError: as ``NotPinned``, and what it shows in the place of a root is none.
        BadSignature, InvalidDocument: the next root is not one; those before it stay trusted.
    """
    trusted = state.root() or _pinned_root(source, state)
    for _ in range(NEW_ROOTS):
        version = trusted.version + 1
        data = _root_bytes(source, version)
        if data is None:
            return trusted
        what = role_key("root", version)
        signed = open_signed(data, Root, trusted.signed, "root", what=what, cap=ROOT_BYTES)
        following = _numbered(signed, version)
        check_signed(following.signed, "root", following, what=what)
        state.trust_root(following, trusted)
        trusted = following
    if _root_bytes(source, trusted.version + 1) is None:
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
    """Say what is left of the roots of a tree whose first one is lost; "" where it is there, or no tree at all is."""
    if _root_bytes(source, 1) is not None:
        return ""
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


def describe_roots(source: TreeSource) -> str:
    """What a tree shows in the place of its roots, as the end of a sentence for people; nothing of it is verified."""
    try:
        found = newest_fingerprint(source)
    except InvalidDocument as error:
        return str(error)
    return f"its newest root is {found[0]} with fingerprint {found[1]}" if found else "it has none"


def _hint_to_begin(url: str) -> str:
    if scheme_of(url) in WEB:
        return "Check the address: it is that of the folder which holds metadata/ and parts/."
    # Said in full: what was read as a source is not where publish goes without it.
    there = f"--store {shlex.quote(url)}"
    return f"Check the address. To begin a tree there: invoke publish --model NAME-vVERSION {there} (in a bucket first invoke trust.init {there})"


def shows_root(source: TreeSource, fingerprint: str) -> bool:
    """Whether one of the roots that a tree shows has this fingerprint."""
    return _found_root(source, [fingerprint]) is not None


def _root_bytes(source: TreeSource, version: int) -> bytes | None:
    try:
        return read_object(source, role_key("root", version), cap=ROOT_BYTES)
    except ObjectMissing:
        return None


def _numbered(root: Sealed[Root], version: int) -> Sealed[Root]:
    if root.version != version:
        raise InvalidDocument(
            f"{role_key('root', version)} says it is version {root.version}", hint="The tree was altered: try another source."
        )
    return root


def _found_root(source: TreeSource, fingerprints: Collection[str]) -> tuple[int, bytes] | None:
    """Number and bytes of the first root that has one of the fingerprints; nothing is read as a root to find it."""
    before = b""
    for version in range(1, 2 * NEW_ROOTS + 1):
        data = _root_bytes(source, version)
        # One document under two numbers is no chain, but what a web server may answer to every question.
        if data is None or data == before:
            return None
        if sha256_of(data) in fingerprints:
            return version, data
        before = data
    return None


def _pinned_root(source: TreeSource, state: TrustState) -> Sealed[Root]:
    pins = state.pins
    found = _found_root(source, pins) if pins else None
    if found is not None:
        version, data = found
        what = role_key("root", version)
        root = _numbered(open_sealed(data, Root, what=what, cap=ROOT_BYTES), version)
        check_signed(root.signed, "root", root, what=what)
        state.trust_root(root, None)
        return root
    fault = f"this place trusts {', '.join(pins)}, which is none of its roots" if pins else "no root of it is trusted here"
    try:
        newest = newest_fingerprint(source)
    except InvalidDocument as error:
        # What nobody trusts is damaged as well: another source may have the tree that is trusted.
        raise TrustError(f"{source.url}: {fault}; {error}", hint=error.hint) from error
    if newest is None:
        if fault := lost_roots(source, pins):
            raise NotPinned(fault, hint=HINT_TO_RESTORE)
        raise NotPinned(f"{source.url} has no root: nothing is published there yet", hint=_hint_to_begin(source.url))
    raise NotPinned(
        f"{source.url}: {fault}; its newest root is {newest[0]} with fingerprint {newest[1]}",
        hint=f"Compare this fingerprint with its publisher by another way, then: invoke trust.pin --fingerprint {newest[1]}",
    )
