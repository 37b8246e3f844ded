"""The record of a run: what is kept, who may read it, that no secret is in it, and runs that were cut off."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.hooks import (
    ChangeFailed,
    ChangeFinished,
    ChangeProgress,
    ChangeRetrying,
    ChangeSkipped,
    ChangeStarted,
)
from orchestrator.errors import (
    ApplyFailedError,
    CancelledError,
    DegradedError,
    DeployError,
    OperationError,
    StateError,
    UsageError,
)
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Change, Plan
from orchestrator.services import runs
from orchestrator.services.run_log import TAIL_LINES, RunLog, recorded

RUN = "20251121T030501123Z-4711"


def change(address: str, *after: str, action: Action = Action.CREATE) -> Change:
    return Change(address, "Machine", action, ("not there yet",), DesiredInstance(address, address, "Machine"), after)


A, B, C, SAME = change("a"), change("b", "a"), change("c", "b"), change("same", action=Action.NO_OP)
PLAN = Plan("demo", "l", 1, "local", {c.address: c for c in (A, B, C, SAME)})


class Bed:
    """One run with clocks that move by a second at every look."""

    def __init__(self, home: Path, run: str = RUN) -> None:
        self.folder = home / "demo" / "runs" / run
        self.folder.mkdir(parents=True)
        self.secrets: tuple[str, ...] = ("hunter2-hunter2",)
        self.seconds = 0.0
        self.log = RunLog(
            self.folder,
            run,
            "demo",
            "deploy apply demo.yaml",
            lambda: self.secrets,
            clock=lambda: datetime(2025, 11, 21, 3, 5, 1, tzinfo=UTC),
            monotonic=self.tick,
        )

    def tick(self) -> float:
        self.seconds += 1
        return self.seconds - 1

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "events.jsonl").read_text(encoding="ascii").splitlines()]

    def run_file(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / "run.json").read_bytes())
        return value


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def bed(home: Path) -> Bed:
    return Bed(home)


def test_every_event_of_a_run_is_kept_in_the_documented_form(bed: Bed) -> None:
    broken = OperationError("It broke.", detail="b is broken.", resolution="Mend it.")
    log = bed.log
    log.begin()
    log.planned(PLAN)
    log(ChangeStarted(A))
    log(ChangeProgress(A, "booting"))
    log(ChangeFinished(A, 2.5, ("a[1]",)))
    log(ChangeStarted(B))
    log(ChangeRetrying(B, broken, 2, 8.0, 4))
    log(ChangeFailed(B, broken, 4.25))
    log(ChangeSkipped(C, "b"))
    log.end(ApplyFailedError("1 change failed.", detail="b: It broke.", resolution="Again."))
    about = {"type": "Machine", "action": "create"}
    error = {"summary": "It broke.", "detail": "b is broken.", "resolution": "Mend it."}
    told = [{k: v for k, v in event.items() if k not in ("time", "elapsed")} for event in bed.events()]
    assert told[0] == {
        "event": "run-started",
        "format_version": 1,
        "run": RUN,
        "deployment": "demo",
        "command": "deploy apply demo.yaml",
        "program_version": told[0]["program_version"],
    }
    assert told[1]["summary"] == {"no-op": 1, "create": 3}
    assert told[1]["changes"][1] == {
        "address": "b",
        **about,
        "reasons": ["not there yet"],
        "after": ["a"],
        "downtime": {"kind": "none", "text": "none"},
    }
    assert told[2:] == [
        {"event": "change-started", "address": "a", **about},
        {"event": "change-progress", "address": "a", **about, "message": "booting"},
        {"event": "change-finished", "address": "a", **about, "seconds": 2.5, "without": ["a[1]"]},
        {"event": "change-started", "address": "b", **about},
        {
            "event": "change-retrying",
            "address": "b",
            **about,
            "attempt": 2,
            "of": 4,
            "wait_seconds": 8.0,
            "error": error,
        },
        {
            "event": "change-failed",
            "address": "b",
            **about,
            "seconds": 4.25,
            "error": error,
            "log": {"file": None, "lines": []},
        },
        {"event": "change-skipped", "address": "c", **about, "because": "b"},
        {
            "event": "run-finished",
            "outcome": "failed",
            "seconds": told[-1]["seconds"],
            "counts": {"done": 1, "failed": 1, "skipped": 1},
            "error": {"summary": "1 change failed.", "detail": "b: It broke.", "resolution": "Again."},
            "manifest": None,
        },
    ]
    assert [event["elapsed"] for event in bed.events()] == sorted(event["elapsed"] for event in bed.events())
    assert bed.events()[0]["time"] == "2025-11-21T03:05:01.000Z"


def test_the_run_file_tells_the_run_in_short(bed: Bed) -> None:
    bed.log.begin()
    assert (bed.run_file()["finished"], bed.run_file()["outcome"]) == (None, None)
    bed.log.planned(PLAN)
    bed.log(ChangeFinished(A, 2.5))
    bed.log.note_manifest({"schema_version": 1})
    bed.log.end(None)
    value = bed.run_file()
    assert (value["run"], value["command"], value["plan"]) == (RUN, "deploy apply demo.yaml", {"no-op": 1, "create": 3})
    assert (value["outcome"], value["counts"], value["error"]) == (
        "succeeded",
        {"done": 1, "failed": 0, "skipped": 0},
        None,
    )
    assert value["started"] == value["finished"] == "2025-11-21T03:05:01.000Z"
    assert bed.events()[-1]["manifest"] == {"schema_version": 1}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "succeeded"),
        (CancelledError("Interrupted."), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (DegradedError("Not whole."), "degraded"),
        (UsageError("Nobody is there to approve."), "failed"),
        (ValueError("a mistake of the program"), "failed"),
    ],
)
def test_how_a_run_ended_is_told_by_what_ended_it(bed: Bed, error: BaseException | None, outcome: str) -> None:
    bed.log.begin()
    bed.log.end(error)
    assert bed.run_file()["outcome"] == bed.events()[-1]["outcome"] == outcome


def test_whatever_ends_a_run_goes_on_after_it_was_noted(bed: Bed) -> None:
    with pytest.raises(ValueError, match="a mistake"), recorded(bed.log):
        raise ValueError("a mistake of the program")
    assert bed.run_file()["error"]["detail"] == "a mistake of the program"


def test_a_plan_that_was_not_wanted_is_told_as_such(bed: Bed) -> None:
    with recorded(bed.log) as log:
        log.note_declined()
    assert bed.run_file()["outcome"] == "declined"


def test_only_the_owner_can_read_it_and_no_secret_is_in_it(bed: Bed) -> None:
    bed.log.begin()
    bed.log(ChangeStarted(A))
    bed.log(ChangeProgress(A, "token hunter2-hunter2 sent"))
    bed.secrets = ()  # as after a destroy
    bed.log(ChangeFailed(A, OperationError("It broke.", detail="hunter2-hunter2 is refused."), 1.0))
    bed.log.end(OperationError("It broke.", detail="hunter2-hunter2 is refused."))
    for file in bed.folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "hunter2" not in file.read_text(encoding="utf-8")
    assert bed.events()[3]["log"]["lines"] == ["token *** sent"]


def test_a_secret_of_digits_takes_no_number_apart(bed: Bed) -> None:
    bed.secrets = ("2025", "4.25")
    bed.log.begin()
    bed.log(ChangeFinished(A, 4.25))
    assert bed.events()[1]["seconds"] == 4.25


def test_secrets_that_cannot_be_read_do_not_end_a_run(bed: Bed) -> None:
    def refuse() -> tuple[str, ...]:
        raise StateError("The secrets cannot be read.")

    bed.log._secrets = refuse
    bed.log.begin()
    bed.log(ChangeFinished(A, 1.0))
    bed.log.end(None)
    assert [event["event"] for event in bed.events()] == ["run-started", "change-finished", "run-finished"]


def test_a_record_that_cannot_be_written_ends_no_run(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    bed.log.begin()
    os.close(bed.log._fd)
    bed.log._fd = os.open("/dev/full", os.O_WRONLY)
    heard: list[dict[str, Any]] = []
    bed.log.follow(heard.append)
    bed.log(ChangeFinished(A, 1.0))
    bed.log.end(None)
    assert [event["event"] for event in heard] == ["run-started", "change-finished", "run-finished"]
    assert "the record of this run is not complete" in caplog.text


def test_a_failure_keeps_the_end_of_its_own_log(bed: Bed) -> None:
    log_file = bed.folder / "ansible-a-create.log"
    lines = [f"TASK [number {n}]" for n in range(40)]
    log_file.write_text("\n".join([*lines, "fatal: hunter2-hunter2", "", "PLAY RECAP ****", "a : ok=1"]) + "\n")
    bed.log.begin()
    bed.log(ChangeStarted(A))
    bed.log(ChangeFailed(A, OperationError("A play failed.", log_file=log_file), 1.0))
    kept = bed.events()[-1]["log"]
    assert kept["file"] == str(log_file)
    assert kept["lines"] == [*lines[-TAIL_LINES + 1 :], "fatal: ***"]


def test_a_failure_without_a_log_of_its_own_keeps_what_its_thread_said_last(bed: Bed) -> None:
    bed.log.begin()
    logger = logging.getLogger("orchestrator.providers")
    logger.setLevel(logging.DEBUG)
    bed.log(ChangeStarted(B))
    bed.log(ChangeStarted(A))
    bed.log(ChangeProgress(A, "asking for a machine"))
    logger.debug("answer: 500")
    bed.log(ChangeFailed(A, OperationError("It broke."), 1.0))
    bed.log.end(None)
    assert bed.events()[-2]["log"]["lines"] == ["asking for a machine", "orchestrator.providers: answer: 500"]


def test_runs_are_listed_with_their_outcome_and_old_ones_without_a_record_as_such(home: Path) -> None:
    (home / "demo" / "runs" / "20241121T030501123Z-1").mkdir(parents=True)
    done = Bed(home)
    with recorded(done.log) as log:
        log.planned(PLAN)
        log(ChangeFinished(A, 2.5))
    listed = runs.list_runs("demo")
    assert [(run.outcome, run.started) for run in listed] == [
        ("not recorded", "2024-11-21T03:05:01.123Z"),
        ("succeeded", "2025-11-21T03:05:01.000Z"),
    ]
    assert (listed[1].seconds, listed[1].counts["done"], listed[1].command) == (4.0, 1, "deploy apply demo.yaml")


KILLED = """
import os, sys
from pathlib import Path
sys.path[:0] = {path!r}
from tests.unit.services.test_run_log import Bed, A, B, PLAN
from orchestrator.engine.hooks import ChangeFinished, ChangeStarted
bed = Bed(Path({home!r}))
bed.log.begin()
bed.log.planned(PLAN)
bed.log(ChangeStarted(A))
bed.log(ChangeFinished(A, 1.0))
bed.log(ChangeStarted(B))
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_run_goes_on_as_long_as_its_process_lives_and_is_cut_off_when_that_was_killed(home: Path) -> None:
    path = [str(Path(__file__).parents[3])]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(path=path, home=str(home))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (running,) = runs.list_runs("demo")
        process.kill()
    (cut_off,) = runs.list_runs("demo")
    assert (running.outcome, cut_off.outcome) == ("running", "cut off")
    assert (cut_off.counts["done"], cut_off.plan, cut_off.command) == (
        1,
        {"no-op": 1, "create": 3},
        "deploy apply demo.yaml",
    )


