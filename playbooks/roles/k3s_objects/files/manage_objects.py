"""Has K3s make Kubernetes objects, or take them away, through its folder of manifests; waits for what they make.

Reads from standard input, as JSON: ``name`` (of the file, and so of the Addon), ``state`` (present or absent),
``objects``, ``data_folder`` and ``timeout`` in seconds. Prints as JSON whether anything was changed, and what is not as
it should be, each with the reason. No content of an object is printed: some are secrets.

K3s applies a file when its content changes, deletes objects that are no longer in it, and takes no notice when the file
itself goes; a file beside it that ends in ``.skip`` makes it ignored. Hence the order in which objects are removed.
"""

import contextlib
import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import time

K3S = "/usr/local/bin/k3s"
CONFIGURATION = "/etc/rancher/k3s/config.yaml"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
HARMLESS = ("Completed", "ContainerCreating", "PodInitializing")
LAST = ("CustomResourceDefinition", "Namespace")


def kubectl(*words, text=None, timeout=60.0):
    """Exit code, output and complaint of a kubectl command."""
    command = [K3S, "kubectl", *words]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return 1, "", f"kubectl {words[0]} gave no answer within {timeout:.0f} s"
    except OSError as reason:
        return 1, "", f"{K3S} cannot be run: {reason.strerror}"
    return done.returncode, done.stdout, done.stderr.strip()


def read_list(*words):
    """Objects of a `kubectl get`, none if it fails; what it complained of."""
    _, out, complaint = kubectl("get", *words, "--output=json", "--ignore-not-found")
    try:
        loaded = json.loads(out)
    except ValueError:
        return [], complaint
    return loaded.get("items", [loaded]), complaint


def find_data_folder(given):
    """Where K3s keeps its data: the folder given, else what its configuration names, else the usual one."""
    folder = given
    for path in [CONFIGURATION, *sorted(glob.glob(CONFIGURATION + ".d/*.yaml"))]:
        with contextlib.suppress(OSError), open(path) as stream:
            named = re.findall(r"""^data-dir:\s*["']?([^"'\s#]+)""", stream.read(), re.MULTILINE)
            folder = given or (named[-1] if named else folder)
    return folder or "/var/lib/rancher/k3s"


def flatten(objects):
    """Every single object: lists of objects are taken apart."""
    found = []
    for value in objects:
        found += flatten(value["items"]) if value.get("kind") == "List" else [value]
    return found


def is_same(wanted, live):
    """Whether an object of the cluster is the one that is wanted; versions of its group may differ."""
    told, found = wanted["metadata"], live["metadata"]
    groups = [value["apiVersion"].rpartition("/")[0] for value in (wanted, live)]
    is_there = found.get("namespace") in (None, told.get("namespace") or "default")
    is_named = (wanted["kind"], told["name"]) == (live["kind"], found["name"])
    return is_named and is_there and groups[0] == groups[1]


def title(value):
    """What people call an object."""
    details = value["metadata"]
    return value["kind"] + " " + "/".join(filter(None, (details.get("namespace"), details["name"])))


def render(objects):
    """The manifest: documents of JSON, which is YAML too, the same text for the same objects."""
    return "".join("---\n" + json.dumps(value, sort_keys=True) + "\n" for value in objects)


def parse(text):
    """The objects of a manifest that this program wrote."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class Manifest:
    """The file, and the Addon that K3s makes of it."""

    def __init__(self, name, data_folder):
        self.name = name
        self.folder = data_folder + "/server/manifests"
        self.path = f"{self.folder}/{name}.yaml"
        self.skip = self.path + ".skip"

    def read(self):
        """The file's text, empty if it is not there."""
        try:
            with open(self.path) as stream:
                return stream.read()
        except FileNotFoundError:
            return ""

    def is_written(self, text):
        """Whether the file is there with this text, for root alone."""
        if not os.path.exists(self.path) or os.path.exists(self.skip):
            return False
        found = os.stat(self.path)
        return self.read() == text and (found.st_uid, found.st_mode & 0o777) == (0, 0o600)

    def write(self, text):
        """Put the file in place in one step; K3s passes over names that begin with a dot."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        temporary = f"{self.folder}/.{self.name}.new"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o600)
        os.replace(temporary, self.path)
        self.unskip()

    def unskip(self):
        """Have K3s look at the file again."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.skip)

    def ignore(self):
        """Have K3s pass over the file from now on, also when it starts anew."""
        with open(self.skip, "w"):
            pass

    def remove(self):
        """Take the file away, last of all the word that it is to be ignored."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.unskip()

    def addon(self):
        """What K3s knows of the file, and what it complained of."""
        found, complaint = read_list("--namespace=kube-system", "addons.k3s.cattle.io", self.name)
        return (found[0] if found else {}), complaint

    def apply_again(self):
        """Have K3s apply the file though it knows its content: somebody took objects away."""
        patch = json.dumps({"spec": {"checksum": ""}})
        command = ("patch", "addons.k3s.cattle.io", self.name, "--namespace=kube-system", "--type=merge", "--patch")
        kubectl(*command, patch)
        os.utime(self.path)

    def complaint(self, since):
        """Why K3s could not apply the file, as its last event on it says; whether trying again is of no use."""
        selector = f"--field-selector=involvedObject.kind=Addon,involvedObject.name={self.name}"
        events, _ = read_list("--namespace=kube-system", "events", selector)
        events = sorted((e for e in events if when(e) >= since), key=when)
        if not events or events[-1].get("type") != "Warning":
            return "", False
        return events[-1].get("message", ""), events[-1].get("reason") == "ParseManifestFailed"


def when(event):
    """When an event was seen last, in seconds."""
    text = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp", "")
    try:
        return time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    except ValueError:
        return 0.0


def condition(value, kind):
    """A condition of an object's status, empty if it has none of the kind."""
    return next((c for c in value.get("status", {}).get("conditions") or [] if c["type"] == kind), {})


