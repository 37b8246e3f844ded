"""Prints what there is to know of a machine before K3s is put on it, as JSON; changes nothing."""

import hashlib
import json
import os
import platform
import subprocess

COMMAND_LINE_FILES = ("/boot/firmware/cmdline.txt", "/boot/firmware/current/cmdline.txt", "/boot/cmdline.txt")


def read(path):
    """Text of a file, empty if it is not there."""
    try:
        with open(path, "rb") as stream:
            return stream.read().decode(errors="replace").replace("\0", "").strip()
    except OSError:
        return ""


def ask(*command):
    """Output of a command, empty if there is no such command."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()


def checksum(path):
    """SHA-256 of a file, empty if it is not there."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def checksum_if_private(path, mode):
    """SHA-256 of a file that belongs to root and has the mode, else empty: then it is to be written anew."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return checksum(path) if (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (0, 0, mode) else ""


def read_model():
    """Board model: from the device tree, else from cpuinfo, empty on other machines."""
    for path in ("/proc/device-tree/model", "/sys/firmware/devicetree/base/model"):
        if read(path):
            return read(path)
    for line in read("/proc/cpuinfo").splitlines():
        if line.startswith("Model") and not line.startswith("Model name"):
            return line.partition(":")[2].strip()
    return ""


def has_memory_cgroup():
    """Whether the kernel accounts for memory, under either version of cgroups."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return "memory" in read("/sys/fs/cgroup/cgroup.controllers").split()
    rows = [line.split() for line in read("/proc/cgroups").splitlines()]
    return any(row[0] == "memory" and row[3] == "1" for row in rows if len(row) == 4)


def find_command_line():
    """The file that the firmware takes the kernel command line from; older places hold a hint to the newer one."""
    for path in COMMAND_LINE_FILES:
        text = read(path)
        if text and "DO NOT EDIT" not in text:
            return path, text.splitlines()[0].strip()
    return "", ""


def is_current(unit):
    """Whether a running service was started with the configuration, unit and binary that are there now."""
    started = read(f"/run/{unit}-started")
    files = ["/etc/rancher/k3s/config.yaml", f"/etc/systemd/system/{unit}.service"]
    present = "\n".join(
        [ask("sha256sum", path) for path in files] + [ask("stat", "-c", "%n %i %s %Y", "/usr/local/bin/k3s")]
    )
    return bool(started) and started == present


def main():
    """Print it."""
    path, line = find_command_line()
    units = ("k3s", "k3s-agent")
    active = dict(zip(units, ask("systemctl", "is-active", *units).split()))
    enabled = {
        unit: ask("systemctl", "is-enabled", unit) == "enabled" for unit in units if active.get(unit) == "active"
    }
    board = {
        "model": read_model(),
        "kernel_architecture": platform.machine(),
        "user_architecture": ask("dpkg", "--print-architecture") or "{} bit".format(ask("getconf", "LONG_BIT")),
        "memory_cgroup": has_memory_cgroup(),
        "command_line_file": path,
        "command_line": line,
        "running_command_line": read("/proc/cmdline"),
        "binary_sha256": checksum_if_private("/usr/local/bin/k3s", 0o755),
        "configuration_sha256": checksum_if_private("/etc/rancher/k3s/config.yaml", 0o600),
        "unit_sha256": {u: checksum_if_private(f"/etc/systemd/system/{u}.service", 0o644) for u in units},
        "configuration_folder": os.path.isdir("/etc/rancher/k3s"),
        "node_password": bool(read("/etc/rancher/node/password")),
        "in_order": {unit: enabled.get(unit, False) and is_current(unit) for unit in units},
    }
    print(json.dumps(board))


main()
