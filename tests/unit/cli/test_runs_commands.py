"""`runs` and `events` over real run folders, and what a command that changes something prints with `--json`."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.console import Console
from orchestrator.cli.main import main
from orchestrator.cli.running import approve, print_nothing_done, progress, working
from orchestrator.engine.hooks import (
    ChangeFailed,
    ChangeFinished,
    ChangeProgress,
    ChangeRetrying,
    ChangeSkipped,
    ChangeStarted,
)
from orchestrator.errors import ApplyFailedError, OperationError
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Change, Plan
from orchestrator.services.run_events import event_to_json


def change(address: str, *after: str) -> Change:
    return Change(address, "T", Action.CREATE, ("wanted",), DesiredInstance(address, address, "T"), after)


A, B, C = change("a"), change("b"), change("c", "b")
PLAN = Plan("demo", "l", 1, "local", {one.address: one for one in (A, B, C)})
BROKEN = OperationError("It broke.", detail="b: a line\nand another.")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path))


def arguments(**more: object) -> argparse.Namespace:
    return argparse.Namespace(**{"json": False, "auto_approve": True, "parallelism": 4} | more)


def apply(args: argparse.Namespace, *, fails: bool) -> str:
    """One run that does what is told with it; its identifier."""
    console = Console(["apply", "demo.yaml"])
    try:
        with working("demo", args, console) as opened:
            assert approve(args, console, opened, "Go on?")
            with progress(args, console, opened, PLAN, None, "Applying demo") as show:
                hook = opened.noting(PLAN, show)
                hook(ChangeStarted(A))
                hook(ChangeFinished(A, 2.0))
                hook(ChangeStarted(B))
                hook(ChangeProgress(B, "nearly there"))
                hook(ChangeFailed(B, BROKEN, 3.0) if fails else ChangeFinished(B, 3.0))
                hook(ChangeSkipped(C, "b") if fails else ChangeFinished(C, 1.0))
            if fails:
                raise ApplyFailedError("1 change failed.", failed={"b": BROKEN}, skipped={"c": "b"})
            return opened.run
    finally:
        console.close()


def apply_and_fail(args: argparse.Namespace) -> ApplyFailedError:
    with pytest.raises(ApplyFailedError) as caught:
        apply(args, fails=True)
    return caught.value


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_is_a_line_an_event_from_the_first_to_the_last_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    apply(arguments(json=True), fails=False)
    events = lines(capsys.readouterr().out)
    assert [event["event"] for event in events] == [
        "run-started",
        "planned",
        "change-started",
        "change-finished",
        "change-started",
        "change-progress",
        "change-finished",
        "change-finished",
        "run-finished",
    ]
    assert (events[0]["format_version"], events[0]["deployment"]) == (1, "demo")
    assert (events[-1]["outcome"], events[-1]["counts"]) == ("succeeded", {"done": 3, "failed": 0, "skipped": 0})


def test_events_are_read_again_as_they_were_printed(capsys: pytest.CaptureFixture[str]) -> None:
    apply_and_fail(arguments(json=True))
    printed = capsys.readouterr().out
    assert main(["events", "demo", "--json"]) == 0
    assert capsys.readouterr().out == printed
    assert main(["events", "demo", "--json", "--follow"]) == 0
    assert capsys.readouterr().out == printed


def test_a_failure_names_the_end_of_its_log_and_the_command_to_go_on() -> None:
    failure = apply_and_fail(arguments())
    assert "│ nearly there" in failure.detail
    assert "waiting for b: c" in failure.detail
    assert failure.resolution == "Mend the cause, then go on where this run stopped: deploy apply demo.yaml"


def test_a_run_is_told_again_in_the_lines_that_were_shown(capsys: pytest.CaptureFixture[str]) -> None:
    apply_and_fail(arguments())
    shown = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert main(["events"]) == 0
    told = capsys.readouterr().out
    for line in shown:
        assert line in told
    assert "✗ b: failed after 3.0 s (2/3): It broke." in told
    assert told.count("and another.") == told.count("│ nearly there") == 1
    assert "Failed after 0 s, changes: 1 done, 1 failed, 1 left undone." in told
    assert told.rstrip().endswith("deploy apply demo.yaml")


def test_runs_are_listed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "demo" / "runs" / "20241121T030501123Z-1").mkdir(parents=True)
    run = apply(arguments(), fails=False)
    capsys.readouterr()
    assert main(["runs", "demo"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "20241121T030501123Z-1 2024-11-21 03:05:01 not recorded" in shown
    assert "0 s succeeded 3 done deploy apply demo.yaml" in shown
    assert main(["runs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["format_version"], listed["deployment"]) == (1, "demo")
    last = listed["runs"][-1]
    assert (last["run"], last["outcome"], last["counts"]) == (run, "succeeded", {"done": 3, "failed": 0, "skipped": 0})
    assert main(["events", "--run", "20241121"]) == 0
    assert "kept no events" in capsys.readouterr().out


def test_a_run_that_was_cut_off_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    apply_and_fail(arguments())
    (folder,) = (tmp_path / "demo" / "runs").iterdir()
    kept = (folder / "events.jsonl").read_text(encoding="ascii").splitlines(keepends=True)
    (folder / "events.jsonl").write_text("".join(kept[:-2]) + '{"event": "chan', encoding="ascii")
    value = json.loads((folder / "run.json").read_bytes())
    (folder / "run.json").write_text(json.dumps(value | {"outcome": None, "finished": None}), encoding="ascii")
    capsys.readouterr()
    assert main(["runs"]) == 0
    assert "cut off  1 done, 1 failed" in capsys.readouterr().out
    assert main(["events"]) == 0
    shown = capsys.readouterr().out
    assert "✗ b: It broke.\n    b: a line\n    and another.\n    │ nearly there\nThe run was cut off" in shown
    assert shown.endswith("→ Go on with: deploy apply demo.yaml\n")


def test_where_nothing_is_to_be_done_json_has_a_first_and_a_last_event_too(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(["destroy", "demo"])
    print_nothing_done(arguments(json=True), console, "demo", "Nothing is left.")
    started, finished = lines(capsys.readouterr().out)
    assert (started["event"], started["run"]) == ("run-started", None)
    assert (finished["event"], finished["outcome"]) == ("run-finished", "succeeded")
    print_nothing_done(arguments(), console, "demo", "Nothing is left.")
    assert capsys.readouterr().out == "Nothing is left.\n"


def test_a_reader_of_events_that_goes_away_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_console: Console, _text: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(Console, "result", refuse)
    monkeypatch.setattr(Console, "drop_stdout", lambda _console: None)
    run = apply(arguments(json=True), fails=False)
    assert json.loads((tmp_path / "demo" / "runs" / run / "run.json").read_bytes())["outcome"] == "succeeded"


def documented_events() -> dict[str, set[str]]:
    """The keys of every kind of event, beside those that all have, from the table in the documentation."""
    page = (Path(__file__).parents[3] / "docs" / "json-output.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", page.partition("## Events")[2], flags=re.MULTILINE)
    return {kind: set(re.findall("`([a-z_]+)`", keys)) for kind, keys in rows if kind != "event"}


def test_every_event_has_the_keys_that_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    documented = documented_events()
    assert len(documented) == 9
    apply_and_fail(arguments(json=True))
    retried = event_to_json(ChangeRetrying(A, BROKEN, 2, 8.0, 4))
    for event in [*lines(capsys.readouterr().out), retried]:
        assert set(event) - {"event", "time", "elapsed"} == documented[event["event"]], event["event"]
