"""How machines without a public address get out of a network of ours, and what is left of that in the end."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.base import Access
from tests.contract.aws_bed import REGION
from tests.unit.providers.aws.conftest import Bed

FRONT = Access(group="edge", ssh_from=("203.0.113.7/32",))
BEHIND = Access(group="edge", ssh_from=("203.0.113.7/32",), public=False, jump="edge[0]")


def own(bed: Bed) -> list[dict[str, Any]]:
    return [{"Name": "tag:continuum:lineage", "Values": [bed.deployment.lineage]}]


def gateways(bed: Bed) -> list[dict[str, Any]]:
    """The deployment's NAT gateways that are there; the emulator filters none of them."""
    found = bed.ground.client.describe_nat_gateways()["NatGateways"]
    tag = own(bed)[0]["Values"][0]
    return [g for g in found if g["State"] == "available" and tag in {t["Value"] for t in g.get("Tags", [])}]


def way_of(bed: Bed, subnet: str) -> dict[str, Any]:
    """Where a subnet's packets to everywhere go."""
    client = bed.ground.client
    (described,) = client.describe_subnets(SubnetIds=[subnet])["Subnets"]
    tables = client.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [described["VpcId"]]}])["RouteTables"]
    own_table = [t for t in tables if any(a.get("SubnetId") == subnet for a in t["Associations"])]
    main = [t for t in tables if any(a.get("Main") for a in t["Associations"])]
    (route,) = [r for r in (own_table or main)[0]["Routes"] if r.get("DestinationCidrBlock") == "0.0.0.0/0"]
    return dict(route)


def test_machines_with_a_public_address_go_out_by_themselves_and_the_others_through_one_gateway(bed: Bed) -> None:
    provider = bed.provider()
    front = provider.create(bed.request(access=FRONT))
    assert gateways(bed) == [], "nobody needs one yet, and it costs"
    behind = [provider.create(bed.request(n, access=BEHIND)) for n in (1, 2)]
    elsewhere = provider.create(bed.request(3, access=BEHIND, settings={"zone": f"{REGION}b"}))
    (gateway,) = gateways(bed)
    front_subnet = str(front.setup["subnet"])
    assert gateway["SubnetId"] == front_subnet
    assert way_of(bed, front_subnet)["GatewayId"].startswith("igw-")
    inner = {str(m.setup["subnet"]) for m in (*behind, elsewhere)}
    assert len(inner) == 2
    assert front_subnet not in inner
    assert {way_of(bed, subnet)["NatGatewayId"] for subnet in inner} == {gateway["NatGatewayId"]}
    kept = bed.ground.client.describe_addresses(Filters=own(bed))["Addresses"]
    (address,) = [a for a in kept if a.get("InstanceId", "") != front.id]
    assert [a["AllocationId"] for a in gateway["NatGatewayAddresses"]] == [address["AllocationId"]]
    listed = {r.kind for r in provider.leftovers(bed.deployment)}
    assert {"NAT gateway", "public address", "route table", "subnet"} <= listed


def test_a_later_run_finds_the_way_out_and_makes_no_other(bed: Bed) -> None:
    bed.provider().create(bed.request(access=BEHIND))
    bed.api.calls.clear()
    bed.provider().create(bed.request(1, access=BEHIND))
    made = {call for call in bed.api.calls if call.startswith(("Create", "Allocate", "Associate", "Replace", "Attach"))}
    assert made == set()
    assert len(gateways(bed)) == 1


@pytest.mark.parametrize(
    "operation", ["AllocateAddress", "CreateNatGateway", "CreateRouteTable", "CreateRoute", "AssociateRouteTable"]
)
def test_no_part_of_it_is_made_twice_when_its_answer_is_lost(bed: Bed, operation: str) -> None:
    # The route to the internet gateway is made first.
    bed.api.cut_after(operation, skip=1 if operation == "CreateRoute" else 0)
    with pytest.raises(ProviderError) as lost:
        bed.provider().create(bed.request(access=BEHIND))
    assert lost.value.transient
    machine = bed.provider().create(bed.request(access=BEHIND))
    client = bed.ground.client
    (gateway,) = gateways(bed)
    assert way_of(bed, str(machine.setup["subnet"]))["NatGatewayId"] == gateway["NatGatewayId"]
    assert len(client.describe_addresses(Filters=own(bed))["Addresses"]) == 1
    assert len(client.describe_route_tables(Filters=own(bed))["RouteTables"]) == 1
    assert len(client.describe_subnets(Filters=own(bed))["Subnets"]) == 2


