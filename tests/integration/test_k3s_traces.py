"""The stand-in for K3s and the program of the reset as root, in name spaces, without a container engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.standin_files import standin_path
from tests.plays_by_hand import REPOSITORY

TOOLS = ("unshare", "ip", "iptables-save", "openssl", "chroot")
ISOLATED = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"]
ROOM = """\
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
mount --bind /dev "$1/root/dev"
mount -t proc proc "$1/root/proc"
mount -t sysfs sysfs "$1/root/sys"
mount -t tmpfs tmpfs "$1/root/run"
mount -t tmpfs tmpfs "$1/root/tmp"
# A kernel that keeps account of memory, whatever this machine's does.
printf 'memory\\t0\\t1\\t1\\n' > "$1/root/tmp/cgroups"
mount --bind "$1/root/tmp/cgroups" "$1/root/proc/cgroups"
cp "$2" "$1/root/tmp/k3s"
cp "$3" "$1/root/tmp/remove_k3s.py"
exec chroot "$1/root" /bin/sh -e -c "$4"
"""
INSIDE = r"""
cd /tmp
ip link set lo up
list() {
    ip -o link | cut -d: -f2 | cut -d@ -f1
    iptables-save | grep -E '^(-A|:[^ ]+ -)' | sed -E 's/ \[[0-9:]+\]$//'
    awk '{ print "mount", $2 }' /proc/self/mounts
    find /etc/rancher /etc/cni /etc/systemd/system /var/lib/rancher /var/lib/kubelet /var/lib/cni /run /usr/local/bin \
        /var/log /srv 2>/dev/null
    ps -e -o args= | grep -v -e '^ps ' -e '^grep' -e '^find' -e '^sh' -e '^/bin/sh -e' -e '^sort'
}
iptables -N MINE; iptables -A INPUT -j MINE
mkdir -p /run/mount
# Mere looking makes the tables.
iptables-save > /dev/null
list | sort -u > before
cp k3s /usr/local/bin/k3s; chmod 755 /usr/local/bin/k3s
mkdir -p /etc/rancher/k3s /srv
start() {
    /usr/local/bin/k3s server --data-dir "$1" > log 2>&1 & server=$!
    tries=0
    until [ -d /var/lib/kubelet/pods ] && pgrep -f containerd-shim > /dev/null; do
        tries=$((tries + 1)); [ "$tries" -lt 200 ] || { cat log; exit 1; }
        sleep 0.1
    done
    kill "$server"; wait "$server" || true
}
"""
LOOK = "list | sort -u > after; diff before after"


def in_a_room(tmp_path: Path, script: str) -> str:
    """Run a script as root on a copy of this machine that is gone afterwards; its output."""
    if os.geteuid() != 0 or not all(map(shutil.which, TOOLS)):
        pytest.skip(f"needs root and {', '.join(TOOLS)}")
    if subprocess.run([*ISOLATED, "true"], capture_output=True, timeout=20, check=False).returncode:
        pytest.skip("no name spaces can be made here")
    standin = standin_path("k3s_standin")
    program = REPOSITORY / "playbooks" / "roles" / "k3s_reset" / "files" / "remove_k3s.py"
    command = [*ISOLATED, "sh", "-c", ROOM, "room", str(tmp_path), str(standin), str(program), INSIDE + script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "mount:" in done.stderr:
        pytest.skip(f"no room can be made here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_k3s_leaves_is_taken_away_and_nothing_else(tmp_path: Path) -> None:
    script = f"""
start /var/lib/rancher/k3s
list | sort -u > during
for word in cni0 flannel.1 :KUBE-SERVICES 'mount /var/lib/kubelet/pods/' containerd-shim /run/netns/cni-; do
    grep -q -e "$word" during
done
python3 remove_k3s.py /nowhere/record ""
{LOOK}
echo again; python3 remove_k3s.py /nowhere/record ""
"""
    assert in_a_room(tmp_path, script).endswith("again\n")


def test_a_reset_that_is_cut_off_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    script = f"""
echo 'data-dir: "/srv/k3s"' > /etc/rancher/k3s/config.yaml
start /srv/k3s
for seconds in 0.08 0.12 0.16 0.2 0.3 0.4; do
    timeout -s KILL "$seconds" python3 remove_k3s.py /nowhere/record "" || true
done
python3 remove_k3s.py /nowhere/record ""
{LOOK.replace("diff before", "rmdir /srv/k3s 2>/dev/null && exit 3; diff before")}
"""
    in_a_room(tmp_path, script)


def test_a_volume_of_others_survives_in_a_folder_that_goes(tmp_path: Path) -> None:
    script = """
start /var/lib/rancher/k3s
place=/var/lib/kubelet/pods/x/volumes/nfs/data
mkdir -p "$place" /tmp/disk; echo precious > /tmp/disk/file
mount --bind /tmp/disk "$place"
mkdir -p /var/lib/rancher/k3s/storage/kept; mount --bind /tmp/disk /var/lib/rancher/k3s/storage/kept
python3 remove_k3s.py /nowhere/record "" > said
cat /tmp/disk/file /var/lib/rancher/k3s/storage/kept/file
[ ! -e /var/lib/kubelet ]
[ ! -e /var/lib/rancher/k3s/agent ]
"""
    assert in_a_room(tmp_path, script) == "precious\nprecious\n"
