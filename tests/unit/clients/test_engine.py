"""Finding an engine: which one is taken, and what a person is told when there is none."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import docker.errors
import pytest
import requests
import urllib3.exceptions

from orchestrator.clients import engine, engine_daemon
from orchestrator.errors import EngineUnavailableError, LockedError, ProviderError

APT_HINT = "apt-get install docker.io"


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No engine of the machine and none of ours is seen; each test adds what it is about."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "_usual_addresses", lambda: (f"unix://{tmp_path}/usual.sock",))
    monkeypatch.setattr(engine, "OwnEngine", lambda: engine_daemon.OwnEngine(tmp_path / "own", tmp_path / "runtime"))
    monkeypatch.setattr(engine, "PROBE_TIMEOUT", 0.3)
    known = dict(engine._clients)
    engine._clients.clear()
    yield
    engine._clients.clear()
    engine._clients.update(known)


@pytest.fixture
def silent_socket(tmp_path: Path) -> Iterator[Path]:
    """A socket that takes connections and never says a word."""
    path = tmp_path / "usual.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


def test_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "engine_program", lambda: None)
    with pytest.raises(EngineUnavailableError) as caught:
        engine.connect()
    assert APT_HINT in caught.value.resolution
    assert "none is installed" in caught.value.detail


def test_installed_but_no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "engine_program", lambda: Path("/usr/sbin/dockerd"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EngineUnavailableError) as caught:
        engine.connect()
    assert "only root may start it" in caught.value.detail
    assert "sudo" in caught.value.resolution


def test_permission_denied_names_the_socket(monkeypatch: pytest.MonkeyPatch, silent_socket: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(EngineUnavailableError) as caught:
        engine.connect()
    assert str(silent_socket) in caught.value.detail
    assert "group" in caught.value.resolution


def test_an_engine_that_never_answers_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch, silent_socket: Path) -> None:
    monkeypatch.setattr(engine, "engine_program", lambda: None)
    began = time.monotonic()
    with pytest.raises(EngineUnavailableError) as caught:
        engine.connect()
    assert time.monotonic() - began < 3
    assert f"{silent_socket} does not answer" in caught.value.detail


def test_docker_host_that_is_away_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/chosen.sock")
    monkeypatch.setattr(engine_daemon.OwnEngine, "start", lambda *_: pytest.fail("started another"))
    with pytest.raises(EngineUnavailableError) as caught:
        engine.connect()
    assert "chosen.sock" in caught.value.detail


def test_docker_host_on_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://198.51.100.7:2375")
    with pytest.raises(EngineUnavailableError, match="not on this machine"):
        engine.connect()


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectionError("refused"),
        requests.exceptions.ReadTimeout("slow"),
        urllib3.exceptions.ProtocolError("reset"),
        ConnectionResetError("reset"),
        docker.errors.DockerException("Error while fetching server API version"),
    ],
)
def test_lost_connections_become_engine_errors(error: Exception) -> None:
    with pytest.raises(EngineUnavailableError) as caught, engine.translated_errors("making tea"):
        raise error
    assert "making tea" in caught.value.detail
    assert caught.value.__cause__ is error


def test_refusals_become_provider_errors() -> None:
    with pytest.raises(ProviderError) as caught, engine.translated_errors("making tea"):
        raise docker.errors.APIError("409", explanation="no such pot")
    assert "no such pot" in caught.value.detail


def test_an_engine_that_is_too_old_is_named_as_that() -> None:
    with pytest.raises(ProviderError, match="too old"), engine.translated_errors("making tea"):
        raise docker.errors.InvalidVersion("cgroupns was introduced in API version 1.41")


@pytest.mark.parametrize("error", [LockedError("held"), KeyError("bug")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)), engine.translated_errors("making tea"):
        raise error
