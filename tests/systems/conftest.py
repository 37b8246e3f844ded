"""Other people's servers and parsers, in the environment that `scripts/bootstrap systems` makes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.providers.base import DeploymentTag
from tests.contract.openstack_bed import OpenStackGround, openstack_settings
from tests.systems.infrastructure_manager import InfrastructureManager, file_server, running
from tests.systems.openstack_bed.cloud import OpenStackCloud
from tests.systems.provider_bed import ProviderBed, Ways, ways


@pytest.fixture(scope="module")
def infrastructure_manager(
    systems_python: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InfrastructureManager]:
    """The real service, with the types and empty plays served on loopback."""
    fixtures = repository / "tests" / "fixtures"
    types = (fixtures / "tosca-types" / "grycap_custom_types.yaml").read_text(encoding="utf-8")
    expected = (fixtures / "predecessor" / "expected").glob("*.yaml")
    known = tuple(path.read_text(encoding="utf-8") for path in expected)
    folder = tmp_path_factory.mktemp("im")
    with file_server(types, known) as files, running(systems_python, folder, files) as manager:
        yield manager


@pytest.fixture(scope="module")
def openstack_ways(openstack_cloud: OpenStackCloud) -> Iterator[Ways]:
    """Proxies before the control plane."""
    with ways(openstack_cloud) as found:
        yield found


@pytest.fixture
def provider_bed(
    openstack_cloud: OpenStackCloud, openstack_ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ProviderBed]:
    """A deployment at the control plane; nothing of it is left in the end."""
    openstack_settings(monkeypatch, openstack_cloud)
    lineage = uuid.uuid4().hex
    deployment = DeploymentTag(f"systems-{lineage[:8]}", lineage)
    ground = OpenStackGround(deployment, openstack_cloud, openstack_ways.direct)
    bed = ProviderBed(openstack_cloud, openstack_ways, ground, deployment, ground.image())
    yield bed
    openstack_ways.mend()
    bed.on_pause = lambda: None
    provider = bed.provider()
    for machine in provider.find(deployment):
        provider.delete(machine.id)
    provider.release(deployment)
    assert provider.leftovers(deployment) == []
    ground.clear()
    openstack_ways.mend()
