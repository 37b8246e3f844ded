"""Whole commands over machines of AWS: made, met, looked at, changed, cut off, removed and swept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from orchestrator.cli.main import main
from orchestrator.executors import first_contact
from orchestrator.providers.base import Machine, MachineRequest
from orchestrator.providers.registry import PROVIDERS
from orchestrator.remote import host_key_rotation
from orchestrator.remote.connection import read_host_key
from orchestrator.services.deployment import open_for_reading
from orchestrator.state.model import InstanceRecord
from tests.contract.aws_bed import IMAGE, OPEN, REGION
from tests.faulty_api import faulty_api
from tests.moto_server import aws_settings
from tests.unit.recovery.conftest import Deploy
from tests.unit.recovery.guests import PROVIDER, Guests, guests
from tests.unit.remote.openssh_server import USER, write_key

FROM = ("--ssh-from", "203.0.113.7/32")
OTHER_IMAGE = "ami-0ff8a91507f77f867"


@pytest.fixture
def cloud(aws_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guests]:
    """AWS with guests that boot at once."""
    aws_settings(monkeypatch, aws_server)
    monkeypatch.setitem(PROVIDERS, "aws", PROVIDER)
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(host_key_rotation, "HOST_KEY", '"$GUEST_KEY"')
    monkeypatch.setattr(host_key_rotation, "RELOAD", 'kill -HUP $(cat "$GUEST_PID")')
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guests").mkdir()
    with guests(tmp_path / "guests") as running:
        yield running
        main(["destroy", "shop", "--auto-approve"])


@pytest.fixture
def deploy(cloud: Guests, capsys: pytest.CaptureFixture[str]) -> Deploy:
    """Runs a command in this process; gives what it printed, after a look at its exit code."""
    del cloud

    def run(*arguments: object, expect: int = 0) -> str:
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        assert code == expect, f"exit {code}\n{shown.out}\n{shown.err}"
        assert "Traceback" not in shown.err
        return shown.out + shown.err

    return run


def template(folder: Path, count: int = 3, image: str = f"aws://{REGION}/{IMAGE}", flavor: str = "t3.small") -> Path:
    """A template with nothing but machines."""
    scale = dict.fromkeys(("min_instances", "max_instances", "default_instances"), count)
    node: dict[str, Any] = {
        "type": "continuum.nodes.VirtualMachine",
        "properties": {"resource": "Cloud", "layer": 1, "image_id": image, "flavor": flavor},
        "capabilities": {
            "host": {"properties": {"num_cpus": 2, "mem_size": "2048 MB"}},
            "os": {"properties": {"architecture": "amd64"}},
            "scalable": {"properties": scale},
        },
    }
    content = {
        "tosca_definitions_version": "tosca_simple_yaml_1_3",
        "metadata": {"template_name": "shop"},
        "imports": ["continuum.yaml"],
        "topology_template": {"node_templates": {"cloud": node}},
    }
    path = folder / "shop.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def ec2() -> Any:
    return boto3.session.Session().client("ec2", region_name=REGION)


def instances() -> list[dict[str, Any]]:
    found = ec2().describe_instances(Filters=[OPEN])["Reservations"]
    return [i for reservation in found for i in reservation["Instances"]]


def records() -> dict[str, InstanceRecord]:
    state = open_for_reading("shop").state
    return dict(state.instances) if state else {}


def apply(deploy: Deploy, file: Path, *more: str, expect: int = 0) -> str:
    return deploy("apply", file, *(more or FROM), "--auto-approve", expect=expect)


def test_machines_are_made_met_and_removed(deploy: Deploy, cloud: Guests, tmp_path: Path) -> None:
    file = template(tmp_path)
    apply(deploy, file)
    assert len(instances()) == len(cloud.servers) == 3
    public = [bool(i.get("PublicIpAddress")) for i in sorted(instances(), key=lambda i: i["LaunchTime"])]
    assert sorted(public) == [False, False, True]
    for record in records().values():
        server = cloud.servers[str(record.attributes["machine_id"])]
        shown = read_host_key(server.target(None, ""), 10)
        assert record.attributes["host_key"] == shown != server.host_key
        assert record.attributes["first_host_key"] == server.host_key
    assert "as wanted" in deploy("plan", file, *FROM) or "No changes" in deploy("plan", file, *FROM)
    assert "No drift" in deploy("status", "shop", "--drift")
    for node in ("cloud[0]", "cloud[2]"):
        deploy("ssh", "shop", node, "--", "true")
    for path in (tmp_path / "home").rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            assert b"PRIVATE KEY" not in path.read_bytes(), path
    deploy("destroy", "shop", "--auto-approve")
    assert instances() == []
    assert "Nothing that no state here knows" in deploy("sweep", "--provider", f"aws/{REGION}")


def test_what_a_hand_changed_is_told_and_set_back(deploy: Deploy, cloud: Guests, tmp_path: Path) -> None:
    del cloud
    file = template(tmp_path)
    apply(deploy, file)
    made = {i["InstanceId"] for i in instances()}
    front, behind = (str(records()[f"cloud[{n}]"].attributes["machine_id"]) for n in (0, 1))
    group = next(i for i in instances() if i["InstanceId"] == front)["SecurityGroups"][0]["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2().authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    ec2().stop_instances(InstanceIds=[behind])
    told = deploy("status", "shop", "--drift", expect=0)
    assert "tcp 22 from 0.0.0.0/0" in told
    assert "stopped" in told
    apply(deploy, file)
    assert {i["InstanceId"] for i in instances()} == made
    assert "No drift" in deploy("status", "shop", "--drift")
    ec2().terminate_instances(InstanceIds=[behind])
    apply(deploy, file)
    assert len(instances()) == 3
    assert behind not in {i["InstanceId"] for i in instances()}


def test_who_reaches_the_machines_changes_in_place(deploy: Deploy, cloud: Guests, tmp_path: Path) -> None:
    del cloud
    file = template(tmp_path)
    apply(deploy, file)
    made = {i["InstanceId"] for i in instances()}
    apply(deploy, file, "--ssh-from", "198.51.100.0/24")
    assert {i["InstanceId"] for i in instances()} == made
    told = json.loads(deploy("status", "shop", "--json"))
    rules = [i["attributes"]["security_rules"] for i in told["instances"]]
    assert all("tcp 22 from 198.51.100.0/24" in found for found in rules)
    assert not any("tcp 22 from 203.0.113.7/32" in found for found in rules)


def test_who_reaches_them_is_remembered_and_never_nobody(deploy: Deploy, cloud: Guests, tmp_path: Path) -> None:
    del cloud
    file = template(tmp_path, 1)
    apply(deploy, file)
    told = json.loads(deploy("plan", file, "--json"))
    assert [change["action"] for change in told["changes"]] == ["no-op"]
    told = deploy("apply", file, "--ssh-from", "", "--auto-approve", expect=2)
    assert "Nothing says from where machines are reached." in told
    apply(deploy, template(tmp_path, 2), "--public-addresses", "front")
    assert len(instances()) == 2


def test_a_provider_that_is_chosen_holds_until_it_is_chosen_anew(deploy: Deploy, cloud: Guests, tmp_path: Path) -> None:
    del cloud
    file, saved = template(tmp_path, 2, IMAGE), tmp_path / "plan.json"
    assert "No cloud is named." in apply(deploy, file, expect=2)
    deploy("plan", file, *FROM, "--provider", f"cloud=aws/{REGION}", "--out", saved)
    deploy("apply", saved, "--auto-approve")
    assert {record.provider for record in records().values()} == {f"aws/{REGION}"}
    made = {i["InstanceId"] for i in instances()}
    assert len(made) == 2
    for image in (IMAGE, f"aws://{REGION}/{IMAGE}"):
        told = json.loads(deploy("plan", template(tmp_path, 2, image), "--json"))
        assert [change["action"] for change in told["changes"]] == ["no-op", "no-op"]
    refused = deploy("apply", template(tmp_path, 2, "ost://cloud.example/3f1c"), "--auto-approve", expect=2)
    assert "The image is not the chosen provider's." in refused
    refused = deploy("apply", template(tmp_path, 2, IMAGE), "--provider", "", "--auto-approve", expect=2)
    assert "No cloud is named." in refused
    assert {i["InstanceId"] for i in instances()} == made
    assert "No drift" in deploy("status", "shop", "--drift")
    deploy("destroy", "shop", "--auto-approve")
    assert instances() == []
    assert "Nothing that no state here knows" in deploy("sweep", "--provider", f"aws/{REGION}")


def test_another_front_end_leads_to_the_machines_that_stay(deploy: Deploy, cloud: Guests, tmp_path: Path) -> None:
    del cloud
    file = template(tmp_path)
    apply(deploy, file)
    before = {a: str(r.attributes["machine_id"]) for a, r in records().items()}
    deploy("apply", file, *FROM, "--replace", "cloud[0]", "--auto-approve")
    after = {a: str(r.attributes["machine_id"]) for a, r in records().items()}
    assert {a for a in before if before[a] != after[a]} == {"cloud[0]"}
    deploy("ssh", "shop", "cloud[1]", "--", "true")


@pytest.mark.parametrize("operation", ["meet", "renew_host_key"])
def test_a_cut_at_the_first_contact_is_gone_on_with(
    deploy: Deploy, cloud: Guests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """The work was done, and its result never reached the state."""
    from orchestrator.executors import compute

    real = getattr(first_contact, operation)

    class Cut(BaseException):
        pass

    def cut(*arguments: Any, **more: Any) -> Any:
        real(*arguments, **more)
        raise Cut

    file = template(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(compute, operation, cut)
        with pytest.raises(Cut):
            main(["apply", str(file), *FROM, "--auto-approve"])
    apply(deploy, file)
    assert len(instances()) == 1
    (record,) = records().values()
    server = cloud.servers[str(record.attributes["machine_id"])]
    assert read_host_key(server.target(None, ""), 10) == record.attributes["host_key"] != server.host_key
    deploy("ssh", "shop", "cloud[0]", "--", "true")


@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_cut_while_machines_are_made_doubles_none(
    deploy: Deploy, cloud: Guests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The cloud has made a machine, and this program never heard of it."""
    made: list[str] = []

    class Cut(BaseException):
        pass

    def boot(self: Guests, machine: Machine, request: MachineRequest) -> None:
        real(self, machine, request)
        made.append(machine.id)
        if len(made) >= number:
            raise Cut

    real = Guests.boot
    file = template(tmp_path, 10)
    with monkeypatch.context() as patch:
        patch.setattr(Guests, "boot", boot)
        with pytest.raises(Cut):
            main(["apply", str(file), *FROM, "--auto-approve"])
    before = {i["InstanceId"] for i in instances()}
    assert len(before) >= number
    apply(deploy, file)
    assert len(instances()) == len(cloud.servers) == 10
    assert before <= {i["InstanceId"] for i in instances()}
    assert "No drift" in deploy("status", "shop", "--drift")


