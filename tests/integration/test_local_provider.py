"""Local machines on a real container engine: SSH, firmware, reboot, and what may be in their way."""

from __future__ import annotations

import dataclasses
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.clients.engine import connect, engine_architecture, own_engine_running
from orchestrator.errors import ProviderError
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest, MachineState
from orchestrator.providers.local.firmware import DEFAULT_MODEL
from orchestrator.providers.local.provider import LocalProvider

pytestmark = pytest.mark.engine

BACK_WITHIN = 60.0
EDIT = 'sudo sed -i "1s/$/ cgroup_memory=1 cgroup_enable=memory/" /boot/firmware/cmdline.txt'
MEMORY_CGROUP = "awk '$1 == \"memory\" { print $4 }' /proc/cgroups"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ssh") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=30)
    return path


@pytest.fixture
def provider() -> LocalProvider:
    return LocalProvider()


@pytest.fixture
def request_for(key: Path, provider: LocalProvider) -> Iterator[Callable[..., MachineRequest]]:
    lineage = uuid.uuid4().hex
    deployment = DeploymentTag(f"test-{lineage[:8]}", lineage)

    def build(index: int = 0, **settings: str) -> MachineRequest:
        return MachineRequest(
            deployment=deployment,
            address=f"board[{index}]",
            token=f"token-{index}",
            hostname=f"board-{index}",
            architecture=engine_architecture(),
            cpus=4,
            memory_mb=1024**2,
            authorized_key=key.with_suffix(".pub").read_text(encoding="ascii"),
            settings=dict(settings),
        )

    yield build
    for machine in provider.find(deployment):
        provider.delete(machine.id)
    provider.release(deployment)
    assert provider.leftovers(deployment) == []


@pytest.fixture
def shell(key: Path, tmp_path: Path) -> Callable[[Machine, str], str]:
    """Runs a command over SSH, with the host key pinned; tries again until the machine answers."""

    def run(machine: Machine, command: str) -> str:
        known = tmp_path / "known_hosts"
        known.write_text(f"{machine.host} {machine.host_key}\n", encoding="ascii")
        options = [
            f"-oUserKnownHostsFile={known}",
            "-oStrictHostKeyChecking=yes",
            "-oConnectTimeout=2",
            "-oBatchMode=yes",
        ]
        call = ["ssh", "-i", str(key), *options, f"{machine.user}@{machine.host}", command]
        deadline = time.monotonic() + BACK_WITHIN
        while True:
            done = subprocess.run(call, capture_output=True, text=True, timeout=30, check=False)
            if done.returncode != 255:
                assert done.returncode == 0, done.stderr
                return done.stdout.rstrip("\n")
            assert time.monotonic() < deadline, done.stderr
            time.sleep(0.1)

    return run


Shell = Callable[[Machine, str], str]
Build = Callable[..., MachineRequest]


def test_a_machine_has_what_plays_need(provider: LocalProvider, request_for: Build, shell: Shell) -> None:
    machine = provider.create(request_for())
    assert shell(machine, "whoami; sudo whoami; hostname") == "deploy\nroot\nboard-0"
    shell(machine, "for p in python3 openssl ip iptables modprobe ps systemctl; do sudo which $p; done")
    shell(machine, "sudo iptables -t nat -A POSTROUTING -s 10.42.0.0/16 -j MASQUERADE")
    assert shell(machine, "systemctl is-system-running --wait") == "running"
    assert shell(machine, "ls /etc/ssh/ssh_host_*").split() == [
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssh/ssh_host_ed25519_key.pub",
    ]
    assert shell(machine, "systemctl is-enabled systemd-binfmt systemd-sysctl || true") == "masked\nmasked"


def test_a_plain_machine_is_no_board(provider: LocalProvider, request_for: Build, shell: Shell) -> None:
    machine = provider.create(request_for())
    assert shell(machine, "test ! -e /boot/firmware && cat /proc/cmdline") == Path("/proc/cmdline").read_text().strip()


