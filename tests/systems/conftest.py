"""Other people's servers and parsers, in the environment that `scripts/bootstrap systems` makes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systems.infrastructure_manager import InfrastructureManager, file_server, running
from tests.systems.openstack_bed import bed
from tests.systems.openstack_bed.cloud import OpenStackCloud

LOCK = "requirements-systems.lock"


@pytest.fixture(scope="session")
def systems_python(repository: Path) -> Path:
    """The Python of that environment."""
    environment = repository / os.environ.get("SYSTEMS_VENV", ".venv-systems")
    python = environment / "bin" / "python"
    if not (environment / f".stamp-{LOCK}").is_file():
        pytest.skip(f"{environment.name} is not there: run `make test-systems`, or `scripts/bootstrap systems` first")
    return python


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


@pytest.fixture(scope="session")
def openstack_cloud(systems_python: Path, repository: Path) -> Iterator[OpenStackCloud]:
    """A real control plane of OpenStack on loopback, of which every test leaves nothing but what was there."""
    if lacking := bed.missing():
        pytest.skip(lacking)
    with bed.running(systems_python, repository / LOCK) as cloud:
        yield cloud
