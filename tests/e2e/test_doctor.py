"""`deploy doctor` over simulated Raspberry Pis that somebody else put up, whole at first, then with faults."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.clients.engine import engine_architecture
from orchestrator.remote.client_files import target_to_dict
from orchestrator.remote.keys import fingerprint, generate_key
from orchestrator.remote.ssh import run
from orchestrator.remote.target import SshTarget
from orchestrator.topology.dump import render_template
from orchestrator.topology.model import NodeTemplate, Requirement, Topology, Value
from tests.e2e.command_line import Cli
from tests.simulated_boards import Boards, simulated_boards

pytestmark = pytest.mark.engine

NAME = "boards-rehearsal"
PASSWORD = "a 'password' $HOME"


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    with simulated_boards(tmp_path_factory.mktemp("boards"), 4) as found:
        yield found


def root(target: SshTarget, script: str) -> str:
    """Run a script as root on a board that still allows it."""
    done = run(target, f"sudo -n sh -c {shlex.quote(script)}", 30)
    assert not done.exit_code, done.stderr
    return done.stdout


def entry(target: SshTarget, **more: Value) -> dict[str, Value]:
    """A machine as its owner describes it: nothing is said of its host key."""
    return {"host": target.host, "user": target.user, "key_file": str(target.key_file), **more}


def template(folder: Path, hosts: Sequence[Value], *, cluster: bool = True) -> Path:
    """Machines and a cluster on them, and nothing else."""
    count = len(hosts)
    machines = NodeTemplate(
        "pis",
        "continuum.nodes.PhysicalMachine",
        properties={"resource": "pis", "layer": 1, "hosts": list(hosts)},
        capabilities={
            "host": {"num_cpus": 1, "mem_size": "512 MB"},
            "os": {"architecture": engine_architecture()},
            "scalable": {"min_instances": count, "max_instances": count, "default_instances": count},
        },
    )
    nodes = {"pis": machines}
    if cluster:
        hosted = (Requirement("machine", "pis", "tosca.relationships.HostedOn"),)
        properties: dict[str, Value] = {"cluster_name": "pis", "token": "secret:token"}
        nodes["pis-k3s"] = NodeTemplate(
            "pis-k3s", "continuum.nodes.K3sCluster", properties=properties, requirements=hosted
        )
    path = folder / "boards.yaml"
    path.write_text(render_template(Topology("boards", nodes=nodes)), encoding="utf-8")
    return path


def found(text: str, severity: str = "error") -> set[tuple[str, str]]:
    """Where something was found, and which check it was."""
    return {(f["where"], f["check"]) for f in json.loads(text)["findings"] if f["severity"] == severity}


def listeners(target: SshTarget) -> str:
    return run(target, "cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6; ps -e -o args", 10).stdout


def test_whole_boards_are_fit_and_nothing_is_left_on_them(cli: Cli, boards: Boards, tmp_path: Path) -> None:
    file = template(tmp_path, [entry(target) for target in boards.targets])
    first = cli.run("doctor", file)
    for target in boards.targets:
        assert fingerprint(target.host_key) in first.stderr, "shown at the first contact"
        assert f"{target.host} {' '.join(target.host_key.split()[:2])}" in (
            tmp_path / ".deploy" / "boards" / "state" / "known_hosts"
        ).read_text(encoding="utf-8")
        left = listeners(target)
        assert ":192B " not in left, "6443 is not listened on"
        assert ":2118 " not in left, "nor 8472"
        assert "base64" not in left, "and no probe runs"
    assert "Raspberry Pi 4" in first.stdout
    assert "Nothing would stop an apply" in first.stdout
    second = cli.run("doctor", file, "--json")
    assert "host key" not in second.stderr, "known by now"
    said = json.loads(second.stdout)
    assert said["fit"] is True
    assert [(m["address"], m["role"], m["board"]["hostname"]) for m in said["machines"]] == [
        (f"pis[{index}]", "agent" if index else "server", name) for index, name in enumerate(boards.names)
    ]
    assert not found(second.stdout)
    assert (found(second.stdout, "warning")) == {(f"pis[{index}]", "memory cgroup") for index in range(4)}


def test_faults_are_found_all_at_once_and_in_bounded_time(cli: Cli, boards: Boards, tmp_path: Path) -> None:
    server, with_password, closed_in, namesake = boards.targets
    root(closed_in, f"iptables -A OUTPUT -d {server.host} -p tcp --dport 6443 -j REJECT")
    root(closed_in, "iptables -A INPUT -p udp --dport 8472 -j DROP")
    root(namesake, "hostname pi-0")
    root(namesake, "mkdir -p /etc/kubernetes && touch /etc/kubernetes/admin.conf")
    secret = shlex.quote(f"deploy:{PASSWORD}")
    root(with_password, f"echo {secret} | chpasswd && sed -i 's/NOPASSWD: *//' /etc/sudoers.d/*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # Takes connections and never says a word.
        hanging: dict[str, Value] = {"host": "127.0.0.1", "port": str(silent.getsockname()[1]), "user": "nobody"}
        hosts: list[Value] = [
            entry(server),
            entry(with_password, become_password="env:PI_PASSWORD", jump=f"{server.user}@{server.host}"),
            entry(closed_in),
            entry(namesake),
            entry(server, port="1"),
            entry(server, host_key=fingerprint(generate_key()[1])),
            {**hanging, "key_file": str(server.key_file)},
        ]
        file = template(tmp_path, hosts)
        cli.environment["PI_PASSWORD"] = PASSWORD
        done = cli.run("doctor", file, "--json", "--timeout", 30, expect=1, timeout=90)
        shown = cli.run("doctor", file, "--timeout", 30, expect=1, timeout=90)
    assert PASSWORD not in done.stdout + done.stderr + shown.stdout + shown.stderr
    assert found(done.stdout) == {
        ("pis[2]", "network"),
        ("pis[0]", "hostname"),
        ("pis[3]", "hostname"),
        ("pis[3]", "leftovers"),
        ("pis[4]", "reach"),
        ("pis[5]", "host key"),
        ("pis[6]", "reach"),
    }
    texts = {(f["where"], f["check"], f["severity"]): f["text"] for f in json.loads(done.stdout)["findings"]}
    assert f"6443/tcp of pis[0] ({server.host}): refused" in texts["pis[2]", "network", "error"]
    assert "8472/udp of pis[2]" in texts["pis[0]", "network", "warning"]
    assert "connection was refused" in texts["pis[4]", "reach", "error"]
    machines = json.loads(done.stdout)["machines"]
    assert machines[1]["through"] == [f"{server.user}@{server.host}:22"]
    assert machines[1]["board"]["hostname"] == "pi-1", "root by its password, by way of another board"
    assert [m["reached"] for m in machines] == [True] * 4 + [False] * 3
    assert shown.stdout.count("not reached") == 3
    assert "An apply would be stopped: " in shown.stdout
    # The wrong password counts as one attempt, and is told apart from none.
    cli.environment["PI_PASSWORD"] = "wrong"
    told = cli.run("doctor", template(tmp_path, hosts[:2]), "--json", expect=1).stdout
    assert ("pis[1]", "sudo") in found(told)
    assert json.loads(told)["machines"][1]["board"]["hostname"] == "pi-1", "what can be read without root is shown"


PLAY = """\
---
- name: Become root
  hosts: all
  gather_facts: false
  become: true
  tasks:
    - name: Ask who this is
      ansible.builtin.command: id -un
      changed_when: false
      register: who
    - name: Report
      ansible.builtin.set_stats:
        data: {attributes: "{{ {inventory_hostname: who.stdout} }}"}
