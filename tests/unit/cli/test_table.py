"""Tables that fit."""

from __future__ import annotations

from orchestrator.cli.views.table import table

HEADER = ("where", "why")
ROWS = [("edge", "a rehearsal touches no real board"), ("cloud", "short")]


def test_elsewhere_than_on_a_terminal_a_table_is_as_wide_as_its_cells() -> None:
    assert table(HEADER, ROWS).splitlines() == [
        "  where  why",
        "  ─────  ─────────────────────────────────",
        "  edge   a rehearsal touches no real board",
        "  cloud  short",
    ]


def test_on_a_terminal_the_widest_column_gives_way() -> None:
    assert table(HEADER, ROWS, width=30).splitlines() == [
        "  where  why",
        "  ─────  ─────────────────────",
        "  edge   a rehearsal touches",
        "         no real board",
        "  cloud  short",
    ]


def test_no_word_is_broken() -> None:
    assert max(len(line) for line in table(HEADER, ROWS, width=5).splitlines()) == len("  where  rehearsal")
