#!/usr/bin/python3
"""Reads what there is to know of a machine before and after K3s is put on it, and judges it; changes nothing.

An Ansible module and a program in one: ``python3 board_facts.py '{"need": {…}}'`` prints the same as JSON, and so does
``python3 - '{"need": {…}}'`` with this file on standard input. Standard library only, Python 3.7 or later. What cannot
be read is null (``None``), never an exception.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time

DOCUMENTATION = r"""
module: board_facts
short_description: Reads and judges a machine that K3s is to run on
description:
  - Gathers in one call what the roles decide from, and what speaks against an installation. Changes nothing.
  - The facts are in C(ansible_facts.k3s_board). Its C(findings) say what stops an installation (C(error)) and what is
    only worth knowing (C(warning)); C(due) says what is to be changed before, and is empty if all is in place.
options:
  need:
    description:
      - What the machine is to be fit for; every key may be left out.
      - C(role) is C(server) or C(agent); C(architecture) is C(amd64) or C(arm64); C(memory_mb) and C(disk_mb) are what
        must be there and be free; C(data_dir) is K3s's data folder; C(clock) is the controller's time in Unix seconds
        and C(max_skew) how far from it the machine's may be; C(swap) is C(off), C(refuse) or C(keep); C(modules) are
        the kernel modules that must be there; C(kernel_flags) the words of the kernel command line that switch the
        memory cgroup on.
    type: dict
    default: {}
  root:
    description: Folder that stands for the machine's root folder, programs included; for tests.
    type: path
    default: /
author: continuum-deploy
"""

EXAMPLES = r"""
- name: Read the board
  board_facts:
    need: {role: agent, memory_mb: 512, disk_mb: 2048}
"""

RETURN = r"""
ansible_facts:
  description: The fact C(k3s_board).
  returned: always
  type: dict
"""

BOOT_FOLDERS = ("/boot/firmware", "/boot")
UNITS = ("k3s", "k3s-agent")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
DATA_FOLDER = "/var/lib/rancher/k3s"
DEFAULTS = {
    "role": "agent", "architecture": None, "memory_mb": 512, "disk_mb": 2048, "data_dir": DATA_FOLDER, "clock": None,
    "max_skew": 60, "swap": "off", "modules": ["overlay", "br_netfilter", "vxlan"],
    "kernel_flags": ["cgroup_enable=cpuset", "cgroup_memory=1", "cgroup_enable=memory"],
}  # fmt: skip
PORTS = {("tcp", 6443), ("tcp", 2379), ("tcp", 2380), ("tcp", 10250), ("udp", 8472)}
SERVER_PORTS = ("6443/tcp", "2379/tcp", "2380/tcp")
LEFTOVERS = (
    ("kubeadm", ("/etc/kubernetes/admin.conf", "/etc/kubernetes/kubelet.conf", "/etc/kubernetes/manifests")),
    ("microk8s", ("/snap/microk8s", "/var/snap/microk8s")),
    ("k0s", ("/var/lib/k0s", "/etc/k0s")),
    ("rke2", ("/var/lib/rancher/rke2", "/etc/rancher/rke2")),
    ("k3s of another tool", ("/usr/local/bin/k3s-uninstall.sh", "/usr/local/bin/k3s-agent-uninstall.sh",
                             "/etc/systemd/system/k3s-node.service", "/etc/systemd/system/k3s.service.env",
                             "/etc/systemd/system/k3s-agent.service.env")),
)  # fmt: skip
OUR_UNIT = "/run/%N-started"
DATA_MARKS = ("server/db", "agent/client-ca.crt")
VALIDITY = re.compile(rb"[\x17\x18][\x0d\x0f]\d{12,14}Z[\x17\x18][\x0d\x0f](\d{12,14}Z)")
SECONDS_PER_CHECK = 20


class Machine:
    """Files and programs of this machine, or of a folder that stands for it."""

    def __init__(self, root="/"):
        self.root = root.rstrip("/")

    def path(self, path):
        """Where a path of the machine is."""
        return self.root + path

    def exists(self, path):
        """Whether something is there, a broken link included."""
        return os.path.lexists(self.path(path))

    def names(self, path):
        """What a folder holds, nothing if it is not there."""
        try:
            return sorted(os.listdir(self.path(path)))
        except OSError:
            return []

    def read(self, path):
        """Text of a file, empty if it is not there."""
        try:
            with open(self.path(path), "rb") as stream:
                return stream.read().decode(errors="replace").replace("\0", "").strip()
        except OSError:
            return ""

    def link(self, path):
        """Where a link points to, empty if it is none."""
        try:
            return os.readlink(self.path(path))
        except OSError:
            return ""

    def ask(self, program, *arguments):
        """Output of a program, empty if there is none or if it fails."""
        folders = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
        found = shutil.which(program, path=os.pathsep.join(self.path(folder) for folder in folders))
        if not found:
            return ""
        try:
            done = subprocess.run(
                [found, *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                timeout=SECONDS_PER_CHECK, check=False, env=dict(os.environ, LC_ALL="C"),
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.decode(errors="replace").strip()

    def checksum(self, path, mode=None):
        """SHA-256 of a file; empty if it is not there, or not root's with that mode: then it is to be written anew."""
        digest = hashlib.sha256()
        try:
            with open(self.path(path), "rb") as stream:
                found = os.fstat(stream.fileno())
                if mode is not None and (found.st_uid, found.st_gid, found.st_mode & 0o7777) != (0, 0, mode):
                    return ""
                for block in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(block)
        except OSError:
            return ""
        return digest.hexdigest()


