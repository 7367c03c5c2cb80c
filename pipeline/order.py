"""An order: what a person asked to be published, and how.

Takes flags, gives the folder to read and the inputs that follow from folder, flags and tree. Both
``publish`` and ``planning`` start here, so that a plan and the publish after it cannot differ.

next: ``pipeline.publish``
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.digest import Sha256
from pipeline.encoding import ENCODER
from pipeline.errors import UsageError
from pipeline.manifest import Kind, Manifest, Profile
from pipeline.plan.inputs import EncodingChoice, Inputs, source_identity
from pipeline.plan.pack import check_part_size, choose_part_size
from pipeline.release import Channel, Release
from pipeline.sources.folder import Folder
from pipeline.steps.bases import default_bases, named_bases
from pipeline.steps.choose import Wishes
from pipeline.steps.sampling import SAMPLE_PERCENT
from pipeline.trust.view import View


@dataclass(frozen=True, slots=True)
class PublishOrder:
    """What to publish, and what the flags said; None where they were silent.

    ``daily_prefetch`` is the configured quota of the CDN in URLs, if there is one. ``promote_cold``: the channel moves though
    an edge lacks objects, which is recorded; ``sample_percent`` of the objects are read back through every edge.
    """

    release: Release
    source: Path
    kind: Kind = "model"
    channel: Channel | None = None
    bases: tuple[str, ...] = ()
    profile: Profile | None = None
    encoding: EncodingChoice | None = None
    part_size: int | None = None
    daily_prefetch: int | None = None
    rehash: bool = False
    repair: bool = False
    allow_unsafe: bool = False
    promote_cold: bool = False
    sample_percent: float = SAMPLE_PERCENT

    def __post_init__(self) -> None:
        if self.part_size is not None:
            check_part_size(self.part_size, self.profile or "default")
        if self.encoding == "auto" and self.profile in {"raw", "web"}:
            raise UsageError(
                f"--profile {self.profile} keeps bytes as they are, --encoding auto does not", hint="Leave --encoding out."
            )


def inputs_of(order: PublishOrder, folder: Folder, view: View | None) -> tuple[Inputs, Wishes]:
    """The inputs this order would publish with, and which of them a flag demands.

    Raises:
        UnknownName, UsageError: a base that cannot serve.
    """
    named = named_bases(view, order.release, order.bases) if order.bases else None
    profile = order.profile or "default"
    inputs = Inputs(
        bases=default_bases(view, order.release, order.channel) if named is None else named,
        part_size=order.part_size or choose_part_size(folder.size, profile=profile, daily_prefetch=order.daily_prefetch),
        profile=profile,
        encoding=order.encoding or ("auto" if profile == "default" else "raw"),
        encoder=ENCODER,
    )
    return inputs, Wishes(named, order.part_size, order.profile, order.encoding)


def inputs_that_made(manifest: Manifest) -> Inputs:
    """The inputs of a release that stands, as its manifest shows them."""
    encoded = any(chunk.encoding != "raw" for file in manifest.files for chunk in file.chunks)
    return Inputs(
        bases=manifest.bases,
        part_size=manifest.part_size,
        profile=manifest.profile,
        encoding="auto" if encoded else "raw",
        encoder=manifest.encoder,
    )


def identity_before_reading(order: PublishOrder, folder: Folder) -> Sha256:
    """Names the source in leases and plans: see ``plan.inputs.source_identity``."""
    files = [(file.path, file.size, file.executable) for file in folder.files]
    return source_identity(order.kind, folder.about.as_dependencies(), files)
