"""Columns under a header, no wider than the terminal they are shown on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

_INDENT = 2
_GAP = 2


def table(header: Sequence[str], rows: Sequence[Sequence[str]], wrap: int = 0, width: int | None = None) -> str:
    """Columns under a header.

    Args:
        header: Titles.
        rows: Cells, as many a row as there are titles.
        wrap: Cells longer than this are broken at spaces; 0: only where the width asks for it.
        width: Columns to fit into, as far as words allow; ``None``: those of the terminal, any number without one.
    """
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line) for row in cells for line in _wrap(row[i], wrap)) for i in range(len(header))]
    least = [max(len(word) for row in cells for word in row[i].split(" ")) for i in range(len(header))]
    _narrow(widths, least, _terminal_width() if width is None else width)
    lines = []
    for number, row in enumerate(cells):
        broken = [_wrap(cell, room) for cell, room in zip(row, widths, strict=True)]
        for depth in range(max(len(cell) for cell in broken)):
            shown = [cell[depth] if depth < len(cell) else "" for cell in broken]
            joined = (" " * _GAP).join(f"{text:{room}}" for text, room in zip(shown, widths, strict=True))
            lines.append(" " * _INDENT + joined.rstrip())
        if number == 0:
            lines.append(" " * _INDENT + (" " * _GAP).join("─" * room for room in widths))
    return "\n".join(lines)


def _narrow(widths: list[int], least: Sequence[int], width: int) -> None:
    """Take from the widest columns what is too much, but no column below its longest word."""
    while width and _INDENT + sum(widths) + _GAP * (len(widths) - 1) > width:
        candidates = [i for i in range(len(widths)) if widths[i] > least[i]]
        if not candidates:
            return
        widest = max(candidates, key=lambda i: widths[i])
        widths[widest] -= 1


def _terminal_width() -> int:
    """Columns of the terminal that results go to; 0 if they go elsewhere, where width means nothing."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _wrap(text: str, width: int) -> list[str]:
    if width <= 0 or len(text) <= width:
        return [text]
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
