"""Removes K3s and what it made on this machine; prints one line for each thing removed.

Arguments: the record of changes that the role k3s_prerequisites wrote, and K3s's data folder, empty for the one that
its configuration names. What others made is left alone: their packet filter rules, their networks, their mounts, and
everything on a machine where K3s never was. It may be ended at any point and run again.
"""

import contextlib
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

UNITS = "/etc/systemd/system"
WANTS = UNITS + "/multi-user.target.wants"
CONFIGURATION = "/etc/rancher/k3s"
DATA = "/var/lib/rancher/k3s"
DATA_NAMES = ("agent", "server", "data", "storage", "bin", "shared")
PROGRAMS = ("k3s-killall.sh", "k3s-uninstall.sh", "k3s-agent-uninstall.sh", "k3s-next", "k3s")
LINKS = ("kubectl", "crictl", "ctr")
MADE = (
    "/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/var/lib/cni/networks/cbr0", "/var/lib/cni/flannel",
    "/etc/cni/net.d/10-flannel.conflist", "/run/flannel", "/run/k3s-started", "/run/k3s-agent-started",
    "/etc/rancher/node", "/run/k3s",
)  # fmt: skip
RESULTS = ("/var/lib/cni/results/cbr0-*", "/var/lib/cni/cache/results/cbr0-*", "/run/netns/cni-*")
FOLDERS = (
    "/var/lib/cni/networks", "/var/lib/cni/results", "/var/lib/cni/cache/results", "/var/lib/cni/cache", "/var/lib/cni",
    "/etc/cni/net.d", "/etc/cni", "/run/netns", "/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
    "/usr/libexec/kubernetes/kubelet-plugins/volume", "/usr/libexec/kubernetes/kubelet-plugins",
    "/usr/libexec/kubernetes", "/etc/rancher", "/var/lib/rancher",
)  # fmt: skip
INTERFACES = ("cni0", "flannel.1", "flannel-v6.1", "flannel-wg", "flannel-wg-v6", "kube-ipvs0")
MOUNTS = ("/run/k3s/", "/var/lib/kubelet/", "/run/netns/cni-")
POD_FILE_SYSTEMS = ("overlay", "fuse-overlayfs", "tmpfs", "nsfs", "proc", "mqueue")


