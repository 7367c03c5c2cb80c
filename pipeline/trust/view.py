"""A verified look at a tree: which releases there are, what the channels name, what is pinned.

Takes a snapshot whose chain of trust was checked; gives releases, channels and targets, and loads a
model's role only when it is asked for. Nothing comes out that was not verified down from the root.

next: ``reading``
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tuf.api.metadata import Root, Snapshot, TargetFile, Targets, Timestamp

from pipeline.digest import Sha256, is_hex64, sha256_of
from pipeline.errors import InvalidDocument, ModelportError, RollbackRefused, UnknownName
from pipeline.layout import channel_target, manifest_target, role_key, target_key
from pipeline.manifest import MANIFEST_BYTES, Manifest
from pipeline.meant import suggest
from pipeline.ports import TreeSource, read_object
from pipeline.release import Channel, ModelName, NameRefused, Release, check_channel
from pipeline.trust.facts import (
    PINS,
    ChannelDocument,
    PinFact,
    ReleaseFacts,
    channel_from_bytes,
    check_agreement,
    facts_from_custom,
    pins_from_field,
)
from pipeline.trust.judge import Judge
from pipeline.trust.roles import check_paths, delegated_models
from pipeline.trust.sealed import TARGETS_BYTES, Sealed, check_meta, open_signed
from pipeline.trust.state import StateDocument, TrustState
from pipeline.wire import decode_manifest

_HINT = "The tree was not written by modelport, or it was altered: try another source."


@dataclass(frozen=True, slots=True)
class ReleaseTarget:
    """A release as signed metadata names it: digest and bytes of its manifest, and its facts."""

    release: Release
    sha256: Sha256
    size: int
    facts: ReleaseFacts

    @property
    def key(self) -> str:
        """Where its manifest lies."""
        return target_key(manifest_target(self.release), self.sha256)


@dataclass(frozen=True)
class View:
    """One verified snapshot of a tree.

    ``delegator`` is the targets role by which model roles are judged: the snapshot's own, but for an
    older snapshot read offline, where it is the newest one that this place has seen. ``baseline`` is
    what this place had seen before the reading began.
    """

    source: TreeSource
    state: TrustState
    judge: Judge
    root: Sealed[Root]
    timestamp: Sealed[Timestamp] | None
    snapshot: Sealed[Snapshot]
    targets: Sealed[Targets]
    delegator: Targets
    baseline: StateDocument
    older: bool = False
    allow_downgrade: bool = False
    _models: dict[ModelName, Sealed[Targets]] = field(default_factory=dict, repr=False)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the newest root."""
        return self.root.sha256

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was let pass and should be told."""
        return tuple(self.judge.warnings)

    def models(self) -> tuple[ModelName, ...]:
        """Every model of the tree, sorted."""
        named = self.snapshot.signed.meta
        return tuple(model for model in delegated_models(self.delegator) if f"{model}.json" in named)

    def model(self, model: ModelName) -> Sealed[Targets]:
        """A model's role, verified.

        Raises:
            UnknownName: no such model in this tree.
            RollbackRefused, BadSignature, InvalidDocument, DigestMismatch, MetadataExpired
        """
        if model not in self._models:
            if model not in self.models():
                raise _unknown("model", model, self.models(), self.source.url)
            self._models[model] = self._load_model(model)
        return self._models[model]

    def keep(self, model: ModelName, role: Sealed[Targets]) -> None:
        """Take a model's role that the caller signed or verified itself."""
        self._models[model] = role

    def loaded(self) -> Mapping[str, Sealed[Targets]]:
        """The model roles that were asked for so far."""
        return {str(model): role for model, role in self._models.items()}

    def releases(self, model: ModelName, *, retired: bool = False) -> tuple[ReleaseTarget, ...]:
        """The model's releases in SemVer order; retired ones only if asked for."""
        return releases_in(self.model(model).signed, model, retired=retired)

    def release(self, release: Release, *, retired: bool = False) -> ReleaseTarget:
        """One release.

        Raises:
            UnknownName: it is not in the tree; the message names the nearest.
        """
        found = self.releases(release.model, retired=retired)
        for target in found:
            if target.release == release:
                return target
        raise _unknown("release", str(release), [str(target.release) for target in found], self.source.url)

    def channels(self, model: ModelName) -> tuple[Channel, ...]:
        """The model's channels, sorted."""
        return channels_in(self.model(model).signed, model)

    def channel(self, model: ModelName, channel: Channel) -> ChannelDocument:
        """Where a channel points.

        Raises:
            UnknownName: the model has no such channel.
        """
        path = channel_target(model, channel)
        if path not in self.model(model).signed.targets:
            if not self.channels(model):
                releases = [str(target.release) for target in self.releases(model)]
                raise UnknownName(
                    f"{model} in {self.source.url} has no channel yet, so no {channel}",
                    hint=f"Name a release: --model {releases[-1]}" if releases else "It has no releases either.",
                )
            raise _unknown("channel", channel, self.channels(model), f"{model} in {self.source.url}")
        return channel_from_bytes(self.target(model, path), model=model, channel=channel)

    def pins(self, model: ModelName) -> tuple[PinFact, ...]:
        """Releases of the model that must be kept, whatever else names them."""
        return pins_from_field(self.model(model).signed.unrecognized_fields.get(PINS), f"pins of {model}")

    def target(self, model: ModelName, path: str) -> bytes:
        """The bytes of a target of a model's role, verified against its signed size and digest.

        Raises:
            UnknownName, ObjectMissing, DigestMismatch, InvalidDocument
        """
        target = self.model(model).signed.targets.get(path)
        if target is None:
            raise UnknownName(f"{self.source.url} has no target {path}", hint="See: invoke show")
        return read_target(self.source, path, target)

    def manifest_bytes(self, release: Release) -> bytes:
        """The manifest of a release, verified, not yet decoded."""
        return self.target(release.model, manifest_target(release))

    def manifest(self, release: Release, data: bytes | None = None) -> Manifest:
        """The manifest of a release, decoded, and held against what is signed of it; ``data`` where its bytes were read before.

        Raises:
            UnknownName, ObjectMissing, DigestMismatch
            InvalidDocument: also where it is another release's, or disagrees with its signed facts.
        """
        facts = self.release(release).facts
        manifest = decode_manifest(data or self.manifest_bytes(release), what=f"the manifest of {release}")
        if manifest.release != release:
            raise InvalidDocument(f"the manifest of {release} says that it is of {manifest.release}", hint=_HINT)
        check_agreement(facts, manifest)
        return manifest

    def _load_model(self, model: ModelName) -> Sealed[Targets]:
        key = role_key(model, self.snapshot.signed.meta[f"{model}.json"].version)
        check_paths(self.delegator, model)
        role = load_targets(self.source, self.snapshot.signed, model, self.delegator, self.state)
        try:
            self.state.check(model, role, self.baseline, what=key)
        except RollbackRefused as error:
            known = self.baseline.seen.get(model)
            other = known is not None and known.version == role.version and known.sha256 != role.signed_sha256
            if not self.older or other:
                # Of one version there are not two, whatever is allowed.
                raise
            if not self.allow_downgrade:
                raise RollbackRefused(
                    str(error), hint="A newer medium was read here. To use the older one on purpose: --allow-downgrade"
                ) from None
            self.judge.warn(f"{key} is older than what was seen here: allowed by --allow-downgrade")
        self.judge.check_fresh(role.signed, key)
        if self.judge.place != "publisher":
            self.state.record({model: role})
        return role


