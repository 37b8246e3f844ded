"""The option that chooses a provider, as commands take it: kept in a saved plan, told wrong before anything is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from tests.unit.pretend_cloud import Sky

Deploy = Callable[..., tuple[str, str]]
NODE = "layer2-cloudvm"
IMAGE = "4bd65f30-1f3c-4f5a-9d0e-5a1f0c9e2b11"
FROM = ("--ssh-from", "203.0.113.7/32")


@pytest.fixture
def deploy(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "deploy"))

    def run(*arguments: object, expect: int = 0) -> tuple[str, str]:
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        assert code == expect, f"exit {code}\n{shown.out}\n{shown.err}"
        return shown.out, shown.err

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Pis on the first layer, machines of a cloud on the second, whose image names no cloud."""
    example = Path(__file__).resolve().parents[3] / "examples" / "mask-detection" / "production.yaml"
    text = example.read_text(encoding="utf-8")
    assert f"ost://cloud.example.org/{IMAGE}" in text
    path = tmp_path / "production.yaml"
    path.write_text(text.replace("ost://cloud.example.org/", ""), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "given", [("--provider", "aws/one"), ("--provider", "openstack/o", "--provider", "cloud layer=aws/one")]
)
def test_a_saved_plan_keeps_what_was_chosen(
    file: Path, deploy: Deploy, sky: Sky, tmp_path: Path, given: tuple[str, ...]
) -> None:
    deploy("plan", file, *FROM, *given, "--out", tmp_path / "plan.json")
    saved = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert saved["profile_options"]["provider"] == ",".join(given[1::2])
    machines = {c["address"]: c["instance"] for c in saved["changes"] if c["address"].startswith(("layer1-r", NODE))}
    assert machines["layer1-rasppi[0]"]["provider"] == "static"
    assert machines[f"{NODE}[1]"]["provider"] == "aws/one"
    assert machines[f"{NODE}[1]"]["properties"]["image_id"] == f"aws://one/{IMAGE}"
    assert ("one", "check") in sky.asked


@pytest.mark.parametrize("command", ["plan", "apply", "doctor", "inventory"])
def test_what_makes_no_sense_is_told_by_each_command(file: Path, deploy: Deploy, sky: Sky, command: str) -> None:
    _, err = deploy(command, file, "--provider", "Claud=aws/one,1=azure/x", expect=2)
    assert "is called 'Claud'." in err
    assert "There is: CloudVM (layer 2, Cloud Layer)." in err
    assert "There is: aws/PLACE, openstack/PLACE." in err
    _, err = deploy(command, file, "--provider", "aws/one", "--rehearse", expect=2)
    assert "nothing is done with --provider." in err
    _, err = deploy(command, file, *FROM, expect=2)
    assert "No cloud is named." in err
    assert "--provider CloudVM=aws/eu-central-1" in err
    file.write_text(file.read_text(encoding="utf-8").replace(IMAGE, f"aws://one/{IMAGE}"), encoding="utf-8")
    _, err = deploy(command, file, *FROM, "--provider", "2=openstack/cloud.example", expect=2)
    assert "error: The image is not the chosen provider's." in err
    assert "openstack/cloud.example is to make them" in err
    assert sky.asked == []
