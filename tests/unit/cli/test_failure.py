"""What is told of a run that failed."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.views.failure import explain
from orchestrator.cli.views.human import render_error
from orchestrator.errors import ApplyFailedError, CancelledError, DegradedError, OperationError
from orchestrator.services.run_log import LogTail

AGAIN = "deploy apply demo.yaml --auto-approve"


def test_a_failure_tells_its_cause_the_end_of_its_log_what_is_left_and_how_to_go_on() -> None:
    cause = OperationError(
        "A play failed.",
        detail="edge-k3s: create (playbooks/site.yml): edge-0 failed at the task 'Start K3s': exit code 1",
        resolution="Mend the cause and apply again.",
    )
    failure = ApplyFailedError(
        "1 change failed.",
        failed={"edge-k3s": cause},
        skipped={"edge-oscar": "edge-k3s", "service": "edge-oscar", "late": "interrupted"},
    )
    tails = {"edge-k3s": LogTail(("TASK [Start K3s]", "fatal: [edge-0]: FAILED!"), Path("runs/1/ansible-edge.log"))}
    explain(failure, tails, AGAIN)
    assert render_error(failure, Path("runs/1/debug.log")).splitlines() == [
        "Error: 1 change failed.",
        "  ✗ edge-k3s: A play failed.",
        "      create (playbooks/site.yml): edge-0 failed at the task 'Start K3s': exit code 1",
        "      The end of its log (runs/1/ansible-edge.log):",
        "      │ TASK [Start K3s]",
        "      │ fatal: [edge-0]: FAILED!",
        "      → Mend the cause and apply again.",
        "  ",
        "  Left undone: 3 changes.",
        "      waiting for edge-k3s: edge-oscar, service",
        "      interrupted: late",
        "→ Mend the cause, then go on where this run stopped: deploy apply demo.yaml --auto-approve",
        "  Log: runs/1/debug.log",
    ]


def test_the_same_cause_of_several_is_told_once() -> None:
    failed = {
        f"edge[{n}]": OperationError("The engine refused.", detail=f"edge[{n}]: no space on edge[{n}].")
        for n in range(12)
    } | {"image": OperationError("A build failed.", detail="image: exit code 2")}
    failure = ApplyFailedError("13 changes failed.", failed=failed, degraded={"k3s": ("edge[13]", "edge[14]")})
    explain(failure, {}, AGAIN)
    assert failure.detail.splitlines() == [
        "✗ edge[0], edge[1], edge[2], edge[3], edge[4], edge[5], edge[6], edge[7] and 4 more: The engine refused.",
        "    no space on edge[0].",
        "",
        "✗ image: A build failed.",
        "    exit code 2",
        "",
        "! k3s does without edge[13], edge[14]",
    ]


def test_after_a_saved_plan_a_new_one_is_needed() -> None:
    failure = ApplyFailedError("1 change failed.", failed={"a": OperationError("It broke.")})
    explain(failure, {}, "")
    assert "make the plan anew" in failure.resolution


def test_an_interrupted_or_partial_run_names_the_command_too() -> None:
    for failure in (CancelledError("Interrupted.", detail="Left undone: a."), DegradedError("Not whole.", detail="a.")):
        detail = failure.detail
        explain(failure, {}, AGAIN)
        assert failure.resolution.endswith(f": {AGAIN}")
        assert failure.detail == detail


def test_machines_that_failed_alike_are_named_in_their_order() -> None:
    failed = {f"edge[{number}]": OperationError("It broke.", detail="No room.") for number in (10, 2, 0)}
    failure = ApplyFailedError("3 changes failed.", failed=failed)
    explain(failure, {}, AGAIN)
    assert failure.detail.splitlines()[0] == "✗ edge[0], edge[2], edge[10]: It broke."