def load_targets(
    source: TreeSource, snapshot: Snapshot, role: str, delegator: Root | Targets, state: TrustState
) -> Sealed[Targets]:
    """Fetch the targets or model role that ``snapshot`` names: size, digest, signature, form, version.

    Raises:
        InvalidDocument, DigestMismatch, BadSignature, ObjectMissing
    """
    meta = snapshot.meta.get(f"{role}.json")
    if meta is None:
        raise InvalidDocument(f"snapshot {snapshot.version} does not name {role}", hint=_HINT)
    key = role_key(role, meta.version)
    cap = TARGETS_BYTES if meta.length is None else meta.length
    if cap > TARGETS_BYTES:
        raise InvalidDocument(f"{key}: {cap} bytes are announced, at most {TARGETS_BYTES} are allowed", hint=_HINT)
    kept = state.copy(role)
    # What was verified here before need not travel again; it is verified again all the same.
    reuse = kept is not None and meta.hashes == {"sha256": sha256_of(kept)}
    data = kept if reuse and kept is not None else read_object(source, key, cap=cap)
    check_meta(data, meta, what=key)
    found = open_signed(data, Targets, delegator, role, what=key, cap=cap)
    if found.version != meta.version:
        raise InvalidDocument(f"{key} says it is version {found.version}", hint=_HINT)
    return found