def test_all_that_a_cloud_would_refuse_is_said_before_anything_is_made(
    deploy: Deploy, cloud: Guests, tmp_path: Path
) -> None:
    del cloud
    file = template(tmp_path, 1, f"aws://{REGION}/ami-00000000000000000", "t3.enormous")
    told = apply(deploy, file, "--public-addresses", "all", expect=2)
    assert "Nothing says from where machines are reached." in told
    assert "ami-00000000000000000" in told
    assert "t3.enormous" in told
    refused = [
        json.loads(line) for line in apply(deploy, file, *FROM, "--json", expect=2).splitlines() if line[:1] == "{"
    ]
    assert [event["event"] for event in refused] == ["run-started", "run-finished"]
    assert "cloud[0]: There is no such image." in refused[1]["error"]["detail"]
    assert instances() == []
    assert records() == {}
    told = deploy("doctor", file, expect=1)
    assert "ami-00000000000000000" in told
    assert "cloud[0]: clouds" in told
    told = deploy("plan", file, *FROM)
    assert "ami-00000000000000000" in told
    assert told.endswith("An apply would be refused: see the errors above.\n")
    told, _ = json.JSONDecoder().raw_decode(deploy("plan", file, *FROM, "--json"))
    findings = {(f["severity"], f["address"], f["summary"]) for f in told["findings"]}
    assert {
        ("error", "cloud[0]", "There is no such image."),
        ("error", "cloud[0]", "There is no such flavor."),
    } <= findings


