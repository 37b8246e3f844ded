"""What every provider of machines must do; a new provider joins by one entry in BEDS."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from orchestrator.errors import DeployError, ProviderError
from orchestrator.providers.base import DeploymentTag, Machine, MachineProvider, MachineRequest, MachineState
from orchestrator.providers.registry import PROVIDERS, load_provider, parallel_limit
from tests.contract.boards import Boards

pytestmark = pytest.mark.engine

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ8b1Zg0pGfM3xWnq0QmH1mQyqN0pT0k9Jr0v5Xo6bK contract"


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

    def request(self, index: int = 0, token: str = "") -> MachineRequest:
        return MachineRequest(
            deployment=self.deployment,
            address=f"edge[{index}]",
            token=token or f"token-{index}",
            hostname=f"edge-{index}",
            architecture=self.architecture,
            cpus=1,
            memory_mb=512,
            authorized_key=KEY,
            place=self.place(index),
        )


def local_bed(deployment: DeploymentTag) -> Bed:
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


def static_bed(deployment: DeploymentTag) -> Bed:
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


BEDS = {"local": local_bed, "static": static_bed}


@pytest.fixture(params=sorted(BEDS))
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    lineage = uuid.uuid4().hex
    bed = BEDS[request.param](DeploymentTag(f"contract-{lineage[:8]}", lineage))
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
    assert ip_address(machine.host).is_private
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
        assert not bed.provider.can_start, "what can start machines meets ones that stand still"
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
