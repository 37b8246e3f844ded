"""SIGKILL of a real `deploy apply` while it makes ten machines at a cloud: the next run finishes, nothing doubled."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from tests.contract.aws_bed import OPEN, REGION
from tests.faulty_api import FaultyApi, faulty_api
from tests.http_server import serving
from tests.moto_server import aws_settings, moto_process
from tests.unit.recovery.guests import Guests, guests
from tests.unit.recovery.test_clouds import FROM, template

ROOT = Path(__file__).resolve().parent.parent.parent.parent
LISTS = {
    "describe_vpcs": "Vpcs",
    "describe_subnets": "Subnets",
    "describe_internet_gateways": "InternetGateways",
    "describe_route_tables": "RouteTables",
    "describe_addresses": "Addresses",
    "describe_security_groups": "SecurityGroups",
    "describe_key_pairs": "KeyPairs",
    "describe_volumes": "Volumes",
}
SHARED = {"describe_vpcs": 1, "describe_subnets": 2, "describe_internet_gateways": 1, "describe_route_tables": 1}
SHARED |= {"describe_addresses": 2, "describe_security_groups": 2, "describe_key_pairs": 1}
"""What ten machines behind one share; the addresses are those of the first one and of the NAT gateway."""


class Cloud:
    """AWS as it is seen past the program, and the guests of its machines."""

    def __init__(self, url: str, api: FaultyApi) -> None:
        self.api = api
        self.client: Any = boto3.session.Session().client("ec2", region_name=REGION, endpoint_url=url)

    def instances(self) -> dict[str, str]:
        """Address by identifier, of all that are there."""
        found = self.client.describe_instances(Filters=[OPEN])["Reservations"]
        return {
            i["InstanceId"]: next(t["Value"] for t in i["Tags"] if t["Key"] == "continuum:address")
            for reservation in found
            for i in reservation["Instances"]
        }

    def ours(self) -> dict[str, int]:
        """How many parts of each kind carry our tags."""
        filters = [{"Name": "tag-key", "Values": ["continuum:lineage"]}]
        return {name: len(getattr(self.client, name)(Filters=filters)[key]) for name, key in LISTS.items()}

    def nat_gateways(self) -> int:
        """How many there are."""
        return len([g for g in self.client.describe_nat_gateways()["NatGateways"] if g["State"] == "available"])

    def user_data(self, machine: Any, _: object) -> str:
        """What the guest is told at its first start."""
        told = self.client.describe_instance_attribute(InstanceId=machine.id, Attribute="userData")
        return base64.b64decode(told["UserData"]["Value"]).decode()


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """An emulator of AWS that is a process of its own, with a proxy before it, and whoever boots guests."""
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "guests").mkdir()
    with moto_process() as url, faulty_api(url) as api:
        aws_settings(monkeypatch, api.url)
        cloud = Cloud(url, api)
        with guests(tmp_path / "guests", cloud.user_data) as running, booting(running) as boots_at:
            monkeypatch.setenv("GUESTS_URL", boots_at)
            yield cloud


def booting(running: Guests) -> Any:
    """A server that boots the guest that it is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            machine = SimpleNamespace(id=self.path.strip("/"))
            running.boot(machine, None)  # type: ignore[arg-type]
            content = str(running.servers[machine.id].port).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    return serving(Handler)


def start(folder: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """A command as a process of its own, the first of its group."""
    command = [sys.executable, "-m", "tests.unit.recovery.deploy_over_guests", *map(str, arguments)]
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def deploy(folder: Path, *arguments: object) -> str:
    """Run a command to its end; what it said."""
    code = start(folder, *arguments).wait(240)
    told = (folder / "output").read_text(encoding="utf-8")
    assert code == 0, told
    return told


@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_what_was_killed_while_it_made_ten_machines_is_finished_and_nothing_doubled(
    cloud: Cloud, tmp_path: Path, number: int
) -> None:
    """The cloud has carried out the order, and whoever gave it is dead before the answer."""
    file = template(tmp_path, 10)
    running: list[subprocess.Popen[bytes]] = []

    def kill(answer: bytes) -> bytes:
        os.killpg(running[0].pid, signal.SIGKILL)
        return answer

    cloud.api.change("RunInstances", kill, skip=number)  # the first is only a try whether there is the right to
    apply = ("apply", file, *FROM, "--auto-approve")
    running.append(start(tmp_path, *apply, "--parallelism", 2))
    assert running[0].wait(240) == -signal.SIGKILL, (tmp_path / "output").read_text(encoding="utf-8")
    before = cloud.instances()
    assert number <= len(before) <= number + 1
    deploy(tmp_path, *apply)
    after = cloud.instances()
    assert before.items() <= after.items()
    assert Counter(after.values()) == {f"cloud[{n}]": 1 for n in range(10)}
    parts = cloud.ours()
    assert {name: parts[name] for name in SHARED} == SHARED
    assert cloud.nat_gateways() == 1
    assert cloud.api.count()["RunInstances"] == 10 + 2, "each machine is ordered once; each run tried once"
    assert "No drift" in deploy(tmp_path, "status", "shop", "--drift")
    deploy(tmp_path, "destroy", "shop", "--auto-approve")
    assert cloud.instances() == {}
    assert {name: number for name, number in cloud.ours().items() if number} == {}
    assert cloud.nat_gateways() == 0
