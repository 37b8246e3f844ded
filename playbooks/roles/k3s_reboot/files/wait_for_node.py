"""Waits on a server until the nodes are as they must be around a reboot; prints why not when the time is over.

Arguments: the node's name, the boot that it must report (empty: it is the others that must be Ready), seconds.
"""

import json
import subprocess
import sys
import time

KUBECTL = ["/usr/local/bin/k3s", "kubectl", "--request-timeout=10s", "get", "nodes", "-o", "json"]


def read_nodes():
    """Name to (why it is not Ready, boot that it reports), or a reason in words when the API does not answer."""
    try:
        done = subprocess.run(KUBECTL, capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return {}, f"the server cannot be asked for its nodes: {error}."
    if done.returncode:
        return {}, f"the server does not answer: {done.stderr.decode(errors='replace').strip()}."
    nodes = {}
    for item in json.loads(done.stdout.decode())["items"]:
        conditions = item["status"].get("conditions", [])
        ready = next((c for c in conditions if c["type"] == "Ready"), {"status": "Unknown"})
        reason = "" if ready["status"] == "True" else ready.get("message") or ready.get("reason") or "nothing reported"
        nodes[item["metadata"]["name"]] = (reason, item["status"].get("nodeInfo", {}).get("bootID", ""))
    return nodes, ""


def find_trouble(nodes, name, boot):
    """What is not as it must be, as a clause; empty if all is well."""
    if not boot:
        away = [f"{other} ({reason})" for other, (reason, _) in sorted(nodes.items()) if reason and other != name]
        return f"not every other node is Ready: {', '.join(away)}." if away else ""
    if name not in nodes:
        return f"the server knows no node {name}."
    reason, reported = nodes[name]
    if reason:
        return f"its node is not Ready: {reason}."
    return "" if reported == boot else "its node has not reported since the reboot."


def main():
    """Poll; exit code 1 with the reason when the time is over."""
    name, boot, end = sys.argv[1].lower(), sys.argv[2], time.monotonic() + float(sys.argv[3])
    while True:
        nodes, trouble = read_nodes()
        trouble = trouble or find_trouble(nodes, name, boot)
        if not trouble:
            return
        if time.monotonic() >= end:
            print(trouble)
            sys.exit(1)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
