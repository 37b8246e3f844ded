"""What may go wrong while K3s is put on simulated Pis: it ends in time, tells node and cause, and a run mends it."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from orchestrator.clients.engine import engine_architecture
from orchestrator.errors import OperationError
from orchestrator.executors.ansible import AnsibleExecutor
from orchestrator.topology.model import Value
from tests.http_server import serving
from tests.integration.existing.test_existing_cluster import certificate
from tests.integration.faulty_cluster import AT_GATE, STANDIN, FaultyCluster, bounded
from tests.integration.k3s_bench import SITE, TOKEN, removed_in_the_end

pytestmark = pytest.mark.engine

START = "Put the files in place and start K3s"
BEFORE_START = "systemctl daemon-reload"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyCluster]:
    """One server and two agents, running."""
    with removed_in_the_end(FaultyCluster(tmp_path_factory.mktemp("faults"))) as made:
        for index in range(3):
            made.make(index)
            made.set_up_gates(index)
        made.site()
        yield made


def refusal(cluster: FaultyCluster, **inputs: Value) -> OperationError:
    """What a run says that fails, in time."""
    with bounded(), pytest.raises(OperationError) as caught:
        cluster.site(**inputs)
    return caught.value


# ------------------------------------------------------------------------------------------- connections, power


def test_an_agent_whose_connection_is_cut_in_mid_play_is_done_without_and_completed_later(
    cluster: FaultyCluster,
) -> None:
    cluster.undo(1)
    cluster.undo(2)
    cluster.close_gate(1, BEFORE_START)
    lines: list[str] = []
    request = replace(cluster.request("playbooks/site.yml", SITE), progress=lines.append)
    with bounded(), cluster.while_it_waits(1, cluster.cut):
        result = AnsibleExecutor().run(request)
    assert result.attributes["degraded"] == ["pi[1]"]
    assert lines[-1] == "went on without pi[1], which cannot be reached"
    assert START in lines
    cluster.mend(1)
    cluster.open_gate(1)
    assert cluster.completes().attributes.get("degraded", []) == []


@pytest.mark.slow
def test_a_server_whose_connection_is_cut_in_mid_play_ends_it_and_is_named(cluster: FaultyCluster) -> None:
    cluster.undo(0)
    cluster.close_gate(0, BEFORE_START)
    with cluster.while_it_waits(0, cluster.cut):
        refused = refusal(cluster)
    assert f"pi-0 cannot be reached at the task '{START}': its SSH connection broke off" in refused.detail
    assert refused.transient
    assert "pi-1" not in refused.detail
    cluster.mend(0)
    cluster.open_gate(0)
    cluster.completes()


@pytest.mark.slow
def test_a_connection_over_which_nothing_comes_any_longer_ends_a_play_by_hand_in_time(cluster: FaultyCluster) -> None:
    cluster.undo(1)
    cluster.undo(2)
    cluster.close_gate(1, BEFORE_START)
    with bounded(), cluster.while_it_waits(1, cluster.silence):
        played = cluster.by_hand()
    assert played.exit_code == 4, played.output
    assert "fatal: [pi-1]: UNREACHABLE!" in played.output
    assert played.hosts["pi-1"]["unreachable"] == 1
    assert (played.hosts["pi-2"]["failed"], played.hosts["pi-0"]["failed"]) == (0, 0)
    cluster.mend(1)
    cluster.open_gate(1)
    cluster.completes()


@pytest.mark.parametrize(
    ("moment", "index"),
    [
        pytest.param("transfer", 1, id="copying-agent", marks=pytest.mark.slow),
        pytest.param("transfer", 0, id="copying-server", marks=pytest.mark.slow),
        pytest.param(BEFORE_START, 1, id="before-start-agent", marks=pytest.mark.slow),
        pytest.param(BEFORE_START, 0, id="before-start-server", marks=pytest.mark.slow),
        pytest.param("starting", 1, id="starting-agent", marks=pytest.mark.slow),
        pytest.param("starting", 0, id="starting-server"),
    ],
)
def test_a_machine_that_loses_its_power_in_mid_install_is_completed_by_the_next_run(
    cluster: FaultyCluster, moment: str, index: int
) -> None:
    cluster.undo(index)
    if moment == "starting":
        cluster.console(index, """echo '{"start_delay": 600}' > /etc/k3s-standin.json""")
        reached = f"systemctl is-active {'k3s-agent' if index else 'k3s'} | grep -qx activating"
    else:
        cluster.close_gate(index, moment)
        reached = AT_GATE
    with bounded(), cluster.while_it_waits(index, cluster.lose_power, reached):
        played = cluster.by_hand()
    assert played.exit_code != 0
    assert f"fatal: [pi-{index}]: UNREACHABLE!" in played.output, played.output
    cluster.console(index, "rm -f /etc/k3s-standin.json")
    # Where all was in place already, systemd starts K3s at the boot.
    cluster.completes(by_itself=moment != "transfer")


def test_files_that_a_power_loss_left_half_written_are_not_taken_for_good(cluster: FaultyCluster) -> None:
    """A journalling file system may have a file's name and size, and not its content."""
    truncated = "truncate -s 20000 /usr/local/bin/k3s; cd /etc/rancher/k3s; truncate -s 20 config.yaml"
    unit = "cd /etc/systemd/system; : > k3s-agent.service; echo half > k3s-agent.service.new"
    cluster.console(1, f"systemctl stop k3s-agent; {truncated}; echo half > config.yaml.new; {unit}")
    cluster.lose_power(1)
    cluster.completes()


