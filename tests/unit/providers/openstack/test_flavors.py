"""Which size of a cloud is taken, from what nova says of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.openstack.flavors import Flavor, fitting, lacks, memory_of, needs_volume, parse_flavor
from orchestrator.providers.openstack.images import IDS, Image, parse_image
from orchestrator.providers.openstack.images import lacks as image_lacks

REQUEST = MachineRequest(
    DeploymentTag("shop", "0123456789abcdef"), "edge[0]", "t", "edge-0", "amd64", 2, 4096, "ssh-ed25519 AAAA",
    image="ost://cloud.example/1",
)  # fmt: skip
IMAGE = Image("1", "x86_64", min_disk=2, min_memory=512)


def described(name: str, cores: int = 2, memory: int = 4096, disk: int = 40, **specs: str) -> dict[str, Any]:
    named = {key.replace("__", ":"): value for key, value in specs.items()}
    return {"id": f"id-{name}", "name": name, "vcpus": cores, "ram": memory, "disk": disk, "extra_specs": named}


def flavor(name: str, cores: int = 2, memory: int = 4096, disk: int = 40, **specs: str) -> Flavor:
    return parse_flavor(described(name, cores, memory, disk, **specs))


def names(
    flavors: list[Flavor], request: MachineRequest = REQUEST, image: Image = IMAGE, volumes: bool = False
) -> list[str]:
    return [found.name for found in fitting(flavors, request, image, volumes=volumes)]


PLAIN = [flavor("small", 1, 2048), flavor("large", 8, 16384), flavor("medium"), flavor("memory", 2, 32768)]


def test_the_smallest_that_suffices_is_taken() -> None:
    assert names(PLAIN) == ["medium", "memory", "large"]
    assert names(PLAIN, replace(REQUEST, memory_mb=16384)) == ["memory", "large"]
    assert names(PLAIN, replace(REQUEST, cpus=9)) == []


def test_what_not_every_host_has_is_taken_only_if_nothing_else_will_do() -> None:
    fast = flavor("fast", 2, 4096, trait__HW_CPU_X86_AVX512F="required")
    assert names([fast, flavor("twice", 4, 8192)]) == ["twice", "fast"]
    assert names([flavor("sgx", trait__HW_CPU_X86_SGX="required"), flavor("twice", 4, 8192)]) == ["twice", "sgx"]


@pytest.mark.parametrize(
    "specs",
    [
        {"resources__CUSTOM_GPU": "2", "trait__CUSTOM_GPU_V100": "required"},
        {"pci_passthrough__alias": "v100:2"},
        {"resources__PGPU": "2", "trait__CUSTOM_GPU_V100": "required"},
        {"resources1__VGPU": "2", "trait1__CUSTOM_GPU_V100": "required"},
    ],
)
def test_graphics_processors_are_told_in_the_ways_that_clouds_have(specs: dict[str, str]) -> None:
    found = flavor("g", 8, 61440, **specs)
    assert (found.gpus, found.gpu_memory_mb) == (2, 16384)
    assert found.special == ()
    for model in ("V100", "NVIDIA Tesla V100", "nvidia v100"):
        assert names([found], replace(REQUEST, gpus=2, gpu_model=model)) == ["g"]
    assert names([found], replace(REQUEST, gpu_memory_mb=16384)) == ["g"]
    assert names([found]) == [], "nobody asked for one"
    assert "A100" in lacks(found, replace(REQUEST, gpu_model="A100"), IMAGE, volumes=False)[0]
    assert "it has 2" in lacks(found, replace(REQUEST, gpus=3), IMAGE, volumes=False)[0]
    assert "it has 16384" in lacks(found, replace(REQUEST, gpu_memory_mb=40960), IMAGE, volumes=False)[0]


def test_memory_of_a_model_that_nobody_knows_is_not_guessed() -> None:
    unknown = flavor("g", resources__CUSTOM_GPU="1")
    assert "not known" in lacks(unknown, replace(REQUEST, gpu_memory_mb=8192), IMAGE, volumes=False)[0]
    assert names([unknown], replace(REQUEST, gpus=1)) == ["g"]


def test_a_name_may_say_how_much_memory_it_has() -> None:
    assert memory_of("CUSTOM_GPU_A100") == 40 * 1024
    assert memory_of("CUSTOM_GPU_A100_80GB") == 80 * 1024
    assert memory_of("nvidia-rtx-2080ti") == 11 * 1024
    assert memory_of("CUSTOM_FPGA_10GB") == 0


def test_the_cheaper_graphics_processor_is_taken() -> None:
    v100, t4 = (flavor(name, 8, 61440, pci_passthrough__alias=f"{name}:1") for name in ("v100", "t4"))
    a100 = flavor("a100", 8, 61440, pci_passthrough__alias="a100:1")
    assert names([a100, v100, t4], replace(REQUEST, gpu_memory_mb=16384)) == ["t4", "v100", "a100"]


def test_enclaves_and_guarded_boots_are_offered_by_flavor_or_image() -> None:
    sgx = flavor("sgx", trait__HW_CPU_X86_SGX="required")
    assert names([flavor("plain"), sgx], replace(REQUEST, sgx=True)) == ["sgx"]
    secure, tpm = (
        flavor("secure", os__secure_boot="required"),
        flavor("tpm", hw__tpm_version="2.0", hw__tpm_model="tpm-crb"),
    )
    wanted = replace(REQUEST, secure_boot=True)
    assert names([flavor("plain"), secure], wanted) == ["secure"]
    assert names([flavor("plain")], wanted, replace(IMAGE, secure_boot="required")) == ["plain"]
    assert names([flavor("plain"), tpm], replace(REQUEST, measured_boot=True)) == ["tpm"]


def test_the_disk_has_to_suffice_or_be_a_volume() -> None:
    wanted = replace(REQUEST, disk_gb=60)
    flavors = [flavor("none", disk=0), flavor("some", disk=40), flavor("much", disk=80)]
    assert names(flavors, wanted) == ["much"]
    assert names(flavors, wanted, volumes=True) == ["much", "none", "some"]
    assert "a disk of 60 GB (it has 40" in lacks(flavors[1], wanted, IMAGE, volumes=False)[0]
    assert "memory" in lacks(flavor("m"), REQUEST, replace(IMAGE, min_memory=8192), volumes=False)[0]
    assert needs_volume(flavors[0], REQUEST, IMAGE)
    assert not needs_volume(flavors[1], REQUEST, IMAGE)
    assert needs_volume(flavors[1], REQUEST, replace(IMAGE, min_disk=50))


def test_a_flavor_for_other_processors_is_left_out() -> None:
    arm = flavor("arm", trait__COMPUTE_ARCH_AARCH64="required")
    assert names([arm, flavor("any")]) == ["any"]
    assert names([arm, flavor("any", 4, 8192)], replace(REQUEST, architecture="arm64")) == ["arm", "any"]


def test_an_image_has_to_be_usable_and_for_those_processors() -> None:
    told = {"id": "1", "status": "active", "architecture": "x86_64", "min_disk": 2, "min_ram": 512}
    assert image_lacks(parse_image(told), REQUEST) == []
    assert parse_image(told) == IMAGE
    arm = replace(REQUEST, architecture="arm64")
    assert "x86_64" in image_lacks(parse_image(told), arm)[0]
    assert image_lacks(parse_image({**told, "hw_architecture": "aarch64"}), arm) == []
    assert image_lacks(parse_image({"id": "1", "status": "active"}), arm) == []
    assert "queued" in image_lacks(parse_image({**told, "status": "queued"}), REQUEST)[0]
    assert "Windows" in image_lacks(parse_image({**told, "os_type": "windows"}), REQUEST)[0]
    assert "UEFI" in image_lacks(parse_image(told), replace(REQUEST, secure_boot=True))[0]
    guarded = {**told, "hw_firmware_type": "uefi", "os_secure_boot": "required", "hw_tpm_version": "2.0"}
    assert image_lacks(parse_image(guarded), replace(REQUEST, secure_boot=True, measured_boot=True)) == []


@pytest.mark.parametrize("image", ["", "1", "aws://eu-central-1/ami-1", "ost://cloud.example", "ost://cloud.example/"])
def test_an_image_of_others_is_refused(image: str) -> None:
    with pytest.raises(ProviderError, match="none of OpenStack's"):
        IDS.identifier(replace(REQUEST, image=image), "cloud.example")


def test_an_image_of_another_cloud_is_refused() -> None:
    assert IDS.identifier(REQUEST, "cloud.example") == IDS.identifier(REQUEST, "") == "1"
    with pytest.raises(ProviderError, match="another cloud"):
        IDS.identifier(REQUEST, "other.example")
