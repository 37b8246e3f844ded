"""Looks whether this computer has what an apply needs: programs, a container engine, secrets, files, a state."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from orchestrator.clients import engine
from orchestrator.diagnostics import Diagnostic
from orchestrator.errors import DeployError, EngineUnavailableError
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.planner import Wanted, plan_apply
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.doctor_findings import THIS_COMPUTER, Finding, Subject, error, of_error
from orchestrator.services.preflight import check_plan

_PLAY = "continuum.artifacts.AnsiblePlaybook"
_BUILD = "continuum.artifacts.ImageBuild"
_LOCAL = "local"
_FILES = ("k3s_binary_file", "k3s_airgap_folder")


def examine_computer(
    opened: OpenDeployment | None, wanted: Wanted | None, subjects: Iterable[Subject]
) -> Iterator[Finding]:
    """What is missing here.

    Args:
        opened: The deployment, if its state can be read.
        wanted: What is to be applied; ``None`` for a deployment that was, of which only its machines are looked at.
        subjects: The machines that are to be reached.
    """
    instances = tuple(wanted.instances.values()) if wanted is not None else ()
    kinds = {operation.artifact_type for instance in instances for operation in instance.operations.values()}
    if wanted is None or _PLAY in kinds:
        yield from _ansible()
    yield from _ssh(subjects)
    if _BUILD in kinds or any(instance.provider == _LOCAL for instance in instances):
        yield from _engine()
    yield from _files(instances)
    if opened is None:
        return
    yield from _secrets(opened)
    if wanted is not None:
        yield from _plan(opened, wanted)


def _ansible() -> Iterator[Finding]:
    program = Path(sys.executable).with_name("ansible-playbook")
    missing = [] if program.exists() or shutil.which("ansible-playbook") else ["ansible-playbook"]
    missing += [] if find_spec("ansible_runner") else ["ansible-runner"]
    if missing:
        text = f"There is no {' and no '.join(missing)} beside {sys.executable}, which runs this program."
        fix = "Install this program again as its README says: ansible-core and ansible-runner come with it."
        yield error("ansible", THIS_COMPUTER, text, fix)


def _ssh(subjects: Iterable[Subject]) -> Iterator[Finding]:
    on_the_way = [target for s in subjects for target in (s.target, *s.target.hops)]
    programs = ["ssh", *(["ssh-agent", "ssh-add"] if any(target.passphrase for target in on_the_way) else [])]
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        text = f"There is no {', no '.join(missing)} on PATH; plays reach the machines by OpenSSH's client."
        yield error("ssh", THIS_COMPUTER, text, "Install it (Debian, Ubuntu: sudo apt install openssh-client).")


def _engine() -> Iterator[Finding]:
    try:
        engine.check_available()
    except EngineUnavailableError as reason:
        yield of_error("engine", THIS_COMPUTER, reason)


def _files(instances: Iterable[DesiredInstance]) -> Iterator[Finding]:
    seen: set[str] = set()
    for instance in instances:
        for operation in instance.operations.values():
            for name in _FILES:
                value = operation.inputs.get(name)
                path = value if isinstance(value, str) and value.startswith("/") else ""
                if path and path not in seen and not Path(path).exists():
                    text = f"{instance.address}: {name} is {path}, which is not there."
                    yield error("files", THIS_COMPUTER, text, "Put it there, or correct the path.")
                seen.add(path)


def _secrets(opened: OpenDeployment) -> Iterator[Finding]:
    try:
        opened.secrets.entries()
    except DeployError as reason:
        yield of_error("secrets", THIS_COMPUTER, reason)


def _plan(opened: OpenDeployment, wanted: Wanted) -> Iterator[Finding]:
    """What an apply would refuse before it touches anything, as if nothing were there yet."""
    try:
        obstacles = check_plan(plan_apply(opened.name, wanted, None, {}), opened.secrets)
    except DeployError as reason:
        yield of_error("plan", THIS_COMPUTER, reason)
        return
    for obstacle in obstacles:
        yield _of_diagnostic(obstacle)


def _of_diagnostic(found: Diagnostic) -> Finding:
    text = f"{found.address}: {found.summary} {found.detail}" if found.address else f"{found.summary} {found.detail}"
    return error("plan", THIS_COMPUTER, text, "")
