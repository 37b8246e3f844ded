"""What every provider of machines must do; a new provider joins by one entry in BEDS."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

import pytest

from orchestrator.diagnostics import has_errors
from orchestrator.errors import DeployError, ProviderError
from orchestrator.providers.base import (
    LABELS,
    SECURITY_RULES,
    Access,
    Cloud,
    DeploymentTag,
    Machine,
    MachineProvider,
    MachineRequest,
    MachineState,
)
from orchestrator.providers.registry import PROVIDERS, load_provider, parallel_limit
from orchestrator.remote.keys import generate_key
from tests.contract.aws_bed import REGION, AwsGround, cloud_request
from tests.contract.boards import Boards
from tests.contract.openstack_bed import PLACE, OpenStackGround, openstack_settings
from tests.moto_server import aws_settings

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ8b1Zg0pGfM3xWnq0QmH1mQyqN0pT0k9Jr0v5Xo6bK contract"


class CloudGround(Protocol):
    """What a person can see and do at a cloud past the provider."""

    def resize(self, machine: Machine) -> None:
        """Give it another flavor."""

    def open_port(self, machine: Machine, port: int) -> None:
        """Let everybody reach a TCP port of it."""

    def close_port(self, machine: Machine, port: int) -> None:
        """Let nobody reach that port any longer."""

    def open_ports(self, machine: Machine) -> set[tuple[str, int, int, str]]:
        """Everything that is let in: protocol, first and last port, and a network, or ``members`` of its groups."""

    def parts(self) -> Mapping[str, int]:
        """How many parts of each kind the machines of the deployment share."""

    def volumes(self, machine: Machine) -> list[int]:
        """Sizes in GB of its data volumes, in order; only asked where the provider makes such."""

    def by_hand(self) -> str:
        """Make a machine that nobody knows, of the architecture and image that the bed asks for."""

    def is_there(self, machine_id: str) -> bool:
        """Whether there is such a machine."""

    def remove_by_hand(self, machine_id: str) -> None:
        """Remove it."""

    def rename(self, machine: Machine, address: str) -> None:
        """Tag it as the machine of another address."""

    def instance(self, machine_id: str) -> Mapping[str, Any]:
        """All that the cloud tells of it; its tags as ``Tags``."""


@dataclass(frozen=True)
class Bed:
    """A provider and the ground that it stands on.

    Attributes:
        provider: The provider.
        architecture: What it offers here.
        stop: Stops a machine behind its back.
        resume: Lets a stopped machine run again, by the provider if it can.
        pause: Lets a machine stand still behind its back; ``None`` where nothing could.
        set_up: Changes what the provider set on a machine behind its back; ``None`` if it sets nothing.
        deployment: Whom machines are made for.
        place: Where machine number i is, for a provider that makes none.
        clear: Takes the ground away.
        private: Whether machines have addresses that are reached from this computer only.
        completed: Adds to a request what the provider needs to know besides.
        cloud: The ground of a provider that orders from somebody else; ``None`` for others.
        another: The provider of a cloud as another run has it, which knows nothing of this one.
    """

    provider: MachineProvider
    architecture: str
    stop: Callable[[Machine], None]
    resume: Callable[[Machine], Machine]
    deployment: DeploymentTag
    pause: Callable[[Machine], None] | None = None
    set_up: Callable[[Machine], None] | None = None
    place: Callable[[int], str] = lambda _: ""
    clear: Callable[[], None] = lambda: None
    private: bool = True
    completed: Callable[[MachineRequest], MachineRequest] = lambda request: request
    cloud: CloudGround | None = None
    another: Callable[[], MachineProvider] = lambda: pytest.fail("only clouds are asked for another one")

    def request(self, index: int = 0, token: str = "") -> MachineRequest:
        asked = MachineRequest(
            deployment=self.deployment,
            address=f"edge[{index}]",
            token=token or f"token-{index}",
            hostname=f"edge-{index}",
            architecture=self.architecture,
            cpus=1,
            memory_mb=512,
            authorized_key=KEY,
            place=self.place(index),
            host_key=generate_key()[0] if self.cloud else "",
        )
        return self.completed(asked)


def local_bed(deployment: DeploymentTag, _: pytest.FixtureRequest) -> Bed:
    from orchestrator.clients.engine import connect, engine_architecture

    def stop(machine: Machine) -> None:
        connect().containers.get(machine.id).kill()

    def pause(machine: Machine) -> None:
        connect().containers.get(machine.id).pause()

    def set_up(machine: Machine) -> None:
        container = connect().containers.get(machine.id)
        container.update(restart_policy={"Name": "no"})
        if machine.setup["memory_mb"] is not None:
            container.update(mem_limit="300m", memswap_limit="300m")
        for name in container.attrs["NetworkSettings"]["Networks"]:
            connect().networks.get(name).disconnect(container)

    provider = load_provider("local")
    return Bed(provider, engine_architecture(), stop, lambda m: provider.start(m.id), deployment, pause, set_up)


def static_bed(deployment: DeploymentTag, _: pytest.FixtureRequest) -> Bed:
    """Containers stand for machines that are there already; their owner logs in with a key of his own."""
    boards = Boards(deployment)
    return Bed(
        boards.provider,
        boards.architecture,
        boards.stop,
        boards.resume,
        deployment,
        place=boards.place,
        clear=boards.clear,
    )


def aws_bed(deployment: DeploymentTag, request: pytest.FixtureRequest) -> Bed:
    """An emulator that is not ours. Nobody connects to the machines: there is nothing behind their addresses."""
    url = request.getfixturevalue("aws_server")
    aws_settings(request.getfixturevalue("monkeypatch"), url)
    ground = AwsGround(deployment, url)
    provider = load_provider(f"aws/{REGION}")
    return Bed(
        provider,
        "amd64",
        ground.stop,
        lambda m: provider.start(m.id),
        deployment,
        set_up=ground.set_up,
        private=False,
        completed=cloud_request,
        cloud=ground,
        another=lambda: load_provider(f"aws/{REGION}"),
    )


def openstack_bed(deployment: DeploymentTag, request: pytest.FixtureRequest) -> Bed:
    """A real control plane. Its computers are none: there is nothing behind the addresses of machines either."""
    control_plane = request.getfixturevalue("openstack_cloud")
    openstack_settings(request.getfixturevalue("monkeypatch"), control_plane)
    ground = OpenStackGround(deployment, control_plane)
    provider = load_provider(f"openstack/{PLACE}")
    return Bed(
        provider,
        "amd64",
        ground.stop,
        lambda m: provider.start(m.id),
        deployment,
        ground.pause,
        ground.set_up,
        clear=ground.clear,
        private=False,
        completed=ground.completed,
        cloud=ground,
        another=lambda: load_provider(f"openstack/{PLACE}"),
    )


BEDS: dict[str, Callable[[DeploymentTag, pytest.FixtureRequest], Bed]] = {
    "aws": aws_bed,
    "local": local_bed,
    "openstack": openstack_bed,
    "static": static_bed,
}
MARKS = {"local": [pytest.mark.engine], "openstack": [pytest.mark.systems], "static": [pytest.mark.engine]}
"""What a bed needs; one that is not named runs everywhere."""

CLOUDS = ("aws", "openstack")


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in sorted(BEDS)])
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    yield from a_bed(request)


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in CLOUDS])
def cloud_bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """Only those of clouds."""
    yield from a_bed(request)


def a_bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    lineage = uuid.uuid4().hex
    bed = BEDS[request.param](DeploymentTag(f"contract-{lineage[:8]}", lineage), request)
    yield bed
    for machine in bed.provider.find(bed.deployment):
        bed.provider.delete(machine.id)
    bed.provider.release(bed.deployment)
    assert bed.provider.leftovers(bed.deployment) == []
    bed.clear()


def test_every_provider_has_a_bed() -> None:
    assert sorted(BEDS) == sorted(PROVIDERS)


def test_every_provider_says_how_many_machines_it_makes_at_once() -> None:
    assert all(parallel_limit(name) >= 1 for name in PROVIDERS)


def test_a_created_machine_runs_and_is_found(bed: Bed) -> None:
    machine = bed.provider.create(bed.request())
    assert machine.state is MachineState.RUNNING
    assert machine.address == "edge[0]"
    assert machine.token == "token-0"
    assert ip_address(machine.host).is_private or not bed.private
    assert machine.port == 22
    assert machine.host_key.startswith("ssh-ed25519 AAAA")
    assert bed.provider.find(bed.deployment) == [machine]


def test_the_same_token_makes_no_second_machine(bed: Bed) -> None:
    first = bed.provider.create(bed.request())
    assert bed.provider.create(bed.request()) == first
    assert len(bed.provider.find(bed.deployment)) == 1


def test_a_predecessor_stands_in_the_way(bed: Bed) -> None:
    first = bed.provider.create(bed.request())
    with pytest.raises(ProviderError, match="earlier machine"):
        bed.provider.create(bed.request(token="of the next generation"))
    assert bed.provider.find(bed.deployment) == [first]
    bed.provider.delete(first.id)
    assert bed.provider.create(bed.request(token="of the next generation")).id != first.id


def test_a_stopped_machine_is_seen_and_starts_again_as_it_was(bed: Bed) -> None:
    machine = bed.provider.create(bed.request())
    bed.stop(machine)
    (stopped,) = bed.provider.find(bed.deployment)
    if bed.provider.can_start:
        assert stopped == dataclasses.replace(machine, state=MachineState.STOPPED)
        assert bed.provider.create(bed.request()) == stopped
    else:
        assert (stopped.id, stopped.state) == (machine.id, MachineState.UNREACHABLE)
        assert stopped.reason
        for attempt in (lambda: bed.provider.create(bed.request()), lambda: bed.provider.start(machine.id)):
            with pytest.raises(DeployError) as refused:
                attempt()
            assert refused.value.transient
    assert bed.resume(machine) == machine
    assert bed.provider.start(machine.id) == machine


def test_a_paused_machine_is_seen_and_goes_on_or_can_be_removed(bed: Bed) -> None:
    machine = bed.provider.create(bed.request())
    if bed.pause is None:
        return
    bed.pause(machine)
    assert bed.provider.find(bed.deployment) == [dataclasses.replace(machine, state=MachineState.PAUSED)]
    assert bed.provider.start(machine.id) == machine
    bed.pause(machine)
    bed.provider.delete(machine.id)
    assert bed.provider.find(bed.deployment) == []


def test_a_machine_that_was_set_up_otherwise_is_seen_and_set_back_as_the_same_machine(bed: Bed) -> None:
    machine = bed.provider.create(bed.request())
    if bed.set_up is None:
        assert machine.setup == {}
        assert bed.provider.adjust(machine.id, {}) == machine
        return
    bed.set_up(machine)
    (found,) = bed.provider.find(bed.deployment)
    assert found.setup != machine.setup
    assert found.setup.keys() == machine.setup.keys()
    assert dataclasses.replace(found, setup=machine.setup) == machine
    changed = {name: value for name, value in machine.setup.items() if found.setup[name] != value}
    assert bed.provider.adjust(machine.id, changed) == machine
    assert bed.provider.find(bed.deployment) == [machine]
    assert bed.provider.adjust(machine.id, machine.setup) == machine


def test_a_deleted_machine_is_gone_and_deleting_again_is_no_error(bed: Bed) -> None:
    machine = bed.provider.create(bed.request())
    bed.provider.delete(machine.id)
    bed.provider.delete(machine.id)
    assert bed.provider.find(bed.deployment) == []
    with pytest.raises(ProviderError):
        bed.provider.start(machine.id)
    with pytest.raises(ProviderError):
        bed.provider.adjust(machine.id, machine.setup)


def test_machines_made_at_once_do_not_share_anything(bed: Bed) -> None:
    with ThreadPoolExecutor(4) as pool:
        machines = list(pool.map(bed.provider.create, [bed.request(i) for i in range(4)]))
    for attribute in ("id", "host", "host_key"):
        assert len({getattr(m, attribute) for m in machines}) == 4
    assert {m.id for m in bed.provider.find(bed.deployment)} == {m.id for m in machines}


def test_shared_parts_stay_as_long_as_a_machine_uses_them(bed: Bed) -> None:
    machine = bed.provider.create(bed.request())
    bed.stop(machine)
    bed.provider.release(bed.deployment)
    assert bed.resume(machine).host == machine.host
    assert machine.id in {r.id for r in bed.provider.leftovers(bed.deployment)}


def test_deployments_do_not_see_each_other(bed: Bed) -> None:
    machine = bed.provider.create(bed.request())
    stranger = dataclasses.replace(bed.deployment, lineage="somebody else's")
    assert bed.provider.find(stranger) == []
    assert bed.provider.leftovers(stranger) == []
    bed.provider.release(stranger)
    assert bed.provider.find(bed.deployment) == [machine]


def cloud_of(bed: Bed) -> Cloud:
    assert isinstance(bed.provider, Cloud)
    return bed.provider


def ground_of(bed: Bed) -> CloudGround:
    assert bed.cloud is not None
    return bed.cloud


CLUSTER = {
    ("tcp", 2379, 2380, "members"),
    ("tcp", 6443, 6443, "members"),
    ("tcp", 10250, 10250, "members"),
    ("udp", 8472, 8472, "members"),
    ("udp", 51820, 51821, "members"),
}
FRONT = Access(group="edge", ssh_from=("203.0.113.7/32",), public_ports=(443,))
BEHIND = dataclasses.replace(FRONT, public=False, jump="edge[0]")
PUBLIC = {("tcp", 22, 22, "203.0.113.7/32"), ("tcp", 443, 443, "0.0.0.0/0"), ("tcp", 443, 443, "::/0")}


def test_every_cloud_is_tested_as_one() -> None:
    assert sorted(CLOUDS) == sorted(name for name in PROVIDERS if isinstance(load_provider(name), Cloud))


def test_machines_share_one_network_and_key_however_many_are_made_at_once(cloud_bed: Bed) -> None:
    requests = [dataclasses.replace(cloud_bed.request(i), access=FRONT) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        machines = list(pool.map(cloud_bed.provider.create, requests))
    assert set(ground_of(cloud_bed).parts().values()) == {1}
    for machine in machines:
        cloud_bed.provider.delete(machine.id)
    cloud_bed.provider.release(cloud_bed.deployment)
    assert set(ground_of(cloud_bed).parts().values()) == {0}


def test_a_machine_is_reached_as_was_asked_and_not_otherwise(cloud_bed: Bed) -> None:
    ground = ground_of(cloud_bed)
    first = cloud_bed.provider.create(dataclasses.replace(cloud_bed.request(0), access=FRONT))
    second = cloud_bed.provider.create(dataclasses.replace(cloud_bed.request(1), access=BEHIND))
    alone = dataclasses.replace(cloud_bed.request(2), access=Access(public=False))
    assert ground.open_ports(first) == CLUSTER | PUBLIC
    assert ground.open_ports(second) == CLUSTER | PUBLIC | {("tcp", 22, 22, "members")}
    assert ground.open_ports(cloud_bed.provider.create(alone)) == set()
    assert ip_address(second.host).is_private
    # What came later is no change of what was there: that would be told as somebody's doing.
    found = {m.address: m for m in cloud_bed.provider.find(cloud_bed.deployment)}
    assert found["edge[0]"] == first
    assert found["edge[1]"] == second


def test_who_reaches_a_machine_is_set_anew_when_it_is_asked_for_again(cloud_bed: Bed) -> None:
    ground = ground_of(cloud_bed)
    request = dataclasses.replace(cloud_bed.request(), access=FRONT)
    machine = cloud_bed.provider.create(request)
    moved = dataclasses.replace(FRONT, ssh_from=("198.51.100.0/24",), public_ports=())
    again = cloud_bed.provider.create(dataclasses.replace(request, access=moved))
    assert ground.open_ports(machine) == CLUSTER | {("tcp", 22, 22, "198.51.100.0/24")}
    assert again.setup[SECURITY_RULES] != machine.setup[SECURITY_RULES]
    assert dataclasses.replace(again, setup=machine.setup) == machine


def test_rules_that_a_hand_changed_are_seen_and_set_back(cloud_bed: Bed) -> None:
    ground = ground_of(cloud_bed)
    request = dataclasses.replace(cloud_bed.request(), access=FRONT)
    machine = cloud_bed.provider.create(request)
    before = ground.open_ports(machine)
    ground.open_port(machine, 8080)
    ground.close_port(machine, 22)
    ground.close_port(machine, 10250)
    (found,) = cloud_bed.provider.find(cloud_bed.deployment)
    assert found.setup[SECURITY_RULES] != machine.setup[SECURITY_RULES]
    adjusted = cloud_bed.provider.adjust(machine.id, {SECURITY_RULES: machine.setup[SECURITY_RULES]})
    assert adjusted == machine
    assert ground.open_ports(machine) == before
    ground.open_port(machine, 8080)
    # Another run, which knows nothing of this one.
    assert cloud_bed.another().create(request) == machine
    assert ground.open_ports(machine) == before


def test_tags_are_set_anew_when_a_machine_is_asked_for_again(cloud_bed: Bed) -> None:
    def asked(tags: str) -> MachineRequest:
        return dataclasses.replace(cloud_bed.request(), settings={**cloud_bed.request().settings, "tags": tags})

    machine = cloud_bed.provider.create(asked("team=vision, purpose=tests"))
    again = cloud_bed.another().create(asked("team=sound,cost-centre=17"))
    first, second = dict(machine.setup), dict(again.setup)
    tags: Any = first.pop(LABELS), second.pop(LABELS)
    assert {**tags[0], "team": "sound", "cost-centre": "17", "purpose": None} == {**tags[1], "purpose": None}
    assert tags[0]["purpose"] == "tests"
    assert (again.id, second) == (machine.id, first)
    assert cloud_bed.provider.find(cloud_bed.deployment) == [again]


def test_data_volumes_come_and_go_with_their_machine(cloud_bed: Bed) -> None:
    if not getattr(cloud_bed.provider, "has_volumes", False):
        return  # refused before anybody is asked: tests/unit/services/test_preflight.py
    request = dataclasses.replace(cloud_bed.request(), volumes_gb=(20, 10))
    machine = cloud_bed.provider.create(request)
    assert ground_of(cloud_bed).volumes(machine) == [20, 10]
    assert cloud_bed.another().create(request) == machine
    listed = cloud_bed.provider.leftovers(cloud_bed.deployment)
    assert len([r for r in listed if r.kind == "volume" and r.address == machine.address]) >= 2
    cloud_bed.provider.delete(machine.id)
    cloud_bed.provider.release(cloud_bed.deployment)
    assert cloud_bed.provider.leftovers(cloud_bed.deployment) == []


def test_another_flavor_is_seen_and_set_back(cloud_bed: Bed) -> None:
    machine = cloud_bed.provider.create(cloud_bed.request())
    ground_of(cloud_bed).resize(machine)
    (found,) = cloud_bed.provider.find(cloud_bed.deployment)
    assert {name for name, value in machine.setup.items() if found.setup[name] != value} == {"flavor"}
    assert cloud_bed.provider.adjust(machine.id, {"flavor": machine.setup["flavor"]}) == machine


def test_a_machine_removed_by_hand_is_gone_and_made_anew(cloud_bed: Bed) -> None:
    machine = cloud_bed.provider.create(cloud_bed.request())
    ground_of(cloud_bed).remove_by_hand(machine.id)
    assert cloud_bed.provider.find(cloud_bed.deployment) == []
    cloud_bed.provider.delete(machine.id)
    assert cloud_bed.provider.create(cloud_bed.request()).id != machine.id


def test_two_machines_that_claim_to_be_the_same_are_both_named(cloud_bed: Bed) -> None:
    """As after an order that was carried out twice, which the tests cannot have happen otherwise."""
    cloud, ground = cloud_of(cloud_bed), ground_of(cloud_bed)
    first = cloud_bed.provider.create(cloud_bed.request())
    second = cloud.adopt(ground.by_hand(), dataclasses.replace(cloud_bed.request(1), token="token-0"))
    ground.rename(second, cloud_bed.request().address)
    with pytest.raises(ProviderError) as refused:
        cloud_bed.provider.create(cloud_bed.request())
    assert first.id in refused.value.detail
    assert second.id in refused.value.detail


def test_a_machine_made_by_hand_is_taken_over_as_it_is(cloud_bed: Bed) -> None:
    cloud, ground = cloud_of(cloud_bed), ground_of(cloud_bed)
    made = ground.by_hand()
    before = ground.instance(made)
    machine = cloud.adopt(made, cloud_bed.request())
    assert (machine.id, machine.address, machine.token) == (made, "edge[0]", "token-0")
    assert machine.state is MachineState.RUNNING
    assert machine.host_key == "", "nobody knows it before the first contact"
    after = ground.instance(made)
    assert {k: v for k, v in after.items() if k != "Tags"} == {k: v for k, v in before.items() if k != "Tags"}
    assert cloud_bed.provider.find(cloud_bed.deployment) == [machine]
    assert cloud_bed.provider.create(cloud_bed.request()).id == made
    assert cloud.adopt(made, cloud_bed.request()).id == made


def test_what_cannot_be_taken_over_is_left_alone(cloud_bed: Bed) -> None:
    cloud, ground = cloud_of(cloud_bed), ground_of(cloud_bed)
    made, gone = ground.by_hand(), ground.by_hand()
    ground.remove_by_hand(gone)
    stranger = dataclasses.replace(cloud_bed.deployment, lineage=uuid.uuid4().hex)
    others = dataclasses.replace(cloud_bed.request(), deployment=stranger)
    elsewhere = dataclasses.replace(cloud_bed.request(), architecture="arm64")
    with pytest.raises(ProviderError, match="taken over"):
        cloud.adopt(made, elsewhere)
    cloud.adopt(made, cloud_bed.request())
    for request in (others, cloud_bed.request(1)):
        with pytest.raises(ProviderError, match="taken over"):
            cloud.adopt(made, request)
    with pytest.raises(ProviderError):
        cloud.adopt(gone, cloud_bed.request(2))
    assert [m.address for m in cloud_bed.provider.find(cloud_bed.deployment)] == ["edge[0]"]


def test_what_is_not_ours_is_never_removed(cloud_bed: Bed) -> None:
    made = ground_of(cloud_bed).by_hand()
    with pytest.raises(ProviderError, match="not ours"):
        cloud_bed.provider.delete(made)
    assert ground_of(cloud_bed).is_there(made)
    ground_of(cloud_bed).remove_by_hand(made)


def test_everything_of_ours_is_listed_and_what_is_named_removed(cloud_bed: Bed) -> None:
    cloud = cloud_of(cloud_bed)
    other = DeploymentTag(f"{cloud_bed.deployment.name}-other", uuid.uuid4().hex)
    kept = cloud_bed.provider.create(cloud_bed.request())
    cloud_bed.provider.create(dataclasses.replace(cloud_bed.request(1), deployment=other))
    of_other = [owned for owned in cloud.owned() if owned.deployment == other]
    mine = [owned for owned in cloud.owned() if owned.deployment == cloud_bed.deployment]
    assert {r.resource for r in mine} == set(cloud_bed.provider.leftovers(cloud_bed.deployment))
    assert {"edge[1]"} == {o.resource.address for o in of_other if o.resource.kind == "machine"}
    assert cloud.remove(of_other) == {}
    assert cloud_bed.provider.leftovers(other) == []
    assert cloud_bed.provider.find(cloud_bed.deployment) == [kept]
    assert cloud.remove(of_other) == {}, "what is gone already is no trouble"


def test_a_check_of_what_can_be_made_finds_nothing_and_changes_nothing(cloud_bed: Bed) -> None:
    requests = [cloud_bed.request(i) for i in range(2)]
    assert not has_errors(cloud_of(cloud_bed).check(requests))
    assert cloud_of(cloud_bed).check([]) == []
    assert cloud_bed.provider.leftovers(cloud_bed.deployment) == []


def test_a_check_finds_everything_at_once(cloud_bed: Bed) -> None:
    def asked(index: int, **otherwise: Any) -> MachineRequest:
        access = Access(public=False)
        return dataclasses.replace(cloud_bed.request(index), access=access, **otherwise)

    good = asked(0)
    no_image = good.image[:-4] + "0000"
    image, flavor = asked(1, image=no_image), asked(2, flavor="no.such-size")
    subnet, key = asked(3, settings={"subnet": "subnet-00000000"}), asked(4, settings={"key_name": "nobody-has-it"})
    both, architecture = asked(5, image=no_image, flavor="no.such-size"), asked(6, architecture="arm64")
    findings = cloud_of(cloud_bed).check([good, image, flavor, subnet, key, both, architecture])
    errors = [finding.address for finding in findings if finding.is_error]
    assert set(errors) == {f"edge[{i}]" for i in range(1, 7)}
    assert errors.count("edge[5]") == 2
    assert all(finding.detail for finding in findings)
    assert cloud_bed.provider.leftovers(cloud_bed.deployment) == []


def test_nothing_private_is_told_of_a_machine(cloud_bed: Bed) -> None:
    request = cloud_bed.request()
    machine = cloud_bed.provider.create(request)
    told = repr((machine, request, cloud_bed.provider.leftovers(cloud_bed.deployment)))
    assert "PRIVATE KEY" not in told
    assert request.host_key.splitlines()[1] not in told
