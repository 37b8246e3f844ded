"""Tries whether the machines of a cluster reach each other on the ports that K3s needs, with listeners of a moment."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.errors import RemoteError
from orchestrator.remote import port_probe
from orchestrator.remote.ssh import Conversation, open_session
from orchestrator.services.doctor_findings import Finding, MachineReport, error, warning
from orchestrator.services.doctor_machines import PYTHON, all_at_once, reached_by

API, FLANNEL = ("tcp", 6443), ("udp", 8472)
ETCD = (("tcp", 2379), ("tcp", 2380))
_LIFE = 40.0
"""Seconds after which what listens on a machine ends by itself, come what may."""

_STEP = 8.0
_START = f"{PYTHON} -c 'import sys,base64;exec(base64.b64decode(sys.stdin.readline()))'"

_Port = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A connection to be tried: from one machine to a port of another."""

    source: str
    destination: MachineReport
    port: _Port


def examine_network(reports: Sequence[MachineReport], seconds: float) -> tuple[Finding, ...]:
    """Try the connections that K3s will make between the machines that were reached.

    Args:
        reports: The machines; those of one cluster are tried among each other.
        seconds: For all of it.
    """
    usable = [report for report in reports if report.board and report.subject.cluster]
    clusters: dict[str, list[MachineReport]] = {}
    for report in usable:
        clusters.setdefault(report.subject.cluster, []).append(report)
    attempts = [attempt for members in clusters.values() for attempt in _attempts(members)]
    if not attempts:
        return ()
    return _try(attempts, time.monotonic() + seconds)


def _attempts(members: Sequence[MachineReport]) -> Iterator[_Attempt]:
    servers = [m for m in members if m.subject.role == "server"]
    for source in members:
        for other in members:
            if other is source or other.board.get("boot_id") == source.board.get("boot_id"):
                continue
            if other in servers:
                yield _Attempt(source.subject.address, other, API)
            if other in servers and source in servers:
                yield from (_Attempt(source.subject.address, other, port) for port in ETCD)
            yield _Attempt(source.subject.address, other, FLANNEL)


def _try(attempts: Sequence[_Attempt], end: float) -> tuple[Finding, ...]:
    machines = {a.destination.subject.address: a.destination for a in attempts}
    ports: dict[str, list[_Port]] = {address: [] for address in machines}
    for attempt in attempts:
        listed = ports[attempt.destination.subject.address]
        listed += [attempt.port] if attempt.port not in listed else []
    word = secrets.token_hex(8)
    with ExitStack() as stack:

        def begin(address: str) -> tuple[Conversation, Mapping[str, Any]] | None:
            try:
                talk = stack.enter_context(_conversation(machines[address]))
                request = {"listen": ports[address], "seconds": _LIFE, "word": word}
                talk.say(json.dumps(request), _STEP)
                return talk, json.loads(talk.hear(_STEP))
            except (RemoteError, ValueError):
                return None

        started = all_at_once({a: partial(begin, a) for a in machines}, end - time.monotonic())
        ready = {address: answer for address, answer in started.items() if answer is not None}
        wanted = {a: [x for x in attempts if x.source == a and _can_tell(x, ready)] for a in ready}
        calls = {a: _connects(ready[a][0], wanted[a]) for a in ready if wanted[a]}
        answers = all_at_once(calls, max(1.0, end - time.monotonic()))
    failed: dict[tuple[str, _Port, str], list[MachineReport]] = {}
    for address, reasons in answers.items():
        for attempt, reason in zip(wanted[address], reasons, strict=False):
            if reason:
                failed.setdefault((address, attempt.port, reason), []).append(attempt.destination)
    return tuple(_finding(*what, others, machines) for what, others in failed.items())


def _can_tell(attempt: _Attempt, ready: Mapping[str, tuple[Conversation, Mapping[str, Any]]]) -> bool:
    """Whether the other side listens; what holds a port of UDP already does not answer as ours does."""
    answer = ready.get(attempt.destination.subject.address)
    if answer is None:
        return False
    protocol, number = attempt.port
    if f"{number}/{protocol}" in answer[1].get("refused", {}):
        return False
    return protocol == "tcp" or [protocol, number] not in answer[1].get("taken", [])


def _connects(talk: Conversation, attempts: Sequence[_Attempt]) -> Callable[[], list[str]]:
    wanted = [[a.port[0], reached_by(a.destination), a.port[1]] for a in attempts]

    def call() -> list[str]:
        try:
            talk.say(json.dumps({"connect": wanted}), _STEP)
            reasons = json.loads(talk.hear(_LIFE))["reasons"]
        except (RemoteError, ValueError, KeyError):
            return []
        return [str(reason) for reason in reasons]

    return call


@contextmanager
def _conversation(report: MachineReport) -> Iterator[Conversation]:
    source = base64.b64encode(Path(port_probe.__file__).read_bytes()).decode()
    with open_session(report.subject.target, _STEP) as session, session.talk(_START) as talk:
        talk.say(source, _STEP)
        yield talk


def _finding(
    source: str, port: _Port, reason: str, others: Sequence[MachineReport], machines: Mapping[str, MachineReport]
) -> Finding:
    """What one machine does not reach on one port, for one reason."""
    named = f"{port[1]}/{port[0]}"
    places = ", ".join(f"{other.subject.address} ({reached_by(other)})" for other in others)
    sender = f" from {reached_by(machines[source])}" if source in machines else ""
    addresses = ", ".join(other.subject.address for other in others)
    fix = f"Open {named} on {addresses}{sender}: firewalls on the machines and between them."
    text = f"It does not reach {named} of {places}: {reason}."
    if port == FLANNEL:
        return warning("network", source, f"{text} Pods on these machines would not reach each other.", fix)
    purpose = "joins the cluster by it" if port == API else "keeps the cluster's data in step by it"
    return error("network", source, f"{text} It {purpose}.", fix)
