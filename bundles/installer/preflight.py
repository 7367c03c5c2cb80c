"""Everything that is decided before the first byte is written: a bundle that cannot be installed leaves no trace.

Takes an order, gives a ``Ready``: what was verified, what is to be written, from where, and what will be live; or
one clear refusal. It opens volumes and the site for reading only.

next: ``outcome``
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from bundles.installer.faults import IntegrityError, ModelportError, UsageError
from bundles.installer.folders import Folder
from bundles.installer.generations import Live, current_number, live_releases
from bundles.installer.index import Member, Plan
from bundles.installer.judging import Judged, Policy, judge
from bundles.installer.landing import bad_files_of
from bundles.installer.layout import CURRENT, release_folder
from bundles.installer.manifest import Manifest, open_manifest
from bundles.installer.names import split_release
from bundles.installer.ranges import order_of, serves
from bundles.installer.receipts import installed_manifest, installed_releases, keeps_bits, kept_bytes
from bundles.installer.sitestate import SiteState, load_state
from bundles.installer.strictjson import HINT, Fields
from bundles.installer.tools import Tools
from bundles.installer.tree import has_part
from bundles.installer.volumes import Medium, MediumFault, find_volumes
from bundles.installer.wanted import Job, Work, plan_work


@dataclass(frozen=True)
class Order:
    """What a person asks for."""

    sources: tuple[str, ...]
    site: str
    fingerprint: str = ""
    require_fresh: bool = False
    allow_downgrade: bool = False
    allow_yanked: bool = False
    keep_parts: bool = False
    keep: int = 3
    zstd: str = "auto"


@dataclass(frozen=True)
class Wanted:
    """A release of the bundle: ``files`` are the numbers of those to be written, none where it stands whole."""

    manifest: Manifest
    files: tuple[int, ...]
    stands: bool
    chosen: bool

    @property
    def folder(self) -> str:
        """Where it is laid out."""
        return release_folder(self.manifest.release, self.manifest.kind)


@dataclass
class Ready:
    """What is to be done. ``carried``: name of a part → the volumes in which it stands, and as what."""

    medium: Medium
    plan: Plan
    state: SiteState
    judged: Judged
    releases: list[Wanted]
    bases: list[Manifest]
    work: Work
    carried: dict[str, tuple[int, Member]]
    kept: set[str]
    live: Live
    documents: dict[str, bytes] = field(default_factory=dict)


def prepare(order: Order, tools: Tools, site: Folder | None) -> Ready:
    """Verify the bundle and decide what is to be done; nothing is written.

    Raises:
        UsageError, IntegrityError, TrustError, DiskError
    """
    if site is None and (not order.site or os.path.lexists(order.site)):
        raise UsageError(
            f"{order.site or 'an empty name'} is no folder", "Name a folder, which is made if it is missing: --site DIR"
        )
    medium = find_volumes(order.sources)
    try:
        return _prepared(order, tools, site, medium)
    except ModelportError:
        medium.close()
        raise


def _prepared(order: Order, tools: Tools, site: Folder | None, medium: Medium) -> Ready:
    plan = next(medium.all()).plan
    documents: dict[str, bytes] = {}
    listed = {member.key: member for member in plan.documents}

    def document(key: str) -> bytes | None:
        if key in listed and key not in documents:
            documents[key] = _document(medium, listed[key])
        return documents.get(key)

    state = load_state(site)
    if order.fingerprint:
        # As it was read out and written down: in groups, in capitals.
        state.pin("".join(order.fingerprint.split()).lower())
    judged = judge(document, state, Policy(tools.verify, order.require_fresh, order.allow_downgrade))
    manifests = [(_manifest(judged, one.name, one.manifest_sha256, order), one.chosen) for one in plan.releases]
    releases = [_wanted(manifest, site, chosen=chosen) for manifest, chosen in manifests]
    if site and site.kind(CURRENT) == "folder":
        raise UsageError(
            f"{site.shown(CURRENT)} is a folder, expected a link: a copy of a site was made that followed its links",
            "Nothing was changed. Copy the site again with its links (cp -a, rsync -a), or install into a new folder.",
        )
    before = live_releases(site, current_number(site)) if site else {}
    live = _next_live(releases, before)
    if site:
        _warn_of_others(site, before, live, judged)
    carried = _carried(plan, releases)
    kept = {part.blake3 for one in releases for part in one.manifest.parts if site and has_part(site, part.size, part.blake3)}
    bases = [_base(judged, name, sha256, site) for name, sha256 in plan.bases] if site else []
    usable = [base for base in bases if base is not None]
    work = plan_work([(one.manifest, one.files) for one in releases], {*carried, *kept}, usable)
    if work.lost:
        _refuse_lost(plan, work, site)
    if order.keep_parts:
        _keep_all(releases, work, carried, kept, judged)
    for key in listed:
        document(key)
    return Ready(medium, plan, state, judged, releases, usable, work, carried, kept, live, documents)


def _document(medium: Medium, member: Member) -> bytes:
    """Every volume has every document: one that is damaged here is taken from another volume."""
    first: IntegrityError | MediumFault | None = None
    for volume in medium.all():
        try:
            return volume.document(member)
        except (IntegrityError, MediumFault) as error:  # noqa: PERF203 (a document is looked for in one volume after the other)
            first = first or error
            if str(error) not in map(str, medium.faults):
                medium.faults.append(error)
    raise first or IntegrityError(f"no volume holds {member.key}", HINT)


def _manifest(judged: Judged, name: str, sha256: str, order: Order) -> Manifest:
    """A release's manifest: signed, of the digest that the plan gives, and in agreement with its signed facts."""
    model, version = split_release(name)
    meta, data = judged.target(f"{model}/{version}/manifest.json")
    facts = meta.object("custom")
    signed = meta.object("hashes").digest("sha256")
    if signed != sha256:
        raise IntegrityError(f"the index says that {name} has the manifest {sha256}, signed is {signed}", HINT)
    if "retired" in facts.value:
        raise UsageError(f"{name} was retired by its publisher", "Ask the publisher for a newer bundle.")
    if "yanked" in facts.value:
        reason = facts.object("yanked").text("reason", "")[:200]
        if not order.allow_yanked:
            raise UsageError(f"{name} was yanked by its publisher: {reason}", "To install it all the same: --allow-yanked")
        judged.warn(f"{name} was yanked by its publisher ({reason}): allowed by --allow-yanked")
    manifest = open_manifest(data, sha256, f"the manifest of {name}")
    _check_agreement(manifest, name, facts)
    return manifest


