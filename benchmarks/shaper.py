"""A line with a delay and a rate between two network namespaces, for kernels without a queueing discipline that delays.

    python benchmarks/shaper.py NAMESPACE_A NAMESPACE_B ADDRESS_A ADDRESS_B DELAY_MS MBIT

Each namespace gets a TUN device (docs.kernel.org/networking/tuntap.html); this process carries the packets
from one to the other, each way with its own rate, its one-way delay, and a queue of a quarter of a second that
drops what does not fit. It prints ``ready`` and runs until it is ended. It needs root.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
QUEUE_S = 0.25
MTU = 1500


def open_line(namespace: str, address: str, peer: str) -> int:
    """Make a TUN device in ``namespace``; its descriptor works from here."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if libc.setns(there, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22s", b"line0", IFF_TUN_NO_PI, b""))
    if libc.setns(home, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot come back")
    for words in (f"addr add {address} peer {peer} dev line0", f"link set line0 mtu {MTU} txqueuelen 2000 up", "link set lo up"):
        subprocess.run(["ip", "-n", namespace, *words.split()], check=True)
    return device


def carry(ends: tuple[int, int], delay_s: float, bytes_per_s: float) -> None:
    """Carry packets for ever."""
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    free_at = dict.fromkeys(ends, 0.0)
    queue: list[tuple[float, int, int, bytes]] = []
    poll, count = select.poll(), 0
    for end in ends:
        poll.register(end, select.POLLIN)
    while True:
        now = time.monotonic()
        while queue and queue[0][0] <= now:
            _, _, target, packet = heapq.heappop(queue)
            try:
                os.write(target, packet)
            except BlockingIOError:
                continue
        wait_ms = max(0.0, (queue[0][0] - now) * 1000) if queue else 1000
        for end, _ in poll.poll(wait_ms):
            for _ in range(64):
                try:
                    packet = os.read(end, 65536)
                except BlockingIOError:
                    break
                now = time.monotonic()
                sent_at = max(now, free_at[end])
                if sent_at - now > QUEUE_S:
                    continue
                free_at[end] = sent_at + len(packet) / bytes_per_s
                count += 1
                heapq.heappush(queue, (free_at[end] + delay_s, count, other[end], packet))


def main() -> None:
    """Set the line up and carry."""
    here, there, address, peer, delay_ms, mbit = sys.argv[1:7]
    ends = open_line(here, address, peer), open_line(there, peer, address)
    print("ready", flush=True)
    carry(ends, float(delay_ms) / 1000, float(mbit) * 1e6 / 8)


if __name__ == "__main__":
    main()
