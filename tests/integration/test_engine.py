"""An engine of our own, for real: started, killed, started again, stopped."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from orchestrator.clients import engine
from orchestrator.clients.engine_daemon import OwnEngine, engine_program
from orchestrator.errors import EngineUnavailableError
from orchestrator.providers.base import DeploymentTag
from orchestrator.providers.local.provider import LocalProvider

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a container engine"),
    pytest.mark.skipif(engine_program() is None, reason="no dockerd is installed"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: an engine's sockets lie deep below it, and their paths may not exceed 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="engine-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def own(folder: Path) -> Iterator[OwnEngine]:
    own = OwnEngine(folder / "own", folder / "run")
    yield own
    own.stop()


def answers(own: OwnEngine) -> bool:
    client, _ = engine._probe(own.address)
    if client is not None:
        client.close()
    return client is not None


@pytest.fixture
def client_of(own: OwnEngine) -> Iterator[Callable[[], docker.DockerClient]]:
    made = []

    def connect() -> docker.DockerClient:
        client, reason = engine._probe(own.address)
        assert client is not None, reason
        made.append(client)
        return client

    yield connect
    for client in made:
        client.close()


def refusal(provider: LocalProvider, deployment: DeploymentTag) -> str:
    with pytest.raises(EngineUnavailableError) as caught:
        provider.find(deployment)
    return caught.value.detail


def test_an_engine_that_dies_half_way_is_named_and_starts_again(
    own: OwnEngine, client_of: Callable[[], docker.DockerClient]
) -> None:
    own.start(lambda: answers(own))
    provider = LocalProvider(client_of())
    deployment = DeploymentTag("dying", "lineage-of-dying")
    assert provider.find(deployment) == []
    pid = own.pid()
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert "listing the machines of dying" in refusal(provider, deployment)
    # The engine's client library does not close the socket of a refused connection.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()

    own.start(lambda: answers(own))
    assert provider.find(deployment) == []


def test_a_data_folder_that_cannot_be_used_shows_the_engines_log(own: OwnEngine, folder: Path) -> None:
    (folder / "own").mkdir()
    (folder / "own" / "data").write_text("a file where a folder should be", encoding="ascii")
    with pytest.raises(EngineUnavailableError) as caught:
        own.start(lambda: answers(own))
    assert str(own.log) in caught.value.detail
    assert "points to a file" in caught.value.detail
