"""Each check finds what it is for at the place where it is written, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.production.checks import CHECKS, check_production
from orchestrator.production.checks_placement import named_architecture
from orchestrator.production.load import load_production
from orchestrator.production.model import Dag, Edge, SecurityNeeds
from orchestrator.production.naming import sanitise
from tests.unit.production.models import (
    annotations,
    at,
    component,
    constraint,
    device,
    domain,
    edge,
    edge_layer,
    found,
    function_layer,
    functions,
    gpu,
    layer,
    one,
    physical,
    processor,
    production,
    resource,
    where,
)

GOLDEN = Path(__file__).parents[2] / "golden"
FITS_NOT = "A component fits on no node."
TOGETHER = "Components together need more than there is."
SAME = "Two names become the same."
TOO_LONG = "A name is too long."
NEEDS_GPU = "A component needs a GPU."
ASKS_MORE = "An annotation asks for more."
NO_ENCLAVE = "There is no enclave to run in."
SUM = "Probabilities add up to more than 1."
EXITS = "Probabilities are not those of the early exits."
NO_WAY = "No such way through the application."


def test_a_good_model_has_no_findings() -> None:
    assert found(production(component("a"), component("b"), edge("a", "b"))) == []


def test_every_check_says_what_it_is_for() -> None:
    assert all(check.__doc__ for check in CHECKS)
    assert len(set(CHECKS)) == len(CHECKS)


def test_all_findings_come_at_once() -> None:
    model = production(
        component("a", memory_mb=9000, gpu=True), component("b", on=7), component("c", resource="nowhere"),
        edge("a", "b"), edge("b", "a"),
    )  # fmt: skip
    assert [d.summary for d in check_production(model)] == [
        "No such layer.",
        "No such resource.",
        FITS_NOT,
        NEEDS_GPU,
        "The DAG has a cycle.",
    ]


# ------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("key", ["nd 1", "ND_1"])
def test_network_domains_must_be_told_apart(key: str) -> None:
    model = production(domain("nd-1", layer(1)), domain(key, layer(2)), component("a"), component("b", on=2))
    error = one(model, SAME)
    assert error.is_error
    assert where(error) == f"domain {key}"


def test_a_network_domain_needs_a_name() -> None:
    assert where(one(production(domain("***", layer(1)), component("a")), "A name cannot be used.")) == "domain ***"


def test_a_resource_must_not_be_called_like_the_cluster_of_another() -> None:
    model = production(layer(1, resource("pi"), resource("pi_K3s")), component("a", resource="pi"),
                       component("b", resource="pi_K3s"))  # fmt: skip
    error = one(model, SAME)
    assert error.is_error
    assert where(error) == "resource pi_K3s"
    assert "'layer1-pi-k3s'" in error.detail


def test_what_is_not_used_takes_no_name() -> None:
    model = production(layer(1, resource("pi"), resource("pi-k3s")), component("a", resource="pi"))
    assert not found(model, SAME)


@pytest.mark.parametrize(("number", "length", "long"), [(1, 40, False), (1, 41, True), (10**15, 40, True)])
def test_host_names_must_be_short_enough(number: int, length: int, long: bool) -> None:
    name = "r" * length
    model = production(layer(number, resource(name)), component("a", on=number, resource=name))
    assert [where(d) for d in found(model, TOO_LONG)] == ([f"resource {name}"] if long else [])


@pytest.mark.parametrize(("length", "long"), [(39, False), (40, True)])
def test_service_names_must_be_short_enough(length: int, long: bool) -> None:
    name = "c" * length
    assert [where(d) for d in found(production(component(name)), TOO_LONG)] == ([f"component {name}"] if long else [])


def test_components_that_differ_in_signs_alone_collide() -> None:
    error = one(production(component("a b"), component("a_b")), SAME)
    assert where(error) == "component a_b"
    assert sanitise("a b") == "a-b"


def test_two_layers_cannot_share_a_number() -> None:
    first, second = layer(1), replace(layer(1), key="other", number_place=at("other number"))
    error = one(production(first, second, component("a")), "Two layers have one number.")
    assert where(error) == "other number"
    assert str(first.number_place.line) in error.detail


# --------------------------------------------------------------------------------------------------------- resources


@pytest.mark.parametrize(
    "image_id",
    ["one://host/1", "aws://r/ami-1", "ost://h/1", "azr://x", "azure://x", "gce://r/x", "gcp://r/x", "AWS://r/a", ""],
)
def test_images_of_known_clouds_pass(image_id: str) -> None:
    assert found(production(layer(1, resource(image_id=image_id)), component("a"))) == []


@pytest.mark.parametrize(
    ("image_id", "words"),
    [("awss://r/ami-1", "Did you mean 'aws'?"), ("://x", "There is: ")],
)
def test_an_image_of_an_unknown_cloud_is_a_warning(image_id: str, words: str) -> None:
    warning = one(production(layer(1, resource(image_id=image_id)), component("a")), "No such cloud.")
    assert not warning.is_error
    assert words in warning.detail
    assert where(warning) == "vm.operatingSystemImageId"


def test_an_image_that_names_no_cloud_leaves_it_to_be_chosen() -> None:
    note = one(production(layer(1, resource(image_id="ami-1")), component("a")), "The image names no cloud.")
    assert note.severity.value == "note"
    assert "choose it with --provider" in note.detail
    assert where(note) == "vm.operatingSystemImageId"


def test_images_of_what_is_not_made_are_not_looked_at() -> None:
    for image_id, summary in (("x", "The image names no cloud."), ("x://y", "No such cloud.")):
        assert not found(production(edge_layer(1, resource(image_id=image_id)), component("a")), summary)
        unused = production(layer(1, resource(), resource("spare", image_id=image_id)), component("a"))
        assert not found(unused, summary)


def test_processors_of_several_architectures_are_a_warning() -> None:
    mixed = resource(processors=(processor("arm64"), processor("amd64")))
    warning = one(production(layer(1, mixed), component("a")), "Processors have different architectures.")
    assert not warning.is_error
    assert "arm64 was taken" in warning.detail
    assert where(warning) == "vm.processors"


# --------------------------------------------------------------------------------------------------------- placement


def test_a_component_must_fit_on_one_node() -> None:
    model = production(component("a", memory_mb=8193), component("b", computing_units=4.5), component("c"))
    assert [(d.is_error, where(d)) for d in found(model, FITS_NOT)] == [
        (True, "a.memorySize"),
        (True, "b.computingUnits"),
    ]
    assert found(production(component("a", memory_mb=8192, computing_units=4))) == []


def test_components_together_may_need_more_than_there_is() -> None:
    model = production(*(component(name, memory_mb=6000, computing_units=3) for name in "abc"))
    warnings = found(model, TOGETHER)
    assert [(d.is_error, where(d)) for d in warnings] == [(False, "vm.memorySize"), (False, "vm.totalNodes")]
    assert "18000 MB" in warnings[0].detail
    assert "16384" in warnings[0].detail
    assert not found(production(*(component(name, memory_mb=6000) for name in "ab")), TOGETHER)


def test_graphics_processors_are_counted() -> None:
    model = production(layer(1, resource(accelerators=(gpu(),))), *(component(name, gpu=True) for name in "abc"))
    assert [where(d) for d in found(model)] == ["vm.accelerators"]


def test_a_graphics_processor_that_is_asked_for_must_be_there() -> None:
    error = one(production(component("a", gpu=True)), NEEDS_GPU)
    assert error.is_error
    assert where(error) == "a.GPURequirement"


def test_a_function_has_the_memory_that_its_cloud_gives() -> None:
    def memory(most: int, **changes: object) -> list[str]:
        model = production(function_layer(1, functions(**changes)), component("a", resource="lambda", memory_mb=most))
        return [where(d) for d in found(model, FITS_NOT)]

    assert memory(10240) == []
    assert memory(10241) == ["a.memorySize"]
    assert memory(3000, memory_mb=2048, places={"memorySize": at("memory")}) == ["a.memorySize"]
    assert memory(50000, image_id="azure://x") == []


def test_functions_have_as_many_cores_and_instances_as_are_needed() -> None:
    parts = [component(name, resource="lambda", computing_units=6, memory_mb=9000) for name in "abc"]
    assert found(production(function_layer(1, functions(total_nodes=1)), *parts)) == []


# ------------------------------------------------------------------------------------------------------- annotations


def test_memory_that_the_code_asks_for_is_measured() -> None:
    asked = {"a": annotations("a", device=device(9000)), "b": annotations("b", device=device(600))}
    model = production(component("a"), component("b"), annotations=asked)
    assert where(one(model, FITS_NOT)) == "device"
    warning = one(model, ASKS_MORE)
    assert (warning.is_error, where(warning)) == (False, "b.memorySize")


def test_video_memory_that_the_code_asks_for_is_measured() -> None:
    asked = {"a": annotations("a", device=device(100, 4096))}

    def found_for(memory_gb: float | None, wanted: bool) -> list[tuple[bool, str]]:
        accelerators = () if memory_gb is None else (gpu(memory_gb=memory_gb),)
        machine = layer(1, resource(accelerators=accelerators))
        return [
            (d.is_error, where(d)) for d in found(production(machine, component("a", gpu=wanted), annotations=asked))
        ]

    assert found_for(None, False) == [(False, "a.GPURequirement")]
    assert found_for(0, False) == [(False, "a.GPURequirement")]
    assert found_for(0, True) == found_for(16, True) == []
    assert found_for(2, True) == [(True, "vm.accelerators")]


def test_segments_are_not_measured_by_the_whole() -> None:
    asked = {"a": annotations("a", device=device(9000))}
    parts = component("a_partition1_1"), component("a_partition1_2")
    assert found(production(*parts, edge("a_partition1_1", "a_partition1_2"), annotations=asked)) == []


@pytest.mark.parametrize(
    ("image", "architecture"),
    [
        ("registry.example.org/x/detector_amd64:latest", "amd64"),
        ("detector:1.0-arm64", "arm64"),
        ("detector:arm64", "arm64"),
        ("x/detector-x86_64", "amd64"),
        ("arm64v8/python:3.11", "arm64"),
        ("x/aarch64/detector@sha256:00", "arm64"),
        ("arm64.example.org/detector:1", ""),
        ("localhost:5000/detector_arm64", "arm64"),
        ("x/farm64:1", ""),
        ("", ""),
    ],
)
def test_images_that_name_their_architecture(image: str, architecture: str) -> None:
    assert named_architecture(image) == architecture


def test_an_image_for_another_architecture_is_a_warning() -> None:
    pi = edge_layer(1, resource(processors=(processor("arm64"),)))
    warning = one(production(pi, component("a", image="x/a_amd64:1")), "An image is for another architecture.")
    assert (warning.is_error, where(warning)) == (False, "a.image")
    assert found(production(pi, component("a", image="x/a:1-arm64"))) == []


# ---------------------------------------------------------------------------------------------------------- security


def test_trusted_execution_needs_an_enclave() -> None:
    def says(*processors: object) -> list[tuple[bool, str]]:
        model = production(layer(1, resource(processors=processors)), component("a", trusted_execution=True))
        return [(d.is_error, where(d)) for d in found(model)]

    refused = [(True, "a.trustedExecution")]
    assert says(processor("amd64")) == says(processor("arm64")) == says(processor("arm64", sgx=True)) == refused
    assert says(processor("amd64", sgx=True)) == []
    model = production(function_layer(1), component("a", resource="lambda", trusted_execution=True))
    assert where(one(model, NO_ENCLAVE)) == "a.trustedExecution"


def test_what_the_code_wants_shielded_and_the_deployment_does_not() -> None:
    needs = SecurityNeeds(network_shield=True, confidentiality_at_rest=True, integrity_of_processing=True)
    asked = {"a": annotations("a", security=needs)}
    warnings = found(production(component("a"), annotations=asked))
    assert [(d.is_error, d.summary, where(d)) for d in warnings] == [
        (False, ASKS_MORE, "a.trustedExecution"),
        (False, ASKS_MORE, "a.networkProtection"),
        (False, ASKS_MORE, "a.fileSystemProtection"),
    ]
    assert "confRest" in warnings[2].detail
    shielded = component("a", trusted_execution=True, network_protection=True, file_system_protection=True)
    machine = layer(1, resource(processors=(processor(sgx=True),)))
    assert found(production(machine, shielded, annotations=asked)) == []


# --------------------------------------------------------------------------------------------------------------- dag


def test_several_circles_are_all_reported() -> None:
    parts = [component(name) for name in "abcde"]
    edges = [edge("a", "b"), edge("b", "a"), edge("c", "d"), edge("d", "c"), edge("e", "e")]
    errors = found(production(*parts, *edges), "The DAG has a cycle.")
    assert [where(d) for d in errors] == ["e->e", "b->a", "d->c"]


def test_components_missing_here_or_there() -> None:
    model = production(component("a"), component("b"), edge("a", "c"))
    model = replace(model, dag=Dag({"a": at("a in the DAG"), "c": at("c in the DAG")}, model.dag.edges))
    missing = one(model, "A component is missing.")
    assert (missing.is_error, where(missing)) == (False, "c in the DAG")
    assert where(one(model, "A component is not in the DAG.")) == "component b"


@pytest.mark.parametrize(
    ("edges", "is_error"),
    [
        ([edge("detector", "notifier")], False),
        ([edge("camera", "detector")], False),
        ([edge("detector", "archive"), edge("archive", "alarm")], True),
        ([edge("detector", "alarn")], True),
        ([edge("detector", "alarm_1"), edge("detector", "alarm")], False),
    ],
)
def test_a_component_that_is_not_deployed_is_left_out_at_either_end(edges: list[Edge], is_error: bool) -> None:
    model = production(component("detector"), component("alarm"), component("alarm_2"), *edges)
    assert one(model, "A component is missing.").is_error is is_error


@pytest.mark.parametrize(
    ("probabilities", "exits", "summaries"),
    [
        ((0.3, 0.7), (), []),
        ((1.0, 1.0), (), []),
        ((1.0, 0.3), (), []),
        ((0.6, 0.6), (), [SUM]),
        ((0.3, 0.2), (), []),
        ((0.3, 0.7), (0.3, 0.7), []),
        ((0.7, 0.3), (0.3, 0.7), []),
        ((0.3, 0.5), (0.2, 0.3, 0.5), []),
        ((0.3, 0.7), (0.3,), []),
        ((0.3, 0.7), (0.7,), []),
        ((0.4, 0.6), (0.3,), [EXITS]),
        ((0.3, 0.3), (0.3, 0.7), [EXITS]),
        ((1.0, 1.0), (0.3, 0.7), [EXITS, SUM]),
        ((0.4,), (0.6, 0.4), []),
        ((1.0,), (0.6, 0.4), []),
    ],
)
def test_probabilities_make_sense_together(
    probabilities: tuple[float, ...], exits: tuple[float, ...], summaries: list[str]
) -> None:
    targets = [component(f"t{i}") for i in range(len(probabilities))]
    edges = [edge("a", f"t{i}", p) for i, p in enumerate(probabilities)]
    asked = {"a": annotations("a", early_exits=exits)} if exits else {}
    warnings = found(production(component("a"), *targets, *edges, annotations=asked))
    assert [d.summary for d in warnings] == summaries
    assert not any(d.is_error for d in warnings)
    assert all(where(d).startswith("a->t") for d in warnings)


def test_segments_have_the_exits_of_the_whole() -> None:
    parts = [component(name) for name in ("a_partition1_1", "a_partition1_2", "b")]
    edges = [edge("a_partition1_1", "a_partition1_2", 0.5), edge("a_partition1_1", "b", 0.5)]
    asked = {"a": annotations("a", early_exits=(0.2, 0.8))}
    assert [d.summary for d in found(production(*parts, *edges, annotations=asked))] == [EXITS]


def test_constraints_on_ways_that_the_dag_does_not_have() -> None:
    chain = [component("a"), component("b"), component("c"), edge("a", "b"), edge("b", "c")]

    def says(*way: str, **changes: object) -> list[tuple[bool, str]]:
        model = production(*chain, constraints=(constraint(*way),), **changes)
        assert all(where(d) == "constraint c1" for d in found(model))
        return [(d.is_error, d.summary) for d in found(model)]

    assert says("a", "b", "c") == says("b", "c") == []
    assert says("c", "a") == [(True, NO_WAY)]
    assert says("c", "a", dag_assumed=True) == [(False, NO_WAY)]
    assert says("a", "c") == [(False, "A way leaves components out.")]
    assert says("a", "x") == [(False, "No such component.")]


def test_constraints_find_components_however_they_are_written() -> None:
    parts = [component(n) for n in ("a_partition1_1", "a_partition1_2", "b-c")]
    edges = [edge("a_partition1_1", "a_partition1_2"), edge("a_partition1_2", "b-c")]

    def says(*way: str) -> list[str]:
        return [d.summary for d in found(production(*parts, *edges, constraints=(constraint(*way),)))]

    assert says("a", "b_c") == ["A component is split."]
    assert says("a_partitionX_2", "b-c") == ["A name is written differently."]
    assert says("b_c", "a") == ["A component is split.", NO_WAY]


def test_ways_of_annotations_are_checked_as_well() -> None:
    asked = {"b": annotations("b", global_time=3.0, previous=("a",))}
    parts = [component("a"), component("b")]
    assert found(production(*parts, edge("a", "b"), annotations=asked)) == []
    assert where(one(production(*parts, edge("b", "a"), annotations=asked), NO_WAY)) == "annotations b"


@pytest.mark.parametrize(("servers", "findings"), [(1, []), (2, ["physical vm"]), (3, [])])
def test_two_servers_are_refused(servers: int, findings: list[str]) -> None:
    described = physical(1, "vm", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
    hosts = tuple(
        replace(host, is_server=index < servers, place=described.place) for index, host in enumerate(described.hosts)
    )
    on = edge_layer(1, resource("vm", total_nodes=4))
    model = production(on, component("a"), physical=(replace(described, hosts=hosts),))
    assert [where(d) for d in check_production(model) if d.summary.startswith("Two servers")] == findings


def test_physical_machines_are_as_many_as_the_resource_has() -> None:
    model = production(edge_layer(1), component("a"), physical=(physical(1, "vm", "192.0.2.1"), physical(1, "x")))
    assert where(one(model, "The number of machines differs.")) == "physical vm"
    assert where(one(model, "No such resource.")) == "physical x"


# ------------------------------------------------------------------------------------------------------- exact lines


@pytest.mark.parametrize(
    ("old", "new", "summary"),
    [
        ("memorySize: 1024", "memorySize: 9000", FITS_NOT),
        ("computingUnits: 0.9", "computingUnits: 90", FITS_NOT),
        ("GPURequirement: false", "GPURequirement: true", NEEDS_GPU),
        ("trustedExecution: false", "trustedExecution: true", NO_ENCLAVE),
        ("operatingSystemImageId: ost://", "operatingSystemImageId: osst://", "No such cloud."),
        ("totalNodes: 3", "totalNodes: 4", "The number of machines differs."),
    ],
)
def test_findings_of_a_file_point_to_the_value(tmp_path: Path, old: str, new: str, summary: str) -> None:
    for path in GOLDEN.glob("mask-detection/*.yaml"):
        text = path.read_text(encoding="utf-8")
        (tmp_path / path.name).write_text(text.replace(old, new), encoding="utf-8")
    model = load_production(tmp_path / "production.yaml").model
    assert model is not None
    lines = [where(d).strip() for d in found(model, summary)]
    assert lines
    if summary != "The number of machines differs.":
        assert all(line.startswith(new) for line in lines)
    else:  # no line of a file that may hold secrets is shown
        (place,) = (d.location for d in found(model, summary))
        assert place is not None
        assert (Path(place.file).name, place.line, place.text) == ("physical_nodes.yaml", 8, "")