def test_a_cloud_that_cannot_be_asked_is_not_taken_to_be_as_wanted(
    deploy: Deploy, cloud: Guests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cloud
    file = template(tmp_path, 1)
    apply(deploy, file)
    with monkeypatch.context() as patch:
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        patch.delenv("AWS_ACCESS_KEY_ID")
        for told in (deploy("plan", file), apply(deploy, file)):
            assert "could not be asked: There are no credentials for AWS." in told
            assert "No changes, as far as is known: cloud[0] could not be asked" in told
    assert "No changes: everything is as wanted." in deploy("plan", file)
    with monkeypatch.context() as patch:
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        patch.delenv("AWS_ACCESS_KEY_ID")
        assert "There are no credentials for AWS." in deploy("destroy", "shop", "--auto-approve", expect=1)
    assert len(records()) == 1
    deploy("destroy", "shop", "--auto-approve")
    assert instances() == []


def test_a_machine_made_by_hand_is_taken_over_and_kept(deploy: Deploy, cloud: Guests, tmp_path: Path) -> None:
    file = template(tmp_path, 2)
    order = {"ImageId": IMAGE, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1}
    for absent in ("i-0123456789abcdef0", "no-identifier"):
        refused = deploy("import", file, "cloud[0]", absent, *FROM, expect=2)
        assert f"aws/{REGION} has no machine {absent} that cloud[0] could be." in refused
    assert records() == {}
    (made,) = ec2().run_instances(**order)["Instances"]
    server = cloud.boot_by_hand(made["InstanceId"], write_key(tmp_path / "owner"))
    login = ("--user", USER, "--key", tmp_path / "owner", "--host-key", server.host_key)
    deploy("import", file, "cloud[0]", made["InstanceId"], *login, *FROM)
    refused = deploy("import", file, "cloud[1]", "i-1", "--zone", "a", *FROM, expect=2)
    assert "with another --zone, which would be wanted again" in refused
    assert records()["cloud[0]"].attributes["host_key"] == server.host_key
    told, _ = json.JSONDecoder().raw_decode(deploy("plan", file, "--json"))  # what moto has no quota for follows it
    plan = {change["address"]: change["action"] for change in told["changes"]}
    assert plan == {"cloud[0]": "no-op", "cloud[1]": "create"}
    apply(deploy, file)
    assert records()["cloud[0]"].attributes["machine_id"] == made["InstanceId"]
    assert "No drift" in deploy("status", "shop", "--drift")
    deploy("ssh", "shop", "cloud[1]", "--", "true")
    deploy("destroy", "shop", "--auto-approve")
    assert instances() == []


def test_a_lost_state_leaves_what_a_sweep_finds(deploy: Deploy, cloud: Guests, tmp_path: Path) -> None:
    del cloud
    apply(deploy, template(tmp_path))
    (tmp_path / "home" / "shop" / "state").rename(tmp_path / "lost")
    listed = json.loads(deploy("sweep", "--provider", f"aws/{REGION}", "--json"))
    (group,) = listed["groups"]
    assert (group["deployment"], [r["kind"] for r in group["resources"]].count("machine")) == ("shop", 3)
    deploy("sweep", "--provider", f"aws/{REGION}", "--remove", "--auto-approve")
    assert instances() == []


def test_what_else_is_asked_of_a_cloud_is_made_and_tags_change_in_place(
    deploy: Deploy, cloud: Guests, tmp_path: Path
) -> None:
    del cloud
    file = template(tmp_path, 2)
    ec2().create_key_pair(KeyName="mine")
    asked = ("--zone", f"{REGION}b", "--key-name", "mine", "--data-volume", f"aws/{REGION}=20")
    apply(deploy, file, *FROM, *asked, "--tags", "team=vision,purpose=tests")
    made = {i["InstanceId"]: i for i in instances()}
    assert {i["Placement"]["AvailabilityZone"] for i in made.values()} == {f"{REGION}b"}
    assert {i["KeyName"] for i in made.values()} == {"mine"}
    volumes = ec2().describe_volumes(Filters=[{"Name": "size", "Values": ["20"]}])["Volumes"]
    assert {v["Attachments"][0]["InstanceId"] for v in volumes} == set(made)
    told = apply(deploy, file, *FROM, "--tags", "team=sound")
    assert "tags" in told
    assert {i["InstanceId"] for i in instances()} == set(made)
    for instance in instances():
        tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
        assert tags["team"] == "sound"
        assert "purpose" not in tags
    assert "No drift" in deploy("status", "shop", "--drift")
    ec2().create_tags(Resources=sorted(made)[:1], Tags=[{"Key": "team", "Value": "of a hand"}])
    assert "of a hand" in deploy("status", "shop", "--drift")
    apply(deploy, file)
    assert "No drift" in deploy("status", "shop", "--drift")
    refused = deploy("plan", file, *FROM, "--data-volume", "much", expect=2)
    assert "no whole number of GB" in refused
    refused = apply(deploy, file, *FROM, "--tags", "team", expect=2)
    assert "--tags has 'team'. Write NAME=VALUE" in refused
    deploy("destroy", "shop", "--auto-approve")
    assert "Nothing that no state here knows" in deploy("sweep", "--provider", f"aws/{REGION}")


def stopped(machine: str, group: str) -> None:
    del group
    ec2().stop_instances(InstanceIds=[machine])


def resized(machine: str, group: str) -> None:
    stopped(machine, group)
    ec2().modify_instance_attribute(InstanceId=machine, InstanceType={"Value": "t3.large"})
    ec2().start_instances(InstanceIds=[machine])


def deleted(machine: str, group: str) -> None:
    del group
    ec2().terminate_instances(InstanceIds=[machine])


def opened(machine: str, group: str) -> None:
    del machine
    rule = {"IpProtocol": "tcp", "FromPort": 3306, "ToPort": 3306, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2().authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])