def run(*command, text=None):
    """Run a command, whatever comes of it; its output, empty if there is no such command."""
    try:
        done = subprocess.run(
            command, input=text, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=150, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def say(what):
    """Report something removed."""
    print("removed " + what, flush=True)


def read(path):
    """Text of a file, empty if it is not there."""
    try:
        with open(path, errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def find_units():
    """Units of K3s whatever they are called, each to its text."""
    paths = glob.glob(UNITS + "/k3s*.service")
    units = {path: read(path) for path in sorted(paths)}
    ours = {path: text for path, text in units.items() if re.search(r"^ExecStart=\S*/k3s\b", text, re.MULTILINE)}
    half_written = {
        path: text for path, text in units.items() if os.path.basename(path) in STANDARD and path not in ours
    }
    return {**ours, **half_written}


STANDARD = ("k3s.service", "k3s-agent.service")


def find_data_folders(given, units):
    """Where K3s keeps or kept its data: the usual place, the one given, and what configuration and units name."""
    texts = [read(path) for path in sorted(glob.glob(CONFIGURATION + "/config.yaml*/*.yaml"))]
    texts.append(read(CONFIGURATION + "/config.yaml"))
    found = [DATA, given]
    found += [m for text in texts for m in re.findall(r"""^data-dir\+?:\s*["']?([^"'\s#]+)""", text, re.MULTILINE)]
    for path, text in units.items():
        found += re.findall(r"""(?:--data-dir|-d)(?:=|[\s'"\\]+)(/[^\s'"\\]+)""", text)
        found += re.findall(r"""^K3S_DATA_DIR=["']?([^"'\s]+)""", read(path + ".env"), re.MULTILINE)
    folders = [os.path.normpath(path) for path in found if path.startswith("/")]
    return [path for path in dict.fromkeys(folders) if path != "/"]


def find_program_folders(units):
    """Where the binary lies."""
    found = [m for text in units.values() for m in re.findall(r"^ExecStart=(/\S*)/k3s\b", text, re.MULTILINE)]
    return list(dict.fromkeys(["/usr/local/bin", *found]))


def was_here(units, folders, programs):
    """Whether anything on this machine is K3s's beyond doubt; the same interfaces and rules are made by others too."""
    certain = [CONFIGURATION, "/run/k3s", *(f"{place}/k3s" for place in programs)]
    certain += [f"{folder}/{name}" for folder in folders for name in ("agent", "server")]
    return bool(units) or any(os.path.lexists(path) for path in certain)


def stop_units(units):
    """Stop the services, also for the next boot."""
    for name in map(os.path.basename, units):
        run("systemctl", "disable", "--now", name)
        if run("systemctl", "is-active", name).strip() in ("active", "activating", "deactivating"):
            run("systemctl", "kill", "--kill-who=all", "--signal=SIGKILL", name)
            run("systemctl", "stop", name)
        if run("systemctl", "is-active", name).strip() == "active":
            sys.exit(f"{name} cannot be stopped; `systemctl status {name}` says more.")


def remove_units(units):
    """Take the services' files away, whose text names the data folder until then."""
    for path in units:
        for leftover in (path, path + ".env", f"{WANTS}/{os.path.basename(path)}"):
            remove(leftover)
    if units:
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed", *map(os.path.basename, units))


def stop_processes(folders):
    """End what a service with KillMode=process leaves running: container shims and all that they started."""
    begins = tuple(f"{folder}/data/" for folder in folders)
    parents, found = {}, []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if len(fields) > 1:
            parents[pid] = int(fields[1])
        program = ""
        with contextlib.suppress(OSError):
            program = os.readlink(f"/proc/{pid}/exe")
        if program.startswith(begins) or read(f"/proc/{pid}/cmdline").startswith(begins):
            found.append(pid)
    shims = len(found)
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid and child not in found]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if found:
        say(f"{shims} container shims and the like, with {len(found) - shims} processes of pods")
        end = time.monotonic() + 5
        while any(os.path.exists(f"/proc/{pid}/exe") for pid in found) and time.monotonic() < end:
            time.sleep(0.05)


def read_mounts():
    """Mount points to their file systems, as the kernel lists them."""
    lines = [line.split() for line in read("/proc/self/mounts").splitlines()]
    return [(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), line[1]), line[2]) for line in lines]


def remove_mounts(folders):
    """Unmount what pods had, innermost first; a disk that carries the data stays where it is."""
    below = tuple(folder + "/agent/" for folder in folders)
    for point, kind in sorted(read_mounts(), reverse=True):
        if point.startswith(MOUNTS) or (point.startswith(below) and kind in POD_FILE_SYSTEMS):
            run("umount", "--lazy", point)
            say("mount " + point)


def remove_interfaces():
    """The bridge with what is plugged into it, and the tunnels."""
    ports = glob.glob("/sys/class/net/cni0/brif/*")
    for name in [*map(os.path.basename, ports), *INTERFACES]:
        if os.path.exists("/sys/class/net/" + name):
            run("ip", "link", "delete", name)
            say("interface " + name)


def others_use_cni():
    """Whether another container engine keeps networks here, whose rules are called like those of K3s."""
    files = set(glob.glob("/etc/cni/net.d/*")) - {"/etc/cni/net.d/10-flannel.conflist"}
    networks = set(glob.glob("/var/lib/cni/networks/*")) - {"/var/lib/cni/networks/cbr0"}
    return bool(files or networks)


def undo_rules(saved, shared):
    """Input for iptables-restore --noflush that takes away K3s's chains and the rules that lead there, nothing else.

    Args:
        saved: What iptables-save printed.
        shared: Whether chains called CNI-… are another engine's too, so that only those of K3s's network go.
    """
    lines = []
    for table in re.split(r"^(?=\*)", saved, flags=re.MULTILINE):
        name = table.partition("\n")[0]
        rules = re.findall(r"^-A (\S+)(.*)$", table, re.MULTILINE)
        chains = re.findall(r"^:(\S+)", table, re.MULTILINE)
        gone = [chain for chain in chains if chain.startswith(("KUBE-", "FLANNEL-"))]
        gone += [chain for chain in chains if chain.startswith("CNI-") and (not shared or is_ours(chain, rules))]
        leading = [
            f"-D {chain}{rest}" for chain, rest in rules
            if chain not in gone
            and (set(re.findall(r"-[jg] (\S+)", rest)) & set(gone) or re.search(r'--comment "?flanneld? ?masq', rest))
        ]  # fmt: skip
        if name.startswith("*") and (gone or leading):
            lines += [name, *leading, *(f"-F {c}" for c in gone), *(f"-X {c}" for c in gone), "COMMIT"]
    return "".join(line + "\n" for line in lines)


