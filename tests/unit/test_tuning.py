"""What is advised of a kernel's settings: the exact lines, and none where all is well."""

from __future__ import annotations

import pytest

from pipeline.doctor import examine_kernel
from pipeline.plan.tuning import advise

WELL = {
    "net.ipv4.tcp_available_congestion_control": "reno cubic bbr",
    "net.ipv4.tcp_allowed_congestion_control": "reno cubic bbr",
    "net.ipv4.tcp_congestion_control": "cubic",
    "net.ipv4.tcp_window_scaling": "1",
    "net.ipv4.tcp_rmem": "4096 131072 33554432",
    "net.ipv4.tcp_wmem": "4096 16384 33554432",
    "net.ipv4.tcp_slow_start_after_idle": "0",
}


def lines(**changed: str) -> list[str]:
    return [advice.line for advice in advise({**WELL, **{f"net.ipv4.{name}": value for name, value in changed.items()}})]


def test_nothing_is_advised_where_all_is_well_or_nothing_is_known():
    assert advise(WELL) == advise({}) == ()


@pytest.mark.parametrize(
    "changed, line",
    [
        ({"tcp_available_congestion_control": "reno cubic"}, "modprobe tcp_bbr"),
        (
            {"tcp_allowed_congestion_control": "reno cubic"},
            'sysctl -w net.ipv4.tcp_allowed_congestion_control="reno cubic bbr"',
        ),
        ({"tcp_window_scaling": "0"}, "sysctl -w net.ipv4.tcp_window_scaling=1"),
        ({"tcp_rmem": "4096 131072 6291456"}, 'sysctl -w net.ipv4.tcp_rmem="4096 131072 16777216"'),
        ({"tcp_wmem": "4096 16384 4194304"}, 'sysctl -w net.ipv4.tcp_wmem="4096 16384 16777216"'),
        ({"tcp_slow_start_after_idle": "1"}, "sysctl -w net.ipv4.tcp_slow_start_after_idle=0"),
    ],
)
def test_each_fault_has_its_line(changed, line):
    assert lines(**changed) == [line]


def test_why_says_what_the_buffer_costs():
    (advice,) = advise({**WELL, "net.ipv4.tcp_rmem": "4096 131072 6291456"})
    assert "503 Mbit/s over 100 ms" in advice.why


def test_kernel_is_read_from_files_and_those_that_are_missing_are_unknown(tmp_path):
    folder = tmp_path / "net" / "ipv4"
    folder.mkdir(parents=True)
    (folder / "tcp_rmem").write_text("4096\t131072\t6291456\n")
    (folder / "tcp_window_scaling").write_text("0\n")
    (folder / "tcp_available_congestion_control").write_text("no-such-control\n")
    kernel = examine_kernel(tmp_path)
    assert (kernel.receive_buffer_bytes, kernel.send_buffer_bytes, kernel.window_scaling) == (6291456, None, False)
    assert kernel.usable == []
    assert kernel.values["net.ipv4.tcp_rmem"] == "4096 131072 6291456"
    assert len(kernel.changes) == 4
