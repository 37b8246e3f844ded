"""What goes wrong in the middle: kill -9, Ctrl-C, a second apply, names that are taken."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

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


def apply_when_free(cli: Cli, file: Path) -> str:
    """Apply; a play that outlived its parent may hold the lock for some seconds more."""
    deadline = time.monotonic() + 60
    while True:
        process = cli.start("apply", file, "--rehearse", "--auto-approve")
        output, _ = process.communicate(timeout=300)
        if process.returncode == 0:
            return output
        assert "is being worked on" in output or "lock" in output.lower(), output
        assert time.monotonic() < deadline, output
        time.sleep(1)


@pytest.mark.parametrize("moment", ["layer1-rasppi[0]: creating", "waiting for SSH", "layer1-rasppi-k3s: creating"])
def test_kill_and_apply_again_loses_and_doubles_nothing(
    cli: Cli, engine: Engine, application: Path, moment: str
) -> None:
    file = small(application)
    process = cli.start("apply", file, "--rehearse", "--auto-approve")
    wait_for(process, moment)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)

    apply_when_free(cli, file)
    assert engine.addresses(NAME) == MACHINES
    assert "No changes" in cli.run("apply", file, "--rehearse", "--auto-approve").stdout
    cli.run("destroy", "--auto-approve")
    assert engine.containers(NAME) == []


def test_one_ctrl_c_finishes_what_runs_and_saves_and_a_second_apply_is_refused_meanwhile(
    cli: Cli, engine: Engine, application: Path
) -> None:
    file = small(application)
    process = cli.start("apply", file, "--rehearse", "--auto-approve")
    wait_for(process, "layer1-rasppi-k3s: creating")

    refused = cli.run("apply", file, "--rehearse", "--auto-approve", expect=1)
    assert str(process.pid) in refused.stderr

    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 130, output
    assert "Interrupted" in output

    apply_when_free(cli, file)
    assert engine.addresses(NAME) == MACHINES
    cli.run("destroy", "--auto-approve")
    assert engine.containers(NAME) == []


def test_two_ctrl_c_stop_now_and_the_state_is_still_good(cli: Cli, engine: Engine, application: Path) -> None:
    file = small(application)
    process = cli.start("apply", file, "--rehearse", "--auto-approve")
    wait_for(process, "layer1-rasppi-k3s: creating")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    cli.run("status")
    cli.run("destroy", "--auto-approve")
    assert engine.containers(NAME) == []
