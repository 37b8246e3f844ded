"""puccini, a TOSCA parser that is stricter than tosca-parser, accepts what is compiled: a second opinion."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.systems

REPOSITORY = Path(__file__).parent.parent.parent
TYPES = REPOSITORY / "tosca" / "types"
CASES = sorted(path.parent for path in (REPOSITORY / "tests" / "golden").glob("*/topology.yaml"))
EXAMPLES = sorted((REPOSITORY / "examples").glob("*/production.yaml"))
PREDECESSOR = REPOSITORY / "tests" / "fixtures" / "predecessor" / "app_demo"


def beside_types(template: Path, folder: Path) -> Path:
    """A copy of the template with the types that it imports beside it."""
    folder.mkdir(parents=True)
    for types in TYPES.glob("*.yaml"):
        shutil.copy(types, folder)
    return Path(shutil.copy(template, folder))


@pytest.fixture
def puccini(systems_python: Path) -> Path:
    """A Python that has it."""
    asked = subprocess.run([systems_python, "-c", "import puccini.tosca"], capture_output=True, timeout=60, check=False)
    if asked.returncode != 0:
        pytest.skip("puccini is published for Python 3.11 on x86_64 alone, and the environment's Python is another")
    return systems_python


def read(python: Path, *templates: Path) -> dict[str, int | list[str]]:
    """Template to the number of vertexes, or to what is wrong with it."""
    program = Path(__file__).with_name("read_with_puccini.py")
    done = subprocess.run([python, program, *templates], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, int | list[str]] = json.loads(done.stdout)
    return found


def test_it_accepts_every_golden_template(puccini: Path, tmp_path: Path) -> None:
    templates = [beside_types(case / "topology.yaml", tmp_path / case.name) for case in CASES]
    verdicts = read(puccini, *templates)
    assert {path: verdict for path, verdict in verdicts.items() if not isinstance(verdict, int)} == {}
    for template in templates:
        nodes = template.read_text(encoding="utf-8").count("\n      type: continuum.nodes.")
        found = verdicts[str(template)]
        assert isinstance(found, int)
        assert found >= nodes > 0, template


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.parent.name)
def test_it_accepts_what_deploy_compile_writes_for_the_examples(puccini: Path, file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orchestrator.cli.main", "compile", file, "-o", tmp_path / "out"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    templates = [path for path in (tmp_path / "out").glob("*.yaml") if not (TYPES / path.name).exists()]
    assert len(templates) == 1
    assert isinstance(read(puccini, *templates)[str(templates[0])], int)


@pytest.mark.parametrize(
    ("written", "instead", "complaint"),
    [
        ("type: continuum.nodes.K3sCluster", "type: continuum.nodes.NoCluster", "unknown"),
        ("num_cpus: ", "num_cpus: many #", ""),
        ("cluster_name: ", "name_of_cluster: ", ""),
    ],
)
def test_it_refuses_what_is_wrong(puccini: Path, tmp_path: Path, written: str, instead: str, complaint: str) -> None:
    """Which shows that a template can fail here."""
    template = beside_types(REPOSITORY / "tests" / "golden" / "mask-detection" / "topology.yaml", tmp_path / "case")
    text = template.read_text(encoding="utf-8")
    assert written in text
    template.write_text(text.replace(written, instead, 1), encoding="utf-8")
    problems = read(puccini, template)[str(template)]
    assert isinstance(problems, list)
    assert any(complaint in problem for problem in problems), problems
