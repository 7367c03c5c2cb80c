"""The beginning of a tree: its first root, its keys, and the role of each new model.

Takes a publisher; gives a tree that a client can read, with nothing in it yet, and the delegation
that a first publish of a model needs. Everything here is idempotent, so that a run that was killed
continues (docs/format.md §8).

next: ``rotate``
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Root

from pipeline.digest import sha256_of
from pipeline.errors import ConflictError, KeyUnusable, NotDelegated, NotPinned, ObjectExists
from pipeline.layout import role_key
from pipeline.meant import nearest
from pipeline.release import ModelName
from pipeline.trust.announce import check_enough
from pipeline.trust.chain import is_empty, newest_fingerprint, read_root
from pipeline.trust.changes import Delegate
from pipeline.trust.commit import Committed, commit_changes
from pipeline.trust.keyfolder import find_keys, make_keys, name_keys, open_keys
from pipeline.trust.keys import Keyring
from pipeline.trust.publisher import Publisher
from pipeline.trust.roles import EMBEDDED_SNAPSHOT_LIFE, SNAPSHOT_LIFE, first_root, role_keys
from pipeline.trust.sealed import Sealed, seal
from pipeline.trust.view import View

STEPS = ("init.root", "init.pin")


def init_trust(publisher: Publisher, *, embedded: bool = False) -> Committed:
    """Give a store its root, targets, snapshot and timestamp; a tree that is there already is left as it is.

    ``embedded``: a directory store whose keys were made on first use; its snapshots live two years.

    Raises:
        KeyUnusable: root, targets or release key are not at hand.
        NotPinned: the store has a root that these keys did not sign and this place does not trust.
        ClockSkew, StoreUnavailable, …
    """
    if is_empty(publisher.store, publisher.state.pins):
        publisher.step("init.root")
        put_first_root(publisher, make_first_root(publisher, publisher.keys))
    publisher.step("init.pin")
    pin_own_root(publisher)
    # A client may have asked for it before it was there, and an edge may remember that.
    publisher.prove_names([role_key("root", 1)])
    return commit_changes(publisher, [], life=EMBEDDED_SNAPSHOT_LIFE if embedded else SNAPSHOT_LIFE)


def init_on_first_use(publisher: Publisher, home: Path, *, embedded: bool = True) -> tuple[Publisher, Committed]:
    """Make keys for a store under ``home`` and begin its tree; both are found again by a later run.

    ``embedded`` as in ``init_trust``.

    Returns:
        The publisher with the tree's own keys, and the state of the tree.

    Raises:
        ClockSkew, DiskError, …: as ``init_trust``; keys that signed nothing are gone again.
    """
    if is_empty(publisher.store, publisher.state.pins):
        with contextlib.ExitStack() as unnamed:
            folder = make_keys(home)
            unnamed.callback(shutil.rmtree, folder, ignore_errors=True)
            root = make_first_root(publisher, open_keys(folder))
            # Named before the root is published: a tree whose keys cannot be found again would be lost.
            name_keys(folder, root.sha256)
        publisher.step("init.root")
        put_first_root(publisher, root)
    own = replace(publisher, keys=own_keys(publisher, home))
    return own, init_trust(own, embedded=embedded)


def own_keys(publisher: Publisher, home: Path) -> Keyring:
    """The keys that were made here when the tree of this store was begun.

    Raises:
        KeyUnusable: there are none on this machine.
    """
    return open_keys(own_folder(publisher, home))


def own_folder(publisher: Publisher, home: Path) -> Path:
    """The folder of these keys.

    Raises:
        KeyUnusable: there are none on this machine.
    """
    first = read_root(publisher.store, 1)
    folder = find_keys(home, [first.sha256]) if first else None
    if folder is None:
        shown = first.sha256 if first else "none"
        raise KeyUnusable(
            f"no keys for {publisher.store.url} (first root {shown}) are in {home}",
            hint="Publish from the machine that made them, or name keys in the settings (keys.release).",
        )
    return folder


def make_first_root(publisher: Publisher, keys: Keyring) -> Sealed[Root]:
    """Sign root version 1 for the keys at hand.

    Raises:
        KeyUnusable, ClockSkew
    """
    at = publisher.signing_time(None)
    signers = {slot: _slot(keys, slot) for slot in ("root", "targets", "snapshot", "timestamp")}
    public = {slot: [signer.public_key for signer in found] for slot, found in signers.items()}
    return seal(first_root(public, at), signers["root"])


def put_first_root(publisher: Publisher, root: Sealed[Root]) -> None:
    """Write root 1; one that stands there already is another publisher's, and stays."""
    with contextlib.suppress(ObjectExists):
        publisher.store.put(role_key("root", 1), root.data, sha256=sha256_of(root.data), if_absent=True)


