"""Troubles of OpenStack through whole commands: one clear message, a right state, and a next run that ends well.

What can be had of the control plane itself is: its quotas, its hosts, its users. The rest does a proxy before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.engine import apply as engine
from orchestrator.engine.retries import RetryPolicy
from orchestrator.providers.registry import PROVIDERS
from orchestrator.services.deployment import open_for_reading
from orchestrator.state.model import Lifecycle
from tests.contract.openstack_bed import FLAVOR, PLACE, OpenStackGround
from tests.faulty_api import FaultyApi
from tests.systems import test_openstack_commands as commands
from tests.systems.openstack_bed.cloud import CLOUD, OpenStackCloud
from tests.systems.openstack_bed.configuration import TOKEN_CACHE
from tests.systems.openstack_bed.content import GPU
from tests.systems.provider_bed import AUTHORIZED, ways
from tests.systems.test_openstack_commands import FROM, Deploy, apply, ids, parts_of, records, template
from tests.unit.recovery.guests import Guests, OpenStackWithGuests
from tests.unit.state.conftest import make_certificate

pytestmark = pytest.mark.systems

ground, cloud, deploy = commands.ground, commands.cloud, commands.deploy
SWEEP = ("sweep", "--provider", f"openstack/{PLACE}")


class InAHurry(OpenStackWithGuests):
    """Waits as often as the provider does, and never long."""

    def __init__(self, place: str = "") -> None:
        super().__init__(place, lambda seconds: time.sleep(min(seconds, 0.2)))


@dataclass
class Trouble:
    """What is to go wrong in the middle of a run.

    Attributes:
        cloud: The control plane.
        nova: The proxy before nova.
        neutron: The one before neutron.
        lasting: Ends what lasts until it is mended.
    """

    cloud: OpenStackCloud
    nova: FaultyApi
    neutron: FaultyApi
    lasting: ExitStack

    def after_the_first(self, begin: Callable[[], Any]) -> None:
        """Let it begin when the first machine has been ordered, before anybody knows that it was."""

        def change(answer: bytes) -> bytes:
            begin()
            return answer

        self.nova.change("POST /servers", change)

    def mend(self) -> None:
        """All is well again."""
        self.nova.mend()
        self.neutron.mend()
        self.lasting.close()


@pytest.fixture
def trouble(
    openstack_cloud: OpenStackCloud, cloud: Guests, ground: OpenStackGround, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Trouble]:
    """Proxies between the program and the control plane; pauses between attempts are short."""
    del cloud
    monkeypatch.setitem(PROVIDERS, "openstack", f"{__name__}:InAHurry")
    monkeypatch.setattr(engine, "RetryPolicy", partial(RetryPolicy, first_pause=0.01))
    for service in (ground.client.compute, ground.client.network, ground.client.image):
        service.get_endpoint()
    with ways(openstack_cloud) as before, ExitStack() as lasting:
        yield Trouble(openstack_cloud, before.nova, before.neutron, lasting)
        before.mend()


def quota(trouble: Trouble, _: OpenStackGround) -> None:
    """Of three, two have room, and that turns out in the middle."""
    trouble.after_the_first(lambda: trouble.lasting.enter_context(trouble.cloud.quota(instances=2)))


def capacity(trouble: Trouble, ground: OpenStackGround) -> None:
    """Somebody else has two of the four graphics processors."""
    network = ground.client.network.create_network(name="somebody-s")
    ground.client.network.create_subnet(network_id=network.id, name="somebody-s", ip_version=4, cidr="10.20.0.0/24")
    compute = ground.client.compute
    flavor = compute.find_flavor(GPU, ignore_missing=False)
    order = {"image_id": ground.image(), "flavor_id": flavor.id, "networks": [{"uuid": network.id}]}
    for _ in range(2):
        server = compute.wait_for_server(compute.create_server(name="somebody-s", **order), interval=0.2)
        trouble.lasting.callback(ground.remove_by_hand, str(server.id))
    assert trouble.cloud.in_use("CUSTOM_GPU") == 2


def throttling(trouble: Trouble, _: OpenStackGround) -> None:
    limited = {"overLimit": {"code": 429, "message": "This request was rate-limited."}}
    trouble.nova.answer("POST /servers", 429, limited, skip=1, times=100, headers={"Retry-After": "1"})


def away(trouble: Trouble, _: OpenStackGround) -> None:
    def begin() -> None:
        trouble.nova.answer("*", 503, times=10_000)
        trouble.neutron.answer("*", 503, times=10_000)

    trouble.after_the_first(begin)


def expired(trouble: Trouble, ground: OpenStackGround) -> None:
    """Once the first one runs: nova makes it with the rights of whoever asked."""

    def begin() -> None:
        while {server["status"] for server in ground.servers()} != {"ACTIVE"}:
            time.sleep(0.2)
        trouble.lasting.enter_context(trouble.cloud.locked_out())
        time.sleep(TOKEN_CACHE + 0.5)

    trouble.after_the_first(begin)


@pytest.mark.parametrize(
    ("fault", "message", "flavor"),
    [
        (quota, "A quota of the project is exhausted.", FLAVOR),
        (capacity, "OpenStack has no capacity for the machine.", GPU),
        (throttling, "OpenStack limits the requests.", FLAVOR),
        (away, "OpenStack fails at present.", FLAVOR),
        (expired, "OpenStack does not accept the credentials.", FLAVOR),
    ],
)
def test_a_run_that_meets_trouble_says_so_and_the_next_one_finishes(
    deploy: Deploy,
    trouble: Trouble,
    ground: OpenStackGround,
    tmp_path: Path,
    fault: Callable[[Trouble, OpenStackGround], None],
    message: str,
    flavor: str,
) -> None:
    file = template(tmp_path, ground.image(), 3, flavor)
    fault(trouble, ground)
    told = apply(deploy, file, expect=1)
    trouble.mend()
    assert message in told
    assert trouble.cloud.password not in told
    made = ids(ground)
    known = {a: str(r.attributes["machine_id"]) for a, r in records().items() if r.lifecycle is Lifecycle.STARTED}
    assert set(known.values()) <= made
    assert 1 <= len(made) < 3
    apply(deploy, file)
    now = {address: str(record.attributes["machine_id"]) for address, record in records().items()}
    assert set(now) == {f"cloud[{n}]" for n in range(3)}
    assert set(now.values()) == ids(ground)
    assert len(ids(ground)) == 3
    assert made <= ids(ground), "what was made is kept"
    assert known.items() <= now.items()
    assert set(parts_of(ground).values()) <= {1, 2}
    assert "No drift" in deploy("status", "shop", "--drift")
    deploy("destroy", "shop", "--auto-approve")
    assert ids(ground) == set()
    assert "Nothing that no state here knows" in deploy(*SWEEP)


def test_answers_that_are_lost_are_found_again_within_the_same_run(
    deploy: Deploy, trouble: Trouble, ground: OpenStackGround, tmp_path: Path
) -> None:
    trouble.nova.cut_after("POST /servers", times=100)
    trouble.neutron.cut_after("POST /floatingips", times=100)
    apply(deploy, template(tmp_path, ground.image(), 3))
    assert len(ids(ground)) == len(records()) == 3
    assert len(ground.addresses()) == 1
    assert trouble.nova.count()["POST /servers"] == 3


def test_something_with_our_name_that_is_not_ours_is_named_and_left_alone(
    deploy: Deploy, trouble: Trouble, ground: OpenStackGround, tmp_path: Path
) -> None:
    file = template(tmp_path, ground.image(), 1)
    full = {
        "NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['network'].", "detail": ""}
    }
    trouble.neutron.answer("POST /networks", 409, full)
    assert "A quota of the project is exhausted." in apply(deploy, file, expect=1)
    state = open_for_reading("shop").state
    assert state is not None
    name = f"continuum-shop-{state.lineage[:8]}-network"
    foreign = ground.client.network.create_network(name=name, description="somebody's")
    told = apply(deploy, file, expect=1)
    assert "A name of ours is taken." in told
    assert name in told
    assert ids(ground) == set()
    ground.client.network.update_network(foreign, name="somebody-s")
    apply(deploy, file)
    assert len(ids(ground)) == 1
    deploy("destroy", "shop", "--auto-approve")
    assert [one.name for one in ground.client.network.networks(project_id=ground.client.current_project_id)] == [
        "somebody-s"
    ]


def test_what_cannot_be_removed_is_listed_with_the_reason_and_destroyed_later(
    deploy: Deploy, trouble: Trouble, ground: OpenStackGround, tmp_path: Path
) -> None:
    del trouble
    apply(deploy, template(tmp_path, ground.image(), 1))
    (machine,) = ids(ground)
    network = str(ground.ports(machine)[0]["network_id"])
    port = ground.client.network.create_port(network_id=network, name="somebody-s")
    told = deploy("destroy", "shop", "--auto-approve", expect=1)
    assert "could not be removed" in told
    assert f"({network})" in told
    assert "the network continuum-shop-" in told
    assert "in use" in told
    assert ids(ground) == set()
    assert ground.client.network.get_port(port.id)
    ground.client.network.delete_port(port)
    deploy("destroy", "shop", "--auto-approve")
    assert set(parts_of(ground).values()) == {0}
    assert "Nothing that no state here knows" in deploy(*SWEEP)


def test_credentials_are_nowhere_but_in_the_settings(
    deploy: Deploy, trouble: Trouble, ground: OpenStackGround, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OS_CLIENT_CONFIG_FILE", "OS_CLOUD"):
        monkeypatch.delenv(name)
    for name, value in trouble.cloud.password_environment.items():
        monkeypatch.setenv(name, value)
    file = template(tmp_path, ground.image(), 2)
    expired(trouble, ground)
    told = deploy("plan", file, *FROM) + apply(deploy, file, expect=1)
    trouble.mend()
    told += apply(deploy, file) + deploy("status", "shop", "--drift", "--json") + deploy("doctor", file)
    with trouble.cloud.locked_out():
        refused = deploy("status", "shop", "--drift")
        assert "2 could not be asked" in refused
        assert "does not accept the credentials" in refused
        assert "No drift" not in refused
        told += refused
    # Keystone's tokens all begin like this.
    for secret in (trouble.cloud.password, "gAAAAA"):
        assert secret not in told
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_a_certificate_of_an_authority_that_is_not_trusted_ends_a_run_before_anything_is_made(
    deploy: Deploy, cloud: Guests, ground: OpenStackGround, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cloud
    other, _ = make_certificate(tmp_path, "other")
    settings = yaml.safe_load(ground.cloud.clouds_file.read_text(encoding="utf-8"))
    file = template(tmp_path, ground.image(), 1)
    for trusted in ({}, {"cacert": str(other)}):
        del settings["clouds"][CLOUD]["cacert"]
        settings["clouds"][CLOUD] |= trusted
        (tmp_path / "clouds.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
        settings["clouds"][CLOUD]["cacert"] = ""
        assert "certificate" in apply(deploy, file, expect=2)
        assert "certificate" in deploy("doctor", file, expect=1)
    monkeypatch.setenv("OS_CACERT", str(ground.cloud.ca))
    assert "certificate" in apply(deploy, file, expect=2), "clouds.yaml counts more"
    assert ids(ground) == set()
    assert set(parts_of(ground).values()) == {0}
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(ground.cloud.clouds_file))
    apply(deploy, file)
    assert len(ids(ground)) == 1


def test_a_network_and_a_key_of_the_user_s_own_are_used_and_left(
    deploy: Deploy, cloud: Guests, ground: OpenStackGround, tmp_path: Path
) -> None:
    del cloud
    client = ground.client
    network = client.network.create_network(name="mine")
    client.network.create_subnet(network_id=network.id, name="mine", ip_version=4, cidr="10.30.0.0/24")
    client.compute.create_keypair(name="mine", public_key=AUTHORIZED)
    own = ("--network", "mine", "--key-name", "mine", "--public-addresses", "none", "--tags", "team=vision")
    apply(deploy, template(tmp_path, ground.image(), 3), *own)
    assert len(ids(ground)) == 3
    for count in (3, 2):
        apply(deploy, template(tmp_path, ground.image(), count), *own[:-1], f"team=sound-{count}")
        assert {server["metadata"]["team"] for server in ground.servers()} == {f"sound-{count}"}
        assert {server["key_name"] for server in ground.servers()} == {"mine"}
        assert {port["network_id"] for one in ids(ground) for port in ground.ports(one)} == {network.id}
        assert len(ids(ground)) == count
    deploy("destroy", "shop", "--auto-approve")
    assert ids(ground) == set()
    assert parts_of(ground) == {"networks": 1, "routers": 0, "groups": 0, "keys": 1}


def test_a_plan_and_a_doctor_say_all_at_once_what_the_cloud_would_refuse(
    deploy: Deploy, cloud: Guests, ground: OpenStackGround, tmp_path: Path
) -> None:
    del cloud
    file = template(tmp_path, ground.image(), 3)
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    nodes = content["topology_template"]["node_templates"]
    wanted: dict[str, dict[str, Any]] = {
        "spot": {"spot": True},
        "arm": {"image_id": f"ost://{PLACE}/{ground.image('aarch64')}"},
        "unknown": {"flavor": "m1.enormous"},
        "enclave": {"flavor": FLAVOR, "sgx": True},
        "elsewhere": {"image_id": "ost://nowhere.example/3f1c8d5e-0000-0000-0000-000000000000"},
    }
    for number, (name, properties) in enumerate(wanted.items(), 2):
        one = yaml.safe_load(yaml.safe_dump(nodes["cloud"]))
        one["properties"] |= {"resource": name.title(), "layer": number, **properties}
        one["capabilities"]["scalable"]["properties"] = dict.fromkeys(
            ("min_instances", "max_instances", "default_instances"), 1
        )
        nodes[name] = one
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with ground.cloud.quota(instances=3):
        told = {
            "plan": deploy("plan", file, *FROM, "--zone", "nowhere"),
            "doctor": deploy("doctor", file, *FROM, "--zone", "nowhere", expect=1),
            "apply": apply(deploy, file, *FROM, "--zone", "nowhere", expect=2),
        }
    for command, text in told.items():
        for part in ("spot", "aarch64", "m1.enormous", "SGX", "nowhere.example", "no such zone", "quota"):
            assert part in " ".join(text.split()), (command, part)
    assert ids(ground) == set()
    assert set(parts_of(ground).values()) == {0}
