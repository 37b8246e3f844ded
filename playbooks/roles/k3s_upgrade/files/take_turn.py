"""What is done on a server before and after the binary of one node is exchanged: drain it, see it Ready, let it work.

Who cordoned the node is noted on it, so that an upgrade that was cut off is completed, and a node that its owner had
cordoned stays so.
"""

import json
import subprocess
import sys
import time

KUBECTL = ["/usr/local/bin/k3s", "kubectl"]
NOTE = "continuum-deploy/upgrade"


def kubectl(*arguments, timeout=60):
    """Exit code and output."""
    try:
        done = subprocess.run(
            [*KUBECTL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {timeout} s"
    return done.returncode, done.stdout.decode(errors="replace").strip()


def demand(*arguments, timeout=60):
    """The same, and it must work."""
    code, text = kubectl(*arguments, timeout=timeout)
    if code:
        fail(f"kubectl {arguments[0]}: {text}")
    return text


def fail(why):
    """Say why, and end."""
    print(why)
    sys.exit(1)


def read_nodes():
    """Node objects by name; nothing while the API does not answer."""
    code, text = kubectl("get", "nodes", "-o", "json")
    return {node["metadata"]["name"]: node for node in json.loads(text)["items"]} if code == 0 else {}


def note_of(node):
    """Who cordoned it: ``ours``, ``theirs``, or nobody in an upgrade."""
    return node["metadata"].get("annotations", {}).get(NOTE, "")


def before(name, order):
    """Have the node's work done by others."""
    nodes = read_nodes()
    if name not in nodes:
        fail(f"{name} is not in the cluster, or the API does not answer.")
    node = nodes[name]
    note = note_of(node) or ("theirs" if node["spec"].get("unschedulable") else "ours")
    demand("annotate", "node", name, f"{NOTE}={note}", "--overwrite")
    others = [n for n, other in nodes.items() if n != name and not other["spec"].get("unschedulable")]
    if not others:
        # Nobody could take the work over: what runs goes on while K3s restarts.
        return
    seconds = order["drain_timeout"]
    options = ["--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={seconds}s"] + ["--force"] * order["force"]
    code, text = kubectl("drain", name, *options, timeout=seconds + 30)
    if code:
        if note == "ours":
            kubectl("uncordon", name)
        kubectl("annotate", "node", name, NOTE + "-")
        fail(f"The work of {name} could not be moved elsewhere within {seconds} s, and it goes on there: {text}")


def after(name, order):
    """See the node Ready with the new version, and let it work again."""
    end = time.monotonic() + order["ready_timeout"]
    while True:
        node = read_nodes().get(name)
        version = node["status"].get("nodeInfo", {}).get("kubeletVersion", "") if node else ""
        conditions = node["status"].get("conditions", []) if node else []
        ready = next((c for c in conditions if c["type"] == "Ready"), {"status": "Unknown"})
        if ready["status"] == "True" and version == order["target"]:
            break
        if time.monotonic() >= end:
            why = ready.get("message") or ready.get("reason") or "the API does not answer"
            seconds = order["ready_timeout"]
            fail(f"{name} is not Ready with {order['target']} after {seconds} s (it reports {version}): {why}")
        time.sleep(0.5)
    if note_of(node) == "ours" and node["spec"].get("unschedulable"):
        demand("uncordon", name)
    if note_of(node):
        demand("annotate", "node", name, NOTE + "-")


if __name__ == "__main__":
    {"before": before, "after": after}[sys.argv[1]](sys.argv[2], json.loads(sys.argv[3]))
