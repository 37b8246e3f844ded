"""A production file applied for real onto boards that are there already, and taken away again without a trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.clients.engine import engine_architecture
from orchestrator.remote.ssh import run
from orchestrator.remote.target import SshTarget
from orchestrator.standin_files import standin_path
from tests.e2e.command_line import Cli
from tests.secret_search import SecretSearch
from tests.simulated_boards import Boards, simulated_boards

pytestmark = pytest.mark.engine

NAME = "own-machines"
CLUSTER = "layer1-rasppi-k3s"
PASSWORD = "the-word-that-sudo-asks-for"
LINE = "continuum-deploy:"
EVERYTHING = (
    "sudo -n find /etc /home /boot /usr/local /opt /root /var/lib -xdev "
    r"\( -path /var/lib/systemd -o -path /var/lib/dpkg -o -path /var/lib/apt \) -prune -o "
    r"\( -type f -printf '%p %m %U ' -exec sha256sum -b {} \; -o -type l -printf '%p -> %l\n' "
    r"-o -type d -printf '%p/ %m %U\n' \) | sort"
)
PRODUCTION = """\
System:
  name: Own Machines
  NetworkDomains:
    ND1:
      ComputationalLayers:
        computationalLayer1:
          name: Edge Layer
          number: 1
          type: PhysicalToBeProvisioned
          Resources:
            resource1:
              name: RaspPi
              totalNodes: 2
              memorySize: 512
              storageSize: 8
              processors:
                processor1: {{name: BCM2711, type: Cortex-A72, architecture: {architecture}, computingUnits: 2}}
  Components:
    component1:
      name: blurry-faces
      executionLayer: 1
      Containers:
        container1:
          image: registry.example.org/blurry-faces:1.0
          memorySize: 128
          computingUnits: 0.5
          selectedExecutionResource: RaspPi
"""


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[Boards]:
    """Two boards; the second one's owner has to give a password to sudo."""
    folder = tmp_path / "owner"
    folder.mkdir()
    with simulated_boards(folder, 2) as made:
        yield made


def shell(target: SshTarget, command: str) -> str:
    done = run(target, command, 60)
    assert done.exit_code == 0, done
    return done.stdout


def ask_for_password(target: SshTarget) -> None:
    shell(target, f"echo {target.user}:{PASSWORD} | sudo chpasswd")
    shell(target, f"sudo sed -i s/NOPASSWD:// /etc/sudoers.d/{target.user}")


def let_sudo_be(target: SshTarget) -> None:
    shell(target, f"echo {PASSWORD} | sudo -S -p '' sed -i s/ALL$/NOPASSWD:ALL/ /etc/sudoers.d/{target.user}")


def check_by_hand(cli: Cli, file: Path, folder: Path) -> None:
    """A person's Ansible, with the printed inventory and the host keys that were learned, works as root there."""
    for form in ("yaml", "ini", "json"):
        inventory = folder / f"by-hand.{form}"
        inventory.write_text(cli.run("inventory", file, "--format", form).stdout, encoding="utf-8")
        hosts = cli.folder / ".deploy" / NAME / "state" / "known_hosts"
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible")),
                "all",
                "--inventory",
                str(inventory),
                f"--ssh-common-args=-o UserKnownHostsFile={hosts} -o StrictHostKeyChecking=yes",
                "--become",
                "--module-name",
                "ansible.builtin.command",
                "--args",
                "cat /var/lib/continuum-deploy/claim.json",
            ],
            env={**os.environ, "PI_SUDO": PASSWORD},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert [f'"layer1-rasppi[{i}]"' in done.stdout for i in range(2)] == [True, True]


@pytest.fixture
def file(boards: Boards, tmp_path: Path) -> Path:
    """The production file, with an inventory beside it as its owner has one."""
    path = tmp_path / "production.yaml"
    path.write_text(PRODUCTION.format(architecture=engine_architecture()), encoding="utf-8")
    lines = [f"{name} ansible_host={t.host}" for name, t in zip(boards.names, boards.targets, strict=True)]
    lines[1] += " ansible_become_password=env:PI_SUDO"
    text = f"""\
[rasppi]
{lines[0]}
{lines[1]}
[rasppi:vars]
ansible_user={boards.targets[0].user}
ansible_ssh_private_key_file={boards.targets[0].key_file}
"""
    (tmp_path / "inventory.ini").write_text(text, encoding="utf-8")
    return path


def test_boards_are_set_up_for_real_and_given_back_as_they_were(
    cli: Cli, boards: Boards, file: Path, tmp_path: Path
) -> None:
    before = [shell(target, EVERYTHING) for target in boards.targets]
    ask_for_password(boards.targets[1])
    cli = replace(cli, environment={"PI_SUDO": PASSWORD})
    apply = ("apply", file, "--target", CLUSTER, "--k3s-binary", standin_path("k3s_standin"), "--auto-approve")

    refused = replace(cli, environment={}).run(*apply, expect=2)
    assert "the environment variable PI_SUDO is not set" in refused.stderr
    assert shell(boards.targets[0], EVERYTHING) == before[0], "nothing is touched before all is known"

    done = cli.run(*apply)
    assert "trusted at the first contact" in done.stderr
    claims = [shell(target, "cat /var/lib/continuum-deploy/claim.json") for target in boards.targets]
    assert [json.loads(claim)["deployment"] for claim in claims] == [NAME, NAME]
    for target in boards.targets:
        assert shell(target, "cat ~/.ssh/authorized_keys").count(LINE) == 1
    nodes = json.loads(cli.run("manifest", NAME, "--format", "json").stdout)["clusters"][0]["nodes"]
    assert [node["state"] for node in nodes] == ["started", "started"]
    assert cli.run("ssh", NAME, "layer1-rasppi[1]", "--", "hostname").stdout.strip() == "pi-1"
    assert "No changes" in cli.run("plan", *apply[1:-1], "--detailed-exitcode").stdout

    check_by_hand(cli, file, tmp_path)

    stranger = Cli(tmp_path / "stranger", cli.environment)
    stranger.folder.mkdir()
    refused = stranger.run(*apply, expect=1)
    assert "A machine belongs to another deployment." in refused.stderr
    assert f"deployment '{NAME}'" in refused.stderr
    stranger.run("destroy", "--auto-approve")
    assert [shell(target, "cat /var/lib/continuum-deploy/claim.json") for target in boards.targets] == claims

    cli.run("destroy", "--auto-approve")
    let_sudo_be(boards.targets[1])
    after = [shell(target, EVERYTHING) for target in boards.targets]
    assert after[0].splitlines() == before[0].splitlines()
    kept = ("/etc/shadow", "/etc/shadow-", "/etc/sudoers.d")
    assert [line for line in after[1].splitlines() if not line.startswith(kept)] == [
        line for line in before[1].splitlines() if not line.startswith(kept)
    ]
    assert SecretSearch({"sudo": PASSWORD}).files(cli.folder) == {}
