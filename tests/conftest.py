"""What every test finds: the checkout's root, an environment without the caller's settings, and golden files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.moto_server import moto_server
from tests.sharing import ByEngineAndFile, uses_engine

if TYPE_CHECKING:
    from tests.systems.openstack_bed.cloud import OpenStackCloud

REPOSITORY = Path(__file__).resolve().parent.parent
SYSTEMS_LOCK = "requirements-systems.lock"

# The machine that runs the tests is shared: a slow example says nothing about the code.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what came out as the new expected files")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For several processes at a time: what uses the container engine takes longest, and begins first."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not uses_engine(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """The tests of a file are one process's; so are all files with tests that use the container engine."""
    return ByEngineAndFile(config, log)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def aws_server() -> Iterator[str]:
    """URL of an emulator of AWS on loopback."""
    with moto_server() as url:
        yield url


@pytest.fixture(scope="session")
def systems_python(repository: Path) -> Path:
    """The Python of the environment that `scripts/bootstrap systems` makes, which has other people's servers."""
    environment = repository / os.environ.get("SYSTEMS_VENV", ".venv-systems")
    python = environment / "bin" / "python"
    if not (environment / f".stamp-{SYSTEMS_LOCK}").is_file():
        pytest.skip(f"{environment.name} is not there: run `make test-systems`, or `scripts/bootstrap systems` first")
    return python


@pytest.fixture(scope="session")
def openstack_cloud(systems_python: Path, repository: Path) -> Iterator[OpenStackCloud]:
    """A real control plane of OpenStack on loopback, of which every test leaves nothing but what was there."""
    from tests.systems.openstack_bed import bed

    if lacking := bed.missing():
        pytest.skip(lacking)
    with bed.running(systems_python, repository / SYSTEMS_LOCK) as cloud:
        yield cloud


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew instead of compared."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A test that wants one of these sets it; the one of the person who runs the tests must not reach their state."""
    for name in (
        "DEPLOY_HOME",
        "DEPLOY_STATE",
        "DEPLOY_KNOWN_HOSTS",
        "NO_COLOR",
        "FORCE_COLOR",
        "COLUMNS",
        "ANSIBLE_CONFIG",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("DEPLOY_SECRETS_KEY", raising=False)
    monkeypatch.setenv("DEPLOY_SECRETS_KEY_FILE", str(tmp_path_factory.getbasetemp() / "secrets.key"))
