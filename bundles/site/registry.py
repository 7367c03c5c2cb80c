"""``/v2/``: the pull half of the OCI distribution specification 1.1, for skopeo and other container tools.

Takes a catalogue and the names of a request, gives manifests that ``pipeline.plan.ocilayout`` describes, and blobs: the
files of releases as they lie on the disk. A repository is a model or an alias; a tag is a channel, a version, or
``latest`` for the live release. https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

next: ``pages``
"""

from __future__ import annotations

import re
from http import HTTPStatus

from bundles.site.answers import Found, Headers, Made, Refused, Stored
from bundles.site.catalogue import MAIN, Catalogue, Held
from pipeline.layout import BYTES, FOREVER, JSON, REVALIDATE
from pipeline.plan.ocilayout import CONFIG_TYPE, MANIFEST_TYPE
from pipeline.wire import encode_document

LATEST = "latest"
_VERSION: Headers = (("Docker-Distribution-Api-Version", "registry/2.0"),)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def find_artifact(catalogue: Catalogue, names: tuple[str, ...]) -> Found:
    """Answer what stands below ``/v2``; ``names`` are those after it."""
    if names in {(), ("",)}:
        return Made(b"{}", JSON, headers=_VERSION)
    if names == ("_catalog",):
        return _json({"repositories": catalogue.models()})
    if len(names) not in {3, 4} or names[-2] not in {"manifests", "blobs", "tags"}:
        return _refused("NAME_INVALID", "this server knows manifests, blobs and tags")
    repo, what, reference = "/".join(names[:-2]), names[-2], names[-1]
    model = catalogue.model_of(repo)
    if model is None:
        return _refused("NAME_UNKNOWN", f"no installed model is named {repo[:80]!r}, nor has it as an alias")
    if what == "tags":
        return _tags(catalogue, repo, model) if reference == "list" else _refused("NAME_INVALID", "only tags/list")
    return _manifest(catalogue, model, reference) if what == "manifests" else _blob(catalogue, model, reference)


def _manifest(catalogue: Catalogue, model: str, reference: str) -> Found:
    digest = _DIGEST.fullmatch(reference)
    held = (
        _by_digest(catalogue, model, digest[1])
        if digest
        else catalogue.revision(model, MAIN if reference == LATEST else reference)
    )
    if held is None:
        return _refused("MANIFEST_UNKNOWN", f"no installed release of {model} is {reference[:80]!r}")
    headers = (*_VERSION, ("Docker-Content-Digest", f"sha256:{held.artifact.manifest_sha256}"))
    return Made(held.artifact.manifest, MANIFEST_TYPE, FOREVER if digest else REVALIDATE, headers=headers)


def _blob(catalogue: Catalogue, model: str, reference: str) -> Found:
    digest = _DIGEST.fullmatch(reference)
    for held in catalogue.releases_of(model) if digest else []:
        headers = (*_VERSION, ("Docker-Content-Digest", reference), ("X-Content-Type-Options", "nosniff"))
        file = held.by_digest.get(reference.partition(":")[2])
        if file is not None:
            return Stored(f"{held.folder}/{file.path}", file.size, file.sha256, BYTES, FOREVER, headers)
        if reference == f"sha256:{held.artifact.config_sha256}":
            return Made(held.artifact.config, CONFIG_TYPE, FOREVER, headers=headers)
        if reference == f"sha256:{held.artifact.manifest_sha256}":
            return Made(held.artifact.manifest, MANIFEST_TYPE, FOREVER, headers=headers)
    return _refused("BLOB_UNKNOWN" if digest else "DIGEST_INVALID", f"no installed release of {model} has this blob")


def _tags(catalogue: Catalogue, repo: str, model: str) -> Found:
    names = {LATEST, *catalogue.channels.get(model, {}), *(held.version for held in catalogue.releases_of(model))}
    known = [name for name in sorted(names) if catalogue.revision(model, MAIN if name == LATEST else name) is not None]
    return _json({"name": repo, "tags": known})


def _by_digest(catalogue: Catalogue, model: str, sha256: str) -> Held | None:
    return next((held for held in catalogue.releases_of(model) if held.artifact.manifest_sha256 == sha256), None)


def _json(document: object) -> Made:
    return Made(encode_document(document), JSON, headers=_VERSION)


def _refused(code: str, why: str) -> Refused:
    document = {"errors": [{"code": code, "message": why, "detail": {}}]}
    return Refused(HTTPStatus.NOT_FOUND, encode_document(document).decode().strip(), (*_VERSION, ("Content-Type", JSON)))
