"""What the process that runs a play tells its parent, and what it must not tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.executors import ansible_process
from orchestrator.executors.ansible_process import EventFilter, as_data, environment, failure, remove_leftovers

SECRET = 'pa"ss/word'


def collect(tmp_path: Path, capsys: pytest.CaptureFixture[str], *events: dict[str, Any]) -> list[dict[str, Any]]:
    filtered = EventFilter(tmp_path / "run" / "play.log", (SECRET, "x"))
    for event in events:
        assert filtered.handle(event) is False, "an event must not be kept in a file"
    filtered.close("successful", 0)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_tasks_results_and_the_end_are_passed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stats = {"changed": {"a": 2, "b": 1}, "artifact_data": {"attributes": {"nodes": ["a", "b"]}}}
    lines = collect(
        tmp_path,
        capsys,
        {"event": "playbook_on_task_start", "event_data": {"task": "Validating arguments against arg spec"}},
        {"event": "playbook_on_task_start", "event_data": {"task": "Read the board"}},
        {"event": "playbook_on_stats", "event_data": stats},
    )
    assert lines == [
        {"kind": "task", "task": "Read the board"},
        {"kind": "stats", "changed": 3, "attributes": {"nodes": ["a", "b"]}},
        {"kind": "end", "status": "successful", "code": 0},
    ]


def test_what_a_play_tells_is_passed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = {"host": "pi-0", "task_action": "ansible.builtin.debug", "res": {"msg": f"six days, {SECRET}"}}
    lines = collect(tmp_path, capsys, {"event": "runner_on_ok", "event_data": result})
    assert lines[0] == {"kind": "told", "host": "pi-0", "text": "six days, ***"}


def test_secrets_are_masked_in_events_and_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = {
        "event": "runner_on_failed",
        "stdout": f"fatal: token {SECRET}",
        "event_data": {"host": "pi-0", "task": "Join", "res": {"msg": f"cannot use {SECRET}", "stderr": "six"}},
    }
    lines = collect(tmp_path, capsys, event)
    assert lines[0] == {"kind": "failed", "host": "pi-0", "task": "Join", "message": "cannot use ***\nsix"}
    log = tmp_path / "run" / "play.log"
    assert log.read_text() == "fatal: token ***\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_ignored_failures_are_not_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = {"event": "runner_on_failed", "event_data": {"host": "a", "task": "t", "ignore_errors": True}}
    assert [line["kind"] for line in collect(tmp_path, capsys, event)] == ["end"]


def test_an_unreachable_host_is_told_apart() -> None:
    details = {"host": "pi-1", "task": "Read the board", "res": {"msg": "Connection refused"}}
    assert failure("runner_on_unreachable", details)["kind"] == "unreachable"
    full = {**details, "res": {"msg": "mkdir: cannot create directory: No space left on device"}}
    assert failure("runner_on_unreachable", full)["kind"] == "failed", "it answers"
    silenced = {**details, "res": {"censored": "the output has been hidden", "unreachable": True}}
    assert "its SSH connection broke off" in failure("runner_on_unreachable", silenced)["message"]
    assert failure("runner_on_failed", {"res": {"stdout": "only this"}})["message"] == "only this"


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        (
            {"msg": "Timed out waiting for last boot time check (timeout=300.0)", "elapsed": 302},
            "did not come back from its reboot within 300 s",
        ),
        ({"msg": "no such words", "elapsed": 302}, "did not come back from its reboot within 302 s"),
    ],
)
def test_a_reboot_that_was_waited_for_in_vain_is_told_apart(result: dict[str, object], cause: str) -> None:
    details = {"host": "pi-1", "task": "Reboot once", "res": {"failed": True, "rebooted": True, **result}}
    told = failure("runner_on_failed", details)
    assert (told["kind"], told["cause"]) == ("failed", cause)
    refused = {**details, "res": {"failed": True, "rebooted": False, "msg": "Interactive authentication required."}}
    assert "cause" not in failure("runner_on_failed", refused)


def test_ansible_reads_nothing_of_the_users_own_configuration(tmp_path: Path) -> None:
    settings = environment(tmp_path, "/c/ansible.cfg")
    assert settings["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert settings["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_folders_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ansible_process, "_private_parent", lambda: tmp_path)
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait(20)
    for name in (f"deploy-play-{dead.pid}-a", f"deploy-play-{os.getpid()}-b", "deploy-play-x-c"):
        (tmp_path / name).mkdir()
    remove_leftovers()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"deploy-play-{os.getpid()}-b", "deploy-play-x-c"]


def test_a_reader_that_is_gone_does_not_change_the_exit_code(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from orchestrator.executors.ansible_process import EventFilter\n"
        "EventFilter(pathlib.Path(sys.argv[1]), ()).close('successful', 0)"
    )
    # With buffered output, as Python has it unless the environment says otherwise.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        child = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "log"],
            stdout=writer,
            stderr=subprocess.PIPE,
            env=environment,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (child.returncode, child.stderr) == (0, b"")


def test_inputs_that_look_like_templates_stay_texts(tmp_path: Path) -> None:
    values = {
        "plain": "a {b} c",
        "objects": [{"rule": "{{ $labels.pod }} 'is' \"down\" \\n {% endraw %} {# é 🙂 #}"}, 3, None],
        "evil": "{{ lookup('pipe', 'echo evaluated') }}",
    }
    variables, playbook, seen = tmp_path / "v.json", tmp_path / "p.yml", tmp_path / "seen"
    variables.write_text(json.dumps(as_data(values)))
    task = {"ansible.builtin.copy": {"content": "{{ [plain, objects, evil] | to_json }}", "dest": str(seen)}}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [task]}
    play["vars"] = {"ansible_python_interpreter": sys.executable}
    playbook.write_text(json.dumps([play]))
    command = [
        Path(sys.executable).with_name("ansible-playbook"),
        "-i",
        "localhost,",
        "-c",
        "local",
        "-e",
        f"@{variables}",
    ]
    done = subprocess.run([*command, playbook], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(seen.read_text()) == [values["plain"], values["objects"], values["evil"]]
