"""Models that a page may ask for: from the names in the settings to digests that signed metadata vouches for.

Takes names of releases and a verified view of the tree they are in, gives ``WebModel`` values (docs/web-format.md §6).

next: ``sw.output``
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.errors import UsageError
from pipeline.release import NameRefused, Release, check_model
from pipeline.trust.view import View
from sw.manifest import WebModel

# A web application in the view lies two folders below the top of the tree: web/<name>/.
TREE = "../../"


def find_models(wanted: Mapping[str, Mapping[str, str]], view: View) -> dict[str, WebModel]:
    """Look up each model of ``wanted`` (``{id: {release, tree}}``).

    Raises:
        UsageError: an id that is no name, or a release that no browser can take part by part.
        UnknownName, TrustError, IntegrityError, UnavailableError
    """
    return {_checked(name): _found(name, one, view) for name, one in sorted(wanted.items())}


def _checked(name: str) -> str:
    try:
        return check_model(name)
    except NameRefused as error:
        raise UsageError(f"web: models: {error}", hint=error.hint) from None


def _found(name: str, one: Mapping[str, str], view: View) -> WebModel:
    release = Release.parse(one["release"])
    target = view.release(release)
    manifest = view.manifest(release)
    if manifest.profile != "web":
        raise UsageError(
            f"{release}, the model {name}, has profile {manifest.profile}: a page needs profile web",
            hint=f"Publish a version of it with: invoke publish --model {release.model}-v… --profile web",
        )
    return WebModel(str(release), one.get("tree", TREE), target.key, target.sha256, target.size)
