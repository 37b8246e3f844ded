"""Changes what is due on this machine before K3s is put on it, and notes each change in the record before it is made.

Arguments: the record's path, what is due (JSON, see board_facts.py), the kernel command line's file. Prints one line
for each thing changed. README.md of the role says what the record holds; `reset.yml` takes back what is in it.
"""

import contextlib
import json
import os
import subprocess
import sys

MODULES_FILE = "/etc/modules-load.d/continuum-deploy.conf"
SWAP_SERVICES = ("dphys-swapfile.service",)


def run(*command):
    """Output of a command, empty if there is none or if it fails."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def write(path, text):
    """Put a file in place in one step, so that a power loss leaves the old or the new one; modes are kept."""
    temporary = path + ".new"
    with open(temporary, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    mode = os.stat(path).st_mode & 0o7777 if os.path.exists(path) else 0o644
    with contextlib.suppress(OSError):  # a boot partition has no modes of its own
        os.chmod(temporary, mode)
    os.replace(temporary, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def note(record, kind, change):
    """Add a change to the record, to what earlier runs noted; lists are joined. A damaged record is begun anew."""
    noted = {}
    if os.path.exists(record):
        with open(record) as stream, contextlib.suppress(ValueError):
            noted = json.load(stream)
    else:
        os.makedirs(os.path.dirname(record), mode=0o755, exist_ok=True)
    before = noted.setdefault(kind, {})
    for key, value in change.items():
        earlier = before.get(key, [])
        before[key] = earlier + [item for item in value if item not in earlier] if isinstance(value, list) else value
    write(record, json.dumps(noted, indent=1, sort_keys=True) + "\n")


def edit_command_line(record, path, words):
    """Add words to the kernel command line, which is one line: the firmware reads no further."""
    with open(path) as stream:
        present = stream.readline().split()
    added = [word for word in words if word not in present]
    if added:
        note(record, "command_line", {"file": path, "added": added})
        write(path, " ".join(present + added) + "\n")
        print(f"added {' '.join(added)} to {path}")


def switch_swap_off(record, names):
    """Switch swap off, now and at boot: the service that makes a swap file, and systemd's units for the rest."""
    services = [name for name in SWAP_SERVICES if run("systemctl", "is-enabled", name).strip() == "enabled"]
    listed = run("systemctl", "list-units", "--type=swap", "--all", "--plain", "--no-legend", "--full")
    units = [line.split()[0] for line in listed.splitlines() if line.split()[2:3] == ["active"]]
    note(record, "swap", {"services": services, "units": units, "names": names})
    for service in services:
        run("systemctl", "disable", "--now", service)
    if units:
        run("systemctl", "mask", "--now", *units)
    for name in names:
        run("swapoff", name)
    print("switched swap off: " + " ".join(names))


def load_modules(record, names):
    """Load kernel modules, now and at every boot."""
    present = []
    if os.path.exists(MODULES_FILE):
        with open(MODULES_FILE) as stream:
            present = stream.read().split()
    note(record, "modules", {"file": MODULES_FILE, "loaded": names})
    write(MODULES_FILE, "\n".join(present + [name for name in names if name not in present]) + "\n")
    for name in names:
        run("modprobe", name)
    print("loaded " + " ".join(names))


def main():
    """Change what is due, the harmless things first."""
    record, due, path = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
    if due.get("modules"):
        load_modules(record, due["modules"])
    if due.get("swaps"):
        switch_swap_off(record, due["swaps"])
    if due.get("command_line"):
        edit_command_line(record, path, due["command_line"])


if __name__ == "__main__":
    main()
