"""The six kinds of reconfiguration, run for real while a file goes in every second: none is lost, none doubled."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command_line import REPOSITORY, Cli, Engine
from tests.e2e.file_flow import Flow

NAME = "mask-detection-rehearsal"
GOLDEN = REPOSITORY / "tests" / "golden"
BASE = GOLDEN / "mask-detection"
KINDS = {
    "split-same-layer": "blurry-faces_partition1_1",
    "split-new-layer": "blurry-faces_partition1_1",
    "swapped-layers": "blurry-faces",
    "split-renamed-successor": "blurry-faces_partition1_1",
    "both-replaced": "people-anonymiser",
    "gathered-on-one-layer": "blurry-faces",
}
"""Each kind, and the component that files are put in at afterwards."""
REWIRING = ("split-same-layer", "split-new-layer, and back")
"""Kinds in which mask-detector stays where it is and gets its input from another component."""

pytestmark = pytest.mark.engine


@dataclass
class Bed:
    """One deployment, brought from one production file to the next."""

    cli: Cli
    engine: Engine
    folder: Path

    def file(self, case: Path) -> Path:
        """The production file of a case, with one machine a resource; beside it what belongs to it."""
        target = self.folder / case.name
        if not target.is_dir():
            target.mkdir(parents=True)
            for name in ("production.yaml", "application_dag.yaml", "physical_nodes.yaml"):
                if (case / name).is_file():
                    shutil.copy(case / name, target)
            text = (target / "production.yaml").read_text(encoding="utf-8")
            (target / "production.yaml").write_text(re.sub(r"totalNodes: \d+", "totalNodes: 1", text), encoding="utf-8")
        return target / "production.yaml"

    def apply(self, case: Path, invoked: str = "") -> list[dict[str, Any]]:
        """Apply a case; what happened, in order. Meanwhile files are sent to a component by hand, one by one."""
        running = self.cli.start("apply", self.file(case), "--rehearse", "--auto-approve")
        while invoked and running.poll() is None:
            self.invoke(invoked)
        told, _ = running.communicate(timeout=600)
        assert running.returncode == 0, told
        self.cli.run("plan", self.file(case), "--rehearse", "--detailed-exitcode", expect=0)
        run = max((self.cli.folder / ".deploy" / NAME / "runs").glob("*/events.jsonl"), key=lambda p: p.stat().st_mtime)
        return [json.loads(line) for line in run.read_text(encoding="utf-8").splitlines()]

    def machines(self) -> dict[str, str]:
        """Identity of every container by the address that it is for."""
        return {c.labels["continuum.address"]: str(c.id) for c in self.engine.containers(NAME)}

    def invoke(self, component: str) -> None:
        """Send one file through by hand."""
        source, result = self.cli.folder / "by-hand.txt", self.cli.folder / "result.txt"
        source.write_text(component, encoding="utf-8")
        result.unlink(missing_ok=True)
        self.cli.run("invoke", NAME, component, source, "-o", result)
        assert result.read_text(encoding="utf-8") == component


@pytest.fixture
def bed(cli: Cli, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """The deployment of the base, applied."""
    monkeypatch.setenv("DEPLOY_HOME", str(cli.folder / ".deploy"))
    made = Bed(cli, engine, tmp_path / "cases")
    made.apply(BASE)
    yield made
    cli.run("destroy", NAME, "--auto-approve")
    assert engine.containers(NAME) == []


def check_timeline(events: list[dict[str, Any]], rewired: tuple[str, ...]) -> None:
    """A new service answers before one is removed that it takes over from; what is only rewired is never removed."""
    services = [e for e in events if str(e.get("address", "")).startswith("service-")]
    made = [n for n, e in enumerate(services) if e["event"] == "change-finished" and e["action"] in ("create", "move")]
    gone = [n for n, e in enumerate(services) if e["event"] == "change-started" and e["action"] == "delete"]
    assert made, "every kind makes a service"
    assert gone, "every kind removes one"
    assert max(made) < min(gone), [(e["event"], e["action"], e["address"]) for e in services]
    assert not [e for e in services if e.get("action") == "replace"]
    updated = {e["address"] for e in services if e.get("action") == "update"}
    assert updated >= set(rewired)
    assert not updated & {e["address"] for e in services if e.get("action") in ("delete", "create", "replace")}


def change(bed: Bed, case: Path, kind: str, component: str, invoked: str = "") -> None:
    """Bring the deployment to a case while files flow, and look at everything that is promised."""
    before = bed.machines()
    with Flow(NAME, re.sub(r"\W+", "-", kind)) as flow:
        events = bed.apply(case, invoked)
        bed.invoke(component)
        flow.finish()
        after = bed.machines()
        told = f"{kind}: {len(flow.put)} files, {len(flow.marked())} marked, {len(flow.retried)} puts repeated, "
        print(f"{told}longest gap between two results {flow.longest_gap():.1f} s")  # noqa: T201 - a figure to look at
        assert not flow.problems
        assert flow.put
        assert flow.missing() == []
        assert flow.doubled() == {}
    stayed = before.keys() & after.keys()
    assert stayed, "no kind replaces every cluster"
    assert {a: after[a] for a in stayed} == {a: before[a] for a in stayed}
    check_timeline(events, ("service-mask-detector",) if kind.startswith(REWIRING) else ())


@pytest.mark.slow
def test_no_file_is_lost_while_components_move_and_while_one_is_split(bed: Bed) -> None:
    """A swap, during which files are sent by hand too, and from there a split over a layer that is new."""
    change(bed, GOLDEN / "changes" / "swapped-layers", "swapped-layers", "blurry-faces", "blurry-faces")
    change(bed, GOLDEN / "changes" / "split-new-layer", "split-new-layer", KINDS["split-new-layer"])


@pytest.mark.slow
def test_no_file_is_lost_during_any_of_the_six_kinds(bed: Bed) -> None:
    """One deployment goes through all six, and back to the base after each: twelve changes."""
    for kind, component in KINDS.items():
        change(bed, GOLDEN / "changes" / kind, kind, component)
        change(bed, BASE, f"{kind}, and back", "blurry-faces")


def fork(folder: Path, layer: int, resource: str) -> Path:
    """The base with a second branch beside mask-detector, which is on a layer."""
    case = folder / f"fork-{layer}"
    case.mkdir()
    shutil.copy(BASE / "physical_nodes.yaml", case)
    text = (BASE / "production.yaml").read_text(encoding="utf-8")
    before, mark, branch = text.partition("    component2:")
    other = branch.replace("mask-detector", "people-counter")
    moved = branch.replace("executionLayer: 2", f"executionLayer: {layer}").replace("CloudVM", resource)
    whole = f"{before}{mark}{moved.rstrip()}\n    component3:{other}"
    (case / "production.yaml").write_text(whole, encoding="utf-8")
    dag = (BASE / "application_dag.yaml").read_text(encoding="utf-8")
    dag = dag.replace("mask-detector]\n", "mask-detector, people-counter]\n")
    dag = dag.replace("mask-detector, 1]]", "mask-detector, 1], [blurry-faces, people-counter, 1]]")
    (case / "application_dag.yaml").write_text(dag, encoding="utf-8")
    return case


@pytest.mark.slow
def test_no_file_is_lost_while_one_branch_of_a_fork_moves_and_the_other_stays(bed: Bed, tmp_path: Path) -> None:
    """mask-detector leaves the store on which people-counter reads the same path, and comes back to it."""
    together, apart = fork(tmp_path, 2, "CloudVM"), fork(tmp_path, 1, "RaspPi")
    bed.apply(together)
    for kind, case in (("apart", apart), ("together", together)):
        before = bed.machines()
        with Flow(NAME, kind, ends=("mask-detector/", "people-counter/")) as flow:
            events = bed.apply(case)
            flow.finish()
        print(f"{kind}: {len(flow.put)} files, {len(flow.marked())} marked")  # noqa: T201 - a figure to look at
        assert not flow.problems
        assert flow.put
        assert flow.missing() == []
        assert flow.doubled() == {}
        assert bed.machines() == before
        check_timeline(events, ("service-blurry-faces",))
