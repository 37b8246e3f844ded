"""The page about exports has every finding that an export can have, and every correction that the tests name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "infrastructure-manager-dialect.md").read_text(encoding="utf-8")


def test_every_finding_is_explained(repository: Path, page: str) -> None:
    found = set()
    for path in (repository / "orchestrator" / "production" / "dialects").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) > 2
            if is_call and node.func.attr in ("error", "warning"):
                found.add((node.args[0].value, node.func.attr))
    assert len(found) == 7
    for summary, severity in found:
        assert f"| {summary} | {severity} |" in page


def test_every_correction_that_the_comparison_makes_is_listed(repository: Path, page: str) -> None:
    comparison = (repository / "tests" / "golden" / "dialects" / "predecessor.py").read_text(encoding="utf-8")
    made = {int(number) for number in re.findall(r"# (\d+)$", comparison, re.MULTILINE)}
    listed = [int(number) for number in re.findall(r"^(\d+)\. \*\*", page, re.MULTILINE)]
    assert made == {1, 2, 5, 6, 7}
    assert listed == list(range(1, len(listed) + 1))
    assert made < set(listed)


def test_every_option_is_explained(page: str) -> None:
    for option in ("domain", "elastic", "types-url", "influx-url", "influx-token-file", "with-secrets"):
        assert f"`--{option}" in page
