"""The real ``deploy apply`` on real containers, killed at its events: it converges, loses no machine, doubles none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command_line import Cli, Engine, small
from tests.e2e.kill_harness import KillHarness

NAME = "mask-detection-rehearsal"
MACHINES = ["layer1-rasppi[0]", "layer2-cloudvm[0]"]

pytestmark = pytest.mark.engine


def check_end(harness: KillHarness) -> None:
    """The engine lists what is wanted and nothing else; nothing is left to do; a destroy leaves nothing."""
    cli, engine = harness.cli, harness.engine
    assert engine.addresses(NAME) == MACHINES
    assert "No changes" in cli.run("apply", harness.file, "--rehearse", "--auto-approve").stdout
    assert cli.json("status", NAME, "--json")["well"] is True
    cli.run("destroy", "--auto-approve")
    assert engine.containers(NAME) == []
    assert engine.networks(NAME) == []


def test_killed_at_some_events(cli: Cli, engine: Engine, application: Path) -> None:
    harness = KillHarness(cli, engine, NAME, small(application), stride=28)
    harness.kill_and_start_again(most=2, seconds=240)
    assert len(harness.kills) >= 2, harness.kills
    check_end(harness)


@pytest.mark.slow
def test_killed_at_every_event(cli: Cli, engine: Engine, application: Path) -> None:
    """Between steps and in the middle of plays, upon the event or some time after it."""
    harness = KillHarness(cli, engine, NAME, small(application), stride=1)
    harness.kill_and_start_again(most=60, seconds=700)
    assert len(harness.kills) >= 50, harness.kills
    assert any("k3s" in name for name in harness.kills)
    check_end(harness)