def closed(machine: str, group: str) -> None:
    del machine
    rules = ec2().describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    ssh = [rule for rule in rules if rule.get("FromPort") == 22]
    ec2().revoke_security_group_ingress(GroupId=group, IpPermissions=ssh)


def regrouped(machine: str, group: str) -> None:
    network = ec2().describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["VpcId"]
    made = ec2().create_security_group(GroupName="by-hand", Description="x", VpcId=network)["GroupId"]
    ec2().modify_instance_attribute(InstanceId=machine, Groups=[made])


@pytest.mark.parametrize(
    ("change", "words", "stays"),
    [
        (stopped, ["cloud[1] state running stopped"], True),
        (resized, ["cloud[1] flavor t3.small t3.large"], True),
        (deleted, ["cloud[1] presence present (not there)"], False),
        (opened, ["cloud[1] security_rules (not there) tcp 3306 from 0.0.0.0/0"], True),
        (closed, ["cloud[1] security_rules tcp 22 from 203.0.113.7/32 (not there)"], True),
        (regrouped, ["cloud[1] security_rules tcp 6443 from members of cloud (not there)", "group sg-"], True),
    ],
)
def test_each_change_of_a_hand_is_told_by_itself_and_gone_after_an_apply(
    deploy: Deploy, cloud: Guests, tmp_path: Path, change: Callable[[str, str], None], words: list[str], stays: bool
) -> None:
    del cloud
    file = template(tmp_path, 2)
    apply(deploy, file)
    assert "No drift" in deploy("status", "shop", "--drift")
    made = {a: str(r.attributes["machine_id"]) for a, r in records().items()}
    (front,) = [i for i in instances() if i["InstanceId"] == made["cloud[0]"]]
    change(made["cloud[1]"], front["SecurityGroups"][0]["GroupId"])
    told = " ".join(deploy("status", "shop", "--drift").split())
    assert all(word in told for word in words), told
    assert {a: str(r.attributes["machine_id"]) for a, r in records().items()} == made, "looking changes nothing"
    assert "cloud[1]" in deploy("plan", file)
    apply(deploy, file)
    assert "No drift" in deploy("status", "shop", "--drift")
    after = {a: str(r.attributes["machine_id"]) for a, r in records().items()}
    assert (after["cloud[1]"] == made["cloud[1]"]) is stays
    assert after["cloud[0]"] == made["cloud[0]"]
    assert len(instances()) == 2


