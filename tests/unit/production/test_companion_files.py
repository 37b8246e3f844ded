"""The files that go with a production file: annotations, alternatives, images, candidates, accounts, time limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.production.candidates import read_candidates
from orchestrator.production.layout import ReadOptions
from orchestrator.production.load import Loaded, load_production
from orchestrator.production.model import DeviceConstraints
from orchestrator.production.read_accounts import read_accounts
from orchestrator.production.read_annotations import read_annotations
from orchestrator.production.read_containers import choose_image, images_of
from orchestrator.production.read_qos import read_multi_cluster_qos, read_qos
from orchestrator.topology.reading import Findings
from tests.unit.production.test_variants import TEXT, dag, found, line, model, read, with_second

ANNOTATIONS = """\
app/src/first/main.py:
  component_name: {name: first}
  exec_time: {local_time_thr: 20, global_time_thr: 40, prev_components: [zeroth]}
  expected_throughput: {rate: 0.5}
  partitionable_model: {onnx_file: m.onnx, num_partitions: 3}
  device_constraints: {ram: 2, vram: 1024, use_gpu_for: [dnn]}
  early_exits_model: {onnx_file: m.onnx, condition_function: f, transition_probabilities: [0.75, 0.25]}
  model_performance: {metric: accuracy, metric_thr: 0.9, filtered_class: x}
  detect_metric_drift: {metric: accuracy, field: f, statistical_test: ks, test_threshold: 0.05,
    detection_interval: 60, monitoring_period: 1h, data_collection_period: 1d}
  security: {trustedExecution: true, networkShield: false, filesystemShield: true}
