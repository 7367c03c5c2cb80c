"""Export: a release for people without modelport, as a list of parts, a script that joins them, and sums.

Takes a release of profile ``raw`` and base URLs, gives ``Exported`` and a folder of small text files. The lists are
made from signed metadata; who uses them trusts the folder, and sha256 proves the rest.

next: ``pipeline.doctor``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import DiskError, UsageError
from pipeline.events import Listener, Warned
from pipeline.fetch import Signed, choose_release, read_signed
from pipeline.place import Heard
from pipeline.plan.partlists import (
    FILE_SUMS,
    LIST_NAMES,
    PART_SUMS,
    SCRIPT,
    ListFormat,
    assemble_script,
    file_sums,
    part_list,
    part_sums,
)
from pipeline.plan.wants import Want
from pipeline.supply import Supply
from pipeline.trust.view import View


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """What to export and where to. ``urls`` are the bases under which people reach the tree, the preferred first."""

    want: Want
    to: Path
    form: ListFormat
    urls: tuple[str, ...]
    allow_yanked: bool = False


class Exported(msgspec.Struct, kw_only=True):
    """What was written. ``bytes`` are those of the parts that people will download."""

    release: str
    folder: str
    format: str
    written: list[str]
    manifest_sha256: str
    root_fingerprint: str
    urls: list[str]
    parts: int
    files: int
    bytes: int
    warnings: list[str]


def export_release(order: ExportOrder, supply: Supply, listen: Listener, *, dry: bool = False) -> Exported:
    """Write the part list, the script and the sums of a release into a folder.

    Raises:
        UsageError: another profile than ``raw``, or a base that nobody can reach by http.
        UnknownName, TrustError, IntegrityError, UnavailableError, DiskError
    """
    heard = Heard(listen)
    check_urls(order.urls)
    signed, fingerprint, warnings = supply.read(partial(_read, order, supply.channel), heard.listen)
    for message in warnings:
        heard.listen(Warned("trust", message))
    manifest = signed.manifest
    if manifest.profile != "raw":
        raise UsageError(
            f"{manifest.release} has profile {manifest.profile}: its files are not its parts joined, only modelport can make them",
            hint=f"Fetch it with modelport, or publish such a release: invoke publish --model {manifest.release.model}-v… "
            "--profile raw",
        )
    texts = {
        LIST_NAMES[order.form]: part_list(order.form, manifest.parts, order.urls),
        PART_SUMS: part_sums(manifest.parts),
        FILE_SUMS: file_sums(manifest.files),
        SCRIPT: assemble_script(manifest),
    }
    if not dry:
        _write(order.to, texts)
    return Exported(
        release=str(manifest.release),
        folder=str(order.to),
        format=order.form,
        written=sorted(texts),
        manifest_sha256=signed.target.sha256,
        root_fingerprint=fingerprint,
        urls=list(order.urls),
        parts=len(manifest.parts),
        files=len(manifest.files),
        bytes=manifest.stored_bytes,
        warnings=heard.warnings,
    )


def check_urls(urls: Sequence[str]) -> None:
    """Refuse bases that other programs cannot use.

    Raises:
        UsageError
    """
    for url in urls:
        if not _is_address(url):
            raise UsageError(
                f"{url} is no http or https address that other programs can download from",
                hint="Say where the tree is served: --url https://cdn.example/tree",
            )
    if not urls:
        raise UsageError("no address of the tree is known", hint="Say where it is served: --url https://cdn.example/tree")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    # What ends or escapes an address in one of the lists has no place in it.
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and not any(sign <= " " or sign in '"\\<>' for sign in url)


def _read(order: ExportOrder, channel: str, view: View) -> tuple[Signed, str, tuple[str, ...]]:
    target = choose_release(view, order.want, channel=channel, allow_yanked=order.allow_yanked)
    return read_signed(view, target), view.fingerprint, view.warnings


def _write(folder: Path, texts: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            temporary = folder / f".{name}.new"
            temporary.write_text(text, encoding="utf-8", newline="\n")
            temporary.chmod(0o755 if name == SCRIPT else 0o644)
            temporary.replace(folder / name)
    except OSError as error:
        raise DiskError(f"cannot write into {folder}: {error.strerror}", hint="Choose another folder with --to.") from error
