"""The K3s plays over SSH on local machines: simulated Raspberry Pis from blank to Ready, and what may go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from orchestrator.clients.engine import connect, engine_architecture
from orchestrator.errors import OperationError
from orchestrator.executors import children
from orchestrator.executors.ansible import AnsibleExecutor, _build_job
from orchestrator.executors.base import Folders, OperationRequest, OperationResult
from orchestrator.executors.play_inputs import find_machines
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Presence
from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.local.provider import LocalProvider
from orchestrator.remote.keys import generate_key
from orchestrator.remote.ssh import run, wait_for_ssh
from orchestrator.remote.target import SshTarget
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value
from tests.secrets_in_memory import memory_secrets

pytestmark = pytest.mark.engine

TOKEN = "token-of-the-test-cluster"
SITE = MappingProxyType(
    {
        "k3s_version": "",
        "k3s_cluster_name": "edge",
        "k3s_token": "secret:edge-token",
        "k3s_binary_file": "resource:standins/k3s_standin",
        "k3s_node_labels": {"layer": "edge"},
    }
)


class Bench:
    """Two simulated Pis, and plays over them."""

    def __init__(self, folder: Path) -> None:
        lineage = uuid.uuid4().hex
        self.tag = DeploymentTag(f"play-{lineage[:8]}", lineage)
        self.provider = LocalProvider()
        self.folder = folder
        private, self.public = generate_key()
        self.secrets = memory_secrets({"edge-token": TOKEN, "ssh-key": private})
        self.key = folder / "key" / "id_ed25519"
        self.key.parent.mkdir()
        self.key.write_text(private)
        self.key.chmod(0o600)
        self.known: dict[str, InstanceRecord] = {}
        self.runs = 0

    def make(self, index: int) -> SshTarget:
        address, hostname = f"pi[{index}]", f"pi-{index}"
        request = MachineRequest(
            deployment=self.tag,
            address=address,
            token=uuid.uuid4().hex,
            hostname=hostname,
            architecture=engine_architecture(),
            cpus=2,
            memory_mb=512,
            authorized_key=self.public,
            settings={"firmware": "raspberry-pi"},
        )
        made = self.provider.create(request)
        seen: dict[str, Value] = {"machine_id": made.id, "host": made.host, "port": made.port, "user": made.user}
        seen.update({"host_key": made.host_key, "hostname": hostname})
        self.known[address] = InstanceRecord(address, "pi", "continuum.nodes.PhysicalMachine", attributes=seen)
        wait_for_ssh(self.target(index), 60, threading.Event())
        return self.target(index)

    def remove(self, index: int) -> None:
        self.provider.delete(str(self.known.pop(f"pi[{index}]").attributes["machine_id"]))

    def target(self, index: int) -> SshTarget:
        seen = self.known[f"pi[{index}]"].attributes
        host, port, user = str(seen["host"]), int(str(seen["port"])), str(seen["user"])
        return SshTarget(host, port, user, self.key, str(seen["host_key"]))

    def shell(self, index: int, command: str) -> str:
        result = run(self.target(index), command, 60)
        assert result.exit_code == 0, result
        return result.stdout

    def request(self, file: str, inputs: Mapping[str, Value], operation: str = "configure") -> OperationRequest:
        self.runs += 1
        implementation = Operation(operation, "continuum.artifacts.AnsiblePlaybook", file, inputs)
        machines = tuple(sorted(self.known))
        cluster = DesiredInstance("edge", "edge", "continuum.nodes.K3sCluster", requirements={"machine": machines})
        seen: dict[str, Value] = {"kubeconfig": "kubeconfig/edge.yaml", "nodes": ["pi-0", "pi-1"]}
        folders = Folders(self.folder, self.folder / "runs" / str(self.runs), self.folder, self.folder)
        return OperationRequest(
            tag=self.tag,
            action=Action.CREATE,
            operation=operation,
            implementation=implementation,
            instance=cluster,
            record=InstanceRecord("edge", "edge", "continuum.nodes.K3sCluster", attributes=seen),
            known=dict(self.known),
            desired={"edge": cluster},
            folders=folders,
            secrets=self.secrets,
            progress=lambda _line: None,
            cancel=threading.Event(),
        )

    def site(self, **inputs: Value) -> OperationResult:
        return AnsibleExecutor().run(self.request("playbooks/site.yml", {**SITE, **inputs}))

    def said(self) -> str:
        """What Ansible printed in the last run, and K3s on the first machine, for a test that fails."""
        logs = sorted((self.folder / "runs" / str(self.runs)).rglob("*.log"))
        journal = self.shell(0, "sudo journalctl --no-pager -u k3s | tail -n 60")
        return "\n".join([*(log.read_text(encoding="utf-8") for log in logs), journal])

    def presence(self) -> tuple[Presence, str]:
        observation = AnsibleExecutor().observe(self.request("playbooks/site.yml", SITE))
        return observation.presence, observation.detail


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("play"))
    try:
        made.make(0)
        made.make(1)
        yield made
    finally:
        for machine in made.provider.find(made.tag):
            made.provider.delete(machine.id)
        made.provider.release(made.tag)
    assert made.provider.leftovers(made.tag) == []


@pytest.fixture
def cluster(bench: Bench) -> Bench:
    """The machines with their cluster, whichever tests ran before."""
    if not bench.runs:
        bench.site()
    return bench


def test_from_blank_boards_to_a_ready_cluster(bench: Bench) -> None:
    boots = [bench.shell(i, "cat /proc/sys/kernel/random/boot_id") for i in (0, 1)]
    assert "cgroup_enable=memory" not in bench.shell(0, "cat /boot/firmware/cmdline.txt")
    result = bench.site()
    assert result.changed
    assert result.attributes["nodes"] == ["pi-0", "pi-1"]
    assert result.attributes["api_endpoint"] == f"https://{bench.target(0).host}:6443"
    assert bench.presence() == (Presence.PRESENT, "2 nodes ready")
    for index, boot in enumerate(boots):
        assert bench.shell(index, "cat /proc/sys/kernel/random/boot_id") != boot, "the board was to be rebooted"
        assert len(bench.shell(index, "cat /boot/firmware/cmdline.txt").splitlines()) == 1
        modes = bench.shell(index, "sudo stat -c %a /etc/rancher/k3s/config.yaml /etc/rancher/node/password")
        assert modes.split() == ["600", "600"]


def test_a_second_run_changes_and_restarts_nothing(bench: Bench) -> None:
    started = [bench.shell(i, "systemctl show -P ActiveEnterTimestampMonotonic k3s k3s-agent") for i in (0, 1)]
    assert not bench.site().changed
    assert [bench.shell(i, "systemctl show -P ActiveEnterTimestampMonotonic k3s k3s-agent") for i in (0, 1)] == started


def test_nothing_secret_is_left_on_the_controller(bench: Bench) -> None:
    allowed = {bench.folder / "kubeconfig" / "edge.yaml"}
    assert [p.stat().st_mode & 0o777 for p in allowed] == [0o600]
    files = [p for p in bench.folder.rglob("*") if p.is_file() and p not in allowed]
    assert files
    assert [p for p in files if TOKEN in p.read_text(errors="replace")] == []
    owned = [p for p in Path("/dev/shm").glob("deploy-play-*") if not Path("/proc", p.name.split("-")[2]).exists()]
    assert owned == []


def test_a_run_that_was_cut_off_between_writing_and_restarting_is_made_good(bench: Bench) -> None:
    bench.shell(1, "echo '# changed' | sudo tee -a /etc/systemd/system/k3s-agent.service")
    assert bench.site().changed
    assert not bench.site().changed


def test_a_failing_node_is_named_with_its_journal_and_the_next_run_mends_it(bench: Bench) -> None:
    bench.shell(1, """echo '{"fail": "no space left on device"}' | sudo tee /etc/k3s-standin.json""")
    bench.shell(1, "sudo systemctl stop k3s-agent")
    began = time.monotonic()
    with pytest.raises(OperationError) as caught:
        bench.site()
    assert time.monotonic() - began < 60
    assert "pi-1 failed" in caught.value.detail
    assert "no space left on device" in caught.value.detail
    bench.shell(1, "sudo rm /etc/k3s-standin.json")
    bench.site()
    assert bench.presence()[0] is Presence.PRESENT


@pytest.mark.slow
def test_a_node_that_does_not_get_ready_is_named(cluster: Bench) -> None:
    cluster.shell(1, """echo '{"not_ready": "container runtime is down"}' | sudo tee /etc/k3s-standin.json""")
    time.sleep(2)
    assert cluster.presence() == (Presence.DEGRADED, "node pi-1 is not ready: container runtime is down")
    with pytest.raises(OperationError, match="pi-1: container runtime is down"):
        cluster.site(k3s_ready_timeout=3)
    cluster.shell(1, "sudo rm /etc/k3s-standin.json")
    cluster.site()


@pytest.mark.slow
def test_a_machine_made_anew_under_the_same_name_rejoins(cluster: Bench) -> None:
    cluster.remove(1)
    cluster.make(1)
    assert cluster.site().changed
    assert cluster.presence() == (Presence.PRESENT, "2 nodes ready")


@pytest.mark.slow
def test_the_server_made_anew_takes_its_agents_back(cluster: Bench) -> None:
    cluster.remove(0)
    cluster.make(0)
    assert cluster.presence()[0] is Presence.DEGRADED
    assert cluster.site().changed
    assert cluster.presence() == (Presence.PRESENT, "2 nodes ready")


def away(request: OperationRequest, address: str) -> OperationRequest:
    """The request with a machine that nothing answers for."""
    closed = {**request.known[address].attributes, "port": 9}
    return replace(request, known={**request.known, address: replace(request.known[address], attributes=closed)})


def test_a_cluster_does_without_an_agent_that_is_away_and_is_completed_later(bench: Bench) -> None:
    lines: list[str] = []
    request = away(bench.request("playbooks/site.yml", SITE), "pi[1]")
    result = AnsibleExecutor().run(replace(request, progress=lines.append))
    assert result.attributes["degraded"] == ["pi[1]"]
    assert result.attributes["api_endpoint"]
    assert lines[-1] == "went on without pi[1], which cannot be reached"
    record = replace(request.record, attributes={**request.record.attributes, **result.attributes})
    completed = AnsibleExecutor().run(replace(bench.request("playbooks/site.yml", SITE), record=record))
    assert completed.attributes["degraded"] == []


@pytest.mark.slow
def test_a_cluster_does_without_an_agent_that_was_never_made(cluster: Bench) -> None:
    request = cluster.request("playbooks/site.yml", SITE)
    known = {address: record for address, record in request.known.items() if address != "pi[1]"}
    pi = DesiredInstance("pi[1]", "pi", "continuum.nodes.PhysicalMachine", index=1, provider="local")
    result = AnsibleExecutor().run(replace(request, known=known, desired={**request.desired, "pi[1]": pi}))
    assert result.attributes["degraded"] == ["pi[1]"]
    assert not cluster.site().changed, "the node of a machine that is only missing must not be taken out of the cluster"
    assert cluster.presence() == (Presence.PRESENT, "2 nodes ready")


@pytest.mark.slow
def test_a_board_that_does_not_come_back_from_its_reboot_is_done_without_and_completed_later(cluster: Bench) -> None:
    cluster.remove(1)
    cluster.make(1)
    cluster.shell(1, "sudo touch /boot/firmware/does-not-boot")
    lines: list[str] = []
    request = cluster.request("playbooks/site.yml", {**SITE, "k3s_prerequisites_reboot_timeout": 8})
    result = AnsibleExecutor().run(replace(request, progress=lines.append))
    assert result.attributes["degraded"] == ["pi[1]"]
    assert result.attributes["degraded_because"] == {"pi[1]": "did not come back from its reboot within 8 s"}
    assert lines[-1] == "went on without pi[1], which did not come back from its reboot within 8 s"
    assert "Look for the board after its reboot" in lines

    record = replace(request.record, attributes={**request.record.attributes, **result.attributes})
    again = replace(cluster.request("playbooks/site.yml", SITE), record=record)
    assert AnsibleExecutor().run(again).attributes["degraded_because"] == result.attributes["degraded_because"]

    board = connect().containers.get(str(cluster.known["pi[1]"].attributes["machine_id"]))
    assert board.exec_run(["rm", "/boot/firmware/does-not-boot"]).exit_code == 0
    board.restart(timeout=0)
    wait_for_ssh(cluster.target(1), 60, threading.Event())
    completed = AnsibleExecutor().run(replace(cluster.request("playbooks/site.yml", SITE), record=record))
    assert (completed.attributes["degraded"], completed.attributes["degraded_because"]) == ([], {})
    assert completed.changed
    assert cluster.presence() == (Presence.PRESENT, "2 nodes ready")
    assert not cluster.site().changed


@pytest.mark.slow
def test_a_server_that_does_not_come_back_from_its_reboot_is_a_failure_that_says_so(cluster: Bench) -> None:
    cluster.remove(0)
    cluster.make(0)
    cluster.shell(0, "sudo touch /boot/firmware/does-not-boot")
    with pytest.raises(OperationError, match="pi-0 did not come back from its reboot within 8 s") as caught:
        cluster.site(k3s_prerequisites_reboot_timeout=8)
    assert not caught.value.transient, "it was waited for long enough"
    cluster.remove(0)
    cluster.make(0)
    assert cluster.site().changed
    assert cluster.presence() == (Presence.PRESENT, "2 nodes ready")
    assert not cluster.site().changed


def test_without_its_server_a_cluster_is_nothing_but_it_may_come_back(bench: Bench) -> None:
    with pytest.raises(OperationError, match="pi-0 cannot be reached") as caught:
        AnsibleExecutor().run(away(bench.request("playbooks/site.yml", SITE), "pi[0]"))
    assert caught.value.transient


def test_what_is_to_be_removed_must_be_reached(bench: Bench) -> None:
    inputs: dict[str, Value] = {"image_name": "blurry", "image_archive_state": "absent"}
    with pytest.raises(OperationError, match="pi-1 cannot be reached"):
        AnsibleExecutor().run(away(bench.request("playbooks/image_archive.yml", inputs, "delete"), "pi[1]"))


@pytest.mark.slow
def test_a_play_that_hangs_is_ended_and_says_where(cluster: Bench) -> None:
    hanging = "#!/bin/sh\nexec sleep 300\n"
    cluster.shell(1, f"printf '{hanging}' | sudo tee /usr/local/sbin/hanging >/dev/null")
    cluster.shell(1, "sudo chmod 755 /usr/local/sbin/hanging; sudo mv /usr/bin/python3 /usr/bin/python3.kept")
    cluster.shell(1, "sudo ln -s /usr/local/sbin/hanging /usr/bin/python3; sudo rm -f /usr/local/bin/k3s")
    try:
        with pytest.raises(
            OperationError, match=r"nothing was heard of it for 20 s, at the task 'Read the board' on pi-1"
        ) as caught:
            cluster.site(play_silence=20)
        assert not caught.value.transient
    finally:
        cluster.shell(1, "sudo mv -T /usr/bin/python3.kept /usr/bin/python3; sudo rm /usr/local/sbin/hanging")
    cluster.site()
    assert cluster.presence() == (Presence.PRESENT, "2 nodes ready")


def test_a_machine_with_another_host_key_is_refused(bench: Bench) -> None:
    request = bench.request("playbooks/site.yml", SITE)
    other = {**request.known["pi[1]"].attributes, "host_key": generate_key()[1]}
    known = {**request.known, "pi[1]": replace(request.known["pi[1]"], attributes=other)}
    with pytest.raises(OperationError, match=r"(?s)pi-1 cannot be reached.*[Hh]ost key verification failed") as caught:
        AnsibleExecutor().run(replace(request, known=known))
    assert not caught.value.transient


def test_a_wrong_checksum_stops_before_anything_is_copied(bench: Bench) -> None:
    with pytest.raises(OperationError, match="has the checksum"):
        bench.site(k3s_binary_sha256="0" * 64)


def test_an_image_archive_is_put_once_and_taken_away(bench: Bench, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    (tmp_path / "manifest.json").write_text("[]")
    subprocess.run(["tar", "-cf", archive, "-C", tmp_path, "manifest.json"], check=True, timeout=30)
    inputs: dict[str, Value] = {"image_archive_file": str(archive), "image_archive_digest": "", "image_name": "blurry"}
    executor = AnsibleExecutor()
    assert executor.run(bench.request("playbooks/image_archive.yml", inputs, "create")).changed
    assert not executor.run(bench.request("playbooks/image_archive.yml", inputs, "create")).changed
    assert "blurry.tar" in bench.shell(1, "ls /var/lib/rancher/k3s/agent/images")
    executor.run(bench.request("playbooks/image_archive.yml", {**inputs, "image_archive_state": "absent"}, "delete"))
    assert bench.shell(1, "ls /var/lib/rancher/k3s/agent/images") == ""


def test_stopping_a_play_leaves_no_process_and_the_lock_free(bench: Bench, tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    started = threading.Event()
    request = replace(bench.request("playbooks/site.yml", SITE), lock_fds=(lock,), progress=lambda _line: started.set())
    failed: list[OperationError] = []

    def play() -> None:
        try:
            AnsibleExecutor().run(request)
        except OperationError as reason:
            failed.append(reason)

    thread = threading.Thread(target=play)
    thread.start()
    assert started.wait(30)
    holders = f"for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null | grep -q {tmp_path}/lock && echo $p; done; true"
    holding = subprocess.run(
        ["sh", "-c", holders], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()
    assert len(holding) >= 2, "the child must hold the lock's descriptor too"
    children.kill_all()
    thread.join(20)
    assert not thread.is_alive()
    assert failed
    os.close(lock)
    holding = subprocess.run(
        ["sh", "-c", holders], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()
    assert holding == []
    assert bench.site().attributes["nodes"] == ["pi-0", "pi-1"]


def test_the_parent_may_die_and_the_play_goes_on_to_its_end(bench: Bench, tmp_path: Path) -> None:
    request = bench.request("playbooks/site.yml", SITE)
    job = _build_job(request, find_machines(request))
    text = tmp_path / "job.json"
    text.write_text(json.dumps(job))
    reader, writer = os.pipe()
    with text.open("rb") as stdin:
        child = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.executors.ansible_process"],
            stdin=stdin,
            stdout=writer,
            start_new_session=True,
        )
    os.close(writer)
    os.close(reader)
    assert child.wait(120) == 0
    assert "PLAY RECAP" in Path(job["log_file"]).read_text()


def test_reset_leaves_nothing_and_may_be_repeated(bench: Bench) -> None:
    inputs: dict[str, Value] = {"k3s_cluster_name": "edge"}
    executor = AnsibleExecutor()
    assert executor.run(bench.request("playbooks/reset.yml", inputs, "delete")).changed
    assert not executor.run(bench.request("playbooks/reset.yml", inputs, "delete")).changed
    search = (
        "sudo find / -xdev \\( -name '*k3s*' -o -name 'rancher' -o -name 'continuum-deploy' \\) 2>/dev/null || true"
    )
    for index in (0, 1):
        assert bench.shell(index, search) == ""
        assert "cgroup" not in bench.shell(index, "cat /boot/firmware/cmdline.txt")
    assert list((bench.folder / "kubeconfig").iterdir()) == []