"""


def written(folder: Path, text: str, name: str = "file.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def summaries(findings: Findings) -> list[tuple[str, str, int]]:
    return [(d.severity.value, d.summary, line(d)) for d in findings.all()]


def test_every_annotation_is_read(tmp_path: Path) -> None:
    findings = Findings()
    made = read_annotations(written(tmp_path, ANNOTATIONS), ["first"], findings)["first"]
    assert summaries(findings) == [("warning", "A size is not in GB.", 6)]
    assert (made.local_time, made.global_time, made.previous) == (20, 40, ("zeroth",))
    assert (made.throughput, made.partitions, made.early_exits) == (0.5, 3, (0.75, 0.25))
    assert made.performance == ("accuracy", 0.9)
    assert made.device is not None
    assert made.device == DeviceConstraints(2048, 1024, made.device.place)
    assert made.drift is not None
    assert (made.drift.test, made.drift.threshold, made.drift.monitoring_period) == ("ks", 0.05, "1h")
    assert made.security is not None
    assert (made.security.trusted_execution, made.security.network_shield) == (True, False)


@pytest.mark.parametrize(
    ("text", "component"),
    [
        ("src/first/main.py: {exec_time: {local_time_thr: 1}}\n", "first"),
        ("/somewhere/src/FIRST/main.py: {exec_time: {local_time_thr: 1}}\n", "first"),
        ("x/main.py: {component_name: first, exec_time: {local_time_thr: 1}}\n", "first"),
        ("x/main.py: [{component_name: {name: first}}, {exec_time: {local_time_thr: 1}}]\n", "first"),
        ("aisprint/designs/first/base/main.py: {exec_time: {local_time_thr: 1}}\n", "first"),
        ("aisprint/designs/cut/partition1_1/src/main.py: {exec_time: {local_time_thr: 1}}\n", "cut"),
        ("src\\first\\main.py: {exec_time: [{local_time_thr: 1}]}\n", "first"),
        ("src/cut/main.py: {annotation: , exec_time: {local_time_thr: 1}}\n", "cut"),
    ],
)
def test_annotations_find_their_component(tmp_path: Path, text: str, component: str) -> None:
    findings = Findings()
    made = read_annotations(written(tmp_path, text), ["first", "cut_partition1_1", "cut_partition1_2"], findings)
    assert summaries(findings) == []
    assert made[component].local_time == 1


@pytest.mark.parametrize(
    ("text", "severity", "summary", "row"),
    [
        ("src/gone/main.py:\n  exec_time: {local_time_thr: 1}\n", "note", "Annotations of a component that is not deployed.", 2),  # noqa: E501
        ("src/first/main.py:\n  device_constraints:\n    ram: -1\n", "error", "A number is out of range.", 3),
        ("src/first/main.py:\n  exec_time:\n    local_time_th: 1\n", "error", "A key is not known.", 3),
        ("src/first/main.py:\n  securty: {}\n", "error", "A key is not known.", 2),
        ("src/first/main.py:\n  exec_time: 3\n", "error", "A value has the wrong type.", 2),
        ("src/first/main.py:\n  partitionable_model: {num_partitions: -3}\n", "error", "A number is out of range.", 2),
        ("src/first/main.py: 3\n", "error", "A value has the wrong type.", 1),
        ("- a\n", "error", "A value has the wrong type.", 1),
        ("src/first/main.py:\n  early_exits_model: {transition_probabilities: [2]}\n", "error", "A probability is not understood.", 2),  # noqa: E501
        ("src/first/main.py: {exec_time: }\na/first/main.py: {exec_time: }\n", "warning", "A component is annotated twice.", 2),  # noqa: E501
    ],
)  # fmt: skip
def test_mistake_in_annotations(tmp_path: Path, text: str, severity: str, summary: str, row: int) -> None:
    findings = Findings()
    read_annotations(written(tmp_path, text), ["first"], findings)
    assert (severity, summary, row) in summaries(findings)


def test_limits_of_layers_stay_apart(tmp_path: Path) -> None:
    text = "system: {name: q, local_constraints: {a: {component_name: first, threshold: 3}}}\n"
    paths = tuple(written(tmp_path, text, f"qos_constraints{level}.yaml") for level in ("", "_L1", "_L2"))
    findings = Findings()
    assert [constraint.layer for constraint in read_qos(paths, findings)] == [None, 1, 2]
    assert summaries(findings) == []


def test_a_way_may_be_spelt_the_other_way_round(tmp_path: Path) -> None:
    text = "System:\n  global_constraints:\n    g:\n      components_path: [a, b]\n      threshold: 5\n"
    findings = Findings()
    (constraint,) = read_qos((written(tmp_path, text),), findings)
    assert (constraint.components, constraint.is_global) == (("a", "b"), True)
    assert summaries(findings) == [("warning", "A key is written differently.", 4)]


CLUSTERS = """\
System:
  Deployments:
    base: {ExecutionLayers: {1: {components: [first], local_constraints: {a: {component_name: first, threshold: 9}}}}}
    deployment_1:
      ExecutionLayers:
        1: {components: [first], local_constraints: {a: {component_name: first, threshold: 3}}, global_constraints: {},
            throughput_component: first}
        3: {components: [second], local_constraints: {a: {component_name: second, threshold: 4}}}
"""


@pytest.mark.parametrize(
    ("deployment", "limits"), [("deployment-1", [(1, 3.0), (3, 4.0)]), ("base", [(1, 9.0)]), ("other", []), ("", [])]
)
def test_limits_of_clusters_are_those_of_the_deployment(
    tmp_path: Path, deployment: str, limits: list[tuple[int, float]]
) -> None:
    findings = Findings()
    constraints = read_multi_cluster_qos(written(tmp_path, CLUSTERS), deployment, findings)
    assert [(constraint.layer, constraint.threshold) for constraint in constraints] == limits
    assert summaries(findings) == ([] if limits else [("note", "Constraints of other deployments.", 2)])


WORKFLOWS = """\
System:
  name: w
  alternative_dependencies:
  - alternative_1:
    dependency: [[first, big, 1]]
    metric: {name: accuracy, value: 0.95}
  - alternative_2: with the small one
    dependency: [[first, small, 1]]
