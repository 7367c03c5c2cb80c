"""What a person reads after the tasks of a site.

Takes the results of walks, gives text.

next: ``site_tasks``
"""

from __future__ import annotations

from bundles.site.serving import SiteServed
from pipeline.cli.report import spell_size


def served_summary(done: SiteServed) -> str:
    """After ``site.serve``."""
    return (
        f"{done.site} was served at {done.url} for {done.seconds:.0f} s:"
        f" {done.requests} requests, {spell_size(done.bytes)}, {len(done.releases)} releases"
    )
