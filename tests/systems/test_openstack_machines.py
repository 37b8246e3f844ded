"""Machines of OpenStack as they are asked for, looked at past the provider."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from orchestrator.errors import ProviderError
from orchestrator.providers.base import SECURITY_RULES, DeploymentTag, MachineState
from orchestrator.providers.cloud_init import user_data
from tests.contract.openstack_bed import OTHER_FLAVOR, PLACE
from tests.systems.openstack_bed.cloud import ADMIN, CLOUD
from tests.systems.openstack_bed.configuration import EXTERNAL_NETWORK
from tests.systems.openstack_bed.content import IMAGES, NOWHERE, TINY, ZONE
from tests.systems.provider_bed import HOST_KEY, OUTSIDE, ProviderBed

pytestmark = pytest.mark.systems


def test_a_machine_is_made_as_it_was_asked_for(provider_bed: ProviderBed) -> None:
    deployment = provider_bed.deployment
    request = provider_bed.request(settings={"tags": {"team": "vision", "cost-centre": 17}, "zone": ZONE})
    machine = provider_bed.provider().create(request)
    (server,) = provider_bed.servers()
    name = f"continuum-{deployment.name}-{deployment.lineage[:8]}"
    assert (server["name"], server["key_name"]) == (f"{name}-edge-0", f"{name}-key")
    assert server["OS-EXT-AZ:availability_zone"] == ZONE
    assert server["description"].endswith(f"{deployment.name} {deployment.lineage} edge[0]")
    told = server["metadata"]
    assert (told["team"], told["cost-centre"], told["continuum:address"]) == ("vision", "17", "edge[0]")
    assert told["continuum:host-key"] == machine.host_key
    assert "PRIVATE" not in str(server)
    assert f"continuum:lineage={deployment.lineage}" in server["tags"]
    with provider_bed.cloud.connection(ADMIN) as admin:
        asked = admin.compute.get_server(server["id"]).user_data
    assert base64.b64decode(asked).decode() == user_data(request)
    (port,) = provider_bed.ground.ports(machine.id)
    assert machine.host == port["fixed_ips"][0]["ip_address"] == machine.details["private_address"]
    assert HOST_KEY not in repr(machine)


def test_a_machine_has_a_way_out_and_one_that_is_reached_from_outside_its_own_address(
    provider_bed: ProviderBed,
) -> None:
    provider, network = provider_bed.provider(), provider_bed.ground.client.network
    machine = provider.create(provider_bed.request(access=OUTSIDE))
    (router,) = network.routers(tags=f"continuum:lineage={provider_bed.deployment.lineage}")
    outside = network.find_network(EXTERNAL_NETWORK)
    assert router.external_gateway_info["network_id"] == outside.id
    (address,) = provider_bed.ground.addresses()
    assert (machine.host, machine.details["private_address"]) == (
        address["floating_ip_address"],
        address["fixed_ip_address"],
    )
    provider_bed.ground.stop(machine)
    assert provider.start(machine.id) == machine, "it is kept through a stop"
    provider.delete(machine.id)
    assert provider_bed.ground.addresses() == []


def test_an_address_that_a_hand_took_off_is_seen_and_given_again(provider_bed: ProviderBed) -> None:
    provider, network = provider_bed.provider(), provider_bed.ground.client.network
    request = provider_bed.request(access=OUTSIDE)
    machine = provider.create(request)
    (address,) = provider_bed.ground.addresses()
    network.update_ip(address["id"], port_id=None)
    (found,) = provider.find(provider_bed.deployment)
    assert found.host == machine.details["private_address"]
    assert provider.create(request) == machine
    network.delete_ip(address["id"])
    assert provider.create(request).host not in {machine.host, found.host}
    inside = provider.create(provider_bed.request())
    assert inside.host == machine.details["private_address"]
    assert provider_bed.ground.addresses() == [], "nobody asked for it any longer"


def test_the_address_of_a_machine_that_a_hand_removed_is_kept_for_the_next_or_given_back(
    provider_bed: ProviderBed,
) -> None:
    provider = provider_bed.provider()
    first, other = (provider.create(provider_bed.request(index, access=OUTSIDE)) for index in range(2))
    provider_bed.ground.remove_by_hand(first.id)
    again = provider_bed.provider().create(provider_bed.request(access=OUTSIDE))
    assert (again.host, again.id == first.id) == (first.host, False)
    provider_bed.provider().delete(first.id)
    assert len(provider_bed.ground.addresses()) == 2, "it is the next one's now"
    provider_bed.ground.remove_by_hand(again.id)
    provider_bed.provider().delete(again.id)
    assert [address["floating_ip_address"] for address in provider_bed.ground.addresses()] == [other.host]


def test_a_hand_s_changes_are_told_one_by_one_and_set_back(provider_bed: ProviderBed) -> None:
    provider, client = provider_bed.provider(), provider_bed.ground.client
    machine = provider.create(provider_bed.request(settings={"tags": {"team": "vision"}}))
    client.compute.delete_server_metadata(machine.id, ["team"])
    client.compute.set_server_metadata(machine.id, **{"added-by-a-tool": "x"})
    foreign = client.network.create_security_group(name="foreign")
    (port,) = provider_bed.ground.ports(machine.id)
    client.network.update_port(port["id"], security_groups=[foreign.id])
    (found,) = provider.find(provider_bed.deployment)
    assert found.setup["tags"] == {"name": machine.setup["tags"]["name"], "team": None}  # type: ignore[index, call-overload]
    assert found.setup[SECURITY_RULES] == [f"group {foreign.id}"]
    assert provider.adjust(machine.id, machine.setup) == machine
    client.network.update_port(port["id"], security_groups=[], port_security_enabled=False)
    (found,) = provider.find(provider_bed.deployment)
    assert found.setup[SECURITY_RULES] == ["everything from 0.0.0.0/0", "everything from ::/0"]
    assert provider_bed.provider().create(provider_bed.request(settings={"tags": {"team": "vision"}})) == machine
    (port,) = provider_bed.ground.ports(machine.id)
    assert port["port_security_enabled"]


def test_a_resize_that_a_hand_began_is_ended_and_set_back(provider_bed: ProviderBed) -> None:
    provider, compute = provider_bed.provider(), provider_bed.ground.client.compute
    machine = provider.create(provider_bed.request())
    compute.resize_server(machine.id, compute.find_flavor(OTHER_FLAVOR, ignore_missing=False))
    compute.wait_for_server(compute.get_server(machine.id), status="VERIFY_RESIZE", interval=0.2)
    (found,) = provider.find(provider_bed.deployment)
    assert (found.state, found.setup["flavor"]) == (MachineState.RUNNING, OTHER_FLAVOR)
    assert provider.adjust(machine.id, {"flavor": machine.setup["flavor"]}) == machine
    (server,) = provider_bed.servers()
    assert server["status"] == "ACTIVE"


def test_a_stopped_machine_gets_its_size_back_and_stays_stopped(provider_bed: ProviderBed) -> None:
    provider = provider_bed.provider()
    machine = provider.create(provider_bed.request())
    provider_bed.ground.resize(machine)
    provider_bed.ground.stop(machine)
    assert provider.adjust(machine.id, {"flavor": machine.setup["flavor"]}).state is MachineState.STOPPED
    assert provider.start(machine.id) == machine


def test_a_machine_whose_computer_failed_is_told_and_started_hard(provider_bed: ProviderBed) -> None:
    provider = provider_bed.provider()
    machine = provider.create(provider_bed.request())
    with provider_bed.cloud.connection(ADMIN) as admin:
        admin.compute.reset_server_state(machine.id, "error")
    (found,) = provider.find(provider_bed.deployment)
    assert found.state is MachineState.UNREACHABLE
    assert "ERROR" in found.reason
    assert provider.create(provider_bed.request()) == found, "it ran once: nobody makes another one in its place"
    assert provider.start(machine.id) == machine


def test_what_cannot_be_changed_in_place_says_what_to_do(provider_bed: ProviderBed) -> None:
    provider = provider_bed.provider()
    machine = provider.create(provider_bed.request())
    for setup in ({"network": "elsewhere"}, {"flavor": "none.such"}):
        with pytest.raises(ProviderError) as refused:
            provider.adjust(machine.id, setup)
        assert "--replace" in refused.value.resolution


def test_the_user_s_own_network_and_key_are_used_and_left(provider_bed: ProviderBed) -> None:
    client = provider_bed.ground.client
    network = client.network.create_network(name="mine")
    subnet = client.network.create_subnet(network_id=network.id, name="mine", ip_version=4, cidr="10.30.0.0/24")
    client.compute.create_keypair(name="mine", public_key=provider_bed.request().authorized_key)
    provider = provider_bed.provider()
    for number, given in enumerate(({"subnet": subnet.id}, {"network": network.id}, {"network": "mine"})):
        machine = provider.create(provider_bed.request(number, settings={**given, "key_name": "mine"}))
        assert machine.setup["network"] == network.id
        assert machine.host.startswith("10.30.0.")
    assert {server["key_name"] for server in provider_bed.servers()} == {"mine"}
    assert provider_bed.ground.parts() == {"networks": 0, "subnets": 0, "gateways": 0, "groups": 1, "keys": 0}
    client.network.create_subnet(network_id=network.id, name="more", ip_version=4, cidr="10.31.0.0/24")
    with pytest.raises(ProviderError, match="network of the subnet has others"):
        provider_bed.provider().create(provider_bed.request(3, settings={"subnet": subnet.id}))
    for machine in provider.find(provider_bed.deployment):
        provider.delete(machine.id)
    provider.release(provider_bed.deployment)
    assert client.network.get_network(network.id)
    assert [key.name for key in client.compute.keypairs()] == ["mine"]


def test_many_machines_cost_few_calls_besides_the_ones_that_make_them(provider_bed: ProviderBed) -> None:
    provider, nova, neutron = provider_bed.provider(), provider_bed.ways.nova, provider_bed.ways.neutron
    with ThreadPoolExecutor(8) as pool:
        machines = list(pool.map(provider.create, [provider_bed.request(index) for index in range(8)]))
    made = neutron.count()
    assert nova.count()["POST /servers"] == 8
    assert (
        made["POST /networks"] == made["POST /subnets"] == made["POST /routers"] == made["POST /security-groups"] == 1
    )
    assert nova.count()["GET /flavors/detail"] == nova.count()["POST /os-keypairs"] == 1
    nova.calls.clear()
    neutron.calls.clear()
    assert len(provider.find(provider_bed.deployment)) == 8
    assert nova.count() == {"GET /servers/detail": 1}
    assert neutron.count() == {"GET /ports": 1, "GET /floatingips": 1, "GET /security-groups": 1}
    nova.calls.clear()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(provider.delete, [machine.id for machine in machines]))
    assert nova.count()["DELETE /servers/*"] == 8
    assert provider_bed.servers() == []


def test_a_check_finds_what_the_cloud_would_refuse_all_at_once(provider_bed: ProviderBed) -> None:
    asked = provider_bed.request
    with provider_bed.cloud.not_offered("cinder"):
        findings = provider_bed.provider().check(
            [
                asked(0),
                asked(1, spot=True, flavor="m1.enormous"),
                asked(2, flavor="", sgx=True, cpus=4),
                asked(3, settings={"zone": "nowhere"}),
                asked(4, flavor=TINY),
                asked(5, flavor="", gpu_memory_mb=80_000),
                asked(6, settings={"external_network": "nowhere"}),
                asked(7, disk_gb=500),
                asked(8, flavor="", sgx=True),
                asked(9, image=f"ost://other.example/{provider_bed.image}"),
            ]
        )
    told = {finding.address: finding for finding in findings if finding.is_error}
    assert set(told) == {f"edge[{index}]" for index in (1, 2, 3, 4, 5, 6, 7, 9)}
    assert [f.summary for f in findings if f.address == "edge[1]"] == [
        "OpenStack offers no spot machines.",
        "There is no such flavor.",
    ]
    assert "SGX" in told["edge[2]"].detail
    assert ZONE in told["edge[3]"].detail
    assert "disk" in told["edge[4]"].detail
    assert EXTERNAL_NETWORK in told["edge[6]"].detail
    assert "no volumes" in told["edge[7]"].detail
    assert provider_bed.provider().leftovers(provider_bed.deployment) == []


def test_a_check_counts_quotas_for_all_together(provider_bed: ProviderBed) -> None:
    requests = [provider_bed.request(index, access=OUTSIDE) for index in range(3)]
    assert provider_bed.provider().check(requests) == []
    with provider_bed.cloud.quota(instances=2, cores=2, ram=4096):
        errors = [finding.detail for finding in provider_bed.provider().check(requests)]
    assert [detail.partition(";")[0] for detail in errors] == [
        "machines: 3 are needed",
        "cores: 3 are needed",
        "MB of memory: 6144 are needed",
    ]
    with provider_bed.cloud.network_quota(floating_ips=2, routers=0, security_group_rules=5):
        errors = [finding.detail for finding in provider_bed.provider().check(requests)]
    needed = {detail.partition(" are needed")[0] for detail in errors}
    assert needed == {"public addresses: 3", "routers: 1", "security rules: 8"}


def test_where_several_networks_lead_outside_it_has_to_be_said_which(
    provider_bed: ProviderBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = yaml.safe_load(provider_bed.cloud.clouds_file.read_text(encoding="utf-8"))
    settings["clouds"][CLOUD]["networks"] = [{"name": "other", "routes_externally": True}]
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    request = provider_bed.request(access=OUTSIDE)
    with provider_bed.cloud.connection(ADMIN) as admin:
        other = admin.network.create_network(name="other", is_router_external=True, provider_network_type="vxlan")
        admin.network.create_subnet(network_id=other.id, name="other", ip_version=4, cidr="198.51.100.0/24")
        try:
            assert f"other, {EXTERNAL_NETWORK}" in provider_bed.refused(request).detail
            named = replace(request, settings={"external_network": "other"})
            assert provider_bed.provider().check([named]) == []
            monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
            provider = provider_bed.provider()
            machine = provider.create(request)
            assert machine.host.startswith("198.51.100.")
            provider.delete(machine.id)
            provider.release(provider_bed.deployment)
        finally:
            admin.network.delete_network(other)


def test_enclaves_are_had_where_the_host_has_them(provider_bed: ProviderBed) -> None:
    request = provider_bed.request(flavor="", sgx=True)
    with provider_bed.cloud.host_with("HW_CPU_X86_SGX"):
        machine = provider_bed.provider().create(request)
    assert (machine.state, machine.setup["flavor"]) == (MachineState.RUNNING, NOWHERE)
    assert "no capacity" in provider_bed.refused(replace(request, address="edge[1]", token="t1")).summary


def test_a_machine_boots_signed_software_only_where_image_and_host_do(provider_bed: ProviderBed) -> None:
    image = provider_bed.ground.client.image.create_image(
        name="signed",
        data=b"nothing",
        disk_format="raw",
        container_format="bare",
        min_disk=2,
        architecture="x86_64",
        hw_firmware_type="uefi",
        os_secure_boot="required",
    )
    request = provider_bed.request(flavor="", secure_boot=True)
    assert "secure boot" in provider_bed.refused(request).detail
    request = replace(request, image=f"ost://{PLACE}/{image.id}")
    assert [finding for finding in provider_bed.provider().check([request]) if finding.is_error] == []
    with provider_bed.cloud.host_with("COMPUTE_SECURITY_UEFI_SECURE_BOOT"):
        machine = provider_bed.provider().create(request)
    assert machine.state is MachineState.RUNNING
    assert "no capacity" in provider_bed.refused(replace(request, address="edge[1]", token="t1")).summary


def test_an_image_for_other_processors_is_found_before_nova_would_fail_at_it(provider_bed: ProviderBed) -> None:
    client = provider_bed.ground.client
    arm = client.image.find_image(IMAGES["aarch64"], ignore_missing=False).id
    request = provider_bed.request(image=f"ost://127.0.0.1/{arm}")
    assert "image will not do" in provider_bed.refused(request).summary
    by_name = provider_bed.refused(replace(request, image=f"ost://127.0.0.1/{IMAGES['aarch64']}"))
    assert arm in by_name.resolution, "names are anybody's"
    assert provider_bed.provider().check([replace(request, architecture="arm64")]) == []
    assert provider_bed.servers() == []


def test_deployments_of_one_name_are_told_apart_and_without_lineage_listed_by_name(provider_bed: ProviderBed) -> None:
    provider = provider_bed.provider()
    provider.create(provider_bed.request(access=OUTSIDE))
    listed = provider.leftovers(DeploymentTag(provider_bed.deployment.name, ""))
    assert listed == provider.leftovers(provider_bed.deployment)
    kinds = {"machine", "public address", "security group", "router", "subnet", "network", "key pair"}
    assert {resource.kind for resource in listed} == kinds
    assert next(resource for resource in listed if resource.kind == "machine").created
