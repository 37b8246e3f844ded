"""Waits on the server until every wanted node is Ready, gives nodes their labels and taints, removes unknown ones.

Prints what it saw as JSON. K3s itself sets labels and taints only when a node registers. Which of them are ours is
noted on the node, so that those no longer wanted are taken away and those of other people stay.
"""

import json
import subprocess
import sys
import time

KUBECTL = ["/usr/local/bin/k3s", "kubectl"]
LABELS_NOTE, TAINTS_NOTE = "continuum-deploy/labels", "continuum-deploy/taints"


def kubectl(*arguments):
    """Output of kubectl; raises CalledProcessError with its complaint in ``output``."""
    done = subprocess.run(
        [*KUBECTL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=True
    )
    return done.stdout.decode(errors="replace")


def read_nodes():
    """Name to Node object, and a reason in words when the API does not answer."""
    try:
        text = kubectl("get", "nodes", "-o", "json")
    except subprocess.CalledProcessError as reason:
        return {}, reason.output.decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        return {}, "The API does not answer within a minute."
    return {item["metadata"]["name"]: item for item in json.loads(text)["items"]}, ""


def unready(node):
    """Why a node is not Ready, empty if it is."""
    if node is None:
        return "is not known to the server"
    conditions = node["status"].get("conditions", [])
    ready = next((c for c in conditions if c["type"] == "Ready"), {"status": "Unknown"})
    if ready["status"] == "True":
        return ""
    return ready.get("message") or ready.get("reason") or "has reported nothing yet"


def parse_taint(text):
    """``key:effect`` and value of ``key=value:effect``."""
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return key + ":" + effect, value


def find_changes(node, wanted):
    """Arguments of kubectl, by verb, that bring labels, taints and their notes to what is wanted."""
    labels = node["metadata"].get("labels", {})
    notes = node["metadata"].get("annotations", {})
    taints = {t["key"] + ":" + t["effect"]: t.get("value", "") for t in node["spec"].get("taints", [])}
    wanted_taints = dict(map(parse_taint, wanted["taints"]))
    label = [f"{k}={v}" for k, v in sorted(wanted["labels"].items()) if labels.get(k) != v]
    label += [k + "-" for k in split(notes.get(LABELS_NOTE)) if k not in wanted["labels"] and k in labels]
    taint = [
        "{}={}:{}".format(k.rpartition(":")[0], v, k.rpartition(":")[2])
        for k, v in sorted(wanted_taints.items())
        if taints.get(k) != v
    ]
    taint += [k + "-" for k in split(notes.get(TAINTS_NOTE)) if k not in wanted_taints and k in taints]
    annotate = []
    for name, ours in ((LABELS_NOTE, wanted["labels"]), (TAINTS_NOTE, wanted_taints)):
        note = ",".join(sorted(ours))
        if note != notes.get(name, ""):
            annotate.append(f"{name}={note}" if note else name + "-")
    return {"label": label, "taint": taint, "annotate": annotate}


def split(note):
    """The entries of a note."""
    return [entry for entry in (note or "").split(",") if entry]


def mark(nodes, wanted):
    """Give nodes their labels and taints, one call for all nodes that need the same; names of those changed."""
    calls = {}
    for name, marks in wanted.items():
        for verb, arguments in find_changes(nodes[name], marks).items():
            if arguments:
                calls.setdefault((verb, tuple(arguments)), []).append(name)
    for (verb, arguments), names in calls.items():
        kubectl(verb, "nodes", *names, *arguments, "--overwrite")
    return sorted({n for (verb, _), names in calls.items() if verb != "annotate" for n in names})


def main():
    """Poll; exit code 1 with the reasons when the time is over."""
    order = json.loads(sys.argv[1])
    end = time.monotonic() + order["timeout"]
    while True:
        nodes, trouble = read_nodes()
        missing = {name: unready(nodes.get(name)) for name in order["wanted"]}
        missing = {name: why for name, why in missing.items() if why}
        if not missing and not trouble:
            break
        if time.monotonic() >= end:
            print(json.dumps({"missing": missing, "trouble": trouble}))
            sys.exit(1)
        time.sleep(0.5)
    removed = sorted(set(nodes) - set(order["known"])) if order["prune"] else []
    try:
        if removed:
            kubectl("delete", "node", *removed)
        marked = mark(nodes, order["wanted"])
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as reason:
        told = (getattr(reason, "output", None) or b"").decode(errors="replace").strip()
        print(json.dumps({"missing": {}, "trouble": told or str(reason)}))
        sys.exit(1)
    versions = {name: nodes[name]["status"].get("nodeInfo", {}).get("kubeletVersion", "") for name in order["wanted"]}
    print(json.dumps({"versions": versions, "removed": removed, "marked": marked}))


if __name__ == "__main__":
    main()