"""


def with_three() -> str:
    return with_second("big") + with_second("small")[len(TEXT) :].replace("component2:", "component3:")


def load_alternative(folder: Path, name: str) -> Loaded:
    read(folder, with_three(), application_dag=dag("first", "big"), alternative_workflows=WORKFLOWS)
    return load_production(folder / "production.yaml", ReadOptions(alternative=name))


@pytest.mark.parametrize(
    ("asked", "taken", "components"),
    [("", "alternative_1", ["first", "big"]), ("with the small one", "with the small one", ["first", "small"])],
)
def test_an_alternative_is_taken_with_its_components(
    tmp_path: Path, asked: str, taken: str, components: list[str]
) -> None:
    made = model(load_alternative(tmp_path, asked))
    assert made.alternative == taken
    assert list(made.components) == components
    assert [(edge.source, edge.target) for edge in made.dag.edges] == [tuple(components)]
    assert [one.name for one in made.alternatives] == ["alternative_1", "with the small one"]


def test_an_alternative_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (error,) = [d for d in load_alternative(tmp_path, "alternative_3").diagnostics if d.is_error]
    assert error.summary == "No such alternative."
    assert "Did you mean 'alternative_1'?" in error.detail
    (tmp_path / "alternative_workflows.yaml").unlink()
    loaded = load_production(tmp_path / "production.yaml", ReadOptions(alternative="x"))
    (error,) = [d for d in loaded.diagnostics if d.is_error]
    assert "There is no alternative_workflows.yaml." in error.detail


IMAGES = {
    "cut": ("r/cut_base_amd64:1", "r/cut_base_arm64:1", "r/cut_partition1_1_arm64:1", "r/cut_partition1_2_amd64:1"),
    "one": ("r/one:1",),
    "many": ("amd64.example/many_aarch64:1", "amd64.example/many_X86_64:1"),
}


@pytest.mark.parametrize(
    ("component", "architecture", "image"),
    [
        ("cut", "amd64", "r/cut_base_amd64:1"),
        ("cut", "arm64", "r/cut_base_arm64:1"),
        ("cut_partition1_1", "arm64", "r/cut_partition1_1_arm64:1"),
        ("cut-partition1-2", "amd64", "r/cut_partition1_2_amd64:1"),
        ("one", "arm64", "r/one:1"),
        ("many", "arm64", "amd64.example/many_aarch64:1"),
        ("many", "amd64", "amd64.example/many_X86_64:1"),
        ("gone", "arm64", ""),
    ],
)
def test_an_image_is_chosen_by_partition_and_architecture(component: str, architecture: str, image: str) -> None:
    assert choose_image(images_of(component, IMAGES), architecture) == image


def test_an_image_is_taken_from_containers(tmp_path: Path) -> None:
    text = TEXT.replace("image: registry.example/first:1", "image: null")
    containers = "components: {first: {docker_images: ['r/first_base_arm64:2', 'r/first_base_amd64:2']}}\n"
    loaded = read(tmp_path, text, containers=containers)
    assert model(loaded).components["first"].container.image == "r/first_base_amd64:2"
    assert ("note", "An image was taken from another file.", 37) in found(loaded)


def test_of_several_images_the_one_for_the_architecture_is_used(tmp_path: Path) -> None:
    loaded = read(tmp_path, TEXT.replace("registry.example/first:1", "[r/f_arm64:1, r/f_amd64:1]"))
    assert model(loaded).components["first"].container.image == "r/f_amd64:1"
    assert ("warning", "More than one image.", 37) in found(loaded)


def test_a_choice_that_is_no_candidate_is_warned_about(tmp_path: Path) -> None:
    candidates = """\
Components:
  component1:
    name: first
    candidateExecutionLayers: [2]
    Containers:
      c1: {candidateExecutionResources: [Big]}
      c2: {candidateExecutionResources: [Huge]}
