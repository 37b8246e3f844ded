"""Runs the plays as a person does: `ansible-playbook` with an inventory, from the folder of the plays."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
PLAYBOOKS = REPOSITORY / "playbooks"
_RECAP = re.compile(r"^(\S+)\s+: (ok=\d+ .*)$", re.MULTILINE)
_KEPT = ("PATH", "HOME", "LANG", "SSH_AUTH_SOCK", "XDG_CACHE_HOME")


@dataclass(frozen=True, slots=True)
class Played:
    """How a play went.

    Attributes:
        output: All that it said.
        exit_code: Of `ansible-playbook`.
        hosts: Host name to the counts of its recap (``ok``, ``changed``, ``failed``, ``unreachable``, …).
    """

    output: str
    exit_code: int
    hosts: Mapping[str, Mapping[str, int]]

    def total(self, count: str) -> int:
        """Sum of a count over all hosts."""
        return sum(counts[count] for counts in self.hosts.values())


def play(
    playbook: str | Path,
    inventory: Path,
    variables: Mapping[str, Any] | None = None,
    *,
    options: Sequence[str] = (),
    timeout: float = 300,
) -> Played:
    """Run a playbook, whatever comes of it.

    Args:
        playbook: Relative to the folder of the plays.
        inventory: Inventory file.
        variables: Further variables, as a JSON file's content would be.
        options: Further options of `ansible-playbook`.
        timeout: Seconds after which it is killed, which fails the test.
    """
    command = [_program("ansible-playbook"), "--inventory", str(inventory), *options, str(playbook)]
    if variables:
        command += ["--extra-vars", json.dumps(variables)]
    done = subprocess.run(
        command,
        cwd=PLAYBOOKS,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    recap = done.stdout.rpartition("PLAY RECAP")[2]
    hosts = {name: _counts(words) for name, words in _RECAP.findall(recap)}
    return Played(done.stdout, done.returncode, hosts)


def play_well(
    playbook: str | Path, inventory: Path, variables: Mapping[str, Any] | None = None, *, timeout: float = 300
) -> Played:
    """The same, and it must succeed on every host."""
    played = play(playbook, inventory, variables, timeout=timeout)
    assert played.exit_code == 0, played.output
    assert played.hosts, played.output
    return played


def list_inventory(inventory: Path) -> dict[str, Any]:
    """Groups and host variables as Ansible reads them."""
    done = subprocess.run(
        [_program("ansible-inventory"), "--inventory", str(inventory), "--list"],
        cwd=PLAYBOOKS,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    listed: dict[str, Any] = json.loads(done.stdout)
    return listed


def environment() -> dict[str, str]:
    """The environment of a person who is in the folder of the plays; nothing of the tests' own."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # The folder may be writable by others in a checkout of a group; then Ansible would not look for its settings there.
    return {**kept, "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _counts(words: str) -> dict[str, int]:
    return {key: int(value) for key, _, value in (word.partition("=") for word in words.split())}
