#!/usr/bin/env python3
"""Measures the K3s plays over simulated Raspberry Pis: from blank to Ready, the second run, and what a node more costs.

The machines are containers that behave as boards do (`orchestrator/providers/local`), so that the first run includes
the edit of the kernel command line and one reboot; what they install is the stand-in for K3s, whose own work is small:
what is measured are the plays. With `K3S_ANSIBLE=path` the `site.yml` of a copy of k3s-ansible runs on machines made
the same way, with the same file in the place of K3s; `K3S_INSTALLER=file` gives it the installer that it downloads. It
needs collections: `ANSIBLE_COLLECTIONS_PATH` names the folder of ansible.posix, ansible.utils and community.general.

Usage: bench_k3s.py [--json] [--sizes 1,3,6,12]; needs a container engine. Clock time, one run each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.clients.engine import engine_architecture
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest
from orchestrator.providers.local.provider import LocalProvider
from orchestrator.remote.inventory import InventoryHost, render_inventory
from orchestrator.remote.keys import generate_key
from orchestrator.remote.ssh import wait_for_ssh
from orchestrator.remote.target import SshTarget, known_hosts_line
from orchestrator.standin_files import standin_path

ROOT = Path(__file__).resolve().parent.parent
PLAYBOOKS = ROOT / "playbooks"
SIZES = (1, 3, 6, 12)
TIMEOUT = 900
"""Seconds that a play may take."""

SECOND_RUN = 8.0
"""Seconds that the second run over three machines may take."""


@dataclass(frozen=True)
class Run:
    """How long a play took, and how many tasks changed something."""

    seconds: float
    changed: int


@dataclass(frozen=True)
class Figures:
    """The first and the second run of ``site.yml`` over so many machines."""

    nodes: int
    first: Run
    second: Run


class Boards:
    """Simulated Raspberry Pis, each blank, and plays over them; thrown away at the end.

    Args:
        count: How many.
        folder: Where files go.
        servers: How many of them run a server.
    """

    def __init__(self, count: int, folder: Path, servers: int = 1) -> None:
        self._provider = LocalProvider()
        lineage = uuid.uuid4().hex
        self.tag = DeploymentTag(f"bench-{lineage[:8]}", lineage)
        self.folder = folder
        self._count = count
        self._servers = servers
        private, self._public = generate_key()
        self.key = folder / "id_ed25519"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(private)
        self.machines: list[Machine] = []

    def __enter__(self) -> Self:
        """Make them, a few at a time."""
        try:
            with ThreadPoolExecutor(4) as pool:
                self.machines = list(pool.map(self._make, range(self._count)))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Throw them away."""
        for machine in self._provider.find(self.tag):
            self._provider.delete(machine.id)
        self._provider.release(self.tag)

    def _make(self, index: int) -> Machine:
        request = MachineRequest(
            deployment=self.tag,
            address=f"pi[{index}]",
            token=uuid.uuid4().hex,
            hostname=f"pi-{index}",
            architecture=engine_architecture(),
            cpus=2,
            memory_mb=512,
            authorized_key=self._public,
            settings={"firmware": "raspberry-pi", "kubernetes_node": True},  # k3s-ansible sets parameters of the kernel
        )
        made = self._provider.create(request)
        wait_for_ssh(self.target(made), 60, threading.Event())
        return made

    def target(self, machine: Machine) -> SshTarget:
        """How to log in."""
        return SshTarget(machine.host, machine.port, machine.user, self.key, machine.host_key)

    def play(self, playbook: Path, groups: Mapping[str, Sequence[int]], variables: Mapping[str, object]) -> Run:
        """Run a playbook over the machines; raises RuntimeError with the end of what it printed if it fails."""
        hosts = [
            InventoryHost(f"pi-{i}", m.host, m.port, m.user, self.key, m.address) for i, m in enumerate(self.machines)
        ]
        inventory, known_hosts = self.folder / "inventory.yml", self.folder / "known_hosts"
        text = render_inventory({name: [hosts[i] for i in members] for name, members in groups.items()})
        # The name that k3s-ansible has for both groups together.
        inventory.write_text(text + "    k3s_cluster:\n      children: {server: {}, agent: {}}\n")
        known_hosts.write_text("".join(known_hosts_line(self.target(m)) for m in self.machines))
        given = self.folder / "variables.json"
        given.write_text(json.dumps({**variables, "deployment_folder": str(self.folder)}))
        checked = f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile={known_hosts}"
        settings = {
            "ANSIBLE_SSH_ARGS": f"-F /dev/null -o ControlMaster=auto -o ControlPersist=60s {checked}",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_NOCOLOR": "True",
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.folder),  # k3s-ansible writes the user's kubeconfig
        }
        own = next((folder / "ansible.cfg" for folder in playbook.parents if (folder / "ansible.cfg").is_file()), None)
        if own is not None:
            settings["ANSIBLE_CONFIG"] = str(own)
        argv = [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook, "-e", f"@{given}"]
        began = time.perf_counter()
        done = subprocess.run(
            [str(word) for word in argv], env={**os.environ, **settings}, cwd=playbook.parent, timeout=TIMEOUT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{playbook} failed:\n{done.stdout[-4000:]}{done.stderr[-1000:]}")
        return Run(seconds, sum(int(found) for found in re.findall(r"\bchanged=(\d+)", done.stdout)))

    def site(self, **variables: object) -> Run:
        """Our own ``site.yml``."""
        groups = {"server": range(self._servers), "agent": range(self._servers, self._count)}
        given = {
            "k3s_cluster_name": "bench",
            "k3s_token": "token-of-the-bench",
            "k3s_binary_file": str(standin_path("k3s_standin")),
        }
        return self.play(PLAYBOOKS / "site.yml", groups, {**given, **variables})


def measure(count: int, folder: Path) -> Figures:
    """The first and the second run over so many blank machines."""
    with Boards(count, folder / f"boards-{count}") as boards:
        return Figures(count, boards.site(), boards.site())


def measure_k3s_ansible(copy: Path, count: int, folder: Path) -> Figures:
    """The same with k3s-ansible, from a folder for machines without a network that holds the same file."""
    airgap = folder / "airgap"
    airgap.mkdir(parents=True, exist_ok=True)
    binary = "k3s-arm64" if engine_architecture() == "arm64" else "k3s"
    (airgap / binary).write_bytes(standin_path("k3s_standin").read_bytes())
    if os.environ.get("K3S_INSTALLER"):
        (airgap / "k3s-install.sh").write_bytes(Path(os.environ["K3S_INSTALLER"]).read_bytes())
    with Boards(count, folder / "k3s-ansible") as boards:
        groups = {"server": range(1), "agent": range(1, count)}
        variables = {
            "k3s_version": "v1.31.5+k3s1",
            "token": "token-of-the-bench",
            "api_endpoint": boards.machines[0].host,
            "airgap_dir": str(airgap),
            "user_kubectl": False,
        }
        runs = [boards.play(copy / playbook_of(copy), groups, variables) for _ in range(2)]
        return Figures(count, *runs)


def playbook_of(copy: Path) -> Path:
    """Where a copy of k3s-ansible has its ``site.yml``, which has moved over time."""
    places = ("playbooks/site.yml", "playbook/site.yml", "site.yml")
    found = [Path(place) for place in places if (copy / place).is_file()]
    if not found:
        raise RuntimeError(f"{copy} is no copy of k3s-ansible: it has no site.yml.")
    return found[0]


def further_cost(figures: Sequence[Figures]) -> tuple[float, float]:
    """Seconds of the first run that the first node takes, and what each further one adds between the extremes."""
    few, many = figures[0], figures[-1]
    return few.first.seconds, (many.first.seconds - few.first.seconds) / max(1, many.nodes - few.nodes)


def render(figures: Sequence[Figures], theirs: Figures | None) -> str:
    """The figures for people."""
    lines = ["nodes  first run s  changed  second run s  changed"]
    lines += [
        f"{f.nodes:>5}  {f.first.seconds:11.1f}  {f.first.changed:7}  {f.second.seconds:12.1f}  {f.second.changed:7}"
        for f in figures
    ]
    lines.append("")
    three = next((f for f in figures if f.nodes == 3), None)
    if three:
        met = three.second.seconds < SECOND_RUN and not three.second.changed
        lines.append(f"second run of three nodes under {SECOND_RUN:g} s, 0 changed: {'yes' if met else 'NO'}")
    if len(figures) > 1:
        first, further = further_cost(figures)
        met = "yes" if further < first / 3 else "NO"
        lines.append(f"a further node costs {further:.2f} s, the first {first:.1f}; under a third: {met}")
    if theirs and three:
        half = 2 * three.first.seconds <= theirs.first.seconds and 2 * three.second.seconds <= theirs.second.seconds
        runs = [f"{run.seconds:.1f} s ({run.changed} changed)" for run in (theirs.first, theirs.second)]
        lines.append(f"k3s-ansible on three: {', again '.join(runs)}; at most half of it: {'yes' if half else 'NO'}")
    return "\n".join(lines)


def main() -> int:
    """Measure and print; 1 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="for other programs")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of nodes, smallest first")
    args = parser.parse_args()
    copy = os.environ.get("K3S_ANSIBLE", "")
    with tempfile.TemporaryDirectory(prefix="continuum-deploy-bench-") as folder:
        work = Path(folder)
        try:
            figures = [measure(int(size), work) for size in args.sizes.split(",")]
            theirs = measure_k3s_ansible(Path(copy).resolve(), 3, work) if copy else None
        except (OSError, RuntimeError, subprocess.SubprocessError) as problem:
            print(f"Could not measure: {problem}", file=sys.stderr)
            return 1
    if args.json:
        print(json.dumps({"k3s": [asdict(f) for f in figures], "k3s_ansible": asdict(theirs) if theirs else None}))
    else:
        print(render(figures, theirs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
