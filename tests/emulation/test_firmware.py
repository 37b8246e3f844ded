"""What the emulated firmware hands to the kernel."""

from __future__ import annotations

import pytest

from tests.emulation.board import kernel_command_line


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("console=tty1 rootwait\n", False),
        ("console=tty1 cgroup_enable=memory\n", True),
        ("console=tty1 cgroup_enable=cpuset,memory\n", True),
        ("console=tty1 cgroup_memory=1 cgroup_enable=cpuset\n", False),
        ("console=tty1\ncgroup_enable=memory\n", False),
        ("", False),
    ],
    ids=["plain", "enabled", "in-a-list", "another", "on-a-second-line", "empty"],
)
def test_memory_is_off_unless_the_first_line_says_otherwise(text: str, memory: bool) -> None:
    line = kernel_command_line(text)
    assert ("cgroup_disable=memory" not in line.split()) is memory
    assert line.endswith(text.partition("\n")[0])
    assert "\n" not in line
