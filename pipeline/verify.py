"""Verify: do the store's objects agree with the signed manifest?

Takes a release and how much to read, gives ``Verified``, or names every missing, short or wrong
object and ends with exit code 3.

next: ``pipeline.show``
"""

from __future__ import annotations

import time

import msgspec

from pipeline.errors import VerifyFailed
from pipeline.events import Listener, Progress, StepFinished, StepStarted, Warned
from pipeline.place import Heard, Place
from pipeline.release import Release
from pipeline.steps.inspect import inspect_parts
from pipeline.steps.sampling import SAMPLE_PERCENT

NAMED = 20


class Verified(msgspec.Struct, kw_only=True):
    """What was proved: every part by size and the store's own digest, ``read`` of them to the last byte."""

    release: str
    store: str
    root_fingerprint: str
    manifest_sha256: str
    objects: int
    read: int
    bytes_read: int
    warnings: list[str]
    seconds: float


def verify_release(release: Release, place: Place, listen: Listener, *, sample_percent: float = SAMPLE_PERCENT) -> Verified:
    """Hold every object of ``release`` against its signed manifest.

    ``sample_percent`` of the parts (100: all) are read, hashed and decoded.

    Raises:
        VerifyFailed: naming each object that is missing, short or wrong.
        UnknownName, TrustError, UnavailableError
    """
    heard = Heard(listen)
    started = time.monotonic()
    view = place.view()
    target = view.release(release)
    manifest = view.manifest(release)
    heard.listen(StepStarted("verify", len(manifest.parts), manifest.stored_bytes if sample_percent else 0))
    looked = inspect_parts(
        place.store, manifest, sample_percent=sample_percent, done=lambda size: heard.listen(Progress("verify", size))
    )
    heard.listen(StepFinished("verify", looked.objects, looked.bytes, time.monotonic() - started))
    for finding in looked.findings:
        heard.listen(Warned("verify-finding", f"{finding.key}: {finding.fault}"))
    absent = [finding.absent for finding in looked.findings if finding.absent]
    if absent and len(absent) == len(looked.findings):
        raise VerifyFailed(
            f"{len(absent)} of {looked.objects} objects of {release} are not here: {absent[0]}", hint=absent[0].hint
        )
    if looked.findings:
        named = "; ".join(f"{finding.key}: {finding.fault}" for finding in looked.findings[:NAMED])
        more = f" (and {len(looked.findings) - NAMED} more)" if len(looked.findings) > NAMED else ""
        raise VerifyFailed(
            f"{len(looked.findings)} of {looked.objects} objects of {release} are not what its manifest says: {named}{more}",
            hint=f"With the model's folder at hand, send them again: invoke publish --model {release} --repair",
        )
    return Verified(
        release=str(release),
        store=place.store.url,
        root_fingerprint=view.fingerprint,
        manifest_sha256=target.sha256,
        objects=looked.objects,
        read=looked.read,
        bytes_read=looked.bytes,
        warnings=[*heard.warnings, *view.warnings],
        seconds=round(time.monotonic() - started, 3),
    )
