"""Dependencies: which releases of which models go together with the one that was asked for.

Takes a verified view and a release, gives the releases it needs, each the newest that all who need it take; or says
why there are none, with the chain that leads to each demand. Signed facts alone decide; no manifest is read.

next: ``pipeline.fetch``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resolvelib import AbstractProvider, BaseReporter, ResolutionImpossible, ResolutionTooDeep, Resolver

from pipeline.errors import InvalidDocument, UnknownName, UsageError
from pipeline.release import ModelName, NameRefused, Release, check_model, check_range, takes
from pipeline.trust.view import ReleaseTarget, View

# Far beyond any honest set of models; a hostile one ends here.
ROUNDS = 10_000
NAMED = 6


@dataclass(frozen=True, slots=True)
class Demand:
    """``by`` (None: the person) needs a release of ``model`` that ``versions`` takes, or exactly ``release``."""

    model: ModelName
    versions: str
    by: Release | None = None
    release: Release | None = None

    def met_by(self, candidate: Release) -> bool:
        """Tell whether ``candidate`` meets it."""
        return candidate == self.release if self.release else takes(self.versions, candidate)


def resolve_dependencies(view: View, wanted: ReleaseTarget) -> tuple[ReleaseTarget, ...]:
    """Give the releases that ``wanted`` needs, itself left out, sorted by name.

    Raises:
        UsageError: no set of releases meets every demand; the chain of each one is told.
        InvalidDocument: a demand is no range of versions.
        TrustError, IntegrityError, UnavailableError
    """
    if not wanted.facts.dependencies:
        return ()
    provider = _Provider(view, wanted)
    resolver: Resolver[Demand, ReleaseTarget, ModelName] = Resolver(provider, BaseReporter())
    demand = Demand(wanted.release.model, "", release=wanted.release)
    try:
        found = resolver.resolve([demand], max_rounds=ROUNDS)
    except ResolutionImpossible as error:
        raise _conflict(wanted.release, provider, [cause.requirement for cause in error.causes]) from error
    except ResolutionTooDeep as error:
        raise UsageError(
            f"the dependencies of {wanted.release} are too many to resolve", hint="Fetch it with --no-deps."
        ) from error
    return tuple(
        sorted((found.mapping[model] for model in found.mapping if model != wanted.release.model), key=lambda one: one.release)
    )


class _Provider(AbstractProvider[Demand, ReleaseTarget, ModelName]):
    """What resolvelib asks of us."""

    def __init__(self, view: View, wanted: ReleaseTarget) -> None:
        self._view = view
        self._wanted = wanted
        self.demands: set[Demand] = set()

    def identify(self, requirement_or_candidate: Demand | ReleaseTarget) -> ModelName:
        """One release of a model at a time."""
        one = requirement_or_candidate
        return one.model if isinstance(one, Demand) else one.release.model

    def get_preference(
        self,
        identifier: ModelName,
        resolutions: Mapping[ModelName, ReleaseTarget],
        candidates: Mapping[ModelName, Iterator[ReleaseTarget]],
        information: Mapping[ModelName, Iterator[Any]],
        backtrack_causes: Sequence[Any],
    ) -> str:
        """By name: the same answer on every machine."""
        del resolutions, candidates, information, backtrack_causes
        return identifier

    def find_matches(
        self,
        identifier: ModelName,
        requirements: Mapping[ModelName, Iterator[Demand]],
        incompatibilities: Mapping[ModelName, Iterator[ReleaseTarget]],
    ) -> Iterable[ReleaseTarget]:
        """The newest first; what was yanked is for nobody to fall into."""
        demands = list(requirements[identifier])
        refused = {target.release for target in incompatibilities[identifier]}
        return [
            target
            for target in reversed(self.releases(identifier))
            if target.release not in refused and all(demand.met_by(target.release) for demand in demands)
        ]

    def is_satisfied_by(self, requirement: Demand, candidate: ReleaseTarget) -> bool:
        """As the demand says."""
        return requirement.met_by(candidate.release)

    def get_dependencies(self, candidate: ReleaseTarget) -> Iterable[Demand]:
        """What the candidate's signed facts name."""
        try:
            found = [
                Demand(check_model(one.model), check_range(one.version), by=candidate.release)
                for one in candidate.facts.dependencies
            ]
        except NameRefused as error:
            raise InvalidDocument(
                f"what {candidate.release} needs cannot be read: {error}",
                hint="It may need a newer modelport; --no-deps fetches it alone.",
            ) from None
        self.demands.update(found)
        return found

    def releases(self, model: ModelName) -> Sequence[ReleaseTarget]:
        """The releases of a model that may be taken; none where the tree has no such model."""
        try:
            found = self._view.releases(model)
        except UnknownName:
            return ()
        return [one for one in found if one.facts.yanked is None or one.release == self._wanted.release]


def _conflict(wanted: Release, provider: _Provider, causes: Iterable[Demand]) -> UsageError:
    lines = []
    models = set()
    for demand in sorted(set(causes), key=str):
        models.add(demand.model)
        if demand.by is not None:
            chain = " → ".join(str(release) for release in _chain(wanted, demand.by, provider.demands))
            lines.append(f"{chain} needs {demand.model} {demand.versions}")
    there = []
    for model in sorted(models):
        versions = [one.release.version for one in provider.releases(model)]
        shown = ", ".join(versions[-NAMED:]) if versions else "no release that may be taken"
        there.append(f"{model} has {shown}")
    return UsageError(
        f"no releases go together with {wanted}: {'; '.join(lines)}; {'; '.join(there)}",
        hint="Ask their publishers for releases that fit, or leave the dependencies out with --no-deps.",
    )


def _chain(wanted: Release, to: Release, demands: Iterable[Demand]) -> list[Release]:
    """The shortest way from the wanted release to one that it led to."""
    asked: dict[Release, set[ModelName]] = {}
    for demand in demands:
        if demand.by is not None:
            asked.setdefault(demand.by, set()).add(demand.model)
    ways = [[wanted]]
    seen = {wanted}
    for way in ways:
        if way[-1] == to:
            return way
        for release in sorted(asked):
            if release not in seen and release.model in asked.get(way[-1], ()):
                seen.add(release)
                ways.append([*way, release])
        if to not in seen and to.model in asked.get(way[-1], ()):
            seen.add(to)
            ways.append([*way, to])
    return [wanted, to]
