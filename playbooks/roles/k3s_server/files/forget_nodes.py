"""Makes room for machines that have never joined, or were made anew, under names that the cluster may know.

The server keeps the password of every node, and a machine made anew has another one. A node that is alive is somebody
else's, though: it is left alone and named.
"""

import json
import subprocess
import sys
import time

KUBECTL = ["/usr/local/bin/k3s", "kubectl"]


def ask(*arguments):
    """Exit code and output of kubectl."""
    done = subprocess.run(
        [*KUBECTL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
    )
    return done.returncode, done.stdout.decode(errors="replace")


def read_nodes():
    """Name to identifier of the boot, and whether it is Ready; machines made from one image have one machine id."""
    code, text = ask("get", "nodes", "-o", "json")
    if code:
        raise SystemExit("The API does not answer: " + text.strip())
    found = {}
    for item in json.loads(text)["items"]:
        conditions = item["status"].get("conditions", [])
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        found[item["metadata"]["name"]] = (item["status"].get("nodeInfo", {}).get("bootID", ""), ready)
    return found


def main():
    """Wait until the old nodes are given up, then delete them with their passwords."""
    order = json.loads(sys.argv[1])
    end = time.monotonic() + order["timeout"]
    while True:
        nodes = read_nodes()
        alive = [n for n, boot in order["new"].items() if n in nodes and nodes[n][1] and nodes[n][0] != boot]
        if not alive or time.monotonic() >= end:
            break
        time.sleep(0.5)
    gone = [name for name in order["new"] if name not in alive]
    forgotten = [name for name in gone if name in nodes]
    # One that was rejected has a password of its own; where its node is gone, nobody else can be using the name.
    gone += [name for name in order["idle"] if name not in nodes]
    if forgotten:
        ask("delete", "node", *forgotten, "--ignore-not-found", "--wait=false")
    if gone:
        secrets = [name + ".node-password.k3s" for name in gone]
        ask("--namespace", "kube-system", "delete", "secret", "--ignore-not-found", *secrets)
    print(json.dumps({"forgotten": forgotten, "alive": alive}))


main()
