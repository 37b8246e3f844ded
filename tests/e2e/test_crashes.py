"""What goes wrong in the middle: kill -9, Ctrl-C, a second apply, names that are taken."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from orchestrator.clients.engine_daemon import OwnEngine
from tests.e2e.command_line import Cli, Engine, small

NAME = "mask-detection-rehearsal"
MACHINES = ["layer1-rasppi[0]", "layer2-cloudvm[0]"]

pytestmark = pytest.mark.engine


def wait_for(process: subprocess.Popen[str], text: str, timeout: float = 120) -> None:
    """Read the process's output until a line holds ``text``."""
    assert process.stdout is not None
    seen = []
    deadline = time.monotonic() + timeout
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
        assert time.monotonic() < deadline, f"no {text!r} within {timeout} s:\n{''.join(seen)}"
    raise AssertionError(f"ended without {text!r}:\n{''.join(seen)}")


def start_when_free(cli: Cli, file: Path) -> subprocess.Popen[str]:
    """Start an apply; a play that outlived its parent may hold the lock for some seconds more."""
    deadline = time.monotonic() + 60
    while cli.is_locked(NAME):
        assert time.monotonic() < deadline, "the lock was not given back"
        time.sleep(0.2)
    return cli.start("apply", file, "--rehearse", "--auto-approve")


def kill(process: subprocess.Popen[str]) -> None:
    """``kill -9``, and nothing read from it any longer."""
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.slow
def test_killed_and_interrupted_again_and_again_it_converges_and_loses_and_doubles_nothing(
    cli: Cli, engine: Engine, application: Path
) -> None:
    """Killed while a machine is made, while one boots and in the middle of a play; then Ctrl-C; then left alone."""
    file = small(application)
    for moment in ("layer1-rasppi[0]: creating", "waiting for SSH", "layer1-rasppi-k3s: Read the board"):
        process = start_when_free(cli, file)
        wait_for(process, moment)
        kill(process)
        assert len(engine.addresses(NAME)) == len(set(engine.addresses(NAME)))

    process = start_when_free(cli, file)
    wait_for(process, "layer1-rasppi-k3s: Read the board")
    refused = cli.run("apply", file, "--rehearse", "--auto-approve", expect=1)
    assert str(process.pid) in refused.stderr
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 130, output
    assert "Interrupted" in output
    assert "Left undone" in output

    cli.run("apply", file, "--rehearse", "--auto-approve")
    assert engine.addresses(NAME) == MACHINES
    assert "No changes" in cli.run("apply", file, "--rehearse", "--auto-approve").stdout
    cli.run("destroy", "--auto-approve")
    assert engine.containers(NAME) == []


def test_two_ctrl_c_stop_now_and_the_state_is_still_good(cli: Cli, engine: Engine, application: Path) -> None:
    file = small(application)
    process = cli.start("apply", file, "--rehearse", "--auto-approve")
    wait_for(process, "layer1-rasppi-k3s: creating")
    process.send_signal(signal.SIGINT)
    wait_for(process, "Press Ctrl-C again to stop now")
    process.send_signal(signal.SIGINT)
    wait_for(process, "Stopped now")
    process.communicate(timeout=30)
    assert process.returncode == 130
    cli.run("status")
    cli.run("destroy", "--auto-approve")
    assert engine.containers(NAME) == []


@pytest.mark.slow
def test_an_engine_that_dies_half_way_is_named_and_the_next_apply_goes_on(
    cli: Cli, engine: Engine, application: Path
) -> None:
    file = small(application)
    assert engine.containers(NAME) == []
    pid = OwnEngine().pid()
    if pid is None:
        pytest.skip("the engine in use belongs to somebody else, and is not to be killed")
    process = cli.start("apply", file, "--rehearse", "--auto-approve")
    wait_for(process, "layer1-rasppi[0]: creating")
    os.kill(pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "engine" in output
    assert "go on where this run stopped: deploy apply" in output

    cli.run("apply", file, "--rehearse", "--auto-approve")
    assert engine.addresses(NAME) == MACHINES
    assert cli.json("status", NAME, "--json")["well"] is True
    cli.run("destroy", "--auto-approve")
    assert engine.containers(NAME) == []
