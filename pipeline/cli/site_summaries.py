"""What a person reads after the tasks of a site.

Takes the results of walks, gives text.

next: ``site_tasks``
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundles.site.nginx_site import NginxWritten
from bundles.site.setups import SiteSetup
from bundles.site.tending import SiteListed, SiteRemoved, SiteSwitched, SiteVerified
from pipeline.spelling import spell_count, spell_size

if TYPE_CHECKING:
    # Its module needs the extra ``site``; the other tasks do not.
    from bundles.site.serving import SiteServed

SHOWN = 20


def served_summary(done: SiteServed, *, dry: bool) -> str:
    """After ``site.serve``."""
    if dry:
        return f"{done.site} would be served at {done.url}: {spell_count(len(done.releases), 'release')}"
    return (
        f"{done.site} was served at {done.url} for {done.seconds:.0f} s:"
        f" {spell_count(done.requests, 'request')}, {spell_size(done.bytes)}, {spell_count(len(done.releases), 'release')}"
    )


def nginx_summary(done: NginxWritten) -> str:
    """After ``site.nginx``."""
    lines = [f"{done.configuration} serves {spell_count(len(done.releases), 'release')} of {done.site} at {done.url}"]
    if done.upstream:
        lines.append(f"what is not here comes from {done.upstream}, which nginx does not verify")
    return "\n".join([*lines, *(f"next: {line}" for line in done.commands)])


def listed_summary(done: SiteListed) -> str:
    """After ``site.list``."""
    lines = [f"{done.site}: generation {done.generation}, {spell_count(len(done.releases), 'release')}"]
    lines += [
        f"  {'live' if row.live else '    '}  {row.release} ({row.kind}): {spell_count(row.files, 'file')}, {spell_size(row.bytes)}, {row.folder}"
        for row in done.releases
    ]
    return "\n".join(lines)


def switched_summary(done: SiteSwitched, *, dry: bool) -> str:
    """After ``site.use``."""
    if not done.changed:
        return f"{done.release} is live already in {done.site}"
    verb = "would be" if dry else "is"
    return f"{done.release} {verb} live in {done.site}, after {done.before or 'none'}; generation {done.generation}"


def removed_summary(done: SiteRemoved) -> str:
    """After ``site.remove``."""
    return f"{done.folder} in {done.site}: {spell_size(done.bytes)} {'would be removed' if done.dry else 'removed'}"


def verified_summary(done: SiteVerified) -> str:
    """After ``site.verify``."""
    whole = len(done.releases) - len(done.damaged)
    lines = [
        f"{done.site}: {whole} of {spell_count(len(done.releases), 'release')} {'is as it was' if whole == 1 else 'are as they were'} signed"
    ]
    for release, paths in done.damaged.items():
        lines += [f"  damaged      {release}: {path}" for path in paths[:SHOWN]]
        if len(paths) > SHOWN:
            lines.append(f"    … and {len(paths) - SHOWN} more")
    return "\n".join(lines)


def setup_summary(done: SiteSetup) -> str:
    """After ``site.setup``."""
    blocks = [f"# {name}\n{text}" for name, text in done.files.items()]
    lines = "".join(f"export {name}={value}\n" for name, value in done.environment.items())
    return "\n".join([*blocks, f"# environment\n{lines}# transformers.js\nenv.remoteHost = '{done.url}/'"])