def judge(value):
    """Whether an object is as it should be, what is missing to it, and whether there is no hope that it will come."""
    kind, status, spec = value["kind"], value.get("status") or {}, value.get("spec") or {}
    if kind == "Job":
        if condition(value, "Complete").get("status") == "True" or spec.get("suspend"):
            return True, "", False
        failed = condition(value, "Failed")
        return False, failed.get("message") or "it has not ended yet", failed.get("status") == "True"
    if kind not in WORKLOADS:
        return judge_other(value)
    if kind == "DaemonSet":
        wanted, number = status.get("desiredNumberScheduled", -1), status.get("numberAvailable", 0)
        updated = status.get("updatedNumberScheduled", 0)
    else:
        wanted = 1 if spec.get("replicas") is None else spec["replicas"]
        number = status.get("availableReplicas", status.get("readyReplicas", 0)) or 0
        updated = status.get("updatedReplicas", 0) or 0
    is_seen = status.get("observedGeneration", 0) >= value["metadata"].get("generation", 0)
    late = condition(value, "Progressing").get("reason") == "ProgressDeadlineExceeded"
    by_hand = (spec.get("updateStrategy") or {}).get("type") == "OnDelete"
    is_done = is_seen and number >= wanted and (updated >= wanted or by_hand)
    return is_done, f"{number} of {max(wanted, 0)} pods are available", late


def judge_other(value):
    """The same for what runs nothing itself."""
    if value["kind"] == "CustomResourceDefinition":
        return condition(value, "Established").get("status", "True") == "True", "it is not established yet", False
    if value["kind"] == "HelmChart" and value["apiVersion"].startswith("helm.cattle.io/"):
        return judge_chart(value)
    return True, "", False


def judge_chart(chart):
    """A chart is there when the job that installs it has ended well."""
    failed = condition(chart, "Failed")
    if failed.get("status") == "True":
        return False, failed.get("message") or "its installation failed", True
    namespace, name = chart["metadata"].get("namespace", "default"), chart["metadata"]["name"]
    found, _ = read_list(f"--namespace={namespace}", "jobs.batch", f"helm-install-{name}")
    if not found:
        return False, "its installation has not begun yet", False
    is_done, what, is_lost = judge(found[0])
    return is_done, f"the job helm-install-{name}: {what}", is_lost


def explain(value):
    """Why a workload does not come: what its pods wait for, and the warnings about it and them."""
    namespace, name = value["metadata"].get("namespace", "default"), value["metadata"]["name"]
    if value["kind"] == "HelmChart":
        name = f"helm-install-{name}"
    elif value["kind"] not in WORKLOADS:
        return []
    found, _ = read_list(f"--namespace={namespace}", "pods")
    pods = [p for p in found if is_pod_of(p, value, name)]
    reasons = [f"pod {p['metadata']['name']}: {words}" for p in pods for words in pod_trouble(p)]
    names = {name, *(p["metadata"]["name"] for p in pods)}
    events, _ = read_list(f"--namespace={namespace}", "events")
    warnings = [e for e in events if e.get("type") == "Warning" and e["involvedObject"].get("name") in names]
    warnings = sorted(warnings, key=when)[-3:]
    reasons += [f"{e['involvedObject']['name']}: {e.get('reason')}: {e.get('message')}" for e in warnings]
    return list(dict.fromkeys(reasons))[:6]


def is_pod_of(pod, value, name):
    """Whether a workload called ``name`` made a pod."""
    labels = pod["metadata"].get("labels") or {}
    selected = (value.get("spec", {}).get("selector") or {}).get("matchLabels") or {}
    if value["kind"] in ("Job", "HelmChart"):
        selected = {"job-name": name} if "job-name" in labels else {}
    if selected:
        return all(labels.get(key) == wanted for key, wanted in selected.items())
    return pod["metadata"]["name"].startswith(name + "-")


