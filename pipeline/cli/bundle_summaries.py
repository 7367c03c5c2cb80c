"""What a person reads after the bundle tasks.

Takes the results of walks, gives text.

next: ``bundle_tasks``
"""

from __future__ import annotations

from bundles.building import Built
from bundles.installer.program import spell_volumes
from bundles.planning import BundlePlan
from bundles.repairing import Repaired
from bundles.verifying import BundleVerified
from pipeline.cli.typable import flag_words
from pipeline.spelling import spell_count, spell_size

SHOWN = 40


def plan_summary(plan: BundlePlan) -> str:
    """After ``bundle.plan``."""
    lines = [f"{plan.name} from {plan.source}, snapshot {plan.snapshot}", f"  bundle       {plan.bundle}"]
    lines += [
        f"  holds        {one.release} ({one.kind}, {spell_count(one.files, 'file')}, {spell_size(one.plain)})"
        + ("" if one.chosen else ", needed by another")
        for one in plan.releases
    ]
    lines += [f"  stands on    {base}, which the site must have" for base in plan.bases]
    if plan.left_out:
        lines.append(f"  left out     {spell_size(plan.left_out)} that the site has")
    lines.append(f"  documents    {plan.documents}, {spell_size(plan.documents_bytes)} in each volume")
    shown = plan.volumes[:SHOWN]
    lines += [
        f"  volume {one.volume:<5} {one.name}  {spell_size(one.size)}, {spell_count(one.parts, 'part')}"
        + (f", parity about {spell_size(one.parity)}" if one.parity else "")
        for one in shown
    ]
    if len(plan.volumes) > len(shown):
        lines.append(f"    … and {len(plan.volumes) - len(shown)} more")
    medium = f" ({plan.medium})" if plan.medium else ""
    lines.append(f"  media        {plan.media}{medium}, {spell_size(plan.bytes + plan.parity_bytes)} in all")
    return "\n".join(lines)


def build_summary(done: Built) -> str:
    """After ``bundle.build``."""
    kept = sum(volume.kept for volume in done.volumes)
    # Volumes that were not written now may be on other media.
    some = " --some" if len(done.volumes) < done.of_volumes else ""
    lines = [
        f"built {done.name} in {done.folder}: {_of(len(done.volumes), done.of_volumes)}, {spell_size(done.bytes)}",
        f"  holds        {', '.join(done.releases)}",
    ]
    if done.bases:
        lines.append(f"  stands on    {', '.join(done.bases)}, which the site must have")
    lines += [f"  {volume.name}  {volume.sha256}" for volume in done.volumes[:SHOWN]]
    if kept:
        lines.append(f"  kept         {spell_size(kept)} that an earlier run had written")
    lines += [
        f"  install.pyz  {done.installer_sha256}",
        f"  fingerprint  {done.root_fingerprint}",
        "  Tell the site these two by another way than with the medium.",
        f"safe to remove: every volume was synced, read back from the medium and hashed, in {done.seconds:.1f} s",
        f"next: invoke bundle.verify{flag_words(from_=done.folder, root_fingerprint=done.root_fingerprint)}{some}",
    ]
    return "\n".join(lines)


def verify_summary(done: BundleVerified) -> str:
    """After ``bundle.verify``."""
    root = "the root that you named" if done.trusted else f"root {done.root_fingerprint}"
    volumes = len(done.volumes)
    whole = f"what is here of {done.name}" if done.missing else done.name
    missing = f"; {spell_volumes(done.missing, volumes + len(done.missing))} not here" if done.missing else ""
    return (
        f"{whole} is whole, signed under {root}: {spell_count(volumes, 'volume')}, {spell_count(done.members, 'member')}, {spell_size(done.bytes)}, "
        f"in {done.seconds:.1f} s{missing}"
    )


def repair_summary(done: Repaired) -> str:
    """After ``bundle.repair``."""
    names = [f"{one.name}{' by parity' if one.parity else ''}" for one in done.repaired]
    first = (
        f"{done.name}: made whole: {', '.join((*names, *done.beside))}"
        if names or done.beside
        else f"{done.name}: nothing is damaged"
    )
    return first + (f"; {spell_volumes(done.missing, done.volumes)} nowhere" if done.missing else "")


def _of(count: int, whole: int) -> str:
    return spell_count(whole, "volume") if count == whole else f"{count} of {spell_count(whole, 'volume')}"
