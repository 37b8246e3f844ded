"""Draws where a run stands, to fit a terminal of any size: what runs and what failed first, the rest in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from orchestrator.cli.views.progress_board import ACTIVE, Board, Row, Stand
from orchestrator.cli.views.words import about, duration, one_line

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SIGNS = {
    Stand.WAITING: ("·", "dim"),
    Stand.RUNNING: ("⠿", "cyan"),
    Stand.RETRYING: ("↻", "yellow"),
    Stand.DONE: ("✓", "green"),
    Stand.FAILED: ("✗", "bold red"),
    Stand.SKIPPED: ("-", "yellow"),
}
_GOING = (Stand.RETRYING, Stand.RUNNING)
_WIDEST_ADDRESS = 34
_HEADER_LINES = 2
_FINAL_ROWS = 60
"""A run with more changes than this leaves only what failed in the scrollback, the rest in numbers."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a picture is made from.

    Attributes:
        board: Where every change stands.
        title: What the run does.
        now: The moment, on the board's clock.
        remaining: Seconds that the rest will take, and whether that is the least; ``None`` if nothing is known.
    """

    board: Board
    title: str
    now: float
    remaining: tuple[float, bool] | None = None

    def lines(self, width: int, height: int) -> list[Text]:
        """At most ``height`` lines of at most ``width`` cells; a terminal too small for it gets the first lines."""
        body = self._body(width, height - _HEADER_LINES)
        return [_fit(line, width) for line in (*self._header(width), *body)][: max(height, 1)]

    def final_lines(self, width: int) -> list[Text]:
        """What stays to be read once the run is over; nothing if it did not begin."""
        rows = list(self.board.rows.values())
        if all(row.stand is Stand.WAITING for row in rows):
            return []
        groups = self.board.groups
        if len(rows) <= _FINAL_ROWS:
            shown = [(title, members, list(members)) for title, members in groups.items()]
        else:
            shown = [(t, m, [row for row in m if row.stand is Stand.FAILED]) for t, m in groups.items()]
        lines = []
        for title, members, visible in shown:
            lines.append(_group_line(title, members))
            lines += [self._row_line(row, width) for row in visible]
        return [_fit(line, width) for line in lines]

    def _header(self, width: int) -> list[Text]:
        board = self.board
        counts = board.counts()
        over = counts[Stand.DONE] + counts[Stand.FAILED] + counts[Stand.SKIPPED]
        first = _spread(Text(self.title, "bold"), Text(duration(self.now - board.started)), width)
        numbers = f"{over}/{len(board.rows)}{self._estimate()}"
        bar = max(10, min(50, width - len(numbers) - 2))
        filled = bar * over // max(1, len(board.rows))
        style = "red" if counts[Stand.FAILED] else "green"
        second = Text.assemble(("━" * filled, style), ("─" * (bar - filled), "dim"), "  ", numbers)
        return [first, second]

    def _estimate(self) -> str:
        if self.remaining is None:
            return ""
        seconds, at_least = self.remaining
        return f", {'at least ' if at_least else ''}{about(seconds)} left".replace("at least about", "at least")

    def _body(self, width: int, room: int) -> list[Text]:
        groups = self.board.groups
        if sum(1 + len(rows) for rows in groups.values()) <= room:
            return self._tree(groups, width, lambda _row: True)
        active = {title: [r for r in rows if r.stand in ACTIVE] for title, rows in groups.items()}
        if sum(1 + len(rows) for rows in active.values()) <= room:
            return self._tree(groups, width, lambda row: row.stand in ACTIVE)
        return self._crowded(width, room)

    def _tree(self, groups: dict[str, list[Row]], width: int, is_shown: Callable[[Row], bool]) -> list[Text]:
        lines = []
        for title, rows in groups.items():
            lines.append(_group_line(title, rows))
            lines += [self._row_line(row, width) for row in rows if is_shown(row)]
        return lines

    def _crowded(self, width: int, room: int) -> list[Text]:
        """The groups in numbers, then as many rows as fit: of what failed at most half, of what runs the longest."""
        rows = list(self.board.rows.values())
        heads = [_group_line(title, members) for title, members in self.board.groups.items()]
        if len(heads) > max(1, room // 3):
            heads = [_group_line(f"{len(heads)} layers and others", rows)]
        fit = max(0, room - len(heads))
        failed = [row for row in rows if row.stand is Stand.FAILED]
        going = [row for stand in _GOING for row in sorted(_standing(rows, stand), key=lambda row: row.since)]
        if len(failed) + len(going) > fit:
            fit -= 1
        shown_failed = failed[: max(fit // 2, fit - len(going))]
        shown = [*shown_failed, *going[: max(0, fit - len(shown_failed))]]
        lines = heads + [self._row_line(row, width) for row in shown]
        left = Counter(row.stand for row in (*failed, *going)) - Counter(row.stand for row in shown)
        if left:
            more = ", ".join(f"{left[stand]} more {stand}" for stand in ACTIVE if left[stand])
            lines.append(Text(f"    … {more}", "dim"))
        return lines

    def _row_line(self, row: Row, width: int) -> Text:
        sign, style = _SIGNS[row.stand]
        if row.stand is Stand.RUNNING:
            sign = _SPINNER[int(self.now * 4) % len(_SPINNER)]
        address = min(_WIDEST_ADDRESS, max(len(a) for a in self.board.rows), max(8, width // 2))
        name = row.change.address
        if cell_len(name) > address:
            name = set_cell_size(name, address - 1) + "…"
        told = {Stand.WAITING: "", Stand.DONE: f"{row.change.action.value} {row.text}"}.get(row.stand, row.text)
        if row.stand is Stand.SKIPPED and row.text in self.board.rows:
            told = f"because of {row.text}"
        left = Text.assemble(
            "    ", (sign, style), f" {set_cell_size(name, address)}  ", (one_line(told), _text_style(row))
        )
        seconds = row.elapsed(self.now)
        return _spread(left, Text(duration(seconds) if seconds >= 0.5 else "", "dim"), width)


def render(lines: Sequence[Text], width: int, *, colour: bool) -> list[str]:
    """Lines as a terminal gets them, without their ends."""
    console = Console(
        width=width, force_terminal=colour, color_system="standard" if colour else None, legacy_windows=False
    )
    with console.capture() as capture:
        for line in lines:
            console.print(line, no_wrap=True, overflow="crop", crop=True, soft_wrap=False, highlight=False)
    return capture.get().splitlines()


def _group_line(title: str, rows: Sequence[Row]) -> Text:
    counts = Counter(row.stand for row in rows)
    told = [(f"{counts[stand]} {stand}", _SIGNS[stand][1]) for stand in Stand if counts[stand]]
    line = Text.assemble("  ", (title, "bold"), "  ")
    for number, (text, style) in enumerate(told):
        line.append(", " if number else "")
        line.append(text, style)
    return line


def _standing(rows: Sequence[Row], stand: Stand) -> list[Row]:
    return [row for row in rows if row.stand is stand]


def _text_style(row: Row) -> str:
    return {Stand.FAILED: "red", Stand.RETRYING: "yellow", Stand.SKIPPED: "yellow"}.get(row.stand, "dim")


def _spread(left: Text, right: Text, width: int) -> Text:
    """``left``, shortened if need be, and ``right`` at the right edge."""
    room = width - right.cell_len - (2 if right.cell_len else 0)
    line = left.copy()
    line.truncate(max(1, room), overflow="ellipsis", pad=True)
    return Text.assemble(line, "  " if right.cell_len else "", right)


def _fit(line: Text, width: int) -> Text:
    fitted = line.copy()
    fitted.truncate(max(1, width), overflow="ellipsis")
    fitted.rstrip()
    return fitted
