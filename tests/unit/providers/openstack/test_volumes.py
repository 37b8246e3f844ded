"""Data volumes: ordered with their machine, marked after it, told, and removed when nova leaves them behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import ProviderError
from orchestrator.providers.base import Access, DeploymentTag, MachineRequest
from orchestrator.providers.openstack.api import CINDER, versioned
from orchestrator.providers.openstack.marks import Mark, mark_of_server
from orchestrator.providers.openstack.provider import OpenStackProvider
from orchestrator.remote.keys import generate_key
from tests.faulty_api import FaultyApi, faulty_api
from tests.unit.providers.openstack.cloud_standin import (
    DISKLESS,
    FLAVOR,
    IMAGE,
    NETWORK,
    PAGE,
    PROJECT,
    CloudStandin,
    RefusedError,
    cloud_standin,
)

HOST_KEY, AUTHORIZED = generate_key()
MARKING = "PUT /volume/v3/*/volumes/*"
DEPLOYMENT = DeploymentTag("shop", "0123456789abcdef0123456789abcdef")
NAME = "continuum-shop-01234567-edge-0"


@dataclass
class Bed:
    """A cloud, and a provider for it that does not wait."""

    cloud: CloudStandin
    pauses: list[float] = field(default_factory=list)

    def provider(self) -> OpenStackProvider:
        return OpenStackProvider(self.cloud.host, self.pauses.append)

    def request(self, **otherwise: Any) -> MachineRequest:
        asked = MachineRequest(
            DEPLOYMENT, "edge[0]", "token-0", "edge-0", "amd64", 1, 512, AUTHORIZED, host_key=HOST_KEY,
            image=f"ost://{self.cloud.host}/{IMAGE}", flavor=FLAVOR, volumes_gb=(20, 10),
            access=Access(group="edge", ssh_from=("203.0.113.7/32",), public=False),
            settings={"network": NETWORK, "tags": {"team": "vision"}},
        )  # fmt: skip
        return replace(asked, **otherwise)

    def errors(self, **otherwise: Any) -> list[str]:
        found = self.provider().check([self.request(**otherwise)])
        return [f"{one.address}: {one.summary} {one.detail}" for one in found if one.is_error]

    def kinds(self) -> list[str]:
        return [one.kind for one in self.provider().leftovers(DEPLOYMENT)]

    def changing_calls(self) -> list[str]:
        return [call for call in self.cloud.calls if "GET" not in call and "identity" not in call]


@pytest.fixture
def bed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bed]:
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    with cloud_standin() as cloud:
        auth = {"auth_url": f"{cloud.url}/identity/v3", "username": "me", "password": "swordfish"}
        auth |= {"project_id": PROJECT, "user_domain_id": "d"}
        path = tmp_path / "clouds.yaml"
        path.write_text(yaml.safe_dump({"clouds": {"one": {"auth_type": "v3password", "auth": auth}}}))
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
        cloud.parts["networks"] = {NETWORK: {"id": NETWORK, "name": "mine"}}
        yield Bed(cloud)


@pytest.fixture
def faults(bed: Bed) -> Iterator[FaultyApi]:
    """A proxy on the way to all services but the first log-in."""
    with faulty_api(bed.cloud.url) as api:
        bed.cloud.seen_at = api.url
        yield api


def data(cloud: CloudStandin) -> list[dict[str, Any]]:
    return sorted((v for v in cloud.volumes.values() if v["bootable"] == "false"), key=lambda v: -int(v["size"]))


def test_volumes_come_with_their_machine_in_one_call_and_go_with_it(bed: Bed) -> None:
    machine = bed.provider().create(bed.request())
    first, second = data(bed.cloud)
    assert [first["size"], second["size"]] == [20, 10]
    assert [first["name"], second["name"]] == [f"{NAME}-data-1", f"{NAME}-data-2"]
    assert {mark_of_server(volume) for volume in (first, second)} == {Mark(DEPLOYMENT, "edge[0]")}
    assert first["metadata"]["team"] == "vision"
    assert not {"continuum:host-key", "continuum:token", "attached_mode"} & set(first["metadata"])
    assert machine.setup["volumes"] == sorted([first["id"], second["id"]])
    assert bed.cloud.calls.count("compute POST /servers") == 1
    assert "volume POST /volumes" not in bed.cloud.calls

    calls = len(bed.changing_calls())
    assert bed.provider().create(bed.request()) == machine
    assert len(bed.changing_calls()) == calls, "all of it is there and marked"
    listed = [one for one in bed.provider().leftovers(DEPLOYMENT) if one.kind == "volume"]
    assert {(one.id, one.address, one.created) for one in listed} == {
        (volume["id"], "edge[0]", "2026-01-02T03:04:05.000000Z") for volume in (first, second)
    }
    provider = bed.provider()
    provider.delete(machine.id)
    provider.release(DEPLOYMENT)
    assert (bed.kinds(), bed.cloud.volumes, bed.cloud.keys) == ([], {}, {})
    assert "volume DELETE /volumes/*" not in bed.cloud.calls, "nova has removed them"


def test_a_machine_without_volumes_asks_nothing_of_block_storage(bed: Bed) -> None:
    machine = bed.provider().create(bed.request(volumes_gb=()))
    assert machine.setup["volumes"] == []
    bed.provider().delete(machine.id)
    assert [call for call in bed.cloud.calls if call.startswith("volume")] == []


def test_the_disk_that_it_boots_from_is_marked_too_and_comes_first(bed: Bed) -> None:
    machine = bed.provider().create(bed.request(flavor=DISKLESS, disk_gb=40, volumes_gb=(20,)))
    assert {v["name"]: v["size"] for v in bed.cloud.volumes.values()} == {f"{NAME}-root": 40, f"{NAME}-data-1": 20}
    assert all(mark_of_server(volume) for volume in bed.cloud.volumes.values())
    assert machine.setup["volumes"] == sorted(bed.cloud.volumes)


def test_what_a_cut_left_without_marks_gets_them_in_the_next_run(bed: Bed) -> None:
    machine = bed.provider().create(bed.request())
    first, second = data(bed.cloud)
    first |= {"name": f"{machine.id}-blank-vol", "metadata": {"somebody": "else"}}
    assert bed.provider().create(bed.request()) == machine
    assert first["name"] == f"{NAME}-data-1"
    assert first["metadata"]["somebody"] == "else"
    assert mark_of_server(first) == mark_of_server(second)


@pytest.mark.parametrize("skip", [0, 1])
def test_a_mark_whose_answer_is_lost_is_no_trouble_for_the_next_run(bed: Bed, faults: FaultyApi, skip: int) -> None:
    faults.cut_after(MARKING, skip=skip)
    with pytest.raises(ProviderError, match="cannot be reached") as lost:
        bed.provider().create(bed.request())
    assert lost.value.transient
    machine = bed.provider().create(bed.request())
    assert [volume["name"] for volume in data(bed.cloud)] == [f"{NAME}-data-1", f"{NAME}-data-2"]
    assert list(bed.cloud.servers) == [machine.id]
    assert faults.count()[MARKING] == 2


def test_while_block_storage_is_away_nothing_is_taken_for_gone(bed: Bed, faults: FaultyApi) -> None:
    machine = bed.provider().create(bed.request())
    for volume in data(bed.cloud):
        volume |= {"name": f"{machine.id}-blank-vol", "metadata": {}}
    faults.answer("GET /volume/v3/*/volumes/detail", 503, times=3, headers={"Retry-After": "7"})
    provider = bed.provider()
    for ask in (lambda: provider.leftovers(DEPLOYMENT), provider.owned, lambda: provider.delete(machine.id)):
        with pytest.raises(ProviderError) as away:
            ask()
        assert (away.value.transient, away.value.retry_after) == (True, 7.0)
    assert list(bed.cloud.servers) == [machine.id], "it would have left volumes that nobody knows"
    provider.delete(machine.id)
    assert bed.cloud.volumes == {}


def test_several_at_once_have_each_its_own(bed: Bed) -> None:
    provider = bed.provider()
    requests = [bed.request(address=f"edge[{n}]", token=f"token-{n}", hostname=f"edge-{n}") for n in range(6)]
    with ThreadPoolExecutor(len(requests)) as pool:
        machines = list(pool.map(provider.create, requests))
    for number, machine in enumerate(machines):
        mine = [bed.cloud.volumes[str(one)] for one in machine.setup["volumes"]]  # type: ignore[union-attr]
        assert {mark_of_server(volume) for volume in mine} == {Mark(DEPLOYMENT, f"edge[{number}]")}
        assert {v["name"]: v["size"] for v in mine} == {
            f"continuum-shop-01234567-edge-{number}-data-1": 20,
            f"continuum-shop-01234567-edge-{number}-data-2": 10,
        }
    lists = bed.cloud.calls.count("volume GET /volumes/detail")
    assert lists <= len(requests) * len(requests) * 2 / PAGE, "pages of at most one list a machine"


def test_the_marks_are_set_before_an_unmarked_machine_goes(bed: Bed) -> None:
    machine = bed.provider().create(bed.request())
    for volume in data(bed.cloud):
        volume |= {"name": f"{machine.id}-blank-vol", "metadata": {}}
    bed.cloud.keeps_volumes = True
    bed.provider().delete(machine.id)
    assert bed.cloud.calls.index("compute DELETE /servers/*") > max(
        number for number, call in enumerate(bed.cloud.calls) if call == "volume PUT /volumes/*"
    )
    assert bed.cloud.volumes == {}, "nova left them behind"


def test_a_volume_that_somebody_took_is_told_and_what_others_attach_is_not(bed: Bed) -> None:
    provider = bed.provider()
    machine = provider.create(bed.request(volumes_gb=(20,)))
    server, (mine,) = bed.cloud.servers[machine.id], data(bed.cloud)
    foreign = bed.cloud.volume(5, "photos")
    bed.cloud.attach(server, foreign, goes=False)
    assert provider.find(DEPLOYMENT) == [machine]
    bed.cloud.detach(server, mine["id"])
    (found,) = provider.find(DEPLOYMENT)
    assert found.setup["volumes"] == []
    with pytest.raises(ProviderError, match="other volumes") as refused:
        provider.adjust(machine.id, machine.setup)
    assert "--replace" in refused.value.resolution
    provider.delete(machine.id)
    assert mine["id"] in {one.id for one in provider.leftovers(DEPLOYMENT)}
    provider.release(DEPLOYMENT)
    assert bed.kinds() == [], "what was taken off is still ours"
    assert list(bed.cloud.volumes) == [foreign["id"]]
    assert (foreign["name"], foreign["metadata"]) == ("photos", {})


def test_a_cloud_without_block_storage_is_named_before_anything_is_touched(bed: Bed) -> None:
    bed.cloud.volume_types = ()
    (told,) = bed.errors()
    assert told.startswith("edge[0]: The cloud makes no volumes.")
    assert "20 GB and 10 GB" in told
    with pytest.raises(ProviderError, match="makes no volumes"):
        bed.provider().create(bed.request())
    assert bed.errors(volumes_gb=()) == []
    assert bed.kinds() == []
    assert bed.changing_calls() == []


def test_quotas_of_volumes_are_counted_beforehand(bed: Bed) -> None:
    assert bed.errors() == []
    bed.cloud.quota = {"volumes": (3, 2), "gigabytes": (100, 71), "per_volume_gigabytes": (15, 0)}
    volumes, size, largest = bed.errors()
    assert "volumes: 2 are needed; 2 are used, and 3 are allowed" in volumes
    assert "GB of volumes: 30 are needed; 71 are used, and 100 are allowed" in size
    assert "20 GB" in largest
    assert "15 GB" in largest
    assert "volumes: 3 are needed" in bed.errors(flavor=DISKLESS)[0]
    assert bed.errors(volumes_gb=()) == []
    assert bed.changing_calls() == []


def test_quotas_that_a_cloud_does_not_tell_are_told_as_that(bed: Bed) -> None:
    bed.cloud.quota = None
    (note,) = bed.provider().check([bed.request()])
    assert not note.is_error
    assert note.summary == "A quota could not be looked up."
    assert "volumes" in note.detail


@pytest.mark.parametrize("forgets", [False, True])
def test_a_machine_that_ends_in_error_takes_its_volumes_with_it(bed: Bed, *, forgets: bool) -> None:
    bed.cloud.fails_after, bed.cloud.forgets_volumes, bed.cloud.keeps_volumes = 1, forgets, True
    with pytest.raises(ProviderError, match="quota of the project") as failure:
        bed.provider().create(bed.request())
    assert "VolumeLimitExceeded" in failure.value.detail
    assert (bed.cloud.servers, bed.cloud.volumes) == ({}, {})
    bed.cloud.fails_after = None
    bed.provider().create(bed.request())
    assert len(bed.cloud.volumes) == 2


def test_one_that_an_earlier_run_left_in_error_takes_its_volumes_with_it(bed: Bed) -> None:
    machine = bed.provider().create(bed.request())
    bed.cloud.servers[machine.id] |= {"status": "ERROR", "OS-SRV-USG:launched_at": None}
    before, bed.cloud.keeps_volumes = set(bed.cloud.volumes), True
    again = bed.provider().create(bed.request())
    assert again.id != machine.id
    assert len(bed.cloud.volumes) == 2
    assert not before & set(bed.cloud.volumes)


def test_what_something_holds_is_told_with_its_reason_and_stays_known(bed: Bed) -> None:
    machine = bed.provider().create(bed.request(volumes_gb=(20,)))
    (volume,) = data(bed.cloud)
    volume["snapshots"], bed.cloud.keeps_volumes = True, True
    with pytest.raises(ProviderError, match="left behind") as held:
        bed.provider().delete(machine.id)
    assert volume["id"] in held.value.detail
    assert "have snapshots" in held.value.detail
    bed.provider().delete(machine.id)
    with pytest.raises(ProviderError, match="could not be removed"):
        bed.provider().release(DEPLOYMENT)
    assert bed.kinds() == ["volume"]
    del volume["snapshots"]
    (owned,) = bed.provider().owned()
    assert bed.provider().remove([owned]) == {}
    assert bed.cloud.volumes == {}


def test_what_is_being_removed_is_not_there(bed: Bed) -> None:
    machine = bed.provider().create(bed.request(volumes_gb=(20,)))
    (volume,) = data(bed.cloud)
    bed.cloud.detach(bed.cloud.servers[machine.id], volume["id"])
    volume["status"] = "deleting"
    assert "volume" not in bed.kinds()
    volume["status"] = "error_deleting"
    assert "volume" in bed.kinds()


def test_volumes_of_a_machine_that_somebody_made_stay_as_they_are(bed: Bed) -> None:
    made = {"name": "by-hand", "metadata": {}, "tags": [], "flavorRef": FLAVOR, "imageRef": IMAGE}
    disks = [
        {"boot_index": 0, "uuid": IMAGE, "source_type": "image", "destination_type": "local"},
        {"source_type": "blank", "destination_type": "volume", "volume_size": 7, "delete_on_termination": True},
    ]
    order = {"server": {**made, "block_device_mapping_v2": disks}}
    _, told = bed.cloud.answer("POST", "/compute/v2.1/servers", {}, order)
    machine_id = told["server"]["id"]
    (volume,) = bed.cloud.volumes.values()
    before = dict(volume)
    provider = bed.provider()
    provider.adopt(machine_id, bed.request(volumes_gb=()))
    assert provider.create(bed.request(volumes_gb=(7,))).id == machine_id
    assert volume == before
    assert "volume" not in bed.kinds()
    bed.cloud.servers[machine_id]["os-extended-volumes:volumes_attached"][0]["delete_on_termination"] = False
    provider.delete(machine_id)
    provider.release(DEPLOYMENT)
    assert bed.cloud.volumes[volume["id"]]["name"] == before["name"]


@pytest.mark.parametrize("types", [("volumev3",), ("volumev2", "volumev3"), ("volume",), ("block-store",)])
@pytest.mark.parametrize(
    "path", [f"/volume/v3/{PROJECT}", f"/volume/v2/{PROJECT}", "/volume/v3", "/volume/", "/volume"]
)
def test_block_storage_is_found_under_each_of_its_names(bed: Bed, types: tuple[str, ...], path: str) -> None:
    bed.cloud.volume_types, bed.cloud.volume_path = types, path
    foreign = [bed.cloud.volume(1, f"v{number}") for number in range(5)]
    marks = {"continuum:deployment": "shop", "continuum:lineage": DEPLOYMENT.lineage}
    foreign[-1]["metadata"] = marks
    assert [one.id for one in bed.provider().leftovers(DEPLOYMENT)] == [foreign[-1]["id"]], "on the last page"


def test_endpoints_of_block_storage_have_the_project() -> None:
    for told in ("https://c:8776", "https://c:8776/v3/", "https://c:8776/v2/p", "https://c:8776/v3/p"):
        assert versioned(CINDER, told, "p") == "https://c:8776/v3/p"
    assert versioned(CINDER, "https://c/volume/v1/p", "p") == "https://c/volume/v3/p"


@pytest.mark.parametrize(
    "disk",
    [
        {"source_type": "blank", "destination_type": "volume", "boot_index": -1},
        {"source_type": "blank", "destination_type": "volume", "boot_index": -1, "volume_size": 5},
    ],
)
def test_the_stand_in_refuses_orders_that_nova_refuses(bed: Bed, disk: dict[str, Any]) -> None:
    order = {"name": "n", "flavorRef": FLAVOR, "imageRef": IMAGE, "block_device_mapping_v2": [disk]}
    with pytest.raises(RefusedError, match="Block Device Mapping is Invalid"):
        bed.cloud.answer("POST", "/compute/v2.1/servers", {}, {"server": order})