# The command line and its record, of a board that has not been rebooted yet.
NOTED = {"command_line": {"file": "/boot/firmware/cmdline.txt", "added": ["cgroup_memory=1"]}}


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(json.dumps(NOTED), id="noted", marks=pytest.mark.slow),
        pytest.param("", id="empty", marks=pytest.mark.slow),
        pytest.param('{"comm', id="half", marks=pytest.mark.slow),
    ],
)
def test_a_record_of_changes_that_a_power_loss_left_is_gone_on_with(cluster: FaultyCluster, record: str) -> None:
    cluster.remove(2)
    cluster.make(2)
    cluster.put(2, "/boot/firmware/cmdline.txt.new", "console=serial0,115200 root")
    cluster.console(
        2, f"mkdir -p /var/lib/continuum-deploy; printf '%s' '{record}' > /var/lib/continuum-deploy/changes.json"
    )
    line = cluster.shell(2, "cat /boot/firmware/cmdline.txt").split()
    cluster.completes()
    assert cluster.shell(2, "cat /boot/firmware/cmdline.txt").splitlines() == [
        " ".join([*line, "cgroup_enable=cpuset", "cgroup_memory=1", "cgroup_enable=memory"])
    ]
    noted = json.loads(cluster.shell(2, "cat /var/lib/continuum-deploy/changes.json"))["command_line"]["added"]
    assert sorted(noted) == ["cgroup_enable=cpuset", "cgroup_enable=memory", "cgroup_memory=1"]
    cluster.set_up_gates(2)


# -------------------------------------------------------------------------------------------------------- disks


def fill(cluster: FaultyCluster, index: int, folder: str) -> None:
    """A small file system, full, where a folder of a board was."""
    mount = f"mount -t tmpfs -o size=64k,nr_inodes=2,mode=755 tmpfs {folder}; chown --reference={folder}/.. {folder}"
    cluster.console(index, f"mkdir -p {folder}; {mount}; cat /dev/zero > {folder}/full 2>/dev/null || true")


