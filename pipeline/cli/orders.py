"""From flags, which are text, to what walks take.

Takes a task's flags and the settings, gives orders, names and numbers, or one line that says which
flag cannot be what it is.

next: ``summaries``
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import get_args

from pipeline.errors import DiskError, SourceError, UsageError
from pipeline.manifest import Kind, Profile
from pipeline.meant import nearest, suggest
from pipeline.order import PublishOrder
from pipeline.plan.cost import ReleasePlan
from pipeline.plan.inputs import EncodingChoice
from pipeline.planning import PLAN_BYTES, decode_plan, encode_plan
from pipeline.release import ModelName, NameRefused, Release, check_channel, check_model
from pipeline.settings import Settings
from pipeline.steps.sampling import SAMPLE_PERCENT


def order_of(
    settings: Settings,
    *,
    model: str,
    source: str,
    kind: str,
    channel: str,
    bases: Iterable[str],
    profile: str,
    encoding: str,
    rehash: bool = False,
    repair: bool = False,
    promote_cold: bool = False,
    sample_percent: float = SAMPLE_PERCENT,
    allow_unsafe: bool = False,
) -> PublishOrder:
    """The order that these flags make.

    Raises:
        UsageError: naming the flag, and the nearest known value.
    """
    release = Release.parse(model)
    return PublishOrder(
        release=release,
        source=Path(source) if source else model_folder(settings.models_dir, release),
        kind=_one_of("kind", kind, get_args(Kind)) or "model",  # type: ignore[arg-type]  # _one_of gave one of them
        channel=check_channel(channel) if channel else None,
        bases=tuple(bases),
        profile=_one_of("profile", profile, get_args(Profile)),  # type: ignore[arg-type]  # _one_of gave one of them
        encoding=_one_of("encoding", encoding, get_args(EncodingChoice)),  # type: ignore[arg-type]  # _one_of gave one of them
        part_size=settings.part_size,
        daily_prefetch=settings.prefetch_per_day,
        rehash=rehash,
        repair=repair,
        promote_cold=promote_cold,
        sample_percent=sample_percent,
        allow_unsafe=allow_unsafe,
    )


def model_folder(models_dir: Path, release: Release) -> Path:
    """The folder of ``release`` in ``models_dir``.

    Raises:
        SourceError: it is not there; the message names the nearest that is.
    """
    folder = models_dir / str(release)
    if folder.exists():
        return folder
    known = sorted(entry.name for entry in models_dir.iterdir() if entry.is_dir()) if models_dir.is_dir() else []
    near = nearest(str(release), known)
    rest = "Put the files there, name another folder with --source, or try: invoke sample"
    raise SourceError(f"there is no folder {folder}", hint=f"Did you mean --model {near}?" if near else rest)


def name_of(text: str) -> Release | ModelName | None:
    """A release, a model, or nothing.

    Raises:
        NameRefused: it is neither.
    """
    if not text:
        return None
    try:
        return Release.parse(text)
    except NameRefused:
        return check_model(text)


def sample_of(sample: str) -> float:
    """Percent of the objects to read back; the default where nothing is said.

    Raises:
        UsageError: not a number from 0 to 100.
    """
    if not sample:
        return SAMPLE_PERCENT
    try:
        percent = float(sample.strip().removesuffix("%"))
    except ValueError:
        percent = -1
    if not 0 <= percent <= 100:
        raise UsageError(f"--sample {sample} is not a percentage, expected 0% to 100%", hint="Write it as --sample 5%.")
    return percent


def save_plan(plan: ReleasePlan, path: str) -> None:
    """Write a plan to a file.

    Raises:
        DiskError
    """
    save_file(encode_plan(plan), Path(path), what="the plan", flag="save")


def save_file(data: bytes, path: Path, *, what: str, flag: str) -> None:
    """Write a file whole or not at all; what stood there before stays until then. ``flag`` names it on the command line.

    Raises:
        DiskError
    """
    # Not path.with_name: "." and "/" have none. A folder is refused below before anything is written.
    beside = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise DiskError(f"cannot write {what} to {path}: {error.strerror}", hint=f"Choose another file with --{flag}.") from error


def read_plan(path: str) -> ReleasePlan:
    """Read a plan from a file.

    Raises:
        UsageError: it cannot be read.
        InvalidDocument: it is not a plan.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(PLAN_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read the plan {path}: {error.strerror}", hint="Make one: invoke plan --save plan.json"
        ) from error
    return decode_plan(data, path)


def _one_of(flag: str, value: str, known: tuple[str, ...]) -> str | None:
    if not value:
        return None
    if value not in known:
        raise UsageError(f"--{flag} {value} is unknown, expected {', '.join(known)}", hint=suggest(value, known))
    return value
