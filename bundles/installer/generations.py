"""Generations: which releases are live together, and how a site goes from one set to the next.

Takes the site, gives and writes generations: ``generations/<n>/<model>`` leads to a release, ``current`` to one
generation. Going over is one rename, so whoever looks finds the old set or the new one, whole, whatever fails.

next: ``views``
"""

from __future__ import annotations

import re

from bundles.installer.folders import Folder
from bundles.installer.layout import (
    CURRENT,
    GENERATIONS,
    INSTALLED,
    MANIFESTS,
    generation,
    installed_record,
    kept_manifest,
    release_folder,
    web_link,
)
from bundles.installer.names import MODEL, split_release
from bundles.installer.receipts import installed_releases, receipted_releases
from bundles.installer.tree import drop_parts

_CURRENT = re.compile(r"generations/([1-9][0-9]{0,8})")
_LEADS = re.compile(r"\.\./\.\./((?:models|wheels)/[a-z0-9][a-z0-9._-]*)")

KINDS = ("model", "wheels")

# model → the folder that it leads to, such as ``models/bert-v2.1.0``.
Live = dict[str, str]


def current_number(site: Folder) -> int:
    """The number of the live generation; 0 where there is none."""
    found = _CURRENT.fullmatch(site.pointed(CURRENT) or "")
    return int(found[1]) if found else 0


def live_releases(site: Folder, number: int) -> Live:
    """What a generation makes live. A link of it that is none of ours counts for nothing."""
    live = {}
    for model in site.names(generation(number)) if number else []:
        leads = _LEADS.fullmatch(site.pointed(f"{generation(number)}/{model}") or "")
        if MODEL.fullmatch(model) and leads:
            live[model] = leads[1]
    return live


def all_numbers(site: Folder) -> list[int]:
    """Every generation that is there, the oldest first."""
    return sorted(int(name) for name in site.names(GENERATIONS) if re.fullmatch(r"[1-9][0-9]{0,8}", name))


def write_generation(site: Folder, live: Live) -> int:
    """Write a generation beside the live one, which is not touched; its number."""
    number = max([current_number(site), *all_numbers(site)]) + 1
    growing = f"{GENERATIONS}/.next"
    site.remove(growing)
    site.make(growing)
    for model, folder in sorted(live.items()):
        site.point(f"{growing}/{model}", f"../../{folder}")
    site.sync(growing)
    site.rename(growing, generation(number))
    return number


def switch(site: Folder, number: int) -> None:
    """Make a generation the live one, by one rename."""
    site.point(CURRENT, generation(number))


def drop_unswitched(site: Folder) -> None:
    """Remove generations that a killed run wrote and never switched to."""
    live = current_number(site)
    for number in all_numbers(site):
        if number > live:
            site.remove(generation(number))


def prune(site: Folder, keep: int) -> list[str]:
    """Keep the newest ``keep`` generations and what they name; remove other releases installed here, and their kept parts.

    Returns:
        The releases that were removed.
    """
    numbers = all_numbers(site)
    kept = numbers[-keep:]
    named = {folder for number in kept for folder in live_releases(site, number).values()}
    named |= {release_folder(name, kind) for number in kept for name in receipted_releases(site, number) for kind in KINDS}
    for number in numbers:
        if number not in kept:
            site.remove(generation(number))
    removed = []
    for release in [name[: -len(".json")] for name in site.names(INSTALLED) if name.endswith(".json")]:
        places = [release_folder(release, kind) for kind in KINDS]
        if not named.intersection(places):
            for place in places:
                site.remove(place)
            site.remove(installed_record(release))
            removed.append(release)
    staying = {sha256 for _, sha256 in installed_releases(site)}
    gone = [name[: -len(".json")] for name in site.names(MANIFESTS) if name.endswith(".json")]
    gone = [sha256 for sha256 in gone if sha256 not in staying]
    if gone:
        # Before their manifests, which say which they are, so that a killed run can be continued.
        drop_parts(site, gone, staying)
    for sha256 in gone:
        site.remove(kept_manifest(sha256))
    return removed


def link_web(site: Folder, release: str) -> bool:
    """Let ``web/<name>`` follow ``current``, so that a web application is switched with everything else.

    Returns:
        Whether it does: not on a file system without links.
    """
    name = split_release(release)[0]
    wanted = f"../{CURRENT}/{name}"
    if site.pointed(web_link(name)) != wanted:
        site.point(web_link(name), wanted)
    return site.kind(web_link(name)) == "link"
