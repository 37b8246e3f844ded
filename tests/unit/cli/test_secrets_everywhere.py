"""No secret shows anywhere, whatever an executor blurts out: printed, logged, kept in the state, planned, listed."""

from __future__ import annotations

import base64
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import OperationError
from orchestrator.executors import registry as executors
from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.executors.play_inputs import InputResolver
from orchestrator.executors.ssh_key import private_key
from orchestrator.planning.observation import Observation, Presence
from orchestrator.providers import registry as providers
from orchestrator.state.secret_store import open_secrets
from tests.secret_search import SecretSearch, known_secrets

REPOSITORY = Path(__file__).resolve().parents[3]
NAME = "mask-detection-rehearsal"
OUTSIDE = "from-outside/with+odd=signs"


class Talkative:
    """An executor that tells every secret it gets to everybody it can."""

    seen: dict[str, str] = {}  # noqa: RUF012 - what all of them got, for the test to look at
    fails = False

    def run(self, request: OperationRequest) -> OperationResult:
        resolver = InputResolver(request)
        inputs = resolver.resolve_all(
            {k: v for k, v in request.implementation.inputs.items() if not isinstance(v, dict)}
        )
        secrets = [*resolver.secrets, private_key(request.secrets, request.folders.deployment, make=True)]
        self.seen.update({f"{request.instance.address} {n}": value for n, value in enumerate(secrets)})
        for value in secrets:
            login = base64.b64encode(f"oscar:{value}".encode()).decode()
            for text in (value, quote(value, safe=""), json.dumps({"password": value}), f"Basic {login}", repr(value)):
                request.progress(f"sent {text}")
                logging.getLogger("orchestrator.executors.talkative").debug("sent %s", text)
        if self.fails:
            raise OperationError("It broke.", detail=f"{inputs} were refused.", resolution=f"Look at {secrets}.")
        return OperationResult({"endpoint": "https://192.0.2.1"})

    def observe(self, request: OperationRequest) -> Observation:
        return Observation(Presence.PRESENT, f"token {request.secrets.get('layer1-rasppi-k3s-token')}")


class Provider:
    """Makes nothing."""

    max_parallel = 0

    def open(self) -> None:
        """Nothing to open."""


@pytest.fixture(autouse=True)
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home" / ".deploy"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OUTSIDE", OUTSIDE)
    for name in executors.EXECUTORS:
        monkeypatch.setitem(executors.EXECUTORS, name, f"{__name__}:Talkative")
    monkeypatch.setitem(providers.PROVIDERS, "local", f"{__name__}:Provider")
    folder = tmp_path / "application"
    shutil.copytree(REPOSITORY / "examples" / "mask-detection", folder)
    yield folder / "production.yaml"
    Talkative.seen, Talkative.fails = {}, False


@pytest.mark.parametrize("fails", [False, True])
def test_whatever_is_blurted_out_shows_nowhere(
    fails: bool, application: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Talkative.fails = fails
    store = open_secrets(NAME)
    store.assign("layer1-rasppi-oscar-password", "env:OUTSIDE")
    printed = {}

    def run(*arguments: object) -> None:
        code = main([str(a) for a in arguments])
        assert code in ((0, 1) if fails else (0,)), capsys.readouterr()
        printed[" ".join(map(str, arguments))] = "".join(capsys.readouterr())

    run("compile", application, "-o", tmp_path / "compiled")
    run("plan", application, "--rehearse", "--out", tmp_path / "saved.plan", "--json")
    run("apply", tmp_path / "saved.plan", "--auto-approve")
    run("plan", application, "--rehearse")
    run("secrets", "rotate", "--all")
    run("plan", application, "--rehearse", "--out", tmp_path / "rotated.plan")
    run("apply", application, "--rehearse", "--auto-approve", "--json")
    for command in (
        ["status"],
        ["status", "--json"],
        ["manifest"],
        ["runs"],
        ["events"],
        ["secrets", "list", "--json"],
    ):
        run(*command)

    secrets: dict[str, Any] = {**known_secrets(tmp_path / "home" / ".deploy", NAME), **Talkative.seen}
    assert len(secrets) > 6
    assert fails or OUTSIDE in secrets.values()
    search = SecretSearch(secrets)
    assert {command: names for command, text in printed.items() if (names := search.names_in(text.encode()))} == {}
    assert "***" in "".join(printed.values()), "they were there to be masked"
    assert {"compiled", "saved.plan", "rotated.plan"} <= {path.name for path in tmp_path.iterdir()}
    assert search.files(tmp_path) == {}
