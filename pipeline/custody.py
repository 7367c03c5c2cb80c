"""Custody: who may sign here. The walks over roots, keys and roles.

Takes a place and what is to change, gives what a person or a program should know of it. Every walk
that commits holds a lease while it does, and continues what a killed one left (docs/format.md §8).

next: ``sample``
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from pipeline.errors import KeyUnusable, NotPinned, UnknownName, UsageError
from pipeline.events import Listener
from pipeline.meant import suggest
from pipeline.place import Place
from pipeline.ports import TreeSource
from pipeline.release import ModelName, check_model
from pipeline.steps.commit import tell_new_model
from pipeline.steps.lease import TRUST, held_lease
from pipeline.steps.probe import probe_store
from pipeline.supply import Supply
from pipeline.trust.ceremony import Signature, Staged, apply_staged, describe_staged, sign_staged, signatures_of, stage_changes
from pipeline.trust.chain import HINT_TO_RESTORE, describe_roots, lost_roots, shows_root
from pipeline.trust.changes import Change, Delegate
from pipeline.trust.commit import Committed, commit_changes
from pipeline.trust.keyfolder import next_key, open_keys, promote_key
from pipeline.trust.keys import Keyring, KeySecrets, load_signer
from pipeline.trust.publisher import Publisher
from pipeline.trust.renewal import renew_trust
from pipeline.trust.roles import check_threshold
from pipeline.trust.rotate import RootRole, TopKey, rotate_key, rotate_model_key
from pipeline.trust.setup import init_on_first_use, init_trust, model_keys, own_folder, own_keys
from pipeline.trust.signers import TrustShown, describe_trust
from pipeline.trust.state import TrustState, check_fingerprint
from pipeline.trust.survey import survey_store

_TOP = get_args(RootRole)


@dataclass(frozen=True, slots=True)
class Signed:
    """What a commit of trust did: the snapshot that holds it, and the roles it touched or left."""

    store: str
    fingerprint: str
    snapshot: int
    changed: bool
    roles: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def begin_trust(place: Place, listen: Listener, *, allow_unsafe: bool = False) -> TrustShown:
    """Give the store its first root with threshold 1, making the keys that are not named, and pin it here.

    A tree that this machine began is left as it is.

    Raises:
        KeyUnusable: a key is not at hand.
        NotPinned: somebody else's tree stands there.
    """
    publisher = place.publisher(listen)
    with holding(place, listen, allow_unsafe=allow_unsafe):
        if place.keys.named is not None:
            init_trust(publisher)
        else:
            init_on_first_use(publisher, place.keys.home, embedded=place.keys.first_use)
    return show_trust(place)


def show_trust(place: Place) -> TrustShown:
    """Verify the tree from this place's pin and say who signs it.

    Raises:
        NotPinned: the message has the fingerprint that the tree shows.
    """
    return describe_trust(place.view(), place.state)


def pin_root(place: Place, fingerprint: str) -> TrustShown:
    """Trust the tree one of whose roots has this fingerprint, if that is the tree that stands there.

    Raises:
        UsageError: it is no fingerprint.
        NotPinned: no root of the tree has it; what was trusted before still is.
    """
    check_fingerprint(fingerprint)
    # Looked for first: a pin to another tree forgets all that was seen of this one, and a slip must not do that.
    if not shows_root(place.store, fingerprint):
        raise _not_its_root(place.store, fingerprint, "--store")
    place.state.pin(fingerprint)
    return show_trust(place)


def show_source(supply: Supply, listen: Listener) -> TrustShown:
    """As ``show_trust``, of the tree that the sources serve.

    Raises:
        NotPinned: the message has the fingerprint that the tree shows.
    """
    return supply.read(lambda view: describe_trust(view, supply.state), listen)


def pin_source(supply: Supply, fingerprint: str, listen: Listener) -> TrustShown:
    """As ``pin_root``, of the tree that the sources serve.

    Raises:
        UsageError, NotPinned, UnavailableError: what was trusted before still is.
    """
    check_fingerprint(fingerprint)
    with tempfile.TemporaryDirectory(prefix="modelport-pin-") as folder:
        tried = TrustState(Path(folder))
        tried.pin(fingerprint)
        try:
            show_source(replace(supply, state=tried), listen)
        except NotPinned:
            if supply.sources is None:
                raise
            raise _not_its_root(supply.sources.readers[0], fingerprint, "--source") from None
    supply.state.pin(fingerprint)
    return show_source(supply, listen)


def _not_its_root(source: TreeSource, fingerprint: str, flag: str) -> NotPinned:
    if fault := lost_roots(source):
        return NotPinned(f"{fault}: nothing was changed", hint=HINT_TO_RESTORE)
    return NotPinned(
        f"no root of {source.url} has the fingerprint {fingerprint}; {describe_roots(source)}",
        hint=f"Nothing was changed. Compare with the publisher, and check {flag}.",
    )


def delegate_model(
    place: Place, model: ModelName, key_uris: Sequence[str], threshold: int, listen: Listener, *, allow_unsafe: bool = False
) -> Signed:
    """Give a model a role of its own, signed by the named keys, else by the release key.

    Raises:
        KeyUnusable: the targets key or the role's key is not at hand.
        UsageError: the keys could never meet the threshold.
    """
    publisher = signing(place, listen)
    if key_uris:
        signers = load_all(place, key_uris)
        publisher = replace(publisher, keys=publisher.keys.with_signers(*signers))
        keys = tuple(signer.public_key for signer in signers)
    else:
        keys = model_keys(publisher, model)
    check_threshold(model, len(keys), threshold)
    _tell_new(publisher, [model], listen)
    with holding(place, listen, allow_unsafe=allow_unsafe):
        done = commit_changes(publisher, [Delegate(model, keys, threshold)])
    return _signed(place, done, roles=(model,))


def renew_signatures(place: Place, listen: Listener, *, allow_unsafe: bool = False) -> Signed:
    """Sign anew all that the keys at hand can sign; nothing is hashed.

    Raises:
        KeyUnusable: the release key is not at hand.
    """
    publisher = signing(place, listen)
    with holding(place, listen, allow_unsafe=allow_unsafe):
        renewed = renew_trust(publisher)
    return _signed(place, renewed.committed, roles=renewed.roles, left=renewed.left)


def rotate_role(
    place: Place, role: str, key_uris: Sequence[str], listen: Listener, *, lost: bool, allow_unsafe: bool = False
) -> Signed:
    """Replace the key of a role: root, targets, snapshot, timestamp, release, or a model's.

    Without ``key_uris`` a key that modelport made is replaced by a new one that it makes; its file takes
    the old one's place when the rotation is done.

    Raises:
        UnknownName: neither a top-level role nor a model of this tree.
        KeyUnusable: keys are named in the settings and no new one is given, or an old one is missing.
    """
    publisher = signing(place, listen)
    _check_role(publisher, role)
    folder = None if place.keys.named else own_folder(publisher, place.keys.home)
    if key_uris:
        new = load_all(place, key_uris)
    elif folder is not None:
        new = [next_key(folder, role)]
    else:
        raise KeyUnusable(
            f"the {role} key is named in the settings, and no new one is given",
            hint=f"Name it: --role {role} --key file2:/path/new.pem",
        )
    with holding(place, listen, allow_unsafe=allow_unsafe):
        if role in get_args(TopKey):
            done = rotate_key(publisher, cast("TopKey", role), new, lost=lost).committed
        else:
            done = rotate_model_key(publisher, ModelName(role), new)
    if folder is not None and not key_uris:
        promote_key(folder, role)
    return _signed(place, done, roles=(role,))


def stage_change(
    place: Place, listen: Listener, *, keys: Sequence[tuple[str, str]], thresholds: Sequence[tuple[str, int]]
) -> tuple[Staged, tuple[str, ...]]:
    """Propose other keys or thresholds; nothing is written to the store.

    ``keys`` are (role, URI) pairs: all keys that the role shall have, the present ones too. A role that is no
    top-level role is a model's.

    Returns:
        The document to be signed, and what it does, one sentence each.

    Raises:
        UsageError: a role's keys could never meet its threshold, or nothing would change.
        NameRefused: a role that no model can have.
    """
    publisher = place.publisher(listen)
    uris: dict[str, list[str]] = {}
    for role, uri in keys:
        uris.setdefault(role, []).append(uri)
    named = {role: load_all(place, found) for role, found in uris.items()}
    wanted = dict(thresholds)
    top = {role: [signer.public_key for signer in found] for role, found in named.items() if role in _TOP}
    changes: list[Change] = [
        Delegate(check_model(role), tuple(signer.public_key for signer in found), wanted.get(role, 1))
        for role, found in named.items()
        if role not in _TOP
    ]
    unknown = [role for role in wanted if role not in _TOP and role not in named]
    if unknown:
        raise UsageError(f"--threshold {unknown[0]}: a model's threshold goes with its keys", hint=f"Add --key {unknown[0]}=URI.")
    _tell_new(publisher, [check_model(role) for role in named if role not in _TOP], listen, roles=_TOP)
    staged = stage_changes(
        publisher, changes, keys=top, thresholds={role: count for role, count in wanted.items() if role in _TOP}
    )
    return staged, describe_staged(staged)


def sign_change(place: Place, staged: Staged, key_uris: Sequence[str]) -> tuple[Staged, tuple[str, ...], tuple[Signature, ...]]:
    """Add the signatures that the keys at hand can give; the store is not needed for it.

    Returns:
        The document, what was signed with which key, and how far each role is signed.

    Raises:
        KeyUnusable: no key at hand may sign any of it.
    """
    keyring = place.keys.named or _all_own_keys(place.keys.home)
    if key_uris:
        keyring = keyring.with_signers(*load_all(place, key_uris))
    signed, added = sign_staged(staged, keyring)
    if not added and signed == staged and any(signature.needs for signature in signatures_of(staged)):
        raise KeyUnusable("no key at hand may sign this change", hint="Name one: --key file2:/path/key.pem")
    return signed, added, signatures_of(signed)


def apply_change(place: Place, staged: Staged, listen: Listener, *, allow_unsafe: bool = False) -> Signed:
    """Commit a change whose signatures are complete.

    Raises:
        BadSignature: a threshold is not met.
        ConflictError: the tree changed since it was staged.
    """
    publisher = signing(place, listen)
    with holding(place, listen, allow_unsafe=allow_unsafe):
        done = apply_staged(publisher, staged)
    return _signed(place, done, roles=tuple(signature.role for signature in signatures_of(staged)))


def signing(place: Place, listen: Listener) -> Publisher:
    """A publisher with the keys of the settings, else those that were made here for this tree.

    Raises:
        KeyUnusable: there are none.
    """
    publisher = place.publisher(listen)
    return publisher if place.keys.named else replace(publisher, keys=own_keys(publisher, place.keys.home))


@contextmanager
def holding(place: Place, listen: Listener, *, allow_unsafe: bool) -> Iterator[None]:
    """Hold a lease while something is committed, on a store that honours conditional writes.

    Raises:
        UnsafeStore: it does not, and ``allow_unsafe`` does not say that there is one publisher only.
        AnotherPublisher: a live collector does not stop.
    """
    probe_store(place.store, allow_unsafe=allow_unsafe)
    with held_lease(place.store, TRUST, listen) as lease:
        yield
        place.show(listen, lease.key)


def load_all(place: Place, uris: Sequence[str]) -> list[Any]:
    """Load the signers that URIs name, each key once; their type stays in ``trust``.

    Raises:
        KeyUnusable
    """
    secrets = place.keys.named.secrets if place.keys.named else KeySecrets()
    signers = [load_signer(uri, secrets) for uri in uris]
    return list({signer.public_key.keyid: signer for signer in signers}.values())


def read_pair(flag: str, text: str) -> tuple[str, str]:
    """Divide ``ROLE=VALUE``.

    Raises:
        UsageError: there is no ``=``, or nothing on one side of it.
    """
    role, equals, value = text.partition("=")
    if not (equals and role and value):
        raise UsageError(
            f"{flag} {text!r}: expected ROLE=VALUE", hint=f"As in {flag} root=file2:/path/key.pem, or root=2 for a threshold."
        )
    return role, value


def _all_own_keys(home: Path) -> Keyring:
    """Every key that was made on this machine, whatever its tree: only those that a change names will sign."""
    uris: dict[str, tuple[str, ...]] = {}
    for folder in sorted(home.glob("*/")):
        for slot, found in open_keys(folder).uris.items():
            uris[slot] = (*uris.get(slot, ()), *found)
    return Keyring(uris)


def _check_role(publisher: Publisher, role: str) -> None:
    view = survey_store(publisher).view
    known = [*get_args(TopKey), *(view.models() if view else ())]
    if role not in known:
        raise UnknownName(f"--role {role} is neither a key of this tree nor one of its models", hint=suggest(role, known))


def _tell_new(publisher: Publisher, models: Sequence[ModelName], listen: Listener, *, roles: Sequence[str] = ()) -> None:
    view = survey_store(publisher).view if models else None
    for model in models:
        if view is not None:
            tell_new_model(view, model, listen, roles=roles)


def _signed(place: Place, done: Committed, *, roles: tuple[str, ...] = (), left: tuple[str, ...] = ()) -> Signed:
    return Signed(place.store.url, done.view.fingerprint, done.snapshot, done.changed, roles, left)