def is_ours(chain, rules):
    """Whether a chain of a CNI plug-in serves K3s's network and no other: pods' own, and those of their host ports."""
    of_network = [rest for _, rest in rules if 'name: \\"cbr0\\"' in rest]
    others = [rest for place, rest in rules if place == "CNI-HOSTPORT-DNAT" and rest not in of_network]
    named = any(f"-j {chain}" in rest for rest in of_network)
    return named or (chain.startswith("CNI-HOSTPORT-") and not others)


def remove_rules():
    """Packet filter rules, in whichever of the two flavours they were made; sets of addresses."""
    shared = others_use_cni()
    for tool in ("iptables", "ip6tables", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"):
        family = "ip6" if tool.startswith("ip6") else "ip"
        if tool.endswith("legacy") and not read(f"/proc/net/{family}_tables_names"):
            continue
        undone = undo_rules(run(tool + "-save"), shared)
        if undone:
            run(tool + "-restore", "--noflush", text=undone)
            say(f"{undone.count('-X ')} chains of {tool}")
    for name in run("ipset", "list", "-name").split():
        if name.startswith("KUBE-"):
            run("ipset", "destroy", name)
            say("ipset " + name)


def remove(path):
    """A file, a link or a folder; nothing that is mounted below it, nor what leads there."""
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        points = [point for point, _ in read_mounts() if point == path or point.startswith(path + "/")]
        if points:
            remove_around(path, points)
        else:
            shutil.rmtree(path)
    else:
        return
    say(path)


def remove_around(path, points):
    """The content of a folder without what is mounted in it."""
    for entry in list(os.scandir(path)):
        if entry.is_symlink() or not entry.is_dir():
            os.unlink(entry.path)
        elif entry.path in points or entry.name == "lost+found":
            continue
        elif any(point.startswith(entry.path + "/") for point in points):
            remove_around(entry.path, points)
        else:
            shutil.rmtree(entry.path)


def remove_data(folder):
    """What K3s keeps in its data folder, and the folder if nothing else is in it."""
    for name in DATA_NAMES:
        remove(f"{folder}/{name}")
    remove_empty(folder)


def remove_empty(folder):
    """A folder that nothing is in; a mount point and a folder of others stay."""
    if os.path.isdir(folder) and not os.path.ismount(folder) and not os.listdir(folder):
        os.rmdir(folder)


def remove_programs(places):
    """The binary, what the installer put beside it, and links to it."""
    for place in places:
        for name in LINKS:
            link = f"{place}/{name}"
            if os.path.islink(link) and os.readlink(link) in ("k3s", f"{place}/k3s"):
                remove(link)
        for name in PROGRAMS:
            remove(f"{place}/{name}")


def remove_groups():
    """Control groups of pods, which are empty now."""
    for top in glob.glob("/sys/fs/cgroup/kubepods*") + glob.glob("/sys/fs/cgroup/*/kubepods*"):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def remove_k3s(given):
    """All of it; what proves that K3s was here goes last, so that a run that was cut off is finished by the next."""
    units = find_units()
    folders, programs = find_data_folders(given, units), find_program_folders(units)
    if not was_here(units, folders, programs):
        return
    own = [path for folder in folders for end in ("", "/aux") for path in glob.glob(f"{folder}/data/*/bin{end}")]
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *own])
    stop_units(units)
    stop_processes(folders)
    remove_mounts(folders)
    remove_interfaces()
    remove_rules()
    remove_groups()
    for path in [*MADE, *(path for pattern in RESULTS for path in glob.glob(pattern))]:
        remove(path)
    for folder in folders:
        remove_data(folder)
    remove_programs(programs)
    remove_units(units)
    remove(CONFIGURATION)
    for folder in FOLDERS:
        remove_empty(folder)


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
    """What a file of JSON says, nothing if it is not there or damaged."""
    if not os.path.exists(path):
        return {}
    with open(path) as stream, contextlib.suppress(ValueError):
        return json.load(stream)
    return {}


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


if __name__ == "__main__":
    remove_k3s(sys.argv[2])
    restore(sys.argv[1])
