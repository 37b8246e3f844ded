"""Says which nodes are to be upgraded, or why none may be, as JSON; run on the first server, changes nothing.

Only a server whose K3s was stopped, as by an upgrade that was cut off, is started again.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time

K3S, NEXT = "/usr/local/bin/k3s", "/usr/local/bin/k3s-next"
NOTE = "continuum-deploy/turn"
VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)(?:-[a-z]+\d+)?\+k3s(\d+)")


def ask(*command):
    """Exit code and output of a command."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    return done.returncode, done.stdout.decode(errors="replace").strip()


def find_binary(checksum):
    """The new binary: beside the old one, or in its place already."""
    for path in filter(os.path.exists, (NEXT, K3S)):
        with open(path, "rb") as stream:
            if hashlib.sha256(stream.read()).hexdigest() == checksum:
                return path
    return refuse("The new binary is not on this machine.")


def parse(version):
    """Major, minor, patch and K3s's own number; nothing for what is no version of K3s."""
    found = VERSION.match(version)
    return tuple(int(part) for part in found.groups()) if found else ()


def read_nodes(timeout):
    """Node objects; starts a server that does not run."""
    if ask("systemctl", "is-active", "k3s")[1] == "inactive":
        ask("systemctl", "start", "--no-block", "k3s")
    end = time.monotonic() + timeout
    while True:
        code, text = ask(K3S, "kubectl", "get", "nodes", "-o", "json")
        if code == 0:
            return json.loads(text)["items"]
        if time.monotonic() >= end:
            refuse("The API of this server does not answer, and only a cluster that works is upgraded: " + text)
        time.sleep(0.5)


def refuse(reason):
    """Say why not, and end."""
    print(json.dumps({"refused": reason, "todo": []}))
    sys.exit(0)


def check(target, versions, servers):
    """Refuse what Kubernetes does not allow: to go back, or to leave out a minor version."""
    wanted = parse(target)
    if not wanted:
        refuse(f"{target or 'the file'} is no version of K3s as v1.31.5+k3s1 is.")
    unknown = sorted(name for name, version in versions.items() if not parse(version))
    if unknown:
        refuse("The version of {} is not known: {}.".format(unknown[0], versions[unknown[0]] or "none was reported"))
    newer = sorted(name for name, version in versions.items() if parse(version) > wanted)
    if newer:
        refuse(
            f"{newer[0]} runs {versions[newer[0]]}, and {target} is older. K3s does not go back: the data of a newer "
            "version cannot be read by an older one. Take a version that is not older, or restore an earlier snapshot."
        )
    old = min((parse(versions[name]), name) for name in servers)
    if wanted[0] != old[0][0] or wanted[1] > old[0][1] + 1:
        step = f"v{old[0][0]}.{old[0][1] + 1}"
        refuse(
            f"{old[1]} runs {versions[old[1]]}, and to {target} a minor version would be left out. Upgrade to the last "
            f"{step} first, then to the next one, until {target} is reached."
        )


def is_ready(node):
    """Whether the server counts it as Ready."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))


def check_majority(nodes, todo):
    """Refuse to restart servers of embedded etcd while so many are away that one more takes the majority.

    One that an upgrade which was cut off has left stopped is not away: this upgrade starts it again.
    """
    members = {n: node for n, node in nodes.items() if "node-role.kubernetes.io/etcd" in node["metadata"]["labels"]}
    away = [n for n, m in members.items() if not is_ready(m) and NOTE not in m["metadata"].get("annotations", {})]
    restarted = [name for name in todo if name in members and name not in away]
    if away and restarted and len(members) - len(away) - 1 < len(members) // 2 + 1:
        refuse(
            f"{', '.join(sorted(away))} of {len(members)} servers {'is' if len(away) == 1 else 'are'} not Ready: with "
            f"{restarted[0]} restarted as well, no majority of them would be left, and the cluster would stand still. "
            "Bring what is away back, or take it out of the cluster (kubectl delete node) and have site.yml make "
            "another server, then upgrade."
        )


def main():
    """Print {"target", "todo", "refused"}."""
    order = json.loads(sys.argv[1])
    nodes = {node["metadata"]["name"]: node for node in read_nodes(order["timeout"])}
    told = ask(find_binary(order["sha256"]), "--version")[1]
    found = re.match(r"k3s version (\S+)", told)
    target = found.group(1) if found else ""
    known = [name for name in order["servers"] + order["agents"] if name in nodes]
    versions = {name: nodes[name]["status"].get("nodeInfo", {}).get("kubeletVersion", "") for name in known}
    servers = [name for name in order["servers"] if name in nodes]
    if not servers:
        refuse("None of the servers in the inventory is in the cluster.")
    check(target, versions, servers)
    notes = {name: nodes[name]["metadata"].get("annotations", {}) for name in known}
    todo = [name for name in known if versions[name] != target or NOTE in notes[name]]
    check_majority(nodes, todo)
    print(json.dumps({"refused": "", "target": target, "todo": todo, "versions": versions}))


if __name__ == "__main__":
    main()
