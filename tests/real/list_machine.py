"""Prints what a machine has as JSON, to hold a listing from before against one from after; changes nothing."""

import json
import os
import re
import subprocess

FOLDERS = ("/etc", "/usr/local", "/opt", "/var/lib", "/boot")
RUNTIME = ("/run", "/var/log")  # only what lies directly in there
# What a running machine writes by itself, and what logging in and Ansible leave.
PASSING = re.compile(
    r"^(/var/lib/(systemd|dhcp|dhcpcd|NetworkManager|private|logrotate|dbus|dpkg|apt|chrony|ntp|ntpsec|sudo|misc|cloud|snapd"
    r"|fwupd|update-notifier|command-not-found|PackageKit)(/|$)"
    r"|/etc/(ld\.so\.cache|mtab|adjtime|fake-hwclock\.data|resolv\.conf|\.pwd\.lock|machine-id|cups)"
    r"|/run/(user|utmp|sshd|sudo|log|systemd|udev|lock|mount|dbus|blkid|.*\.(pid|lock|sock|socket))"
    r"|/var/log/)"
)
INTERESTING_PROGRAMS = ("k3s", "containerd", "containerd-shim", "flannel", "coredns", "traefik", "pause")


def ask(*command):
    """Lines of a program, none if there is no such program."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.decode(errors="replace").splitlines()


def files():
    """Every path below the folders, and the entries of those whose content comes and goes."""
    found = set()
    for folder in FOLDERS:
        for at, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not PASSING.match(os.path.join(at, name))]
            found.update(os.path.join(at, name) for name in names + folders)
    for folder in RUNTIME:
        if os.path.isdir(folder):
            found.update(os.path.join(folder, name) for name in os.listdir(folder))
    return sorted(path for path in found if not PASSING.match(path))


def mounts():
    """Mount points, without the ones of a login and the control groups, which the kernel command line decides."""
    with open("/proc/self/mounts") as stream:
        points = {line.split()[1] for line in stream}
    return sorted(point for point in points if not point.startswith(("/run/user/", "/sys/fs/cgroup/")))


def rules():
    """Rules and chains of the packet filter, without counters."""
    lines = []
    for program in ("iptables-save", "ip6tables-save"):
        kept = (line for line in ask(program) if line and not line.startswith(("#", "COMMIT", "*")))
        lines += [program + ": " + re.sub(r" \[\d+:\d+\]", "", line) for line in kept]
    # An empty chain of the kernel's own is the same as none: reading it once makes it. The name server that an engine
    # gives to its containers has other ports at every start.
    return sorted(line for line in lines if not re.search(r": :[A-Z]+ ACCEPT$|\b127\.0\.0\.11\b", line))


def units():
    """Unit files and whether they are enabled."""
    return sorted(
        " ".join(line.split()[:2]) for line in ask("systemctl", "list-unit-files", "--no-legend", "--no-pager")
    )


def programs():
    """Programs of a cluster that run."""
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/comm") as stream:
                name = stream.read().strip()
        except OSError:
            continue
        if name.startswith(INTERESTING_PROGRAMS):
            found.add(name)
    return sorted(found)


def command_line():
    """What the firmware hands to the kernel at the next start."""
    for path in ("/boot/firmware/cmdline.txt", "/boot/firmware/current/cmdline.txt", "/boot/cmdline.txt"):
        try:
            with open(path) as stream:
                return [f"{path}: {line.strip()}" for line in stream]
        except OSError:
            continue
    return []


def swaps():
    """Active swap."""
    with open("/proc/swaps") as stream:
        return sorted(line.split()[0] for line in stream.readlines()[1:])


print(
    json.dumps(
        {
            "files": files(),
            "mounts": mounts(),
            "interfaces": sorted(os.listdir("/sys/class/net")),
            "rules": rules(),
            "units": units(),
            "programs": programs(),
            "command line": command_line(),
            "swap": swaps(),
        }
    )
)
