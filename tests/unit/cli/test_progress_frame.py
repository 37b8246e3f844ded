"""The picture of a run, drawn from recorded events at a fixed size."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.cli.views.progress_board import Board, board_of
from orchestrator.cli.views.progress_frame import Frame, render
from orchestrator.engine.hooks import (
    ChangeFailed,
    ChangeFinished,
    ChangeProgress,
    ChangeRetrying,
    ChangeSkipped,
    ChangeStarted,
    Event,
)
from orchestrator.errors import OperationError
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Change, Plan
from orchestrator.topology.model import Group, Topology


def change(address: str, action: Action = Action.CREATE) -> Change:
    node = address.partition("[")[0]
    return Change(address, "T", action, ("wanted",), DesiredInstance(address, node, "T"))


def layer(name: str, title: str, *members: str) -> Group:
    return Group(name, "continuum.groups.ComputationalLayer", members, {"name": title})


SMALL = {a: change(a) for a in ("edge[0]", "edge-k3s", "cloud[0]", "image")} | {"old": change("old", Action.NO_OP)}
LAYERS = Topology(
    "demo", groups={"1": layer("1", "Edge Layer", "edge", "edge-k3s"), "2": layer("2", "Cloud Layer", "cloud")}
)
BROKEN = OperationError("A play failed.", detail="edge-k3s: it broke.")

RECORDED: Sequence[tuple[float, Event]] = (
    (0.0, ChangeStarted(SMALL["edge[0]"])),
    (0.0, ChangeStarted(SMALL["cloud[0]"])),
    (2.0, ChangeProgress(SMALL["edge[0]"], "waiting for SSH\nat 10.0.0.4")),
    (4.0, ChangeFinished(SMALL["edge[0]"], 4.0)),
    (4.0, ChangeStarted(SMALL["edge-k3s"])),
    (9.0, ChangeRetrying(SMALL["edge-k3s"], BROKEN, 2, 8.0, 4)),
    (70.0, ChangeProgress(SMALL["cloud[0]"], "booting")),
)


def board(events: Sequence[tuple[float, Event]] = RECORDED) -> Board:
    made = board_of(Plan("demo", "l", 1, "local", SMALL), LAYERS, started=0.0)
    for moment, event in events:
        made.take(event, moment)
    return made


def drawn(shown: Board, now: float, width: int = 60, height: int = 24, **more: object) -> list[str]:
    return render(Frame(shown, "Applying demo", now, **more).lines(width, height), width, colour=False)  # type: ignore[arg-type]


def test_a_run_is_a_tree_of_layers_with_the_step_and_the_time_of_each_change() -> None:
    assert drawn(board(), 72.0, remaining=(125.0, False)) == [
        "Applying demo                                     1 min 12 s",
        "━━━━━━━━━────────────────────────────  1/4, about 2 min left",
        "  Edge Layer  1 retrying, 1 done",
        "    ✓ edge[0]   create                                   4 s",
        "    ↻ edge-k3s  attempt 2 of 4 in 8 s: A play f…  1 min 08 s",
        "  Cloud Layer  1 running",
        "    ⠇ cloud[0]  booting                           1 min 12 s",
        "  images and others  1 waiting",
        "    · image",
    ]


def test_what_is_tried_again_runs_once_its_next_attempt_has_begun() -> None:
    shown = board()
    shown.advance(16.9)
    assert "↻ edge-k3s" in drawn(shown, 17.0)[4]
    shown.advance(17.0)
    assert drawn(shown, 17.0)[4].split(maxsplit=1)[1].startswith("edge-k3s  attempt 2 of 4 ")


def test_what_remains_in_the_scrollback_tells_how_every_change_ended() -> None:
    ended = board(
        (
            *RECORDED,
            (80.0, ChangeFailed(SMALL["edge-k3s"], BROKEN, 76.0)),
            (90.0, ChangeFinished(SMALL["cloud[0]"], 90.0, ("cloud[1]",))),
            (90.0, ChangeSkipped(SMALL["image"], "edge-k3s")),
        )
    )
    assert render(Frame(ended, "Applying demo", 90.0).final_lines(60), 60, colour=False) == [
        "  Edge Layer  1 failed, 1 done",
        "    ✓ edge[0]   create                                   4 s",
        "    ✗ edge-k3s  A play failed.                    1 min 16 s",
        "  Cloud Layer  1 done",
        "    ✓ cloud[0]  create without cloud[1]           1 min 30 s",
        "  images and others  1 left undone",
        "    - image     because of edge-k3s",
    ]


def test_nothing_remains_of_a_run_that_did_not_begin() -> None:
    assert Frame(board(()), "Applying demo", 1.0).final_lines(60) == []


def test_an_estimate_that_leaves_something_out_says_so() -> None:
    assert drawn(board(), 72.0, remaining=(125.0, True))[1].endswith("1/4, at least 2 min left")
    assert drawn(board(), 72.0, remaining=(3.0, False))[1].endswith("1/4, less than 10 s left")
    assert drawn(board(), 72.0)[1].endswith("1/4")


def test_a_message_cannot_steer_the_terminal_nor_show_a_secret() -> None:
    shown = board(())
    shown.take(ChangeStarted(SMALL["image"]), 0.0)
    shown.take(
        ChangeProgress(SMALL["image"], "\x1b[2Jtoken hunter2\r"), 0.0, lambda text: text.replace("hunter2", "***")
    )
    assert drawn(shown, 0.0)[-1].rstrip() == "    ⠋ image     \\x1b[2Jtoken ***"


def crowd(failed: int, running: int) -> Board:
    """240 changes in four layers, the first of them failed or running, ten done."""
    changes = {f"part-{n}": change(f"part-{n}") for n in range(240)}
    groups = {str(g): layer(str(g), f"Layer {g}", *list(changes)[g * 60 : g * 60 + 60]) for g in range(4)}
    made = board_of(Plan("demo", "l", 1, "local", changes), Topology("demo", groups=groups), started=0.0)
    for number, one in enumerate(changes.values()):
        if number < failed + running + 10:
            made.take(ChangeStarted(one), float(number))
        if number < failed:
            made.take(ChangeFailed(one, BROKEN, 1.0), 1.0)
        elif failed + running <= number < failed + running + 10:
            made.take(ChangeFinished(one, 1.0), 2.0)
    return made


def test_among_hundreds_only_what_runs_or_failed_has_a_line_of_its_own() -> None:
    shown = drawn(crowd(2, 6), 30.0, width=80, height=23)
    assert shown[2] == "  Layer 0  2 failed, 6 running, 42 waiting, 10 done"
    assert [line.split()[1] for line in shown[3:11]] == [f"part-{n}" for n in range(8)]
    assert shown[11:] == ["  Layer 1  60 waiting", "  Layer 2  60 waiting", "  Layer 3  60 waiting"]


def test_where_even_that_is_too_much_failures_take_half_and_the_rest_is_counted() -> None:
    shown = drawn(crowd(30, 40), 200.0, width=80, height=23)
    assert len(shown) == 23
    assert shown[2:6] == [
        "  Layer 0  30 failed, 30 running",
        "  Layer 1  10 running, 40 waiting, 10 done",
        "  Layer 2  60 waiting",
        "  Layer 3  60 waiting",
    ]
    assert sum("✗" in line for line in shown) == 8
    assert shown[-1] == "    … 22 more failed, 32 more running"


@pytest.mark.parametrize(("width", "height"), [(80, 23), (40, 10), (20, 5), (10, 3), (5, 1), (1, 1)])
@pytest.mark.parametrize(("failed", "running"), [(0, 0), (3, 5), (30, 40), (0, 230)])
def test_the_picture_fits_whatever_the_size(width: int, height: int, failed: int, running: int) -> None:
    lines = Frame(crowd(failed, running), "Applying demo", 300.0, (20.0, False)).lines(width, height)
    assert len(lines) <= height
    assert max(line.cell_len for line in lines) <= width


def test_a_long_run_leaves_numbers_and_what_failed() -> None:
    shown = render(Frame(crowd(2, 0), "Applying demo", 300.0).final_lines(80), 80, colour=False)
    assert len(shown) == 6
    assert shown[0] == "  Layer 0  2 failed, 48 waiting, 10 done"
