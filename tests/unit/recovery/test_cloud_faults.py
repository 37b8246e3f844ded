"""Troubles of AWS through whole commands: one clear message, a right state, and a next run that ends well."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from orchestrator.engine import apply as engine
from orchestrator.engine.retries import RetryPolicy
from orchestrator.providers.base import Machine, MachineRequest
from orchestrator.services.deployment import open_for_reading
from orchestrator.state.model import Lifecycle
from tests.contract.aws_bed import REGION
from tests.faulty_api import FaultyApi, faulty_api
from tests.unit.recovery import test_clouds
from tests.unit.recovery.conftest import Deploy
from tests.unit.recovery.guests import Guests
from tests.unit.recovery.test_clouds import FROM, apply, ec2, instances, records, template

cloud, deploy = test_clouds.cloud, test_clouds.deploy


@pytest.fixture
def api(cloud: Guests, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyApi]:
    """A proxy between the program and the emulator; pauses between attempts are short."""
    cloud.told = user_data
    monkeypatch.setattr(engine, "RetryPolicy", partial(RetryPolicy, first_pause=0.01))
    with faulty_api(os.environ["AWS_ENDPOINT_URL"]) as found, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", found.url)
        yield found
        found.mend()


def user_data(machine: Machine, _: MachineRequest) -> str:
    """What EC2 tells a machine, whoever ordered it."""
    told = ec2().describe_instance_attribute(InstanceId=machine.id, Attribute="userData")
    return base64.b64decode(told["UserData"]["Value"]).decode()


def quota(api: FaultyApi) -> None:
    # The first order only tries whether there is the right to.
    api.refuse("RunInstances", "VcpuLimitExceeded", "You have requested more vCPU capacity", skip=3, times=100)


def capacity(api: FaultyApi) -> None:
    api.refuse(
        "RunInstances", "InsufficientInstanceCapacity", "no t3.small in this zone", status=500, skip=2, times=100
    )


def throttling(api: FaultyApi) -> None:
    told = {"Retry-After": "1"}
    api.refuse("RunInstances", "RequestLimitExceeded", "Rate exceeded", status=503, skip=2, times=100, headers=told)


def away(api: FaultyApi) -> None:
    api.refuse("*", "Unavailable", "The service is unavailable", status=503, skip=40, times=10000)


def expired(api: FaultyApi) -> None:
    api.refuse("RunInstances", "RequestExpired", "Request has expired", skip=2, times=100)


def ends_at_once(api: FaultyApi) -> None:
    """AWS takes the order, and ends the second machine before it runs."""

    def end(answer: bytes) -> bytes:
        (made,) = [part.partition(b"</")[0] for part in answer.split(b"<instanceId>")[1:]][:1]
        ec2().terminate_instances(InstanceIds=[made.decode()])
        return answer

    api.change("RunInstances", end, skip=2)


def lost_answer(api: FaultyApi) -> None:
    api.cut_after("RunInstances", skip=2, times=100)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (quota, "A quota of the AWS account is exhausted."),
        pytest.param(capacity, "AWS has no capacity for the machine.", marks=pytest.mark.slow),
        (throttling, "AWS limits the requests."),
        pytest.param(away, "AWS fails at present.", marks=pytest.mark.slow),
        (expired, "AWS does not accept the credentials."),
        pytest.param(ends_at_once, "AWS ended the machine.", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_meets_trouble_says_so_and_the_next_one_finishes(
    deploy: Deploy, api: FaultyApi, tmp_path: Path, fault: Callable[[FaultyApi], None], message: str
) -> None:
    file = template(tmp_path, 4)
    fault(api)
    told = apply(deploy, file, expect=1)
    api.mend()
    assert message in told
    made = {i["InstanceId"] for i in instances()}
    known = {a: str(r.attributes["machine_id"]) for a, r in records().items() if r.lifecycle is Lifecycle.STARTED}
    assert set(known.values()) <= made
    apply(deploy, file)
    assert set(records()) == {f"cloud[{n}]" for n in range(4)}
    assert {str(r.attributes["machine_id"]) for r in records().values()} == {i["InstanceId"] for i in instances()}
    assert known.items() <= {a: str(r.attributes["machine_id"]) for a, r in records().items()}.items()
    assert len(instances()) == 4
    assert "No drift" in deploy("status", "shop", "--drift")
    deploy("destroy", "shop", "--auto-approve")
    assert instances() == []
    assert "Nothing that no state here knows" in deploy("sweep", "--provider", f"aws/{REGION}")


def test_answers_that_are_lost_are_found_again_within_the_same_run(
    deploy: Deploy, api: FaultyApi, tmp_path: Path
) -> None:
    lost_answer(api)
    apply(deploy, template(tmp_path, 4))
    assert len(instances()) == len(records()) == 4
    assert api.count()["RunInstances"] == 4 + 1


def test_credentials_are_nowhere_but_in_the_environment(
    deploy: Deploy, api: FaultyApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {"AWS_SECRET_ACCESS_KEY": "very/secret+key0123456789", "AWS_SESSION_TOKEN": "token-that-nobody-may-see"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    file = template(tmp_path, 2)
    expired(api)
    told = deploy("plan", file, *FROM) + apply(deploy, file, expect=1)
    api.mend()
    told += apply(deploy, file) + deploy("status", "shop", "--drift", "--json") + deploy("doctor", file)
    api.refuse("*", "AuthFailure", "AWS was not able to validate the provided access credentials", times=1000)
    refused = deploy("status", "shop", "--drift")
    assert "2 could not be asked" in refused
    assert "does not accept the credentials" in refused
    assert "No drift" not in refused
    told += refused
    api.mend()
    for value in secrets.values():
        assert value not in told
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or value.encode() not in path.read_bytes(), path


def test_one_deployment_spans_two_regions_and_each_is_cleared(deploy: Deploy, cloud: Guests, tmp_path: Path) -> None:
    del cloud
    file = template(tmp_path, 1)
    other = file.read_text(encoding="utf-8").replace(REGION, "us-west-2")
    content, there = json.loads(file.read_text(encoding="utf-8")), json.loads(other)
    nodes = content["topology_template"]["node_templates"]
    nodes["west"] = there["topology_template"]["node_templates"]["cloud"]
    nodes["west"]["properties"] |= {"resource": "West", "layer": 2}
    file.write_text(json.dumps(content), encoding="utf-8")
    apply(deploy, file)
    assert {a: r.provider for a, r in records().items()} == {"cloud[0]": f"aws/{REGION}", "west[0]": "aws/us-west-2"}
    assert len(instances()) == 1
    assert "No drift" in deploy("status", "shop", "--drift")
    deploy("ssh", "shop", "west[0]", "--", "true")
    listed = deploy("sweep", "--provider", "aws/us-west-2")
    assert "Nothing that no state here knows" in listed, "what a state knows is never swept"
    deploy("destroy", "shop", "--auto-approve")
    for region in (REGION, "us-west-2"):
        assert "Nothing that no state here knows" in deploy("sweep", "--provider", f"aws/{region}")


def test_something_with_our_name_that_is_not_ours_is_named_and_left_alone(
    deploy: Deploy, api: FaultyApi, tmp_path: Path
) -> None:
    file = template(tmp_path, 1)
    api.refuse("CreateVpc", "VpcLimitExceeded", "The maximum number of VPCs has been reached.")
    assert "A quota of the AWS account is exhausted." in apply(deploy, file, expect=1)
    state = open_for_reading("shop").state
    assert state is not None
    name = f"continuum-shop-{state.lineage[:8]}-key"
    ec2().create_key_pair(KeyName=name)
    told = apply(deploy, file, expect=1)
    assert "A name of ours is taken." in told
    assert name in told
    assert instances() == []
    ec2().delete_key_pair(KeyName=name)
    apply(deploy, file)
    assert len(instances()) == 1
