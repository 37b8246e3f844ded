"""Whatever a model holds, checks and compiling end in findings or in a topology that fits its types."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.diagnostics import has_errors
from orchestrator.production.compile import compile_topology
from orchestrator.production.layout import find_layout
from orchestrator.production.load import Loaded
from orchestrator.production.model import DriftDetection, LayerType, Production, SecurityNeeds
from orchestrator.production.physical import PhysicalHost, PhysicalResource
from orchestrator.topology.dump import render_template
from orchestrator.topology.parse import parse_template
from orchestrator.topology.types import shipped_types
from orchestrator.topology.validate import check_topology
from tests.unit.production.models import (
    annotations,
    at,
    component,
    constraint,
    device,
    domain,
    edge,
    gpu,
    layer,
    processor,
    production,
    resource,
)

DOMAINS = ("ND1", "ND2", "ND3")
RESOURCES = ("vm", "VM", "pi", "pi-k3s", "", "lambda")
TIDY_NAMES = ("a", "b", "c_partition1_1", "c_partition1_2", "d")
NAMES = ("a", "b", "A", "a_b", "c_partition1_1", "c_partition1_2", "c", "c_partitionX_1", "***", "d" * 40)
ADDRESSES = ("", "10.0.0.1", "8.8.8.8", "https://minio.example.org:9000", "http://[broken", "minio", "::1")
IMAGES = ("", "aws://r/x", "ost://h/x", "x", "azr://x", "://", "one://h/1")
numbers = st.floats(0, 1e6) | st.sampled_from((0.0, 0.5, 1.0))
names = st.sampled_from(NAMES)


@st.composite
def resources(draw: st.DrawFn) -> Any:
    return resource(
        draw(st.sampled_from(RESOURCES)),
        image_id=draw(st.sampled_from(IMAGES)),
        total_nodes=draw(st.integers(1, 3)),
        cost=draw(st.none() | numbers),
        memory_mb=draw(st.integers(100, 10_000)),
        storage_gb=draw(numbers),
        spot=draw(st.booleans()),
        processors=tuple(
            draw(st.lists(st.builds(processor, st.sampled_from(("amd64", "arm64")), sgx=st.booleans()), max_size=2))
        ),
        accelerators=tuple(
            draw(st.lists(st.builds(gpu, st.sampled_from(("", "NVIDIA", "NVIDIA T4")), memory_gb=numbers), max_size=2))
        ),
    )


@st.composite
def tidy_domains(draw: st.DrawFn) -> list[Any]:
    """Layers 0 to 3 in one or two domains, each with resources that are told apart."""
    split = draw(st.integers(0, 4))
    layers = []
    for number in range(4):
        kinds = tuple(replace(draw(resources()), name=name) for name in ("vm", "pi"))
        key = "ND1" if number < split else "ND2"
        layers.append(layer(number, *kinds, kind=draw(st.sampled_from(LayerType)), domain=key))
    inner = draw(st.sampled_from(((), ("ND2",))))
    return [domain("ND1", *layers[:split], sub=inner), domain("ND2", *layers[split:])]


@st.composite
def wild_domains(draw: st.DrawFn) -> list[Any]:
    """Domains and layers that may well be wrong."""
    return [
        domain(
            key,
            *(
                layer(
                    number, *draw(st.lists(resources(), max_size=2)), kind=draw(st.sampled_from(LayerType)), domain=key
                )
                for number in draw(st.lists(st.integers(-1, 3), max_size=2))
            ),
            sub=draw(st.lists(st.sampled_from((*DOMAINS, "nowhere")), max_size=2)),
        )
        for key in draw(st.lists(st.sampled_from((*DOMAINS, "nd1", "")), min_size=1, max_size=3, unique=True))
    ]


@st.composite
def models(draw: st.DrawFn, wild: bool) -> Production:
    """A model that is mostly right, or one in which anything may be wrong."""
    known = st.sampled_from(NAMES if wild else TIDY_NAMES)
    flags = st.fixed_dictionaries(
        {
            "memory_mb": st.integers(1, 10_000) if wild else st.integers(1, 100),
            "computing_units": st.floats(0.1, 8) if wild else st.floats(0.1, 1),
            "gpu": st.booleans() if wild else st.just(False),
            "trusted_execution": st.booleans() if wild else st.just(False),
            "expose": st.booleans(),
            "image": st.sampled_from(("x", "x/y_arm64:1", "") if wild else ("x", "x/y_arm64:1")),
        }
    )
    places = st.sampled_from(RESOURCES if wild else ("vm", "pi", "PI"))
    components = [
        component(name, draw(st.integers(0, 3)), draw(places), **draw(flags))
        for name in draw(st.lists(known, min_size=1, max_size=5, unique=True))
    ]
    ends = st.tuples(known, known, st.floats(0, 1))
    edges = [edge(a, b, p) for a, b, p in draw(st.lists(ends, max_size=6)) if wild or a < b]
    asked = {name: draw(annotated(name, wild)) for name in draw(st.lists(known, max_size=3, unique=True))}
    constraints = tuple(
        constraint(*way, is_global=len(way) > 1, layer=draw(st.none() | st.integers(0, 3)))
        for way in draw(st.lists(st.lists(known, min_size=1, max_size=3), max_size=3))
    )
    return production(
        *draw(wild_domains() if wild else tidy_domains()),
        *components,
        *edges,
        annotations=asked,
        constraints=constraints,
        physical=tuple(draw(st.lists(said(), max_size=3))),
        dag_assumed=draw(st.booleans()) if wild else True,
    )


@st.composite
def annotated(draw: st.DrawFn, name: str, wild: bool) -> Any:
    most = 20_000 if wild else 1
    return annotations(
        name,
        local_time=draw(st.none() | numbers),
        global_time=draw(st.none() | numbers),
        previous=tuple(draw(st.lists(names, max_size=2))),
        throughput=draw(st.none() | numbers),
        performance=draw(st.none() | st.just(("accuracy", 0.9))),
        early_exits=tuple(draw(st.lists(st.floats(0, 1), max_size=3))),
        device=device(draw(st.integers(0, most)), draw(st.integers(0, 20_000))),
        drift=draw(st.none() | st.just(DriftDetection("", "", "", None, "", "", ""))),
        security=SecurityNeeds(network_shield=draw(st.booleans())),
    )


@st.composite
def said(draw: st.DrawFn) -> PhysicalResource:
    hosts = (PhysicalHost(draw(st.sampled_from(ADDRESSES)), "", ""),)
    store = draw(st.sampled_from(ADDRESSES))
    return PhysicalResource(draw(st.integers(0, 3)), draw(st.sampled_from(RESOURCES)), hosts, store, "", at("physical"))


@settings(max_examples=100)
@given(st.booleans().flatmap(models))
def test_findings_or_a_topology_that_fits_and_reads_back(model: Production) -> None:
    layout = find_layout(Path("/nowhere/production.yaml"))
    topology, found = compile_topology(Loaded(model, (), layout.root, layout))
    assert bool(topology.name) != has_errors(found)
    assert all(d.summary and d.detail and d.location for d in found)
    if topology.name:
        assert check_topology(topology, shipped_types()) == ()
        assert parse_template(render_template(topology), "t.yaml").topology == topology
