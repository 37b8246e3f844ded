"""Looks at machines over SSH, all at once, with the probe that the plays use. Changes nothing on them."""

from __future__ import annotations

import json
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from orchestrator.errors import DeployError, RemoteError
from orchestrator.remote.failures import HostKeyError, UnknownHostKeyError, UnreachableError
from orchestrator.remote.host_keys import KnownHosts, pin
from orchestrator.remote.ssh import Session, open_session
from orchestrator.resources import data_path
from orchestrator.services.doctor_findings import (
    Finding,
    MachineReport,
    Severity,
    Subject,
    error,
    of_error,
    warning,
)

PYTHON = "/usr/bin/python3"
"""What plays use as well."""

_AT_ONCE = 32
_STEP = 8.0
"""Seconds for each step of connecting."""

_PROBE_TIMEOUT = 45.0
_SHORT = 10.0
_RIGHTS = """sh -c 'echo "user $(id -u)"; [ -x /usr/bin/python3 ] && echo python; command -v sudo >/dev/null || exit 0
echo sudo; sudo -n true 2>&1 && echo free; exit 0'"""

_Result = TypeVar("_Result")


def all_at_once(calls: Mapping[str, Callable[[], _Result]], seconds: float) -> dict[str, _Result]:
    """The results of the calls that came back in time; one that hangs is left behind.

    Args:
        calls: By name; none raises.
        seconds: For all of them.
    """
    results: dict[str, _Result] = {}
    slots = threading.Semaphore(_AT_ONCE)

    def call(name: str) -> None:
        with slots:
            results[name] = calls[name]()

    # Threads that nobody waits for at the end, so that a machine that hangs holds nothing up.
    threads = [threading.Thread(target=call, args=(name,), name=f"look-{name}", daemon=True) for name in calls]
    end = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(results)


def examine_machines(
    subjects: Sequence[Subject], known: KnownHosts, tell: Callable[[str], None], seconds: float
) -> tuple[MachineReport, ...]:
    """Look at each machine.

    Args:
        subjects: The machines.
        known: Where host keys are recorded at the first contact.
        tell: Called with a line for each host key that is taken at the first contact.
        seconds: For all of them; one that has not answered by then is reported as that.
    """
    calls = {s.address: partial(_examine, s, known, tell) for s in subjects}
    reports = all_at_once(calls, seconds)
    found = tuple(reports.get(s.address) or _overdue(s, seconds) for s in subjects)
    return _with_namesakes(found)


def reached_by(report: MachineReport) -> str:
    """Address under which others are to reach the machine, as plays use it."""
    return report.subject.inside or report.subject.target.host


def _overdue(subject: Subject, seconds: float) -> MachineReport:
    text = f"{subject.target.login} took the connection but had not answered all questions after {seconds:g} s."
    fix = "See what keeps the machine busy (load, a full disk, a file system that hangs), or give more --timeout."
    return MachineReport(subject, findings=(error("reach", subject.address, text, fix),))


def _examine(subject: Subject, known: KnownHosts, tell: Callable[[str], None]) -> MachineReport:
    try:
        subject = replace(subject, target=pin(subject.target, known, tell, _STEP))
        with open_session(subject.target, _STEP) as session:
            return _look(subject, session)
    except DeployError as reason:
        return MachineReport(subject, findings=(of_error(_check_of(reason), subject.address, reason),))


def _check_of(reason: DeployError) -> str:
    if isinstance(reason, UnreachableError):
        return "reach"
    return "host key" if isinstance(reason, (HostKeyError, UnknownHostKeyError)) else "login"


def _look(subject: Subject, session: Session) -> MachineReport:
    findings: list[Finding] = []
    answer = session.run(_RIGHTS, _SHORT)
    said = answer.stdout.splitlines()
    if not any(line.startswith("user ") for line in said):
        words = (answer.stderr.strip() or answer.stdout.strip() or "not a word").splitlines()[-1]
        text = f"{subject.target.login} runs no commands: exit code {answer.exit_code}, {words}."
        fix = "Give that user a login shell on the machine (chsh) and no forced command, or log in as another one."
        return MachineReport(subject, reached=True, findings=(error("login", subject.address, text, fix),))
    if "python" not in said:
        fix = "Install Python 3 on it (Debian, Ubuntu: sudo apt install python3)."
        findings.append(error("python", subject.address, f"There is no {PYTHON}, which plays need.", fix))
    prefix, password, problem = _rights(subject, session, said)
    if problem is not None:
        findings.append(problem)
    board: Mapping[str, Any] = {}
    if "python" in said:
        board, judged = _probe(subject, session, prefix, password)
        findings += judged
    return MachineReport(subject, reached=True, board=board, findings=tuple(findings))


