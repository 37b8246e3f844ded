"""Three simulated Pis with a cluster, and ways to break them in the middle of a play and to mend them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from docker.models.containers import Container

from orchestrator.clients.engine import connect
from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.remote.ssh import run, wait_for_ssh
from orchestrator.standin_files import standin_path
from orchestrator.topology.model import Value
from tests.integration.k3s_bench import SITE, TOKEN, Bench, nodes
from tests.plays_by_hand import Played, play
from tests.simulated_boards import render_inventory

BOUND = 120.0
"""Seconds within which a play has to give up, whatever is wrong."""

AT_GATE = "test -e /tmp/at-gate"
"""Succeeds on a board where a play stands at the gate."""

NAMES = ("pi-0", "pi-1", "pi-2")
STANDIN = standin_path("k3s_standin")

# Stands in the way of a program that the plays use: when it is called with what is in /run/gate, it says so and waits
# until that file is gone. A board whose power went has neither.
GATE = """\
#!/bin/sh
if [ -s /run/gate ] && echo "${0##*/} $*" | grep -q -F -f /run/gate; then
  touch /tmp/at-gate
  while [ -e /run/gate ]; do sleep 0.1; done
fi
exec %s "$@"
"""
# Takes the first kilobytes of a file, and then nothing more.
SHORT_TRANSFER = """\
#!/bin/sh
if grep -q -s transfer /run/gate; then
  {
    dd bs=1 count=20000 status=none
    touch /tmp/at-gate
    while [ -e /run/gate ]; do sleep 0.1; done
  } | /usr/lib/openssh/sftp-server
else
  exec /usr/lib/openssh/sftp-server
fi
"""


class FaultyCluster(Bench):
    """A server and two agents, played over by the executor (``site``) or by hand (``by_hand``)."""

    def request(self, file: str, inputs: Mapping[str, Value], operation: str = "configure") -> OperationRequest:
        """What the executor is asked for; a play that goes on for too long is ended."""
        return super().request(file, {"play_timeout": int(BOUND), **inputs}, operation)

    def by_hand(self, *options: str, **variables: Any) -> Played:
        """The play as a person runs it, within the bound; options are those of ``ansible-playbook``."""
        given = {**SITE, "k3s_token": TOKEN, "k3s_binary_file": str(STANDIN), "deployment_folder": str(self.folder)}
        inventory = self.folder / "inventory.yml"
        targets = [self.target(index) for index in range(3)]
        inventory.write_text(render_inventory(NAMES, targets, self.folder, given), encoding="utf-8")
        return play("site.yml", inventory, variables, options=options, timeout=BOUND)

    def container(self, index: int) -> Container:
        """The board past SSH."""
        return connect().containers.get(str(self.known[f"pi[{index}]"].attributes["machine_id"]))

    def console(self, index: int, command: str) -> str:
        """Do something as root on a board past SSH."""
        status, output = self.container(index).exec_run(["sh", "-c", command])
        assert status == 0, output
        return str(output.decode())

    def put(self, index: int, path: str, text: str) -> None:
        """Write a program there."""
        result = run(self.target(index), f"sudo tee {path} >/dev/null && sudo chmod 755 {path}", 60, text.encode())
        assert result.exit_code == 0, result

    def set_up_gates(self, index: int) -> None:
        """Put the gates in the way; they are open."""
        self.put(index, "/usr/local/sbin/systemctl", GATE % "/usr/bin/systemctl")
        self.put(index, "/usr/local/sbin/short-transfer", SHORT_TRANSFER)
        self.shell(index, "sudo sed -i 's|^Subsystem.*sftp.*|Subsystem sftp /usr/local/sbin/short-transfer|' "
                   "/etc/ssh/sshd_config && sudo systemctl reload ssh")  # fmt: skip

    def close_gate(self, index: int, call: str) -> None:
        """From now on the play stands still when it does this on the board."""
        self.console(index, f"rm -f /tmp/at-gate; echo '{call}' > /run/gate")

    def open_gate(self, index: int) -> None:
        """Let the next play through; what stands at the gate ends there, its work undone."""
        stale = "pkill -9 -f 'files in place on this machin[e]|[s]hort-transfer|sbin/system[c]tl'"
        self.console(index, f"{stale}; rm -f /run/gate /tmp/at-gate")

    def undo(self, index: int) -> None:
        """Have something to do for the next play: K3s is stopped and its binary gone."""
        unit = "k3s-agent" if index else "k3s"
        self.console(index, f"systemctl stop {unit}; rm -f /usr/local/bin/k3s")

    def cut(self, index: int) -> None:
        """End all SSH connections of a board, and let no other one begin."""
        self.console(
            index, "iptables -I INPUT -p tcp --dport 22 -j REJECT --reject-with tcp-reset; pkill -f '^sshd: deploy'"
        )

    def silence(self, index: int) -> None:
        """Let nothing of SSH get through any longer, and nobody know of it."""
        self.console(index, "iptables -I INPUT -p tcp --dport 22 -j DROP")

    def mend(self, index: int) -> None:
        """Let SSH through again."""
        self.console(index, "iptables -D INPUT 1")

    def lose_power(self, index: int) -> None:
        """Kill everything on a board at once, and start it again."""
        container = self.container(index)
        container.kill("SIGKILL")
        container.start()
        wait_for_ssh(self.target(index), 60, threading.Event())

    @contextmanager
    def while_it_waits(self, index: int, act: Callable[[int], None], reached: str = AT_GATE) -> Iterator[None]:
        """During the block, which plays, act on a board as soon as the play stands at its gate, or somewhere else."""
        container, ended, failed = self.container(index), threading.Event(), []

        def watch() -> None:
            try:
                while container.exec_run(["sh", "-c", reached]).exit_code:
                    assert not ended.wait(0.1), "the play did not come there"
                act(index)
            except BaseException as reason:  # noqa: BLE001 - told below, in the test's own thread
                failed.append(reason)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join(BOUND)
        assert not watcher.is_alive()
        assert failed == []

    def completes(self, *, by_itself: bool = False, **inputs: Value) -> OperationResult:
        """A run after mending brings every node back, and the next one has nothing to do.

        The first one has something to do, unless a board may have come up by itself.
        """
        mended = self.site(**inputs)
        assert mended.changed or by_itself
        self.is_whole()
        assert not self.site(**inputs).changed
        return mended

    def is_whole(self) -> None:
        """Every node is Ready, and no file of a cut off run is left."""
        found = nodes(self)
        assert sorted(found) == list(NAMES)
        assert [n["status"]["conditions"][-1]["status"] for n in found.values()] == ["True"] * 3
        for index in range(3):
            folders = "/etc/rancher /etc/systemd/system /boot /var/lib/continuum-deploy /usr/local/bin"
            left = f"sudo find {folders} -name '*.new' -o -name '.ansible_tmp*'"
            assert self.shell(index, left) == ""


@contextmanager
def bounded() -> Iterator[None]:
    """The block has to end in time."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < BOUND
