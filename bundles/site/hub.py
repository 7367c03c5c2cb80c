"""Answers for Hugging Face clients: ``HF_ENDPOINT`` is the site, repositories are its models.

Takes a catalogue and the names of a request, gives what ``huggingface_hub`` and transformers.js read: the information
about a repository, its files, and ``resolve`` URLs. A revision's commit is the beginning of its manifest's sha256;
revisions are channels, ``main`` for the live release, versions, and digests (docs/adr/0150).
https://huggingface.co/docs/hub/api, https://github.com/huggingface/huggingface_hub (file_download.py, hf_api.py).

next: ``wheelhouse``
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from bundles.site.answers import Found, Headers, Made, Refused, Stored
from bundles.site.catalogue import COMMIT_DIGITS, MAIN, Catalogue, Held, HeldFile
from pipeline.layout import FOREVER, JSON, REVALIDATE, content_type
from pipeline.release import RESERVED_NAMES
from pipeline.wire import encode_document

RESOLVE = frozenset({"resolve", "raw"})
# A document of a model must not run as a page of this server.
SANDBOX = ("Content-Security-Policy", "sandbox")


def is_repo_request(names: tuple[str, ...]) -> bool:
    """Whether this is ``<repo>/resolve/<revision>/<path>``, the repo of one or two names.

    A model may be called ``simple`` or ``api``, but not by a name that the format reserves.
    """
    if names[0] in RESERVED_NAMES:
        return False
    return (len(names) > 3 and names[1] in RESOLVE) or (len(names) > 4 and names[2] in RESOLVE and names[0] != "api")


def find_file(catalogue: Catalogue, names: tuple[str, ...]) -> Found:
    """Answer ``<repo>/resolve/<revision>/<path>``."""
    at = 1 if names[1] in RESOLVE else 2
    held = _held(catalogue, "/".join(names[:at]), names[at + 1])
    if isinstance(held, Refused):
        return held
    file = held.files.get("/".join(names[at + 2 :]))
    commit = ("X-Repo-Commit", held.commit)
    if file is None:
        return _refused("EntryNotFound", f"{held.release} has no such file", (commit,))
    return stored_file(held, file, FOREVER if is_fixed(held, names[at + 1]) else REVALIDATE, (commit, *_linked(file)))


def find_info(catalogue: Catalogue, names: tuple[str, ...], *, recursive: bool = False) -> Found:
    """Answer what stands below ``/api/models``: ``<repo>[/revision/<revision>]``, ``<repo>/tree/<revision>[/<folder>]``, ``<repo>/refs``."""
    for at in (1, 2):
        words = names[at:]
        repo = "/".join(names[:at])
        if len(words) == 2 and words[0] == "revision":
            held = _held(catalogue, repo, words[1])
            return held if isinstance(held, Refused) else _info(repo, held)
        if len(words) >= 2 and words[0] == "tree":
            held = _held(catalogue, repo, words[1])
            return held if isinstance(held, Refused) else _listing(held, "/".join(words[2:]), recursive=recursive)
        if words == ("refs",):
            return _refs(catalogue, repo)
    if names and len(names) <= 2:
        held = _held(catalogue, "/".join(names), MAIN)
        return held if isinstance(held, Refused) else _info("/".join(names), held)
    return _refused("RepoNotFound", "there is no such repository here")


def stored_file(held: Held, file: HeldFile, cache: str, headers: Headers = ()) -> Stored:
    """A file of a release, wherever it is asked for."""
    more = (*headers, SANDBOX, ("X-Content-Type-Options", "nosniff"))
    return Stored(f"{held.folder}/{file.path}", file.size, file.sha256, content_type(file.path), cache, more)


def _held(catalogue: Catalogue, repo: str, revision: str) -> Held | Refused:
    model = catalogue.model_of(repo)
    if model is None:
        return _refused("RepoNotFound", f"no installed model is named {repo[:80]!r}, nor has it as an alias")
    held = catalogue.revision(model, revision)
    if held is None:
        return _refused(
            "RevisionNotFound", f"no installed release of {model} is {revision[:80]!r}: a channel, a version or a digest"
        )
    return held


def is_fixed(held: Held, revision: str) -> bool:
    """Whether a revision means this release for ever: all but channels and ``main``."""
    return revision in {held.version, f"v{held.version}", held.release, held.commit, held.manifest_sha256}


def _linked(file: HeldFile) -> Headers:
    return (("X-Linked-Etag", f'"{file.sha256}"'), ("X-Linked-Size", str(file.size)))


def _info(repo: str, held: Held) -> Found:
    document = {
        "_id": held.commit[:24],
        "id": repo,
        "modelId": repo,
        "sha": held.commit,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [{"rfilename": file.path, **_blob(file)} for file in held.files.values()],
    }
    return _json(document, held.commit)


def _blob(file: HeldFile) -> dict[str, Any]:
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": 0}
    return {"size": file.size, "blobId": file.sha256[:COMMIT_DIGITS], "lfs": lfs}


def _listing(held: Held, folder: str, *, recursive: bool) -> Found:
    """What is in a folder, or everything below it."""
    prefix = f"{folder}/" if folder else ""
    inside = [file for file in held.files.values() if file.path.startswith(prefix)]
    if not inside:
        return _refused("EntryNotFound", f"{held.release} has no such folder", (("X-Repo-Commit", held.commit),))
    shown = [file for file in inside if recursive or "/" not in file.path[len(prefix) :]]
    rows: list[dict[str, Any]] = [
        {"type": "directory", "oid": held.commit, "size": 0, "path": path}
        for path in _folders(inside, prefix, recursive=recursive)
    ]
    rows += [
        {
            "type": "file",
            "oid": file.sha256[:COMMIT_DIGITS],
            "size": file.size,
            "path": file.path,
            "lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 0},
        }
        for file in shown
    ]
    return _json(rows, held.commit)


def _folders(files: Iterable[HeldFile], prefix: str, *, recursive: bool) -> list[str]:
    found = set()
    for file in files:
        at = file.path.find("/", len(prefix))
        while at != -1:
            found.add(file.path[:at])
            at = file.path.find("/", at + 1) if recursive else -1
    return sorted(found)


def _refs(catalogue: Catalogue, repo: str) -> Found:
    model = catalogue.model_of(repo)
    if model is None:
        return _refused("RepoNotFound", "there is no such repository here")
    names = sorted({MAIN, *catalogue.channels.get(model, {})})
    branches = [(name, held) for name in names if (held := catalogue.revision(model, name)) is not None]
    versions = sorted((held.version, held) for held in catalogue.releases_of(model))
    document = {
        "branches": [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": held.commit} for name, held in branches],
        "tags": [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": held.commit} for name, held in versions],
        "converts": [],
    }
    return _json(document)


def _json(document: Any, commit: str = "") -> Made:
    headers = (("X-Repo-Commit", commit),) if commit else ()
    return Made(encode_document(document), JSON, headers=headers)


def _refused(code: str, why: str, headers: Headers = ()) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, why, (("X-Error-Code", code), ("X-Error-Message", _ascii(why)), *headers))


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
