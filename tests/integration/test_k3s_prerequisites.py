"""What is done to machines before K3s runs on them, and what is refused: over SSH on simulated Raspberry Pis."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clients.engine import engine_architecture
from orchestrator.remote.ssh import run, wait_for_ssh
from orchestrator.standin_files import standin_path
from tests.plays_by_hand import Played, play, play_well
from tests.simulated_boards import Boards, simulated_boards

pytestmark = pytest.mark.engine

STANDIN = standin_path("k3s_standin")
RECORD = "/var/lib/continuum-deploy/changes.json"
PREPARE = """\
- hosts: server:agent
  gather_facts: false
  become: true
  roles: [k3s_prerequisites, k3s_binary]
"""
LATE_SSH = """\
[Service]
ExecStart=/bin/sh -c 'sleep 25; systemctl start ssh'
[Install]
WantedBy=multi-user.target
"""


SWAPOFF = """\
#!/bin/sh
echo swapoff $* >> /run/called
umount /proc/swaps
"""
MODPROBE = """\
#!/bin/sh
echo modprobe $* >> /run/called
rm -f /lib/modules/$(uname -r)/modules.dep
"""
SWAP_SERVICE = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
"""


class Bench:
    """Two simulated Pis and the first part of site.yml."""

    def __init__(self, boards: Boards, folder: Path) -> None:
        self.boards = boards
        self.folder = folder
        self.playbook = folder / "prepare.yml"
        self.playbook.write_text(PREPARE)

    def prepare(self, **variables: Any) -> Played:
        given = {"k3s_binary_file": str(STANDIN), **variables}
        return play(self.playbook, self.boards.inventory, given)

    def prepare_well(self, **variables: Any) -> Played:
        return play_well(self.playbook, self.boards.inventory, {"k3s_binary_file": str(STANDIN), **variables})

    def shell(self, index: int, command: str) -> str:
        result = run(self.boards.targets[index], command, 60)
        assert result.exit_code == 0, result
        return result.stdout

    def put(self, index: int, path: str, text: str, mode: str = "644") -> None:
        content = base64.b64encode(text.encode()).decode()
        self.shell(index, f"echo {content} | base64 -d | sudo tee {path} >/dev/null; sudo chmod {mode} {path}")

    def boots(self) -> list[str]:
        return [self.shell(index, "cat /proc/sys/kernel/random/boot_id") for index in (0, 1)]

    def record(self, index: int) -> Any:
        return json.loads(self.shell(index, f"cat {RECORD}"))

    def refused(self, **variables: Any) -> str:
        """What a refusal says; nothing may have been changed."""
        played = self.prepare(**variables)
        assert played.exit_code != 0, played.output
        assert played.total("changed") == 0, played.output
        return played.output


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("prerequisites")
    with simulated_boards(folder, 2) as boards:
        yield Bench(boards, folder)


@pytest.fixture(scope="module")
def prepared(bench: Bench) -> Bench:
    """The same when everything is in place."""
    bench.prepare_well()
    return bench


def test_a_board_that_does_not_come_back_from_its_reboot_is_named_and_the_next_run_goes_on(bench: Bench) -> None:
    bench.put(1, "/etc/systemd/system/late-ssh.service", LATE_SSH)
    bench.shell(1, "sudo systemctl disable --quiet ssh ssh.socket 2>/dev/null; sudo systemctl enable --quiet late-ssh")
    before = bench.boots()
    began = time.monotonic()
    played = bench.prepare(k3s_prerequisites_reboot_timeout=10)
    assert time.monotonic() - began < 90
    assert played.exit_code != 0
    assert played.hosts["pi-0"]["failed"] == played.hosts["pi-0"]["unreachable"] == 0
    assert played.hosts["pi-1"]["unreachable"] == 1, "the other one is done without it"
    assert "pi-1 did not come back within 10 s from the reboot" in played.output
    assert bench.record(0)["command_line"]["file"] == "/boot/firmware/cmdline.txt"
    wait_for_ssh(bench.boards.targets[1], 90, threading.Event())
    bench.shell(1, "sudo systemctl disable --quiet late-ssh; sudo systemctl enable --quiet ssh")
    rebooted = bench.boots()
    assert [a == b for a, b in zip(before, rebooted, strict=True)] == [False, False]
    bench.prepare_well()
    assert bench.boots() == rebooted, "one reboot is enough"
    for index in (0, 1):
        line = bench.shell(index, "cat /boot/firmware/cmdline.txt")
        assert len(line.splitlines()) == 1
        assert line.split()[-3:] == ["cgroup_enable=cpuset", "cgroup_memory=1", "cgroup_enable=memory"]
        assert bench.record(index)["command_line"]["added"] == line.split()[-3:]


