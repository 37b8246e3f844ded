"""What is done on a server before and after one node is worked on: drain it, see it Ready, let it work again.

Who cordoned the node is noted on it, so that a turn that was cut off is completed, and a node that its owner had
cordoned stays so. Prints why not, as a clause after what was done, and ends with 1.
"""

import json
import subprocess
import sys
import time

KUBECTL = ["/usr/local/bin/k3s", "kubectl"]
NOTE = "continuum-deploy/turn"


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
    """Who cordoned it: ``ours``, ``theirs``, or nobody in a turn."""
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


def find_trouble(nodes, name, order):
    """What is not as it must be, as a clause; empty if all is well."""
    if not nodes:
        return "the API does not answer."
    if name not in nodes:
        return f"the server knows no node {name}."
    status = nodes[name]["status"]
    ready = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {"status": "Unknown"})
    if ready["status"] != "True":
        return f"its node is not Ready: {ready.get('message') or ready.get('reason') or 'nothing reported'}."
    info = status.get("nodeInfo", {})
    if order["boot"] and info.get("bootID") != order["boot"]:
        return "its node has not reported since the reboot."
    if order["version"] and info.get("kubeletVersion") != order["version"]:
        return f"its node reports {info.get('kubeletVersion') or 'no version'} instead of {order['version']}."
    return ""


def after(name, order):
    """See the node Ready as it must be, and let it work again."""
    end = time.monotonic() + order["ready_timeout"]
    while True:
        nodes = read_nodes()
        trouble = find_trouble(nodes, name, order)
        if not trouble:
            break
        if time.monotonic() >= end:
            fail(f"{trouble} It was given {order['ready_timeout']} s.")
        time.sleep(0.5)
    node = nodes[name]
    if note_of(node) == "ours" and node["spec"].get("unschedulable"):
        demand("uncordon", name)
    if note_of(node):
        demand("annotate", "node", name, NOTE + "-")


if __name__ == "__main__":
    {"before": before, "after": after}[sys.argv[1]](sys.argv[2].lower(), json.loads(sys.argv[3]))
