"""What counts as trouble around the reboot of a node."""

from __future__ import annotations

import contextlib
import runpy
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.resources import data_path

PROGRAM = data_path("playbooks", "roles", "k3s_reboot", "files", "wait_for_node.py")
OLD, NEW = "11111111-0000", "22222222-0000"
NODES = """{"items": [
 {"metadata": {"name": "pi-0"}, "status": {"nodeInfo": {"bootID": "aaaa"},
  "conditions": [{"type": "Ready", "status": "%s", "message": "kubelet is down"}]}},
 {"metadata": {"name": "pi-1"}, "status": {"conditions": [{"type": "Ready", "status": "%s"}],
  "nodeInfo": {"bootID": "%s"}}}]}"""

Run = Callable[..., str]


@pytest.fixture
def wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program over a server that answers with a text; what it prints, empty if all is well."""
    program: dict[str, Any] = runpy.run_path(str(PROGRAM))
    main = program["main"]

    def run(answer: str, *arguments: str, code: int = 0) -> str:
        (tmp_path / "answer").write_text(answer)
        kubectl = tmp_path / "k3s"
        kubectl.write_text(f"#!/bin/sh\ncat {tmp_path}/answer {'>&2' if code else ''}\nexit {code}\n")
        kubectl.chmod(kubectl.stat().st_mode | stat.S_IXUSR)
        main.__globals__["KUBECTL"] = [str(kubectl)]
        monkeypatch.setattr(sys, "argv", ["-", *arguments, "0"])
        with contextlib.suppress(SystemExit):
            main()
        return capsys.readouterr().out.strip()

    return run


def test_the_old_boot_s_last_report_is_not_taken_for_the_new_one(wait: Run) -> None:
    assert wait(NODES % ("True", "True", OLD), "pi-1", NEW) == "its node has not reported since the reboot."
    assert wait(NODES % ("True", "True", NEW), "pi-1", NEW) == ""
    assert wait(NODES % ("True", "True", NEW), "PI-1", NEW) == "", "Kubernetes writes names small"


def test_a_node_that_is_not_ready_or_not_there_is_told(wait: Run) -> None:
    assert wait(NODES % ("False", "True", NEW), "pi-0", "aaaa") == "its node is not Ready: kubelet is down."
    assert wait(NODES % ("True", "Unknown", NEW), "pi-1", NEW) == "its node is not Ready: nothing reported."
    assert wait(NODES % ("True", "True", NEW), "pi-7", NEW) == "the server knows no node pi-7."


def test_before_a_reboot_only_the_others_count(wait: Run) -> None:
    assert wait(NODES % ("False", "True", OLD), "pi-1", "") == "not every other node is Ready: pi-0 (kubelet is down)."
    assert wait(NODES % ("True", "False", OLD), "pi-1", "") == ""


def test_a_server_that_does_not_answer_is_quoted(wait: Run) -> None:
    assert wait("connection refused", "pi-1", NEW, code=1) == "the server does not answer: connection refused."
