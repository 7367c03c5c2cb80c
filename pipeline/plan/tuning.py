"""What a kernel's network settings cost, and the exact lines that would change them: pure.

Takes the values of ``/proc/sys/net`` by name, gives advice. The figures: one connection moves at most a buffer per round
trip, so 16 MiB serve 1 Gbit/s over 130 ms (RFC 7323 §1.1); bbr does not take every loss for a
full line, unlike cubic and reno.

next: ``pipeline.workers``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

BUFFER_BYTES = 16 << 20
WANTED = (
    "net.ipv4.tcp_available_congestion_control",
    "net.ipv4.tcp_allowed_congestion_control",
    "net.ipv4.tcp_congestion_control",
    "net.core.default_qdisc",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_mtu_probing",
)


@dataclass(frozen=True, slots=True)
class Advice:
    """One change: the exact line for a root shell, and what it is good for."""

    line: str
    why: str


def advise(kernel: Mapping[str, str]) -> tuple[Advice, ...]:
    """The changes that would help; a name that the kernel does not have is passed by."""
    return (*_congestion(kernel), *_windows(kernel))


def _congestion(kernel: Mapping[str, str]) -> Iterator[Advice]:
    available = kernel.get("net.ipv4.tcp_available_congestion_control", "").split()
    if not available:
        return
    allowed = kernel.get("net.ipv4.tcp_allowed_congestion_control", "").split()
    if "bbr" not in available:
        yield Advice("modprobe tcp_bbr", "bbr is not loaded: publishing over long lines with loss is slower without it")
    if "bbr" not in allowed:
        yield Advice(
            f'sysctl -w net.ipv4.tcp_allowed_congestion_control="{" ".join([*allowed, "bbr"])}"',
            "only root may choose bbr for a connection",
        )


def _windows(kernel: Mapping[str, str]) -> Iterator[Advice]:
    if kernel.get("net.ipv4.tcp_window_scaling") == "0":
        yield Advice("sysctl -w net.ipv4.tcp_window_scaling=1", "without it a connection has at most 64 KiB under way")
    for name, which in (("net.ipv4.tcp_rmem", "receives"), ("net.ipv4.tcp_wmem", "sends")):
        low_default_most = kernel.get(name, "").split()
        if len(low_default_most) == 3 and int(low_default_most[2]) < BUFFER_BYTES:
            low, default, most = low_default_most
            yield Advice(
                f'sysctl -w {name}="{low} {default} {BUFFER_BYTES}"',
                f"a connection {which} at most {int(most)} bytes a round trip: "
                f"{int(most) * 8 / 0.1 / 1e6:.0f} Mbit/s over 100 ms",
            )
    if kernel.get("net.ipv4.tcp_slow_start_after_idle") == "1":
        yield Advice("sysctl -w net.ipv4.tcp_slow_start_after_idle=0", "kept connections begin slowly again after each pause")
