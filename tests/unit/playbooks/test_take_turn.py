"""What counts as trouble before and after one node of a cluster is worked on, and whose cordon is taken away."""

from __future__ import annotations

import contextlib
import json
import runpy
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.resources import data_path

OTHERS = data_path("playbooks", "roles", "k3s_reboot", "files", "wait_for_others.py")
TURN = data_path("playbooks", "roles", "k3s_turn", "files", "take_turn.py")
NOTE = "continuum-deploy/turn"
ORDER = {"version": "", "boot": "", "drain_timeout": 5, "ready_timeout": 0, "force": False}

Run = Callable[..., str]
Node = dict[str, Any]


def node(name: str, ready: str = "True", *, cordoned: bool = False, note: str = "", message: str = "") -> Node:
    condition = {"type": "Ready", "status": ready, "message": message}
    return {
        "metadata": {"name": name, "annotations": {NOTE: note} if note else {}},
        "spec": {"unschedulable": cordoned} if cordoned else {},
        "status": {
            "conditions": [condition],
            "nodeInfo": {"bootID": f"boot of {name}", "kubeletVersion": "v1.32.1+k3s1"},
        },
    }


@pytest.fixture
def wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program over a server that answers with a text; what it prints, empty if all is well."""
    main = runpy.run_path(str(OTHERS))["main"]

    def run(answer: str, name: str, code: int = 0) -> str:
        (tmp_path / "answer").write_text(answer)
        kubectl = tmp_path / "k3s"
        kubectl.write_text(f"#!/bin/sh\ncat {tmp_path}/answer {'>&2' if code else ''}\nexit {code}\n")
        kubectl.chmod(kubectl.stat().st_mode | stat.S_IXUSR)
        main.__globals__["KUBECTL"] = [str(kubectl)]
        monkeypatch.setattr(sys, "argv", ["-", name, "0"])
        with contextlib.suppress(SystemExit):
            main()
        return capsys.readouterr().out.strip()

    return run


def test_before_a_reboot_every_other_node_counts(wait: Run) -> None:
    listed = json.dumps({"items": [node("pi-0", "False", message="kubelet is down"), node("pi-1")]})
    assert wait(listed, "pi-1") == "not every other node is Ready: pi-0 (kubelet is down)."
    assert wait(listed, "PI-0") == "", "Kubernetes writes names small"
    assert wait("connection refused", "pi-1", code=1) == "the server does not answer: connection refused."


class Turn:
    """The program over a cluster of its own, with the calls that change something."""

    def __init__(self, *nodes: Node, drain: int = 0) -> None:
        self.program = runpy.run_path(str(TURN))
        self.changes: list[str] = []

        def kubectl(*arguments: str, timeout: int = 60) -> tuple[int, str]:
            del timeout
            if arguments[0] == "get":
                return 0, json.dumps({"items": list(nodes)})
            self.changes.append(" ".join(argument for argument in arguments if not argument.startswith("--")))
            return (drain, "a budget forbids it") if arguments[0] == "drain" else (0, "")

        self.program["before"].__globals__["kubectl"] = kubectl

    def take(self, part: str, name: str, **order: Any) -> None:
        """Run a part, whatever comes of it."""
        with contextlib.suppress(SystemExit):
            self.program[part](name, {**ORDER, **order})


def test_the_work_of_a_node_is_moved_where_somebody_can_take_it() -> None:
    turn = Turn(node("pi-0"), node("pi-1"))
    turn.take("before", "pi-1")
    assert turn.changes == [f"annotate node pi-1 {NOTE}=ours", "drain pi-1"]
    alone = Turn(node("pi-0", cordoned=True), node("pi-1"))
    alone.take("before", "pi-1")
    assert alone.changes == [f"annotate node pi-1 {NOTE}=ours"]


@pytest.mark.parametrize(
    ("cordoned", "noted", "note", "uncordoned"),
    [
        (False, "", "ours", True),
        (True, "", "theirs", False),
        (True, "ours", "ours", True),
        (True, "theirs", "theirs", False),
    ],
)
def test_who_cordoned_a_node_is_noted_and_only_our_cordon_goes(
    cordoned: bool, noted: str, note: str, uncordoned: bool
) -> None:
    before = Turn(node("pi-0"), node("pi-1", cordoned=cordoned, note=noted))
    before.take("before", "pi-1")
    assert before.changes[0] == f"annotate node pi-1 {NOTE}={note}"
    after = Turn(node("pi-0"), node("pi-1", cordoned=True, note=note))
    after.take("after", "pi-1")
    assert after.changes == ["uncordon pi-1"] * uncordoned + [f"annotate node pi-1 {NOTE}-"]


def test_a_node_whose_work_cannot_be_moved_works_on(capsys: pytest.CaptureFixture[str]) -> None:
    turn = Turn(node("pi-0"), node("pi-1"), drain=1)
    turn.take("before", "pi-1")
    assert turn.changes[2:] == ["uncordon pi-1", f"annotate node pi-1 {NOTE}-"]
    said = capsys.readouterr().out
    assert (
        said == "The work of pi-1 could not be moved elsewhere within 5 s, and it goes on there: a budget forbids it\n"
    )


@pytest.mark.parametrize(
    ("nodes", "order", "said"),
    [
        ([], {}, "the API does not answer."),
        ([node("pi-0")], {}, "the server knows no node pi-1."),
        ([node("pi-1", "False", message="no runtime")], {}, "its node is not Ready: no runtime."),
        ([node("pi-1", "Unknown")], {}, "its node is not Ready: nothing reported."),
        ([node("pi-1")], {"boot": "another boot"}, "its node has not reported since the reboot."),
        ([node("pi-1")], {"version": "v2"}, "its node reports v1.32.1+k3s1 instead of v2."),
        ([node("pi-1")], {"boot": "boot of pi-1", "version": "v1.32.1+k3s1"}, ""),
    ],
)
def test_a_node_counts_as_back_when_it_says_so_itself(
    nodes: list[Node], order: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = Turn(*nodes)
    turn.take("after", "pi-1", **order)
    assert not turn.changes
    assert capsys.readouterr().out.strip() == (f"{said} It was given 0 s." if said else "")
