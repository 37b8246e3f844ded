"""The table of faults in the documentation names a test for each, and every one of them is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HEADING = "## Faults, and the tests that show them"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@pytest.fixture(scope="module")
def rows() -> list[str]:
    """The rows of the tables below the heading, without their heads."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "k3s.md").read_text(encoding="utf-8")
    assert HEADING in text
    section = re.split(r"^## ", text.partition(HEADING)[2], flags=re.MULTILINE)[0]
    return [line for line in section.splitlines() if line.startswith("|") and not re.match(r"\|[ -]*(\||what )", line)]


def test_every_fault_and_every_complaint_has_a_row_with_a_test(rows: list[str]) -> None:
    assert len(rows) >= 13 + 17
    assert [row for row in rows if not _TEST.search(row)] == []


def test_every_test_that_the_table_names_is_there(rows: list[str], repository: Path) -> None:
    named = {found for row in rows for found in _TEST.findall(row)}
    missing = [
        f"{file}::{name}"
        for file, name in sorted(named)
        if not (repository / file).is_file()
        or not re.search(rf"^def {name}\(", (repository / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert missing == []
