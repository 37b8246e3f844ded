"""A state that two hosts share: killed on one in the middle of a play, finished from the other."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.command_line import Cli, Engine, small
from tests.e2e.test_crashes import MACHINES, kill, wait_for
from tests.unit.state.conftest import PostgresServer, postgres_server

__all__ = ["postgres_server"]
NAME = "mask-detection-rehearsal"

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_a_play_that_was_left_keeps_the_lock_for_all_hosts_and_the_other_host_finishes(
    engine: Engine, application: Path, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    shared = {"DEPLOY_STATE": f"{postgres_server.url}?schema=s{uuid4().hex[:12]}"}
    alpha, beta = Cli(tmp_path / "alpha", shared), Cli(tmp_path / "beta", shared)
    for host in (alpha, beta):
        host.folder.mkdir()
    file = small(application)
    process = alpha.start("apply", file, "--rehearse", "--auto-approve")
    wait_for(process, "layer1-rasppi-k3s: Read the board")
    refused = beta.run("apply", file, "--rehearse", "--auto-approve", expect=1).stderr
    assert f"process {process.pid}" in refused
    kill(process)
    assert alpha.is_locked(NAME), "the play goes on and holds the lock of its host"
    assert not beta.is_locked(NAME)
    refused = beta.run("apply", file, "--rehearse", "--auto-approve", expect=1).stderr
    assert "The deployment is in use" in refused, "and the one of the server, by the socket that it inherited"
    deadline = time.monotonic() + 90
    while alpha.is_locked(NAME):
        assert time.monotonic() < deadline, "the lock was not given back"
        time.sleep(0.2)

    beta.run("apply", file, "--rehearse", "--auto-approve")
    assert engine.addresses(NAME) == MACHINES
    assert "No changes" in alpha.run("apply", file, "--rehearse", "--auto-approve").stdout
    assert beta.json("state", "list", "--all", "--json")["deployments"][0]["lock"] is None
    alpha.run("destroy", "--auto-approve")
    assert engine.containers(NAME) == []
    assert "no deployment" in beta.run("state", "list", "--all").stdout
