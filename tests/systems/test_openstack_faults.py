"""What OpenStack does not do as it should: each is told as what it is, in bounded time, and a repetition ends well.

The control plane is a real one; what it cannot be told to do, a proxy before it does.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from orchestrator.engine.retries import RetryPolicy
from orchestrator.errors import DeployError, ProviderError
from orchestrator.executors.base import OperationResult
from orchestrator.providers.base import MachineState
from tests.systems.openstack_bed.configuration import TOKEN_CACHE
from tests.systems.openstack_bed.content import GPU, NOWHERE
from tests.systems.provider_bed import OUTSIDE, ProviderBed

pytestmark = pytest.mark.systems

LIMITED = {"overLimit": {"code": 429, "message": "This request was rate-limited."}}


@pytest.mark.parametrize("status", [429, 503])
def test_a_limit_of_requests_is_told_as_passing_with_the_wait_that_is_asked_for(
    provider_bed: ProviderBed, status: int
) -> None:
    nova = provider_bed.ways.nova
    nova.answer("POST /servers", status, LIMITED, headers={"Retry-After": "7"})
    refused = provider_bed.refused(provider_bed.request())
    assert (refused.transient, refused.retry_after) == (True, 7.0)
    assert "rate-limited" in refused.detail
    assert nova.count()["POST /servers"] == 1, "the library does not repeat on its own"
    assert provider_bed.provider().create(provider_bed.request()).state is MachineState.RUNNING
    assert len(provider_bed.servers()) == 1


def test_a_quota_that_ends_half_way_leaves_what_was_made_and_goes_on_later(provider_bed: ProviderBed) -> None:
    provider = provider_bed.provider()
    results: list[Any] = []

    def make(index: int) -> None:
        try:
            results.append(provider.create(provider_bed.request(index)))
        except ProviderError as error:
            results.append(error)

    with provider_bed.cloud.quota(instances=2), ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    failed = [one for one in results if isinstance(one, ProviderError)]
    assert [(f.summary, f.transient) for f in failed] == [("A quota of the project is exhausted.", False)] * 2
    assert all("Quota exceeded for instances" in f.detail for f in failed)
    before = {server["id"] for server in provider_bed.servers()}
    assert len(before) == 2
    made = {provider_bed.provider().create(provider_bed.request(index)).id for index in range(4)}
    assert before < made == {server["id"] for server in provider_bed.servers()}


def test_a_machine_for_which_no_address_is_left_is_kept_and_given_one_later(provider_bed: ProviderBed) -> None:
    request = provider_bed.request(access=OUTSIDE)
    with provider_bed.cloud.network_quota(floating_ips=0):
        assert "quota" in provider_bed.refused(request).summary
    (server,) = provider_bed.servers()
    machine = provider_bed.provider().create(request)
    assert machine.id == server["id"]
    assert [address["floating_ip_address"] for address in provider_bed.ground.addresses()] == [machine.host]


def test_a_machine_that_goes_to_error_for_want_of_room_is_told_in_nova_s_words_and_leaves_nothing(
    provider_bed: ProviderBed,
) -> None:
    refused = provider_bed.refused(provider_bed.request(flavor=NOWHERE))
    assert refused.summary == "OpenStack has no capacity for the machine."
    assert not refused.transient
    assert "No valid host was found" in refused.detail
    assert "edge[0]" in refused.detail
    assert "zone" in refused.resolution
    assert provider_bed.servers() == []
    machine = provider_bed.provider().create(provider_bed.request())
    assert [server["id"] for server in provider_bed.servers()] == [machine.id]


def test_one_in_error_that_cannot_be_removed_at_once_is_removed_by_the_next_run(provider_bed: ProviderBed) -> None:
    provider_bed.ways.nova.answer("DELETE /servers/*", 500)
    refused = provider_bed.refused(provider_bed.request(flavor=NOWHERE))
    (broken,) = provider_bed.servers()
    assert broken["status"] == "ERROR"
    assert broken["id"] in refused.detail
    (found,) = provider_bed.provider().find(provider_bed.deployment)
    assert found.state is MachineState.UNREACHABLE
    assert "No valid host" in found.reason
    machine = provider_bed.provider().create(provider_bed.request())
    assert [server["id"] for server in provider_bed.servers()] == [machine.id] != [broken["id"]]


def test_graphics_processors_that_run_out_do_not_keep_the_machines_that_have_them(provider_bed: ProviderBed) -> None:
    provider = provider_bed.provider()
    request = provider_bed.request(flavor="", gpus=1, gpu_model="NVIDIA V100", gpu_memory_mb=16384)
    made = [provider.create(replace(request, address=f"edge[{i}]", token=f"t{i}", hostname=f"e{i}")) for i in range(4)]
    assert {machine.setup["flavor"] for machine in made} == {GPU}
    refused = provider_bed.refused(replace(request, address="edge[4]", token="t4", hostname="e4"))
    assert "no capacity" in refused.summary
    assert {machine.id for machine in provider.find(provider_bed.deployment)} == {machine.id for machine in made}


def test_an_api_that_is_away_is_given_up_in_bounded_time_and_found_again(provider_bed: ProviderBed) -> None:
    clock = [0.0]

    def pause(_: Event, seconds: float) -> bool:
        clock[0] += seconds
        return False

    policy = RetryPolicy(clock=lambda: clock[0], pause=pause)
    provider = provider_bed.provider()

    def attempt() -> OperationResult:
        return OperationResult({"machine_id": provider.create(provider_bed.request()).id})

    with provider_bed.cloud.away("nova"):
        with pytest.raises(DeployError, match="cannot be reached") as away:
            policy.run(attempt, Event(), lambda *_: None)
        assert away.value.detail.count("Tried 5 times") == 1
        assert clock[0] <= policy.total
    policy.run(attempt, Event(), lambda *_: None)
    assert len(provider_bed.servers()) == 1


def test_a_minute_without_answers_does_not_end_the_wait_for_a_machine_that_was_made(provider_bed: ProviderBed) -> None:
    provider_bed.ways.nova.answer("GET /servers/*", 503, times=18)
    machine = provider_bed.provider().create(provider_bed.request())
    assert sum(provider_bed.pauses) > 50
    assert [server["id"] for server in provider_bed.servers()] == [machine.id]


def test_a_token_that_is_revoked_in_the_middle_is_replaced_without_a_word(provider_bed: ProviderBed) -> None:
    provider = provider_bed.provider()
    first = provider.create(provider_bed.request())
    token = provider._api._open().get_session().get_token()
    provider_bed.ground.client.identity.delete("/auth/tokens", headers={"X-Subject-Token": token})
    time.sleep(TOKEN_CACHE + 0.5)
    assert {first.id, provider.create(provider_bed.request(1)).id} == {s["id"] for s in provider_bed.servers()}


def test_credentials_that_end_in_the_middle_are_told_and_the_next_run_goes_on(provider_bed: ProviderBed) -> None:
    provider = provider_bed.provider()
    first = provider.create(provider_bed.request())
    with provider_bed.cloud.locked_out():
        time.sleep(TOKEN_CACHE + 0.5)
        with pytest.raises(ProviderError, match="does not accept the credentials") as refused:
            provider.create(provider_bed.request(1))
        (finding,) = provider_bed.provider().check([provider_bed.request(1), provider_bed.request(2, flavor="none")])
        assert "does not accept the credentials" in finding.summary
    assert not refused.value.transient
    assert "clouds.yaml" in refused.value.resolution
    assert provider_bed.cloud.password not in str(refused.value)
    time.sleep(TOKEN_CACHE + 0.5)
    second = provider_bed.provider().create(provider_bed.request(1))
    assert {server["id"] for server in provider_bed.servers()} == {first.id, second.id}
    assert set(provider_bed.ground.parts().values()) == {1}


MADE = {
    "nova": ("POST /os-keypairs", "POST /servers"),
    "neutron": (
        "POST /networks",
        "PUT /networks/*/tags",
        "POST /subnets",
        "PUT /subnets/*/tags",
        "POST /routers",
        "PUT /routers/*/tags",
        "PUT /routers/*/add_router_interface",
        "POST /security-groups",
        "PUT /security-groups/*/tags",
        "POST /security-group-rules",
        "POST /floatingips",
        "PUT /floatingips/*/tags",
    ),
}


@pytest.mark.parametrize("is_done", [True, False], ids=["answer-lost", "not-done"])
def test_nothing_that_is_made_is_made_twice_however_often_a_run_ends_in_between(
    provider_bed: ProviderBed,
    is_done: bool,
) -> None:
    """Each run is a new one, which knows nothing, and meets the next trouble: tags come after what they are for."""
    for service, operations in MADE.items():
        api = getattr(provider_bed.ways, service)
        for operation in operations:
            api.cut_after(operation) if is_done else api.answer(operation, 503)
    request = provider_bed.request(access=OUTSIDE)
    for _ in range(sum(map(len, MADE.values()))):
        assert provider_bed.refused(request).transient
    machine = provider_bed.provider().create(request)
    assert set(provider_bed.ground.parts().values()) == {1}, "and all of them are tagged"
    assert [server["id"] for server in provider_bed.servers()] == [machine.id]
    (address,) = provider_bed.ground.addresses()
    assert address["floating_ip_address"] == machine.host
    assert f"continuum:lineage={provider_bed.deployment.lineage}" in address["tags"]


def test_parts_that_never_got_their_tags_are_removed_with_the_others(provider_bed: ProviderBed) -> None:
    provider_bed.ways.neutron.answer("PUT /networks/*/tags", 503)
    assert provider_bed.refused(provider_bed.request()).transient
    assert provider_bed.ground.parts()["networks"] == 0, "it has no tags"
    provider = provider_bed.provider()
    assert [resource.kind for resource in provider.leftovers(provider_bed.deployment)] == ["network"]
    provider.release(provider_bed.deployment)
    assert provider.leftovers(provider_bed.deployment) == []


def test_shared_parts_that_were_removed_behind_our_back_are_made_anew(provider_bed: ProviderBed) -> None:
    provider = provider_bed.provider()
    provider.delete(provider.create(provider_bed.request()).id)
    provider_bed.provider().release(provider_bed.deployment)
    assert set(provider_bed.ground.parts().values()) == {0}
    machine = provider.create(provider_bed.request(1))
    assert set(provider_bed.ground.parts().values()) == {1}
    assert machine.setup["security_rules"]


def test_what_is_still_held_is_listed_with_the_reason_or_removed_as_soon_as_it_is_let_go(
    provider_bed: ProviderBed,
) -> None:
    provider = provider_bed.provider()
    machine = provider.create(provider_bed.request())
    network = str(machine.setup["network"])
    provider.delete(machine.id)
    neutron = provider_bed.ground.client.network
    port = neutron.create_port(network_id=network, name="somebody-s")
    with pytest.raises(ProviderError, match="could not be removed") as left:
        provider.release(provider_bed.deployment)
    assert 110 < sum(provider_bed.pauses) < 130
    assert network in left.value.detail
    assert "in use" in left.value.detail
    assert {resource.kind for resource in provider.leftovers(provider_bed.deployment)} == {"subnet", "network"}
    owned = [one for one in provider.owned() if one.deployment == provider_bed.deployment]
    provider_bed.pauses.clear()

    def let_go() -> None:
        if len(provider_bed.pauses) == 3:
            neutron.delete_port(port)

    provider_bed.on_pause = let_go
    assert provider.remove(owned) == {}
    assert provider_bed.pauses[:3] == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("kind", ["key pair", "network", "security group", "server"])
def test_something_with_our_name_that_is_not_ours_is_named_and_left_alone(provider_bed: ProviderBed, kind: str) -> None:
    client, deployment = provider_bed.ground.client, provider_bed.deployment
    name = f"continuum-{deployment.name}-{deployment.lineage[:8]}"
    if kind == "key pair":
        client.compute.create_keypair(name=f"{name}-key", public_key=f"{provider_bed.request().authorized_key} me@home")
    elif kind == "network":
        client.network.create_network(name=f"{name}-network", description="somebody's")
    elif kind == "security group":
        client.network.create_security_group(name=f"{name}-edge")
    else:
        client.compute.update_server(provider_bed.ground.by_hand(), name=f"{name}-edge-0")
    refused = provider_bed.refused(provider_bed.request())
    assert refused.summary == "A name of ours is taken."
    assert not refused.transient
    assert f"{kind} {name}" in refused.detail
    assert provider_bed.servers() == []
    assert kind not in {resource.kind for resource in provider_bed.provider().leftovers(deployment)}


def test_two_networks_that_claim_to_be_the_deployment_s_are_both_named(provider_bed: ProviderBed) -> None:
    provider = provider_bed.provider()
    provider.delete(provider.create(provider_bed.request()).id)
    network = provider_bed.ground.client.network
    tag = f"continuum:lineage={provider_bed.deployment.lineage}"
    (mine,) = network.networks(tags=tag)
    copy = network.create_network(name="copy", description=mine.description)
    refused = provider_bed.refused(provider_bed.request(1))
    assert refused.summary == "Two things claim to be the same."
    assert mine.id in refused.detail
    assert copy.id in refused.detail


def test_a_size_that_has_no_room_leaves_the_machine_as_it_was(provider_bed: ProviderBed) -> None:
    provider = provider_bed.provider()
    machine = provider.create(provider_bed.request())
    with pytest.raises(ProviderError) as refused:
        provider.adjust(machine.id, {"flavor": NOWHERE})
    assert not refused.value.transient
    assert NOWHERE in refused.value.detail
    (found,) = provider.find(provider_bed.deployment)
    assert found == machine


def test_nothing_private_is_in_an_error(provider_bed: ProviderBed) -> None:
    """What nova finds wrong it tells with its value, and this one holds a key."""
    request = provider_bed.request()
    refused = provider_bed.refused(replace(request, authorized_key=f"{request.authorized_key} {'x' * 70_000}"))
    assert "user_data" in refused.detail
    chain: BaseException | None = refused
    while chain is not None:
        assert "PRIVATE KEY" not in str(chain)
        assert "I2Nsb3VkLWNvbmZpZ" not in str(chain), "the beginning of what a machine is told, as it is sent"
        chain = chain.__cause__ or chain.__context__
