"""What the control plane of OpenStack that the tests start promises to those who test against it."""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
from keystoneauth1 import exceptions as keystone
from openstack import exceptions
from openstack.connection import Connection

from tests.systems.openstack_bed import content
from tests.systems.openstack_bed.cloud import ADMIN, OpenStackCloud
from tests.systems.openstack_bed.configuration import EXTERNAL_NETWORK, REGION, TOKEN_CACHE
from tests.systems.openstack_bed.processes import free_ports
from tests.unit.state.conftest import make_certificate

pytestmark = pytest.mark.systems

SOON = 60.0


@pytest.fixture(scope="module")
def operator(openstack_cloud: OpenStackCloud) -> Iterator[Connection]:
    """Who has the project; what they leave behind is cleared."""
    with openstack_cloud.connection() as connection:
        yield connection
        openstack_cloud.clear()


@pytest.fixture(scope="module")
def inside(operator: Connection) -> Any:
    """A network of the project, with a subnet."""
    network = operator.network.create_network(name="inside")
    operator.network.create_subnet(network_id=network.id, name="inside", ip_version=4, cidr="10.20.0.0/24")
    return network


@pytest.fixture(autouse=True)
def _no_server_is_left(operator: Connection) -> Iterator[None]:
    yield
    left = list(operator.compute.servers(details=False))
    for server in left:
        operator.compute.delete_server(server)
    for server in left:
        operator.compute.wait_for_delete(server, interval=0.2)


def ask_for(operator: Connection, network: Any, name: str, flavor: str = "m1.small", **others: Any) -> Any:
    image = operator.image.find_image(others.pop("image", content.IMAGES["x86_64"]), ignore_missing=False)
    size = operator.compute.find_flavor(flavor, ignore_missing=False)
    return operator.compute.create_server(
        name=name, image_id=image.id, flavor_id=size.id, networks=[{"uuid": network.id}], **others
    )


def active(operator: Connection, server: Any) -> Any:
    return operator.compute.wait_for_server(server, interval=0.2, wait=SOON)


def failed(operator: Connection, server: Any) -> Any:
    return operator.compute.wait_for_server(server, status="ERROR", failures=["ACTIVE"], interval=0.2, wait=SOON)


# ------------------------------------------------------------------------------------------------------------- way in


def test_what_there_is_is_found_by_name(operator: Connection) -> None:
    images = {image.name: image.architecture for image in operator.image.images()}
    assert images == {name: architecture for architecture, name in content.IMAGES.items()}
    found = {flavor.name: (flavor.vcpus, flavor.ram, flavor.disk) for flavor in operator.compute.flavors()}
    assert found == {flavor.name: (flavor.cores, flavor.memory, flavor.disk) for flavor in content.FLAVORS}
    gpu = operator.compute.fetch_flavor_extra_specs(operator.compute.find_flavor(content.GPU))
    assert gpu.extra_specs["resources:CUSTOM_GPU"] == "1"
    assert [zone.name for zone in operator.compute.availability_zones()] == [content.ZONE]
    assert operator.network.find_network(EXTERNAL_NETWORK).is_router_external