def test_a_gateway_that_takes_its_time_is_waited_for_and_one_that_fails_is_told(bed: Bed) -> None:
    bed.api.change("CreateNatGateway", lambda body: body.replace(b">available<", b">pending<"))
    bed.api.change("DescribeNatGateways", lambda body: body.replace(b">available<", b">pending<"), times=3, skip=1)
    told: list[str] = []
    bed.provider().create(bed.request(access=BEHIND), told.append)
    assert any("NAT gateway" in line for line in told)
    assert sum(bed.pauses) == 4.0
    failed = b"><failureMessage>Subnet has no free addresses</failureMessage><state>failed<"
    bed.api.change("DescribeNatGateways", lambda body: body.replace(b">available<", b">pending<"))
    bed.api.change("DescribeNatGateways", lambda body: body.replace(b"><state>available<", failed))
    with pytest.raises(ProviderError, match="could not make the NAT gateway") as refused:
        bed.provider().create(bed.request(1, access=BEHIND))
    assert "--public-addresses all" in refused.value.resolution
    assert not refused.value.transient


def test_a_gateway_that_somebody_removed_is_made_anew_and_the_way_leads_there(bed: Bed) -> None:
    machine = bed.provider().create(bed.request(access=BEHIND))
    client = bed.ground.client
    (before,) = gateways(bed)
    client.delete_nat_gateway(NatGatewayId=before["NatGatewayId"])
    # AWS lets go of the address by itself.
    (address,) = client.describe_addresses(Filters=own(bed))["Addresses"]
    client.disassociate_address(AssociationId=address["AssociationId"])
    bed.provider().create(bed.request(1, access=BEHIND))
    (after,) = gateways(bed)
    assert after["NatGatewayId"] != before["NatGatewayId"]
    assert way_of(bed, str(machine.setup["subnet"]))["NatGatewayId"] == after["NatGatewayId"]


def test_its_address_is_given_back_once_the_gateway_has_ended(bed: Bed) -> None:
    provider = bed.provider()
    provider.delete(provider.create(bed.request(access=BEHIND)).id)
    bed.api.change("DescribeNatGateways", lambda body: body.replace(b">deleted<", b">deleting<"), times=3, skip=1)
    bed.api.calls.clear()
    provider.release(bed.deployment)
    assert gateways(bed) == []
    order = [bed.api.calls.index(c) for c in ("DeleteNatGateway", "ReleaseAddress", "DeleteSubnet", "DeleteRouteTable")]
    assert order == sorted(order)
    assert "DescribeNatGateways" in bed.api.calls[order[0] : order[1]]
    assert provider.leftovers(bed.deployment) == []


def test_nothing_of_it_is_made_in_a_network_of_the_user_s(bed: Bed) -> None:
    subnet = bed.ground.client.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]
    bed.provider().create(bed.request(access=BEHIND, settings={"subnet": subnet["SubnetId"]}))
    assert gateways(bed) == []
    assert bed.ground.client.describe_route_tables(Filters=own(bed))["RouteTables"] == []


def test_it_is_told_with_what_it_costs_before_it_is_made_and_counts_as_an_address(bed: Bed) -> None:
    requests = [bed.request(access=FRONT), *(bed.request(n, access=BEHIND) for n in (1, 2))]
    notes = [f for f in bed.provider().check(requests) if "NAT gateway" in f.summary]
    assert [(f.address, f.is_error) for f in notes] == [("edge[1]", False)]
    assert "USD" in notes[0].detail
    five = [*(bed.request(n, access=FRONT) for n in range(5)), bed.request(5, access=BEHIND)]
    assert any("6 public addresses are needed" in f.detail for f in bed.provider().check(five) if f.is_error)
    bed.provider().create(bed.request(1, access=BEHIND))
    assert not any("NAT gateway" in f.summary for f in bed.provider().check([bed.request(2, access=BEHIND)]))


def test_a_machine_behind_it_cannot_be_given_a_public_address_in_place(bed: Bed) -> None:
    bed.provider().create(bed.request(access=BEHIND))
    with pytest.raises(ProviderError, match="cannot be reached from outside") as refused:
        bed.provider().create(bed.request(access=FRONT))
    assert "--replace" in refused.value.resolution
