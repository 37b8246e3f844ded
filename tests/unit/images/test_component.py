"""What a component's files say of its image."""

from pathlib import Path

import pytest

from orchestrator.errors import OperationError
from orchestrator.images.component import _requirement_steps, default_script, environment, repository


@pytest.mark.parametrize(
    ("component", "expected"),
    [("blurry-faces", "blurry-faces"), ("C1_partition1_1", "c1-partition1-1"), ("__", "component")],
)
def test_repositories_are_named_as_registries_allow(component: str, expected: str) -> None:
    assert repository(component) == f"continuum-deploy/{expected}"


def test_the_default_script_hands_on_input_and_output() -> None:
    assert 'exec python3 /opt/blur/main.py -i "$INPUT_FILE_PATH" -o "$TMP_OUTPUT_DIR"' in default_script("blur")


def test_variables_are_read(tmp_path: Path) -> None:
    assert environment(tmp_path) == {}
    (tmp_path / "env.yaml").write_text("ENV_VAR1: some_value\nENV_VAR2: 10000\nEMPTY:\n")
    assert environment(tmp_path) == {"ENV_VAR1": "some_value", "ENV_VAR2": "10000", "EMPTY": ""}


@pytest.mark.parametrize("text", ["- a\n", "A: [1]\n", "A B: 1\n", "A: {\n"])
def test_variables_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "env.yaml").write_text(text)
    with pytest.raises(OperationError, match=r"env\.yaml"):
        environment(tmp_path)


def test_requirements_become_steps(tmp_path: Path) -> None:
    (tmp_path / "requirements.sys").write_text("python3-pil  # pictures\n\npython3-numpy\n")
    (tmp_path / "requirements.txt").write_text("# none\n")
    names = ["requirements.sys", "requirements.txt"]
    (step,) = _requirement_steps("blur", tmp_path, names)
    assert "--no-install-recommends python3-pil python3-numpy\n" in step.script
    (tmp_path / "requirements.txt").write_text("onnxruntime==1.20\n")
    first, second = _requirement_steps("blur", tmp_path, names)
    assert first.script.count("python3-pip") == 1
    assert second.script == "pip3 install -r /opt/blur/requirements.txt"
    assert _requirement_steps("blur", tmp_path, []) == []


def test_a_package_name_cannot_be_a_command(tmp_path: Path) -> None:
    (tmp_path / "requirements.sys").write_text("curl; reboot\n")
    with pytest.raises(OperationError, match="curl; reboot"):
        _requirement_steps("blur", tmp_path, ["requirements.sys"])