def test_the_way_in_is_a_file_or_variables(openstack_cloud: OpenStackCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    for variables in (openstack_cloud.environment, openstack_cloud.password_environment):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            with openstack.connect() as connection:
                assert connection.current_project.name == openstack_cloud.project
                assert connection.config.get_region_name() == REGION
                assert list(connection.compute.servers(details=False)) == []


def test_an_application_credential_is_a_way_in(openstack_cloud: OpenStackCloud, operator: Any) -> None:
    credential = operator.identity.create_application_credential(operator.current_user_id, "robot")
    login = {
        "auth_url": openstack_cloud.auth_url,
        "application_credential_id": credential.id,
        "application_credential_secret": credential.secret,
    }
    with openstack.connect(
        load_envvars=False,
        load_yaml_config=False,
        auth_type="v3applicationcredential",
        auth=login,
        region_name=REGION,
        cacert=str(openstack_cloud.ca),
    ) as robot:
        assert list(robot.compute.servers(details=False)) == []
        operator.identity.delete_application_credential(operator.current_user_id, credential)
        time.sleep(TOKEN_CACHE + 0.5)
        with pytest.raises((keystone.Unauthorized, keystone.NotFound)):
            list(robot.compute.servers(details=False))


def test_a_certificate_of_an_authority_that_is_not_trusted_is_refused(
    openstack_cloud: OpenStackCloud, tmp_path: Path
) -> None:
    other, _ = make_certificate(tmp_path, "other")
    login = {
        "auth": {
            "auth_url": openstack_cloud.auth_url,
            "username": openstack_cloud.username,
            "password": openstack_cloud.password,
            "project_name": openstack_cloud.project,
            "user_domain_id": "default",
            "project_domain_id": "default",
        },
        "load_envvars": False,
        "load_yaml_config": False,
    }
    assert openstack_cloud.auth_url.startswith("https://")
    for trusted in ({}, {"cacert": str(other)}):
        with openstack.connect(**login, **trusted) as connection, pytest.raises(keystone.SSLError):
            connection.session.get_token()
    with openstack.connect(**login, cacert=str(openstack_cloud.ca)) as connection:
        assert connection.session.get_token()


def test_a_wrong_password_is_refused(openstack_cloud: OpenStackCloud) -> None:
    settings = {**openstack_cloud.password_environment, "OS_PASSWORD": "wrong"}
    login = {name.removeprefix("OS_").lower(): value for name, value in settings.items()}
    with (
        openstack.connect(load_envvars=False, load_yaml_config=False, **login) as connection,
        pytest.raises(keystone.Unauthorized),
    ):
        connection.session.get_token()


def test_the_operator_administers_nothing(operator: Connection) -> None:
    with pytest.raises(exceptions.ForbiddenException):
        list(operator.compute.hypervisors())
    with pytest.raises(exceptions.ForbiddenException):
        operator.compute.create_flavor(name="mine", vcpus=1, ram=1, disk=1)


# ------------------------------------------------------------------------------------------------------------- volumes


def test_a_volume_comes_and_goes_with_a_server_and_is_held_by_a_snapshot(operator: Connection, inside: Any) -> None:
    storage, image = operator.block_storage, operator.image.find_image(content.IMAGES["x86_64"], ignore_missing=False)
    local = {"boot_index": 0, "source_type": "image", "destination_type": "local", "uuid": image.id}
    empty = {"boot_index": -1, "source_type": "blank", "destination_type": "volume", "volume_size": 20}
    mapping = [{**disk, "delete_on_termination": True} for disk in (local, empty)]
    server = active(operator, ask_for(operator, inside, "with-disk", block_device_mapping=mapping))
    (volume,) = storage.volumes()
    assert (volume.name, volume.size, volume.status) == (f"{server.id}-blank-vol", 20, "in-use")
    assert [one["server_id"] for one in volume.attachments] == [server.id]
    with pytest.raises(exceptions.BadRequestException, match="Volume status must be available"):
        storage.delete_volume(volume)
    snapshot = storage.wait_for_status(
        storage.create_snapshot(volume_id=volume.id, force=True), "available", interval=0.2, wait=SOON
    )
    operator.compute.delete_server(server)
    operator.compute.wait_for_delete(server, interval=0.2, wait=SOON)
    volume = storage.wait_for_status(storage.get_volume(volume), "available", interval=0.2, wait=SOON)
    with pytest.raises(exceptions.BadRequestException, match="have snapshots"):
        storage.delete_volume(volume)
    storage.delete_snapshot(snapshot)
    storage.wait_for_delete(snapshot, interval=0.2, wait=SOON)
    storage.delete_volume(volume)
    storage.wait_for_delete(volume, interval=0.2, wait=SOON)


# ------------------------------------------------------------------------------------------------------------- servers


def test_a_server_comes_up_changes_and_goes(openstack_cloud: OpenStackCloud, operator: Connection, inside: Any) -> None:
    key = operator.compute.create_keypair(name="first", public_key=public_key())
    first_steps = base64.b64encode(b"#cloud-config\n").decode()
    server = ask_for(
        operator,
        inside,
        "first",
        key_name=key.name,
        availability_zone=content.ZONE,
        metadata={"deployment": "d1", "address": "layer1[0]"},
        user_data=first_steps,
    )
    server = active(operator, server)
    assert (server.key_name, server.availability_zone) == ("first", content.ZONE)
    assert server.metadata == {"deployment": "d1", "address": "layer1[0]"}
    (port,) = operator.network.ports(device_id=server.id)
    assert (port.status, port.fixed_ips[0]["ip_address"]) == ("ACTIVE", server.addresses["inside"][0]["addr"])
    with openstack_cloud.connection(ADMIN) as admin:
        assert admin.compute.get_server(server.id).user_data == first_steps

    operator.compute.set_server_metadata(server, deployment="d2")
    operator.compute.add_tag_to_server(server, "continuum")
    assert [found.id for found in operator.compute.servers(tags="continuum")] == [server.id]
    assert operator.compute.get_server(server.id).metadata["deployment"] == "d2"

    operator.compute.stop_server(server)
    server = operator.compute.wait_for_server(server, status="SHUTOFF", interval=0.2, wait=SOON)
    operator.compute.start_server(server)
    server = active(operator, server)
    operator.compute.resize_server(server, operator.compute.find_flavor("m1.medium"))
    server = operator.compute.wait_for_server(server, status="VERIFY_RESIZE", interval=0.2, wait=SOON)
    operator.compute.confirm_server_resize(server)
    server = active(operator, server)
    assert (server.flavor.name, server.flavor.vcpus) == ("m1.medium", 2)

    operator.compute.delete_server(server)
    operator.compute.wait_for_delete(server, interval=0.2, wait=SOON)
    assert list(operator.network.ports(device_id=server.id)) == []
    operator.compute.delete_keypair(key)
    assert list(operator.compute.keypairs()) == []


def public_key() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@pytest.mark.parametrize(
    "asked", [{"flavor": content.NOWHERE}, {"image": content.IMAGES["aarch64"]}], ids=["flavor", "architecture"]
)
def test_a_server_that_fits_nowhere_is_an_error(operator: Connection, inside: Any, asked: dict[str, str]) -> None:
    server = failed(operator, ask_for(operator, inside, "nowhere", **asked))
    assert "No valid host was found" in server.fault["message"]


def test_gpus_run_out(operator: Connection, inside: Any) -> None:
    servers = [ask_for(operator, inside, f"gpu-{number}", content.GPU) for number in range(5)]
    states = []
    for server in servers:
        with contextlib.suppress(exceptions.ResourceFailure):
            active(operator, server)
        states.append(operator.compute.get_server(server.id).status)
    assert sorted(states) == [*["ACTIVE"] * 4, "ERROR"]


def test_a_flavor_that_is_too_small_for_the_image_is_refused(operator: Connection, inside: Any) -> None:
    with pytest.raises(exceptions.BadRequestException, match="disk is smaller than the minimum size"):
        ask_for(operator, inside, "tiny", content.TINY)


def test_a_quota_that_is_used_up_is_refused(openstack_cloud: OpenStackCloud, operator: Connection, inside: Any) -> None:
    with openstack_cloud.quota(instances=1):
        active(operator, ask_for(operator, inside, "only"))
        with pytest.raises(exceptions.ForbiddenException, match="Quota exceeded for instances"):
            ask_for(operator, inside, "one-too-many")
        assert operator.compute.get_limits().absolute.instances == 1
    active(operator, ask_for(operator, inside, "another"))


# ------------------------------------------------------------------------------------------------------------- network


def test_a_floating_address_reaches_a_server_and_holds_the_router(
    openstack_cloud: OpenStackCloud, operator: Connection, inside: Any
) -> None:
    network = operator.network
    outside = network.find_network(EXTERNAL_NETWORK)
    (subnet,) = network.subnets(network_id=inside.id)
    router = network.create_router(name="way-out", external_gateway_info={"network_id": outside.id})
    network.add_interface_to_router(router, subnet=subnet.id)
    server = active(operator, ask_for(operator, inside, "reached"))
    (port,) = network.ports(device_id=server.id)
    address = network.create_ip(floating_network_id=outside.id, port_id=port.id, description="continuum")
    assert address.floating_ip_address.startswith("203.0.113.")
    assert address.fixed_ip_address == server.addresses["inside"][0]["addr"]
    with pytest.raises(exceptions.ConflictException, match="required by one or more floating IPs"):
        network.remove_interface_from_router(router, subnet=subnet.id)
    with pytest.raises(exceptions.ConflictException):
        network.delete_router(router)
    with openstack_cloud.network_quota(floating_ips=1), pytest.raises(exceptions.ConflictException, match="Quota"):
        network.create_ip(floating_network_id=outside.id)
    network.delete_ip(address)
    network.remove_interface_from_router(router, subnet=subnet.id)
    network.delete_router(router)


def test_rules_and_tags_of_the_network_are_kept(operator: Connection) -> None:
    network = operator.network
    group = network.create_security_group(name="front", description="continuum d1")
    network.set_tags(group, ["continuum", "deployment=d1"])
    rule = {
        "security_group_id": group.id,
        "direction": "ingress",
        "ether_type": "IPv4",
        "protocol": "tcp",
        "port_range_min": 22,
        "port_range_max": 22,
        "remote_ip_prefix": "192.0.2.0/24",
    }
    made = network.create_security_group_rule(**rule)
    with pytest.raises(exceptions.ConflictException):
        network.create_security_group_rule(**rule)
    (found,) = network.security_groups(tags="deployment=d1")
    ingress = [entry["id"] for entry in found.security_group_rules if entry["direction"] == "ingress"]
    assert ingress == [made.id]
    network.delete_security_group(group)
    assert list(network.security_groups(tags="deployment=d1")) == []


# ---------------------------------------------------------------------------------------------------- faults and counts


def test_calls_are_counted_without_those_among_the_services(
    openstack_cloud: OpenStackCloud, operator: Connection, inside: Any
) -> None:
    image = operator.image.find_image(content.IMAGES["x86_64"])
    flavor = operator.compute.find_flavor("m1.small")
    list(operator.compute.servers())
    with openstack_cloud.counting() as calls:
        server = operator.compute.create_server(
            name="counted", image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": inside.id}]
        )
        list(operator.compute.servers())
    assert calls.by_method() == {("nova", "POST"): 1, ("nova", "GET"): 1}
    posted = next(call for call in calls.made if call.method == "POST")
    assert (posted.path, posted.status) == ("/v2.1/servers", 202)
    assert calls.count("nova") == calls.count() == 2
    with openstack_cloud.counting() as calls:
        active(operator, server)
    assert set(calls.by_method()) == {("nova", "GET")}


def test_a_token_that_is_revoked_is_replaced_and_a_locked_out_operator_gets_none(
    openstack_cloud: OpenStackCloud,
) -> None:
    with openstack_cloud.connection() as operator:
        assert list(operator.compute.servers(details=False)) == []
        operator.identity.delete("/auth/tokens", headers={"X-Subject-Token": operator.session.get_token()})
        time.sleep(TOKEN_CACHE + 0.5)
        with openstack_cloud.counting() as calls:
            assert list(operator.compute.servers(details=False)) == []
        assert [(call.service, call.status) for call in calls.made] == [("keystone", 201), ("nova", 401), ("nova", 200)]
        with openstack_cloud.locked_out():
            time.sleep(TOKEN_CACHE + 0.5)
            with pytest.raises(keystone.Unauthorized):
                list(operator.compute.servers(details=False))
        assert list(operator.compute.servers(details=False)) == []


def test_clients_are_sent_through_another_address(openstack_cloud: OpenStackCloud) -> None:
    (nowhere,) = free_ports(1)
    with openstack_cloud.through("nova", f"http://127.0.0.1:{nowhere}"), openstack_cloud.connection() as sent:
        assert list(sent.network.networks(name=EXTERNAL_NETWORK))
        with pytest.raises(keystone.ConnectFailure, match=f":{nowhere}/v2.1"):
            sent.compute.get("/servers")
    with openstack_cloud.connection() as direct:
        assert list(direct.compute.servers(details=False)) == []


def test_an_interface_that_is_away_comes_back(openstack_cloud: OpenStackCloud, operator: Connection) -> None:
    before = openstack_cloud.processes.ids()
    with openstack_cloud.away("nova"):
        with pytest.raises(keystone.ConnectFailure):
            list(operator.compute.servers(details=False))
        assert list(operator.network.networks(name=EXTERNAL_NETWORK))
    after = openstack_cloud.processes.ids()
    assert {name for name, process in after.items() if before[name] != process} == {"nova"}
    assert list(operator.compute.servers(details=False)) == []
