"""Where a zstd decoder comes from on a machine that has nothing but Python.

Takes the folders of the bundle, gives a ``Decoder``: Python's own module (3.14 and newer), else the carried wheel
of zstandard whose digest stands in ``wheel_pins``, else the ``zstd`` program. Every frame was measured by
``frames`` before it comes here, and a decoder's answer counts only if it has exactly the expected size.

next: ``tools``
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from bundles.installer.faults import IntegrityError, UsageError
from bundles.installer.frames import WINDOW_BYTES
from bundles.installer.strictjson import HINT
from bundles.installer.wheel_pins import PINS

WHEEL_BYTES = 64 << 20
KINDS = ("auto", "python", "wheel", "program")
REMEDIES = (
    "Three remedies: run install.pyz with Python 3.14 or newer; or put the zstandard wheel for this Python into "
    "wheels/ beside the volumes (bundle.build --python … --platform …); or install the zstd program."
)

# A frame that was measured, and the bytes it will become.
Frame = tuple[memoryview, int]


@dataclass(frozen=True)
class Decoder:
    """Decodes frames one after the other; ``name`` says with what, ``wheel`` are name and bytes of the wheel it came from."""

    name: str
    decode: Callable[[Iterable[Frame]], Iterator[bytes]]
    wheel: tuple[str, bytes] | None = None


def find_decoder(folders: Sequence[str], kind: str, scratch: str | None) -> Decoder:
    """Find a decoder; ``scratch`` is a folder of ours, None for the system's, in which a wheel may be unpacked.

    Raises:
        UsageError: there is none; the hint names the three remedies.
    """
    tried: list[str] = []
    for name, find in (("python", _of_python), ("wheel", lambda: _of_wheel(folders, scratch)), ("program", _of_program)):
        if kind in {"auto", name}:
            found = find()
            if isinstance(found, Decoder):
                return found
            tried.append(found)
    raise UsageError(f"this release is compressed and nothing here decodes zstd: {'; '.join(tried)}", REMEDIES)


def _of_python() -> Decoder | str:
    try:
        zstd: Any = importlib.import_module("compression.zstd")
    except ImportError:
        return f"Python {sys.version_info[0]}.{sys.version_info[1]} has no module for it"
    return Decoder(f"Python {sys.version_info[0]}.{sys.version_info[1]}", partial(_by_module, zstd))


def _by_module(zstd: Any, frames: Iterable[Frame]) -> Iterator[bytes]:
    options = {zstd.DecompressionParameter.window_log_max: WINDOW_BYTES.bit_length() - 1}
    for frame, plain in frames:
        decompressor = zstd.ZstdDecompressor(options=options)
        try:
            data = decompressor.decompress(frame, max_length=plain + 1)
        except zstd.ZstdError as error:
            raise _damaged(str(error)) from error
        if not decompressor.eof or decompressor.unused_data:
            raise _damaged("it does not end where its frame ends")
        yield _sized(data, plain)


def _of_wheel(folders: Sequence[str], scratch: str | None) -> Decoder | str:
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    machine = os.uname().machine
    wanted = [name for name in PINS if f"-{tag}-{tag}-" in name and f"_{machine}." in name]
    if sys.implementation.name != "cpython" or sys.abiflags or not wanted:
        return f"no wheel of zstandard is known for {sys.implementation.name} {tag}{sys.abiflags} on {machine}"
    fault = "no zstandard wheel for this Python lies in wheels/"
    # Tools of other systems write names in capitals.
    spelled = [(name, inner) for name in wanted for inner in (f"wheels/{name}", f"wheels/{name}".upper())]
    for name, path in [(name, os.path.join(folder, inner)) for folder in folders for name, inner in spelled]:
        try:
            # Opening a pipe on the medium would wait for ever; without waiting it is empty.
            with open(path, "rb", opener=_without_waiting) as file:
                data = file.read(WHEEL_BYTES)
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest() != PINS[name]:
            fault = f"{path} is not the wheel it must be"
            continue
        try:
            zstandard = _import_wheel(data, scratch)
        except (ImportError, OSError) as error:
            # OSError: there is no room for it, or no folder to unpack it in.
            fault = f"{path} cannot be loaded ({error})"
            continue
        return Decoder(f"zstandard {zstandard.__version__}", partial(_by_zstandard, zstandard), (name, data))
    return fault


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _import_wheel(data: bytes, scratch: str | None) -> Any:
    """Import zstandard from a wheel's verified bytes. A shared object must be a file for as long as it takes to load it."""
    folder = tempfile.mkdtemp(prefix="wheel-", dir=scratch)
    try:
        os.mkdir(os.path.join(folder, "zstandard"), 0o700)
        with zipfile.ZipFile(io.BytesIO(data)) as wheel:
            for name in wheel.namelist():
                # The binding and its module; the rest of the wheel is another backend, and type stubs.
                inner = name.rpartition("/")[2]
                if name == f"zstandard/{inner}" and (inner == "__init__.py" or inner.startswith("backend_c.")):
                    with open(os.path.join(folder, "zstandard", inner), "xb") as file:
                        file.write(wheel.read(name))
        sys.path.insert(0, folder)
        # Neither a .pyc is left behind, nor is an unverified module of this name taken from elsewhere.
        keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            importlib.invalidate_caches()
            return importlib.import_module("zstandard")
        finally:
            sys.dont_write_bytecode = keep
            sys.path.remove(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _by_zstandard(zstandard: Any, frames: Iterable[Frame]) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
    for frame, plain in frames:
        # Never decompress(): it allocates what a frame claims, and stops silently at a frame's end.
        with decompressor.stream_reader(frame, read_across_frames=False) as reader:
            try:
                data = reader.read(plain + 1)
            except zstandard.ZstdError as error:
                raise _damaged(str(error)) from error
        yield _sized(data, plain)


def _of_program() -> Decoder | str:
    # An entry of PATH that is not absolute means the folder one stands in, which may be the medium.
    path = shutil.which("zstd", path=os.pathsep.join(filter(os.path.isabs, os.get_exec_path())))
    return Decoder(path, lambda frames: _by_program(path, list(frames))) if path else "there is no zstd program"


def _by_program(path: str, frames: list[Frame]) -> Iterator[bytes]:
    """One process for all frames: it decodes one after the other, and we know where each must end."""
    if not frames:
        return
    command = [path, "-dcq", "--memory=8MB"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={})
    feeder = threading.Thread(target=_feed, args=(process.stdin, frames), daemon=True)
    feeder.start()
    output: Any = process.stdout
    try:
        for _, plain in frames:
            yield _sized(output.read(plain), plain)
        if output.read(1):
            raise _damaged("the zstd program gave more than its frames hold")
        feeder.join()
        if process.wait():
            raise _damaged(f"the zstd program ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()
        feeder.join()
        output.close()


def _feed(pipe: Any, frames: list[Frame]) -> None:
    # A decoder that gave up closes its end; what it gave is judged by whoever reads it.
    with suppress(OSError, ValueError), pipe:
        for frame, _ in frames:
            pipe.write(frame)


def _sized(data: bytes, plain: int) -> bytes:
    if len(data) != plain:
        raise _damaged(f"it gave {len(data)} bytes, expected {plain}")
    return data


def _damaged(why: str) -> IntegrityError:
    return IntegrityError(f"a zstd frame is damaged: {why}", HINT)
