"""Where files go in and where they come out, before, during and after a reconfiguration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.manifest.build import build_manifest
from orchestrator.manifest.model import Manifest
from orchestrator.state.model import InstanceRecord, State
from orchestrator.topology.dump import render_template
from orchestrator.topology.model import NodeTemplate, Topology


def service(name: str, sent_by: str = "", to: str = "", store: str = "s1", *, answers: bool = True) -> InstanceRecord:
    path = f"{sent_by}/output" if sent_by else f"{name}/input"
    inputs = {"properties.service": name, "properties.component": name, "properties.input_path": path}
    found = {
        "image_digest": "sha256:1",
        "inputs": [{"store": store, "path": path}],
        "outputs": [{"store": store, "path": f"{name}/output"}],
    }
    return InstanceRecord(
        f"service-{name}",
        f"service-{name}",
        "continuum.nodes.OscarService",
        inputs={**inputs, "requirements.connects_to": [f"service-{to}"] if to else []},
        attributes=found if answers else {},
    )


def manifest(wanted: tuple[str, ...], *records: InstanceRecord) -> Manifest:
    nodes = {f"service-{name}": NodeTemplate(f"service-{name}", "continuum.nodes.OscarService") for name in wanted}
    template = render_template(Topology(name="d", nodes=nodes))
    state = State("d", "l", 1, template=template, instances={r.address: r for r in records})
    return build_manifest(state, (), Path("/d"))


def ends(found: Manifest) -> tuple[list[str], list[str]]:
    return [f"{p.store}:{p.path}" for p in found.inputs], [f"{p.store}:{p.path}" for p in found.outputs]


BLUR, MASK = service("blur", to="mask"), service("mask", sent_by="blur", store="s2")


def test_the_ends_of_a_chain() -> None:
    assert ends(manifest(("blur", "mask"), BLUR, MASK)) == (["s1:blur/input"], ["s2:mask/output"])


def test_what_moves_is_named_where_it_was_until_the_new_one_answers() -> None:
    old = replace(BLUR, address="service-blur@1")
    new = replace(service("blur", to="mask", store="s2", answers=False), generation=2)
    during = manifest(("blur", "mask"), new, old, MASK)
    assert ends(during)[0] == ["s1:blur/input"]
    assert [c.name for c in during.components] == ["blur", "mask"]
    after = manifest(("blur", "mask"), replace(new, attributes=service("blur", store="s2").attributes), old, MASK)
    assert ends(after)[0] == ["s2:blur/input"]
    assert [c.name for c in after.components] == ["blur", "mask"]


def test_what_is_split_is_named_until_the_first_part_answers() -> None:
    wanted = ("blur1", "blur2", "mask")
    second = service("blur2", sent_by="blur1", to="mask")
    mask = service("mask", sent_by="blur2", store="s2")
    assert ends(manifest(wanted, BLUR, mask, second))[0] == ["s1:blur/input"]
    assert ends(manifest(wanted, BLUR, mask, second, service("blur1", to="blur2")))[0] == ["s1:blur1/input"]


def test_results_are_named_at_both_ends_while_the_old_way_is_there() -> None:
    new = service("count", sent_by="hide")
    assert ends(manifest(("hide", "count"), MASK, BLUR, new))[1] == ["s2:mask/output", "s1:count/output"]
