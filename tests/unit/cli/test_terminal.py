"""What goes to a real (pseudo-)terminal: the picture, plain lines where it is not wanted, Ctrl-C in the middle."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

PROGRAM = """
import argparse, sys
from orchestrator.cli.console import Console
from orchestrator.cli.running import approve, progress, working
from orchestrator.engine.hooks import ChangeFinished, ChangeSkipped, ChangeStarted
from orchestrator.errors import CancelledError
from tests.unit.cli.test_runs_commands import A, B, C, PLAN
args = argparse.Namespace(json="json" in sys.argv, auto_approve=True, parallelism=4)
console = Console(["apply", "demo.yaml"])
with working("demo", args, console) as opened:
    if "ask" in sys.argv:
        args.auto_approve = False
        try:
            print("approved" if approve(args, console, opened, "Go on?") else "declined")
        except CancelledError as error:
            print(error.summary, error.resolution)
        sys.exit()
    with progress(args, console, opened, PLAN, None, "Applying demo") as show:
        hook = opened.noting(PLAN, show)
        hook(ChangeStarted(A))
        hook(ChangeFinished(A, 2.0))
        console.progress("Warning: something.")
        if "wait" in sys.argv:
            hook(ChangeStarted(B))
            console.progress("ready")
            opened.cancel.wait(30)
        for change in (B, C):
            hook(ChangeSkipped(change, "interrupted") if opened.cancel.is_set() else ChangeFinished(change, 1.0))
console.close()
"""
REPOSITORY = Path(__file__).parents[3]


class Session:
    """The program with a terminal of 80 by 24 as its standard error, and perhaps its standard output."""

    def __init__(self, home: Path, *words: str, both: bool = False, **environment: str) -> None:
        self.reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        own = {"DEPLOY_HOME": str(home), "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "PYTHONUTF8": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            stdin=writer,
            stdout=writer if both else subprocess.PIPE,
            stderr=writer,
            env={**os.environ, **own, **environment},
        )
        os.close(writer)
        self.shown = ""

    def read(self, until: str = "") -> str:
        """What the terminal got up to a text, or to the end."""
        while not until or until not in self.shown:
            try:
                piece = os.read(self.reader, 65536)
            except OSError:  # how Linux tells that the other side is closed
                break
            if not piece:
                break
            self.shown += piece.decode("utf-8").replace("\r\n", "\n")
        return self.shown

    def end(self) -> tuple[str, str]:
        """What went to the terminal and to a pipe, once the program has ended."""
        self.read()
        printed = self.process.stdout.read().decode() if self.process.stdout else ""
        assert self.process.wait(20) == 0, self.shown
        if self.process.stdout:
            self.process.stdout.close()
        os.close(self.reader)
        return self.shown, printed


def test_on_a_terminal_there_is_a_picture_and_then_the_result(tmp_path: Path) -> None:
    shown, _ = Session(tmp_path).end()
    assert "Applying demo" in shown
    assert "Warning: something.\n" in shown
    assert "\x1b[J" in shown
    last = shown.rpartition("\x1b[J")[2]
    assert last.count("✓") == 3
    assert last.endswith("\n\n")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "latin-1:replace"}])
def test_where_a_picture_is_not_wanted_there_are_plain_lines(tmp_path: Path, environment: dict[str, str]) -> None:
    session = Session(tmp_path, **environment)
    shown, _ = session.end()
    assert "\x1b" not in shown
    assert "a: done in 2.0 s (1/3)" in shown


def test_ctrl_c_is_told_above_the_picture_and_the_result_remains(tmp_path: Path) -> None:
    session = Session(tmp_path, "wait")
    session.read("ready")
    session.process.send_signal(signal.SIGINT)
    shown, _ = session.end()
    told = "Interrupted: finishing what is running, then saving."
    assert shown.count(told) == 1
    assert shown.index("ready") < shown.index(told)
    assert "interrupted" in shown.rpartition("\x1b[J")[2]


@pytest.mark.parametrize(("answer", "printed"), [("y\n", "approved"), ("\n", "declined")])
def test_a_question_is_answered(tmp_path: Path, answer: str, printed: str) -> None:
    session = Session(tmp_path, "ask")
    session.read("[y/N]")
    os.write(session.reader, answer.encode())
    assert session.end()[1].strip() == printed


def test_ctrl_c_is_an_answer_too(tmp_path: Path) -> None:
    session = Session(tmp_path, "ask")
    session.read("[y/N]")
    session.process.send_signal(signal.SIGINT)
    assert session.end()[1].strip().startswith("Interrupted.")


def test_a_terminal_that_goes_away_ends_no_run(tmp_path: Path) -> None:
    session = Session(tmp_path, "wait")
    session.read("ready")
    os.close(session.reader)
    session.process.send_signal(signal.SIGINT)
    assert session.process.wait(20) == 0
    (run,) = (tmp_path / "demo" / "runs").iterdir()
    assert json.loads((run / "run.json").read_bytes())["outcome"] == "succeeded"
    assert session.process.stdout is not None
    session.process.stdout.close()


def test_events_on_the_same_terminal_are_not_mixed_with_a_picture(tmp_path: Path) -> None:
    shown, _ = Session(tmp_path, "json", both=True).end()
    assert "\x1b" not in shown
    lines = [line for line in shown.splitlines() if not line.startswith("{")]
    assert lines == ["Warning: something."]


def test_events_in_a_file_leave_the_picture_on_the_terminal(tmp_path: Path) -> None:
    shown, printed = Session(tmp_path, "json").end()
    assert "Applying demo" in shown
    assert [line[:1] for line in printed.splitlines()] == ["{"] * len(printed.splitlines())
    assert '"run-finished"' in printed.splitlines()[-1]
