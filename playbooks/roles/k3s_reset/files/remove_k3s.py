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


def restore(record):
    """Take back what the role k3s_prerequisites noted, and only that; its README.md says what there may be."""
    noted = load(record)
    older = os.path.join(os.path.dirname(record), "kernel-command-line.json")
    restore_command_line(noted.get("command_line") or load(older))
    restore_swap(noted.get("swap", {}))
    remove_modules(noted.get("modules", {}))
    for path in (record, older):
        if os.path.exists(path):
            os.unlink(path)
    folder = os.path.dirname(record)
    if os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)


def load(path):
    """What a file of JSON says, nothing if it is not there."""
    if not os.path.exists(path):
        return {}
    with open(path) as stream:
        return json.load(stream)


def restore_command_line(change):
    """Take words away from the kernel command line; it counts from the next boot on."""
    if not change:
        return
    with open(change["file"]) as stream:
        words = stream.read().split()
    kept = [word for word in words if word not in change["added"]]
    temporary = change["file"] + ".new"
    with open(temporary, "w") as stream:
        stream.write(" ".join(kept) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, change["file"])
    say("words from " + change["file"])


def restore_swap(change):
    """Have swap on again, now and at boot."""
    if not change:
        return
    for unit in change["units"]:
        run("systemctl", "unmask", unit)
        run("systemctl", "start", unit)
    for service in change["services"]:
        run("systemctl", "enable", "--now", service)
    say("what kept swap off")


def remove_modules(change):
    """No longer load kernel modules at boot; now they go if nobody uses them."""
    if not change:
        return
    if os.path.exists(change["file"]):
        os.unlink(change["file"])
    for name in change["loaded"]:
        run("modprobe", "--remove", name)
    say(change["file"])


remove_units()
stop_containers()
remove_mounts()
remove_network()
remove_files()
restore(sys.argv[1])