"""
    assert read_candidates(written(tmp_path, candidates), Findings())["first"].resources == {"Big", "Huge"}
    loaded = read(tmp_path, TEXT, candidate_deployments=candidates)
    assert [entry for entry in found(loaded) if "candidates" in entry[1]] == [
        ("warning", "A choice is not among the candidates.", 34),
    ]


@pytest.mark.parametrize(
    ("text", "severity", "summary", "line"),
    [
        ("Other: {}\n", "error", "A key is missing.", 1),
        ("Components:\n  c:\n    name: a\n    candidateExecutionLayer5: [1]\n", "error", "A key is not known.", 4),
        ("Components:\n  c:\n    name: a\n    candidateExecutionLayers: [x]\n", "error", "A value has the wrong type.", 4),  # noqa: E501
        ("Components:\n  c:\n    name: a\n    Containers:\n      d: {Zone: b}\n", "warning", "A key is not known.", 5),
        ("System:\n  Components: {}\nSystme: 3\n", "warning", "A key is not known.", 3),
    ],
)  # fmt: skip
def test_a_mistake_in_the_candidates_is_found(
    tmp_path: Path, text: str, severity: str, summary: str, line: int
) -> None:
    findings = Findings()
    read_candidates(written(tmp_path, text), findings)
    assert [(f.severity, f.summary, f.location.line if f.location else 0) for f in findings.all()] == [
        (severity, summary, line)
    ]


ACCOUNTS = """\
# accounts
id = one; type = OpenNebula; host = server:2633; username = user; password = "a;b=c"

id = ost; type = OpenStack; host = https://x:5000; password = file(/tmp/p;q); tenant='t'
type = InfrastructureManager; username = user; password = hidden-word
"""


def test_accounts_are_known_without_their_secrets(tmp_path: Path) -> None:
    findings = Findings()
    accounts = read_accounts(written(tmp_path, ACCOUNTS, "auth.dat"), findings)
    assert [(one.key, one.type, one.host, one.place.line) for one in accounts] == [
        ("one", "OpenNebula", "server:2633", 2),
        ("ost", "OpenStack", "https://x:5000", 4),
        ("", "InfrastructureManager", "", 5),
    ]
    assert findings.all() == ()
    assert "hidden-word" not in repr(accounts)


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("hidden-word\n", "An account is not understood."),
        ("id = a; hidden-word; type = EC2\n", "An account is not understood."),
        ("id = a; password = hidden-word\n", "An account has no type."),
        ("id = a; type = OSCAR password = hidden-word\n", "An account is not understood."),
        ("id = a; type = OSCAR; host = https://h password = hidden-word\n", "An account is not understood."),
        ("id = a token = hidden-word; type = OSCAR\n", "An account is not understood."),
    ],
)
def test_a_mistake_in_accounts_shows_no_secret(tmp_path: Path, text: str, summary: str) -> None:
    findings = Findings()
    read_accounts(written(tmp_path, "\n" + text, "auth.dat"), findings)
    assert summaries(findings) == [("error", summary, 2)]
    assert "hidden-word" not in repr(findings.all())


def test_an_address_is_kept_without_the_secrets_in_it(tmp_path: Path) -> None:
    text = "type = OSCAR; host = https://user:hidden-word@h.example:8443/x?token=hidden-word#hidden-word\n"
    (account,) = read_accounts(written(tmp_path, text, "auth.dat"), Findings())
    assert account.host == "https://h.example:8443/x"


@pytest.mark.parametrize(
    "text",
    [
        "fe_node: hidden-word",
        "minio: hidden-word",
        "wns: [hidden-word]",
        "minio: {endpoint: x, secret_key: [hidden-word, }",
        "fe_node: {private_ip: 192.0.2.1, ssh_key: hidden-word, ssh_port: hidden-word}",
        "fe_node:\n          ssh_key: |\n            aaa\n       hidden-word",
        "name: b\n        name: hidden-word",
    ],
)
def test_a_mistake_in_physical_nodes_shows_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    nodes = f"""\
ComputationalLayers:
  computationalLayer1:
    number: 1
    Resources:
      resource1:
        name: VM
        {text}
"""
    read(tmp_path, TEXT, physical_nodes=nodes)
    for form in ("human", "json", "github", "gitlab"):
        main(["validate", str(tmp_path / "production.yaml"), "--format", form])
        assert "hidden-word" not in "".join(capsys.readouterr())
