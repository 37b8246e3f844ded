"""What AWS does not do as it should: each is told as what it is, takes a bounded time, and a repetition ends well."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from orchestrator.engine.retries import RetryPolicy
from orchestrator.errors import DeployError, ProviderError
from orchestrator.executors.base import OperationResult
from orchestrator.providers.base import Access, MachineState
from tests.unit.providers.aws.conftest import Bed


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "Throttling", "EC2ThrottledException"])
def test_a_limit_of_requests_is_told_as_passing_with_the_wait_that_is_asked_for(bed: Bed, code: str) -> None:
    provider = bed.provider()
    bed.api.refuse("RunInstances", code, "Rate exceeded", status=503, headers={"Retry-After": "7"})
    with pytest.raises(ProviderError, match="limits the requests") as refused:
        provider.create(bed.request())
    assert (refused.value.transient, refused.value.retry_after) == (True, 7.0)
    assert "Rate exceeded" in refused.value.detail
    assert bed.api.count()["RunInstances"] == 1, "the library does not repeat on its own"
    assert provider.create(bed.request()).state is MachineState.RUNNING
    assert len(bed.instances()) == 1


def test_a_limit_without_a_wait_leaves_it_to_whoever_repeats(bed: Bed) -> None:
    bed.api.refuse("DescribeInstances", "RequestLimitExceeded", status=503)
    with pytest.raises(ProviderError) as refused:
        bed.provider().find(bed.deployment)
    assert (refused.value.transient, refused.value.retry_after) == (True, 0.0)


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "InsufficientHostCapacity", "SpotMaxPriceTooLow"])
def test_no_capacity_is_final_although_the_status_is_a_server_s(bed: Bed, code: str) -> None:
    bed.api.refuse("RunInstances", code, "We currently do not have sufficient t3.small capacity", status=500)
    with pytest.raises(ProviderError, match="no capacity") as refused:
        bed.provider().create(bed.request())
    assert not refused.value.transient
    assert "edge[0]" in refused.value.detail
    assert "zone" in refused.value.resolution
    assert bed.instances() == []


def test_a_quota_that_ends_half_way_leaves_what_was_made_and_goes_on_later(bed: Bed) -> None:
    provider = bed.provider()
    bed.api.refuse("RunInstances", "VcpuLimitExceeded", "You have requested more vCPU capacity", skip=2, times=2)
    results: list[object] = []

    def make(index: int) -> None:
        try:
            results.append(provider.create(bed.request(index)))
        except ProviderError as error:
            results.append(error)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    failed = [one for one in results if isinstance(one, ProviderError)]
    assert [(f.summary, f.transient) for f in failed] == [("A quota of the AWS account is exhausted.", False)] * 2
    assert len(bed.instances()) == 2
    made = [bed.provider().create(bed.request(index)) for index in range(4)]
    assert sorted(i["InstanceId"] for i in bed.instances()) == sorted(m.id for m in made)


def test_an_api_that_is_away_is_given_up_in_bounded_time_and_found_again(bed: Bed) -> None:
    clock = [0.0]

    def pause(_: Event, seconds: float) -> bool:
        clock[0] += seconds
        return False

    policy = RetryPolicy(clock=lambda: clock[0], pause=pause)
    provider = bed.provider()

    def attempt() -> OperationResult:
        return OperationResult({"machine_id": provider.create(bed.request()).id})

    bed.api.refuse("*", "Unavailable", status=503, times=1000)
    with pytest.raises(DeployError, match="fails at present") as away:
        policy.run(attempt, Event(), lambda *_: None)
    assert clock[0] <= policy.total
    assert away.value.detail.count("Tried 5 times") == 1
    bed.api.mend()
    policy.run(attempt, Event(), lambda *_: None)
    assert len(bed.instances()) == 1


def test_a_minute_without_answers_does_not_end_the_wait_for_a_machine_that_was_made(bed: Bed) -> None:
    bed.api.refuse("DescribeInstances", "Unavailable", status=503, skip=1, times=18)
    machine = bed.provider().create(bed.request())
    assert 55 < sum(bed.pauses) < 70
    assert [i["InstanceId"] for i in bed.instances()] == [machine.id]


def test_credentials_that_expire_half_way_are_told_and_the_next_run_goes_on(bed: Bed) -> None:
    bed.api.refuse("RunInstances", "RequestExpired", "Request has expired.", times=1)
    provider = bed.provider()
    with pytest.raises(ProviderError, match="does not accept the credentials") as refused:
        provider.create(bed.request())
    assert not refused.value.transient
    assert "aws sso login" in refused.value.resolution
    assert bed.provider().create(bed.request()).address == "edge[0]"
    assert set(bed.ground.parts().values()) == {1}


def test_a_right_that_is_missing_is_told_without_what_only_aws_can_read(bed: Bed) -> None:
    message = "You are not authorized to perform this operation. Encoded authorization failure message: 4jXk"
    bed.api.refuse("RunInstances", "UnauthorizedOperation", message, status=403)
    with pytest.raises(ProviderError, match="does not allow") as refused:
        bed.provider().create(bed.request())
    assert not refused.value.transient
    assert "4jXk" not in str(refused.value)


def test_a_machine_whose_answer_was_lost_is_found_and_not_made_twice(bed: Bed) -> None:
    bed.api.cut_after("RunInstances")
    with pytest.raises(ProviderError, match="cannot be reached") as lost:
        bed.provider().create(bed.request())
    assert lost.value.transient
    (made,) = bed.instances()
    assert bed.provider().create(bed.request()).id == made["InstanceId"]
    assert bed.api.count()["RunInstances"] == 1


@pytest.mark.parametrize(
    "operation",
    [
        "CreateVpc",
        "CreateInternetGateway",
        "AttachInternetGateway",
        "CreateRoute",
        "CreateSubnet",
        "CreateSecurityGroup",
        "AuthorizeSecurityGroupIngress",
        "ImportKeyPair",
        "AllocateAddress",
        "AssociateAddress",
    ],
)
def test_nothing_that_is_made_is_made_twice_when_its_answer_is_lost(bed: Bed, operation: str) -> None:
    request = bed.request(access=Access(group="edge", ssh_from=("203.0.113.7/32",)))
    bed.api.cut_after(operation)
    with pytest.raises(ProviderError) as lost:
        bed.provider().create(request)
    assert lost.value.transient
    machine = bed.provider().create(request)
    assert set(bed.ground.parts().values()) == {1}
    filters = [{"Name": "tag:continuum:lineage", "Values": [bed.deployment.lineage]}]
    addresses = bed.ground.client.describe_addresses(Filters=filters)["Addresses"]
    assert [a["PublicIp"] for a in addresses] == [machine.host]
    assert len(bed.instances()) == 1


def test_a_request_that_aws_knows_already_is_looked_for_until_it_is_listed(bed: Bed) -> None:
    """As after a crash: the same token comes with another host key, and the lists lag behind."""
    made = bed.provider().create(bed.request())
    hidden = bed.request().address.encode()
    bed.api.change("DescribeInstances", lambda body: body.replace(hidden, b"elsewhere[0]"), times=2)
    bed.api.refuse("RunInstances", "IdempotentParameterMismatch")
    assert bed.provider().create(bed.request()).id == made.id
    assert bed.pauses == [1.0]
    assert len(bed.instances()) == 1


def test_a_request_whose_machine_was_removed_is_made_under_another_token(bed: Bed) -> None:
    bed.api.refuse("RunInstances", "IdempotentInstanceTerminated", times=2)
    assert bed.provider().create(bed.request()).state is MachineState.RUNNING
    assert bed.api.count()["RunInstances"] == 3


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("Client.VolumeLimitExceeded", "quota of volumes"),
        ("Server.InsufficientInstanceCapacity", "another flavor or zone"),
        ("Client.InternalError", "Mend what it names"),
    ],
)
def test_a_machine_that_ends_at_once_is_told_with_the_reason_of_aws(bed: Bed, reason: str, advice: str) -> None:
    def end(body: bytes) -> bytes:
        bed.ground.client.terminate_instances(InstanceIds=[bed.instances()[0]["InstanceId"]])
        return body

    bed.api.change("RunInstances", end)
    told = reason.encode()
    bed.api.change("DescribeInstances", lambda body: body.replace(b"Client.UserInitiatedShutdown", told), times=10)
    with pytest.raises(ProviderError, match="ended the machine") as ended:
        bed.provider().create(bed.request())
    assert not ended.value.transient
    assert reason in ended.value.detail
    assert advice in ended.value.resolution
    bed.api.mend()
    assert bed.provider().create(bed.request()).state is MachineState.RUNNING
    assert len(bed.instances()) == 1


def test_a_machine_that_never_runs_is_given_up(bed: Bed) -> None:
    bed.api.change("DescribeInstances", lambda body: body.replace(b">running<", b">pending<"), times=1000)
    with pytest.raises(ProviderError, match="takes too long") as given_up:
        bed.provider().create(bed.request())
    assert 290 < sum(bed.pauses) < 310
    assert "edge[0]" in given_up.value.detail
    bed.api.mend()
    assert bed.provider().create(bed.request()).id == bed.instances()[0]["InstanceId"]


def test_shared_parts_that_were_removed_behind_our_back_are_made_anew(bed: Bed) -> None:
    provider = bed.provider()
    first = provider.create(bed.request())
    provider.delete(first.id)
    bed.provider().release(bed.deployment)
    assert set(bed.ground.parts().values()) == {0}
    machine = provider.create(bed.request(1))
    assert set(bed.ground.parts().values()) == {1}
    assert machine.setup != {}


def test_what_is_still_held_is_removed_as_soon_as_it_is_let_go(bed: Bed) -> None:
    provider = bed.provider()
    provider.delete(provider.create(bed.request()).id)
    bed.api.refuse("DeleteSubnet", "DependencyViolation", times=4)
    bed.api.refuse("DeleteSecurityGroup", "DependencyViolation", times=1)
    provider.release(bed.deployment)
    assert bed.pauses == [1.0, 2.0, 4.0]
    assert provider.leftovers(bed.deployment) == []


def test_what_is_held_for_good_is_listed_with_the_reason_in_bounded_time(bed: Bed) -> None:
    provider = bed.provider()
    provider.delete(provider.create(bed.request()).id)
    bed.api.refuse("DeleteSubnet", "DependencyViolation", "The subnet has dependencies", times=1000)
    with pytest.raises(ProviderError, match="could not be removed") as left:
        provider.release(bed.deployment)
    assert "The subnet has dependencies" in left.value.detail
    assert 110 < sum(bed.pauses) < 130
    assert {r.kind for r in provider.leftovers(bed.deployment)} == {"subnet", "network"}
    owned = [one for one in provider.owned() if one.deployment == bed.deployment]
    bed.pauses.clear()
    reasons = provider.remove(owned)
    assert {one.resource.id for one in owned} == set(reasons)


def test_a_machine_that_is_protected_does_not_keep_the_others(bed: Bed) -> None:
    provider = bed.provider()
    machines = [provider.create(bed.request(index)) for index in range(3)]
    client = bed.ground.client
    client.modify_instance_attribute(InstanceId=machines[1].id, DisableApiTermination={"Value": True})
    owned = [one for one in provider.owned() if one.resource.id in {m.id for m in machines}]
    reasons = provider.remove(owned)
    assert set(reasons) == {machines[1].id}
    with pytest.raises(ProviderError):
        provider.delete(machines[1].id)
    client.modify_instance_attribute(InstanceId=machines[1].id, DisableApiTermination={"Value": False})


@pytest.mark.parametrize("operation", ["key pair", "security group"])
def test_something_with_our_name_that_is_not_ours_is_named_and_left_alone(bed: Bed, operation: str) -> None:
    client, name = bed.ground.client, f"continuum-{bed.deployment.name}-{bed.deployment.lineage[:8]}"
    subnet = client.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]
    settings = {"subnet": subnet["SubnetId"]}
    if operation == "key pair":
        client.create_key_pair(KeyName=f"{name}-key")
    else:
        made = client.create_security_group(GroupName=f"{name}-edge", Description="x", VpcId=subnet["VpcId"])
    with pytest.raises(ProviderError, match="name of ours is taken") as taken:
        bed.provider().create(bed.request(settings=settings))
    assert name in taken.value.detail
    assert bed.instances() == []
    if operation == "key pair":
        client.delete_key_pair(KeyName=f"{name}-key")
    else:
        client.delete_security_group(GroupId=made["GroupId"])
    machine = bed.provider().create(bed.request(settings=settings))
    assert machine.setup["subnet"] == subnet["SubnetId"]


def test_two_networks_that_claim_to_be_the_deployment_s_are_both_named(bed: Bed) -> None:
    provider = bed.provider()
    provider.delete(provider.create(bed.request()).id)
    client = bed.ground.client
    tags = [{"Key": "continuum:lineage", "Value": bed.deployment.lineage}]
    specification = [{"ResourceType": "vpc", "Tags": tags}]
    client.create_vpc(CidrBlock="10.99.0.0/16", TagSpecifications=specification)
    with pytest.raises(ProviderError, match="claim to be the same") as both:
        bed.provider().create(bed.request(1))
    found = client.describe_vpcs(Filters=[{"Name": "tag:continuum:lineage", "Values": [bed.deployment.lineage]}])
    assert len(found["Vpcs"]) == 2
    assert all(network["VpcId"] in both.value.detail for network in found["Vpcs"])


def test_nobody_who_answers_is_told_with_what_to_look_at(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as nowhere:
        nowhere.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        with pytest.raises(ProviderError, match="cannot be reached") as away:
            bed.provider().find(bed.deployment)
    assert away.value.transient
    assert "AWS_CA_BUNDLE" in away.value.resolution


def test_without_credentials_that_is_the_only_finding(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as stranger:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            stranger.delenv(name)
        (finding,) = bed.provider().check([bed.request(), bed.request(1, flavor="none.such")])
    assert finding.is_error
    assert "AWS_PROFILE" in finding.detail


def test_an_error_that_several_wait_for_is_each_one_s_own(bed: Bed) -> None:
    """Whoever repeats writes into it how often."""
    bed.api.refuse("DescribeInstances", "Unavailable", status=503, times=100)
    provider = bed.provider()

    def fail(index: int) -> ProviderError:
        with pytest.raises(ProviderError) as failed:
            provider.create(bed.request(index))
        return failed.value

    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(fail, range(8)))
    assert len({id(error) for error in errors}) == 8
    assert all(error.transient for error in errors)


def test_nothing_private_is_in_an_error(bed: Bed) -> None:
    bed.api.refuse("RunInstances", "InvalidParameterValue", times=1)
    with pytest.raises(ProviderError) as refused:
        bed.provider().create(bed.request())
    chain: BaseException | None = refused.value
    while chain is not None:
        assert "PRIVATE KEY" not in str(chain)
        assert "#cloud-config" not in str(chain)
        chain = chain.__cause__ or chain.__context__
    wrong = dataclasses.replace(bed.request(1), flavor="t3.small", spot=True)
    assert bed.provider().create(wrong).state is MachineState.RUNNING
