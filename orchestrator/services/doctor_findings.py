"""What an examination before an apply finds: machines with their facts, and what speaks against going on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.errors import DeployError
from orchestrator.remote.target import SshTarget

THIS_COMPUTER = "this computer"


class Severity(StrEnum):
    """Whether a finding would stop an apply."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    """Nothing is wrong; it is to be known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        severity: Whether it would stop an apply.
        check: What was looked at, one or two words: ``login``, ``memory``, ``network`` …
        where: Address of the machine, or ``this computer``.
        text: What is wrong, in full sentences.
        fix: What to do.
    """

    severity: Severity
    check: str
    where: str
    text: str
    fix: str


def error(check: str, where: str, text: str, fix: str) -> Finding:
    """What would stop an apply."""
    return Finding(Severity.ERROR, check, where, text, fix)


def warning(check: str, where: str, text: str, fix: str) -> Finding:
    """What an apply can do with."""
    return Finding(Severity.WARNING, check, where, text, fix)


def note(check: str, where: str, text: str, fix: str) -> Finding:
    """What is to be known before an apply."""
    return Finding(Severity.NOTE, check, where, text, fix)


def of_error(check: str, where: str, reason: DeployError) -> Finding:
    """What an operation would fail with."""
    return error(check, where, reason.detail or reason.summary, reason.resolution)


@dataclass(frozen=True, slots=True)
class Subject:
    """A machine that is to be looked at.

    Attributes:
        address: Node instance, e.g. ``edge-raspi[0]``.
        target: How it is reached; its host key may be unknown.
        cluster: Address of the cluster that it is for; empty if it is for none.
        role: ``server`` or ``agent``; empty if it is for no cluster.
        need: What it has to be fit for, as ``playbooks/library/board_facts.py`` takes it.
        inside: Address by which the others of its cluster reach it, where it is not the target's.
    """

    address: str
    target: SshTarget
    cluster: str = ""
    role: str = ""
    need: Mapping[str, Any] = field(default_factory=dict)
    inside: str = ""


@dataclass(frozen=True, slots=True)
class MachineReport:
    """A machine as it was found.

    Attributes:
        subject: What was to be looked at; with its host key, if it was found out.
        reached: Whether somebody could log in.
        board: The facts of the probe; empty if it did not run.
        findings: What is not as it should be.
    """

    subject: Subject
    reached: bool = False
    board: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was found.

    Attributes:
        deployment: Name of the deployment.
        rehearsal: Whether it is one.
        machines: The machines that were looked at.
        findings: Everything that is not as it should be, what would stop an apply first.
        notes: What was not looked at, and why, in full sentences.
    """

    deployment: str
    rehearsal: bool
    machines: tuple[MachineReport, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_fit(self) -> bool:
        """Whether nothing would stop an apply."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)
