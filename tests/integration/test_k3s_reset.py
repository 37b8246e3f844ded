"""What a reset leaves on a machine: everything that is listed before K3s came and after it went must be the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.remote.ssh import run
from orchestrator.standin_files import standin_path
from tests.plays_by_hand import play_well
from tests.simulated_boards import Boards, simulated_boards

pytestmark = pytest.mark.engine

STANDIN = standin_path("k3s_standin")
VARIABLES = {"k3s_binary_file": str(STANDIN)}
LIST = r"""
sudo sh -c '
find / -xdev \( -path /proc -o -path /sys -o -path /tmp -o -path /home/deploy/.ansible -o -path /root/.ansible \
  -o -path /var/lib/systemd -o -path /var/log/journal -o -name __pycache__ -o -path /var/cache -o -path /var/tmp \) \
  -prune \
  -o -printf "file %p %y %m\n"
find /run /mnt -mindepth 1 \( -path /run/systemd -o -path /run/user -o -path /run/log -o -path /run/sudo \
  -o -path /run/udev -o -path /run/lock -o -path /run/dbus -o -path /run/mount \) -prune -o -printf "file %p %y\n"
sed "s/^/cmdline /" /boot/firmware/cmdline.txt
awk "{ print \"mount\", \$2, \$3 }" /proc/self/mounts
ls /sys/class/net | sed "s/^/interface /"
for tool in iptables ip6tables; do
  $tool-save | grep -E "^(-A|:[^ ]+ -)" | grep -v -e DOCKER_ -e 127.0.0.11 | sed -E "s/ \[[0-9:]+\]$//; s/^/$tool /"
done
systemctl list-unit-files --no-legend --plain | sed "s/^/unit /"
systemctl list-units --all --no-legend --plain "k3s*" | sed "s/^/loaded /"
ps -e -o args= | grep -Ev "^(\[|ps |sh -c|sed |sort|sudo |sshd|/lib/systemd|\(sd-pam\)|grep|bash)" | sed "s/^/process /"
' | sort -u
"""
FOREIGN = r"""
sudo sh -c '
cat > /usr/local/sbin/make-mine <<END
#!/bin/sh
iptables -N MINE; iptables -A INPUT -p tcp --dport 9999 -j MINE; iptables -A MINE -j ACCEPT
iptables -t nat -N CNI-podman1
iptables -t nat -A POSTROUTING -s 10.88.0.2/32 -m comment --comment "name: \"podman\" id: \"6e\"" -j CNI-podman1
ip link add br-mine type bridge
mkdir -p /mnt/mine /mnt/disk
mount -t tmpfs tmpfs /mnt/mine; echo mine > /mnt/mine/file
mkdir -p /srv/disk; mount --bind /srv/disk /mnt/disk; echo mine > /mnt/disk/photo
END
cat > /etc/systemd/system/mine.service <<END
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/make-mine
[Install]
WantedBy=multi-user.target
END
chmod 755 /usr/local/sbin/make-mine
mkdir -p /etc/cni/net.d /var/lib/cni/networks/podman
echo "{}" > /etc/cni/net.d/87-podman.conflist; echo x > /var/lib/cni/networks/podman/10.88.0.2
systemctl daemon-reload; systemctl enable --now mine
'
"""
# What is there while K3s runs; the engine's own rules for its name server have other ports at every start.
MADE = (
    "interface cni0",
    "interface flannel.1",
    "iptables :KUBE-SERVICES -",
    "file /etc/cni/net.d/10-flannel.conflist f 600",
)


class Bench:
    """Two machines, and what is on each of them."""

    def __init__(self, boards: Boards) -> None:
        self.boards = boards

    def shell(self, index: int, command: str) -> str:
        result = run(self.boards.targets[index], command, 60)
        assert result.exit_code == 0, result
        return result.stdout

    def listings(self) -> list[set[str]]:
        listed = [set(self.shell(index, LIST).splitlines()) for index in range(len(self.boards.targets))]
        # What the kernel was booted with stays until the next boot.
        return [listing - {"mount /sys/fs/cgroup/memory cgroup"} for listing in listed]

    def reset(self, **variables: str) -> None:
        """Take K3s away, and see that there is nothing left to take away."""
        assert play_well("reset.yml", self.boards.inventory, variables).total("changed") > 0
        assert play_well("reset.yml", self.boards.inventory, variables).total("changed") == 0


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with simulated_boards(tmp_path_factory.mktemp("reset"), 2) as boards:
        made = Bench(boards)
        for index in range(2):
            made.shell(index, FOREIGN)
        yield made


def assert_same(before: list[set[str]], after: list[set[str]]) -> None:
    for was, is_now in zip(before, after, strict=True):
        assert sorted(is_now - was) == []
        assert sorted(was - is_now) == []


def test_nothing_is_left_and_nothing_of_others_is_touched(bench: Bench) -> None:
    before = bench.listings()
    play_well("site.yml", bench.boards.inventory, VARIABLES)
    for listing in bench.listings():
        assert set(MADE) <= listing
        assert any("containerd-shim" in line for line in listing if line.startswith("process"))
        assert any("/var/lib/kubelet/pods/" in line for line in listing if line.startswith("mount"))
    bench.reset()
    assert_same(before, bench.listings())


@pytest.mark.slow
def test_data_on_another_disk_go_and_the_disk_stays(bench: Bench) -> None:
    before = bench.listings()
    variables = {**VARIABLES, "k3s_data_dir": "/mnt/disk/k3s"}
    play_well("site.yml", bench.boards.inventory, variables)
    assert bench.shell(0, "sudo ls /mnt/disk/k3s/server").split()
    # The folder is not named: the machine's own configuration tells it.
    bench.reset()
    assert_same(before, bench.listings())
    assert bench.shell(0, "cat /mnt/disk/photo") == "mine\n"


INSTALLER = r"""
sudo sh -c '
cp "$0" /usr/local/bin/k3s; chmod 755 /usr/local/bin/k3s
for name in kubectl crictl ctr; do ln -s /usr/local/bin/k3s /usr/local/bin/$name; done
for name in k3s-killall.sh k3s-uninstall.sh; do
  echo "#!/bin/sh" > /usr/local/bin/$name; chmod 755 /usr/local/bin/$name
