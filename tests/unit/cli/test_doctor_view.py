"""What a person sees of an examination before an apply."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.console import Console
from orchestrator.cli.views import doctor
from orchestrator.remote.target import SshTarget
from orchestrator.services.doctor_findings import Examination, MachineReport, Subject, error, note, warning

BOARD: dict[str, Any] = {
    "model": "Raspberry Pi 4 Model B\x1b[2J",
    "distribution": {"id": "debian", "version": "12"},
    "kernel_architecture": "aarch64",
    "memory_mb": 3792,
    "data_folder": "/var/lib/rancher/k3s",
    "disk_free_mb": {"/var/lib/rancher/k3s": 900, "/": 1},
    "k3s": {"version": ""},
    "findings": [{"text": "twice"}],
}


@pytest.fixture
def found() -> Examination:
    target = SshTarget("10.0.0.2", 22, "pi", Path("/k"), "", passphrase="hidden-word", become_password="hidden-word")
    late = warning("clock", "pi[0]", "It is late by `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` " * 3, "Wait.")
    away = error("reach", "pi[1]", "It is away.", "Find it.")
    machines = (
        MachineReport(Subject("pi[0]", target, "k3s", "server"), True, BOARD, (late,)),
        MachineReport(Subject("pi[1]", target, "k3s", "agent"), False, {}, (away,)),
    )
    return Examination("demo", False, machines, (away, late), ("Nothing more.",))


def test_without_a_terminal_it_is_a_plain_table(found: Examination) -> None:
    text = doctor.render(found, Console([]))
    assert "\x1b" not in text, "what a machine says of itself does not steer a terminal"
    lines = text.splitlines()
    assert lines[0] == "demo"
    assert "3.7 GB" in text
    assert "900 MB" in text
    assert "not reached" in text
    assert "arm64" in text
    assert "    → Wait." in lines
    assert all(len(line) <= 114 for line in lines if line.startswith("      "))
    assert "ssh-\n" not in text, "no name is torn apart"
    assert lines[-1] == "An apply would be stopped: 1 error, 1 warning."
    assert "hidden-word" not in text


def test_what_is_only_to_be_known_is_no_warning(found: Examination) -> None:
    known = note("clouds", "cloud[1]", "A gateway is made.", "")
    lines = doctor.render(replace(found, findings=(known,)), Console([])).splitlines()
    assert "  · cloud[1]: clouds" in lines
    assert lines[-1] == "Nothing would stop an apply."


def test_for_a_program(found: Examination) -> None:
    said = json.loads(doctor.render_json(found))
    assert (said["format_version"], said["fit"]) == (1, False)
    assert "findings" not in said["machines"][0]["board"]
    assert said["machines"][1]["board"] is None
    assert [f["where"] for f in said["findings"]] == ["pi[1]", "pi[0]"]
    assert "hidden-word" not in json.dumps(said)


def test_a_narrow_terminal_does_without_the_less_important_columns(found: Examination) -> None:
    rows = [doctor._row(report) for report in found.machines]

    def shown(width: int) -> list[str]:
        return [doctor._HEADER[number] for number in doctor._columns(rows, width)]

    assert shown(200) == list(doctor._HEADER)
    assert "K3s" not in shown(100)
    assert shown(20) == ["machine", "login", "verdict"]
    drawn = doctor._drawn(found.machines, rows, colour=False)
    assert "pi@10.0.0.2:22" in drawn
