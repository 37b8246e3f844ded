"""Templates: what is written reads back, and what does not fit the types is said before tosca-parser sees it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.diagnostics import has_errors
from orchestrator.resources import data_path
from orchestrator.topology.dump import render_template
from orchestrator.topology.model import Artifact, Group, NodeTemplate, Policy, Requirement, Topology
from orchestrator.topology.parse import parse_template
from orchestrator.topology.second_opinion import ask_tosca_parser
from orchestrator.topology.types import shipped_types
from orchestrator.topology.validate import check_topology

TYPES = {"continuum.yaml": data_path("tosca", "types", "continuum.yaml").read_text(encoding="utf-8")}
GOLDEN = Path(__file__).parents[2] / "golden" / "mask-detection" / "topology.yaml"

names = st.text(min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)
properties = st.dictionaries(names, values, max_size=3)
printable = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    node = st.builds(
        NodeTemplate,
        name=names,
        type=names.map(str.strip).filter(bool),
        properties=properties,
        capabilities=st.dictionaries(names, properties, max_size=2),
        requirements=st.lists(
            st.builds(Requirement, names, names.map(str.strip).filter(bool), st.sampled_from(["", "r"]), properties),
            max_size=2,
        ).map(tuple),
        artifacts=st.dictionaries(names, st.builds(Artifact, st.just("a/b"), st.just("t")), max_size=1),
        description=st.text(max_size=20),
    )
    nodes = {n.name: n for n in draw(st.lists(node, max_size=3))}
    members = st.lists(names, max_size=2).map(tuple)
    groups = draw(st.lists(st.builds(Group, names, st.just("g"), members, properties), max_size=2))
    policies = draw(st.lists(st.builds(Policy, names, st.just("p"), members, properties), max_size=2))
    return Topology(
        name="n",
        description=draw(st.text(max_size=20)),
        nodes=nodes,
        groups={g.name: g for g in groups},
        policies={p.name: p for p in policies},
        outputs=draw(st.dictionaries(names, scalars.filter(lambda v: v is not None), max_size=2)),
    )


@settings(max_examples=40)
@given(topologies())
def test_what_is_written_reads_back_equal(topology: Topology) -> None:
    text = render_template(topology)
    parsed = parse_template(text, "t.yaml")
    assert parsed.diagnostics == ()
    assert parsed.topology == topology
    assert render_template(parsed.topology) == text


@pytest.mark.parametrize("number", [1e-06, 1e22, 2.5, -0.0, 1e300, 0.1 + 0.2])
def test_numbers_read_back_as_the_same_numbers(number: float) -> None:
    topology = Topology("n", nodes={"a": NodeTemplate("a", "t", {"x": number, "y": math.inf})})
    assert parse_template(render_template(topology), "t.yaml").topology == topology


def _broken(old: str, new: str) -> str:
    text = GOLDEN.read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "summary", "words"),
    [
        ("continuum.nodes.PhysicalMachine", "continuum.nodes.PhysicalMachin", "No such type.", "Did you mean"),
        ("resource: RaspPi", "resource: 7", "A property has the wrong value.", "must be a text"),
        ("resource: RaspPi", "resorce: RaspPi", "No such property.", "'resource'"),
        ("        layer: 1\n", "", "A property is missing.", "'layer'"),
        ("layer: 1\n", "layer: {get_property: [nowhere, layer]}\n", "A function has no result.", "nowhere"),
        (
            "layer: 1\n",
            "layer: {get_attribute: [layer1-rasppi-k3s, nothing]}\n",
            "A function has no result.",
            "nothing",
        ),
        ("default_instances: 3", "default_instances: many", "A number is out of range.", "many"),
        ("default_instances: 3", "default_instances: -1", "A number is out of range.", "-1"),
        (
            "            node: layer1-rasppi\n",
            "            node: layer1-raspi\n",
            "A node that is required is not there.",
            "Did you mean",
        ),
        ("- machine:", "- machin:", "No such requirement.", "'machine'"),
        (
            "            node: layer1-rasppi-k3s\n",
            "            node: image-blurry-faces\n",
            "A requirement points to the wrong type.",
            "KubernetesCluster",
        ),
        ("members: [layer1-rasppi,", "members: [nobody,", "No such node.", "nobody"),
        ("targets: [service-blurry-faces]", "targets: [service-x]", "No such node.", "service-x"),
        ("type: continuum.policies.Placement", "type: continuum.policies.Nothing", "No such type.", "Nothing"),
        ("type: continuum.groups.NetworkDomain", "type: continuum.groups.Nothing", "No such type.", "Nothing"),
        (
            "{get_attribute: [layer1-rasppi-k3s, api_endpoint]}",
            "{get_attribute: [layer1-rasppi-k3s, x]}",
            "A function has no result.",
            "'x'",
        ),
        ("      capabilities:\n        host:", "      capabilities:\n        hots:", "No such capability.", "'host'"),
        (
            "      type: continuum.nodes.ComponentImage\n",
            "      type: continuum.nodes.ComponentImage\n      artifacts: {source: {file: ../src}}\n",
            "A file lies outside.",
            "../src",
        ),
        (
            "relationship: tosca.relationships.HostedOn",
            "relationship: continuum.relationships.No",
            "No such type.",
            "No",
        ),
        ("service: blurry-faces", "service: " + "x" * 40, "A property has the wrong value.", "at most 39"),
        ('image: "registry', 'architecture: arm64\n        image: "registry', "A key is given twice.", "line"),
        ("tosca_simple_yaml_1_3", "tosca_2_0", "The version of TOSCA is not known.", "tosca_2_0"),
        ("      type: continuum.nodes.K3sCluster\n", "", "A key is missing.", "type"),
        (
            "      requirements:\n        - machine:",
            "      interfaces: {Standard: {create: x}}\n      requirements:\n        - machine:",
            "Interfaces in a template are not read.",
            "profile",
        ),
    ],
)
def test_what_does_not_fit_is_said(old: str, new: str, summary: str, words: str) -> None:
    parsed = parse_template(_broken(old, new), "t.yaml")
    found = list(parsed.diagnostics)
    if parsed.topology is not None:
        found += check_topology(parsed.topology, shipped_types())
    assert has_errors(found)
    assert any(d.summary == summary and words in d.detail for d in found), found


def test_circle_of_requirements_is_named() -> None:
    topology = parse_template(GOLDEN.read_text(encoding="utf-8"), "t.yaml").topology
    assert topology is not None
    last = topology.nodes["service-mask-detector"]
    back = Requirement("connects_to", "service-blurry-faces")
    nodes = {**topology.nodes, last.name: replace(last, requirements=(*last.requirements, back))}
    (found,) = check_topology(replace(topology, nodes=nodes), shipped_types())
    assert found.summary == "Nodes require each other in a circle."
    assert "service-mask-detector" in found.detail


def test_tosca_parser_has_nothing_against_a_good_template() -> None:
    assert ask_tosca_parser(GOLDEN.read_text(encoding="utf-8"), TYPES) == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("continuum.nodes.PhysicalMachine", "continuum.nodes.Nothing"),
        ("resource: RaspPi", "resorce: RaspPi"),
        ("{get_attribute: [layer1-rasppi-k3s, api_endpoint]}", "{get_attribute: [layer1-rasppi-k3s, x, y, z]}"),
        ("type: continuum.policies.Placement", "type: continuum.policies.Nothing"),
        ("num_cpus: 4", "num_cpus: many"),
        ('mem_size: "4096 MB"', 'mem_size: "4096 bananas"'),
    ],
)
def test_whatever_tosca_parser_raises_becomes_a_finding(old: str, new: str) -> None:
    found = ask_tosca_parser(_broken(old, new), TYPES)
    assert found
    assert all(d.is_error and d.detail for d in found)
