"""Removes K3s and what it made on this machine; prints one line for each thing removed."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

UNITS = ("k3s", "k3s-agent")
FILES = (
    "/usr/local/bin/k3s", "/usr/local/bin/k3s-killall.sh", "/usr/local/bin/k3s-uninstall.sh",
    "/usr/local/bin/k3s-agent-uninstall.sh", "/etc/rancher/k3s", "/etc/rancher/node", "/var/lib/rancher/k3s",
    "/var/lib/kubelet", "/run/k3s", "/run/flannel", "/run/k3s-started", "/run/k3s-agent-started",
    "/etc/cni/net.d/10-flannel.conflist",
)  # fmt: skip
LINKS = ("kubectl", "crictl", "ctr")
FOLDERS = ("/etc/rancher", "/var/lib/rancher", "/etc/cni/net.d", "/etc/cni", "/var/lib/cni")
INTERFACES = ("cni0", "flannel.1", "flannel-v6.1", "flannel-wg", "flannel-wg-v6", "kube-ipvs0")
MOUNTS = ("/run/k3s", "/var/lib/rancher/k3s", "/var/lib/kubelet", "/run/netns/cni-")


def run(*command, text=None):
    """Run a command, whatever comes of it; its output, empty if there is no such command."""
    try:
        done = subprocess.run(
            command, input=text, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def say(what):
    """Report something removed."""
    print("removed " + what)


def remove_units():
    """Stop and remove the services."""
    for unit in UNITS:
        path = f"/etc/systemd/system/{unit}.service"
        if os.path.exists(path):
            run("systemctl", "disable", "--now", unit)
            os.unlink(path)
            say(path)
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", *UNITS)


def stop_containers():
    """End what a service with KillMode=process leaves running: container shims and what they started."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as stream:
                words = stream.read().split(b"\0")
        except OSError:
            continue
        if words and words[0].startswith(b"/var/lib/rancher/k3s/data/") and b"containerd-shim" in words[0]:
            found.append(int(entry))
    for pid in found:
        for child in run("ps", "--no-headers", "-o", "pid", "--ppid", str(pid)).split():
            stop(int(child))
        stop(pid)
    if found:
        say(f"{len(found)} container shims")
        time.sleep(1)


def stop(pid):
    """End one process."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def remove_mounts():
    """Unmount, innermost first."""
    with open("/proc/self/mounts") as stream:
        points = [line.split()[1] for line in stream]
    for point in sorted((p for p in points if p.startswith(MOUNTS)), reverse=True):
        run("umount", "--lazy", point)
        say("mount " + point)


def remove_network():
    """Interfaces and packet filter rules."""
    for name in INTERFACES:
        if os.path.exists("/sys/class/net/" + name):
            run("ip", "link", "delete", name)
            say("interface " + name)
    for tool in ("iptables", "ip6tables"):
        rules = run(tool + "-save")
        kept = [line for line in rules.splitlines() if not re.search(r"KUBE-|CNI-|flannel", line)]
        if rules and len(kept) != len(rules.splitlines()):
            run(tool + "-restore", text="\n".join(kept) + "\n")
            say(tool + " rules")


def remove_files():
    """Files, links to the binary, and folders that are empty then."""
    for name in LINKS:
        link = "/usr/local/bin/" + name
        if os.path.islink(link) and os.readlink(link) in ("k3s", "/usr/local/bin/k3s"):
            os.unlink(link)
            say(link)
    for path in FILES:
        if os.path.islink(path) or os.path.isfile(path):
            os.unlink(path)
        elif os.path.isdir(path):
            shutil.rmtree(path)
        else:
            continue
        say(path)
    for folder in FOLDERS:
        if os.path.isdir(folder) and not os.listdir(folder):
            os.rmdir(folder)


def restore_command_line(record):
    """Take back what was added to the kernel command line, and only that; it counts from the next boot on."""
    if not os.path.exists(record):
        return
    with open(record) as stream:
        change = json.load(stream)
    with open(change["file"]) as stream:
        words = stream.read().split()
    kept = [word for word in words if word not in change["added"]]
    temporary = change["file"] + ".new"
    with open(temporary, "w") as stream:
        stream.write(" ".join(kept) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, change["file"])
    os.unlink(record)
    if not os.listdir(os.path.dirname(record)):
        os.rmdir(os.path.dirname(record))
    say("words from " + change["file"])


remove_units()
stop_containers()
remove_mounts()
remove_network()
remove_files()
restore_command_line(sys.argv[1])
