"""Volumes that a real nova has a real cinder make for machines: marked, told, held, lost, and gone with the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.openstack.marks import Mark, mark_of_server
from tests.contract.openstack_bed import PLACE, OpenStackGround
from tests.systems import test_openstack_commands as commands
from tests.systems.openstack_bed.content import NOWHERE
from tests.systems.provider_bed import ProviderBed
from tests.systems.test_openstack_commands import FROM, Deploy, apply, ids, records, template
from tests.unit.recovery.guests import Guests

pytestmark = pytest.mark.systems

ground, cloud, deploy = commands.ground, commands.cloud, commands.deploy
SOON = 60.0


def volumes(bed: ProviderBed) -> list[dict[str, Any]]:
    """All of the project that are not on their way out, as cinder tells them, the largest first."""
    told = bed.ground.client.block_storage.get("/volumes/detail").json()["volumes"]
    return sorted((v for v in told if v["status"] != "deleting"), key=lambda volume: -int(volume["size"]))


def detach(client: Any, machine: str, volume: str) -> None:
    """What a hand does."""
    client.compute.delete_volume_attachment(machine, volume)
    client.block_storage.wait_for_status(client.block_storage.get_volume(volume), "available", interval=0.2, wait=SOON)


def test_volumes_come_with_their_machine_in_one_call_and_go_with_it(provider_bed: ProviderBed) -> None:
    deployment = provider_bed.deployment
    request = provider_bed.request(volumes_gb=(10, 20), settings={"tags": {"team": "vision"}})
    assert provider_bed.provider().check([request]) == []
    machine = provider_bed.provider().create(request)
    first, second = volumes(provider_bed)
    name = f"continuum-{deployment.name}-{deployment.lineage[:8]}-edge-0"
    assert {first["name"]: first["size"], second["name"]: second["size"]} == {
        f"{name}-data-1": 10,
        f"{name}-data-2": 20,
    }
    assert {mark_of_server(volume) for volume in (first, second)} == {Mark(deployment, "edge[0]")}
    assert first["metadata"]["team"] == "vision"
    assert not {"continuum:host-key", "continuum:token", "attached_mode"} & set(first["metadata"])
    assert machine.setup["volumes"] == sorted([first["id"], second["id"]])
    cinder, nova = provider_bed.ways.cinder, provider_bed.ways.nova
    assert nova.count()["POST /servers"] == 1
    assert [call for call in cinder.calls if call.startswith("POST")] == []
    cinder.calls.clear()
    assert provider_bed.provider().create(request) == machine
    assert [call for call in cinder.calls if not call.startswith("GET")] == [], "all of it is there and marked"
    listed = [one for one in provider_bed.provider().leftovers(deployment) if one.kind == "volume"]
    assert {(one.id, one.address) for one in listed} == {(first["id"], "edge[0]"), (second["id"], "edge[0]")}
    provider_bed.provider().delete(machine.id)
    provider_bed.provider().release(deployment)
    assert volumes(provider_bed) == []
    assert cinder.count()["DELETE /*/volumes/*"] == 0, "nova has removed them"


def test_a_disk_that_is_larger_than_the_flavor_s_is_a_volume_that_goes_with_the_machine(
    provider_bed: ProviderBed,
) -> None:
    provider = provider_bed.provider()
    machine = provider.create(provider_bed.request(disk_gb=40, volumes_gb=(10,)))
    root, data = volumes(provider_bed)
    assert (root["size"], root["bootable"], root["name"].endswith("-edge-0-root")) == (40, "true", True)
    assert (data["size"], data["name"].endswith("-edge-0-data-1")) == (10, True)
    assert {mark_of_server(volume) for volume in (root, data)} == {Mark(provider_bed.deployment, "edge[0]")}
    assert provider_bed.provider().find(provider_bed.deployment) == [machine]
    provider.delete(machine.id)
    provider.release(provider_bed.deployment)
    assert volumes(provider_bed) == []


@pytest.mark.parametrize("is_done", [True, False], ids=["answer-lost", "not-done"])
def test_volumes_whose_marks_were_cut_off_get_them_in_the_next_run(provider_bed: ProviderBed, is_done: bool) -> None:
    cinder, request = provider_bed.ways.cinder, provider_bed.request(volumes_gb=(10, 20))
    marking = "PUT /*/volumes/*"
    cinder.cut_after(marking, skip=1) if is_done else cinder.answer(marking, 503)
    assert provider_bed.refused(request).transient
    provider_bed.provider().create(request)
    assert {mark_of_server(volume) for volume in volumes(provider_bed)} == {Mark(provider_bed.deployment, "edge[0]")}
    assert sorted(volume["name"].rpartition("-")[2] for volume in volumes(provider_bed)) == ["1", "2"]
    assert len(provider_bed.servers()) == 1


def test_a_volume_that_somebody_took_is_told_and_what_others_attach_is_left(provider_bed: ProviderBed) -> None:
    provider, client = provider_bed.provider(), provider_bed.ground.client
    machine = provider.create(provider_bed.request(volumes_gb=(20,)))
    (mine,) = volumes(provider_bed)
    storage = client.block_storage
    foreign = storage.wait_for_status(storage.create_volume(name="photos", size=5), "available", interval=0.2)
    client.compute.create_volume_attachment(machine.id, volume_id=foreign.id)
    storage.wait_for_status(storage.get_volume(foreign), "in-use", interval=0.2)
    assert provider_bed.provider().find(provider_bed.deployment) == [machine]
    detach(client, machine.id, mine["id"])
    (found,) = provider_bed.provider().find(provider_bed.deployment)
    assert found.setup["volumes"] == []
    with pytest.raises(ProviderError, match="other volumes") as refused:
        provider.adjust(machine.id, machine.setup)
    assert "--replace" in refused.value.resolution
    provider.delete(machine.id)
    provider.release(provider_bed.deployment)
    (left,) = volumes(provider_bed)
    assert (left["id"], left["name"], left["metadata"]) == (foreign.id, "photos", {}), (
        "what was taken off is still ours"
    )


def test_what_a_snapshot_holds_is_told_with_its_reason_and_removed_later(provider_bed: ProviderBed) -> None:
    provider, storage = provider_bed.provider(), provider_bed.ground.client.block_storage
    machine = provider.create(provider_bed.request(volumes_gb=(20,)))
    (volume,) = volumes(provider_bed)
    snapshot = storage.create_snapshot(volume_id=volume["id"], force=True)
    snapshot = storage.wait_for_status(snapshot, "available", interval=0.2, wait=SOON)
    with pytest.raises(ProviderError, match="left behind") as held:
        provider.delete(machine.id)
    assert volume["id"] in held.value.detail
    assert "have snapshots" in held.value.detail
    provider.delete(machine.id)
    with pytest.raises(ProviderError, match="could not be removed"):
        provider.release(provider_bed.deployment)
    assert [one.kind for one in provider.leftovers(provider_bed.deployment)] == ["volume"]
    storage.delete_snapshot(snapshot)
    storage.wait_for_delete(snapshot, interval=0.2, wait=SOON)
    owned = [one for one in provider.owned() if one.deployment == provider_bed.deployment]
    assert provider.remove(owned) == {}
    assert volumes(provider_bed) == []


def test_a_quota_of_volumes_that_ends_half_way_leaves_neither_machine_nor_volume(provider_bed: ProviderBed) -> None:
    request = provider_bed.request(volumes_gb=(20, 10))
    with provider_bed.cloud.volume_quota(volumes=1, gigabytes=25):
        errors = [one.detail.partition(";")[0] for one in provider_bed.provider().check([request]) if one.is_error]
        assert errors == ["volumes: 2 are needed", "GB of volumes: 30 are needed"]
        refused = provider_bed.refused(request)
    assert not refused.transient
    assert provider_bed.servers() == []
    assert volumes(provider_bed) == []
    provider_bed.provider().create(request)
    assert len(volumes(provider_bed)) == 2


def test_a_machine_without_room_takes_its_volumes_with_it(provider_bed: ProviderBed) -> None:
    assert "no capacity" in provider_bed.refused(provider_bed.request(flavor=NOWHERE, volumes_gb=(20,))).summary
    assert provider_bed.servers() == []
    assert volumes(provider_bed) == []


def test_a_cloud_without_block_storage_is_named_before_anything_is_touched(provider_bed: ProviderBed) -> None:
    with provider_bed.cloud.not_offered("cinder"):
        told = provider_bed.provider().check([provider_bed.request(volumes_gb=(20, 10))])
        assert [one.summary for one in told] == ["The cloud makes no volumes."]
        (large,) = provider_bed.provider().check([provider_bed.request(disk_gb=500)])
        assert "no volumes" in large.detail
        assert "makes no volumes" in provider_bed.refused(provider_bed.request(volumes_gb=(20,))).summary
        assert provider_bed.provider().check([provider_bed.request()]) == []
    assert provider_bed.provider().leftovers(provider_bed.deployment) == []


def test_data_volumes_are_told_and_removed_by_whole_commands(
    deploy: Deploy, cloud: Guests, ground: OpenStackGround, tmp_path: Path
) -> None:
    del cloud
    client = ground.client
    file = template(tmp_path, ground.image(), 2)
    apply(deploy, file, *FROM, "--data-volume", "10")
    assert [volume.size for volume in client.block_storage.volumes()] == [10, 10]
    assert "No drift" in deploy("status", "shop", "--drift")
    machine = str(records()["cloud[1]"].attributes["machine_id"])
    (taken,) = [v for v in client.block_storage.volumes() if v.attachments[0]["server_id"] == machine]
    detach(client, machine, taken.id)
    told = deploy("status", "shop", "--drift")
    assert taken.id in told
    assert "volumes" in told
    (tmp_path / "home" / "shop" / "state").rename(tmp_path / "lost")
    assert deploy("sweep", "--provider", f"openstack/{PLACE}").count("volume") >= 2
    deploy("sweep", "--provider", f"openstack/{PLACE}", "--remove", "--auto-approve")
    assert ids(ground) == set()
    assert list(client.block_storage.volumes()) == []
