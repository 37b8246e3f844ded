#!/usr/bin/env python3
"""Measures machines of clouds: calls made and time taken for many of them up and down, beside the bare SDK.

Nothing boots: AWS is moto's server in a process of its own, OpenStack the control plane that `make test-systems` uses.
The program's part is what a provider does, asked by as many threads as an apply would use. The bare SDK's part is, for
AWS, boto3 making the very calls again that were recorded, by as many threads, each as soon as there is what it names;
for OpenStack, openstacksdk making and removing as many servers in a plain program. They take turns; the best counts.

`scripts/bench` takes the figures from `--json`; run alone it prints a table.

Usage: bench_clouds.py [--provider aws|openstack] [--machines N] [--turns N] [--json] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from orchestrator.errors import ProviderError  # noqa: E402
from orchestrator.providers.base import (  # noqa: E402
    Access,
    DeploymentTag,
    Machine,
    MachineProvider,
    MachineRequest,
)
from orchestrator.providers.registry import load_provider, parallel_limit  # noqa: E402
from orchestrator.remote.keys import generate_key  # noqa: E402

MACHINES = {"aws": 100, "openstack": 20}
REGION, IMAGE, FLAVOR = "eu-central-1", "ami-076f415166b04f5fe", "t3.small"
"""An image that moto knows in every region."""

SSH_FROM = ("203.0.113.7/32",)
_ATTEMPTS = 5
PHASES = ("first", "up", "look", "down")
"""The first machine with all that they share, through which an apply reaches the others; these; a refresh; all gone."""

_OF_MACHINES = {"RunInstances", "AssociateAddress", "TerminateInstances"}
"""Operations that are about single machines: any number at the same time, once there is what they name."""

_ID = re.compile(r"\b(?:vpc|subnet|igw|rtb|sg|sgr|key|eipalloc|eipassoc|nat|rtbassoc|vol|eni|i)-[0-9a-f]{8,17}\b")


@dataclass
class Part:
    """What one side took: seconds by phase, and how often each operation was called."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds of all but the look."""
        return sum(seconds for name, seconds in self.seconds.items() if name != "look")


@dataclass
class Result:
    """Both sides, the best of several turns."""

    provider: str
    machines: int
    ours: Part
    bare: Part

    @property
    def ratio(self) -> float:
        """1 is what nobody beats who makes the same calls."""
        return self.ours.total / self.bare.total


@dataclass
class Call:
    """A call of boto3 that was made."""

    phase: str
    operation: str
    arguments: Mapping[str, Any]
    ids: list[str] = field(default_factory=list)

    @property
    def is_look(self) -> bool:
        """Whether it finds nothing that is named later: nobody makes the main route table of a network by himself."""
        return self.operation.startswith("Describe") and self.operation != "DescribeRouteTables"


class Recorder:
    """Writes down all calls of boto3."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.phase = ""
        self._lock = Lock()

    def begin(self, phase: str) -> None:
        """What is called from now on is of that phase; of none if it has no name."""
        self.phase = phase

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For the time of the block."""
        from botocore.client import BaseClient

        real = BaseClient._make_api_call

        def watched(client: Any, operation: str, arguments: Any) -> Any:
            call = Call(self.phase, operation, arguments)
            with self._lock:
                self.calls.append(call)
            answer = real(client, operation, arguments)
            if not call.is_look:
                call.ids = _ids(answer)
            return answer

        BaseClient._make_api_call = watched
        try:
            yield
        finally:
            BaseClient._make_api_call = real


