"""Which cloud an option chooses for machines: what it completes, what it may not contradict, what makes no sense."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import UsageError
from orchestrator.planning.actions import Action
from orchestrator.planning.chosen_providers import check_choices, with_chosen_provider
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.desired_instances import check_profile, desired_instances
from orchestrator.planning.planner import Wanted, plan_apply
from orchestrator.planning.profile import load_profile
from orchestrator.providers.registry import is_cloud
from orchestrator.state.model import InstanceRecord, Lifecycle, State
from orchestrator.topology.model import Group, NodeTemplate, Topology, Value
from orchestrator.topology.types import shipped_types

PRODUCTION = load_profile("production")
SCHEMES = PRODUCTION.image_schemes
CLOUDS = {
    "layer1-pi": ("Pi", 1, None),
    "layer2-web": ("Web", 2, "ami-1"),
    "layer2-gpu": ("GPU", 2, "ami-2"),
    "layer3-store": ("Store", 3, "3f1c"),
}


def topology(**images: str) -> Topology:
    """Pis on the first layer, machines of clouds on two others, whose images name no cloud unless it is given here."""
    nodes: dict[str, NodeTemplate] = {}
    for name, (resource, layer, image) in CLOUDS.items():
        properties: dict[str, Value] = {"resource": resource, "layer": layer}
        kind = "VirtualMachine" if image else "PhysicalMachine"
        if image:
            properties["image_id"] = images.get(resource.lower(), image)
        nodes[name] = NodeTemplate(name, f"continuum.nodes.{kind}", properties)
    layers = {1: "Shop floor", 2: "Private cloud", 3: "Public cloud"}
    groups = {
        f"layer-{number}": Group(
            f"layer-{number}",
            "continuum.groups.ComputationalLayer",
            tuple(n for n, (_, layer, _) in CLOUDS.items() if layer == number),
            {"name": name, "number": number},
        )
        for number, name in layers.items()
    }
    return Topology("t", nodes=nodes, groups=groups)


def wanted(text: str, **images: str) -> dict[str, DesiredInstance]:
    return desired_instances(topology(**images), shipped_types(), PRODUCTION, {"provider": text})[0]


def providers(text: str, **images: str) -> dict[str, str]:
    return {address: instance.provider for address, instance in wanted(text, **images).items()}


@pytest.mark.parametrize(
    ("image", "completed"),
    [
        ("ami-1", "aws://eu-central-1/ami-1"),
        ("aws://ami-1", "aws://eu-central-1/ami-1"),
        ("aws:///ami-1", "aws://eu-central-1/ami-1"),
        ("aws://eu-central-1/ami-1", "aws://eu-central-1/ami-1"),
        ("aws://eu-west-1/ami-1", "aws://eu-west-1/ami-1"),
        ("aws://eu-west-1/", "aws://eu-west-1/"),
        ("aws://eu-central-1", "aws://eu-central-1"),
        ("aws://", "aws://"),
        ("ost:///ami-1", "ost:///ami-1"),
        ("ost://ami-1", "ost://ami-1"),
        ("", ""),
    ],
)
def test_what_an_image_does_not_say_itself_is_completed(image: str, completed: str) -> None:
    assert with_chosen_provider(image, "aws/eu-central-1", SCHEMES) == completed
    for unknown in ("", "aws", "azure/westeurope"):
        assert with_chosen_provider(image, unknown, SCHEMES) == image


def test_one_deployment_spans_several_clouds_with_boards() -> None:
    found = wanted("2=aws/eu-central-1,GPU=aws/eu-west-1, Store = openstack/cloud.example:5000")
    assert {address: instance.provider for address, instance in found.items()} == {
        "layer1-pi": "static",
        "layer2-web": "aws/eu-central-1",
        "layer2-gpu": "aws/eu-west-1",
        "layer3-store": "openstack/cloud.example:5000",
    }
    assert found["layer2-gpu"].properties["image_id"] == "aws://eu-west-1/ami-2"
    assert found["layer3-store"].properties["image_id"] == "ost://cloud.example:5000/3f1c"


@pytest.mark.parametrize("where", ["Web", "web", "layer2-web", "2", "private cloud", "Private Cloud", ""])
def test_a_resource_a_layer_or_all_of_them_may_be_named(where: str) -> None:
    text = f"{where}=aws/eu-central-1" if where else "aws/eu-central-1"
    found = providers(text, store="ost://cloud.example/3f1c")
    assert found["layer2-web"] == "aws/eu-central-1"
    assert found["layer2-gpu"] == ("aws/eu-central-1" if where.lower() not in {"web", "layer2-web"} else "")


def test_the_most_particular_entry_counts() -> None:
    text = "Web=aws/a,Private cloud=aws/b,aws/c"
    assert list(providers(text).values()) == ["static", "aws/a", "aws/b", "aws/c"]
    assert providers(",".join(reversed(text.split(",")))) == providers(text)


def test_it_is_the_same_as_an_image_that_says_it_all() -> None:
    written = wanted("", web="aws://eu-central-1/ami-1", gpu="aws://eu-central-1/ami-2", store="ost://o/3f1c")
    assert wanted("2=aws/eu-central-1,3=openstack/o") == written
    records = {
        i.address: InstanceRecord(i.address, i.node, i.type, i.provider, lifecycle=Lifecycle.STARTED, inputs=i.inputs)
        for i in written.values()
    }
    state = State("t", "l", 1, instances=records)
    elsewhere = wanted("2=aws/eu-west-1,3=openstack/o")
    changes = plan_apply("t", Wanted("production", elsewhere, ()), state, {}).changes
    assert {a: change.action for a, change in changes.items()} == {
        "layer1-pi": Action.NO_OP,
        "layer2-web": Action.REPLACE,
        "layer2-gpu": Action.REPLACE,
        "layer3-store": Action.NO_OP,
    }
    assert "of aws/eu-central-1" in changes["layer2-web"].reasons[0]


def test_without_a_choice_an_image_that_names_no_cloud_is_refused() -> None:
    refused = check_profile(topology(store="one://x/y"), shipped_types(), PRODUCTION, {"provider": "Web=aws/a"})
    (found,) = refused
    assert (found.summary, found.address) == ("No cloud is named.", "layer2-gpu")
    assert "--provider GPU=aws/eu-central-1" in found.detail
    (found,) = check_profile(
        topology(web="aws://ami-1"), shipped_types(), PRODUCTION, {"provider": "GPU=aws/a,3=openstack/o"}
    )
    assert found.summary == "The image does not say where it is."
    assert "--provider Web=aws/eu-central-1" in found.detail


def test_images_of_other_clouds_are_refused_all_at_once() -> None:
    images = {"web": "ost://cloud.example/3f1c", "gpu": "aws://eu-west-1/ami-2", "store": "one://host/7"}
    found = check_profile(topology(**images), shipped_types(), PRODUCTION, {"provider": "aws/eu-central-1"})
    assert [(d.summary, d.address, d.is_error) for d in found] == [
        ("The image is not the chosen provider's.", name, True) for name in CLOUDS if name != "layer1-pi"
    ]
    for diagnostic, image in zip(found, images.values(), strict=True):
        assert image in diagnostic.detail
        assert "aws/eu-central-1 is to make them" in diagnostic.detail
    found = check_profile(topology(web="ost://ami-1"), shipped_types(), PRODUCTION, {"provider": "aws/eu-central-1"})
    assert "The image is not the chosen provider's." in {d.summary for d in found}


def test_what_was_chosen_for_something_that_is_gone_does_no_harm() -> None:
    text = "Gone=openstack/o,9=nobody/x,2=aws/a,3=openstack/o"
    assert check_profile(topology(), shipped_types(), PRODUCTION, {"provider": text}) == ()
    assert providers(text)["layer2-gpu"] == "aws/a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Wbe=aws/a", "is called 'Wbe'. Did you mean 'Web'? There is: Web (layer 2, Private cloud), GPU (layer 2, Pri"),
        ("Wbe=aws/a", "Store (layer 3, Public cloud)."),
        ("1=aws/a", "No layer or resource whose machines a cloud makes is called '1'."),
        ("Pi=aws/a", "No layer or resource whose machines a cloud makes is called 'Pi'."),
        ("Web=azure/westeurope", "is called 'azure/westeurope'. There is: aws/PLACE, openstack/PLACE."),
        ("Web=local", "No provider that orders machines from a cloud is called 'local'."),
        ("Web=", "No provider that orders machines from a cloud is called ''."),
        ("Web", "No provider that orders machines from a cloud is called 'Web'."),
        ("Web=aws", "'aws' does not say where: write aws/PLACE"),
        ("Web=openstack/host/id", "'openstack/host/id' does not say where: write openstack/PLACE"),
        ("Web=aws/a,layer2-web=aws/b", "Both aws/a and aws/b are chosen for Web"),
        ("aws/a,openstack/o", "Both aws/a and openstack/o are chosen for Store"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_choices(text, topology(), shipped_types(), SCHEMES)
    assert caught.value.exit_code == 2
    assert said in caught.value.detail


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        check_choices("Wbe=aws,9=azure/x,Web=aws/a", topology(), shipped_types(), SCHEMES)
    assert len(caught.value.detail.splitlines()) == 4
    boards = topology()
    boards = replace(boards, nodes={"layer1-pi": boards.nodes["layer1-pi"]})
    with pytest.raises(UsageError, match="cannot be chosen") as caught:
        check_choices("aws/a", boards, shipped_types(), SCHEMES)
    assert "No cloud makes any machine of this deployment" in caught.value.detail


@pytest.mark.parametrize("text", ["", " ", "aws/a", "Web=aws/a,", "Web=aws/a,Web=aws/a", "2=aws/a,3=openstack/h:5000"])
def test_what_makes_sense_is_taken(text: str) -> None:
    check_choices(text, topology(), shipped_types(), SCHEMES)


def test_every_provider_that_may_be_chosen_is_a_cloud() -> None:
    assert SCHEMES
    assert all(is_cloud(name) for name in SCHEMES)
    assert load_profile("local").image_schemes == {}
