"""One attempt to sign a draft: documents, then roles, then the snapshot that names them.

Takes a survey and the draft made on it; gives the view of the new snapshot, or None when another
publisher created its number first. All keys are looked up before the first byte is written.

next: ``commit``
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Targets

from pipeline.digest import sha256_of
from pipeline.errors import ConflictError, InvalidDocument, ObjectExists, PoisonedObject
from pipeline.layout import role_key
from pipeline.ports import read_object
from pipeline.release import ModelName
from pipeline.trust.announce import check_enough, signers_for
from pipeline.trust.draft import Draft
from pipeline.trust.publisher import Publisher
from pipeline.trust.roles import next_snapshot, timestamp_of
from pipeline.trust.sealed import TARGETS_BYTES, Sealed, check_signed, seal
from pipeline.trust.survey import Survey
from pipeline.trust.view import View


@dataclass(frozen=True)
class Signing:
    """A draft about to be signed; ``next_root`` and ``life`` as in ``commit.commit_changes``."""

    publisher: Publisher
    found: Survey
    draft: Draft
    next_root: Root | None = None
    life: timedelta | None = None

    def write(self) -> View | None:
        """Write everything but the timestamp.

        Raises:
            KeyUnusable: before anything is written.
            PoisonedObject, ConflictError, StoreUnavailable, …
        """
        draft = self.draft
        touched: dict[str, Targets] = dict(sorted(draft.models.items()))
        if draft.targets is not None:
            touched["targets"] = draft.targets
        signers = {role: self._signers(role) for role in ("snapshot", "timestamp", *touched) if role not in draft.sealed}
        self.publisher.step("commit.documents")
        for key, data in sorted(draft.documents.items()):
            if not self._create(key, data):
                raise PoisonedObject(f"{key} stands in the store with other bytes", hint="Replace it with --repair.")
        self.publisher.step("commit.roles")
        written = {
            role: self._write_sealed(role, draft.sealed[role])
            if role in draft.sealed
            else self._write_role(role, signed, signers[role])
            for role, signed in touched.items()
        }
        return self._write_snapshot(written, signers["snapshot"])

    @property
    def _roots(self) -> list[Root]:
        return [self.found.root.signed, *([self.next_root] if self.next_root else [])]

    def _signers(self, role: str) -> tuple[Signer, ...]:
        if role in {"snapshot", "timestamp", "targets"}:
            return signers_for(self.publisher, role, self._roots)
        wanted = self.draft.top().get_delegated_role(role)
        found = self.publisher.keys.signers(role, wanted.keyids)
        check_enough(role, wanted.keyids, wanted.threshold, {signer.public_key.keyid for signer in found}, "targets")
        return found

    def _write_role(self, role: str, signed: Targets, signers: tuple[Signer, ...]) -> Sealed[Targets]:
        signed.version = self.found.next_number(role)
        while True:
            sealed = seal(signed, signers)
            if len(sealed.data) > TARGETS_BYTES:
                raise ConflictError(
                    f"{role} has {len(sealed.data)} bytes of metadata, at most {TARGETS_BYTES} can be read",
                    hint="Publish further releases under another model name.",
                )
            if self._create(role_key(role, signed.version), sealed.data):
                return sealed
            # Left by a publisher that was killed or that lost: that number is spent.
            signed.version += 1

    def _write_sealed(self, role: str, sealed: Sealed[Targets]) -> Sealed[Targets]:
        for delegator in self._roots if role == "targets" else [self.draft.top()]:
            check_signed(delegator, role, sealed, what=f"the staged {role} role")
        key = role_key(role, sealed.version)
        if not self._create(key, sealed.data):
            raise ConflictError(
                f"{key} was taken by another commit while {role} was being signed",
                hint="Stage the change again on the newest state.",
            )
        return sealed

    def _write_snapshot(self, written: dict[str, Sealed[Targets]], signers: tuple[Signer, ...]) -> View | None:
        publisher, found = self.publisher, self.found
        before = found.predecessor
        metas = {name.removesuffix(".json"): meta for name, meta in (before.meta if before else {}).items()}
        metas.update({role: sealed.meta for role, sealed in written.items()})
        number = found.next_number("snapshot")
        snapshot = seal(next_snapshot(number, metas.items(), self.draft.at, before, life=self.life), signers)
        publisher.step("commit.snapshot")
        if not self._create(role_key("snapshot", number), snapshot.data):
            return None
        targets = written["targets"] if "targets" in written or found.view is None else found.view.targets
        announcing = seal(timestamp_of(snapshot), ())
        view = View(
            publisher.store,
            publisher.state,
            publisher.judge(),
            found.root,
            announcing,
            snapshot,
            targets,
            targets.signed,
            publisher.state.read(),
        )
        for role, sealed in written.items():
            if role != "targets":
                view.keep(ModelName(role), sealed)
        return view

    def _create(self, key: str, data: bytes) -> bool:
        """Create an object; True also if it stands there with our bytes: the answer to our write was lost."""
        try:
            self.publisher.store.put(key, data, sha256=sha256_of(data), if_absent=True)
        except ObjectExists:
            try:
                return read_object(self.publisher.store, key, cap=TARGETS_BYTES) == data
            except InvalidDocument:
                # Larger than anything we write.
                return False
        return True