def repeated(act: Callable[[], Any]) -> Any:
    """What comes of it; the emulator fails now and then while it is asked and changed at the same time."""
    from botocore.exceptions import BotoCoreError, ClientError

    for _ in range(_ATTEMPTS):
        try:
            return act()
        except (BotoCoreError, ClientError) as problem:
            status = getattr(problem, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            if status < 500:
                raise
        except ProviderError as problem:
            if not problem.transient:
                raise
    return act()


def _ids(value: object) -> list[str]:
    """All identifiers, each once, in the order of the answer."""
    return list(dict.fromkeys(_ID.findall(json.dumps(value, default=str))))


class Replay:
    """Makes recorded calls again with nothing but boto3; what they name is what came of the calls before them."""

    def __init__(self, client: Any, threads: int) -> None:
        self._client = client
        self._threads = threads
        self._made: dict[str, Future[dict[str, str]]] = {}

    def run(self, calls: Sequence[Call]) -> float:
        """Make these calls; seconds."""
        started = time.perf_counter()
        # What is removed after the machines is held by them, and by what is removed before it.
        clears = max((n for n, c in enumerate(calls) if c.operation == "TerminateInstances"), default=len(calls))
        with ThreadPoolExecutor(self._threads) as pool:
            futures: list[Future[dict[str, str]]] = []
            changes: list[Future[dict[str, str]]] = []
            for number, call in enumerate(calls):
                is_look, is_shared = call.is_look, call.operation not in _OF_MACHINES
                first = changes if number > clears else changes[-1:] if is_shared and not is_look else []
                future = pool.submit(self._make, call, tuple(first))
                futures.append(future)
                if not is_look and (is_shared or number <= clears < len(calls)):
                    changes.append(future)
                for one in call.ids:
                    self._made.setdefault(one, future)
            for future in futures:
                future.result()
        return time.perf_counter() - started

    def _make(self, call: Call, first: Sequence[Future[dict[str, str]]]) -> dict[str, str]:
        for future in first:
            future.result()
        arguments = self._named(call.arguments)
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", call.operation).lower()
        answer = repeated(lambda: getattr(self._client, name)(**arguments))
        return dict(zip(call.ids, _ids(answer) if call.ids else [], strict=True))

    def _named(self, value: Any) -> Any:
        """The arguments with what they name as it is called now."""
        if isinstance(value, Mapping):
            return {key: self._named(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._named(item) for item in value]
        if isinstance(value, str) and value in self._made:
            return self._made[value].result()[value]
        return value


def requests_for(cloud: str, count: int, image: str, flavor: str) -> list[MachineRequest]:
    """Machines of one resource: the first one leads to the others."""
    lineage = uuid.uuid4().hex
    deployment = DeploymentTag(f"bench-{lineage[:8]}", lineage)
    private, public = generate_key()
    return [
        MachineRequest(
            deployment=deployment,
            address=f"bench[{number}]",
            token=f"{lineage}-{number}",
            hostname=f"bench-{number}",
            architecture="amd64",
            cpus=1,
            memory_mb=512,
            authorized_key=public,
            image=image,
            flavor=flavor,
            access=Access("bench", SSH_FROM, public=number == 0, jump="bench[0]" if number else ""),
            host_key=private,
            place=cloud,
        )
        for number in range(count)
    ]


def run_ours(name: str, requests: Sequence[MachineRequest], phase: Callable[[str], None]) -> dict[str, float]:
    """Make the machines, look at them once, remove them with everything else; seconds by phase."""
    provider: MachineProvider = load_provider(name)
    deployment = requests[0].deployment
    seconds: dict[str, float] = {}

    def timed(name: str, act: Callable[[], Any]) -> Any:
        phase(name)
        started = time.perf_counter()
        answer = act()
        seconds[name] = time.perf_counter() - started
        return answer

    def up() -> list[str]:
        with ThreadPoolExecutor(parallel_limit(name)) as pool:
            return [machine.id for machine in pool.map(create, requests[1:])]

    def down() -> None:
        with ThreadPoolExecutor(parallel_limit(name)) as pool:
            list(pool.map(lambda machine: repeated(lambda: provider.delete(machine)), made))
        repeated(lambda: provider.release(deployment))

    def create(request: MachineRequest) -> Machine:
        machine: Machine = repeated(lambda: provider.create(request))
        return machine

    provider.find(deployment)  # logs in, and loads the library
    made = [timed("first", lambda: create(requests[0])).id, *timed("up", up)]
    found = timed("look", lambda: provider.find(deployment))
    timed("down", down)
    phase("")
    if len(found) != len(requests) or provider.leftovers(deployment):
        raise RuntimeError(f"{len(found)} of {len(requests)} machines were found, or something is left")
    return seconds


def measure_aws(machines: int, turns: int) -> Result:
    """At moto's server: a new one for each side and turn, since it keeps what was removed in its lists."""
    import boto3
    from botocore.config import Config

    from tests.moto_server import moto_process

    threads = parallel_limit(f"aws/{REGION}")
    config = Config(max_pool_connections=threads, retries={"total_max_attempts": 1})
    found: list[Result] = []
    for turn in range(turns + 1):
        recorder = Recorder()
        requests = requests_for("", machines, f"aws://{REGION}/{IMAGE}", FLAVOR)
        with moto_process() as url, _environment("AWS_", _aws_settings(url)), recorder.watching():
            seconds = run_ours(f"aws/{REGION}", requests, recorder.begin)
        calls = [call for call in recorder.calls if call.phase]
        ours = Part(seconds, dict(Counter(call.operation for call in calls)))
        with moto_process() as url, _environment("AWS_", _aws_settings(url)):
            client = boto3.session.Session().client("ec2", region_name=REGION, config=config)
            client.describe_vpcs()
            replay = Replay(client, threads)
            bare = Part({p: replay.run([c for c in calls if c.phase == p]) for p in PHASES}, ours.calls)
        # The first turn loads what is loaded once.
        if turn:
            found.append(Result("aws", machines, ours, bare))
    return best_of(found)


def best_of(found: Sequence[Result]) -> Result:
    """The best of each side."""
    ours = min((result.ours for result in found), key=lambda part: part.total)
    bare = min((result.bare for result in found), key=lambda part: part.total)
    return Result(found[0].provider, found[0].machines, ours, bare)


def _aws_settings(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@contextmanager
def _environment(prefix: str, settings: Mapping[str, str]) -> Iterator[None]:
    """Variables for the time of the block, in the place of all others that begin so."""
    before = {name: value for name, value in os.environ.items() if name.startswith(prefix)}
    for name in before:
        del os.environ[name]
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            os.environ.pop(name, None)
        os.environ.update(before)


class Requests:
    """Counts what is sent over HTTP by the SDK for OpenStack."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.counts = False
        self._lock = Lock()

    def begin(self, phase: str) -> None:
        """Count from now on; no longer if the phase has no name."""
        self.counts = bool(phase)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For the time of the block."""
        import requests

        real = requests.Session.send

        def watched(session: Any, prepared: Any, **more: Any) -> Any:
            if self.counts:
                path = re.sub(r"\?.*|https?://[^/]*", "", str(prepared.url))
                kind = re.sub(r"/[0-9a-f]{8}-?[0-9a-f-]{24,}|(?<=/os-keypairs)/.*", "/*", path)
                with self._lock:
                    self.made[f"{prepared.method} {kind}"] += 1
            return real(session, prepared, **more)

        requests.Session.send = watched  # type: ignore[method-assign]
        try:
            yield
        finally:
            requests.Session.send = real  # type: ignore[method-assign]


def measure_openstack(machines: int, turns: int) -> Result:
    """At a control plane of our own, whose computers are none."""
    from tests.contract.openstack_bed import FLAVOR as SIZE
    from tests.contract.openstack_bed import PLACE, OpenStackGround
    from tests.systems.openstack_bed import bed

    environment = ROOT / os.environ.get("SYSTEMS_VENV", ".venv-systems")
    python, lock = environment / "bin" / "python", ROOT / "requirements-systems.lock"
    if not python.is_file() or bed.missing():
        raise RuntimeError(bed.missing() or f"{environment.name} is not there: run `scripts/bootstrap systems` first")
    found: list[Result] = []
    with ExitStack() as stack:
        cloud = stack.enter_context(bed.running(python, lock))
        stack.enter_context(_environment("OS_", cloud.environment))
        watched = Requests()
        stack.enter_context(watched.watching())
        connection = stack.enter_context(cloud.connection())
        image = OpenStackGround(DeploymentTag("bench", "bench"), cloud, connection).image()
        threads = parallel_limit(f"openstack/{PLACE}")
        for turn in range(turns + 1):
            watched.made = Counter()
            requests = requests_for("", machines, f"ost://{PLACE}/{image}", SIZE)
            seconds = run_ours(f"openstack/{PLACE}", requests, watched.begin)
            ours = Part(seconds, dict(watched.made))
            watched.made, watched.counts = Counter(), True
            seconds = run_bare_openstack(connection, machines, image, SIZE, threads)
            watched.counts = False
            bare = Part(seconds, dict(watched.made))
            if turn:
                found.append(Result("openstack", machines, ours, bare))
    return best_of(found)


def run_bare_openstack(connection: Any, count: int, image: str, size: str, threads: int) -> dict[str, float]:
    """Network, router, rules, key and servers, as a plain program makes and removes them; seconds by phase."""
    network, compute = connection.network, connection.compute
    name = f"bare-{uuid.uuid4().hex[:8]}"
    flavor = compute.find_flavor(size, ignore_missing=False)
    outside = next(iter(network.networks(is_router_external=True)))
    started = time.perf_counter()
    own = network.create_network(name=name)
    subnet = network.create_subnet(network_id=own.id, ip_version=4, cidr="10.64.0.0/16", name=name)
    router = network.create_router(name=name, external_gateway_info={"network_id": outside.id})
    network.add_interface_to_router(router, subnet_id=subnet.id)
    group = network.create_security_group(name=name)
    for protocol, first, last in (("tcp", 22, 22), ("tcp", 6443, 6443), ("udp", 8472, 8472)):
        network.create_security_group_rule(
            security_group_id=group.id,
            direction="ingress",
            ether_type="IPv4",
            protocol=protocol,
            port_range_min=first,
            port_range_max=last,
            remote_ip_prefix=SSH_FROM[0],
        )
    key = compute.create_keypair(name=name)

    def make(number: int) -> Any:
        server = compute.create_server(
            name=f"{name}-{number}",
            image_id=image,
            flavor_id=flavor.id,
            key_name=key.name,
            networks=[{"uuid": own.id}],
            security_groups=[{"name": group.id}],
            metadata={"bench": name},
        )
        return compute.wait_for_server(server, interval=1)

    with ThreadPoolExecutor(threads) as pool:
        servers = list(pool.map(make, range(count)))
    port = next(iter(network.ports(device_id=servers[0].id)))
    address = network.create_ip(floating_network_id=outside.id, port_id=port.id)
    seconds = {"up": time.perf_counter() - started}
    started = time.perf_counter()
    list(compute.servers(details=True))
    seconds["look"] = time.perf_counter() - started
    started = time.perf_counter()

    def remove(server: Any) -> None:
        compute.delete_server(server)
        compute.wait_for_delete(server, interval=1)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(remove, servers))
    network.delete_ip(address)
    compute.delete_keypair(key)
    network.remove_interface_from_router(router, subnet_id=subnet.id)
    network.delete_router(router)
    network.delete_network(own)
    network.delete_security_group(group)
    return seconds | {"down": time.perf_counter() - started}


MEASURES = {"aws": measure_aws, "openstack": measure_openstack}


def render(result: Result) -> str:
    """A table."""
    lines = [f"{result.machines} machines at {result.provider}", f"{'':10}  ours s  bare s  ratio"]
    for name in (*PHASES, "up + down"):
        ours, bare = (p.total if name == "up + down" else p.seconds.get(name, 0.0) for p in (result.ours, result.bare))
        # A plain program has no first machine that it waits for.
        lines.append(f"{name:10}  {ours:6.2f}  " + (f"{bare:6.2f}  {ours / bare:5.2f}" if bare else f"{'-':>6}"))
    operations = sorted({*result.ours.calls, *result.bare.calls}, key=lambda o: -result.ours.calls.get(o, 0))
    width = max(map(len, operations))
    lines += ["", f"{'calls':{width}}  ours  bare"]
    calls = [(o, result.ours.calls.get(o, 0), result.bare.calls.get(o, 0)) for o in operations]
    calls.append(("all", sum(result.ours.calls.values()), sum(result.bare.calls.values())))
    return "\n".join([*lines, *(f"{o:{width}}  {ours:4}  {bare:4}" for o, ours, bare in calls)])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=sorted(MEASURES), default="aws")
    parser.add_argument("--machines", type=int, metavar="N")
    parser.add_argument("--turns", type=int, default=2, metavar="N")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true", help="where this process computes, of all turns")
    args = parser.parse_args()
    profile = cProfile.Profile()
    if args.profile:
        profile.enable()
    try:
        result = MEASURES[args.provider](args.machines or MACHINES[args.provider], args.turns)
    except RuntimeError as problem:
        print(f"Could not measure: {problem}", file=sys.stderr)
        return 1
    if args.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
    print(json.dumps(asdict(result) | {"ratio": result.ratio}) if args.json else render(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
