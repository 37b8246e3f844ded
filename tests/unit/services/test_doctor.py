"""The examination before an apply: this computer for real, machines by OpenSSH's server on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.planning.desired import DesiredInstance
from orchestrator.remote import port_probe
from orchestrator.remote.host_keys import KnownHosts
from orchestrator.remote.keys import generate_key
from orchestrator.remote.target import SshTarget
from orchestrator.services import doctor_computer, doctor_network
from orchestrator.services.doctor import _notes, _wanted_machines
from orchestrator.services.doctor_findings import Examination, MachineReport, Severity, Subject, error, note, warning
from orchestrator.services.doctor_machines import _with_namesakes, all_at_once, examine_machines
from orchestrator.state.model import InstanceRecord
from tests.unit.remote.openssh_server import Server, openssh_server, write_key

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "mask-detection" / "production.yaml"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server, and the key that it takes."""
    folder = tmp_path_factory.mktemp("doctor")
    public = write_key(folder / "key")
    with openssh_server(folder / "server", public) as server:
        yield server, folder / "key"


@pytest.fixture
def known(tmp_path: Path) -> KnownHosts:
    return KnownHosts(tmp_path / "demo" / "state" / "known_hosts")


def checks(report: MachineReport) -> set[tuple[str, str]]:
    return {(finding.severity.value, finding.check) for finding in report.findings}