def empty(cluster: FaultyCluster, index: int, folder: str) -> None:
    cluster.console(index, f"umount -l {folder}")


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        pytest.param("/usr/local/bin", "No space left on device", id="binary", marks=pytest.mark.slow),
        pytest.param(
            "/etc/rancher/k3s",
            "/etc/rancher/k3s/config.yaml cannot be written: No space left on device",
            id="configuration",
            marks=pytest.mark.slow,
        ),
        pytest.param("/var/lib/rancher/k3s/agent", "The disk is full.", id="data", marks=pytest.mark.slow),
        pytest.param("/home/deploy/.ansible", "No space left on device", id="login", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_named_and_the_next_run_completes(cluster: FaultyCluster, folder: str, said: str) -> None:
    cluster.undo(1)
    fill(cluster, 1, folder)
    try:
        refused = refusal(cluster)
    finally:
        empty(cluster, 1, folder)
    assert "pi-1 failed" in refused.detail
    assert said in refused.detail
    cluster.completes()


# ------------------------------------------------------------------------------------------------- what is installed


def test_a_program_that_cannot_run_there_is_named_and_the_next_run_completes(
    cluster: FaultyCluster, tmp_path: Path
) -> None:
    number = 183 if engine_architecture() == "amd64" else 62
    wrong = tmp_path / "k3s"
    program = bytearray(Path("/bin/true").read_bytes())
    program[18:20] = number.to_bytes(2, "little")
    wrong.write_bytes(program)
    cluster.undo(1)
    refused = refusal(cluster, k3s_binary_file=str(wrong))
    assert "is to run on pi-0, pi-1, pi-2" in refused.detail
    # The right kind of file by its header, and no program.
    wrong.write_bytes(Path("/bin/true").read_bytes()[:200])
    damaged = refusal(cluster, k3s_binary_file=str(wrong))
    assert "pi-1 failed" in damaged.detail
    assert "Exec format error" in damaged.detail
    cluster.completes()


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address and the folder of a release behind HTTPS, with an authority of its own."""
    pair, pem = certificate(tmp_path / "front")
    (tmp_path / "authority.pem").write_text(pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    folder = tmp_path / "release"
    folder.mkdir()
    with serving(partial(SimpleHTTPRequestHandler, directory=str(folder)), pair) as url:
        yield url, folder


@pytest.mark.slow
def test_a_release_without_its_checksum_is_named_and_the_next_run_completes(
    cluster: FaultyCluster, release: tuple[str, Path]
) -> None:
    url, folder = release
    architecture = engine_architecture()
    binary = "k3s" if architecture == "amd64" else f"k3s-{architecture}"
    shutil.copy(STANDIN, folder / binary)
    listed = folder / f"sha256sum-{architecture}.txt"
    given: dict[str, Value] = {"k3s_binary_file": "", "k3s_binary_url": url}
    cluster.undo(1)
    missing = refusal(cluster, **given)
    assert f"{url}/{listed.name} cannot be downloaded: HTTP 404" in missing.detail
    listed.write_text(f"{'0' * 64}  another-file\n")
    assert f"{listed.name} has no checksum for {binary}" in refusal(cluster, **given).detail
    listed.write_text(f"{'0' * 64}  {binary}\n")
    wrong = refusal(cluster, **given)
    assert f"not {'0' * 64}, which the release has for it" in wrong.detail
    cluster.shell(1, "test ! -e /usr/local/bin/k3s")
    listed.write_text(f"{hashlib.sha256((folder / binary).read_bytes()).hexdigest()}  {binary}\n")
    cluster.completes(**given)


# ---------------------------------------------------------------------------------------------------- joining


@pytest.mark.slow
def test_an_address_or_port_where_no_server_is_is_named_and_the_next_run_completes(cluster: FaultyCluster) -> None:
    for url in (f"https://{cluster.target(0).host}:6444", f"https://{cluster.target(2).host}:6443"):
        cluster.undo(1)
        cluster.undo(2)
        refused = refusal(cluster, k3s_agent_server_url=url, k3s_agent_start_timeout=5)
        assert "pi-1 failed" in refused.detail
        assert "pi-2 failed" in refused.detail
        assert f"Nothing answers as a K3s server at {url}" in refused.detail
    cluster.completes()


@pytest.mark.slow
def test_a_token_that_the_server_does_not_know_is_named_and_the_next_run_completes(cluster: FaultyCluster) -> None:
    cluster.undo(1)
    refused = refusal(cluster, k3s_extra_agent_config={"token": "another"})
    assert "pi-1 failed" in refused.detail
    assert "refuses the token" in refused.detail
    cluster.completes()


@pytest.mark.slow
def test_an_agent_that_was_started_before_its_server_is_brought_in(cluster: FaultyCluster) -> None:
    """After a power cut of all boards the agents wait for a server, which K3s does without end."""
    cluster.undo(0)
    cluster.console(1, "systemctl restart --no-block k3s-agent")
    played = cluster.by_hand("--limit", "agent")
    assert played.exit_code == 2
    for name in ("pi-1", "pi-2"):
        assert f"The agent {name} needs the token of its server pi-0, which was not read in this run" in played.output
        assert played.hosts[name] == {**played.hosts[name], "failed": 1, "changed": 0}
    cluster.completes()


@pytest.mark.slow
def test_an_agent_that_cannot_be_reached_by_hand_is_left_out_and_completed_later(cluster: FaultyCluster) -> None:
    cluster.undo(1)
    cluster.undo(2)
    cluster.cut(1)
    try:
        with bounded():
            played = cluster.by_hand()
    finally:
        cluster.mend(1)
    assert played.exit_code == 4
    assert "fatal: [pi-1]: UNREACHABLE!" in played.output
    assert "Connection refused" in played.output
    assert "node/pi-2" in cluster.shell(0, "sudo k3s kubectl get nodes -o name")
    assert played.hosts["pi-0"]["failed"] == 0
    cluster.completes()


# ------------------------------------------------------------------------------------------------ what is there


@pytest.mark.slow
def test_a_clock_that_is_years_off_is_named_and_the_next_run_completes(cluster: FaultyCluster) -> None:
    cluster.undo(1)
    away = {"k3s_prerequisites_clock": time.time() - 3 * 31557600, "k3s_prerequisites_clock_wait": 1}
    refused = refusal(cluster, **away)
    assert "pi-1 failed" in refused.detail
    assert "The clock is 3 years ahead of this computer" in refused.detail
    cluster.completes()


@pytest.mark.slow
def test_two_machines_of_one_hostname_are_named_and_the_next_run_completes(cluster: FaultyCluster) -> None:
    cluster.undo(1)
    cluster.console(2, "hostname pi-1")
    refused = refusal(cluster)
    assert "pi-1 has the same hostname, pi-1" in refused.detail
    assert "pi-2 has the same hostname, pi-1" in refused.detail
    cluster.console(2, "hostname pi-2")
    cluster.completes()


@pytest.mark.slow
def test_a_board_that_an_earlier_tool_half_configured_is_named_and_the_next_run_completes(
    cluster: FaultyCluster,
) -> None:
    cluster.undo(1)
    left = "/etc/systemd/system/k3s-agent.service.env /usr/local/bin/k3s-agent-uninstall.sh"
    cluster.console(
        1, f"touch {left}; chmod 755 /usr/local/bin/k3s-agent-uninstall.sh; mkdir -p /etc/kubernetes/manifests"
    )
    refused = refusal(cluster)
    assert "pi-1 failed" in refused.detail
    assert "/usr/local/bin/k3s-agent-uninstall.sh" in refused.detail
    assert "kubeadm (/etc/kubernetes/manifests)" in refused.detail
    cluster.console(1, f"rm -r {left} /etc/kubernetes")
    cluster.completes()


@pytest.mark.slow
def test_a_node_that_runs_and_is_never_seen_by_the_server_is_named_and_the_next_run_completes(
    cluster: FaultyCluster,
) -> None:
    cluster.undo(1)
    cluster.console(0, "/usr/local/bin/k3s kubectl delete node pi-1")
    other = "{{ {'node-name': 'another'} if inventory_hostname == 'pi-1' else {} }}"
    with bounded():
        played = cluster.by_hand(k3s_extra_agent_config=other, k3s_ready_timeout=4)
    assert played.exit_code == 2
    assert "pi-1: is not known to the server" in played.output
    assert "Its journal ends with" in played.output
    cluster.completes()


@pytest.mark.slow
def test_however_often_and_with_what_it_runs_the_token_is_there_once(cluster: FaultyCluster) -> None:
    for is_on in (True, False):
        assert cluster.site(k3s_extra_agent_config={"debug": is_on}).changed
    cluster.completes()
    for index in range(3):
        found = cluster.shell(index, "sudo grep -rhc token /etc/rancher/k3s/config.yaml")
        assert found.strip() == "1"
        text = cluster.shell(index, f"sudo grep -rlF {TOKEN} /etc /var/lib/rancher/k3s --exclude-dir=server || true")
        assert text.split() == ["/etc/rancher/k3s/config.yaml"]


@pytest.mark.slow
def test_memory_that_does_not_appear_after_the_reboot_is_named_and_the_next_run_completes(
    cluster: FaultyCluster,
) -> None:
    """The firmware reads another file than its settings say."""
    cluster.remove(2)
    cluster.make(2)
    folder = "/boot/firmware/current"
    cluster.console(2, f"mkdir {folder}; cp /boot/firmware/cmdline.txt {folder}")
    cluster.console(2, "echo os_prefix=current/ >> /boot/firmware/config.txt")
    before = cluster.shell(2, "cat /proc/sys/kernel/random/boot_id")
    refused = refusal(cluster)
    assert "pi-2 failed" in refused.detail
    assert f"its memory cgroup is still off, though {folder}/cmdline.txt says" in refused.detail
    assert cluster.shell(2, "cat /proc/sys/kernel/random/boot_id") != before, (
        "it was rebooted, and looked at after that"
    )
    cluster.console(2, f"rm -r {folder}; sed -i /os_prefix/d /boot/firmware/config.txt")
    cluster.completes()
    cluster.set_up_gates(2)


LATE_SSH = """\
[Service]
ExecStart=/bin/sh -c 'sleep 75; systemctl start ssh'
[Install]
WantedBy=multi-user.target
"""


@pytest.mark.slow
def test_a_board_that_takes_more_than_a_minute_to_reboot_is_waited_for(cluster: FaultyCluster) -> None:
    cluster.remove(2)
    cluster.make(2)
    cluster.put(2, "/etc/systemd/system/late-ssh.service", LATE_SSH)
    cluster.console(2, "systemctl disable --quiet ssh ssh.socket; systemctl enable --quiet late-ssh")
    result = cluster.site(play_timeout=240)
    assert result.attributes.get("degraded", []) == []
    cluster.is_whole()
    cluster.console(2, "systemctl disable --quiet late-ssh; systemctl enable --quiet ssh")
