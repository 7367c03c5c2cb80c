"""Version ranges: does this version serve a dependency that asks for ``^2.1``?

Takes the range as npm spells it and a version, gives yes or no. The publisher's own tools chose the versions in
a bundle; this only keeps an altered list of releases from leaving a dependency out or putting an old one in. So
a pre-release counts by its order alone, which takes everything that the publisher's stricter rule takes.

next: ``manifest``
"""

from __future__ import annotations

import re

from bundles.installer.names import VERSION

_PARTIAL = (
    r"(0|[1-9][0-9]*|[xX*])(?:\.(0|[1-9][0-9]*|[xX*])(?:\.(0|[1-9][0-9]*|[xX*])(?:-([0-9A-Za-z.-]*))?)?)?(?:\+[0-9A-Za-z.-]*)?"
)
_BLOCK = re.compile(rf"v?(<=|>=|<|>|=|\^|~|){_PARTIAL}")
_HYPHEN = " - "

# major, minor, patch, then the pre-release so that one without comes after those with.
Order = tuple[int, int, int, int, list[tuple[int, int, str]]]


def order_of(version: str) -> Order:
    """The value by which versions compare (semver.org, item 11).

    Raises:
        ValueError: no version.
    """
    found = VERSION.fullmatch(version)
    if found is None:
        raise ValueError(version)
    return _order(int(found[1]), int(found[2]), int(found[3]), found[4] or "")


def serves(version: str, wanted: str) -> bool:
    """Tell whether ``version`` lies in the range ``wanted``.

    Raises:
        ValueError: the range is none.
    """
    order = order_of(version)
    for group in wanted.split("||"):
        bounds = _bounds(group.strip())
        # The publisher's tools read a bound such as >=1.0.0-rc.1 also as >=1.0.0.
        released = [(sign, _order(*bound[:3], "")) for sign, bound in bounds]
        if any(all(_holds(order, *bound) for bound in either) for either in (bounds, released)):
            return True
    return False


def is_range(wanted: str) -> bool:
    """Tell whether ``wanted`` is a range of at most 200 characters."""
    try:
        return len(wanted) <= 200 and all(_bounds(group.strip()) is not None for group in wanted.split("||"))
    except ValueError:
        return False


def _bounds(group: str) -> list[tuple[str, Order]]:
    if not group:
        return []
    if _HYPHEN in group:
        low, high = group.split(_HYPHEN, 1)
        return [*_simple(">=" + low), *_simple("<=" + high)]
    return [bound for block in group.split(" ") for bound in _simple(block)]


def _simple(block: str) -> list[tuple[str, Order]]:
    found = _BLOCK.fullmatch(block)
    if found is None:
        raise ValueError(f"{block[:80]!r} is no range")
    sign = found[1]
    major, minor, patch = (None if text in {None, "x", "X", "*"} else int(text) for text in (found[2], found[3], found[4]))
    if major is None:
        return []
    least = _order(major, minor or 0, patch or 0, found[5] or "")
    if minor is None:
        beyond = _order(major + 1, 0, 0, "")
    elif patch is None:
        beyond = _order(major, minor + 1, 0, "")
    else:
        beyond = least
    if sign == "^":
        return [(">=", least), ("<", _caret_end(major, minor, patch))]
    if sign == "~":
        return [(">=", least), ("<", _order(major + 1, 0, 0, "") if minor is None else _order(major, minor + 1, 0, ""))]
    whole = patch is not None and minor is not None
    if sign in {"", "="}:
        return [(">=", least), ("<=", least)] if whole else [(">=", least), ("<", beyond)]
    if sign in {">=", "<"} or whole:
        return [(sign, least)]
    return [(">=", beyond)] if sign == ">" else [("<", beyond)]


def _caret_end(major: int, minor: int | None, patch: int | None) -> Order:
    if major or minor is None:
        return _order(major + 1, 0, 0, "")
    if minor or patch is None:
        return _order(0, minor + 1, 0, "")
    return _order(0, 0, patch + 1, "")


def _holds(order: Order, sign: str, bound: Order) -> bool:
    return {">=": order >= bound, ">": order > bound, "<=": order <= bound, "<": order < bound}[sign]


def _order(major: int, minor: int, patch: int, prerelease: str) -> Order:
    labels = [(0, int(label), "") if label.isdigit() else (1, 0, label) for label in prerelease.split(".") if label]
    return (major, minor, patch, 0 if prerelease else 1, labels)