def test_a_machine_is_looked_at_with_the_probe_of_the_plays(place: tuple[Server, Path], known: KnownHosts) -> None:
    told: list[str] = []
    subject = Subject("pi[0]", place[0].target(place[1], host_key=""), "pi-k3s", "agent", {"architecture": "riscv64"})
    (report,) = examine_machines([subject], known, told.append, 60)
    assert report.reached
    assert report.board["hostname"] == socket.gethostname()
    assert report.board["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert ("error", "architecture") in checks(report), "what it has to be fit for reaches the probe"
    assert len(told) == 1
    assert report.subject.target.host_key in place[0].host_key


def test_one_machine_under_two_addresses(place: tuple[Server, Path], known: KnownHosts) -> None:
    target = place[0].target(place[1])
    subjects = [Subject("pi[0]", target, "pi-k3s", "server"), Subject("pi[1]", replace(target, host="localhost"))]
    reports = examine_machines(subjects, known, lambda _: None, 60)
    assert all(("error", "machine") in checks(report) for report in reports)
    assert not any(("error", "hostname") in checks(report) for report in reports), "that follows from it"


def test_copies_of_one_card_in_one_cluster_are_told_and_stop_nothing() -> None:
    def report(address: str, number: str, cluster: str = "c") -> MachineReport:
        subject = Subject(address, SshTarget(address, 22, "deploy", None, ""), cluster, "agent")
        return MachineReport(subject, True, {"boot_id": address, "hostname": address, "machine_id": number})

    reports = _with_namesakes(
        (report("a", "1"), report("b", "1"), report("c", "2"), report("d", "1", "other"), report("e", ""))
    )
    assert [checks(r) for r in reports] == [{("warning", "machine id")}] * 2 + [set()] * 3
    assert "Its machine id is also that of b," in reports[0].findings[0].text


def test_each_way_of_not_being_reached_has_its_name(
    place: tuple[Server, Path], known: KnownHosts, tmp_path: Path
) -> None:
    target = place[0].target(place[1])
    other = write_key(tmp_path / "other") and tmp_path / "other"
    subjects = [
        Subject("refused", replace(target, port=1)),
        Subject("unknown", replace(target, host="no-such-host.invalid")),
        Subject("changed", replace(target, host_key=generate_key()[1])),
        Subject("login", replace(target, key_file=other)),
        Subject("no-key", replace(target, key_file=tmp_path / "none")),
    ]
    reports = {r.subject.address: r for r in examine_machines(subjects, known, lambda _: None, 60)}
    assert {name: checks(report) for name, report in reports.items()} == {
        "refused": {("error", "reach")},
        "unknown": {("error", "reach")},
        "changed": {("error", "host key")},
        "login": {("error", "login")},
        "no-key": {("error", "login")},
    }
    assert not any(report.reached or report.board for report in reports.values())
    assert all(finding.fix and finding.text for report in reports.values() for finding in report.findings)


def test_a_login_that_runs_no_commands_is_not_taken_for_a_bare_machine(known: KnownHosts, tmp_path: Path) -> None:
    public = write_key(tmp_path / "key")
    refusing = "ForceCommand echo This account is not available. >&2; exit 1"
    with openssh_server(tmp_path / "server", public, settings=refusing) as server:
        subject = Subject("pi[0]", server.target(tmp_path / "key"))
        (report,) = examine_machines([subject], known, lambda _: None, 60)
    assert checks(report) == {("error", "login")}
    assert "exit code 1, This account is not available" in report.findings[0].text


def test_machines_that_hang_hold_nobody_up(place: tuple[Server, Path], known: KnownHosts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = SshTarget("127.0.0.1", silent.getsockname()[1], "deploy", place[1], "")
        subjects = [Subject(f"mute[{i}]", mute) for i in range(3)]
        subjects.append(Subject("pi[0]", place[0].target(place[1])))
        began = time.monotonic()
        reports = examine_machines(subjects, known, lambda _: None, 6)
    assert time.monotonic() - began < 12
    assert [report.reached for report in reports] == [False, False, False, True]
    assert checks(reports[0]) == {("error", "reach")}


def test_calls_that_do_not_come_back_are_left_behind() -> None:
    stop = threading.Event()
    results = all_at_once({"slow": lambda: stop.wait(60), "quick": lambda: True}, 0.5)
    stop.set()
    assert results == {"quick": True}


def test_machines_of_a_cluster_try_the_ports_that_they_need() -> None:
    def report(address: str, role: str, boot: str, cluster: str = "c") -> MachineReport:
        subject = Subject(address, SshTarget(address, 22, "deploy", None, ""), cluster, role)
        return MachineReport(subject, True, {"boot_id": boot})

    members = [report("s0", "server", "0"), report("s1", "server", "1"), report("a", "agent", "2")]
    tried = {(a.source, a.destination.subject.address, a.port[1]) for a in doctor_network._attempts(members)}
    assert tried == {
        *((s, d, 8472) for s in ("s0", "s1", "a") for d in ("s0", "s1", "a") if s != d),
        *(("s0", "s1", port) for port in (6443, 2379, 2380)),
        *(("s1", "s0", port) for port in (6443, 2379, 2380)),
        ("a", "s0", 6443),
        ("a", "s1", 6443),
    }
    same = [report("s0", "server", "0"), report("a", "agent", "0")]
    assert not list(doctor_network._attempts(same)), "one machine does not go by the network"


def test_the_port_probe_listens_connects_and_ends() -> None:
    port = _free(socket.SOCK_STREAM), _free(socket.SOCK_DGRAM)
    ports = [["tcp", port[0]], ["udp", port[1]]]
    command = [sys.executable, "-c", Path(port_probe.__file__).read_text(encoding="utf-8")]

    def ask(process: subprocess.Popen[str], request: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    with start() as here, start() as there:
        assert ask(here, {"listen": ports, "seconds": 30, "word": "w"}) == {"taken": [], "refused": {}}
        assert ask(there, {"listen": ports, "seconds": 30, "word": "w"})["taken"] == ports
        wanted = [["tcp", "127.0.0.1", port[0]], ["udp", "127.0.0.1", port[1]], ["tcp", "127.0.0.1", 1]]
        wanted += [["udp", "127.0.0.1", 1], ["tcp", "no-such-host.invalid", 1]]
        reasons = ask(there, {"connect": wanted})["reasons"]
        assert reasons == ["", "", "refused", "refused", "the name is not known there"]
        for process in (here, there):
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(10) == 0, "it ends with its input"
    with start() as alone:
        ask(alone, {"listen": ports, "seconds": 0.5, "word": "w"})
        assert alone.wait(10) == 1, "it ends by itself"


def _free(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def machine(address: str, index: int, **more: Any) -> DesiredInstance:
    hosts = [{"host": "192.0.2.1", "user": "pi", "become_password": "env:NO_SUCH_VARIABLE"}, {"host": "192.0.2.2"}]
    given: dict[str, Any] = {"provider": "static", "operations": {"create": None}, "properties": {"hosts": hosts}}
    return DesiredInstance(address, "pis", "continuum.nodes.PhysicalMachine", index, **{**given, **more})


def test_which_machines_are_there_before_an_apply() -> None:
    instances = {
        "pis[1]": machine("pis[1]", 1, capabilities={"os": {"architecture": "arm64"}}),
        "pis[2]": machine("pis[2]", 2),
        "cloud[0]": machine("cloud[0]", 0, properties={}, disposable=True, provider="aws"),
        "old[0]": machine("old[0]", 0, operations={}),
        "k3s": DesiredInstance("k3s", "k3s", "T", requirements={"machine": ("pis[1]", "pis[2]")}),
    }
    subjects, findings = _wanted_machines(instances, None)
    assert [(s.address, s.target.host, s.cluster, s.role) for s in subjects] == [
        ("pis[1]", "192.0.2.2", "k3s", "server")
    ]
    assert subjects[0].need["architecture"] == "arm64"
    assert [(f.where, f.check) for f in findings] == [("pis[2]", "address")]
    (told,) = _notes("shop", instances, subjects, {}, rehearsal=False)
    assert told == "Made by the apply, so there is nothing to reach yet: cloud[0]."
    made = {"cloud[0]": InstanceRecord("cloud[0]", "cloud", "T", "aws", attributes={"host": "192.0.2.9"})}
    (told,) = _notes("shop", instances, subjects, made, rehearsal=False)
    assert told == "Made by an earlier apply: cloud[0]. `deploy doctor shop` looks at them."


def test_what_is_missing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    target = SshTarget("192.0.2.1", 22, "deploy", tmp_path / "k", "", passphrase="x")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = list(doctor_computer.examine_computer(None, None, [Subject("pi[0]", target)]))
    assert [finding.check for finding in found] == ["ansible", "ssh"]
    assert "ssh-agent" in found[1].text


def test_a_verdict() -> None:
    known = note("clouds", "pi[0]", "It costs money.", "")
    assert Examination("demo", False, (), (known,)).is_fit
    minor, major = warning("clock", "pi[0]", "It is late.", "Wait."), error("disk", "pi[0]", "It is full.", "Empty it.")
    assert Examination("demo", False, (), (minor,)).is_fit
    assert not Examination("demo", False, (), (minor, major)).is_fit
    assert [f.severity for f in (minor, major)] == [Severity.WARNING, Severity.ERROR]


def test_the_command_says_what_would_stop_an_apply(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEPLOY_STATE", "s3://bucket?endpoint=http://127.0.0.1:1")
    code = main(["doctor", str(EXAMPLE), "--rehearse", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert code == 1
    assert (said["deployment"], said["rehearsal"], said["fit"]) == ("mask-detection-rehearsal", True, False)
    assert ("state", "this computer") in {(f["check"], f["where"]) for f in said["findings"]}
    assert "itself: there is nothing to reach before the apply" in said["notes"][0]


def test_a_name_that_nobody_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err
