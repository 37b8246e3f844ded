"""The tables of faults in the documentation name a test for each, and every one of them is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HEADING = "## Faults, and the tests that show them"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_BEGINNING = re.compile(r"`(test_\w+\.py)::(\w+)…?`")
_FOLDERS = re.compile(r"`(tests/[\w/]+)/`")


@pytest.fixture(scope="module")
def rows() -> list[str]:
    """The rows of the tables below the heading, without their heads."""
    return [line for line in _section("k3s.md") if line.startswith("|") and not re.match(r"\|[ -]*(\||what )", line)]


def _section(page: str) -> list[str]:
    text = (Path(__file__).resolve().parents[2] / "docs" / page).read_text(encoding="utf-8")
    assert HEADING in text
    return re.split(r"^## ", text.partition(HEADING)[2], flags=re.MULTILINE)[0].splitlines()


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


def test_every_fault_of_clouds_has_tests_for_each_cloud_that_are_there(repository: Path) -> None:
    """There a name may be cut off after what tells the test from others of its file."""
    section = _section("clouds.md")
    folders = [repository / folder for folder in _FOLDERS.findall("\n".join(section))]
    rows = [re.split(r" *\| *", line.strip("| ")) for line in section if line.startswith("| ")][1:]
    assert len(rows) >= 12
    missing = []
    for fault, *cells in rows:
        assert len(cells) == 2, fault
        for cell in cells:
            named = _BEGINNING.findall(cell)
            assert named, (fault, cell)
            assert cell.count(".py") == len(named), (fault, cell)
            for file, name in named:
                texts = [(folder / file).read_text(encoding="utf-8") for folder in folders if (folder / file).is_file()]
                found = [text for text in texts if re.search(rf"^def {name}", text, re.MULTILINE)]
                missing += [] if len(found) == 1 else [f"{fault}: {file}::{name}"]
    assert missing == []
