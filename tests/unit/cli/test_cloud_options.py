"""Options of clouds: told wrong at once and all together, and never taken without taking effect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.commands.cloud_options import understood
from orchestrator.cli.main import main
from orchestrator.errors import UsageError

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "mask-detection" / "production.yaml"
PLACE = "openstack/cloud.example.org"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("ssh_from", "nonsense", "'nonsense', which is no network"),
        ("ssh_from", "203.0.113.7/33", "Write address/bits, for example 203.0.113.7/32"),
        ("ssh_from", "203.0.113.7/24", "Write 203.0.113.0/24, or one computer's address alone."),
        ("tags", "team", "--tags has 'team'. Write NAME=VALUE"),
        ("tags", "=vision", "--tags has '=vision'. Write NAME=VALUE"),
        ("tags", "continuum:lineage=1", "set by this program"),
        ("tags", "a=1,b=2,a=3", "--tags has 'a' more than once."),
        ("data_volume", "much", "'much' is no whole number of GB"),
        ("data_volume", "aws/one=0", "'0' is no whole number of GB"),
        ("data_volume", "10,20", "--data-volume has more than one value without a provider"),
        ("zone", "aws/one=a,aws/one=b", "--zone has more than one value for aws/one"),
        ("zone", "aws/one=", "--zone has 'aws/one='. Write a value"),
        ("network", "one=two=three", "--network has 'one=two=three'"),
        ("key_name", "aws=mine", "for example aws/eu-central-1=VALUE"),
        ("provider", ",,", "--provider has ',,', in which there is nothing."),
    ],
)
def test_what_cannot_be_understood_is_told(option: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match="An option of clouds cannot be understood") as told:
        understood({option: text})
    assert said in told.value.detail


def test_networks_are_kept_as_clouds_tell_them() -> None:
    """Otherwise a look at the rules would find another text than what was asked for."""
    given = {"ssh_from": " 203.0.113.7, 2001:DB8:0:0::/64,203.0.113.7/32 ", "tags": "a=b=c", "zone": "aws/x=1,2"}
    assert understood(given) == {**given, "ssh_from": "203.0.113.7/32,2001:db8::/64"}
    assert understood(dict.fromkeys(given, "")) == dict.fromkeys(given, "")


@pytest.mark.parametrize("command", ["plan", "apply", "doctor", "inventory"])
def test_each_command_tells_all_that_is_wrong(capsys: pytest.CaptureFixture[str], command: str) -> None:
    told = refused(capsys, command, EXAMPLE, "--ssh-from", "here,there", "--tags", "x", "--data-volume", "y")
    for part in ("'here'", "'there'", "'x'", "'y'"):
        assert part in told
    told = refused(capsys, command, EXAMPLE, "--zone", "openstack/cloud.exampel.org=a", "--subnet", f"{PLACE}=b")
    assert "openstack/cloud.exampel.org makes no machine of this deployment." in told
    assert f"Did you mean '{PLACE}'?" in told
    assert "--subnet" not in told


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_nothing_is_told_to_clouds_by_a_refresh(capsys: pytest.CaptureFixture[str], command: str) -> None:
    told = refused(capsys, command, EXAMPLE, "--refresh-only", "--tags", "a=b", "--zone", "")
    assert "It changes no machine, so that nothing is done with --zone, --tags." in told


def test_without_machines_of_clouds_there_is_nothing_to_say_of_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    node = {"type": "continuum.nodes.PhysicalMachine", "properties": {"resource": "Pi", "layer": 1}}
    content = {
        "tosca_definitions_version": "tosca_simple_yaml_1_3",
        "metadata": {"template_name": "pis"},
        "imports": ["continuum.yaml"],
        "topology_template": {"node_templates": {"pi": node}},
    }
    file = tmp_path / "pis.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")
    told = refused(capsys, "plan", file, "--ssh-from", "203.0.113.7", "--tags", "a=b")
    assert "nothing is done with --ssh-from, --tags." in told
    assert main(["plan", str(file), "--tags", ""]) == 0


GIVEN = ("--provider", "aws/one", "--zone", "a", "--qos", "q.yaml", "--dag", "d.yaml", "--strict")


@pytest.mark.parametrize("command", [("doctor", "shop"), ("import", "shop", "cloud[0]", "i-1")])
def test_a_deployment_that_is_named_takes_no_options_of_what_is_wanted(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    told = refused(capsys, *command, *GIVEN)
    assert "nothing is done with --strict, --qos, --dag, --provider, --zone." in told


@pytest.mark.parametrize("given", [GIVEN, ("--ssh-from", ""), ("--rehearse",), ("--public-addresses", "all")])
def test_a_saved_plan_takes_no_options_of_what_is_wanted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, given: tuple[str, ...]
) -> None:
    saved = tmp_path / "plan.json"
    assert main(["plan", str(EXAMPLE), "--rehearse", "--out", str(saved)]) == 0
    capsys.readouterr()
    told = refused(capsys, "apply", saved, *given, "--auto-approve")
    assert "A saved plan is applied as it is." in told
    assert all(word in told for word in given if word.startswith("--"))
    assert not (tmp_path / "home").exists() or not list((tmp_path / "home").rglob("state.json"))
