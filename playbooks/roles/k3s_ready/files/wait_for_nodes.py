"""Waits on the server until every wanted node is Ready, removes unknown ones, and prints what it saw as JSON."""

import json
import subprocess
import sys
import time

KUBECTL = ["/usr/local/bin/k3s", "kubectl"]


def read_nodes():
    """Name to (ready, why not, version), or a reason in words when the API does not answer."""
    done = subprocess.run([*KUBECTL, "get", "nodes", "-o", "json"], capture_output=True, timeout=60, check=False)
    if done.returncode:
        return {}, done.stderr.decode(errors="replace").strip()
    nodes = {}
    for item in json.loads(done.stdout.decode())["items"]:
        conditions = item["status"].get("conditions", [])
        ready = next((c for c in conditions if c["type"] == "Ready"), {"status": "Unknown"})
        version = item["status"].get("nodeInfo", {}).get("kubeletVersion", "")
        reason = ready.get("message") or ready.get("reason") or "has reported nothing yet"
        nodes[item["metadata"]["name"]] = (ready["status"] == "True", reason, version)
    return nodes, ""


def main():
    """Poll; exit code 1 with the reasons when the time is over."""
    wanted, known, timeout = json.loads(sys.argv[1]), json.loads(sys.argv[2]), float(sys.argv[3])
    end = time.monotonic() + timeout
    while True:
        nodes, trouble = read_nodes()
        missing = {name: "is not known to the server" for name in wanted if name not in nodes}
        missing.update({name: nodes[name][1] for name in wanted if name in nodes and not nodes[name][0]})
        if not missing and not trouble:
            break
        if time.monotonic() >= end:
            print(json.dumps({"missing": missing, "trouble": trouble}))
            sys.exit(1)
        time.sleep(0.5)
    removed = [] if known == ["*"] else sorted(set(nodes) - set(known))
    if removed:
        subprocess.run([*KUBECTL, "delete", "node", *removed], stdout=subprocess.DEVNULL, timeout=120, check=True)
    print(json.dumps({"version": nodes[wanted[0]][2], "removed": removed}))


main()
