"""The ground that the provider for AWS is tested on: moto's server, looked at and changed past the provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest

REGION = "eu-central-1"
IMAGE, ARM_IMAGE = "ami-076f415166b04f5fe", "ami-0e9271c829888680e"
"""Two of the images that moto knows in every region."""

OPEN = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}


def cloud_request(request: MachineRequest) -> MachineRequest:
    """The request with what a cloud needs to know besides."""
    return replace(request, image=f"aws://{REGION}/{IMAGE}", flavor="t3.small")


@dataclass(frozen=True)
class AwsGround:
    """What a person could do in the AWS console.

    Attributes:
        deployment: Whose things are looked at.
        url: Of the server.
    """

    deployment: DeploymentTag
    url: str

    @cached_property
    def client(self) -> Any:
        import boto3

        return boto3.session.Session().client("ec2", region_name=REGION, endpoint_url=self.url)

    def stop(self, machine: Machine) -> None:
        self.client.stop_instances(InstanceIds=[machine.id])

    def set_up(self, machine: Machine) -> None:
        self.resize(machine)
        self.open_port(machine, 8080)
        client = self.client
        client.create_tags(Resources=[machine.id], Tags=[{"Key": "Name", "Value": "renamed"}])
        client.modify_instance_metadata_options(
            InstanceId=machine.id, HttpTokens="optional", HttpPutResponseHopLimit=3, HttpEndpoint="enabled"
        )

    def resize(self, machine: Machine) -> None:
        client = self.client
        client.stop_instances(InstanceIds=[machine.id])
        client.modify_instance_attribute(InstanceId=machine.id, InstanceType={"Value": "t3.large"})
        client.start_instances(InstanceIds=[machine.id])

    def open_port(self, machine: Machine, port: int) -> None:
        group = self.instance(machine.id)["SecurityGroups"][0]["GroupId"]
        self.client.authorize_security_group_ingress(
            GroupId=group, IpProtocol="tcp", FromPort=port, ToPort=port, CidrIp="0.0.0.0/0"
        )

    def close_port(self, machine: Machine, port: int) -> None:
        """Take away what opens the port, whoever it is open to."""
        client = self.client
        for attached in self.instance(machine.id)["SecurityGroups"]:
            group = client.describe_security_groups(GroupIds=[attached["GroupId"]])["SecurityGroups"][0]
            rules = [rule for rule in group["IpPermissions"] if rule.get("FromPort") == port]
            if rules:
                client.revoke_security_group_ingress(GroupId=attached["GroupId"], IpPermissions=rules)

    def open_ports(self, machine: Machine) -> set[tuple[str, int, int, str]]:
        """Everything that is let in: protocol, first and last port, and a network or ``members``."""
        found = set()
        client = self.client
        members = {g["GroupId"] for g in self.instance(machine.id)["SecurityGroups"]}
        for group_id in members:
            for rule in client.describe_security_groups(GroupIds=[group_id])["SecurityGroups"][0]["IpPermissions"]:
                ports = rule["IpProtocol"], rule.get("FromPort", -1), rule.get("ToPort", -1)
                found |= {(*ports, source["CidrIp"]) for source in rule["IpRanges"]}
                found |= {(*ports, source["CidrIpv6"]) for source in rule["Ipv6Ranges"]}
                for pair in rule["UserIdGroupPairs"]:
                    assert pair["GroupId"] in members, "open to a group that the machine is not in itself"
                    found.add((*ports, "members"))
        return found

    def parts(self) -> Mapping[str, int]:
        """How many shared parts of each kind there are; of subnets those that have a way out of their own."""
        client = self.client
        filters = [{"Name": "tag:continuum:lineage", "Values": [self.deployment.lineage]}]
        subnets = client.describe_subnets(Filters=filters)["Subnets"]
        return {
            "networks": len(client.describe_vpcs(Filters=filters)["Vpcs"]),
            "subnets": sum({"Key": "continuum:part", "Value": "inside"} not in s["Tags"] for s in subnets),
            "gateways": len(client.describe_internet_gateways(Filters=filters)["InternetGateways"]),
            "groups": len(client.describe_security_groups(Filters=filters)["SecurityGroups"]),
            "keys": len(client.describe_key_pairs(Filters=filters)["KeyPairs"]),
        }

    def volumes(self, machine: Machine) -> list[int]:
        described = self.instance(machine.id)
        ids = {d["DeviceName"]: d["Ebs"]["VolumeId"] for d in described["BlockDeviceMappings"]}
        ids.pop(described["RootDeviceName"], None)
        found = self.client.describe_volumes(VolumeIds=list(ids.values()))["Volumes"] if ids else []
        sizes = {one["VolumeId"]: int(one["Size"]) for one in found}
        return [sizes[ids[device]] for device in sorted(ids)]

    def by_hand(self) -> str:
        """A machine that somebody made without the program."""
        client = self.client
        if not client.describe_key_pairs(Filters=[{"Name": "key-name", "Values": ["by-hand"]}])["KeyPairs"]:
            client.create_key_pair(KeyName="by-hand")
        made = client.run_instances(
            ImageId=IMAGE, InstanceType="t3.large", MinCount=1, MaxCount=1, KeyName="by-hand", SubnetId=self._subnet()
        )
        return str(made["Instances"][0]["InstanceId"])

    def is_there(self, machine_id: str) -> bool:
        found = self.client.describe_instances(Filters=[{"Name": "instance-id", "Values": [machine_id]}, OPEN])
        return bool(found["Reservations"])

    def remove_by_hand(self, machine_id: str) -> None:
        self.client.terminate_instances(InstanceIds=[machine_id])

    def rename(self, machine: Machine, address: str) -> None:
        self.client.create_tags(Resources=[machine.id], Tags=[{"Key": "continuum:address", "Value": address}])

    def instance(self, machine_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.describe_instances(InstanceIds=[machine_id])["Reservations"][0]
        described: dict[str, Any] = found["Instances"][0]
        return described

    def _subnet(self) -> str:
        found = self.client.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
        return str(found[0]["SubnetId"])