def test_a_board_gets_its_memory_cgroup_by_an_edit_and_a_reboot(
    provider: LocalProvider, request_for: Build, shell: Shell
) -> None:
    machine = provider.create(request_for(firmware="raspberry-pi"))
    assert shell(machine, MEMORY_CGROUP) == "0"
    assert "cgroup_disable=memory console=" in shell(machine, "cat /proc/cmdline")
    assert shell(machine, "tr -d '\\0' < /sys/firmware/devicetree/base/model") == DEFAULT_MODEL
    assert shell(machine, "sed -n 's/^Model\\s*: //p' /proc/cpuinfo") == DEFAULT_MODEL
    before = shell(machine, "cat /proc/sys/kernel/random/boot_id")

    shell(machine, f"{EDIT} && (sleep 0.3; sudo systemctl reboot) >/dev/null 2>&1 &")
    deadline = time.monotonic() + BACK_WITHIN
    while (after := shell(machine, "cat /proc/sys/kernel/random/boot_id")) == before:
        assert time.monotonic() < deadline
        time.sleep(0.2)

    assert after != before
    assert shell(machine, MEMORY_CGROUP) == "1"
    assert shell(machine, "cat /proc/cmdline").endswith("cgroup_memory=1 cgroup_enable=memory")
    assert provider.find(request_for().deployment) == [machine]


def test_the_model_can_be_chosen(provider: LocalProvider, request_for: Build, shell: Shell) -> None:
    machine = provider.create(request_for(firmware="raspberry-pi", model="Raspberry Pi 5 Model B Rev 1.0"))
    assert "Raspberry Pi 5 Model B Rev 1.0" in shell(machine, "cat /sys/firmware/devicetree/base/model | tr -d '\\0'")


def test_a_machine_that_was_made_but_never_started_is_completed(
    provider: LocalProvider, request_for: Build, shell: Shell
) -> None:
    request = request_for()
    unstarted = provider._create_container(request, provider._image)
    machine = provider.create(request)
    assert machine.state is MachineState.RUNNING
    assert shell(machine, "hostname") == "board-0"
    assert [m.id for m in provider.find(request.deployment)] == [machine.id]
    assert machine.id != unstarted


def test_a_foreign_container_with_the_machines_name_is_left_alone(provider: LocalProvider, request_for: Build) -> None:
    request = request_for()
    name = f"{request.deployment.name}-{request.hostname}"
    foreign = connect().containers.create(provider._image, ["true"], name=name, network_mode="none")
    try:
        with pytest.raises(ProviderError, match="name is taken") as caught:
            provider.create(request)
        assert name in caught.value.detail
        with pytest.raises(ProviderError, match="not ours"):
            provider.delete(str(foreign.id))
    finally:
        foreign.remove(force=True)


def test_a_foreign_network_with_the_deployments_name_is_left_alone(provider: LocalProvider, request_for: Build) -> None:
    request = request_for()
    foreign = connect().networks.create(f"continuum-{request.deployment.name}", driver="bridge", internal=True)
    try:
        with pytest.raises(ProviderError, match="network's name is taken"):
            provider.create(request)
    finally:
        foreign.remove()


def test_two_that_claim_to_be_the_same_are_an_error_that_names_both(
    provider: LocalProvider, request_for: Build
) -> None:
    request = request_for()
    provider.create(request)
    provider._create_container(dataclasses.replace(request, hostname="impostor"), provider._image)
    with pytest.raises(ProviderError, match="claim to be the same") as caught:
        provider.create(request)
    assert f"{request.deployment.name}-board-0" in caught.value.detail
    assert f"{request.deployment.name}-impostor" in caught.value.detail


def test_another_architecture_is_refused_unless_the_profile_replaces_it(
    provider: LocalProvider, request_for: Build
) -> None:
    request = dataclasses.replace(request_for(), architecture="riscv64")
    with pytest.raises(ProviderError, match="another architecture"):
        provider.create(request)
    replaced = dataclasses.replace(request, settings={"architecture": engine_architecture()})
    assert provider.create(replaced).state is MachineState.RUNNING


def test_private_keys_are_not_in_what_the_engine_tells(provider: LocalProvider, request_for: Build) -> None:
    machine = provider.create(request_for())
    assert "PRIVATE KEY" not in str(connect().api.inspect_container(machine.id))
    assert isinstance(own_engine_running(), bool)
