"""The plays on an emulated Raspberry Pi with a kernel of its own: its memory cgroup really is off, then really on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.remote.ssh import run
from orchestrator.remote.target import SshTarget
from orchestrator.standin_files import standin_path
from tests.emulation.board import MODEL, START_SYSTEM_32, EmulatedBoard, running_board
from tests.plays_by_hand import play, play_well
from tests.simulated_boards import render_inventory

pytestmark = pytest.mark.slow

STAND_IN = standin_path("k3s_standin")
PREPARE = "molecule/prerequisites/converge.yml"
FIRMWARE_FILE = "/boot/firmware/cmdline.txt"
PLAY_TIMEOUT = 900.0


@dataclass(frozen=True, slots=True)
class Pi:
    """The board, its inventory, and what is asked of it."""

    board: EmulatedBoard
    target: SshTarget
    inventory: Path

    def ask(self, command: str) -> str:
        """Output of a command that must succeed."""
        result = run(self.target, command, 120)
        assert result.exit_code == 0, result
        return result.stdout.strip()

    @property
    def controllers(self) -> list[str]:
        """Control groups that its kernel offers."""
        return self.ask("cat /sys/fs/cgroup/cgroup.controllers").split()


@pytest.fixture(scope="module")
def pi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pi]:
    folder = tmp_path_factory.mktemp("board")
    with running_board(folder) as board:
        yield Pi(board, board.target, write_inventory("emulated-pi", board.target, folder))


def write_inventory(name: str, target: SshTarget, folder: Path) -> Path:
    inventory = folder / "inventory.yml"
    inventory.write_text(render_inventory([name], [target], folder), encoding="utf-8")
    return inventory


def test_a_32_bit_system_under_a_64_bit_kernel_is_refused_before_anything_is_changed(pi: Pi, tmp_path: Path) -> None:
    pi.ask(START_SYSTEM_32)
    asked = run(pi.board.system_32, "uname -m; dpkg --print-architecture; getconf LONG_BIT", 60)
    assert asked.stdout.split() == ["aarch64", "armhf", "32"], asked
    binary = tmp_path / "k3s"
    shutil.copy(STAND_IN, binary)
    inventory = write_inventory("pi-armhf", pi.board.system_32, tmp_path)
    refused = play(PREPARE, inventory, {"k3s_binary_file": str(binary)}, timeout=PLAY_TIMEOUT)
    assert refused.hosts["pi-armhf"]["failed"] == 1, refused.output
    assert refused.total("changed") == 0, refused.output
    assert "64-bit" in refused.output


def test_the_memory_cgroup_appears_with_the_reboot_and_a_second_run_changes_nothing(pi: Pi, tmp_path: Path) -> None:
    assert pi.ask("uname -m; dpkg --print-architecture").split() == ["aarch64", "arm64"]
    assert pi.ask("tr -d '\\0' < /proc/device-tree/model") == MODEL
    assert pi.ask(f"stat -f -c %T {FIRMWARE_FILE}") == "msdos", "the boot partition is FAT, as on a real board"
    assert "memory" not in pi.controllers, "the firmware switched it off, and the kernel obeyed"
    boot, line = (pi.ask(f"cat {path}") for path in ("/proc/sys/kernel/random/boot_id", FIRMWARE_FILE))
    binary = tmp_path / "k3s"
    shutil.copy(STAND_IN, binary)
    installing = {"k3s_binary_file": str(binary)}

    first = play_well("site.yml", pi.inventory, installing, timeout=PLAY_TIMEOUT)
    assert first.total("changed") > 0

    assert pi.ask("cat /proc/sys/kernel/random/boot_id") != boot, "it was to be rebooted"
    edited = pi.ask(f"cat {FIRMWARE_FILE}")
    assert edited.splitlines() == [f"{line} cgroup_enable=cpuset cgroup_memory=1 cgroup_enable=memory"]
    assert edited in pi.ask("cat /proc/cmdline")
    assert "memory" in pi.controllers, "the kernel accounts for memory now"
    assert pi.ask("systemctl is-active k3s") == "active"

    boot = pi.ask("cat /proc/sys/kernel/random/boot_id")
    second = play_well("site.yml", pi.inventory, installing, timeout=PLAY_TIMEOUT)
    assert second.total("changed") == 0, second.output
    assert pi.ask("cat /proc/sys/kernel/random/boot_id") == boot, "nothing was left to reboot for"


def test_a_reset_takes_the_words_back_and_the_next_boot_is_as_before(pi: Pi) -> None:
    removed = play_well("reset.yml", pi.inventory, timeout=PLAY_TIMEOUT)
    assert removed.total("changed") > 0
    assert "cgroup_enable=memory" not in pi.ask(f"cat {FIRMWARE_FILE}")
    assert pi.ask("ls /usr/local/bin /etc/rancher 2>/dev/null || true") == "/usr/local/bin:"