def test_a_run_is_followed_to_its_end(bed: Bed) -> None:
    bed.log.begin()
    steps = iter([lambda: bed.log(ChangeStarted(A)), lambda: bed.log.end(None)])
    followed = runs.follow_events(bed.folder, sleep=lambda _seconds: next(steps)())
    assert [event["event"] for event in followed] == ["run-started", "change-started", "run-finished"]


def test_a_line_that_was_cut_off_is_passed_over(bed: Bed) -> None:
    bed.log.begin()
    bed.log.end(None)
    with (bed.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "change-st')
    assert [event["event"] for event in runs.read_events(bed.folder)] == ["run-started", "run-finished"]


def test_a_damaged_run_file_is_no_reason_to_refuse_the_list(bed: Bed) -> None:
    (bed.folder / "run.json").write_text('{"outcome"')
    assert runs.list_runs("demo")[0].outcome == "not recorded"


def test_old_run_folders_go_but_not_those_that_are_needed(home: Path) -> None:
    for number in range(8):
        (home / "demo" / "runs" / f"2025112{number}T000000000Z-1").mkdir(parents=True)
    runs.remove_old_runs(home / "demo", {"20251121T000000000Z-1"}, keep=3)
    assert [run.run[:8] for run in runs.list_runs("demo")] == ["20251121", "20251125", "20251126", "20251127"]


def test_a_run_is_found_by_the_beginning_of_its_name_else_the_last_one(home: Path) -> None:
    for name in ("20251121T000000000Z-1", "20251122T000000000Z-2"):
        (home / "demo" / "runs" / name).mkdir(parents=True)
    assert runs.find_run("demo", None).name == "20251122T000000000Z-2"
    assert runs.find_run("demo", "20251121").name == "20251121T000000000Z-1"
    for wrong in ("2025", "2026"):
        with pytest.raises(UsageError, match="There is no such run"):
            runs.find_run("demo", wrong)


def test_the_runs_of_a_destroyed_deployment_are_found_too(home: Path) -> None:
    with pytest.raises(UsageError, match="There is no deployment"):
        runs.find_deployment_with_runs(None)
    (home / "demo" / "runs").mkdir(parents=True)
    assert runs.find_deployment_with_runs(None) == runs.find_deployment_with_runs("demo") == "demo"
    (home / "other" / "runs").mkdir(parents=True)
    with pytest.raises(UsageError, match="several"):
        runs.find_deployment_with_runs(None)
    with pytest.raises(UsageError, match="no runs of this deployment"):
        runs.find_deployment_with_runs("third")


def test_durations_are_the_median_of_earlier_runs_by_address_then_by_type(home: Path) -> None:
    for number, seconds in enumerate((10.0, 30.0, 20.0)):
        earlier = Bed(home, f"2025112{number}T000000000Z-1")
        with recorded(earlier.log) as log:
            log(ChangeFinished(A, seconds))
            log(ChangeFinished(B, 100.0))
    durations = runs.read_durations(home / "demo")
    assert durations.expected("a", "Machine", "create") == 20.0
    assert durations.expected("new", "Machine", "create") == 65.0
    assert durations.expected("a", "Machine", "update") == 20.0
    assert durations.expected("a", "Machine", "delete") is None
    assert durations.expected("new", "Other", "create") is None
    assert durations.of(PLAN.changes) == {"a": 20.0, "b": 100.0, "c": 65.0}


def test_a_deploy_error_keeps_its_text_when_it_has_no_log() -> None:
    assert isinstance(OperationError("It broke."), DeployError)
    assert OperationError("It broke.").log_file is None
