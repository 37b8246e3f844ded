"""Drawing in place, on a small terminal that understands the few sequences that are used."""

from __future__ import annotations

import re
import threading

from orchestrator.cli.views.progress_board import board_of
from orchestrator.cli.views.progress_terminal import TerminalProgress
from orchestrator.engine.hooks import ChangeFinished, ChangeProgress, ChangeStarted
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Change, Plan

ONE = Change("edge", "T", Action.CREATE, ("wanted",), DesiredInstance("edge", "edge", "T"))
_PIECES = re.compile(r"\x1b\[(\d*)([AKJ])|(\n)|(\r)|([^\x1b\n\r]+)")


class Terminal:
    """Rows of text and a cursor; nothing scrolls out of it."""

    def __init__(self, columns: int = 60, rows: int = 24) -> None:
        self.size = (columns, rows)
        self.lines = [""]
        self.row = self.column = 0

    def write(self, text: str) -> None:
        for count, command, newline, back, plain in _PIECES.findall(text):
            line = self.lines[self.row]
            if command == "A":
                self.row -= int(count)
            elif command == "K":
                self.lines[self.row] = line[: self.column]
            elif command == "J":
                self.lines[self.row] = line[: self.column]
                del self.lines[self.row + 1 :]
            elif newline:
                self.row, self.column = self.row + 1, 0
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif back:
                self.column = 0
            else:
                self.lines[self.row] = line[: self.column].ljust(self.column) + plain + line[self.column + len(plain) :]
                self.column += len(plain)


def progress(terminal: Terminal, clock: list[float] | None = None) -> TerminalProgress:
    moment = clock or [0.0]
    return TerminalProgress(
        board_of(Plan("demo", "l", 1, "local", {"edge": ONE}), None, 0.0),
        "Applying demo",
        lambda _board, _now: None,
        write=terminal.write,
        size=lambda: terminal.size,
        clock=lambda: moment[0],
        colour=False,
    )


def test_the_picture_is_drawn_in_its_own_place_and_messages_stay_above_it() -> None:
    terminal, clock = Terminal(), [0.0]
    picture = progress(terminal, clock)
    terminal.write("$ deploy apply\n")
    picture.draw()
    picture(ChangeStarted(ONE))
    picture(ChangeProgress(ONE, "booting"))
    clock[0] = 3.0
    picture.say("Warning: something.")
    picture.draw()
    assert [line.rstrip() for line in terminal.lines] == [
        "$ deploy apply",
        "Warning: something.",
        "Applying demo                                           3 s",
        "──────────────────────────────────────────────────  0/1",
        "  all  1 running",
        "    ⠹ edge  booting                                     3 s",
        "",
    ]
    assert (terminal.row, terminal.column) == (6, 0)


def test_at_the_end_the_result_takes_the_place_of_the_picture() -> None:
    terminal = Terminal()
    with progress(terminal) as picture:
        picture(ChangeStarted(ONE))
        picture(ChangeFinished(ONE, 4.0))
    assert [line.rstrip() for line in terminal.lines if line.strip()] == [
        "  all  1 done",
        "    ✓ edge  create                                      4 s",
    ]


def test_a_picture_on_a_terminal_that_became_narrower_is_found_by_the_rows_it_takes_now() -> None:
    terminal = Terminal(columns=60)
    picture = progress(terminal)
    picture.draw()
    terminal.size = (30, 24)
    written: list[str] = []
    picture._write = written.append
    picture.draw()
    # Title and bar took 59 and 55 cells: two rows each now; the other two lines fit.
    assert written[0].startswith("\r\x1b[6A")


def test_something_else_may_write_while_the_picture_is_away() -> None:
    terminal = Terminal()
    picture = progress(terminal)
    picture.draw()
    with picture.aside():
        terminal.write("a result\n")
    assert terminal.lines[0] == "a result"
    assert terminal.lines[1].startswith("Applying demo")


def test_a_message_that_must_not_wait_says_when_it_could_not_be_written() -> None:
    terminal = Terminal()
    picture = progress(terminal)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with picture.aside():
            held.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    assert picture.say_at_once("Interrupted.") is False
    release.set()
    holder.join()
    assert picture.say_at_once("Interrupted.") is True
    assert "Interrupted." in terminal.lines
