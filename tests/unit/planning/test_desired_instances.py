"""Topologies expand to the same instances whatever file they come from; profiles are data and say what they replace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import InvalidInputError, UsageError
from orchestrator.planning.desired_instances import (
    MissingNodeError,
    ReservedNameError,
    check_profile,
    desired_instances,
    images_without_source,
)
from orchestrator.planning.profile import Profile, ProfileError, load_profile, load_profile_file, profile_names
from orchestrator.topology.functions import FunctionError
from orchestrator.topology.model import NodeTemplate, Requirement, Topology, Value
from orchestrator.topology.parse import parse_template
from orchestrator.topology.types import UnknownTypeError, shipped_types

GOLDEN = Path(__file__).parents[2] / "golden"
LOCAL = load_profile("local")
AMD64 = {"engine_architecture": "amd64"}


def topology(case: str = "mask-detection") -> Topology:
    parsed = parse_template((GOLDEN / case / "topology.yaml").read_text(encoding="utf-8"), "t.yaml").topology
    assert parsed is not None
    return parsed


def changed(node: str, **properties: Value) -> Topology:
    whole = topology()
    old = whole.nodes[node]
    return replace(whole, nodes={**whole.nodes, node: replace(old, properties={**old.properties, **properties})})


def test_counts_become_numbered_instances_and_groups_become_their_members() -> None:
    instances, _ = desired_instances(topology(), shipped_types(), LOCAL, AMD64)
    assert [a for a in instances if a.startswith("layer1-rasppi[")] == [f"layer1-rasppi[{i}]" for i in range(3)]
    assert instances["layer1-rasppi[2]"].index == 2
    assert instances["layer1-rasppi-k3s"].requirements["machine"] == tuple(f"layer1-rasppi[{i}]" for i in range(3))
    assert instances["service-blurry-faces"].dependencies == (
        "layer1-rasppi-oscar",
        "image-blurry-faces",
        "service-mask-detector",
    )


def test_operations_carry_resolved_inputs_in_the_order_of_a_life() -> None:
    instances, _ = desired_instances(topology(), shipped_types(), LOCAL, AMD64)
    configure = instances["layer1-rasppi-k3s"].operations["configure"]
    assert (configure.artifact_type, configure.file) == ("continuum.artifacts.AnsiblePlaybook", "playbooks/site.yml")
    assert configure.inputs["k3s_token"] == "secret:layer1-rasppi-k3s-token"
    assert configure.inputs["k3s_binary_file"] == "resource:standins/k3s_standin"
    assert configure.inputs["k3s_node_labels"] == {"continuum/layer": "1", "continuum/resource": "rasppi"}
    service = instances["service-blurry-faces"]
    assert list(service.operations) == ["create", "configure", "stop", "delete"]
    assert service.operations["create"].inputs == {
        "image_name": "blurry-faces",
        "image_archive_file": {"get_attribute": ["image-blurry-faces", "archive"]},
        "image_archive_digest": {"get_attribute": ["image-blurry-faces", "digest"]},
    }


def test_boards_get_firmware_and_machines_the_engines_architecture() -> None:
    instances, substitutions = desired_instances(topology(), shipped_types(), LOCAL, AMD64)
    assert instances["layer1-rasppi[0]"].settings == {"firmware": "raspberry-pi", "architecture": "amd64"}
    assert instances["layer2-cloudvm[0]"].settings == {}
    assert instances["layer1-rasppi[0]"].provider == "local"
    assert instances["layer1-rasppi[0]"].disposable
    assert instances["image-blurry-faces"].settings == {"architecture": "amd64"}
    said = {(s.address, s.what, s.by) for s in substitutions}
    assert ("layer1-rasppi", "board RaspPi, 3 of them", "container") in said
    assert ("layer1-rasppi", "arm64", "amd64") in said
    assert ("layer2-cloudvm", "virtual machine CloudVM, 2 of them", "container") in said
    assert ("image-blurry-faces", "image for arm64", "image for amd64") in said
    assert not any(s.address == "image-mask-detector" for s in substitutions)
    assert all(s.why for s in substitutions)


def test_same_architecture_is_no_substitution() -> None:
    _, substitutions = desired_instances(topology(), shipped_types(), LOCAL, {"engine_architecture": "arm64"})
    assert [s.address for s in substitutions if s.by == "arm64"] == ["layer2-cloudvm"]
    _, unknown = desired_instances(topology(), shipped_types(), LOCAL, {})
    assert not any("image for" in s.what for s in unknown)


def test_real_k3s_takes_the_given_binary_and_is_no_substitution() -> None:
    options = {**AMD64, "k3s": "real", "k3s_binary": "/opt/k3s"}
    instances, substitutions = desired_instances(topology(), shipped_types(), LOCAL, options)
    assert instances["layer1-rasppi-k3s"].operations["configure"].inputs["k3s_binary_file"] == "/opt/k3s"
    assert not any("K3s" in s.what for s in substitutions)


def test_what_is_there_already_is_made_in_its_place_and_said() -> None:
    instances, substitutions = desired_instances(topology("predecessor-base"), shipped_types(), LOCAL, AMD64)
    machine, cluster = instances["layer1-rasppi[0]"], instances["layer1-rasppi-k3s"]
    assert list(machine.operations) == ["create", "delete"]
    assert list(cluster.operations) == ["configure", "delete"]
    assert cluster.operations["configure"].inputs["k3s_cluster_name"] == "layer1-rasppi"
    assert ("layer1-rasppi-k3s", "a cluster made in its place") in {(s.address, s.by) for s in substitutions}
    production, nothing = desired_instances(
        topology("predecessor-base"), shipped_types(), load_profile("production"), {}
    )
    assert nothing == ()
    looks = [production["layer1-rasppi-k3s"].operations, production["layer1-rasppi[0]"].operations]
    assert [(o.name, o.artifact_type) for found in looks for o in found.values()] == [
        ("configure", "continuum.artifacts.Existing"),
        ("create", "continuum.artifacts.Existing"),
    ]
    assert production["layer2-vm1[0]"].provider == "im"


@pytest.mark.parametrize("name", ["image-blurry-faces", "registry.example.org/mask-detection/blurry-faces:1.0"])
def test_image_that_cannot_be_had_passes_its_input_on(name: str) -> None:
    instances, substitutions = desired_instances(topology(), shipped_types(), LOCAL, AMD64, frozenset({name}))
    assert instances["image-blurry-faces"].settings["pass_through"] is True
    assert "pass_through" not in instances["image-mask-detector"].settings
    assert any("passes its input on" in s.by for s in substitutions)


def test_images_without_source_are_listed_with_their_references() -> None:
    found = images_without_source(topology(), shipped_types())
    assert found["image-mask-detector"] == "registry.example.org/mask-detection/mask-detector:1.0"


def test_unshielded_execution_is_refused_outside_a_rehearsal_and_said_in_one() -> None:
    shielded = changed("service-blurry-faces", trusted_execution=True)
    production = load_profile("production")
    (found,) = check_profile(shielded, shipped_types(), production, {})
    assert (found.summary, found.address) == ("Nothing shields it yet.", "service-blurry-faces")
    assert "'blurry-faces'" in found.detail or "blurry-faces" in found.detail
    assert check_profile(topology(), shipped_types(), production, {}) == ()
    assert check_profile(shielded, shipped_types(), LOCAL, {}) == ()
    _, substitutions = desired_instances(shielded, shipped_types(), LOCAL, AMD64)
    assert any(s.by == "plain container, unshielded" for s in substitutions)


def test_virtual_machines_of_no_cloud_are_refused_in_production() -> None:
    found = check_profile(changed("layer2-cloudvm", image_id=""), shipped_types(), load_profile("production"), {})
    assert [d.summary for d in found] == ["No cloud is named."]


def test_clouds_are_told_by_the_image() -> None:
    clouds = (
        ("aws://eu-central-1/ami-1", "aws/eu-central-1"),
        ("ost://cloud.example/3f1c", "openstack/cloud.example"),
        ("one://x/y", "im"),
    )
    for image, provider in clouds:
        instances, _ = desired_instances(
            changed("layer2-cloudvm", image_id=image), shipped_types(), load_profile("production"), {}
        )
        assert instances["layer2-cloudvm[1]"].provider == provider
        assert instances["layer2-cloudvm[1]"].disposable
        assert not instances["layer1-rasppi[0]"].disposable
        assert instances["layer1-rasppi[0]"].provider == "static"


@pytest.mark.parametrize("image", ["aws://ami-1", "aws:///ami-1", "aws://eu-central-1/", "ost://3f1c", "ost://host/"])
def test_an_image_that_does_not_say_where_it_is_is_refused(image: str) -> None:
    wanted, production = changed("layer2-cloudvm", image_id=image), load_profile("production")
    (found,) = check_profile(wanted, shipped_types(), production, {})
    assert found.summary == "The image does not say where it is."
    assert image in found.detail
    instances, _ = desired_instances(wanted, shipped_types(), production, {})
    assert instances["layer2-cloudvm[0]"].provider == ""


def test_options_must_exist_and_have_a_possible_value() -> None:
    with pytest.raises(UsageError, match="No such option"):
        desired_instances(topology(), shipped_types(), LOCAL, {"k3": "real"})
    with pytest.raises(UsageError, match="no such value"):
        desired_instances(topology(), shipped_types(), LOCAL, {"k3s": "imaginary"})


def test_wrong_topologies_are_refused() -> None:
    bare = Profile("none")
    with pytest.raises(UnknownTypeError):
        desired_instances(Topology("t", nodes={"a": NodeTemplate("a", "x.y")}), shipped_types(), bare, {})
    former = NodeTemplate("a@1", "continuum.nodes.K3sCluster", {"cluster_name": "a"})
    with pytest.raises(ReservedNameError, match="'a@1' ends in @ and a number"):
        desired_instances(Topology("t", nodes={"a@1": former}), shipped_types(), bare, {})
    cluster = NodeTemplate(
        "a", "continuum.nodes.K3sCluster", {"cluster_name": "a"}, requirements=(Requirement("machine", "b"),)
    )
    with pytest.raises(MissingNodeError):
        desired_instances(Topology("t", nodes={"a": cluster}), shipped_types(), bare, {})
    loop = {"cluster_name": {"get_property": ["SELF", "token"]}, "token": {"get_property": ["SELF", "cluster_name"]}}
    circle = replace(cluster, properties=loop, requirements=())
    with pytest.raises(FunctionError, match="circle"):
        desired_instances(Topology("t", nodes={"a": circle}), shipped_types(), bare, {})


def test_shipped_profiles_load() -> None:
    assert set(profile_names()) >= {"local", "production"}
    for name in profile_names():
        assert load_profile(name).rehearsal == bool(load_profile(name).name_suffix)
    with pytest.raises(ProfileError, match="Did you mean 'local'"):
        load_profile("locl")


@pytest.mark.parametrize("marker", ["", "rehearsal: false\n"])
def test_profile_that_would_put_a_standin_into_production_is_refused(tmp_path: Path, marker: str) -> None:
    path = tmp_path / "sneaky.yaml"
    rule = "rules:\n  - match: {type: continuum.nodes.Machine}\n    substitutions: [{what: a, by: b, why: c}]\n"
    path.write_text(marker + rule, encoding="utf-8")
    with pytest.raises(ProfileError, match="stand-ins into production"):
        load_profile_file(path)
    path.write_text("rehearsal: true\n" + rule, encoding="utf-8")
    assert load_profile_file(path).rules[0].substitutions[0].by == "b"


def test_profile_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("rules:\n  - match: {typ: x}\n", encoding="utf-8")
    with pytest.raises(InvalidInputError):
        load_profile_file(path)