# ------------------------------------------------------------------------------------------------------ the machine


def read_model(machine):
    """Board model: from the device tree, else from cpuinfo, empty on other machines."""
    for path in ("/proc/device-tree/model", "/sys/firmware/devicetree/base/model"):
        if machine.read(path):
            return machine.read(path)
    for line in machine.read("/proc/cpuinfo").splitlines():
        if line.startswith("Model") and not line.startswith("Model name"):
            return line.partition(":")[2].strip()
    return ""


def read_user_architecture(machine):
    """What programs are built for, as Debian calls it, or only how many bits they have."""
    bits = machine.ask("getconf", "LONG_BIT")
    return machine.ask("dpkg", "--print-architecture") or (bits + " bit" if bits else None)


def read_distribution(machine):
    """Name and version as os-release has them."""
    lines = (machine.read("/etc/os-release") or machine.read("/usr/lib/os-release")).splitlines()
    pairs = {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines)}
    return {"id": pairs.get("ID", ""), "version": pairs.get("VERSION_ID", ""), "name": pairs.get("PRETTY_NAME", "")}


def read_container(machine):
    """Which kind of container this is, empty for a machine with a kernel of its own."""
    if machine.read("/run/systemd/container"):
        return machine.read("/run/systemd/container")
    return "docker" if machine.exists("/.dockerenv") else ""


def read_memory(machine):
    """Memory in MB that the kernel may use."""
    return int(re.search(r"^MemTotal:\s+(\d+) kB", machine.read("/proc/meminfo"), re.MULTILINE).group(1)) // 1024


