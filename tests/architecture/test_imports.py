"""Who may import whom, and what a start of the program must not load."""

from __future__ import annotations

import ast
import graphlib
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


def modules_of_stand_ins(repository: Path) -> dict[str, Path]:
    """The modules of every stand-in, by the names that they have where it runs."""
    folder = repository / "orchestrator" / "standins"
    found = {".".join(path.relative_to(folder).with_suffix("").parts): path for path in folder.rglob("*.py")}
    assert found, f"no stand-in in {folder}"
    return found


def test_stand_ins_import_nothing_but_the_standard_library_and_their_own(repository: Path) -> None:
    foreign = {
        f"{module}: {name}"
        for module, path in modules_of_stand_ins(repository).items()
        for name in imported_names(path)
        if name.split(".")[0] not in sys.stdlib_module_names | {module.split(".")[0], "__future__"}
    }
    assert not foreign


def test_no_modules_of_a_stand_in_import_each_other_in_a_circle(repository: Path) -> None:
    modules = modules_of_stand_ins(repository)
    wanted = {module: imported_names(path) & set(modules) for module, path in modules.items()}
    assert any(wanted.values())
    graphlib.TopologicalSorter(wanted).prepare()


def test_nothing_imports_a_stand_in(repository: Path) -> None:
    stand_ins = {module.split(".")[0] for module in modules_of_stand_ins(repository)}
    sources = [*(repository / "orchestrator").rglob("*.py"), *(repository / "tests").rglob("*.py")]
    importers = {
        str(path.relative_to(repository))
        for path in sources
        if not path.is_relative_to(repository / "orchestrator" / "standins")
        for name in imported_names(path)
        if name.startswith("orchestrator.standins") or name.split(".")[0] in stand_ins
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
