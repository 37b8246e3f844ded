"""Waits on a server until every node but one is Ready; prints why not when the time is over.

Arguments: the name of the node that does not count, seconds.
"""

import json
import subprocess
import sys
import time

KUBECTL = ["/usr/local/bin/k3s", "kubectl", "--request-timeout=10s", "get", "nodes", "-o", "json"]


def read_nodes():
    """Name to why it is not Ready, empty if it is, or a reason in words when the API does not answer."""
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
        nodes[item["metadata"]["name"]] = reason
    return nodes, ""


def main():
    """Poll; exit code 1 with the reason when the time is over."""
    name, end = sys.argv[1].lower(), time.monotonic() + float(sys.argv[2])
    while True:
        nodes, trouble = read_nodes()
        away = [f"{other} ({reason})" for other, reason in sorted(nodes.items()) if reason and other != name]
        if away:
            trouble = f"not every other node is Ready: {', '.join(away)}."
        if not trouble:
            return
        if time.monotonic() >= end:
            print(trouble)
            sys.exit(1)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
