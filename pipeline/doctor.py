"""Doctor: is everything here as a fast, safe fetch would like it? Sources, kernel, settings.

Takes a supply and the settings with where each came from; gives ``Diagnosis``. A dead source is a finding, not a failure.

next: ``pipeline.bench``
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from pipeline.events import Listener, StepFinished, StepStarted
from pipeline.plan.tuning import WANTED, advise
from pipeline.ports import TreeReader
from pipeline.steps.examine import SourceHealth, examine_source
from pipeline.steps.known_tree import KnownTree
from pipeline.supply import Supply
from pipeline.trust.reading import read_view
from pipeline.trust.view import View

PROC = Path("/proc/sys")
STEP = "doctor"


class Setting(msgspec.Struct, kw_only=True):
    """One setting: its value as text, and where it came from."""

    name: str
    value: str
    origin: str


class Change(msgspec.Struct, kw_only=True):
    """A line for a root shell that would help, and why."""

    line: str
    why: str


class Kernel(msgspec.Struct, kw_only=True):
    """The system's network settings; ``usable`` are the congestion controls that this process may choose."""

    values: dict[str, str]
    congestion_control: str
    usable: list[str]
    window_scaling: bool | None
    receive_buffer_bytes: int | None
    send_buffer_bytes: int | None
    changes: list[Change]


class Diagnosis(msgspec.Struct, kw_only=True):
    """All that was found out; ``working`` counts the sources that serve a tree."""

    sources: list[SourceHealth]
    working: int
    kernel: Kernel
    settings: list[Setting]


def diagnose(
    supply: Supply, settings: Sequence[Setting], listen: Listener, *, kernel: Callable[[], Kernel] | None = None
) -> Diagnosis:
    """Examine every source, the kernel and the settings."""
    readers: Sequence[TreeReader] = list(supply.sources.readers) if supply.sources else []

    def view_of(reader: TreeReader) -> View:
        return read_view(KnownTree(reader, supply.state, supply.cache), supply.state, now=supply.now)

    listen(StepStarted(STEP, len(readers)))
    begun = time.monotonic()
    found = [examine_source(reader, view_of, now=supply.now) for reader in readers]
    listen(StepFinished(STEP, len(readers), sum(one.sample_bytes for one in found), time.monotonic() - begun))
    return Diagnosis(
        sources=found,
        working=sum(one.works for one in found),
        kernel=(kernel or examine_kernel)(),
        settings=list(settings),
    )


def examine_kernel(proc: Path = PROC) -> Kernel:
    """Read the kernel's network settings, those it has."""
    values = {name: text for name in WANTED if (text := _value(proc / name.replace(".", "/")))}
    available = values.get("net.ipv4.tcp_available_congestion_control", "").split()
    return Kernel(
        values=values,
        congestion_control=values.get("net.ipv4.tcp_congestion_control", ""),
        usable=[name for name in available if _may_use(name)],
        window_scaling={"0": False, "1": True}.get(values.get("net.ipv4.tcp_window_scaling", "")),
        receive_buffer_bytes=_most(values, "net.ipv4.tcp_rmem"),
        send_buffer_bytes=_most(values, "net.ipv4.tcp_wmem"),
        changes=[Change(line=advice.line, why=advice.why) for advice in advise(values)],
    )


def _value(path: Path) -> str:
    try:
        return " ".join(path.read_text(encoding="ascii").split())
    except OSError:
        # Containers and other systems do not show all of them.
        return ""


def _most(values: Mapping[str, str], name: str) -> int | None:
    found = values.get(name, "").split()
    return int(found[-1]) if found else None


def _may_use(name: str) -> bool:
    if not hasattr(socket, "TCP_CONGESTION"):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
        except OSError:
            return False
    return True
