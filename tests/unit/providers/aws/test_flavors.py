"""Sizes and images: what is chosen of what AWS describes, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.aws import images
from orchestrator.providers.aws.flavors import Flavor, fitting, lacks, parse_flavor
from orchestrator.providers.aws.images import IDS, parse_image
from orchestrator.providers.base import DeploymentTag, MachineRequest
from tests.contract.aws_bed import ARM_IMAGE, REGION
from tests.unit.providers.aws.conftest import Bed

REQUEST = MachineRequest(DeploymentTag("shop", "0123"), "cloud[0]", "t", "cloud-0", "amd64", 1, 512, "key")


def described(name: str, cpus: int, memory_mb: int, gpu: str = "", gpu_mb: int = 0, **more: Any) -> Flavor:
    """As EC2 describes a size, read."""
    gpus = {"Gpus": [{"Name": gpu, "Manufacturer": "NVIDIA", "Count": 1, "MemoryInfo": {"SizeInMiB": gpu_mb}}]}
    told = {
        "InstanceType": name,
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "VCpuInfo": {"DefaultVCpus": cpus},
        "MemoryInfo": {"SizeInMiB": memory_mb},
        "BurstablePerformanceSupported": name.startswith("t"),
        "SupportedBootModes": ["legacy-bios"],
        **({"GpuInfo": gpus} if gpu else {}),
    }
    return parse_flavor(told | more)


OFFERED = [
    described("t3.nano", 2, 512),
    described("t2.large", 2, 8192, Hypervisor="xen"),
    described("t3.large", 2, 8192, Hypervisor="nitro"),
    described("m5.large", 2, 8192, SupportedBootModes=["legacy-bios", "uefi"], NitroTpmSupport="supported"),
    described("c5.xlarge", 4, 8192),
    described("m5.4xlarge", 16, 65536),
    described("g4dn.xlarge", 4, 16384, "T4", 16384),
    described("g4dn.4xlarge", 16, 65536, "T4", 16384),
    described("p3.2xlarge", 8, 62464, "V100", 16384),
    described("g5.xlarge", 4, 16384, "A10G", 22888),
    described("m5.spotless", 2, 4096, SupportedUsageClasses=["on-demand"]),
]


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({}, "t3.nano"),
        ({"cpus": 2, "memory_mb": 8192}, "t3.large"),
        ({"cpus": 3}, "c5.xlarge"),
        ({"cpus": 8}, "m5.4xlarge"),
        ({"gpus": 1}, "g4dn.xlarge"),
        ({"gpu_memory_mb": 16 * 1024}, "g4dn.xlarge"),
        # The sizes of a p3.2xlarge: AWS tells 16384 MiB where people write 16 GB.
        ({"gpu_memory_mb": 16 * 1024, "cpus": 8, "memory_mb": 61 * 1024}, "p3.2xlarge"),
        ({"gpu_memory_mb": 16 * 1024, "gpu_model": "NVIDIA Tesla V100"}, "p3.2xlarge"),
        ({"gpu_model": "T4", "cpus": 8}, "g4dn.4xlarge"),
        # Sold as 24 GB, told as 22888 MiB.
        ({"gpu_memory_mb": 24 * 1024}, "g5.xlarge"),
        ({"secure_boot": True}, "m5.large"),
        ({"measured_boot": True}, "m5.large"),
    ],
)
def test_the_cheapest_that_has_what_is_asked_for(asked: dict[str, Any], chosen: str) -> None:
    assert fitting(OFFERED, replace(REQUEST, **asked))[0].name == chosen


@pytest.mark.parametrize(
    "asked",
    [
        {"cpus": 64},
        {"gpu_memory_mb": 40 * 1024},
        {"gpu_model": "T4g"},
        {"gpu_model": "A10"},
        {"sgx": True},
        {"gpus": 2},
    ],
)
def test_what_nothing_has_is_not_found(asked: dict[str, Any]) -> None:
    assert fitting(OFFERED, replace(REQUEST, **asked)) == []


def test_graphics_processors_are_not_paid_for_where_none_are_asked_for() -> None:
    assert all(flavor.gpus == 0 for flavor in fitting(OFFERED, REQUEST))


def test_a_named_size_that_lacks_something_is_told_with_all_of_it() -> None:
    told = lacks(OFFERED[0], replace(REQUEST, cpus=4, memory_mb=1024, architecture="arm64", gpus=1, sgx=True))
    assert len(told) == 5
    assert "1024 MB of memory (it has 512)" in told


def test_spot_is_only_what_may_be_had_as_spot() -> None:
    spotless = next(flavor for flavor in OFFERED if flavor.name == "m5.spotless")
    assert lacks(spotless, replace(REQUEST, spot=True)) == ["a spot offer"]
    assert lacks(spotless, REQUEST) == []


def test_the_cheapest_of_all_that_the_region_offers(bed: Bed) -> None:
    """All sizes that the emulator knows; asked for once, however many machines there are."""
    provider = bed.provider()
    small = provider._flavors.choose(bed.request(flavor="", cpus=2, memory_mb=2048))
    assert small.name in {"t2.small", "t3.small", "t3a.small"} or (small.cpus, small.memory_mb) == (2, 2048)
    graphics = provider._flavors.choose(bed.request(flavor="", gpu_memory_mb=16 * 1024))
    assert graphics.gpu_memory_mb >= 16 * 1024
    assert graphics.gpus == 1
    spot = provider._flavors.choose(bed.request(flavor="", spot=True))
    assert spot.spot
    assert bed.api.count()["DescribeInstanceTypes"] == 1
    assert provider._flavors.zones(small.name)
    with pytest.raises(ProviderError, match="No flavor has") as none:
        provider._flavors.choose(bed.request(flavor="", sgx=True))
    assert "Nitro" in none.value.detail


def test_a_named_size_is_looked_up_alone_and_refused_if_it_lacks_something(bed: Bed) -> None:
    provider = bed.provider()
    assert provider._flavors.choose(bed.request()).name == "t3.small"
    with pytest.raises(ProviderError, match="does not have what is asked for") as lacking:
        provider.create(bed.request(memory_mb=4096, gpus=1))
    assert "4096 MB of memory (it has 2048)" in lacking.value.detail
    with pytest.raises(ProviderError, match="no such flavor"):
        provider.create(bed.request(flavor="t9.huge"))
    assert bed.instances() == []


def test_an_image_of_another_architecture_or_place_is_refused(bed: Bed) -> None:
    provider = bed.provider()
    with pytest.raises(ProviderError, match="image will not do") as other:
        provider.create(bed.request(image=f"aws://{REGION}/{ARM_IMAGE}"))
    assert "arm64" in other.value.detail
    with pytest.raises(ProviderError, match="another region"):
        provider.create(bed.request(image=f"aws://us-east-1/{ARM_IMAGE}"))
    with pytest.raises(ProviderError, match="no such image"):
        provider.create(bed.request(image=f"aws://{REGION}/ami-00000000000000000"))
    for wrong in ("", "ami-1", "ost://cloud.example/1", f"aws://{REGION}/"):
        with pytest.raises(ProviderError, match="none of AWS's"):
            IDS.identifier(bed.request(image=wrong), REGION)


def test_boots_that_an_image_cannot_do_are_told() -> None:
    told = {"ImageId": "ami-1", "Architecture": "x86_64", "State": "disabled", "Platform": "windows"}
    why = images.lacks(parse_image(told), replace(REQUEST, secure_boot=True, measured_boot=True))
    assert len(why) == 4
    fine = told | {"State": "available", "Platform": None, "BootMode": "uefi-preferred", "TpmSupport": "v2.0"}
    assert images.lacks(parse_image(fine), replace(REQUEST, secure_boot=True, measured_boot=True)) == []
