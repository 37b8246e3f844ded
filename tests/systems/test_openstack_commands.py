"""Whole commands over machines of OpenStack: made, met, looked at, changed, killed, removed and swept.

An OpenSSH server stands for each guest, since nobody boots them. It is set up by what nova was told in the call that
made the machine, whichever run that was.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest
from orchestrator.providers.registry import PROVIDERS, load_provider
from orchestrator.remote import host_key_rotation
from orchestrator.remote.connection import read_host_key
from orchestrator.services.deployment import open_for_reading
from orchestrator.state.model import InstanceRecord
from tests.contract.aws_bed import IMAGE, REGION
from tests.contract.openstack_bed import FLAVOR, OTHER_FLAVOR, PLACE, OpenStackGround, openstack_settings
from tests.moto_server import aws_settings
from tests.systems.openstack_bed.cloud import ADMIN, OpenStackCloud
from tests.systems.openstack_bed.content import NOWHERE
from tests.unit.recovery.guests import OPENSTACK_PROVIDER, Guests, guests
from tests.unit.recovery.guests import PROVIDER as AWS_PROVIDER
from tests.unit.recovery.test_cloud_faults import user_data
from tests.unit.recovery.test_clouds import instances
from tests.unit.remote.openssh_server import USER, write_key

pytestmark = pytest.mark.systems

FROM = ("--ssh-from", "203.0.113.7/32")
Deploy = Callable[..., str]


@pytest.fixture
def ground(openstack_cloud: OpenStackCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenStackGround]:
    """The control plane past the program; nothing is left in the project in the end."""
    openstack_settings(monkeypatch, openstack_cloud)
    found = OpenStackGround(DeploymentTag("shop", ""), openstack_cloud)
    yield found
    found.clear()


@pytest.fixture
def cloud(
    openstack_cloud: OpenStackCloud, ground: OpenStackGround, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Guests]:
    """OpenStack with guests that boot at once."""
    monkeypatch.setitem(PROVIDERS, "openstack", OPENSTACK_PROVIDER)
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(host_key_rotation, "HOST_KEY", '"$GUEST_KEY"')
    monkeypatch.setattr(host_key_rotation, "RELOAD", 'kill -HUP $(cat "$GUEST_PID")')
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guests").mkdir()
    with openstack_cloud.connection(ADMIN) as admin:
        admin.compute.get_endpoint()

        def told(machine: Machine, _: MachineRequest) -> str:
            return base64.b64decode(admin.compute.get_server(machine.id).user_data).decode()

        with guests(tmp_path / "guests", told) as running:
            yield running
            main(["destroy", "shop", "--auto-approve"])


@pytest.fixture
def deploy(cloud: Guests, capsys: pytest.CaptureFixture[str]) -> Deploy:
    """Runs a command in this process; gives what it printed, after a look at its exit code."""

    def run(*arguments: object, expect: int = 0) -> str:
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        assert code == expect, f"exit {code}\n{shown.out}\n{shown.err}"
        assert "Traceback" not in shown.err
        return shown.out + shown.err

    return run


def template(folder: Path, image: str, count: int = 3, flavor: str = FLAVOR) -> Path:
    """A template with nothing but machines."""
    scale = dict.fromkeys(("min_instances", "max_instances", "default_instances"), count)
    node: dict[str, Any] = {
        "type": "continuum.nodes.VirtualMachine",
        "properties": {"resource": "Cloud", "layer": 1, "image_id": f"ost://{PLACE}/{image}", "flavor": flavor},
        "capabilities": {
            "host": {"properties": {"num_cpus": 1, "mem_size": "2048 MB"}},
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


def records() -> dict[str, InstanceRecord]:
    state = open_for_reading("shop").state
    return dict(state.instances) if state else {}


def ids(ground: OpenStackGround) -> set[str]:
    return {str(server["id"]) for server in ground.servers()}


def apply(deploy: Deploy, file: Path, *more: str, expect: int = 0) -> str:
    return deploy("apply", file, *(more or FROM), "--auto-approve", expect=expect)


def nothing_private_is_kept(home: Path) -> None:
    for path in home.rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            assert b"PRIVATE KEY" not in path.read_bytes(), path


def test_machines_are_made_met_changed_and_removed(
    deploy: Deploy, cloud: Guests, ground: OpenStackGround, tmp_path: Path
) -> None:
    file = template(tmp_path, ground.image())
    apply(deploy, file)
    made = ids(ground)
    assert made == set(cloud.servers)
    assert len(made) == 3
    assert len(ground.addresses()) == 1
    for record in records().values():
        server = cloud.servers[str(record.attributes["machine_id"])]
        shown = read_host_key(server.target(None, ""), 10)
        assert record.attributes["host_key"] == shown != server.host_key
        assert record.attributes["first_host_key"] == server.host_key
    assert "No drift" in deploy("status", "shop", "--drift")
    for node in ("cloud[0]", "cloud[2]"):
        deploy("ssh", "shop", node, "--", "true")
    nothing_private_is_kept(tmp_path / "home")

    front, behind, third = (records()[f"cloud[{n}]"].attributes["machine_id"] for n in range(3))
    provider = load_provider(f"openstack/{PLACE}")
    machines = {m.id: m for m in provider.find(DeploymentTag("shop", open_for_reading("shop").state.lineage))}  # type: ignore[union-attr]
    ground.open_port(machines[str(front)], 8080)
    ground.stop(machines[str(behind)])
    ground.resize(machines[str(third)])
    told = deploy("status", "shop", "--drift")
    assert "tcp 8080 from 0.0.0.0/0" in told
    assert "stopped" in told
    assert OTHER_FLAVOR in told
    apply(deploy, file)
    assert ids(ground) == made
    assert "No drift" in deploy("status", "shop", "--drift")
    ground.remove_by_hand(str(behind))
    assert "cloud[1]" in deploy("status", "shop", "--drift")
    apply(deploy, file, "--ssh-from", "198.51.100.0/24")
    assert ids(ground) & made == made - {behind}
    assert len(ids(ground)) == 3
    rules = [r["remote_ip_prefix"] for r in ground.rules(ground.ports(str(front))[0]["security_groups"][0])]
    assert "198.51.100.0/24" in rules
    assert "203.0.113.7/32" not in rules
    deploy("destroy", "shop", "--auto-approve")
    assert ids(ground) == set()
    assert "Nothing that no state here knows" in deploy("sweep", "--provider", f"openstack/{PLACE}")


def test_a_process_that_is_killed_while_it_makes_ten_machines_leaves_nothing_that_is_made_twice(
    deploy: Deploy, cloud: Guests, ground: OpenStackGround, openstack_cloud: OpenStackCloud, tmp_path: Path
) -> None:
    """The process is the program as people start it, without guests: it never gets as far as to meet one.

    It makes four at a time, so that some are made, one is on its way, and others were never asked for.
    """
    file = template(tmp_path, ground.image(), 10)
    more = (*FROM, "--public-addresses", "all", "--auto-approve")
    command = [sys.executable, "-m", "orchestrator.cli.main", "apply", file, *more, "--parallelism", "4"]
    began, log = orders(openstack_cloud), tmp_path / "stderr"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=stderr, stderr=stderr, start_new_session=True)
    try:
        ends = time.monotonic() + 120
        while orders(openstack_cloud) < began + 3:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < ends
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
    # What was on its way when the process died is carried out all the same.
    quiet_since = (0, time.monotonic())
    while time.monotonic() < quiet_since[1] + 2:
        if len(ids(ground)) != quiet_since[0]:
            quiet_since = (len(ids(ground)), time.monotonic())
    before = ids(ground)
    assert 3 <= len(before) <= 4
    apply(deploy, file, *more[:-1])
    assert len(ids(ground)) == 10
    assert before <= ids(ground)
    assert len(ground.addresses()) == 10
    names = [server["name"] for server in ground.servers()]
    assert len(set(names)) == 10
    for kind, number in parts_of(ground).items():
        assert number == 1, kind
    assert set(cloud.servers) == ids(ground)
    assert "No drift" in deploy("status", "shop", "--drift")
    nothing_private_is_kept(tmp_path / "home")
    deploy("destroy", "shop", "--auto-approve")
    assert ids(ground) == set()
    assert ground.addresses() == []
    assert set(parts_of(ground).values()) == {0}


def orders(cloud: OpenStackCloud) -> int:
    """How many machines were ordered so far."""
    told = (cloud.folder / "nova.calls").read_text(encoding="utf-8")
    return told.count('"POST", "path": "/v2.1/servers"')


def parts_of(ground: OpenStackGround) -> dict[str, int]:
    """How many of each kind the project has that machines share."""
    network, mine = ground.client.network, {"project_id": ground.client.current_project_id}
    lists = {"networks": network.networks, "routers": network.routers, "groups": network.security_groups}
    found = {n: len([1 for one in listed(**mine) if one.name != "default"]) for n, listed in lists.items()}
    return {**found, "keys": len(list(ground.client.compute.keypairs()))}


def test_all_that_the_cloud_would_refuse_is_said_before_anything_is_made(
    deploy: Deploy, cloud: Guests, ground: OpenStackGround, tmp_path: Path
) -> None:
    missing = "00000000-0000-0000-0000-000000000000"
    file = template(tmp_path, missing, 1, "m1.enormous")
    told = apply(deploy, file, "--public-addresses", "all", expect=2)
    assert "Nothing says from where machines are reached." in told
    assert missing in told
    assert "m1.enormous" in told
    assert ids(ground) == set()
    assert records() == {}
    assert missing in deploy("doctor", file, expect=1)


def test_a_machine_for_which_there_is_no_room_fails_alone_and_the_next_apply_goes_on(
    deploy: Deploy, cloud: Guests, ground: OpenStackGround, tmp_path: Path
) -> None:
    told = apply(deploy, template(tmp_path, ground.image(), 1, NOWHERE), expect=1)
    assert "OpenStack has no capacity for the machine." in told
    assert "No valid host was found" in told
    assert ids(ground) == set()
    apply(deploy, template(tmp_path, ground.image(), 1))
    assert len(ids(ground)) == 1


def test_a_machine_made_by_hand_is_taken_over_and_a_lost_state_leaves_what_a_sweep_finds(
    deploy: Deploy, cloud: Guests, ground: OpenStackGround, tmp_path: Path
) -> None:
    file = template(tmp_path, ground.image(), 1, OTHER_FLAVOR)
    made = ground.by_hand()
    server = cloud.boot_by_hand(made, write_key(tmp_path / "owner"))
    login = ("--user", USER, "--key", tmp_path / "owner", "--host-key", server.host_key)
    inside = ("--public-addresses", "none")
    deploy("import", file, "cloud[0]", made, *login, *inside)
    assert records()["cloud[0]"].attributes["host_key"] == server.host_key
    told, _ = json.JSONDecoder().raw_decode(deploy("plan", file, "--json"))
    assert [change["action"] for change in told["changes"]] == ["no-op"]
    assert ids(ground) == {made}
    (tmp_path / "home" / "shop" / "state").rename(tmp_path / "lost")
    listed = json.loads(deploy("sweep", "--provider", f"openstack/{PLACE}", "--json"))
    (group,) = listed["groups"]
    assert (group["deployment"], [r["kind"] for r in group["resources"]]) == ("shop", ["machine"])
    deploy("sweep", "--provider", f"openstack/{PLACE}", "--remove", "--auto-approve")
    assert ids(ground) == set()


def test_one_deployment_spans_two_clouds_and_each_is_cleared(
    deploy: Deploy,
    cloud: Guests,
    ground: OpenStackGround,
    aws_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aws_settings(monkeypatch, aws_server)
    monkeypatch.setitem(PROVIDERS, "aws", AWS_PROVIDER)
    at_openstack = cloud.told
    cloud.told = lambda machine, request: (user_data if machine.id.startswith("i-") else at_openstack)(machine, request)
    file = template(tmp_path, ground.image(), 1)
    content = json.loads(file.read_text(encoding="utf-8"))
    nodes = content["topology_template"]["node_templates"]
    nodes["west"] = json.loads(json.dumps(nodes["cloud"]))
    nodes["west"]["properties"] |= {"resource": "West", "layer": 2, "image_id": f"aws://{REGION}/{IMAGE}"}
    nodes["west"]["properties"]["flavor"] = "t3.small"
    file.write_text(json.dumps(content), encoding="utf-8")
    apply(deploy, file)
    places = {address: record.provider for address, record in records().items()}
    assert places == {"cloud[0]": f"openstack/{PLACE}", "west[0]": f"aws/{REGION}"}
    assert len(ids(ground)) == len(instances()) == 1
    assert "No drift" in deploy("status", "shop", "--drift")
    for address in places:
        deploy("ssh", "shop", address, "--", "true")
    deploy("destroy", "shop", "--auto-approve")
    for place in places.values():
        assert "Nothing that no state here knows" in deploy("sweep", "--provider", place)
    assert (ids(ground), instances()) == (set(), [])
