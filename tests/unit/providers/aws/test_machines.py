"""Machines of AWS as they are asked for, looked at past the provider."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.access_rules import CLUSTER_PORTS, Rule, divide, members_of, parse_rule
from orchestrator.providers.aws.instances import client_token
from orchestrator.providers.aws.provider import AwsProvider
from orchestrator.providers.base import SECURITY_RULES, Access, DeploymentTag, MachineState
from orchestrator.providers.cloud_init import user_data
from orchestrator.providers.together import Together
from tests.contract.aws_bed import REGION
from tests.unit.providers.aws.conftest import HOST_KEY, Bed

PUBLIC = Access(group="edge", ssh_from=("203.0.113.7/32",))


def test_a_machine_is_made_as_it_was_asked_for(bed: Bed) -> None:
    request = bed.request(disk_gb=40, spot=True, settings={"tags": {"team": "vision", "cost-centre": 17}})
    machine = bed.provider().create(request)
    told = bed.ground.instance(machine.id)
    assert told["MetadataOptions"]["HttpTokens"] == "required"
    assert told["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert told["InstanceLifecycle"] == "spot"
    tags = {tag["Key"]: tag["Value"] for tag in told["Tags"]}
    assert tags["Name"] == f"continuum-{bed.deployment.name}-{bed.deployment.lineage[:8]}-edge-0"
    assert (tags["team"], tags["cost-centre"]) == ("vision", "17")
    assert tags["continuum:address"] == "edge[0]"
    assert tags["continuum:host-key"] == machine.host_key
    assert "PRIVATE" not in str(tags)
    client = bed.ground.client
    asked = client.describe_instance_attribute(InstanceId=machine.id, Attribute="userData")
    assert base64.b64decode(asked["UserData"]["Value"]).decode() == user_data(request)
    (disk,) = client.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [machine.id]}])["Volumes"]
    assert disk["Size"] == 40
    assert {"Key": "continuum:lineage", "Value": bed.deployment.lineage} in disk["Tags"]
    assert HOST_KEY not in repr(machine)


def test_the_token_of_a_request_is_the_same_every_time_and_fits() -> None:
    """The emulator does not look at it, so that what a repeated request does is looked up by tags in these tests."""
    assert client_token("t", 0) == client_token("t", 0) != client_token("t", 1)
    assert len(client_token("t" * 500, 0)) <= 64


def test_a_public_address_is_kept_through_a_stop_and_given_back_in_the_end(bed: Bed) -> None:
    provider = bed.provider()
    machine = provider.create(bed.request(access=PUBLIC))
    (address,) = bed.ground.client.describe_addresses(Filters=own(bed))["Addresses"]
    assert (machine.host, machine.id) == (address["PublicIp"], address["InstanceId"])
    assert machine.details["private_address"] == address["PrivateIpAddress"] != machine.host
    bed.ground.stop(machine)
    assert provider.start(machine.id) == machine
    provider.delete(machine.id)
    assert bed.ground.client.describe_addresses(PublicIps=[], Filters=own(bed))["Addresses"] == []


def test_an_address_that_a_hand_took_off_is_seen_and_given_again(bed: Bed) -> None:
    provider, request = bed.provider(), bed.request(access=PUBLIC)
    machine = provider.create(request)
    client = bed.ground.client
    (address,) = client.describe_addresses(Filters=own(bed))["Addresses"]
    client.disassociate_address(AssociationId=address["AssociationId"])
    (found,) = provider.find(bed.deployment)
    assert found.host == machine.details["private_address"]
    assert provider.create(request) == machine
    (again,) = client.describe_addresses(Filters=own(bed))["Addresses"]
    client.disassociate_address(AssociationId=again["AssociationId"])
    client.release_address(AllocationId=again["AllocationId"])
    assert provider.create(request).host not in {machine.host, found.host}


def test_who_is_not_to_be_reached_from_outside_any_longer_has_no_address_there(bed: Bed) -> None:
    provider, request = bed.provider(), bed.request(access=PUBLIC)
    machine = provider.create(request)
    inside = provider.create(bed.request())
    assert (inside.id, inside.host) == (machine.id, machine.details["private_address"])
    assert bed.ground.client.describe_addresses(Filters=own(bed))["Addresses"] == []
    assert provider.create(request).host != inside.host


def test_networks_are_compared_as_aws_tells_them(bed: Bed) -> None:
    provider = bed.provider()
    loose = Access(group="edge", public=False, ssh_from=("203.0.113.7/24", "198.51.100.4", "2001:DB8::/64"))
    machine = provider.create(bed.request(access=loose))
    opened = {source for _, first, _, source in bed.ground.open_ports(machine) if first == 22}
    assert opened == {"203.0.113.0/24", "198.51.100.4/32", "2001:db8::/64"}
    bed.api.calls.clear()
    assert bed.provider().create(bed.request(access=loose)) == machine
    assert not {"AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"} & set(bed.api.calls)
    with pytest.raises(ProviderError, match="network cannot be understood"):
        provider.create(bed.request(1, access=Access(ssh_from=("home",))))


def test_a_hand_s_changes_are_told_one_by_one_and_set_back(bed: Bed) -> None:
    provider = bed.provider()
    machine = provider.create(bed.request(settings={"tags": {"team": "vision"}}))
    client = bed.ground.client
    client.delete_tags(Resources=[machine.id], Tags=[{"Key": "team"}])
    client.create_tags(Resources=[machine.id], Tags=[{"Key": "added-by-a-tool", "Value": "x"}])
    client.modify_instance_metadata_options(
        InstanceId=machine.id, HttpTokens="optional", HttpPutResponseHopLimit=2, HttpEndpoint="enabled"
    )
    foreign = client.create_security_group(
        GroupName=f"foreign-{bed.deployment.name}", Description="x", VpcId=bed.ground.instance(machine.id)["VpcId"]
    )["GroupId"]
    client.modify_instance_attribute(InstanceId=machine.id, Groups=[foreign])
    (found,) = provider.find(bed.deployment)
    assert found.setup["tags"] == {"Name": machine.setup["tags"]["Name"], "team": None}  # type: ignore[index, call-overload]
    assert found.setup["metadata"] == "no session needed, hop limit 2"
    assert found.setup[SECURITY_RULES] == [f"group {foreign}"]
    assert provider.adjust(machine.id, machine.setup) == machine
    client.delete_security_group(GroupId=foreign)


def test_what_cannot_be_changed_in_place_says_what_to_do(bed: Bed) -> None:
    provider = bed.provider()
    machine = provider.create(bed.request(spot=True))
    for setup in ({"subnet": "subnet-1"}, {"flavor": "t3.large"}):
        with pytest.raises(ProviderError) as refused:
            provider.adjust(machine.id, setup)
        assert "--replace" in refused.value.resolution
    assert bed.ground.instance(machine.id)["State"]["Name"] == "running"


def test_a_stopped_machine_gets_its_size_back_and_stays_stopped(bed: Bed) -> None:
    provider = bed.provider()
    machine = provider.create(bed.request())
    bed.ground.resize(machine)
    bed.ground.stop(machine)
    assert provider.adjust(machine.id, {"flavor": "t3.small"}).state is MachineState.STOPPED
    assert provider.start(machine.id) == machine


def test_a_size_that_aws_refuses_leaves_the_machine_running(bed: Bed) -> None:
    provider = bed.provider()
    machine = provider.create(bed.request())
    bed.api.refuse("ModifyInstanceAttribute", "Unsupported")
    with pytest.raises(ProviderError):
        provider.adjust(machine.id, {"flavor": "t3.large"})
    assert bed.ground.instance(machine.id)["State"]["Name"] == "running"


def test_the_user_s_own_network_and_key_are_used_and_left(bed: Bed) -> None:
    client = bed.ground.client
    subnet = client.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]
    assert subnet["MapPublicIpOnLaunch"], "the emulator's own subnets give everything a public address"
    name = f"mine-{bed.deployment.name}"
    client.create_key_pair(KeyName=name)
    provider = bed.provider()
    machine = provider.create(bed.request(settings={"subnet": subnet["SubnetId"], "key_name": name}))
    told = bed.ground.instance(machine.id)
    assert (told["SubnetId"], told["KeyName"]) == (subnet["SubnetId"], name)
    assert "PublicIpAddress" not in told
    assert bed.ground.parts() == {"networks": 0, "subnets": 0, "gateways": 0, "groups": 1, "keys": 0}
    provider.delete(machine.id)
    provider.release(bed.deployment)
    assert client.describe_subnets(SubnetIds=[subnet["SubnetId"]])["Subnets"]
    client.delete_key_pair(KeyName=name)


def test_the_zone_is_the_one_that_is_named_and_one_that_has_the_size(bed: Bed) -> None:
    provider = bed.provider()
    first = provider.create(bed.request(settings={"zone": f"{REGION}b"}))
    second = provider.create(bed.request(1))
    assert bed.ground.instance(first.id)["Placement"]["AvailabilityZone"] == f"{REGION}b"
    assert second.setup["subnet"] == first.setup["subnet"], "a zone that is there already is taken"
    third = provider.create(bed.request(2, settings={"zone": f"{REGION}a"}))
    assert third.setup["subnet"] != first.setup["subnet"]
    with pytest.raises(ProviderError, match="not offered in the zone") as nowhere:
        provider.create(bed.request(3, settings={"zone": f"{REGION}z"}))
    assert f"{REGION}a" in nowhere.value.detail


def test_many_machines_cost_few_calls_besides_the_ones_that_make_them(bed: Bed) -> None:
    provider = bed.provider()
    with ThreadPoolExecutor(8) as pool:
        machines = list(pool.map(provider.create, [bed.request(index) for index in range(16)]))
    made = bed.api.count()
    assert made["RunInstances"] == 16
    shared = ("CreateVpc", "CreateSecurityGroup", "ImportKeyPair", "CreateNatGateway", "CreateRouteTable")
    assert {name: made[name] for name in shared} == dict.fromkeys(shared, 1)
    assert made["CreateSubnet"] == 2
    assert made["DescribeSecurityGroups"] <= 3
    assert made["DescribeInstances"] <= 1 + 16
    assert made["DescribeImages"] == made["DescribeInstanceTypes"] == 1
    bed.api.calls.clear()
    assert len(provider.find(bed.deployment)) == 16
    assert bed.api.count() == {"DescribeInstances": 1, "DescribeSecurityGroups": 1}
    bed.api.calls.clear()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(provider.delete, [machine.id for machine in machines]))
    assert bed.api.count()["TerminateInstances"] <= 16
    assert bed.instances() == []


def test_questions_that_come_while_one_is_answered_are_asked_together() -> None:
    asked: list[list[int]] = []
    first, go_on = Event(), Event()

    def call(questions: Any) -> dict[int, str | ProviderError]:
        asked.append(list(questions))
        first.set()
        assert go_on.wait(30)
        return {n: ProviderError("no") if n == 3 else str(n) for n in questions if n != 2}

    together: Together[int, str] = Together(call)
    with ThreadPoolExecutor(6) as pool:
        leader = pool.submit(together.ask, 0)
        assert first.wait(30)
        others = [pool.submit(together.ask, n) for n in (1, 2, 3, 3)]
        while len(together._waiting) < 4:
            pass
        go_on.set()
        assert leader.result() == "0"
        assert others[0].result() == "1"
        assert others[1].result() is None
        for refused in others[2:]:
            with pytest.raises(ProviderError):
                refused.result()
    assert asked[0] == [0]
    assert sorted(asked[1]) == [1, 2, 3]
    assert len(asked) == 2


def test_a_check_counts_quotas_for_all_together(bed: Bed) -> None:
    requests = [bed.request(index, access=PUBLIC) for index in range(6)]
    (error,) = [finding for finding in bed.provider().check(requests) if finding.is_error]
    assert "Elastic IP" in error.detail
    bed.api.change("GetServiceQuota", lambda body: body)
    assert all(not finding.is_error for finding in bed.provider().check(requests[:2]))


def test_a_check_tells_that_machines_may_not_be_made(bed: Bed) -> None:
    bed.api.refuse("RunInstances", "UnauthorizedOperation", "You are not authorized", status=403)
    (error,) = [finding for finding in bed.provider().check([bed.request()]) if finding.is_error]
    assert error.summary == "AWS does not allow it."
    assert bed.instances() == []


def test_deployments_of_one_name_are_told_apart_and_without_lineage_listed_by_name(bed: Bed) -> None:
    provider = bed.provider()
    provider.create(bed.request())
    listed = provider.leftovers(DeploymentTag(bed.deployment.name, ""))
    assert listed == provider.leftovers(bed.deployment)
    kinds = {"machine", "volume", "security group", "key pair", "subnet", "internet gateway", "network"}
    kinds |= {"NAT gateway", "public address", "route table"}
    assert {resource.kind for resource in listed} == kinds
    assert next(r for r in listed if r.kind == "machine").created


def test_the_region_of_the_settings_serves_where_none_is_named(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert AwsProvider()._api.region == "eu-west-1"
    assert AwsProvider("eu-central-1")._api.region == "eu-central-1"
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert AwsProvider()._api.region == "eu-west-2"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ProviderError, match="No region"):
        AwsProvider().find(bed.deployment)


def test_a_rule_is_read_back_from_its_text_and_goes_to_its_group() -> None:
    rules = [Rule(*ports, members_of("edge")) for ports in CLUSTER_PORTS]
    rules += [Rule("tcp", 22, 22, "203.0.113.7/32"), Rule("tcp", 443, 443, "::/0"), Rule("-1", -1, -1, "10.0.0.0/8")]
    behind = Rule("tcp", 22, 22, members_of("edge"))
    assert [parse_rule(str(rule)) for rule in (*rules, behind)] == [*rules, behind]
    assert str(rules[-3]) == "tcp 22 from 203.0.113.7/32"
    found, others = divide([*map(str, rules), str(behind), "group sg-1"], "edge")
    assert found == {"edge": frozenset(rules), "edge-behind": frozenset({behind})}
    assert others == ["sg-1"]


def own(bed: Bed) -> list[dict[str, Any]]:
    return [{"Name": "tag:continuum:lineage", "Values": [bed.deployment.lineage]}]


def test_data_volumes_are_where_the_image_has_nothing_and_tagged_in_the_same_call(bed: Bed) -> None:
    provider = bed.provider()
    machine = provider.create(bed.request(disk_gb=40, volumes_gb=(20, 10)))
    assert bed.ground.volumes(machine) == [20, 10]
    assert machine.setup["data_volumes"] == ["/dev/sdf", "/dev/sdg"]
    filters = [{"Name": "attachment.instance-id", "Values": [machine.id]}]
    disks = bed.ground.client.describe_volumes(Filters=filters)["Volumes"]
    assert sorted(disk["Size"] for disk in disks) == [10, 20, 40]
    assert all({"Key": "continuum:lineage", "Value": bed.deployment.lineage} in disk["Tags"] for disk in disks)
    assert bed.api.count()["CreateTags"] == bed.api.count()["CreateVolume"] == 0


def test_a_volume_that_somebody_took_is_told_and_what_others_attach_is_not(bed: Bed) -> None:
    provider, client = bed.provider(), bed.ground.client
    machine = provider.create(bed.request(volumes_gb=(20,)))
    zone = bed.ground.instance(machine.id)["Placement"]["AvailabilityZone"]
    foreign = client.create_volume(AvailabilityZone=zone, Size=5)["VolumeId"]
    client.attach_volume(VolumeId=foreign, InstanceId=machine.id, Device="/dev/xvdba")
    assert provider.find(bed.deployment) == [machine]
    taken = next(
        d["Ebs"]["VolumeId"]
        for d in bed.ground.instance(machine.id)["BlockDeviceMappings"]
        if d["DeviceName"] == "/dev/sdf"
    )
    client.detach_volume(VolumeId=taken, InstanceId=machine.id, Device="/dev/sdf")
    (found,) = provider.find(bed.deployment)
    assert found.setup["data_volumes"] == []
    with pytest.raises(ProviderError, match="other volumes") as refused:
        provider.adjust(machine.id, machine.setup)
    assert "--replace" in refused.value.resolution
    client.detach_volume(VolumeId=foreign, InstanceId=machine.id, Device="/dev/xvdba")
    client.delete_volume(VolumeId=foreign)
    provider.delete(machine.id)
    assert taken in {r.id for r in provider.leftovers(bed.deployment)}
    provider.release(bed.deployment)
    assert provider.leftovers(bed.deployment) == [], "what was taken off is still ours"


def test_the_size_that_is_paid_for_is_told_where_nobody_named_one(bed: Bed) -> None:
    requests = [bed.request(index, flavor="", cpus=3, memory_mb=5000) for index in range(3)]
    (found,) = [f for f in bed.provider().check([*requests, bed.request(3)]) if f.summary == "A flavor was chosen."]
    chosen = bed.provider()._flavors.choose(requests[0])
    assert (found.severity, found.address) == ("note", "edge[0]")
    told = f"edge[0] and 2 more: {chosen.name} ({chosen.cpus} cores, {chosen.memory_mb / 1024:g} GiB of memory)."
    assert found.detail.startswith(told)
    fast = replace(chosen, name="p3.2xlarge", gpus=1, gpu_memory_mb=16384, gpu_models=("NVIDIA V100",))
    assert "1 of NVIDIA V100 with 16384 MiB" in fast.in_words()


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ("AWS:team=vision,Name=mine", "'AWS:team' is AWS's own; 'Name' is set by this program"),
        (f"{'n' * 129}=x,team={'v' * 257}", "is longer than 128; the value of 'team' is longer than 256"),
        (",".join(f"t{n}=1" for n in range(41)), "there are 41 of them, and there is room for 40"),
        (",".join(f"{'n' * 60}{n}=1" for n in range(5)), "all names together"),
    ],
)
def test_tags_that_aws_does_not_take_are_refused_beforehand(bed: Bed, tags: str, said: str) -> None:
    found = [f for f in bed.provider().check([bed.request(settings={"tags": tags})]) if f.is_error]
    assert [f.summary for f in found] == ["AWS does not take the tags."]
    assert said in found[0].detail
    whole = ",".join(f"t{n}=1" for n in range(40))
    assert not [f for f in bed.provider().check([bed.request(settings={"tags": whole})]) if f.is_error]


def test_a_subnet_of_another_network_is_refused(bed: Bed) -> None:
    client = bed.ground.client
    one, two = (client.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"] for _ in range(2))
    subnet = client.create_subnet(VpcId=one, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]

    def refusals(network: str) -> list[str]:
        request = bed.request(settings={"subnet": subnet, "network": network})
        return [f.detail for f in bed.provider().check([request]) if f.is_error]

    assert refusals(one) == []
    (told,) = refusals(two)
    assert f"the subnet {subnet} of the network {two}, which {REGION} does not have" in told
    client.delete_subnet(SubnetId=subnet)
    for network in (one, two):
        client.delete_vpc(VpcId=network)


def test_a_region_that_nobody_knows_is_told_with_what_follows_from_it(bed: Bed) -> None:
    for place, is_known in ((REGION, True), ("eu-nowhere-1", False)):
        bed.api.refuse("GetCallerIdentity", "InvalidClientTokenId", "The token is invalid.", status=403)
        refused, *more = AwsProvider(place).check([bed.request()])
        assert refused.summary == "AWS does not accept the credentials."
        assert [f.summary for f in more] == ([] if is_known else ["The region of AWS is not known."])
        assert all(f"region {place!r}" in f.detail for f in more)
    found = AwsProvider("eu-nowhere-1").check([bed.request()])
    assert found[-1].summary == "The region of AWS is not known."
    assert "The region of AWS is not known." not in {f.summary for f in bed.provider().check([bed.request()])}


def test_more_volumes_than_there_is_room_for_are_refused_beforehand(bed: Bed) -> None:
    request = bed.request(volumes_gb=(1,) * 12)
    assert [f.summary for f in bed.provider().check([request]) if f.is_error] == [
        "A machine cannot have so many volumes."
    ]
    with pytest.raises(ProviderError, match="so many volumes"):
        bed.provider().create(request)
    assert bed.instances() == []
