"""`plan` narrows down, saves what was narrowed, and tells what a plan costs in downtime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.cli.views import human
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.plan import Plan
from orchestrator.planning.planner import plan_apply
from orchestrator.production.compile import compile_topology
from orchestrator.production.load import load_production
from tests.golden.test_plan import GOLDEN, applied, wanted

CASE = GOLDEN / "mask-detection" / "production.yaml"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def change_to(case: str, **options: list[str]) -> str:
    """What a person is shown of the change from mask-detection to another case."""
    prior = applied(wanted(GOLDEN / "mask-detection"))
    plan = plan_apply("demo", wanted(GOLDEN / "changes" / case), prior, {}, **options)
    topology, _ = compile_topology(load_production(GOLDEN / "changes" / case / "production.yaml"))
    return human.render_plan(plan, topology)


def test_a_move_is_one_line_with_what_happens_to_the_former_one_below() -> None:
    lines = change_to("swapped-layers").splitlines()
    (at,) = [i for i, line in enumerate(lines) if "→ service-blurry-faces" in line]
    assert "move     blurry-faces: layer 1 → layer 2" in lines[at]
    assert lines[at + 1].strip() == "then the former one is removed from layer1-rasppi-oscar"
    assert not any("@1" in line for line in lines)
    assert lines[-2:] == ["Changes: 9 unchanged, 2 to update, 2 to move.", "Downtime: none."]


def test_what_goes_has_a_place_of_its_own_and_downtime_names_what_stops() -> None:
    assert "  no longer wanted" in change_to("both-replaced").splitlines()
    assert change_to("more-memory").endswith("Downtime: restart of service-blurry-faces.")
    many = change_to("reformatted", replace=["layer1-rasppi", "layer2-cloudvm", "blurry-faces", "mask-detector"])
    assert many.splitlines()[-1].endswith("; and 3 more.")
    assert "layer1-rasppi[0], and what runs on it, until it is made anew" in many


def test_a_narrowed_or_refreshing_plan_says_so() -> None:
    narrowed = change_to("swapped-layers", targets=["image-mask-detector"])
    assert "  Only image-mask-detector with what must come before; all else is left as it is." in narrowed
    assert "service" not in narrowed
    assert human.render_plan(Plan("demo", "l", 1, "local", refresh_only=True), None).splitlines() == [
        "Refresh of the state for demo (profile local)",
        "",
        "No changes: everything is as recorded.",
    ]


def test_what_could_not_be_asked_is_not_said_to_be_as_wanted() -> None:
    known = wanted(GOLDEN / "mask-detection")
    seen = {"layer2-cloudvm[1]": Observation(Presence.UNKNOWN, "no credentials")}
    lines = human.render_plan(plan_apply("demo", known, applied(known), seen), None).splitlines()
    assert any(line.endswith("layer2-cloudvm[1]      no-op    could not be asked: no credentials") for line in lines)
    assert lines[-1] == (
        "No changes, as far as is known: layer2-cloudvm[1] could not be asked, and all else is as wanted."
    )
    both = plan_apply("demo", wanted(GOLDEN / "changes" / "more-memory"), applied(known), seen)
    assert "Not asked, and taken to be as recorded: layer2-cloudvm[1]." in human.render_plan(both, None).splitlines()


def test_a_saved_plan_is_for_its_owner_only_and_keeps_its_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.json"
    assert main(["plan", str(CASE), "--target", "mask-detector", "--out", str(path)]) == 0
    assert "Only mask-detector with what must come before" in capsys.readouterr().out
    assert path.stat().st_mode & 0o777 == 0o600
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["format_version"], content["targets"]) == (2, ["mask-detector"])
    assert "service-blurry-faces" not in {change["address"] for change in content["changes"]}
    assert all(change["downtime"] == {"kind": "none", "text": "none"} for change in content["changes"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "mask-detectr"], "Did you mean 'mask-detector'?"),
        (["--replace", "layer1-raspi"], "Did you mean 'layer1-rasppi'?"),
        (["--refresh-only"], "There is nothing to refresh."),
        (["--refresh-only", "--target", "x"], "--refresh-only excludes --target and --replace."),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(CASE), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_saved_plan_takes_no_more_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.json"
    assert main(["plan", str(CASE), "--out", str(path)]) == 0
    assert main(["apply", str(path), "--target", "x", "--auto-approve"]) == 2
    assert "A saved plan is applied as it is." in capsys.readouterr().err
