"""The program that changes a machine before K3s is put on it: what it notes, and that a power loss leaves sense."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from orchestrator.resources import data_path

PROGRAM = data_path("playbooks", "roles", "k3s_prerequisites", "files", "prepare_machine.py")
LINE = "console=tty1 root=PARTUUID=0-02 rootwait"
WORDS = ["cgroup_memory=1", "cgroup_enable=memory"]


@pytest.fixture
def program() -> dict[str, Any]:
    return runpy.run_path(str(PROGRAM))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "continuum-deploy" / "changes.json"


@pytest.fixture
def line(tmp_path: Path) -> Path:
    path = tmp_path / "cmdline.txt"
    path.write_text(LINE + "\n")
    path.chmod(0o755)
    return path


def test_words_are_added_to_the_one_line_and_noted(program: dict[str, Any], record: Path, line: Path) -> None:
    program["edit_command_line"](str(record), str(line), WORDS)
    assert line.read_text() == f"{LINE} {' '.join(WORDS)}\n"
    assert line.stat().st_mode & 0o777 == 0o755
    assert json.loads(record.read_text()) == {"command_line": {"file": str(line), "added": WORDS}}
    assert [path.name for path in line.parent.iterdir() if path.is_file()] == ["cmdline.txt"]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "  \n"])
def test_however_the_line_ends_it_stays_one(program: dict[str, Any], record: Path, line: Path, ending: str) -> None:
    line.write_bytes((LINE + ending).encode())
    program["edit_command_line"](str(record), str(line), WORDS)
    assert line.read_bytes() == f"{LINE} {' '.join(WORDS)}\n".encode()


def test_words_that_were_there_are_not_noted_as_ours(program: dict[str, Any], record: Path, line: Path) -> None:
    line.write_text(f"{LINE} {WORDS[0]}\n")
    program["edit_command_line"](str(record), str(line), WORDS)
    assert json.loads(record.read_text())["command_line"]["added"] == WORDS[1:]
    before = line.stat().st_ino
    program["edit_command_line"](str(record), str(line), WORDS)
    assert line.stat().st_ino == before, "what is complete is not written again"


def test_power_lost_after_the_note_leaves_the_old_line_and_the_next_run_finishes(
    program: dict[str, Any], record: Path, line: Path
) -> None:
    functions = program["edit_command_line"].__globals__
    write = functions["write"]

    def lose_power(path: str, text: str) -> None:
        if path == str(line):
            raise KeyboardInterrupt
        write(path, text)

    functions["write"] = lose_power
    with pytest.raises(KeyboardInterrupt):
        program["edit_command_line"](str(record), str(line), WORDS)
    assert line.read_text() == LINE + "\n"
    assert json.loads(record.read_text())["command_line"]["added"] == WORDS
    functions["write"] = write
    program["edit_command_line"](str(record), str(line), WORDS)
    assert line.read_text().split()[-2:] == WORDS
    assert json.loads(record.read_text())["command_line"]["added"] == WORDS, "noted once"


def test_what_earlier_runs_noted_is_kept(program: dict[str, Any], record: Path) -> None:
    program["note"](str(record), "modules", {"file": "/etc/x", "loaded": ["overlay"]})
    program["note"](str(record), "modules", {"file": "/etc/x", "loaded": ["overlay", "vxlan"]})
    program["note"](str(record), "swap", {"services": [], "units": ["a.swap"], "names": ["/a"]})
    assert json.loads(record.read_text()) == {
        "modules": {"file": "/etc/x", "loaded": ["overlay", "vxlan"]},
        "swap": {"services": [], "units": ["a.swap"], "names": ["/a"]},
    }


@pytest.mark.parametrize("damaged", ["", '{"modules": {"fi', "\0\0\0\0"])
def test_a_damaged_record_is_begun_anew(program: dict[str, Any], record: Path, damaged: str) -> None:
    record.parent.mkdir()
    record.write_text(damaged)
    program["note"](str(record), "modules", {"loaded": ["vxlan"]})
    assert json.loads(record.read_text()) == {"modules": {"loaded": ["vxlan"]}}
