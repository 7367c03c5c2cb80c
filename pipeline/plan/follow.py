"""Does what happens agree with the plan? Asked at every point where it could differ.

Takes a saved plan and facts, raises ``PlanDiffers`` at the first difference, so that a publish by a
plan does exactly that or stops before any metadata.

next: ``plan.calls``
"""

from __future__ import annotations

from pipeline.digest import Blake3, Sha256
from pipeline.errors import PlanDiffers
from pipeline.plan.cost import ReleasePlan


class Followed:
    """A plan being followed."""

    def __init__(self, plan: ReleasePlan) -> None:
        self.plan = plan
        self._parts = {part.blake3: part for part in plan.parts}

    def check(self, what: str, found: object, planned: object) -> None:
        """Compare one fact.

        Raises:
            PlanDiffers
        """
        if found != planned:
            raise _differs(f"{what} is {found}, the plan says {planned}")

    def check_part(self, name: Blake3, how: str) -> None:
        """Compare a part that was just shipped; one that is there by now is no difference.

        Raises:
            PlanDiffers: the plan does not name it, or it was sent although the plan counts on it.
        """
        part = self._parts.get(name)
        if part is None:
            raise _differs(f"part {name} comes up, which the plan does not name")
        if part.present and how != "present":
            raise _differs(f"part {name} had to be sent, the plan found it in the store")

    def check_manifest(self, sha256: Sha256) -> None:
        """Compare the manifest, the last thing before metadata.

        Raises:
            PlanDiffers
        """
        self.check("the manifest's sha256", sha256, self.plan.manifest_sha256)


def _differs(how: str) -> PlanDiffers:
    return PlanDiffers(f"this publish differs from its plan: {how}", hint="Nothing became visible. Make a new plan: invoke plan")
