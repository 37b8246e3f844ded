"""Results that go to another network domain need a store there that can be reached."""

from __future__ import annotations

import pytest

from orchestrator.production.checks_network import Reach, address_reach
from orchestrator.production.model import Resource
from orchestrator.production.physical import PhysicalResource
from tests.unit.production.models import (
    component,
    domain,
    edge,
    edge_layer,
    found,
    function_layer,
    layer,
    physical,
    production,
    resource,
    where,
)

CANNOT = "Results cannot get there."
MAY_NOT = "Results may not get there."


def between(
    target: Resource, *said: PhysicalResource, sub: tuple[str, ...] = (), up: tuple[str, ...] = ()
) -> list[tuple[bool, str]]:
    """What is found where ``a`` on a board in ND1 sends to ``b`` on the target in ND2."""
    model = production(
        domain("ND1", edge_layer(1), sub=sub),
        domain("ND2", layer(2, target, domain="ND2"), sub=up),
        component("a"),
        component("b", on=2, resource=target.name),
        edge("a", "b"),
        physical=said,
    )
    assert all(where(d) == "a->b" for d in found(model))
    return [(d.is_error, d.summary) for d in found(model)]


def test_one_domain_reaches_itself() -> None:
    model = production(edge_layer(1), layer(2), component("a"), component("b", on=2), edge("a", "b"))
    assert found(model) == []


def test_a_domain_reaches_what_is_inside_it_and_what_it_is_inside_of() -> None:
    assert between(resource(), sub=("ND2",)) == between(resource(), up=("ND1",)) == []


def test_domains_inside_each_other_reach_over_several_steps() -> None:
    model = production(
        domain("ND1", sub=("ND3",)),
        domain("ND3", edge_layer(1, domain="ND3"), sub=("ND2",)),
        domain("ND2", layer(2, domain="ND2")),
        component("a"),
        component("b", on=2),
        edge("b", "a"),
    )
    assert found(model) == []


def test_domains_inside_each_other_in_a_circle_do_not_hang() -> None:
    assert between(resource(), sub=("ND2",), up=("ND1",)) == []


def brothers(*said: PhysicalResource) -> list[tuple[bool, str]]:
    model = production(
        domain("ND0", sub=("ND1", "ND2")),
        domain("ND1", edge_layer(1)),
        domain("ND2", layer(2, resource(total_nodes=1), domain="ND2")),
        component("a"),
        component("b", on=2),
        edge("a", "b"),
        physical=said,
    )
    return [(d.is_error, d.summary) for d in found(model)]


def test_a_third_domain_joins_those_inside_it() -> None:
    assert brothers() == brothers(physical(2, "vm", "198.51.100.7")) == []


def test_a_third_domain_may_not_forward_private_addresses() -> None:
    assert brothers(physical(2, "vm", "10.1.2.3")) == [(False, MAY_NOT)]


@pytest.mark.parametrize("image_id", ["aws://r/ami-1", "azr://x", "gce://r/x"])
def test_public_clouds_are_reached(image_id: str) -> None:
    assert between(resource(image_id=image_id)) == []


def test_cloud_functions_are_reached() -> None:
    model = production(
        domain("ND1", edge_layer(1)),
        domain("ND2", function_layer(2, domain="ND2")),
        component("a"),
        component("b", on=2, resource="lambda"),
        edge("a", "b"),
    )
    assert found(model) == []


def test_nothing_said_is_a_warning() -> None:
    assert between(resource()) == [(False, MAY_NOT)]
    assert between(resource(total_nodes=1), physical(2, "vm")) == [(False, MAY_NOT)]


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.0.7", "172.31.0.1"])
def test_private_addresses_are_an_error(address: str) -> None:
    assert between(resource(total_nodes=1), physical(2, "vm", address)) == [(True, CANNOT)]
    assert between(resource(), physical(2, "vm", store=f"https://{address}:9000")) == [(True, CANNOT)]
    assert between(resource(total_nodes=1), physical(2, "vm", address), sub=("ND2",)) == []


def test_public_addresses_are_reached() -> None:
    assert between(resource(total_nodes=1), physical(2, "vm", "198.51.100.7")) == []
    assert between(resource(total_nodes=1), physical(2, "vm", "10.0.0.1", store="https://minio.example.org")) == []


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("8.8.8.8", Reach.PUBLIC),
        ("https://minio.example.org:9000/x", Reach.PUBLIC),
        ("minio.example.org:9000", Reach.PUBLIC),
        ("172.15.0.1", Reach.PUBLIC),
        ("2001:db8::1", Reach.PUBLIC),
        ("http://[fd00::1]:9000", Reach.PRIVATE),
        ("fe80::1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("http://10.0.0.1:9000", Reach.PRIVATE),
        ("http://minio.oscar.svc:9000", Reach.PRIVATE),
        ("pi.local", Reach.PRIVATE),
        ("localhost", Reach.PRIVATE),
        ("minio", Reach.UNKNOWN),
        ("", Reach.UNKNOWN),
        ("http://[broken", Reach.UNKNOWN),
    ],
)
def test_addresses(address: str, reach: Reach) -> None:
    assert address_reach(address) is reach