"""


def test_a_play_becomes_root_by_the_same_password_on_the_same_way(boards: Boards, tmp_path: Path) -> None:
    """After the boards were given their faults: one asks for a password since."""
    server, with_password = boards.targets[:2]
    target = replace(with_password, jump=server, become_password=PASSWORD)
    (tmp_path / "play.yml").write_text(PLAY, encoding="utf-8")
    variables = {"ansible_host": target.host, "ansible_port": target.port, "ansible_user": target.user}
    job = {
        "playbook": str(tmp_path / "play.yml"),
        "config_file": "",
        "inventory": json.dumps({"all": {"hosts": {"pi-1": variables}}}),
        "logins": {"pi-1": target_to_dict(target)},
        "private_key": "",
        "variables": {},
        "secrets": [PASSWORD],
        "log_file": str(tmp_path / "log"),
        "timeout": 60,
    }
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.executors.ansible_process"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert not done.returncode, done.stdout + done.stderr
    said = [event for event in map(json.loads, done.stdout.splitlines()) if event["kind"] == "stats"]
    assert said[0]["attributes"] == {"pi-1": "root"}
    assert PASSWORD not in done.stdout + done.stderr + (tmp_path / "log").read_text(encoding="utf-8")


def test_machines_of_a_rehearsal_are_looked_at_by_its_name(cli: Cli, tmp_path: Path) -> None:
    file = template(tmp_path, [{"host": "192.0.2.1"}, {"host": "192.0.2.2"}], cluster=False)
    before = cli.run("doctor", file, "--rehearse")
    assert "there is nothing to reach before the apply" in before.stdout
    cli.run("apply", file, "--rehearse", "--auto-approve")
    try:
        after = json.loads(cli.run("doctor", NAME, "--json").stdout)
    finally:
        cli.run("destroy", NAME, "--auto-approve")
    assert after["rehearsal"] is True
    assert [m["board"]["hostname"] for m in after["machines"]] == ["pis-0", "pis-1"]