def pin_own_root(publisher: Publisher) -> None:
    """Pin the store's first root in this place, if our own root key signed it.

    Raises:
        NotPinned: somebody else's tree stands there; a pin to it must be explicit.
    """
    if publisher.state.pins:
        return
    first = read_root(publisher.store, 1)
    if first is None:
        raise ConflictError(f"{publisher.store.url} has no root 1", hint="Run: invoke trust.init")
    named = [key.keyid for key in role_keys(first.signed, "root")]
    if not publisher.keys.signers("root", named):
        newest = newest_fingerprint(publisher.store) or (1, first.sha256)
        raise NotPinned(
            f"{publisher.store.url} has a tree whose root this place does not trust, fingerprint {newest[1]}",
            hint=f"Compare it with its owner, then: invoke trust.pin --fingerprint {newest[1]}",
        )
    publisher.state.pin(first.sha256)


def delegation_for(publisher: Publisher, view: View, model: ModelName) -> Delegate | None:
    """What a first publish of ``model`` must commit besides the release; None if its role is there.

    Asked before the model is read, so that a missing key costs nothing.

    Raises:
        NotDelegated: the model has no role and the targets key is not at hand.
        KeyUnusable: the key of the model's role is not at hand.
    """
    root, targets = view.root.signed, view.targets.signed
    if model in view.models():
        role = targets.get_delegated_role(model)
        at_hand = {signer.public_key.keyid for signer in publisher.keys.signers(model, role.keyids)}
        check_enough(model, role.keyids, role.threshold, at_hand, "targets")
        return None
    wanted = root.roles["targets"]
    if len(publisher.keys.signers("targets", wanted.keyids)) < wanted.threshold:
        near = nearest(model, view.models(), cutoff=0.6)
        raise NotDelegated(
            f"model {model} has no role in this tree, and the targets key that could name one is not at hand",
            hint=(f"Did you mean {near}? Else, where" if near else "Where")
            + f" that key is, run: invoke trust.delegate --model {model}",
        )
    return Delegate(model, model_keys(publisher, model, root))


def model_keys(publisher: Publisher, model: ModelName, root: Root | None = None) -> tuple[Key, ...]:
    """The public keys that a new role of ``model`` gets: its own slot's, else the release key's.

    ``root`` says which release key is in force while two stand side by side during a rotation.

    Raises:
        KeyUnusable
    """
    found = tuple(signer.public_key for signer in _slot(publisher.keys, model))
    if root is None or publisher.keys.uris.get(model):
        return found
    return tuple(key for key in found if key.keyid in root.roles["snapshot"].keyids) or found


def _slot(keys: Keyring, slot: str) -> Sequence[Signer]:
    found = keys.slot(slot)
    if not found and slot not in {"root", "targets"}:
        found = keys.slot("release")
    if not found:
        name = slot if slot in {"root", "targets"} else "release"
        raise KeyUnusable(f"no {name} key is named", hint=f"Name it in the setting keys.{name}, as in file2:/path/key.pem.")
    return found