def test_when_all_is_in_place_nothing_is_edited_or_rebooted(prepared: Bench) -> None:
    boots, stamp = prepared.boots(), "stat -c %y /boot/firmware/cmdline.txt /usr/local/bin/k3s " + RECORD
    stamps = [prepared.shell(index, stamp) for index in (0, 1)]
    assert prepared.prepare_well().total("changed") == 0
    assert prepared.boots() == boots
    assert [prepared.shell(index, stamp) for index in (0, 1)] == stamps


def test_a_clock_that_is_years_off_is_refused(prepared: Bench) -> None:
    said = prepared.refused(k3s_prerequisites_clock=time.time() + 3 * 31557600, k3s_prerequisites_clock_wait=2)
    assert "K3s cannot be put on pi-1 (Raspberry Pi 4 Model B Rev 1.4)" in said
    assert "The clock is 3 years behind this computer" in said
    assert "timedatectl set-ntp true" in said


def test_two_machines_of_one_name_are_both_named(prepared: Bench) -> None:
    prepared.shell(1, "sudo hostname pi-0")
    try:
        said = prepared.refused()
    finally:
        prepared.shell(1, "sudo hostname pi-1")
    assert "pi-0 has the same hostname, pi-0" in said
    assert "pi-1 has the same hostname, pi-0" in said
    assert "hostnamectl set-hostname" in said


def test_what_an_earlier_tool_left_is_refused_by_what_was_found(prepared: Bench) -> None:
    prepared.shell(1, "sudo touch /usr/local/bin/k3s-agent-uninstall.sh; sudo mkdir -p /etc/kubernetes/manifests")
    try:
        played = prepared.prepare()
    finally:
        prepared.shell(1, "sudo rm -r /usr/local/bin/k3s-agent-uninstall.sh /etc/kubernetes")
    assert played.hosts["pi-0"]["failed"] == 0
    assert played.hosts["pi-1"]["failed"] == 1
    assert "/usr/local/bin/k3s-agent-uninstall.sh" in played.output
    assert "kubeadm (/etc/kubernetes/manifests)" in played.output


def test_too_little_memory_or_room_is_refused(prepared: Bench) -> None:
    said = prepared.refused(k3s_prerequisites_memory_mb=10**8, k3s_prerequisites_disk_mb=10**9)
    assert "100000000 MB are asked for" in said
    assert "MB are free where /var/lib/rancher/k3s is, 1000000000 MB are asked for" in said


@contextmanager
def kernel_of_its_own(bench: Bench, index: int) -> Iterator[None]:
    """A machine that takes itself for one without a host, with swap on and a module to load.

    The kernel is the host's all the same: what would change it is replaced by programs that write down their calls.
    """
    bench.shell(index, "test ! -e /lib/modules; cd /run; sudo mv systemd/container container.kept")
    bench.shell(index, "sudo mv /.dockerenv /run/dockerenv.kept || true; sudo mkdir -p /lib/modules/$(uname -r)")
    bench.put(index, "/lib/modules/$(uname -r)/modules.dep", "kernel/net/bridge/not_in_this_kernel.ko.xz:\n")
    bench.put(index, "/usr/local/sbin/swapoff", SWAPOFF, "755")
    bench.put(index, "/usr/local/sbin/modprobe", MODPROBE, "755")
    bench.put(index, "/etc/systemd/system/dphys-swapfile.service", SWAP_SERVICE)
    bench.shell(index, "sudo systemctl enable --quiet --now dphys-swapfile")
    bench.put(index, "/run/swaps", "Filename Type Size Used Priority\n/var/swap file 204796 0 -2\n")
    bench.shell(index, "sudo mount --bind /run/swaps /proc/swaps")
    try:
        yield
    finally:
        bench.shell(
            index, "cd /run; sudo mv container.kept systemd/container; sudo mv dockerenv.kept /.dockerenv || true"
        )
        bench.shell(index, "sudo rm /usr/local/sbin/swapoff /usr/local/sbin/modprobe")
        bench.shell(index, "grep -q /run/swaps /proc/self/mountinfo && sudo umount /proc/swaps || true")