done
umask 077; : > /etc/systemd/system/k3s.service.env; umask 022
cat > /etc/systemd/system/k3s.service <<END
[Service]
Type=notify
EnvironmentFile=-/etc/systemd/system/k3s.service.env
KillMode=process
Delegate=yes
TimeoutStartSec=0
Restart=always
ExecStart=/usr/local/bin/k3s \\
    server \\
	"--data-dir" \\
	"/srv/k3s" \\

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload; systemctl enable --now k3s
' /home/deploy/k3s-of-the-installer
"""


@pytest.mark.slow
def test_what_the_official_installer_made_goes_as_well(bench: Bench) -> None:
    switched = "sudo cp /proc/cgroups /run/cgroups; sudo sed -i '/^memory/s/[01]$/1/' /run/cgroups; "
    bench.shell(0, switched + "sudo mount --bind /run/cgroups /proc/cgroups")
    before = bench.listings()
    run(bench.boards.targets[0], "cat > /home/deploy/k3s-of-the-installer", 60, stdin=STANDIN.read_bytes())
    bench.shell(0, INSTALLER)
    assert bench.shell(0, "sudo k3s kubectl get nodes -o name || sudo /usr/local/bin/k3s kubectl get nodes -o name")
    bench.shell(0, "rm /home/deploy/k3s-of-the-installer")
    bench.reset()
    assert_same(before, bench.listings())


def test_a_machine_that_was_cut_off_in_mid_install_is_cleaned(bench: Bench) -> None:
    before = bench.listings()
    for left in (
        "cp /bin/true /usr/local/bin/k3s",
        "mkdir -p /etc/rancher/k3s && touch /etc/rancher/k3s/config.yaml && : > /etc/systemd/system/k3s-agent.service",
        "mkdir -p /var/lib/rancher/k3s/agent/images && touch /var/lib/rancher/k3s/agent/images/a.tar",
    ):
        bench.shell(1, f"sudo sh -c '{left}'")
        played = play_well("reset.yml", bench.boards.inventory)
        assert (played.hosts["pi-1"]["changed"], played.hosts["pi-0"]["changed"]) == (1, 0), played.output
        assert_same(before, bench.listings())


def test_a_machine_without_k3s_keeps_what_looks_like_it(bench: Bench) -> None:
    bench.shell(1, "sudo ip link add cni0 type bridge && sudo iptables -N KUBE-OF-OTHERS")
    try:
        assert play_well("reset.yml", bench.boards.inventory).total("changed") == 0
        assert "KUBE-OF-OTHERS" in bench.shell(1, "sudo iptables-save")
    finally:
        bench.shell(1, "sudo ip link delete cni0 && sudo iptables -X KUBE-OF-OTHERS")
