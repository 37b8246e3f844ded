"""Which providers at which places are asked for leftovers: whoever may hold something, now or from before."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.providers.registry import PROVIDERS
from orchestrator.services.load import load_topology
from orchestrator.services.provider_names import providers_of
from orchestrator.state.model import InstanceRecord, State, Version

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "mask-detection" / "production.yaml"
IMAGE = "ost://cloud.example.org/"


@pytest.fixture(autouse=True)
def _a_provider_of_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROVIDERS, "openstack", "tests.unit.services.test_provider_names:Nowhere")


class Nowhere:
    """A provider that is never asked."""


def template(image: str) -> str:
    text = load_topology(EXAMPLE).template_text
    assert IMAGE in text
    return text.replace(IMAGE, image)


def record(address: str, provider: str) -> InstanceRecord:
    return InstanceRecord(address, address.partition("@")[0], "continuum.nodes.VirtualMachine", provider)


def test_records_name_the_places_former_ones_too() -> None:
    records = (record("a[0]", "openstack/cloud1"), record("a[0]@1", "openstack/cloud2"), record("b", "nobody/x"))
    state = State("d", "l", profile="production", instances={r.address: r for r in records})
    assert providers_of(state) == ("openstack/cloud1", "openstack/cloud2", "static")


def test_what_was_applied_names_the_places_where_shared_parts_are_left() -> None:
    before = Version(1, "", "", template("ost://cloud3.example/"), "production")
    state = State("d", "l", template=template(IMAGE), profile="production", versions=(before,))
    assert providers_of(state) == ("openstack/cloud.example.org", "openstack/cloud3.example", "static")


def test_a_provider_that_was_chosen_is_asked_for_what_is_left() -> None:
    then = Version(1, "", "", template(""), "production", {"provider": "CloudVM=openstack/cloud4.example"})
    state = State(
        "d",
        "l",
        template=template(""),
        profile="production",
        profile_options={"provider": "2=openstack/cloud5.example"},
        versions=(then,),
    )
    assert providers_of(state) == ("openstack/cloud4.example", "openstack/cloud5.example", "static")


def test_what_cannot_be_read_any_longer_hides_no_record() -> None:
    state = State("d", "l", template="{", profile="gone", instances={"a": record("a", "openstack/cloud1")})
    assert providers_of(state) == ("local", "openstack", "openstack/cloud1", "static"), "Nowhere is no cloud"