def test_swap_and_modules_are_seen_to_noted_and_taken_back(prepared: Bench) -> None:
    # Containers are on overlay file systems, which are refused elsewhere; here nothing is written.
    wanted = {"k3s_data_dir": "/proc", "k3s_prerequisites_disk_mb": 0}
    wanted |= {"k3s_prerequisites_modules": ["overlay", "not_in_this_kernel"]}
    with kernel_of_its_own(prepared, 1):
        played = prepared.prepare_well(**wanted)
        assert played.hosts["pi-1"]["changed"] == 1, played.output
        assert played.hosts["pi-0"]["changed"] == 0
        assert prepared.shell(1, "cat /run/called").splitlines() == ["modprobe not_in_this_kernel", "swapoff /var/swap"]
        assert prepared.shell(1, "cat /etc/modules-load.d/continuum-deploy.conf") == "not_in_this_kernel\n"
        assert prepared.shell(1, "systemctl is-enabled dphys-swapfile || true").strip() == "disabled"
        record = prepared.record(1)
        assert record["swap"] == {"services": ["dphys-swapfile.service"], "units": [], "names": ["/var/swap"]}
        assert record["modules"]["loaded"] == ["not_in_this_kernel"]
        assert prepared.prepare_well(**wanted).total("changed") == 0
        play_well("reset.yml", prepared.boards.inventory)
    assert prepared.shell(1, "systemctl is-active dphys-swapfile").strip() == "active"
    left = prepared.shell(1, "ls /etc/modules-load.d /var/lib/continuum-deploy 2>/dev/null || true")
    assert "continuum-deploy" not in left
    for index in (0, 1):
        assert "cgroup" not in prepared.shell(index, "cat /boot/firmware/cmdline.txt")


def write_list(folder: Path, architecture: str) -> Path:
    """The list of checksums of what is in an air-gap folder."""
    path = folder / f"sha256sum-{architecture}.txt"
    files = [file for file in sorted(folder.iterdir()) if not file.name.startswith("sha256sum")]
    path.write_text("".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files))
    return path


def test_an_air_gap_folder_is_checked_and_copied_to_each_node_that_lacks_it(prepared: Bench, tmp_path: Path) -> None:
    architecture = engine_architecture()
    binary = "k3s" if architecture == "amd64" else f"k3s-{architecture}"
    shutil.copy(STANDIN, tmp_path / binary)
    given = {"k3s_binary_file": "", "k3s_airgap_folder": str(tmp_path)}
    assert f"has no sha256sum-{architecture}.txt" in prepared.refused(**given)
    write_list(tmp_path, architecture)
    assert f"has no k3s-airgap-images-{architecture}.tar" in prepared.refused(**given)
    images = tmp_path / f"k3s-airgap-images-{architecture}.tar"
    images.write_bytes(b"images of K3s itself")
    assert f"has no checksum for {images.name}" in prepared.refused(**given)
    listed = write_list(tmp_path, architecture)
    images.write_bytes(b"another release's images")
    assert "it is damaged, of another release, or was changed" in prepared.refused(**given)
    listed = write_list(tmp_path, architecture)
    for index in (0, 1):
        prepared.shell(index, "sudo rm -f /usr/local/bin/k3s")
    played = prepared.prepare_well(**given)
    assert played.hosts["pi-0"]["changed"] == played.hosts["pi-1"]["changed"] == 3
    copied = prepared.shell(1, f"sha256sum /usr/local/bin/k3s /var/lib/rancher/k3s/agent/images/{images.name}")
    assert sorted(line.split()[0] for line in copied.splitlines()) == sorted(
        line.split()[0] for line in listed.read_text().splitlines()
    )
    assert prepared.prepare_well(**given).total("changed") == 0


def test_a_binary_for_another_architecture_is_refused_with_the_nodes_it_was_meant_for(
    prepared: Bench, tmp_path: Path
) -> None:
    own, other, number = ("amd64", "arm64", 183) if engine_architecture() == "amd64" else ("arm64", "amd64", 62)
    program = bytearray(Path("/bin/true").read_bytes())
    program[18:20] = number.to_bytes(2, "little")
    wrong = tmp_path / "k3s"
    wrong.write_bytes(program)
    said = prepared.refused(k3s_binary_file=str(wrong))
    assert f"is built for {other}, but it is to run on pi-0, pi-1" in said
    assert f"for {own}" in said
    wrong.write_text("<html>Not found</html>")
    assert "has no ELF header" in prepared.refused(k3s_binary_file=str(wrong))


def test_reset_takes_back_what_was_changed_and_may_be_repeated(prepared: Bench) -> None:
    assert play_well("reset.yml", prepared.boards.inventory).total("changed") > 0
    assert play_well("reset.yml", prepared.boards.inventory).total("changed") == 0
    for index in (0, 1):
        left = "ls -d /usr/local/bin/k3s /var/lib/rancher /var/lib/continuum-deploy 2>/dev/null || true"
        assert prepared.shell(index, left) == ""
