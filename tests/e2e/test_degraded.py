"""A board that cannot be reached is done without, shown wherever a person looks, and taken back by the next apply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command_line import Cli, Engine

NAME = "mask-detection-rehearsal"
AWAY = "layer1-rasppi[2]"

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def board(engine: Engine, address: str) -> Any:
    """The container that stands for a board."""
    (found,) = [c for c in engine.containers(NAME) if c.labels["continuum.address"] == address]
    return found


def do(container: Any, command: str) -> None:
    """Do something on a board past SSH."""
    status, output = container.exec_run(["sh", "-c", command])
    assert status == 0, output


def test_a_board_that_goes_away_is_done_without_and_comes_back(cli: Cli, engine: Engine, application: Path) -> None:
    file = application / "production.yaml"
    apply = ("apply", file, "--rehearse", "--auto-approve")
    cli.run(*apply)

    do(
        board(engine, AWAY),
        "systemctl stop k3s-agent ssh.service && systemctl mask --now ssh.socket; kill $(pidof sshd); true",
    )
    for _look in range(60):
        if not cli.json("status", NAME, "--json")["well"]:
            break
    else:
        pytest.fail("nobody notices that the board's agent has ended")
    done = cli.run(*apply, expect=1)
    assert "Endpoints" in done.stdout
    assert f"({AWAY} unreachable)" in done.stdout
    assert "The deployment runs, but not whole." in done.stderr
    assert f"layer1-rasppi-k3s does without {AWAY}" in done.stderr
    assert f"went on without {AWAY}, which cannot be reached" in done.stderr

    status = cli.json("status", NAME, "--json")
    assert status["well"] is False
    found = {i["address"]: i["observed"] for i in status["instances"]}
    assert found["layer1-rasppi-k3s"] == "degraded"
    assert found["layer2-cloudvm-k3s"] == "present"
    manifest = json.loads(cli.run("manifest", NAME, "--format", "json").stdout)
    nodes = {n["address"]: n["state"] for c in manifest["clusters"] for n in c["nodes"]}
    assert [a for a, state in nodes.items() if state != "started"] == [AWAY]

    do(board(engine, AWAY), "systemctl unmask ssh.socket; systemctl start ssh.service")
    done = cli.run(*apply)
    assert "unreachable" not in done.stdout
    assert cli.json("status", NAME, "--json")["well"] is True
    assert "No changes" in cli.run("plan", file, "--rehearse", "--detailed-exitcode").stdout
    cli.run("destroy", "--auto-approve")
    assert engine.containers(NAME) == []
