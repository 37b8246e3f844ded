"""What the events of a play add up to, when it counts as hanging, and which machines it may do without."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.executors.play import PlayOutcome, Watch


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_play_that_says_nothing_for_too_long_hangs() -> None:
    clock = Clock()
    watch = Watch(900, 1800, clock)
    clock.now += 899
    assert watch.verdict == ""
    assert watch.left == 1
    watch.hear()
    clock.now += 600
    assert watch.verdict == ""
    assert watch.left == 300
    clock.now += 300
    assert watch.verdict == "nothing was heard of it for 900 s"
    assert watch.left <= 0


def test_a_play_that_goes_on_talking_is_bounded_all_the_same() -> None:
    clock = Clock()
    watch = Watch(900, 1800, clock)
    for _ in range(18):
        clock.now += 100
        watch.hear()
    assert watch.verdict == "it did not end within 1800 s"


def outcome(*events: dict[str, Any], status: str = "failed") -> PlayOutcome:
    made = PlayOutcome()
    for event in (*events, {"kind": "end", "status": status}):
        made.take(event)
    return made


def test_what_a_play_tells_is_a_line_of_progress() -> None:
    made = PlayOutcome()
    lines = [made.take({"kind": kind, "host": "pi-0", "text": "ends soon"}) for kind in ("begun", "told")]
    assert lines == ["", "ends soon"]
    assert not made.busy


def test_it_knows_the_task_and_the_hosts_that_are_at_it() -> None:
    assert PlayOutcome().where == "before its first task"
    made = outcome(
        {"kind": "play"},
        {"kind": "task", "task": "Read the board"},
        {"kind": "begun", "host": "pi-0"},
        {"kind": "task", "task": "Reboot once"},
        *({"kind": "begun", "host": f"pi-{n}"} for n in range(4)),
        {"kind": "ended", "host": "pi-0"},
        {"kind": "failed", "host": "pi-3", "task": "Reboot once", "message": "no"},
    )
    assert made.where == "at the task 'Reboot once' on pi-1, pi-2"
    assert made.plays == 1


def unreachable(host: str, message: str = "Failed to connect to the host via ssh: timed out") -> dict[str, Any]:
    return {"kind": "unreachable", "host": host, "task": "Read the board", "message": message}


def test_machines_that_do_not_answer_are_away() -> None:
    assert outcome(unreachable("pi-1"), unreachable("pi-2")).away == ("pi-1", "pi-2")


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "failed", "host": "pi-2", "task": "Start K3s", "message": "it did not start"},
        unreachable("pi-2", "Host key verification failed."),
        unreachable("pi-2", "admin@10.0.0.4: Permission denied (publickey)."),
    ],
)
def test_what_fails_or_refuses_is_not_away(event: dict[str, Any]) -> None:
    assert outcome(unreachable("pi-1"), event).away == ()


NOT_BACK = "did not come back from its reboot within 300 s"
REBOOT = {"kind": "failed", "host": "pi-1", "task": "Reboot once", "message": "Timed out", "cause": NOT_BACK}


def test_a_machine_that_does_not_come_back_from_its_reboot_is_away_because_of_that() -> None:
    made = outcome(REBOOT, unreachable("pi-1"), unreachable("pi-2"))
    assert made.away == ("pi-1", "pi-2")
    assert (made.cause_of("pi-1"), made.cause_of("pi-2"), made.cause_of("pi-3")) == (NOT_BACK, "", "")


def test_a_machine_that_answers_after_a_reboot_that_failed_is_not_away() -> None:
    made = outcome(REBOOT, {"kind": "failed", "host": "pi-1", "task": "Say that", "message": "it answers"})
    assert made.away == ()
    assert made.cause_of("pi-1") == ""
    assert outcome(REBOOT).away == (), "nobody has looked yet whether it answers"


def test_a_server_that_is_away_may_make_its_agents_fail() -> None:
    made = outcome(unreachable("pi-0"), {"kind": "failed", "host": "pi-1", "task": "Join", "message": "no server"})
    assert made.away == ()
    assert made.is_away("pi-0")
    assert not made.is_away("pi-1")
    assert not made.is_away("pi-2")


def test_a_play_that_was_ended_has_left_nothing_out_knowingly() -> None:
    assert outcome(unreachable("pi-1"), status="timeout").away == ()
    assert outcome(unreachable("pi-1"), status="canceled").away == ()
    hung = outcome(unreachable("pi-1"))
    hung.overdue = "nothing was heard of it for 900 s"
    assert hung.away == ()