def read_target(source: TreeSource, path: str, target: TargetFile) -> bytes:
    """Fetch a target's object and verify size and digest.

    Raises:
        ObjectMissing, DigestMismatch, InvalidDocument
    """
    sha256 = target_sha256(path, target)
    if target.length > MANIFEST_BYTES:
        raise InvalidDocument(f"{path}: {target.length} bytes are announced, at most {MANIFEST_BYTES} are allowed", hint=_HINT)
    key = target_key(path, sha256)
    data = read_object(source, key, cap=target.length)
    check_target(data, target, key)
    return data


def check_target(data: bytes, target: TargetFile, what: str) -> None:
    """Compare a target's bytes with its signed length and digest.

    Raises:
        InvalidDocument: the digests differ.
    """
    sha256 = target_sha256(what, target)
    if len(data) != target.length or sha256_of(data) != sha256:
        raise InvalidDocument(
            f"{what} has {len(data)} bytes and sha256 {sha256_of(data)}, expected {target.length} and {sha256}", hint=_HINT
        )


def target_sha256(path: str, target: TargetFile) -> Sha256:
    """The digest that names a target's object.

    Raises:
        InvalidDocument: it has none.
    """
    found = target.hashes.get("sha256")
    if not is_hex64(found):
        raise InvalidDocument(f"target {path} has no well-formed sha256", hint=_HINT)
    return Sha256(str(found))


def releases_in(role: Targets, model: ModelName, *, retired: bool = False) -> tuple[ReleaseTarget, ...]:
    """The releases that a model role names, in SemVer order.

    Raises:
        InvalidDocument: a target breaks docs/format.md §7.
    """
    found = []
    for path, target in role.targets.items():
        version = path.removeprefix(f"{model}/").removesuffix("/manifest.json")
        if path != f"{model}/{version}/manifest.json":
            continue
        try:
            release = Release(model, version)
        except NameRefused as error:
            raise InvalidDocument(f"target {path}: {error}", hint=_HINT) from error
        facts = facts_from_custom(target.custom, f"target {path}")
        if retired or facts.retired is None:
            found.append(ReleaseTarget(release, target_sha256(path, target), target.length, facts))
    return tuple(sorted(found, key=lambda entry: (entry.release.semver, entry.release.version)))


def channels_in(role: Targets, model: ModelName) -> tuple[Channel, ...]:
    """The channels that a model role names, sorted."""
    prefix = f"{model}/channels/"
    names = [path.removeprefix(prefix).removesuffix(".json") for path in role.targets if path.startswith(prefix)]
    try:
        return tuple(sorted(check_channel(name) for name in names))
    except NameRefused as error:
        raise InvalidDocument(f"{model}: {error}", hint=_HINT) from error


def _unknown(kind: str, name: str, known: Iterable[str], where: str) -> ModelportError:
    return UnknownName(f"there is no {kind} {name} in {where}", hint=suggest(name, known))
