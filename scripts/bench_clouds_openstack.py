"""Machines of OpenStack, at a control plane of our own: the provider, and openstacksdk making its calls again."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock, local
from typing import Any

from orchestrator.providers import waiting
from orchestrator.providers.base import DeploymentTag
from orchestrator.providers.registry import load_provider, parallel_limit
from scripts.bench_clouds_sides import ATTEMPTS, PHASES, Part, Result, Turn, environment, requests_for, run_ours

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ROOT / os.environ.get("SYSTEMS_VENV", ".venv-systems")
POLL_PAUSE = 0.5
"""Seconds between two looks of the bare SDK at servers that it waits for: the shortest pause of the provider."""
POLLS = " to wait"
"""What distinguishes looks that wait for a server from others, where calls are counted."""

Polling = Callable[[Callable[[], Any]], Any]
_LONGEST = 300.0
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BASE = re.compile(r"https?://[^/]+(?:(?:/[^/]+)??/v\d[\d.]*(?=/))?")

_SERVER, _END, _PORTS = "POST /servers", "DELETE /servers/*", "GET /ports"
_JOIN, _LEAVE = "PUT /routers/*/add_router_interface", "PUT /routers/*/remove_router_interface"
_AFTER = {
    _SERVER: {"POST /subnets", "POST /os-keypairs"},
    _PORTS: {_JOIN},
    "POST /floatingips": {_JOIN},
    _LEAVE: {"DELETE /floatingips/*"},
    "DELETE /routers/*": {_LEAVE},
    "DELETE /subnets/*": {_LEAVE},
    "DELETE /networks/*": {"DELETE /subnets/*"},
}
"""What has to be done before besides what makes that which a call names: servers need a subnet, for example."""

_WITHOUT_SERVERS = {"DELETE /security-groups/*", "DELETE /subnets/*", "DELETE /networks/*"}
"""What servers hold until they are gone."""


@dataclass
class Call:
    """A call of the SDK that was made.

    Attributes:
        phase: When.
        method: Of HTTP.
        service: Where, with the version.
        path: What follows.
        body: What was sent.
        is_poll: Whether it was made to see if something has come to an end.
        microversion: Of nova.
        status: Of the answer.
        answer: What came back.
    """

    phase: str
    method: str
    service: str
    path: str
    body: Any
    is_poll: bool
    microversion: str | None = None
    status: int = 0
    answer: Any = None

    @property
    def operation(self) -> str:
        """Method and path, with a star for each identifier or name."""
        path = re.sub(f"{_ID.pattern}|[0-9a-f]{{32}}", "*", self.path.partition("?")[0])
        return f"{self.method} {re.sub('(?<=/os-keypairs)/.*', '/*', path)}"

    @property
    def named(self) -> set[str]:
        """All identifiers that it names."""
        return set(_ID.findall(self.path + json.dumps(self.body)))


class Recorder:
    """Writes down all that is sent over HTTP."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.phase = ""
        self._lock = Lock()
        self._thread = local()

    def begin(self, phase: str) -> None:
        """What is sent from now on is of that phase; of none if it has no name."""
        self.phase = phase

    @property
    def counted(self) -> dict[str, int]:
        """How often each operation was called."""
        return dict(Counter(call.operation + POLLS * call.is_poll for call in self.calls))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For the time of the block."""
        import requests

        load_provider("openstack")  # so that all that waits is there to be watched
        real, waits = requests.Session.send, waiting.wait_for
        own = [m for name, m in sys.modules.items() if name.startswith("orchestrator.") and hasattr(m, "wait_for")]

        def watched(session: Any, prepared: Any, **more: Any) -> Any:
            service = _BASE.match(prepared.url).group()  # type: ignore[union-attr]
            path, is_poll = prepared.url.removeprefix(service), getattr(self._thread, "waits", False)
            body = json.loads(prepared.body) if prepared.body else None
            microversion = prepared.headers.get("X-OpenStack-Nova-API-Version")
            call = Call(self.phase, prepared.method, service, path, body, is_poll, microversion)
            if self.phase:
                with self._lock:
                    self.calls.append(call)
            response = real(session, prepared, **more)
            call.status = response.status_code
            if response.content and response.headers.get("Content-Type", "").startswith("application/json"):
                call.answer = response.json()
            return response

        requests.Session.send = watched  # type: ignore[method-assign]
        for module in own:
            module.wait_for = lambda look, *more, **named: waits(lambda: self.polling(look), *more, **named)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            requests.Session.send = real  # type: ignore[method-assign]
            for module in own:
                module.wait_for = waits  # type: ignore[attr-defined]

    def polling(self, look: Callable[[], Any]) -> Any:
        """What a look gives that sees if something has come to an end."""
        self._thread.waits = True
        try:
            return look()
        finally:
            self._thread.waits = False


def _told(answer: Any) -> Iterator[Mapping[str, Any]]:
    """Everything in an answer that has an identifier."""
    if isinstance(answer, Mapping):
        if isinstance(answer.get("id"), str) and _ID.fullmatch(answer["id"]):
            yield answer
        for value in answer.values():
            yield from _told(value)
    elif isinstance(answer, list):
        for value in answer:
            yield from _told(value)


@dataclass
class Step:
    """A call to be made again.

    Attributes:
        call: As it was recorded.
        needs: Which steps have to be over before it.
        servers: Which steps ask for servers that have to run before it.
        tells: What it tells that is named later and that nobody asked for by itself: the port of a server, say.
    """

    call: Call
    needs: set[int] = field(default_factory=set)
    servers: set[int] = field(default_factory=set)
    tells: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def plan(recorded: Sequence[Call]) -> list[Step]:
    """What of recorded calls is made again, in the order in which they were begun: none that waits, or that failed."""
    calls = [c for c in recorded if not c.is_poll and (c.method == "GET" or c.status < 400)]
    named = set[str]().union(*(call.named for call in calls))
    tellers: dict[str, int] = {}
    steps: list[Step] = []
    for number, call in enumerate(calls):
        step = Step(call, {tellers[one] for one in call.named & tellers.keys()})
        for item in _told(call.answer):
            around = set(_ID.findall(json.dumps({**item, "id": ""}))) & tellers.keys()
            # What was there before anything was made is known to everybody.
            if item["id"] not in named or item["id"] in tellers or not (call.method == "POST" or around):
                continue
            tellers[item["id"]] = number
            if call.method == "GET":
                step.tells[item["id"]] = item
                step.needs |= {tellers[one] for one in around} - {number}
        if call.method != "GET" or step.tells:
            after = _AFTER.get(call.operation, set())
            step.needs |= {n for n, other in enumerate(calls[:number]) if other.operation in after}
        step.servers = {n for n in step.needs if step.tells and calls[n].operation == _SERVER}
        steps.append(step)
    return steps


class Replay:
    """Makes recorded calls again with nothing but the SDK; what they name is what came of the calls before them.

    Args:
        session: Of openstacksdk.
        steps: What is to be done.
        threads: How many of them.
        polling: Makes each look at servers that are waited for.
    """

    def __init__(
        self, session: Any, steps: Sequence[Step], threads: int, polling: Polling = lambda look: look()
    ) -> None:
        self._session = session
        self._steps = steps
        self._threads = threads
        self._polling = polling
        self._now: dict[str, str] = {}
        self._over: dict[int, Future[None]] = {}
        self._running: dict[int, Future[None]] = {}
        self._gone: Future[None] = Future()

    def run(self, phase: str) -> float:
        """Make the calls of a phase; seconds."""
        numbers = [number for number, step in enumerate(self._steps) if step.call.phase == phase]
        made, ended = ([n for n in numbers if self._steps[n].call.operation == one] for one in (_SERVER, _END))
        self._running |= {number: Future() for number in made}
        started = time.perf_counter()
        with ThreadPoolExecutor(1) as watch, ThreadPoolExecutor(self._threads) as pool:
            for number in numbers:
                self._over[number] = pool.submit(self._make, self._steps[number])
            watches = [watch.submit(self._watch, made, self._see_running)] if made else []
            watches += [watch.submit(self._watch, ended, self._see_gone)] if ended else []
            for future in (*watches, *(self._over[number] for number in numbers)):
                future.result()
        return time.perf_counter() - started

    def _make(self, step: Step) -> None:
        for number in sorted(step.needs):
            self._over[number].result()
        for number in step.servers:
            self._running[number].result()
        if step.call.operation in _WITHOUT_SERVERS:
            self._gone.result()
        answer = self._send(step.call)
        if step.call.method == "POST":
            self._now |= _counterparts(step.call.answer, answer)
        for one, item in step.tells.items():
            self._now[one] = self._find(item, answer)

    def _send(self, call: Call) -> Any:
        path, body = self._renamed(call.path), self._renamed(call.body)
        for _ in range(ATTEMPTS):
            response = self._session.request(
                call.service + path,
                call.method,
                raise_exc=False,
                microversion=call.microversion,
                microversion_service_type="compute",
                **({} if body is None else {"json": body}),
            )
            if response.status_code < 400 or call.method == "GET":
                return response.json() if response.content and response.status_code < 400 else None
            if response.status_code not in {409, 500, 503}:
                break
        raise RuntimeError(f"{call.method} {path} was answered with {response.status_code}: {response.text[:500]}")

    def _renamed(self, value: Any) -> Any:
        """The same with what it names as it is called now."""
        if isinstance(value, Mapping):
            return {key: self._renamed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._renamed(item) for item in value]
        if isinstance(value, str):
            return _ID.sub(lambda found: self._now.get(found.group(), found.group()), value)
        return value

    def _find(self, item: Mapping[str, Any], answer: Any) -> str:
        """What is in the place of something that nobody asked for by itself."""
        wanted = {key: self._renamed(item.get(key)) for key in ("device_id", "device_owner", "name")}
        for one in _told(answer):
            if all(one.get(key) == value for key, value in wanted.items()):
                return str(one["id"])
        raise RuntimeError(f"nothing is in the place of {dict(item)}")

    def _watch(self, asked: Sequence[int], see: Callable[[Sequence[int], Mapping[str, str]], bool]) -> None:
        """Look at all servers by one list, again and again, until what was asked for is so."""
        ends = time.monotonic() + _LONGEST
        waiting = [self._running[number] for number in asked if number in self._running] or [self._gone]
        nova = replace(self._steps[asked[0]].call, method="GET", path="/servers/detail", body=None)
        try:
            # The provider does not look before all are asked to go either.
            for number in asked[:1] if see == self._see_running else asked:
                self._over[number].result()
            while not see(asked, self._servers(nova)) and time.monotonic() < ends:
                time.sleep(POLL_PAUSE)
            for future in waiting:
                future.result(0)
        except BaseException as problem:
            for future in waiting:
                if not future.done():
                    future.set_exception(problem)
            raise

    def _see_running(self, asked: Sequence[int], states: Mapping[str, str]) -> bool:
        left = [number for number in asked if not self._running[number].done()]
        for number in left:
            if self._over[number].done():
                self._over[number].result()
            state = states.get(self._now.get(self._steps[number].call.answer["server"]["id"], ""))
            if state == "ERROR":
                raise RuntimeError("a server did not come to run")
            if state == "ACTIVE":
                self._running[number].set_result(None)
        return all(self._running[number].done() for number in asked)

    def _see_gone(self, _: Sequence[int], states: Mapping[str, str]) -> bool:
        if not states:
            self._gone.set_result(None)
        return not states

    def _servers(self, nova: Call) -> dict[str, str]:
        """State of each server of ours, by identifier."""
        ours = set(self._now.values())
        listed: list[dict[str, str]] = self._polling(lambda: self._send(nova))["servers"]
        return {server["id"]: server["status"] for server in listed if server["id"] in ours}


def _counterparts(recorded: Any, answer: Any) -> dict[str, str]:
    """Identifiers of what was made, by those that it had before."""
    before, now = (list(_told(one)) for one in (recorded, answer))
    return {one["id"]: other["id"] for one, other in zip(before, now, strict=False)}


def missing_openstack() -> str:
    """What is not installed of all that the control plane needs, and how to get it; empty if nothing."""
    from tests.systems.openstack_bed import bed

    lacking = bed.missing()
    if not lacking and not (SYSTEMS / ".stamp-requirements-systems.lock").is_file():
        lacking = f"{SYSTEMS.name}, the environment with OpenStack's services, is not there"
    return f"{lacking}. `scripts/bootstrap systems` installs what it takes (1.5 GB)." if lacking else ""


def measure_openstack(machines: int, turns: int) -> Result:
    """At a control plane of our own, whose computers are none."""
    from tests.contract.openstack_bed import FLAVOR, PLACE, OpenStackGround
    from tests.systems.openstack_bed import bed

    if lacking := missing_openstack():
        raise RuntimeError(lacking)
    python, lock = SYSTEMS / "bin" / "python", ROOT / "requirements-systems.lock"
    taken: list[Turn] = []
    with ExitStack() as stack:
        cloud = stack.enter_context(bed.running(python, lock))
        stack.enter_context(environment("OS_", cloud.environment))
        connection = stack.enter_context(cloud.connection())
        image = OpenStackGround(DeploymentTag("bench", "bench"), cloud, connection).image()
        threads = parallel_limit(f"openstack/{PLACE}")
        for turn in range(turns + 1):
            requests = requests_for("", machines, f"ost://{PLACE}/{image}", FLAVOR)
            ours = measure_ours(f"openstack/{PLACE}", requests)
            bare = measure_bare(connection, ours[1], threads)
            # The first turn loads what is loaded once.
            if turn:
                taken.append(Turn(ours[0], bare))
            left = [one.name for one in (*connection.compute.servers(), *connection.compute.keypairs())]
            left += [one.name for one in connection.network.networks(is_router_external=False)]
            left += [one.name for one in connection.network.security_groups() if one.name != "default"]
            if left:
                raise RuntimeError(f"something is left: {', '.join(left)}")
    return Result("openstack", machines, taken)


def measure_ours(name: str, requests: Sequence[Any]) -> tuple[Part, list[Call]]:
    """What the provider took, and all that it called."""
    recorder = Recorder()
    with recorder.watching():
        seconds = run_ours(name, requests, recorder.begin)
    return Part(seconds, recorder.counted), recorder.calls


def measure_bare(connection: Any, calls: Sequence[Call], threads: int) -> Part:
    """What the SDK takes for the same calls."""
    recorder, part = Recorder(), Part()
    connection.authorize()
    replay = Replay(connection.session, plan(calls), threads, recorder.polling)
    with recorder.watching():
        for phase in PHASES:
            recorder.begin(phase)
            part.seconds[phase] = replay.run(phase)
    part.calls = recorder.counted
    return part