def _rights(subject: Subject, session: Session, said: Sequence[str]) -> tuple[str, bytes, Finding | None]:
    """How to become root: what to put before a command, what to say first, and what is wrong if it cannot be done."""
    if "user 0" in said or "free" in said:
        return ("" if "user 0" in said else "sudo -n "), b"", None
    login, password = subject.target.login, subject.target.become_password
    if "sudo" not in said:
        text = f"{login} is not root, and the machine has no sudo."
        return "", b"", error("sudo", subject.address, text, "Install sudo there, or log in as root.")
    reason = next((line for line in said if line.startswith("sudo:")), "sudo: a password is required")
    if not password:
        text = f"{login} cannot become root without a password ({reason})."
        fix = "Give its password as become_password (a reference: env:NAME, secret:NAME, file:PATH), or allow it "
        return "", b"", error("sudo", subject.address, text, f"{fix}without one (NOPASSWD) in /etc/sudoers.d.")
    # Asked once with nothing else to read, so that a wrong password counts as one attempt and no more.
    line = password.encode() + b"\n"
    tried = session.run("sudo -k -S -p '' true", _SHORT, line)
    if tried.exit_code == 0:
        return "sudo -k -S -p '' ", line, None
    words = " ".join(tried.stderr.split()) or reason
    text = f"{login} cannot become root with the password that is given: {words}"
    fix = "Correct become_password, or see in /etc/sudoers that the user may run all commands."
    return "", b"", error("sudo", subject.address, text, fix)


def _probe(
    subject: Subject, session: Session, prefix: str, first: bytes
) -> tuple[Mapping[str, Any], tuple[Finding, ...]]:
    """The facts, and what the probe makes of them."""
    source = data_path("playbooks", "library", "board_facts.py").read_bytes()
    need = {**subject.need, "role": subject.role or "agent", "clock": time.time()}
    command = f"{prefix}{PYTHON} - {shlex.quote(json.dumps({'need': need}))}"
    try:
        done = session.run(command, _PROBE_TIMEOUT, first + source)
    except UnreachableError:
        raise
    except RemoteError:
        text = f"The probe did not end within {_PROBE_TIMEOUT:g} s."
        fix = "See what keeps the machine busy: load, a full disk, a file system that hangs."
        return {}, (error("probe", subject.address, text, fix),)
    board = _answer(done.stdout)
    if board is None:
        words = " ".join((done.stderr or done.stdout).split())[-400:] or f"it ended with exit code {done.exit_code}"
        fix = f"Run `{PYTHON} --version` there: it must be Python 3.7 or later, and whole."
        return {}, (error("probe", subject.address, f"The probe could not run: {words}", fix),)
    found = (
        Finding(Severity(f["severity"]), str(f["check"]), subject.address, str(f["text"]), str(f["fix"]))
        for f in board.get("findings", [])
    )
    return board, tuple(found)


def _answer(stdout: str) -> Mapping[str, Any] | None:
    # A login script of the user may have said something before.
    for line in reversed(stdout.splitlines()):
        if line.startswith("{"):
            try:
                board = json.loads(line)["board"]
            except (ValueError, KeyError, TypeError):
                return None
            return board if isinstance(board, dict) else None
    return None


def _with_namesakes(reports: tuple[MachineReport, ...]) -> tuple[MachineReport, ...]:
    """The reports, with machines that are called the same, or are the same."""
    return tuple(
        replace(report, findings=(*report.findings, *_namesakes(report, reports))) if report.board else report
        for report in reports
    )


def _namesakes(report: MachineReport, reports: Sequence[MachineReport]) -> list[Finding]:
    address, board = report.subject.address, report.board
    others = [r for r in reports if r is not report and r.board]
    same = [r for r in others if board.get("boot_id") and r.board.get("boot_id") == board["boot_id"]]
    found = [
        error(
            "machine",
            address,
            f"{report.subject.target.place} is the same machine as {other.subject.target.place} "
            f"({other.subject.address}).",
            "Give each node a machine of its own.",
        )
        for other in same
    ]
    cluster = report.subject.cluster
    namesakes = [
        r.subject.address
        for r in others
        if r not in same and r.subject.cluster == cluster and r.board.get("hostname") == board.get("hostname")
    ]
    if cluster and namesakes:
        text = f"Its hostname is {board.get('hostname')}, and so is that of {', '.join(namesakes)}; Kubernetes tells "
        fix = "Give each machine a name of its own: hostnamectl set-hostname NAME"
        found.append(error("hostname", address, f"{text}machines apart by it.", fix))
    found += _clones(report, [r for r in others if r not in same and cluster and r.subject.cluster == cluster])
    return found


def _clones(report: MachineReport, others: Sequence[MachineReport]) -> list[Finding]:
    """Another machine of the cluster with the same machine id: K3s works with that, other programs may not."""
    number = report.board.get("machine_id")
    clones = [r.subject.address for r in others if number != "uninitialized" and r.board.get("machine_id") == number]
    if not number or not clones:
        return []
    text = (
        f"Its machine id is also that of {', '.join(clones)}, as on cards that were copied from one that had been "
        "started. A network that gives addresses by it (systemd-networkd) gives them the same one."
    )
    fix = (
        "On all but one: rm -f /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot. Its address "
        "may be another one then."
    )
    return [warning("machine id", report.subject.address, text, fix)]
