"""The K3s plays over SSH on local machines: simulated Raspberry Pis from blank to Ready, and what may go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.clients.engine import connect
from orchestrator.errors import OperationError
from orchestrator.executors import children
from orchestrator.executors.ansible import AnsibleExecutor, _build_job
from orchestrator.executors.play_inputs import find_machines
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.observation import Presence
from orchestrator.remote.keys import generate_key
from orchestrator.remote.ssh import wait_for_ssh
from orchestrator.topology.model import Value
from tests.integration.k3s_bench import SITE, TOKEN, Bench, away, removed_in_the_end

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with removed_in_the_end(Bench(tmp_path_factory.mktemp("play"))) as made:
        made.make(0)
        made.make(1)
        yield made


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
