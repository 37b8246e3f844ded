"""The page about findings has every finding that reading, a check or a profile can have."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from orchestrator.planning.profile import load_profile, profile_names

MODULES = ("production/*.py", "topology/located.py", "topology/reading.py", "services/load.py")


def summaries(source: str) -> set[tuple[str, str]]:
    """Severity and summary of every finding that a module reports."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[1] if name == "_refused" else node.args[0]
            severity = (
                name if name in ("error", "warning", "note") else "error" if name in ("_stop", "_refused") else ""
            )
            if severity and isinstance(first, ast.Constant):
                found.add((severity, str(first.value)))
    return found


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "diagnostics.md").read_text(encoding="utf-8")


def test_every_finding_about_the_input_is_explained(repository: Path, page: str) -> None:
    folder = repository / "orchestrator"
    known = {
        pair for pattern in MODULES for path in folder.glob(pattern) for pair in summaries(path.read_text("utf-8"))
    }
    assert len(known) > 100
    explained = [line for line in page.splitlines() if line.startswith("| ")]
    for severity, summary in known:
        rows = [line for line in explained if line.startswith(f"| {summary} |")]
        assert rows, f"docs/diagnostics.md does not explain {summary!r}"
        assert any(severity in row for row in rows), (
            f"docs/diagnostics.md does not say that {summary!r} is a {severity}"
        )


@pytest.mark.parametrize("name", profile_names())
def test_every_refusal_of_a_profile_is_explained(name: str, page: str) -> None:
    refusals = {rule.refusal.summary for rule in load_profile(name).rules if rule.refusal}
    assert all(f"| {summary} |" in page for summary in refusals)