def read_swaps(machine):
    """Device or file and MB of each swap in use; those of a container's host are not the container's."""
    if read_container(machine):
        return []
    rows = [line.split() for line in machine.read("/proc/swaps").splitlines()[1:]]
    return [{"name": row[0], "mb": int(row[2]) // 1024} for row in rows if len(row) >= 3]


def read_mount(machine, path):
    """Device, mount point and kind of the file system that a path is, or will be, on."""
    best = None
    for line in machine.read("/proc/mounts").splitlines():
        device, point, kind = line.split()[:3]
        if (path + "/").startswith(point.rstrip("/") + "/") and (best is None or len(point) >= len(best["point"])):
            best = {"device": device, "point": point, "kind": kind}
    return best


def read_free(machine, path):
    """MB free for root on the file system that a path is, or will be, on."""
    while path != "/" and not os.path.exists(machine.path(path)):
        path = os.path.dirname(path)
    found = os.statvfs(machine.path(path))
    return found.f_bavail * found.f_frsize // (1 << 20)


def read_other_disks(machine, data_folder):
    """Mount points on disks that are no SD cards, with MB free, other than where the data folder is."""
    here = read_mount(machine, data_folder)
    found = {}
    for line in machine.read("/proc/mounts").splitlines():
        device, point, kind = line.split()[:3]
        fit = re.match(r"/dev/(sd|nvme|vd|mapper/)", device) and kind in ("ext4", "xfs", "btrfs", "f2fs", "ext3")
        if fit and device != (here or {}).get("device") and not point.startswith("/boot"):
            found[point] = read_free(machine, point)
    return found


def read_time_synchronised(machine):
    """Whether the kernel counts its clock as kept in step by a time service."""
    if machine.root:
        return machine.exists("/run/systemd/timesync/synchronized")
    return ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) != 5


def read_gpu(machine):
    """Name of a graphics processor that can be computed on, else false."""
    for name in machine.names("/proc/driver/nvidia/gpus"):
        model = re.search(r"Model:\s*(.+)", machine.read(f"/proc/driver/nvidia/gpus/{name}/information"))
        return model.group(1).strip() if model else "NVIDIA"
    for name in machine.names("/sys/bus/pci/devices"):
        folder = f"/sys/bus/pci/devices/{name}/"
        if machine.read(folder + "class").startswith("0x03") and machine.read(folder + "vendor") == "0x10de":
            return "NVIDIA"
    return "NVIDIA" if machine.exists("/dev/nvhost-gpu") else False


def read_sgx(machine):
    """Whether enclaves can be made."""
    return machine.exists("/dev/sgx_enclave") or machine.exists("/dev/isgx") or machine.exists("/dev/sgx/enclave")


# ------------------------------------------------------------------------------------------------------- the kernel


def read_cgroup_version(machine):
    """2 where groups are in the unified hierarchy, else 1."""
    return 2 if machine.exists("/sys/fs/cgroup/cgroup.controllers") else 1


def has_memory_cgroup(machine):
    """Whether the kernel accounts for memory, under either version of cgroups."""
    if read_cgroup_version(machine) == 2:
        return "memory" in machine.read("/sys/fs/cgroup/cgroup.controllers").split()
    rows = [line.split() for line in machine.read("/proc/cgroups").splitlines()]
    return any(row[0] == "memory" and row[3] == "1" for row in rows if len(row) == 4)


def find_command_line(machine):
    """The file that the firmware takes the kernel command line from, and its lines.

    From bookworm on it is in /boot/firmware, before in /boot, where the newer system leaves a hint; Ubuntu's
    config.txt may name a folder below (``os_prefix=current/``).
    """
    for folder in BOOT_FOLDERS:
        settings = dict(re.findall(r"^(os_prefix|cmdline)=(\S+)", machine.read(folder + "/config.txt"), re.MULTILINE))
        name, prefix = settings.get("cmdline", "cmdline.txt"), settings.get("os_prefix", "")
        for path in (f"{folder}/{prefix}{name}", f"{folder}/{name}", f"{folder}/current/{name}"):
            text = machine.read(path)
            if text and "DO NOT EDIT" not in text:
                return path, [line.strip() for line in text.splitlines() if line.strip()]
    return "", []


def read_modules(machine, names):
    """For each kernel module: loaded (or built in), available or missing; null where it cannot be known."""
    loaded = {line.split()[0] for line in machine.read("/proc/modules").splitlines()}
    kinds = machine.read("/proc/filesystems").split()
    folder = "/lib/modules/" + (machine.ask("uname", "-r") or platform.release())
    builtin, index = machine.read(folder + "/modules.builtin"), machine.read(folder + "/modules.dep")
    found = {}
    for name in names:
        if name in loaded or name in kinds or machine.exists("/sys/module/" + name) or f"/{name}.ko" in builtin:
            found[name] = "loaded"
        elif f"/{name}.ko" in index:
            found[name] = "available"
        else:
            found[name] = None if read_container(machine) or not index else "missing"
    return found


def read_iptables(machine):
    """Version and flavour (legacy or nf_tables); null if there is none, and K3s brings its own."""
    found = re.search(r"v([\d.]+)(?: \((\w+)\))?", machine.ask("iptables", "--version"))
    return {"version": found.group(1), "flavour": found.group(2) or "legacy"} if found else None


def read_ports(machine):
    """``port/protocol`` to who listens there, of the ports that K3s needs: a unit, else a program, empty if unknown."""
    sockets = {}
    for protocol in ("tcp", "udp"):
        for table in (protocol, protocol + "6"):
            for row in [line.split() for line in machine.read("/proc/net/" + table).splitlines()[1:]]:
                port = int(row[1].rpartition(":")[2], 16)
                if (protocol, port) in PORTS and (protocol == "udp" or row[3] == "0A"):
                    sockets[row[9]] = f"{port}/{protocol}"
    listening = dict.fromkeys(sockets.values(), "")
    wanted = {f"socket:[{inode}]": port for inode, port in sockets.items()}
    for process in filter(str.isdigit, machine.names("/proc") if wanted else []):
        for name in machine.names(f"/proc/{process}/fd"):
            port = wanted.get(machine.link(f"/proc/{process}/fd/{name}"))
            if port:
                unit = re.search(r"/([\w@.-]+)\.service\b", machine.read(f"/proc/{process}/cgroup"))
                listening[port] = unit.group(1) if unit else machine.read(f"/proc/{process}/comm")
    return listening


# --------------------------------------------------------------------------------------------------------------- K3s


def is_current(machine, unit):
    """Whether a running service was started with the configuration, unit and binary that are there now."""
    started = machine.read(f"/run/{unit}-started")
    if not started:
        return False
    files = ["/etc/rancher/k3s/config.yaml", "/etc/rancher/k3s/registries.yaml", f"/etc/systemd/system/{unit}.service"]
    sums = [f"{machine.checksum(path)}  {path}" for path in files if machine.exists(path)]
    binary = machine.ask("stat", "-c", "%n %i %s %Y", "/usr/local/bin/k3s")
    return started == "\n".join([*sums, binary])


def read_k3s(machine):
    """Version of the binary and state of the units."""
    active = dict(zip(UNITS, machine.ask("systemctl", "is-active", *UNITS).split()))
    running = [unit for unit in UNITS if active.get(unit) == "active"]
    enabled = [unit for unit in running if machine.ask("systemctl", "is-enabled", unit) == "enabled"]
    version = re.search(r"k3s version (\S+)", machine.ask("k3s", "--version"))
    return {
        "version": version.group(1) if version else "",
        "active": running,
        "in_order": {unit: unit in enabled and is_current(machine, unit) for unit in UNITS},
    }


def read_datastore(machine, data_folder):
    """What keeps the cluster's data on a server: etcd, else sqlite; empty where there are none yet."""
    names = machine.names(data_folder + "/server/db")
    return "etcd" if "etcd" in names else "sqlite" if names else ""


def read_images(machine, data_folder):
    """Archives of K3s's own images to their SHA-256."""
    folder = data_folder + "/agent/images"
    names = [name for name in machine.names(folder) if name.startswith("k3s-airgap-images-")]
    return {name: machine.checksum(f"{folder}/{name}") for name in names}


def read_certificates(machine, data_folder):
    """File below the data folder to the Unix time at which its first certificate ends."""
    found = {}
    for folder in ("server/tls", "server/tls/etcd", "agent"):
        for name in machine.names(f"{data_folder}/{folder}"):
            text = machine.read(f"{data_folder}/{folder}/{name}") if name.endswith(".crt") else ""
            body = re.search(r"-BEGIN CERTIFICATE-----(.+?)-----END", text, re.DOTALL)
            end = VALIDITY.search(_decode(body.group(1))) if body else None
            if end:
                moment = end.group(1).decode()
                moment = moment if len(moment) == 15 else ("19" if moment[0] >= "5" else "20") + moment
                found[f"{folder}/{name}"] = _seconds(moment)
    return found


def _decode(text):
    import base64  # noqa: PLC0415 - only where there are certificates

    return base64.b64decode("".join(text.split()))


def _seconds(moment):
    import calendar  # noqa: PLC0415 - only where there are certificates

    return calendar.timegm(time.strptime(moment, "%Y%m%d%H%M%SZ"))


def find_leftovers(machine, data_folder):
    """What other tools left of a Kubernetes of theirs, in words with the path that shows it."""
    found = [f"{what} ({path})" for what, paths in LEFTOVERS for path in paths if machine.exists(path)]
    units = {unit: machine.read(f"/etc/systemd/system/{unit}.service") for unit in UNITS}
    found += [
        f"k3s of another tool (/etc/systemd/system/{unit}.service)"
        for unit, text in units.items()
        if text and OUR_UNIT not in text
    ]
    if not any(units.values()):
        paths = [f"{data_folder}/{name}" for name in DATA_MARKS]
        found += [f"data of an earlier k3s ({path})" for path in paths if machine.exists(path)]
    return found


# ---------------------------------------------------------------------------------------------------------- all of it


def gather(machine, need):
    """Every fact; what cannot be found out is ``None``."""
    data_folder = need["data_dir"]
    path, lines = attempt(find_command_line, machine) or ("", [])
    k3s = attempt(read_k3s, machine) or {"version": "", "active": [], "in_order": dict.fromkeys(UNITS, False)}
    swaps = attempt(read_swaps, machine)
    mount = attempt(read_mount, machine, data_folder)
    free = {place: attempt(read_free, machine, place) for place in (data_folder, "/")}
    return {
        "model": attempt(read_model, machine),
        "hostname": machine.read("/proc/sys/kernel/hostname") or platform.node(),
        "machine_id": machine.read("/etc/machine-id"),
        "boot_id": machine.read("/proc/sys/kernel/random/boot_id"),
        "distribution": attempt(read_distribution, machine),
        "container": read_container(machine),
        "kernel_architecture": machine.ask("uname", "-m") or platform.machine(),
        "user_architecture": attempt(read_user_architecture, machine),
        "memory_mb": attempt(read_memory, machine),
        "swap_mb": None if swaps is None else sum(swap["mb"] for swap in swaps),
        "swaps": swaps,
        "disk_free_mb": free,
        "data_folder": data_folder,
        "data_folder_device": mount and mount["device"],
        "data_folder_filesystem": mount and mount["kind"],
        "data_folder_point": mount and mount["point"],
        "other_disks": attempt(read_other_disks, machine, data_folder),
        "cgroup_version": read_cgroup_version(machine),
        "memory_cgroup": has_memory_cgroup(machine),
        "command_line_file": path,
        "command_line": lines[0] if lines else "",
        "command_line_count": len(lines),
        "running_command_line": machine.read("/proc/cmdline"),
        "modules": attempt(read_modules, machine, need["modules"]),
        "iptables": attempt(read_iptables, machine),
        "ports": attempt(read_ports, machine),
        "other_kubernetes": attempt(find_leftovers, machine, data_folder),
        "gpu": attempt(read_gpu, machine),
        "sgx": attempt(read_sgx, machine),
        "k3s": k3s,
        "certificates": attempt(read_certificates, machine, data_folder),
        "images": attempt(read_images, machine, data_folder) or {},
        "binary_sha256": machine.checksum("/usr/local/bin/k3s", 0o755),
        "configuration_sha256": machine.checksum("/etc/rancher/k3s/config.yaml", 0o600),
        "unit_sha256": {unit: machine.checksum(f"/etc/systemd/system/{unit}.service", 0o644) for unit in UNITS},
        "registries_sha256": machine.checksum("/etc/rancher/k3s/registries.yaml", 0o600),
        "datastore": read_datastore(machine, data_folder),
        "configuration_folder": os.path.isdir(machine.path("/etc/rancher/k3s")),
        "node_password": bool(machine.read("/etc/rancher/node/password")),
        "in_order": k3s["in_order"],
        "time_synchronised": attempt(read_time_synchronised, machine),
        "clock": time.time(),
    }


def attempt(check, *arguments):
    """What a check finds, ``None`` if it fails or hangs."""
    before = None
    with contextlib.suppress(ValueError):  # only the main thread may set alarms
        before = signal.signal(signal.SIGALRM, _overdue)
        signal.setitimer(signal.ITIMER_REAL, 2 * SECONDS_PER_CHECK)
    try:
        return check(*arguments)
    except Exception:  # noqa: BLE001 - whatever a strange machine holds, the other checks are to be made
        return None
    finally:
        if before is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _overdue(_number, _frame):
    raise TimeoutError


def find_due(board, need):
    """What is to be changed on the machine before K3s is put on it; nothing if all is in place.

    ``command_line``: words to add; ``reboot``: true; ``swaps``: names to switch off; ``modules``: names to load.
    """
    due = {}
    if not board["memory_cgroup"]:
        missing = [word for word in need["kernel_flags"] if word not in board["command_line"].split()]
        # Also when an earlier run was cut off between the edit and the reboot.
        running = board["running_command_line"].split()
        due = {"command_line": missing} if missing else {}
        if missing or any(word not in running for word in need["kernel_flags"]):
            due["reboot"] = True
    if board["swaps"] and need["swap"] == "off":
        due["swaps"] = [swap["name"] for swap in board["swaps"]]
    modules = [name for name, state in (board["modules"] or {}).items() if state == "available"]
    return dict(due, modules=modules) if modules else due


def judge(board, need):
    """What speaks against an installation (errors) and what is only worth knowing (warnings)."""
    found = []
    for rule in RULES:
        found += attempt(lambda rule=rule: list(rule(board, need))) or []
    return found


def error(check, text, fix):
    """What stops an installation."""
    return {"severity": "error", "check": check, "text": text, "fix": fix}


def warning(check, text, fix):
    """What an installation can do with."""
    return {"severity": "warning", "check": check, "text": text, "fix": fix}


def judge_architecture(board, need):
    """K3s has no 32-bit x86, and what we deploy has no 32-bit images."""
    kernel, user = board["kernel_architecture"], board["user_architecture"]
    if kernel not in ARCHITECTURES:
        yield error(
            "architecture",
            f"The kernel is built for {kernel}; it must be 64-bit, x86_64 or aarch64.",
            "Install a 64-bit system.",
        )
    elif user not in (None, ARCHITECTURES[kernel], "64 bit"):
        yield error(
            "architecture",
            f"The kernel is built for {kernel}, but its programs are {user}: kernel and user land must both be 64-bit.",
            "Install the 64-bit image of the system; a 64-bit kernel alone is not enough.",
        )
    elif ARCHITECTURES.get(need["architecture"], need["architecture"]) not in (None, "", ARCHITECTURES[kernel]):
        yield error(
            "architecture",
            f"The machine is {ARCHITECTURES[kernel]}, but {need['architecture']} is asked for.",
            "Correct the architecture in the input, or take another machine.",
        )


def judge_memory_cgroup(board, need):
    """Off on every fresh Raspberry Pi; can be switched on where the command line's file is found."""
    if board["memory_cgroup"]:
        return
    path, running = board["command_line_file"], board["running_command_line"].split()
    if all(word in running for word in need["kernel_flags"]):
        yield error(
            "memory cgroup",
            "The memory cgroup is off, though the kernel was booted with the words that switch it on: it was built "
            f"without it. It was booted with: {board['running_command_line']}",
            "Install the distribution's own kernel for this board.",
        )
        return
    if not path:
        yield error(
            "memory cgroup",
            "The memory cgroup is off and no kernel command line file of a Raspberry Pi was found to switch it on.",
            "Boot the kernel with cgroup_enable=memory.",
        )
    elif board["command_line_count"] > 1:
        yield error(
            "memory cgroup",
            f"The memory cgroup is off, and {path} has {board['command_line_count']} lines: "
            "the firmware reads the first one only.",
            f"Put all that is needed on one line of {path}.",
        )
    else:
        yield warning(
            "memory cgroup",
            f"The memory cgroup is off; it will be switched on in {path}, with one reboot.",
            "Nothing has to be done.",
        )


def judge_memory(board, need):
    """A part of what is sold belongs to the firmware."""
    wanted, there = need["memory_mb"], board["memory_mb"]
    if there is not None and there < 0.8 * wanted:
        yield error(
            "memory",
            f"The machine has {there} MB of memory, {wanted} MB are asked for.",
            "Take a machine with more memory, or ask for less (k3s_prerequisites_memory_mb).",
        )
    elif there is not None and need["role"] == "server" and there < 1600:
        yield warning(
            "memory",
            f"The machine has {there} MB of memory; a server under load takes about 1600 MB.",
            "Keep services off this machine, or take one with 2 GB or more.",
        )


def judge_disk(board, need):
    """Room, and a file system that containers can live on."""
    folder, wanted = need["data_dir"], need["disk_mb"]
    free, kind = board["disk_free_mb"].get(folder), board["data_folder_filesystem"]
    if free is not None and free < wanted:
        told = f"{free} MB are free where {folder} is, {wanted} MB are asked for."
        fix = "Make room, or put the data on another disk (k3s_data_dir)."
        yield warning("disk", told, fix) if board["k3s"]["active"] and free >= 256 else error("disk", told, fix)
    if kind in ("vfat", "exfat", "ntfs", "ntfs3", "nfs", "nfs4", "cifs", "tmpfs", "ramfs") or (
        kind == "overlay" and not board["container"]
    ):
        yield error(
            "file system",
            f"{folder} is on a file system of the kind {kind}, where containers cannot be kept.",
            "Put the data on a disk with ext4 (k3s_data_dir), or switch the overlay file system off.",
        )
    if folder != DATA_FOLDER and board["data_folder_point"] == "/":
        yield warning(
            "file system",
            f"{folder}, where the data is to be, is on the same file system as the system itself.",
            "See that its disk is mounted (and in /etc/fstab), or leave k3s_data_dir away.",
        )
    roomy = [place for place, room in (board["other_disks"] or {}).items() if room is not None and room >= wanted]
    if str(board["data_folder_device"]).startswith("/dev/mmcblk") and roomy:
        yield warning(
            "file system",
            f"{folder} is on an SD card, which K3s wears out, and {roomy[0]} is on a disk.",
            f"Set k3s_data_dir to a folder below {roomy[0]}.",
        )


def judge_swap(board, need):
    """Memory limits mean little with swap."""
    if not board["swap_mb"] or need["swap"] == "keep":
        return
    told = f"{board['swap_mb']} MB of swap are on ({', '.join(swap['name'] for swap in board['swaps'])})."
    if need["swap"] == "refuse":
        yield error("swap", told, "Switch swap off, or let it be done (k3s_prerequisites_swap: 'off').")
    else:
        yield warning(
            "swap",
            told + " It will be switched off, and on again when K3s is removed.",
            "Nothing has to be done; k3s_prerequisites_swap: keep leaves it on.",
        )


def judge_modules(board, _need):
    """What containers and their network are made with."""
    missing = [name for name, state in (board["modules"] or {}).items() if state == "missing"]
    if missing:
        ubuntu = (board["distribution"] or {}).get("id") == "ubuntu"
        yield error(
            "kernel modules",
            f"The kernel has no module {', '.join(missing)}.",
            "Install the package linux-modules-extra-raspi and reboot."
            if ubuntu
            else "Install the modules of the running kernel; after an update of the kernel, reboot.",
        )


def judge_iptables(board, _need):
    """Old versions lack options that K3s uses, or add the same rules again and again."""
    if not board["iptables"]:
        return
    version, flavour = board["iptables"]["version"], board["iptables"]["flavour"]
    number = tuple(int(part) for part in version.split("."))
    if number < (1, 6, 2):
        yield error("iptables", f"iptables is {version}; K3s needs 1.6.2 or later.", "Update the system.")
    elif flavour == "nf_tables" and number < (1, 8, 5):
        yield warning(
            "iptables",
            f"iptables {version} in its nf_tables flavour doubles rules without end.",
            "Update iptables to 1.8.5 or later, run: update-alternatives --set iptables /usr/sbin/iptables-legacy, or "
            "have K3s take the one it brings (prefer-bundled-bin in its configuration).",
        )


def judge_clock(board, need):
    """A Raspberry Pi has no clock that runs without power; certificates made in the past or future are refused."""
    away = 0 if need["clock"] is None else board["clock"] - float(need["clock"])
    if abs(away) > float(need["max_skew"]):
        yield error(
            "clock",
            f"The clock is {in_words(abs(away))} {'ahead of' if away > 0 else 'behind'} this "
            f"computer's: it says {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(board['clock']))} UTC.",
            "Have the clock set: timedatectl set-ntp true, with a time server that the machine reaches, or date --set.",
        )
    elif board["time_synchronised"] is False and not board["container"]:
        yield warning("clock", "Nothing keeps the clock in step with others.", "Run: timedatectl set-ntp true")


def in_words(seconds):
    """A span of time in its largest sensible unit."""
    for size, word in ((31557600, "years"), (86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{seconds:.0f} s"


def judge_ports(board, need):
    """Somebody else's server where K3s must listen."""
    for port, who in sorted((board["ports"] or {}).items()):
        if who and who not in UNITS and (need["role"] == "server" or port not in SERVER_PORTS):
            yield error("ports", f"Port {port}, which K3s needs, is taken by {who}.", f"Stop {who}, or move it.")


def judge_leftovers(board, need):
    """Two of a kind on one machine fight over network and ports."""
    if board["other_kubernetes"]:
        yield error(
            "leftovers",
            f"Another tool left a Kubernetes here: {', '.join(board['other_kubernetes'])}.",
            "Remove it with its own tool (k3s-uninstall.sh or k3s-agent-uninstall.sh, kubeadm reset, snap "
            "remove microk8s, k0s reset, rke2-uninstall.sh), or with reset.yml if it was a K3s, and delete what is "
            "left of the files named.",
        )
    other = "k3s-agent" if need["role"] == "server" else "k3s"
    if other in board["k3s"]["active"] and not board["other_kubernetes"]:
        yield error(
            "leftovers",
            f"The machine runs K3s as {'an agent' if other == 'k3s-agent' else 'a server'} and is "
            f"to be {'a server' if need['role'] == 'server' else 'an agent'}.",
            "Remove K3s from it with reset.yml first.",
        )


def judge_hostname(board, _need):
    """A name that several machines have by default is worth changing, and localhost is none."""
    if board["hostname"].partition(".")[0] in ("", "localhost"):
        yield error(
            "hostname",
            f"The machine's name is {board['hostname'] or 'empty'}.",
            "Give it a name of its own: hostnamectl set-hostname NAME",
        )


def judge_certificates(board, _need):
    """K3s makes its certificates anew when it starts, from 90 days before their end."""
    ends = {name: end for name, end in (board["certificates"] or {}).items() if end < board["clock"] + 30 * 86400}
    if ends:
        first = min(ends, key=ends.get)
        day = time.strftime("%Y-%m-%d", time.gmtime(ends[first]))
        yield warning(
            "certificates",
            f"{len(ends)} of K3s's certificates end within 30 days, {first} on {day}.",
            "Restart K3s on this machine: it then makes them anew.",
        )


RULES = (
    judge_architecture, judge_memory_cgroup, judge_memory, judge_disk, judge_swap, judge_modules, judge_iptables,
    judge_clock, judge_hostname, judge_ports, judge_leftovers, judge_certificates,
)  # fmt: skip


def read_board(need=None, root="/"):
    """Facts and findings."""
    given = {key: value for key, value in (need or {}).items() if value is not None}
    wanted = dict(DEFAULTS, **given)
    board = gather(Machine(root), wanted)
    board["findings"] = judge(board, wanted)
    board["due"] = find_due(board, wanted)
    return board


def main():
    """Answer Ansible, or print for whoever else asks."""
    # Ansible's wrapper has loaded this before it starts the module; elsewhere it may be there and is not used.
    if "ansible.module_utils.basic" in sys.modules:
        from ansible.module_utils.basic import AnsibleModule  # noqa: PLC0415

        specification = {"need": {"type": "dict", "default": {}}, "root": {"type": "path", "default": "/"}}
        module = AnsibleModule(argument_spec=specification, supports_check_mode=True)
        module.exit_json(changed=False, ansible_facts={"k3s_board": read_board(**module.params)})
    text = sys.argv[1] if len(sys.argv) > 1 else "{}"
    if os.path.isfile(text):
        with open(text) as stream:
            text = stream.read()
    given = json.loads(text)
    print(json.dumps({"changed": False, "board": read_board(given.get("need"), given.get("root", "/"))}))


if __name__ == "__main__":
    main()
