"""The benchmark of clouds makes the same calls on both sides; its figures themselves are nobody's test."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any
from uuid import UUID

import boto3
import openstack
import pytest
import yaml

from orchestrator.providers.base import Access
from scripts import bench_clouds_aws, bench_clouds_openstack
from scripts.bench_clouds_openstack import POLLS, Call, Replay, measure_bare, measure_ours, plan
from scripts.bench_clouds_sides import PHASES, Part, Result, Turn, requests_for, run_ours
from tests.contract.aws_bed import REGION
from tests.moto_server import aws_settings
from tests.unit.providers.openstack.cloud_standin import FLAVOR, PROJECT, cloud_standin
from tests.unit.providers.openstack.cloud_standin import IMAGE as MADE_FROM
from tests.unit.providers.openstack.cloud_standin import NETWORK as GIVEN


@pytest.fixture(scope="module")
def bench_clouds(repository: Path) -> ModuleType:
    spec = spec_from_file_location("bench_clouds", repository / "scripts" / "bench_clouds.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["bench_clouds"] = module
    spec.loader.exec_module(module)
    return module


def test_what_was_recorded_is_made_again_and_nothing_is_left(aws_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    aws_settings(monkeypatch, aws_server)
    requests = requests_for("", 3, f"aws://{REGION}/{bench_clouds_aws.IMAGE}", "t3.small")
    ours, bare = bench_clouds_aws.Recorder(), bench_clouds_aws.Recorder()
    with ours.watching():
        seconds = run_ours(f"aws/{REGION}", requests, ours.begin)
    assert set(seconds) == set(PHASES)
    calls = [call for call in ours.calls if call.phase]
    client = boto3.session.Session().client("ec2", region_name=REGION)
    replay = bench_clouds_aws.Replay(client, 4)
    with bare.watching():
        for phase in PHASES:
            replay.run([call for call in calls if call.phase == phase])
    assert sorted(call.operation for call in bare.calls) == sorted(call.operation for call in calls)
    made = [call for call in bare.calls if call.operation == "RunInstances"]
    assert len(made) == 3
    assert not {one for call in made for one in call.ids} & {one for call in calls for one in call.ids}
    filters: list[Any] = [{"Name": "tag:continuum:lineage", "Values": [requests[0].deployment.lineage]}]
    assert client.describe_vpcs(Filters=filters)["Vpcs"] == []
    alive = [*filters, {"Name": "instance-state-name", "Values": ["pending", "running"]}]
    assert client.describe_instances(Filters=alive)["Reservations"] == []


# ----------------------------------------------------------------------------------------------------------- OpenStack


def _id(number: int) -> str:
    return str(UUID(int=number))


IMAGE, NETWORK, SUBNET, GROUP, SERVER, PORT, ADDRESS = (_id(number) for number in range(1, 8))


def _call(method: str, path: str, body: Any = None, answer: Any = None, **more: Any) -> Call:
    is_nova = path.startswith("/servers")
    service = "http://nova:1/v2.1" if is_nova else "http://neutron:1/v2.0"
    phase, is_poll = more.pop("phase", "up"), more.pop("is_poll", False)
    return Call(phase, method, service, path, body, is_poll, "2.61" if is_nova else None, 200, answer)


def _recorded() -> list[Call]:
    """A server in a network, and a floating address at its port."""
    asked = {"server": {"imageRef": IMAGE, "networks": [{"uuid": NETWORK}], "security_groups": [{"name": GROUP}]}}
    port = {"id": PORT, "device_id": SERVER, "device_owner": "compute:nova", "network_id": NETWORK}
    return [
        _call("GET", "/images", None, {"images": [{"id": IMAGE}]}),
        _call("POST", "/networks", {"network": {"name": "own"}}, {"network": {"id": NETWORK}}),
        _call("PUT", f"/networks/{NETWORK}/tags", {"tags": ["one"]}, {"tags": ["one"]}),
        _call("POST", "/subnets", {"subnet": {"network_id": NETWORK}}, {"subnet": {"id": SUBNET}}),
        _call("POST", "/security-groups", {"security_group": {}}, {"security_group": {"id": GROUP}}),
        _call("POST", "/servers", asked, {"server": {"id": SERVER}}),
        _call("GET", f"/servers/{SERVER}", None, {"server": {"id": SERVER, "status": "BUILD"}}, is_poll=True),
        _call("GET", f"/servers/{SERVER}", None, {"server": {"id": SERVER, "status": "ACTIVE"}}, is_poll=True),
        _call("GET", "/ports", None, {"ports": [port]}),
        _call("POST", "/floatingips", {"floatingip": {"port_id": PORT}}, {"floatingip": {"id": ADDRESS}}),
        _call("PUT", f"/floatingips/{ADDRESS}/tags", {"tags": [f"machine={SERVER}"]}, {}),
        _call("DELETE", f"/servers/{SERVER}", phase="down"),
        _call("GET", f"/servers/{SERVER}", None, None, phase="down", is_poll=True),
        _call("DELETE", f"/floatingips/{ADDRESS}", phase="down"),
        _call("DELETE", f"/security-groups/{GROUP}", phase="down"),
        _call("DELETE", f"/subnets/{SUBNET}", phase="down"),
        _call("DELETE", f"/networks/{NETWORK}", phase="down"),
    ]


@dataclass
class _Answer:
    told: Any
    status_code: int = 200
    text: str = "as the test wants it"
    content: bytes = b"{}"

    def json(self) -> Any:
        return self.told


@dataclass
class _Sdk:
    """Answers as OpenStack does, with identifiers of its own; a server runs, and is gone, at the third look."""

    refuses: str = ""
    sent: list[tuple[str, str, Any]] = field(default_factory=list)
    looks: int = 0
    lock: Any = field(default_factory=Lock)

    def request(self, url: str, method: str, **more: Any) -> _Answer:
        service, path = url.partition("/v2.")[0], url.partition("/v2.")[2][1:]
        assert (service, more["microversion"]) in {("http://nova:1", "2.61"), ("http://neutron:1", None)}
        with self.lock:
            return self.answer(method, path, more.get("json"))

    def answer(self, method: str, path: str, body: Any) -> _Answer:
        self.sent.append((method, path, body))
        if f"{method} {path}" == self.refuses:
            return _Answer(None, 400)
        done = {f"{method} {path}" for method, path, _ in self.sent}
        server = next((_id(100 + n) for n, (m, p, _) in enumerate(self.sent) if (m, p) == ("POST", "/servers")), "")
        self.looks = self.looks + 1 if path == "/servers/detail" else 0 if "/servers" in path else self.looks
        runs = self.looks >= 3
        if path == "/servers/detail":
            is_gone = runs and f"DELETE /servers/{server}" in done
            states = [] if is_gone or not server else [{"id": server, "status": "ACTIVE" if runs else "BUILD"}]
            return _Answer({"servers": states})
        if path == "/ports":
            assert runs, "a server has no port before it runs"
            return _Answer({"ports": [{"id": _id(50), "device_id": _id(99)}, self._port(server)]})
        kind = path.rpartition("/")[2].removesuffix("s").replace("-", "_")
        made = {kind: {"id": _id(99 + len(self.sent))}} if method == "POST" else {}
        return _Answer(made)

    def _port(self, server: str) -> dict[str, str]:
        return {"id": _id(51), "device_id": server, "device_owner": "compute:nova"}


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_clouds_openstack, "POLL_PAUSE", 0.01)


def _again(sdk: _Sdk, recorded: Sequence[Call], threads: int = 8) -> list[tuple[str, str, Any]]:
    replay = Replay(sdk, plan(recorded), threads)
    for phase in ("up", "down"):
        replay.run(phase)
    return sdk.sent


@pytest.mark.usefixtures("_fast")
def test_calls_to_openstack_are_made_again_with_what_came_of_those_before_them() -> None:
    sent = _again(_Sdk(), _recorded())
    recorded = [call for call in _recorded() if not call.is_poll]
    again = [one for one in sent if one[1] != "/servers/detail"]
    operations = [f"{method} {bench_clouds_openstack._ID.sub('*', path)}" for method, path, _ in again]
    assert sorted(operations) == sorted(call.operation for call in recorded)
    named = set(bench_clouds_openstack._ID.findall(json.dumps(sent)))
    assert named & {NETWORK, SUBNET, GROUP, SERVER, PORT, ADDRESS} == set(), "those were the others'"
    assert IMAGE in named, "it was there before"
    (address,) = [body for method, path, body in again if (method, path) == ("POST", "/floatingips")]
    assert address == {"floatingip": {"port_id": _id(51)}}


@pytest.mark.usefixtures("_fast")
def test_what_the_provider_sends_is_what_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    settings = tmp_path / "clouds.yaml"
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(settings))
    with cloud_standin() as cloud:
        auth = {"auth_url": f"{cloud.url}/identity/v3", "username": "me", "password": "swordfish"}
        auth |= {"project_id": PROJECT, "user_domain_id": "d"}
        settings.write_text(yaml.safe_dump({"clouds": {"one": {"auth_type": "v3password", "auth": auth}}}))
        cloud.parts["networks"] = {GIVEN: {"id": GIVEN, "name": "mine"}}
        inside = {"settings": {"network": GIVEN}, "access": Access("bench", public=False)}
        requests = [replace(r, **inside) for r in requests_for("", 4, f"ost://{cloud.host}/{MADE_FROM}", FLAVOR)]
        ours, calls = measure_ours(f"openstack/{cloud.host}", requests)
        with openstack.connect(cloud="one") as connection:
            bare = measure_bare(connection, calls, threads=4)
    assert {"first", "up", "look", "down"} == set(ours.seconds) == set(bare.seconds)
    same, again = ({o: n for o, n in part.calls.items() if not o.endswith(POLLS)} for part in (ours, bare))
    assert again == same
    assert again["POST /servers"] == again["DELETE /servers/*"] == 4
    assert (cloud.servers, cloud.keys, cloud.parts["security_groups"]) == ({}, {}, {})


@pytest.mark.usefixtures("_fast")
def test_nothing_waits_but_for_what_it_needs() -> None:
    steps = plan(_recorded())
    needs = {step.call.operation: {steps[n].call.operation for n in step.needs} for step in steps}
    assert needs["GET /images"] == needs["POST /networks"] == needs["POST /security-groups"] == set()
    assert needs["POST /servers"] == {"POST /networks", "POST /subnets", "POST /security-groups"}, "an image is there"
    assert needs["PUT /networks/*/tags"] == {"POST /networks"}
    assert needs["POST /floatingips"] == {"GET /ports"}
    assert needs["DELETE /subnets/*"] == {"POST /subnets"}


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize("threads", [1, 8])
def test_servers_are_waited_for_as_often_as_it_takes(threads: int) -> None:
    order = [f"{method} {path}" for method, path, _ in _again(_Sdk(), _recorded(), threads)]
    looks = [number for number, one in enumerate(order) if one == "GET /servers/detail"]
    assert len(looks) == 6
    assert looks[2] < order.index("GET /ports")
    held = [number for number, one in enumerate(order) if one.startswith(("DELETE /sub", "DELETE /net", "DELETE /sec"))]
    assert looks[5] < min(held)


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize("refused", ["POST /networks", "POST /servers", "GET /ports"])
def test_a_call_that_is_refused_is_no_measurement(refused: str) -> None:
    with pytest.raises(RuntimeError, match=r"was answered with 400|in the place of"):
        _again(_Sdk(refused), _recorded())


def test_polls_are_told_apart_and_counted() -> None:
    recorder = bench_clouds_openstack.Recorder()
    recorder.calls = _recorded()
    assert recorder.counted["GET /servers/* to wait"] == 3
    assert recorder.counted["DELETE /servers/*"] == 1


# ------------------------------------------------------------------------------------------------------------- figures


def _turn(ours: float, bare: float) -> Turn:
    return Turn(Part({"first": 0.0, "up": ours, "look": 9.0, "down": 1.0}), Part(dict.fromkeys(PHASES, bare)))


def test_the_turn_in_the_middle_counts_and_a_look_is_no_part_of_it(bench_clouds: ModuleType) -> None:
    turns = [_turn(8.0, 1.0), _turn(2.0, 1.0), _turn(2.0, 2.0)]
    for turn in turns:
        turn.ours.calls = turn.bare.calls = {"RunInstances": 3}
    result = Result("aws", 3, turns)
    assert result.ratios == [0.5, 1.0, 3.0]
    assert result.told == {
        "provider": "aws",
        "machines": 3,
        "ratio": 1.0,
        "ratios": [0.5, 1.0, 3.0],
        "calls": {"ours": 3, "bare": 3},
    }
    assert "0.50, 1.00, 3.00" in bench_clouds.render(result)
    assert Result("aws", 3, turns[:2]).middle is turns[0], "of two the worse one"
