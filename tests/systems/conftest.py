"""Other people's servers and parsers, in the environment that `scripts/bootstrap systems` makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systems.infrastructure_manager import InfrastructureManager, file_server, running


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