def test_what_cannot_be_removed_is_listed_with_the_reason(
    deploy: Deploy, cloud: Guests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has put an interface of his own into a subnet of ours."""
    del cloud
    apply(deploy, template(tmp_path, 1))
    filters = [{"Name": "tag-key", "Values": ["continuum:lineage"]}]
    (subnet,) = ec2().describe_subnets(Filters=filters)["Subnets"]
    with faulty_api(os.environ["AWS_ENDPOINT_URL"]) as api, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", api.url)
        patch.setattr("orchestrator.providers.aws.removal.REMOVAL_PAUSES", (0.0, 0.0))
        api.refuse("DeleteSubnet", "DependencyViolation", "The subnet has dependencies", times=1000)
        told = deploy("destroy", "shop", "--auto-approve", expect=1)
    assert subnet["SubnetId"] in told
    assert "The subnet has dependencies" in told
    assert "Traceback" not in told
    assert instances() == []
    deploy("destroy", "shop", "--auto-approve")
    assert ec2().describe_subnets(Filters=filters)["Subnets"] == []
    assert "Nothing that no state here knows" in deploy("sweep", "--provider", f"aws/{REGION}")


@pytest.mark.parametrize("count", [1, 4])
def test_a_refresh_is_one_list_of_each_kind_however_many_machines_there_are(
    deploy: Deploy, cloud: Guests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    del cloud
    file = template(tmp_path, count)
    apply(deploy, file)
    with faulty_api(os.environ["AWS_ENDPOINT_URL"]) as api, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", api.url)
        for command in (("status", "shop", "--drift"), ("plan", file, *FROM)):
            api.calls.clear()
            deploy(*command)
            assert api.count() == {"DescribeInstances": 1, "DescribeSecurityGroups": 1}, command
