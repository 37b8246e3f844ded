"""What a container may do, how large it may get, and what is in it before it starts."""

from __future__ import annotations

import dataclasses

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from orchestrator.errors import ProviderError
from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.local.container import container_settings, generate_host_key, ssh_files
from orchestrator.providers.local.firmware import COMMAND_LINE_FILE, INIT, MODEL_FILE, boot_files

REQUEST = MachineRequest(
    deployment=DeploymentTag("shop", "lineage"),
    address="edge[0]",
    token="token",
    hostname="edge-0",
    architecture="amd64",
    cpus=8,
    memory_mb=24 * 1024,
    authorized_key="ssh-ed25519 AAAA me",
)
ENGINE = {"MemoryLimit": True, "MemTotal": 4 * 1024**3, "CpuCfsQuota": True, "NCPU": 2}


def test_a_machine_is_never_privileged() -> None:
    settings = container_settings(REQUEST, ENGINE)
    assert "privileged" not in settings
    assert settings["cap_add"] == ["SYS_ADMIN", "NET_ADMIN"]
    assert settings["cgroupns"] == "private"


def test_production_sizes_are_only_an_upper_bound() -> None:
    settings = container_settings(REQUEST, ENGINE)
    assert settings["mem_limit"] == 4 * 1024**3
    assert settings["nano_cpus"] == 2 * 10**9
    small = container_settings(dataclasses.replace(REQUEST, cpus=1, memory_mb=1024), ENGINE)
    assert small["mem_limit"] == 1024**3
    assert small["nano_cpus"] == 10**9


def test_limits_that_the_engine_cannot_enforce_are_not_asked_for() -> None:
    settings = container_settings(REQUEST, {**ENGINE, "MemoryLimit": False, "CpuCfsQuota": False})
    assert "mem_limit" not in settings
    assert "nano_cpus" not in settings


def test_the_host_key_is_a_pair_and_new_each_time() -> None:
    private, public = generate_host_key()
    key = load_ssh_private_key(private, password=None)
    text = key.public_key().public_bytes
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    assert text(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() == public
    assert public.startswith("ssh-ed25519 ")
    assert generate_host_key()[1] != public
    assert b"ssh-ed25519 AAAA me\n" in ssh_files(private, public, " ssh-ed25519 AAAA me\n").values()


def test_a_plain_machine_has_no_boards_files() -> None:
    assert list(boot_files({})) == [INIT]


def test_a_board_has_its_command_line_on_one_line() -> None:
    files = boot_files({"firmware": "raspberry-pi", "model": "Raspberry Pi 5 Model B Rev 1.0"})
    assert files[COMMAND_LINE_FILE].count(b"\n") == 1
    assert b"cgroup" not in files[COMMAND_LINE_FILE]
    assert files[MODEL_FILE] == b"Raspberry Pi 5 Model B Rev 1.0\n"


def test_unknown_firmware_is_refused() -> None:
    with pytest.raises(ProviderError, match="cannot be simulated"):
        boot_files({"firmware": "u-boot"})
