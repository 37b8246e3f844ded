"""What a provider is asked for: size and image as the production file has them, and who reaches the machine."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from orchestrator.executors.machine_request import PRIVATE_NETWORKS, hostname_of, machine_request
from orchestrator.planning.desired import DesiredInstance
from orchestrator.providers.base import Access, DeploymentTag, MachineRequest

TAG = DeploymentTag("shop", "0123456789abcdef")
MACHINE = DesiredInstance(
    "cloud[0]",
    "cloud",
    "continuum.nodes.VirtualMachine",
    provider="aws/eu-central-1",
    properties={"image_id": "aws://eu-central-1/ami-1", "public_ports": [443]},
    capabilities={"host": {"num_cpus": 2, "mem_size": "4096 MB"}, "os": {"architecture": "arm64"}},
    settings={"ssh_from": "203.0.113.7/32, 2001:db8::/64,203.0.113.7/32"},
)
BEHIND = replace(MACHINE, address="cloud[1]", index=1, requirements={"front": ("cloud[0]",)})


def asked(machine: DesiredInstance) -> MachineRequest:
    return machine_request(machine, TAG, "token", "ssh-ed25519 AAAA", host_key="private")


def test_what_is_wanted_is_asked_for() -> None:
    properties = {
        **MACHINE.properties,
        "flavor": "p3.2xlarge",
        "num_gpus": 1,
        "gpu_vendor": "NVIDIA",
        "gpu_model": "V100",
        "gpu_memory_mb": 16384,
        "sgx": True,
        "secure_boot": True,
        "measured_boot": True,
        "spot": True,
    }
    host = {"num_cpus": 8, "mem_size": "61 GB", "disk_size": "1.5 TB"}
    request = asked(replace(MACHINE, properties=properties, capabilities={**MACHINE.capabilities, "host": host}))
    assert (request.image, request.flavor) == ("aws://eu-central-1/ami-1", "p3.2xlarge")
    assert (request.cpus, request.memory_mb, request.disk_gb) == (8, 62464, 1536)
    assert (request.gpus, request.gpu_model, request.gpu_memory_mb) == (1, "NVIDIA V100", 16384)
    assert all((request.sgx, request.secure_boot, request.measured_boot, request.spot))
    assert (request.architecture, request.hostname, request.host_key) == ("arm64", "cloud-0", "private")


def test_a_long_name_makes_a_hostname_that_is_a_label_and_nobody_elses() -> None:
    long = [replace(MACHINE, node=f"{'resource-' * 7}{end}", index=index) for end in "ab" for index in (0, 11)]
    names = {hostname_of(machine) for machine in long}
    assert len(names) == 4
    for name in names:
        assert len(name) <= 63
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
    assert hostname_of(replace(MACHINE, node="Layer2_" + "x" * 54)) == f"layer2-{'x' * 54}-0"


def test_what_is_not_said_is_left_to_the_cloud() -> None:
    request = asked(replace(MACHINE, properties={}, capabilities={}, settings={}))
    assert (request.cpus, request.memory_mb, request.disk_gb, request.gpus) == (1, 1024, 0, 0)
    assert (request.image, request.flavor, request.gpu_model) == ("", "", "")
    assert not any((request.sgx, request.secure_boot, request.measured_boot, request.spot))
    assert request.access == Access("cloud")


@pytest.mark.parametrize(
    ("named", "option", "sizes"),
    [(None, "", ()), (None, "100", (100,)), ([20, 10], "", (20, 10)), ([20], "100", (20,)), ([], "100", (100,))],
)
def test_data_volumes_are_those_of_the_template_or_the_one_of_the_option(
    named: list[int] | None, option: str, sizes: tuple[int, ...]
) -> None:
    properties = {**MACHINE.properties, **({} if named is None else {"data_volumes": list(named)})}
    machine = replace(MACHINE, properties=properties, settings={**MACHINE.settings, "data_volume": option})
    assert asked(machine).volumes_gb == sizes


def test_the_first_machine_leads_to_the_others_by_the_same_rules() -> None:
    front, behind = asked(MACHINE).access, asked(BEHIND).access
    assert front == Access("cloud", ("203.0.113.7/32", "2001:db8::/64"), True, (443,))
    assert behind == replace(front, public=False, jump="cloud[0]")


@pytest.mark.parametrize(("given", "networks"), [("", PRIVATE_NETWORKS), ("10.1.0.0/16", ("10.1.0.0/16",))])
def test_machines_without_public_addresses_are_reached_from_inside(given: str, networks: tuple[str, ...]) -> None:
    inside = replace(MACHINE, settings={"ssh_from": given, "public_address": False})
    access = asked(inside).access
    assert (access.public, access.jump, access.ssh_from) == (False, "", networks)
