"""Puts K3s's files in place on this machine, (re)starts its service, and says what became of it; takes JSON on stdin.

Bounded: K3s itself waits for its server without end, and what will not mend by waiting ends the wait at once.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time

POLL = 0.2
TAIL = 15
NAMESAKE = (
    "Another machine has joined under the name {node}, or this one was installed anew: the server keeps every node's "
    "password. Give each machine a name of its own, or let the server forget it: k3s kubectl delete node {node}"
)
SILENCE = (
    "Nothing answers as a K3s server at {server}: see that the address and the port are right, that the server runs, "
    "and that no firewall is between."
)
NO_ANSWER = r"(?i)connection refused|no route to host|timed out|i/o timeout|deadline exceeded|failed to get CA certs"
# What the journal says, what it means, and whether waiting is in vain.
CAUSES = (
    (r"Node password rejected|duplicate hostname", NAMESAKE, True),
    (r"duplicate node name found", "Another server has joined under the name {node}.", True),
    (r"CA hash does not match", "The token is of another cluster than the one that answers at {server}.", True),
    (r"encrypted with different token", "The token is not the one that the cluster was made with.", True),
    (r"401 Unauthorized|not authorized|invalid token", "The server at {server} refuses the token.", True),
    (r"[Ee]xec format error|status=203/EXEC", "/usr/local/bin/k3s is for another architecture, or damaged.", True),
    (r"(?i)no space left on device", "The disk is full.", True),
    (r"failed to find memory cgroup", "The memory cgroup is off.", True),
    (r"certificate has expired or is not yet valid", "The clocks of this machine and of {server} differ.", False),
    (r"address already in use", "Something else listens on a port that K3s needs.", False),
    (NO_ANSWER, SILENCE, False),
)


def ask(*command):
    """Output of a command, whatever its exit code."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240, check=False)
    return done.stdout.decode(errors="replace").strip()


def read(path):
    """Content of a file, nothing if it is not there."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def place(file):
    """Write one file as root's, in one step and never open to more than its mode says; or remove it."""
    path = file["path"]
    if file.get("content") is None:
        if os.path.lexists(path):
            os.unlink(path)
            return True
        return False
    content, mode = file["content"].encode(), int(file["mode"], 8)
    if os.path.isfile(path) and read(path) == content:
        found = os.stat(path)
        if (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (0, 0, mode):
            return False
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    temporary = path + ".new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    return True


def look(unit):
    """State of the service, and how often systemd has started it anew by itself."""
    text = ask("systemctl", "show", "--property=ActiveState,SubState,NRestarts", unit)
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    return found.get("ActiveState", ""), found.get("SubState", ""), int(found.get("NRestarts") or 0)


def read_journal(unit, since):
    """What K3s and systemd said of the service since then."""
    return ask(
        "journalctl", "--unit=" + unit, "--identifier=k3s", "--identifier=systemd", "--since=@" + str(int(since)),
        "--lines=400", "--no-pager", "--output=cat",
    )  # fmt: skip


def find_cause(journal, order):
    """What the journal means in words, and whether it was said again and again and will not mend by waiting."""
    for pattern, cause, in_vain in CAUSES:
        count = len(re.findall(pattern, journal))
        if count:
            return cause.format(node=order["node"], server=order["server"] or "its server"), in_vain and count > 1
    return "", False


def start(order):
    """Start the service anew and wait; returns whether it runs, why not, and the end of its journal."""
    unit, attempts = order["unit"], order["attempts"]
    ask("systemctl", "daemon-reload")
    ask("systemctl", "stop", unit)
    ask("systemctl", "reset-failed", unit)
    began, before = time.time(), look(unit)[2]
    end, checked = time.monotonic() + order["timeout"], time.monotonic()
    for old, new, checksum in order.get("rename", []):
        content = read(old)
        if content is not None and hashlib.sha256(content).hexdigest() == checksum:
            os.replace(old, new)
    ask("systemctl", "enable", "--quiet", unit)
    ask("systemctl", "start", "--no-block", unit)
    while True:
        active, sub, restarts = look(unit)
        if active == "active":
            return True, "", ""
        crashes = restarts - (before if restarts >= before else 0) + (sub == "auto-restart")
        over = active == "failed" or crashes >= attempts or time.monotonic() >= end
        if over or time.monotonic() - checked >= 1:
            checked = time.monotonic()
            journal = read_journal(unit, began)
            cause, in_vain = find_cause(journal, order)
            if over or in_vain:
                return False, cause, "\n".join(journal.splitlines()[-TAIL:])
        time.sleep(POLL)


def place_all(order):
    """Paths of the files that were written or removed; ends with the cause if one cannot be."""
    placed, path = [], ""
    try:
        for file in order["files"]:
            path = file["path"]
            placed += [path] if place(file) else []
    except OSError as reason:
        journal = read_journal(order["unit"], 0).splitlines()[-TAIL:]
        cause = f"{path} cannot be written: {reason.strerror or reason}."
        print(json.dumps({"cause": cause, "journal": "\n".join(journal)}))
        sys.exit(1)
    return placed


def main():
    """Do it; exit code 1 if the files cannot be written or the service does not run in time."""
    order = json.load(sys.stdin)
    placed = place_all(order)
    began = time.monotonic()
    started, cause, journal = start(order)
    configuration = read("/etc/rancher/k3s/config.yaml")
    outcome = {
        "placed": placed,
        "seconds": round(time.monotonic() - began, 1),
        "cause": cause,
        "journal": journal,
        "configuration_sha256": hashlib.sha256(configuration).hexdigest() if configuration is not None else "",
    }
    print(json.dumps(outcome))
    sys.exit(0 if started else 1)


if __name__ == "__main__":
    main()