def _check_agreement(manifest: Manifest, name: str, facts: Fields) -> None:
    found = {
        "kind": manifest.kind,
        "dependencies": [{"model": model, "version": version} for model, version in manifest.dependencies],
        "files": len(manifest.files),
        "plain": manifest.size,
        "stored": sum(part.size for part in manifest.parts),
        "parts": len(manifest.parts),
        "part_size": manifest.part_size,
    }
    if manifest.release != name:
        raise IntegrityError(f"the manifest of {name} says that it is of {manifest.release}", HINT)
    for field_name, value in found.items():
        if facts.value.get(field_name) != value:
            raise IntegrityError(
                f"{name}: signed metadata says {field_name} is {str(facts.value.get(field_name))[:80]}, its manifest says {value}",
                HINT,
            )


def _wanted(manifest: Manifest, site: Folder | None, *, chosen: bool) -> Wanted:
    """Look at what stands where the release is to go."""
    folder = release_folder(manifest.release, manifest.kind)
    every = tuple(range(len(manifest.files)))
    if site is None or not site.kind(folder):
        return Wanted(manifest, every, False, chosen)
    if site.kind(folder) != "folder":
        raise UsageError(f"{site.shown(folder)} is a {site.kind(folder)}, expected a folder", "Move it away.")
    bad = tuple(bad_files_of(site, manifest, folder, keeps_bits=keeps_bits(site, manifest.release)))
    known = installed_manifest(site, manifest.release)
    if bad and known != manifest.sha256:
        there = f"what was installed by the manifest {known}" if known else "files that no installation put there"
        raise UsageError(
            f"{site.shown(folder)} holds {there}, not {manifest.release} as it is signed", "Nothing was changed. Move it away."
        )
    return Wanted(manifest, bad, True, chosen)


def _next_live(releases: Sequence[Wanted], live: Live) -> Live:
    """What will be live: the newest chosen release of each model, on top of what is; no dependency may be left open."""
    picked: dict[str, Wanted] = {}
    for one in releases:
        other = picked.get(one.manifest.model)
        if other is None or _rank(one) > _rank(other):
            picked[one.manifest.model] = one
    following = {**live, **{model: one.folder for model, one in picked.items()}}
    for one in picked.values():
        for model, wanted in one.manifest.dependencies:
            fault = _dependency_fault(following, model, wanted)
            if fault:
                raise UsageError(
                    f"{one.manifest.release} needs {model} {wanted}; {fault}",
                    f"Carry a bundle with {model}, or install it first.",
                )
    return following


