"""The tasks of trust: keys, roots, delegations, and changes that several people sign.

Takes flags, gives the answers of ``pipeline.custody``, which is imported inside the tasks.

next: ``dev_tasks``
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.answer import Answer
from pipeline.cli.commands import STORE, Run, command
from pipeline.cli.flags import ALLOW_UNSAFE_STORE, CHANGE, MODEL
from pipeline.errors import DiskError, SourceError, UsageError

if TYPE_CHECKING:
    from pipeline.custody import Signed
    from pipeline.trust.signers import TrustShown

_KEY = "Key as a securesystemslib URI: file2:/path/key.pem, envvar:NAME, awskms:…, gcpkms:…, azurekms:…, hsm:…. Repeat it for several."
_UNSAFE = {"allow_unsafe_store": ALLOW_UNSAFE_STORE}
STAGED_BYTES = 64 << 20
trust_command = partial(command, group="trust")


@trust_command(settings=STORE, help=_UNSAFE)
def init(run: Run, *, allow_unsafe_store: bool = False) -> Answer:
    """Begin a tree: root, targets and release keys with threshold 1, the first root, and its pin on this machine.

    Keys are those of the setting keys; without it they are made (Ed25519, mode 0600) below
    $XDG_DATA_HOME/modelport/keys. A tree that this machine began is left as it is. The first publish into
    one's own directory does this by itself.

    Example: invoke trust.init --store s3://bucket/models
    Exit codes: 0 done, 2 usage, 4 a key is missing or the tree is somebody else's, 5 the store cannot be reached.
    """
    from pipeline.custody import begin_trust

    return _shown(begin_trust(run.place, run.listen, allow_unsafe=allow_unsafe_store))


@trust_command(settings=("source", "ca_bundle", *STORE), help={})
def show(run: Run) -> Answer:
    """Show the newest root's fingerprint, who signs which role until when, and what this machine pins.

    Of the sources where --source or only they are set, else of the store.

    Everything is verified from the pin first.

    Example: invoke trust.show
    Exit codes: 0 done, 3 metadata is damaged, 4 not pinned, expired or wrongly signed, 5 the store cannot be reached.
    """
    from pipeline.custody import show_source, show_trust

    if _reads_sources(run):
        return _shown(show_source(run.supply(), run.listen))
    return _shown(show_trust(run.place))


@trust_command(
    settings=("source", "ca_bundle", *STORE),
    help={"fingerprint": "sha256 of any root of the tree, 64 hex digits, from the people who publish it."},
)
def pin(run: Run, *, fingerprint: str) -> Answer:
    """Trust a tree by the fingerprint of one of its roots, told by its owner and never taken from the tree itself.

    What is pinned is the store, or the sources where --source or only they are set.

    Example: invoke trust.pin --source https://models.example.org --fingerprint 9f86d081884c7d65…
    Exit codes: 0 done, 2 not a fingerprint, 4 no root of the tree has it, 5 the store cannot be reached.
    """
    from pipeline.custody import pin_root, pin_source
    from pipeline.trust.state import read_fingerprint

    fingerprint = read_fingerprint(fingerprint)
    if _reads_sources(run):
        return _shown(pin_source(run.supply(), fingerprint, run.listen))
    return _shown(pin_root(run.place, fingerprint))


@trust_command(
    settings=STORE,
    help={
        "model": f"{MODEL} It gets a role.",
        "role_key": _KEY + " Default: the release key.",
        "threshold": "How many of these keys must sign. Default 1.",
        **_UNSAFE,
    },
)
def delegate(
    run: Run, *, model: str, role_key: tuple[str, ...] = (), threshold: str = "", allow_unsafe_store: bool = False
) -> Answer:
    """Let a key sign the releases of a model. It needs the targets key; publishing does it by itself where that key is.

    Example: invoke trust.delegate --model bert
    Exit codes: 0 done, 2 usage, 4 the targets key is not at hand, 5 the store cannot be reached, 8 another publisher.
    """
    from pipeline.custody import delegate_model
    from pipeline.release import check_model

    count = _whole("--threshold", threshold or "1")
    return _signed(delegate_model(run.place, check_model(model), role_key, count, run.listen, allow_unsafe=allow_unsafe_store))


@trust_command(settings=STORE, help=_UNSAFE)
def renew(run: Run, *, allow_unsafe_store: bool = False) -> Answer:
    """Sign metadata anew before it expires, with all keys at hand; nothing is hashed.

    Snapshot and timestamp live 90 days, targets and models 2 years, root 5 years (renewed in its last year).

    Example: invoke trust.renew
    Exit codes: 0 done, 2 a clock is off, 4 the release key is not at hand, 5 the store cannot be reached, 8 another publisher.
    """
    from pipeline.custody import renew_signatures

    return _signed(renew_signatures(run.place, run.listen, allow_unsafe=allow_unsafe_store))


@trust_command(
    settings=STORE,
    help={
        "role": "root, targets, snapshot, timestamp, release (snapshot, timestamp and every model without its own), or a model.",
        "key": _KEY + " Default: keys that modelport made are replaced by new ones that it makes.",
        "lost": "The old key is gone: the root goes first, and readers refuse until the timestamp follows. Default: off.",
        **_UNSAFE,
    },
)
def rotate(run: Run, *, role: str, key: tuple[str, ...] = (), lost: bool = False, allow_unsafe_store: bool = False) -> Answer:
    """Replace a key without a reader ever refusing; a run that was killed continues.

    Both keys sign, then the new root is published, then (after 10 s, for readers on their way) the new key
    signs alone.

    Example: invoke trust.rotate --role release
    Exit codes: 0 done, 2 usage, 4 a key is not at hand, 5 the store cannot be reached, 8 another root was published.
    """
    from pipeline.custody import rotate_role

    return _signed(rotate_role(run.place, role, key, run.listen, lost=lost, allow_unsafe=allow_unsafe_store))


@trust_command(
    settings=STORE,
    help={
        "to": "File to write the proposed change to.",
        "key": "ROLE=URI: a key that the role shall have, present ones too. Repeat it. ROLE: root, targets, snapshot, timestamp or a model.",
        "threshold": "ROLE=NUMBER: how many keys must sign. Repeat it. Default: as now, 1 for a model.",
    },
)
def stage(run: Run, *, to: str, key: tuple[str, ...] = (), threshold: tuple[str, ...] = ()) -> Answer:
    """Propose other keys or thresholds as a file that is carried to those who sign it. The store is not changed.

    Example: invoke trust.stage --to change.json --key root=file2:/a.pem --key root=file2:/b.pem --threshold root=2
    Exit codes: 0 done, 2 usage, 4 a key is not at hand, 5 the store cannot be reached, 6 the file cannot be written.
    """
    from pipeline.custody import read_pair, stage_change
    from pipeline.trust.ceremony import write_staged

    keys = [read_pair("--key", text) for text in key]
    counts = [(role, _whole("--threshold", count)) for role, count in (read_pair("--threshold", text) for text in threshold)]
    staged, lines = stage_change(run.place, run.listen, keys=keys, thresholds=counts)
    _write(to, write_staged(staged), dry=run.dry)
    return Answer(
        {"file": to, "changes": lines}, "\n".join([*lines, f"next: invoke trust.sign --change {to}, where each key is"])
    )


@trust_command(settings=STORE, help={"change": CHANGE, "key": _KEY})
def sign(run: Run, *, change: str, key: tuple[str, ...] = ()) -> Answer:
    """Sign a staged change with the keys at hand. Read what it does before; the store need not be reachable.

    Example: invoke trust.sign --change change.json --key file2:/media/root-a.pem
    Exit codes: 0 done, 2 usage, 3 the file is damaged, 4 no key at hand may sign it, 6 the file cannot be written.
    """
    from pipeline.custody import sign_change
    from pipeline.trust.ceremony import describe_staged, read_staged, write_staged

    staged = read_staged(_read(change), what=change)
    signed, added, signatures = sign_change(run.place, staged, key)
    _write(change, write_staged(signed), dry=run.dry)
    left = [
        f"{one.role} still needs one of {', '.join(needed[:16] for needed in one.needs)}"
        for one in signatures
        if not one.complete
    ]
    lines = [*describe_staged(staged), *(f"signed {what}" for what in added), *left]
    following = "next: invoke trust.sign, where the missing keys are" if left else f"next: invoke trust.apply --change {change}"
    return Answer(
        {"file": change, "signed": added, "complete": not left, "roles": [_role_state(one) for one in signatures]},
        "\n".join([*lines, following]),
    )


@trust_command(settings=STORE, help={"change": CHANGE, **_UNSAFE})
def apply(run: Run, *, change: str, allow_unsafe_store: bool = False) -> Answer:
    """Commit a staged change whose signatures are complete. It needs the release key; a killed run continues.

    Example: invoke trust.apply --change change.json
    Exit codes: 0 done, 3 the file is damaged, 4 signatures are missing, 5 the store cannot be reached, 8 the tree has changed since.
    """
    from pipeline.custody import apply_change
    from pipeline.trust.ceremony import read_staged

    return _signed(apply_change(run.place, read_staged(_read(change), what=change), run.listen, allow_unsafe=allow_unsafe_store))


def _reads_sources(run: Run) -> bool:
    origins = run.settings.origins
    return origins["source"] == "--source" or (origins["source"] != "default" and origins["store"] == "default")


def _shown(shown: TrustShown) -> Answer:
    lines = [f"tree {shown.store}", f"root {shown.root}, fingerprint {shown.fingerprint}"]
    for role in shown.roles:
        keys = ", ".join(key[:16] for key in role.keys)
        what = f"version {role.version}, until {role.expires_at}" if role.version else "not there"
        lines.append(f"{role.role}: {what}, {role.threshold} of {keys}")
    lines += [f"pinned here: {pinned}" for pinned in shown.pins]
    return Answer(shown, "\n".join(lines))


def _signed(signed: Signed) -> Answer:
    what = f"signed {', '.join(signed.roles)}" if signed.changed else "it was so already"
    lines = [f"{what}; snapshot {signed.snapshot}, root fingerprint {signed.fingerprint}"]
    lines += [f"not signed, its key is not at hand: {role}" for role in signed.left]
    return Answer(signed, "\n".join(lines))


def _role_state(signature: Any) -> dict[str, Any]:
    return {"role": signature.role, "version": signature.version, "complete": signature.complete, "needs": list(signature.needs)}


def _whole(flag: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100):
        raise UsageError(f"{flag} {text!r} is not a whole number from 1 to 100", hint=f"As in {flag} 2.")
    return int(text)


def _read(file: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(STAGED_BYTES)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}", hint="Name the file that trust.stage wrote.") from error


def _write(file: str, data: bytes, *, dry: bool) -> None:
    if dry:
        return
    partial = Path(f"{file}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DiskError(f"{file} cannot be written: {error.strerror}", hint="Choose another place with --to.") from error


WALK = (init, show, pin, delegate, renew, rotate, stage, sign, apply)