def pod_trouble(pod):
    """What keeps a pod from running."""
    status = pod.get("status", {})
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield f"it has no node: {scheduled.get('message', '')}"
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        state = container.get("state", {})
        stopped = state.get("waiting") or state.get("terminated") or {}
        if stopped.get("reason") and stopped["reason"] not in HARMLESS:
            code = f", exit code {stopped['exitCode']}" if "exitCode" in stopped else ""
            times = f", restarted {container['restartCount']} times" if container.get("restartCount") else ""
            message = f": {stopped['message']}" if stopped.get("message") else ""
            yield f"{stopped['reason']}{code}{times}{message}"


def look(manifest, objects, digest, since):
    """What is not as it should be, as texts of objects; whether to give up; whether K3s has applied the file."""
    addon, complaint = manifest.addon()
    is_applied = addon.get("spec", {}).get("checksum") == digest
    if not is_applied:
        why, is_lost = manifest.complaint(since)
        words = why or complaint or "K3s has not applied the file yet"
        return {"The manifest": words}, is_lost, False, []
    live, complaint = read_list("--filename", manifest.path)
    troubles, lost, waiting = {}, False, []
    for value in objects:
        found = next((other for other in live if is_same(value, other)), None)
        if found is None:
            troubles[title(value)] = complaint.splitlines()[0] if complaint else "it is not there"
            continue
        is_done, what, is_lost = judge(found)
        if not is_done:
            troubles[title(value)] = what
            waiting.append((title(value), found))
            lost = lost or is_lost
    return troubles, lost, True, waiting


def wait(manifest, objects, text, since, end):
    """Wait until all is as it should be; what is not, and whether K3s had to apply the file again."""
    digest, again = hashlib.sha256(text.encode()).hexdigest(), False
    while True:
        troubles, is_lost, is_applied, waiting = look(manifest, objects, digest, since)
        if not troubles:
            return {}, again
        if is_applied and not again and "it is not there" in troubles.values():
            manifest.apply_again()
            again = True
        if is_lost or time.monotonic() >= end:
            for name, value in waiting:
                troubles[name] = "; ".join([troubles[name], *explain(value)])
            return troubles, again
        time.sleep(min(1.0, max(0.1, end - time.monotonic())))


def make(manifest, objects, end):
    """Have the objects made."""
    text = render(objects)
    changed = not manifest.is_written(text)
    since = 0.0
    if changed:
        since = time.time() - 2
        manifest.write(text)
    troubles, again = wait(manifest, objects, text, since, end)
    return {"changed": changed or again, "troubles": troubles}


def take_away(manifest, objects, end):
    """Have the objects deleted, then what K3s knows of the file, then the file."""
    if not os.path.exists(K3S):
        return {"changed": False, "troubles": {}}
    known = parse(manifest.read()) or objects
    addon, complaint = manifest.addon() if known else ({}, "")
    is_there = os.path.exists(manifest.path) or os.path.exists(manifest.skip)
    if not (is_there or addon):
        return {"changed": False, "troubles": {"The manifest": complaint} if complaint else {}}
    if os.path.exists(manifest.path):
        manifest.ignore()
    troubles = delete([v for v in reversed(known) if v["kind"] not in LAST], end)
    troubles = troubles or delete([v for kind in reversed(LAST) for v in known if v["kind"] == kind], end)
    if not troubles:
        code, _, complaint = kubectl(
            "delete", "addons.k3s.cattle.io", manifest.name, "--namespace=kube-system", "--ignore-not-found"
        )
        if code == 0:
            manifest.remove()
        else:
            troubles = {"The addon": complaint}
    return {"changed": True, "troubles": troubles}


def delete(objects, end):
    """Delete objects and wait until they are gone; what is not."""
    if not objects:
        return {}
    left = max(1.0, end - time.monotonic())
    words = ("delete", "--filename=-", "--ignore-not-found", "--wait=true", f"--timeout={left:.0f}s")
    code, _, complaint = kubectl(*words, text=render(objects), timeout=left + 20)
    # What has no kind any more has no objects either.
    lines = [line for line in complaint.splitlines() if line and "no matches for kind" not in line]
    lines = [line for line in lines if not line.startswith(("Warning:", "warning:", "ensure CRDs"))]
    return {"The objects": "; ".join(lines)} if code and lines else {}


def main():
    """Do what is asked; exit code 1 if something is not as it should be."""
    asked = json.load(sys.stdin)
    objects = flatten(asked["objects"])
    manifest = Manifest(asked["name"], find_data_folder(asked["data_folder"]))
    end = time.monotonic() + float(asked["timeout"])
    answer = (make if asked["state"] == "present" else take_away)(manifest, objects, end)
    print(json.dumps(answer))
    sys.exit(1 if answer["troubles"] else 0)


if __name__ == "__main__":
    main()
