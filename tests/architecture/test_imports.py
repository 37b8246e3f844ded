"""Who may import whom, and what a start of the program must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# Each takes long to import, or belongs to an extra; the command line must start without any of them.
HEAVY = (
    "ansible_runner",
    "boto3",
    "botocore",
    "cryptography",
    "docker",
    "jinja2",
    "openstack",
    "paramiko",
    "psycopg",
    "toscaparser",
)


def imported_names(source: Path) -> set[str]:
    """Every module that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_every_layer_imports_only_the_ones_below_it(repository: Path) -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [lint_imports, "--no-cache"], cwd=repository, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_stand_ins_import_nothing_but_the_standard_library(repository: Path) -> None:
    folder = repository / "orchestrator" / "standins"
    programs = [path for path in folder.rglob("*.py") if path.name != "__init__.py"]
    assert programs, f"no stand-in in {folder}"
    foreign = {
        f"{path.name}: {name}"
        for path in programs
        for name in imported_names(path)
        if name.split(".")[0] not in sys.stdlib_module_names and name != "__future__"
    }
    assert not foreign


def test_nothing_imports_a_stand_in(repository: Path) -> None:
    sources = [*(repository / "orchestrator").rglob("*.py"), *(repository / "tests").rglob("*.py")]
    importers = {
        str(path.relative_to(repository))
        for path in sources
        for name in imported_names(path)
        if name.startswith("orchestrator.standins")
    }
    assert not importers


@pytest.mark.parametrize("module", ["orchestrator.cli.main"])
def test_starting_the_command_line_loads_no_heavy_library(module: str, repository: Path) -> None:
    program = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
