"""The next state of a tree while it is being decided: roles to edit, documents to write.

Takes a verified view and the signing time; changes edit it, the commit signs what was touched. It
writes nothing. On a lost race the same changes are applied to a new draft over the winner.

next: ``changes``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from securesystemslib.signer import Key
from tuf.api.metadata import Root, TargetFile, Targets

from pipeline.digest import Sha256, sha256_of
from pipeline.errors import ModelportError, NotDelegated
from pipeline.layout import channel_target, manifest_target, target_key
from pipeline.release import Channel, ModelName, Release
from pipeline.trust import roles
from pipeline.trust.facts import PINS, ChannelDocument, PinFact, ReleaseFacts, as_plain, channel_from_bytes, pins_from_field
from pipeline.trust.sealed import Sealed
from pipeline.trust.view import ReleaseTarget, View, channels_in, read_target, releases_in
from pipeline.wire import encode_document


@dataclass
class Draft:
    """Edits over ``view`` (None: an empty tree), to be signed at ``at``.

    ``targets`` and ``models`` hold the roles that were touched; ``sealed`` those of them that people
    signed elsewhere; ``documents`` the objects that must stand before they are named; ``refused`` what
    did not hold but does not stop the rest.
    """

    root: Root
    view: View | None
    at: datetime
    targets: Targets | None = None
    models: dict[ModelName, Targets] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    refused: list[ModelportError] = field(default_factory=list)
    touched: bool = False
    sealed: dict[str, Sealed[Targets]] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether there is anything to sign."""
        return self.touched or self.targets is not None or bool(self.models)

    def touch(self) -> None:
        """Ask for a new snapshot even if no role changes."""
        self.touched = True

    def put_sealed(self, role: str, sealed: Sealed[Targets]) -> None:
        """Take a role as it was signed elsewhere; it is not signed again."""
        self.sealed[role] = sealed
        if role == "targets":
            self.targets = sealed.signed
        else:
            self.models[ModelName(role)] = sealed.signed

    def top(self) -> Targets:
        """The targets role as it stands in this draft, to read."""
        if self.targets is not None:
            return self.targets
        return self.view.targets.signed if self.view else roles.empty_targets(self.at)

    def edit_top(self) -> Targets:
        """The targets role, to change."""
        if self.targets is None:
            self.targets = roles.edited_targets(self.top(), self.at)
        return self.targets

    def model_names(self) -> tuple[ModelName, ...]:
        """Every delegated model."""
        return roles.delegated_models(self.top())

    def role(self, model: ModelName) -> Targets:
        """A model's role as it stands in this draft, to read.

        Raises:
            NotDelegated: the model has none.
        """
        if model in self.models:
            return self.models[model]
        if model not in self.model_names() or self.view is None:
            raise NotDelegated(
                f"model {model} has no role in this tree: the targets key must name one first",
                hint=f"Where the targets key is at hand, run: invoke trust.delegate --model {model}",
            )
        return self.view.model(model).signed

    def edit(self, model: ModelName) -> Targets:
        """A model's role, to change."""
        if model not in self.models:
            self.models[model] = roles.edited_targets(self.role(model), self.at)
        return self.models[model]

    def delegate(self, model: ModelName, keys: Sequence[Key], threshold: int) -> None:
        """Give a model's role these keys; a new model starts with an empty role."""
        known = model in self.model_names()
        roles.delegate(self.edit_top(), model, keys, threshold)
        if not known:
            self.models[model] = roles.empty_targets(self.at)
        else:
            # Signed anew in the same snapshot as the targets that name the key.
            self.edit(model)

    def releases(self, model: ModelName, *, retired: bool = False) -> tuple[ReleaseTarget, ...]:
        """The model's releases as they stand in this draft."""
        return releases_in(self.role(model), model, retired=retired)

    def release(self, release: Release) -> ReleaseTarget | None:
        """One release, retired or not, or None."""
        if release.model not in self.model_names():
            return None
        return next((found for found in self.releases(release.model, retired=True) if found.release == release), None)

    def put_release(self, release: Release, sha256: Sha256, size: int, facts: ReleaseFacts) -> None:
        """Name a release, or say something else of it."""
        path = manifest_target(release)
        self.edit(release.model).targets[path] = _target(path, sha256, size, facts)

    def channels(self, model: ModelName) -> tuple[Channel, ...]:
        """The model's channels as they stand in this draft."""
        return channels_in(self.role(model), model)

    def channel(self, model: ModelName, channel: Channel) -> ChannelDocument | None:
        """Where a channel points in this draft, or None."""
        path = channel_target(model, channel)
        target = self.role(model).targets.get(path)
        if target is None:
            return None
        key = target_key(path, Sha256(target.hashes["sha256"]))
        if key in self.documents:
            data = self.documents[key]
        else:
            assert self.view is not None, "a channel that was not written here stands in the view"  # noqa: S101 - an invariant
            data = read_target(self.view.source, path, target)
        return channel_from_bytes(data, model=model, channel=channel)

    def put_channel(self, document: ChannelDocument) -> None:
        """Let a channel point where ``document`` says."""
        model, channel = ModelName(document.model), Channel(document.channel)
        data = encode_document(document)
        path = channel_target(model, channel)
        sha256 = sha256_of(data)
        self.documents[target_key(path, sha256)] = data
        self.edit(model).targets[path] = _target(path, sha256, len(data), None)

    def remove_channel(self, model: ModelName, channel: Channel) -> None:
        """Name this channel no more."""
        del self.edit(model).targets[channel_target(model, channel)]

    def pins(self, model: ModelName) -> tuple[PinFact, ...]:
        """The model's pins as they stand in this draft."""
        return pins_from_field(self.role(model).unrecognized_fields.get(PINS), f"pins of {model}")

    def put_pins(self, model: ModelName, pins: Sequence[PinFact]) -> None:
        """Keep exactly these pins."""
        fields = self.edit(model).unrecognized_fields
        fields.pop(PINS, None)
        if pins:
            fields[PINS] = as_plain(tuple(sorted(pins, key=lambda pin: (pin.release, pin.reason))))


def _target(path: str, sha256: Sha256, size: int, facts: ReleaseFacts | None) -> TargetFile:
    extra = {} if facts is None else {"custom": as_plain(facts)}
    return TargetFile(size, {"sha256": sha256}, path, extra)