def _warn_of_others(site: Folder, before: Live, live: Live, judged: Judged) -> None:
    """What stays live may need another version of what changes: its people should hear of it, not be stopped by it."""
    for release, sha256 in installed_releases(site):
        model = split_release(release)[0]
        if live.get(model) != before.get(model) or not live.get(model, "").endswith(f"/{release}"):
            continue
        data = kept_bytes(site, sha256)
        if data is None:
            judged.warn(f"the manifest kept of {release} was altered or is gone: install it again from its medium")
            continue
        for needed, wanted in open_manifest(data, sha256, f"the manifest of {release}").dependencies:
            fault = _dependency_fault(live, needed, wanted)
            if fault and live.get(needed) != before.get(needed):
                judged.warn(f"{release} stays live and needs {needed} {wanted}; {fault}")


def _rank(one: Wanted) -> tuple[bool, object]:
    return one.chosen, order_of(one.manifest.version)


def _dependency_fault(live: Live, model: str, wanted: str) -> str:
    if model not in live:
        return "neither the bundle nor the site has any"
    version = split_release(live[model].partition("/")[2])[1]
    try:
        return "" if serves(version, wanted) else f"live would be {version}"
    except ValueError:
        return "this range cannot be read"


def _carried(plan: Plan, releases: Sequence[Wanted]) -> dict[str, tuple[int, Member]]:
    """Which parts the bundle carries; each must be one that a signed manifest names, as it names it."""
    signed = {part.blake3: part for one in releases for part in one.manifest.parts}
    carried = {}
    for number, members in enumerate(plan.volumes, 1):
        for member in members:
            name = member.key.rpartition("/")[2]
            part = signed.get(name)
            if part is None or (part.size, part.sha256) != (member.size, member.sha256):
                raise IntegrityError(f"the index lists part {name}, which no signed manifest of the bundle names so", HINT)
            carried[name] = (number, member)
    return carried


def _base(judged: Judged, name: str, sha256: str, site: Folder) -> Manifest | None:
    """The manifest of a base that is installed here as the bundle expects it, as the site keeps it; None where it is not."""
    if installed_manifest(site, name) != sha256:
        return None
    model, version = split_release(name)
    if judged.meta(f"{model}/{version}/manifest.json").object("hashes").digest("sha256") != sha256:
        raise IntegrityError(f"the index gives the base {name} another manifest than is signed", HINT)
    data = kept_bytes(site, sha256)
    return None if data is None else open_manifest(data, sha256, f"the manifest of {name}")


def _refuse_lost(plan: Plan, work: Work, site: Folder | None) -> None:
    there = dict(installed_releases(site)) if site else {}
    missing = [name for name, sha256 in plan.bases if there.get(name) != sha256]
    if missing:
        models = {split_release(name)[0] for name in missing}
        near = [name for name in there if split_release(name)[0] in models] or sorted(there)
        wanted = dict(plan.bases)
        other = {
            name: f" ({there[name][:16]}, another release of that name than {wanted[name][:16]})" for name in {*missing} & {*near}
        }
        near = [name + other.get(name, "") for name in near]
        raise UsageError(
            f"this bundle holds only what differs from {', '.join(missing)}; installed here: {', '.join(near) or 'nothing'}",
            "Install the base first, or carry an inventory of this site back (install.pyz --inventory FILE), to build for what is here.",
        )
    spoiled = [name for name, sha256 in plan.bases if site and kept_bytes(site, sha256) is None]
    if spoiled:
        raise IntegrityError(
            f"the manifest kept of {', '.join(spoiled)} was altered or is gone",
            "Install it again from its medium, then this bundle.",
        )
    part = next(iter(work.lost))
    lost = "1 part is" if len(work.lost) == 1 else f"{len(work.lost)} parts are"
    raise IntegrityError(f"{lost} neither in the bundle nor at the site, the first is {part}", HINT)


def _keep_all(
    releases: Sequence[Wanted], work: Work, carried: dict[str, tuple[int, Member]], kept: set[str], judged: Judged
) -> None:
    missing = 0
    for one in releases:
        for part in one.manifest.parts:
            if part.blake3 in carried and part.blake3 not in kept:
                work.jobs.setdefault(part.blake3, Job(part))
            elif part.blake3 not in kept:
                missing += 1
    if missing:
        absent = "1 part is" if missing == 1 else f"{missing} parts are"
        judged.warn(f"{absent} not in this bundle and not at the site: its tree will not serve these releases whole")
