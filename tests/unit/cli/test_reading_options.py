"""What an operator says about reading the input."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.main import main
from tests.unit.production.test_variants import TEXT


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "production.yaml"
    path.write_text(TEXT.replace("architecture: amd64", "architecture: x86_64"), encoding="utf-8")
    return path


def test_strict_turns_warnings_into_errors(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "validate", file)
    assert (code, ": warning: An architecture is written differently." in out) == (0, True)
    code, out, _ = run(capsys, "validate", file, "--strict")
    assert (code, ": error: An architecture is written differently." in out) == (2, True)
    code, _, err = run(capsys, "compile", file, "-o", file.parent / "out", "--strict")
    assert (code, ":18:44: error: An architecture is written differently." in err) == (2, True)
    assert not (file.parent / "out").exists()


def test_a_given_file_is_read_in_place_of_the_one_found(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "application_dag.yaml").write_text(
        "System: {name: d, components: [first], dependencies: []}\n", encoding="utf-8"
    )
    other = file.parent / "other.yaml"
    other.write_text(
        "System: {name: d, components: [first, gone], dependencies: [[first, gone, 1]]}\n", encoding="utf-8"
    )
    assert "A component is missing." not in run(capsys, "validate", file)[1]
    code, out, _ = run(capsys, "validate", file, "--dag", other)
    assert (code, "A component is missing." in out) == (0, True)
    assert f"{other}:1:" in out


def test_a_given_file_that_is_not_there_is_a_usage_error(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "validate", file, "--dag", file.parent / "nowhere.yaml", "--qos", "neither.yaml")
    assert code == 2
    assert "--dag names" in err
    assert "--qos names neither.yaml, which is no file" in err
