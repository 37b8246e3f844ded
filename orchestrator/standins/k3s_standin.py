#!/usr/bin/env python3
"""Takes the place of the k3s binary: speaks its command line, its join protocol and a little of its API; runs no pods.

Standard library and the openssl command only. Settings that K3s does not have:

* ``K3S_STANDIN_ROOT``: folder that stands for ``/`` (files, ``/proc/cgroups``), so that it can run beside itself.
* ``/etc/k3s-standin.json``: faults, e.g. ``{"start_delay": 5, "fail": "disk is full", "fail_join": "…",
  "not_ready": "container runtime is down", "heartbeat_interval": 1.5, "grace_period": 5}``.

What ``site.yml`` and ``upgrade.yml`` ask of it besides, as K3s does it: ``config.yaml.d/*.yaml`` read after
``config.yaml`` (a key there takes the place of the one before); ``cluster-init`` makes ``server/db/etcd``, a further
server joins by ``server`` and the token, and ``kubectl`` on each server shows all nodes; labels and taints of the
configuration count only when a node registers; ``kubectl label|annotate node N k=v k- --overwrite``, ``taint node N
k=v:E k:E- --overwrite``, ``cordon|uncordon N``, ``drain N --ignore-daemonsets --delete-emptydir-data --timeout=60s``.
"""

# mypy: disable-error-code="explicit-override"
from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import http.client
import json
import os
import platform
import re
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

KUBERNETES_VERSION = "v1.31.5"
VERSION = f"{KUBERNETES_VERSION}+k3s1-standin"
ROOT = Path(os.environ.get("K3S_STANDIN_ROOT", "/"))
LIST_OPTIONS = {"node-label", "node-taint", "tls-san", "disable", "kubelet-arg", "kube-apiserver-arg"}
OPTIONS = LIST_OPTIONS | {
    "server", "token", "token-file", "node-name", "node-ip", "node-external-ip", "data-dir", "config",
    "https-listen-port", "write-kubeconfig", "write-kubeconfig-mode", "flannel-iface", "flannel-backend",
    "cluster-cidr", "service-cidr", "cluster-init", "bind-address", "advertise-address", "debug",
    "protect-kernel-defaults",
}  # fmt: skip
ENVIRONMENT = {
    "K3S_URL": "server", "K3S_TOKEN": "token", "K3S_TOKEN_FILE": "token-file", "K3S_NODE_NAME": "node-name",
    "K3S_DATA_DIR": "data-dir", "K3S_CONFIG_FILE": "config", "K3S_KUBECONFIG_MODE": "write-kubeconfig-mode",
}  # fmt: skip
REJECTED = (
    "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server "
    "node-passwd entry, try enabling a unique node name with the --with-node-id flag"
)
STOP = threading.Event()


class FatalError(Exception):
    """Ends the process with K3s's form of a fatal message."""


def log(level: str, message: str) -> None:
    """One line on standard error, as K3s writes it."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    print(f"time={json.dumps(stamp)} level={level} msg={json.dumps(message)}", file=sys.stderr, flush=True)


def rooted(path: str) -> Path:
    """``path`` below the folder that stands for ``/``."""
    return ROOT / path.lstrip("/")


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file in one step, never readable by more than ``mode`` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as stream:
        stream.write(text)
    temporary.chmod(mode)
    temporary.replace(path)


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def faults() -> dict[str, Any]:
    """Delays and failures that are switched on."""
    try:
        loaded = json.loads(rooted("/etc/k3s-standin.json").read_text())
    except FileNotFoundError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


# ---------------------------------------------------------------------------------------------------- configuration


def unquote(text: str) -> str:
    """A YAML scalar as text."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        return str(json.loads(text))
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text


def parse_config(text: str) -> dict[str, list[str]]:
    """``key: value``, ``key: [a, b]`` and ``key:`` with ``- item`` lines below; nothing else."""
    config: dict[str, list[str]] = {}
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", "---")):
            continue
        if stripped.startswith("- ") and current:
            config[current].append(unquote(stripped[2:]))
            continue
        match = re.fullmatch(r"([A-Za-z0-9-]+)\+?:(?:\s+(.*))?", stripped)
        if not match:
            raise FatalError(f"yaml: line {number}: could not find expected ':'")
        current, value = match.group(1), (match.group(2) or "").strip()
        if value.startswith("[") and value.endswith("]"):
            config[current] = [unquote(item) for item in value[1:-1].split(",") if item.strip()]
        else:
            config[current] = [unquote(value)] if value else []
    return config


def parse_flags(arguments: list[str]) -> dict[str, list[str]]:
    """``--name value``, ``--name=value`` and ``--name`` alone."""
    flags: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise FatalError(f"unexpected argument {word}")
        name, sign, value = word[2:].partition("=")
        if not sign:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        flags.setdefault(name, []).append(value)
    return flags


def load_options(arguments: list[str]) -> dict[str, list[str]]:
    """Flags over environment over config.yaml, as K3s ranks them; an unknown name is fatal, as with K3s."""
    flags = parse_flags(arguments)
    environment = {name: [os.environ[key]] for key, name in ENVIRONMENT.items() if os.environ.get(key)}
    given = {**environment, **flags}
    path = Path(given["config"][0]) if "config" in given else rooted("/etc/rancher/k3s/config.yaml")
    options = {**(parse_config(path.read_text()) if path.is_file() else {}), **given}
    for name in options:
        if name not in OPTIONS:
            raise FatalError(f"flag provided but not defined: -{name}")
    return options


def first(options: dict[str, list[str]], name: str, default: str = "") -> str:
    """The (last given) value of an option."""
    values = options.get(name) or [default]
    return values[-1]


def check_memory_cgroup() -> None:
    """K3s refuses to start when the kernel keeps no account of memory."""
    unified = rooted("/sys/fs/cgroup/cgroup.controllers")
    if unified.is_file():
        if "memory" not in unified.read_text().split():
            raise FatalError("failed to find memory cgroup (v2)")
        return
    table = rooted("/proc/cgroups")
    rows = [line.split() for line in table.read_text().splitlines()] if table.is_file() else []
    if not any(row[0] == "memory" and row[3] == "1" for row in rows if len(row) == 4):
        raise FatalError(
            'failed to find memory cgroup, you may need to add "cgroup_memory=1 cgroup_enable=memory" '
            "to your linux cmdline (/boot/cmdline.txt on a Raspberry Pi)"
        )


def notify(state: str) -> None:
    """Tell systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.send(state.encode())


# ------------------------------------------------------------------------------------------------------ certificates


def openssl(*arguments: str) -> None:
    """Run the openssl command; its complaint becomes the fatal message."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise FatalError(f"openssl {arguments[0]}: {done.stderr.strip()}")


def make_ca(folder: Path, name: str) -> None:
    """``<name>.crt`` and ``<name>.key``, made once."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if certificate.is_file() and key.is_file():
        return
    config = folder / f"{name}.cnf"
    write_private(
        config,
        "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=ext\n"
        f"[dn]\nCN=k3s-standin-{name}@{int(time.time())}\n[ext]\nbasicConstraints=critical,CA:TRUE\n"
        "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign\nsubjectKeyIdentifier=hash\n",
    )
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    key.chmod(0o600)
    openssl("req", "-x509", "-new", "-key", str(key), "-days", "3650", "-config", str(config), "-out", str(certificate))
    config.unlink()


def make_certificate(folder: Path, name: str, ca: str, subject: str, extensions: str) -> None:
    """``<name>.crt`` and ``<name>.key``, signed by ``ca``, made anew each time so that the addresses in it are true."""
    certificate, key, request = (folder / f"{name}.{end}" for end in ("crt", "key", "csr"))
    config = folder / f"{name}.cnf"
    write_private(
        config,
        f"[req]\nprompt=no\ndistinguished_name=dn\n[dn]\n{subject}\n[ext]\nbasicConstraints=critical,CA:FALSE\n"
        "keyUsage=critical,digitalSignature,keyEncipherment\nsubjectKeyIdentifier=hash\n"
        f"authorityKeyIdentifier=keyid\n{extensions}\n",
    )
    if not key.is_file():
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
        key.chmod(0o600)
    openssl("req", "-new", "-key", str(key), "-config", str(config), "-out", str(request))
    openssl(
        "x509", "-req", "-in", str(request), "-CA", str(folder / f"{ca}.crt"), "-CAkey", str(folder / f"{ca}.key"),
        "-set_serial", str(secrets.randbits(63)), "-days", "365", "-extfile", str(config), "-extensions", "ext",
        "-out", str(certificate),
    )  # fmt: skip
    config.unlink()
    request.unlink()


def local_addresses() -> list[str]:
    """IPv4 addresses of this machine, the one towards the default route first."""
    found: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        found.append(probe.getsockname()[0])
    with contextlib.suppress(OSError):
        found += [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    return list(dict.fromkeys(address for address in found if not address.startswith("127."))) or ["127.0.0.1"]


def make_certificates(folder: Path, alternative_names: list[str]) -> None:
    """Everything below ``server/tls``."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    make_ca(folder, "server-ca")
    make_ca(folder, "client-ca")
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", socket.gethostname()]
    entries = list(dict.fromkeys([*names, "127.0.0.1", "10.43.0.1", *local_addresses(), *alternative_names]))
    listed = ",".join(f"{'IP' if re.fullmatch(r'[0-9.]+|.*:.*', e) else 'DNS'}:{e}" for e in entries if e)
    make_certificate(
        folder, "serving-kube-apiserver", "server-ca", "CN=kube-apiserver",
        f"extendedKeyUsage=serverAuth\nsubjectAltName={listed}",
    )  # fmt: skip
    make_certificate(
        folder, "client-admin", "client-ca", "O=system:masters\nCN=system:admin", "extendedKeyUsage=clientAuth"
    )


# ------------------------------------------------------------------------------------------------------------- nodes


def node_facts(options: dict[str, list[str]], roles: list[str]) -> dict[str, Any]:
    """What a node says of itself."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(platform.machine(), platform.machine())
    release = rooted("/etc/os-release")
    system = parse_release(release.read_text()).get("PRETTY_NAME", "") if release.is_file() else ""
    machine_id = rooted("/etc/machine-id")
    boot_id = rooted("/proc/sys/kernel/random/boot_id")
    broken = faults().get("not_ready", "")
    return {
        "name": first(options, "node-name", socket.gethostname()).lower(),
        "address": first(options, "node-ip") or local_addresses()[0],
        "labels": options.get("node-label", []),
        "taints": options.get("node-taint", []),
        "roles": roles,
        "ready": not broken,
        "reason": str(broken),
        "info": {
            "architecture": architecture, "operatingSystem": "linux", "osImage": system,
            "kernelVersion": platform.release(), "kubeletVersion": VERSION, "kubeProxyVersion": VERSION,
            "containerRuntimeVersion": "none://standin",
            "machineID": machine_id.read_text().strip() if machine_id.is_file() else "",
            "systemUUID": "", "bootID": boot_id.read_text().strip() if boot_id.is_file() else "",
        },
    }  # fmt: skip


def parse_release(text: str) -> dict[str, str]:
    """os-release as a mapping."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key: value.strip().strip('"') for key, _, value in pairs}


def build_node(facts: dict[str, Any], uid: str, created: str) -> dict[str, Any]:
    """The Node object of what a node says of itself, without its conditions."""
    labels = {
        "kubernetes.io/arch": facts["info"]["architecture"], "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": facts["name"], "node.kubernetes.io/instance-type": "k3s",
    }  # fmt: skip
    labels.update({f"node-role.kubernetes.io/{role}": "true" for role in facts["roles"]})
    labels.update(dict(entry.partition("=")[::2] for entry in facts["labels"]))
    spec: dict[str, Any] = {"providerID": f"k3s://{facts['name']}"}
    if facts["taints"]:
        spec["taints"] = [parse_taint(entry) for entry in facts["taints"]]
    addresses = [("InternalIP", facts["address"]), ("Hostname", facts["name"])]
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": facts["name"], "uid": uid, "creationTimestamp": created, "labels": labels},
        "spec": spec,
        "status": {"addresses": [{"type": t, "address": a} for t, a in addresses], "nodeInfo": facts["info"]},
    }


def parse_taint(text: str) -> dict[str, str]:
    """``key=value:effect``."""
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect}


def age(created: str) -> str:
    """Time since ``created`` as kubectl shows it."""
    begun = datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    seconds = max(0, int((datetime.now(UTC) - begun).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


class Cluster:
    """What the server knows: nodes, node passwords and applied files; kept in ``server/db/state.json``."""

    def __init__(self, data: Path) -> None:
        self._file = data / "server" / "db" / "state.json"
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        kept = json.loads(self._file.read_text()) if self._file.is_file() else {}
        self._nodes: dict[str, dict[str, Any]] = kept.get("nodes", {})
        self._passwords: dict[str, str] = kept.get("passwords", {})
        self.addons: dict[str, dict[str, Any]] = kept.get("addons", {})
        self._version = int(kept.get("version", 1))
        for name, entry in self._nodes.items():
            self._seen[name] = time.monotonic()
            self._facts[name] = entry["facts"]

    def _save(self) -> None:
        self._version += 1
        state = {"nodes": self._nodes, "passwords": self._passwords, "addons": self.addons, "version": self._version}
        write_private(self._file, json.dumps(state, indent=1))

    def check_password(self, name: str, password: str) -> bool:
        """Whether ``name`` may be used: the first password seen for a name is the one that counts."""
        with self._lock:
            known = self._passwords.get(name)
            if known:
                salt, _, digest = known.partition(":")
                return secrets.compare_digest(hashlib.sha256((salt + password).encode()).hexdigest(), digest)
            salt = secrets.token_hex(8)
            self._passwords[name] = f"{salt}:{hashlib.sha256((salt + password).encode()).hexdigest()}"
            self._save()
            return True

    def heartbeat(self, facts: dict[str, Any], *, register: bool) -> bool:
        """Note that a node lives; ``register`` makes its object, without it a deleted node stays away."""
        name = facts["name"]
        with self._lock:
            known = self._nodes.get(name)
            if known is None and not register:
                return False
            if known is None:
                self._nodes[name] = {"uid": new_uid(), "created": now(), "facts": facts}
            elif known["facts"] != facts:
                known["facts"] = facts
            if known is None or self._facts.get(name) != facts:
                self._facts[name] = json.loads(json.dumps(facts))
                self._save()
            self._seen[name] = time.monotonic()
        return True

    def nodes(self) -> list[dict[str, Any]]:
        """Every Node object, with the conditions as of now, by name."""
        grace = float(faults().get("grace_period", 5))
        with self._lock:
            return [self._with_conditions(name, entry, grace) for name, entry in sorted(self._nodes.items())]

    def _with_conditions(self, name: str, entry: dict[str, Any], grace: float) -> dict[str, Any]:
        node = build_node(entry["facts"], entry["uid"], entry["created"])
        silent = time.monotonic() - self._seen.get(name, float("-inf")) > grace
        facts = entry["facts"]
        status, reason, message = "True", "KubeletReady", "kubelet is posting ready status"
        if silent:
            status, reason, message = "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."
        elif not facts["ready"]:
            status, reason, message = "False", "KubeletNotReady", facts["reason"]
        node["metadata"]["resourceVersion"] = str(self._version)
        node["status"]["conditions"] = [
            {"type": "Ready", "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now()}
        ]
        return node

    def delete_node(self, name: str) -> bool:
        """Forget a node; K3s forgets its password with it."""
        with self._lock:
            found = self._nodes.pop(name, None) is not None
            self._facts.pop(name, None)
            if found:
                self._passwords.pop(name, None)
                self._save()
            return found

    def secrets(self) -> list[dict[str, Any]]:
        """The node passwords as Secret objects, their content left out."""
        with self._lock:
            return [
                {"kind": "Secret", "apiVersion": "v1", "type": "Opaque", "metadata": metadata(f"{n}.node-password.k3s")}
                for n in sorted(self._passwords)
            ]

    def delete_secret(self, name: str) -> bool:
        """Forget a node password."""
        with self._lock:
            found = self._passwords.pop(name.removesuffix(".node-password.k3s"), None) is not None
            if found:
                self._save()
            return found

    def record_addons(self, folder: Path) -> None:
        """Note every file of the manifests folder by its checksum, with the objects it names."""
        seen: dict[str, dict[str, Any]] = {}
        for path in sorted(p for end in ("*.yaml", "*.yml", "*.json") for p in folder.glob(end)):
            text = path.read_text(errors="replace")
            kinds = re.findall(r'^"?kind"?:\s*"?(\w+)', text, re.MULTILINE)
            source = {"source": str(path), "checksum": hashlib.sha256(text.encode()).hexdigest(), "kinds": kinds}
            seen[path.stem] = {
                "kind": "Addon", "apiVersion": "k3s.cattle.io/v1", "metadata": metadata(path.stem), "spec": source,
            }  # fmt: skip
        with self._lock:
            if {k: v["spec"] for k, v in seen.items()} != {k: v["spec"] for k, v in self.addons.items()}:
                for name in seen.keys() - self.addons.keys():
                    log("info", f"Applying manifest at {seen[name]['spec']['source']}")
                self.addons = seen
                self._save()


def metadata(name: str) -> dict[str, str]:
    """Metadata of an object of kube-system."""
    uid = hashlib.sha256(name.encode()).hexdigest()[:32]
    return {"name": name, "namespace": "kube-system", "uid": uid, "creationTimestamp": now()}


def new_uid() -> str:
    """A random identifier in the usual form."""
    digits = secrets.token_hex(16)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


# --------------------------------------------------------------------------------------------------------------- API


def render_table(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """Nodes as the server prints them for kubectl."""
    columns = [
        ("Name", 0), ("Status", 0), ("Roles", 0), ("Age", 0), ("Version", 0), ("Internal-IP", 1), ("External-IP", 1),
        ("OS-Image", 1), ("Kernel-Version", 1), ("Container-Runtime", 1),
    ]  # fmt: skip
    rows = []
    for node in nodes:
        prefix = "node-role.kubernetes.io/"
        roles = sorted(label.removeprefix(prefix) for label in node["metadata"]["labels"] if label.startswith(prefix))
        ready = node["status"]["conditions"][0]["status"] == "True"
        details = node["status"]["nodeInfo"]
        cells = [
            node["metadata"]["name"], "Ready" if ready else "NotReady", ",".join(roles) or "<none>",
            age(node["metadata"]["creationTimestamp"]), details["kubeletVersion"],
            node["status"]["addresses"][0]["address"], "<none>", details["osImage"], details["kernelVersion"],
            details["containerRuntimeVersion"],
        ]  # fmt: skip
        partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": node["metadata"]}
        rows.append({"cells": cells, "object": partial})
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "1"},
        "columnDefinitions": [
            {"name": n, "type": "string", "format": "name" if n == "Name" else "", "description": n, "priority": p}
            for n, p in columns
        ],
        "rows": rows,
    }


def status_object(code: int, reason: str, message: str) -> dict[str, Any]:
    """Kubernetes's form of an answer without an object."""
    outcome = "Success" if code < 400 else "Failure"
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome, "message": message, "reason": reason,
        "code": code,
    }  # fmt: skip


def resource(name: str, kind: str, verbs: list[str], short: list[str], *, namespaced: bool = False) -> dict[str, Any]:
    """One line of an APIResourceList."""
    return {
        "name": name, "singularName": kind.lower(), "namespaced": namespaced, "kind": kind, "verbs": verbs,
        "shortNames": short,
    }  # fmt: skip


API_RESOURCES = {
    "/api/v1": [
        resource("nodes", "Node", ["get", "list", "delete"], ["no"]),
        resource("namespaces", "Namespace", ["get", "list"], ["ns"]),
        resource("secrets", "Secret", ["get", "list", "delete"], [], namespaced=True),
        resource("pods", "Pod", ["get", "list"], ["po"], namespaced=True),
    ],
    "/apis/k3s.cattle.io/v1": [resource("addons", "Addon", ["get", "list"], [], namespaced=True)],
}
KINDS = {entry["name"]: entry["kind"] for entries in API_RESOURCES.values() for entry in entries}


def matches(item: dict[str, Any], query: dict[str, list[str]]) -> bool:
    """Whether an object passes the label and field selectors of a list call (equality only)."""
    labels = item["metadata"].get("labels", {})
    for term in filter(None, ",".join(query.get("labelSelector", [])).split(",")):
        key, sign, value = term.replace("==", "=").partition("=")
        if key not in labels or (sign and labels[key] != value):
            return False
    for term in filter(None, ",".join(query.get("fieldSelector", [])).split(",")):
        key, _, value = term.partition("=")
        if key == "metadata.name" and item["metadata"]["name"] != value:
            return False
    return True


class Api:
    """Answers requests from what the cluster knows; holds what only the server may know."""

    def __init__(self, cluster: Cluster, password: str, ca: str) -> None:
        self.cluster = cluster
        self.password = password
        self.ca = ca

    def objects(self, name: str) -> list[dict[str, Any]]:
        """Every object of a resource."""
        if name == "nodes":
            return self.cluster.nodes()
        if name == "secrets":
            return self.cluster.secrets()
        if name == "addons":
            return list(self.cluster.addons.values())
        if name == "namespaces":
            listed = ("default", "kube-node-lease", "kube-public", "kube-system")
            return [{"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": n}} for n in listed]
        return []

    def get(self, path: str, query: dict[str, list[str]], accept: str) -> tuple[int, Any]:
        """Answer a GET of somebody known: status and JSON value or text."""
        if path in {"/readyz", "/livez", "/healthz"}:
            return 200, "ok"
        if path == "/version":
            return 200, {
                "major": "1", "minor": "31", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": f"linux/{platform.machine()}",
            }  # fmt: skip
        if path in {"/api", "/apis"}:
            return 200, discovery(path)
        if path in API_RESOURCES:
            group = path.removeprefix("/apis/").removeprefix("/api/")
            return 200, {
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": API_RESOURCES[path],
            }  # fmt: skip
        return self._get_objects(path, query, accept)

    def _get_objects(self, path: str, query: dict[str, list[str]], accept: str) -> tuple[int, Any]:
        kind, name = split_object_path(path)
        if kind not in KINDS:
            return 404, status_object(404, "NotFound", "the server could not find the requested resource")
        if query.get("watch", ["false"])[0] in {"1", "true"}:
            return 405, status_object(405, "MethodNotAllowed", "the stand-in for K3s does not watch")
        found = [item for item in self.objects(kind) if matches(item, query) and name in {"", item["metadata"]["name"]}]
        if name and not found:
            return 404, status_object(404, "NotFound", f'{kind} "{name}" not found')
        if kind == "nodes" and "as=Table" in accept:
            return 200, render_table(found)
        if name:
            return 200, found[0]
        version = "k3s.cattle.io/v1" if kind == "addons" else "v1"
        listing = {"kind": f"{KINDS[kind]}List", "apiVersion": version, "metadata": {"resourceVersion": "1"}}
        return 200, {**listing, "items": found}

    def delete(self, path: str) -> tuple[int, Any]:
        """Answer a DELETE of somebody known."""
        kind, name = split_object_path(path)
        deletes = {"nodes": self.cluster.delete_node, "secrets": self.cluster.delete_secret}
        if kind not in deletes or not name:
            return 405, status_object(405, "MethodNotAllowed", "the server does not allow this method on the resource")
        if not deletes[kind](name):
            return 404, status_object(404, "NotFound", f'{kind} "{name}" not found')
        return 200, status_object(200, "", "")

    def join(self, name: str, password: str, facts: dict[str, Any]) -> tuple[int, Any]:
        """An agent asks to be let in, and again with every heartbeat."""
        if name != facts.get("name") or not password:
            return 400, "the node's name or password is missing"
        if not self.cluster.check_password(name, password):
            return 403, REJECTED
        if not self.cluster.heartbeat(facts, register=bool(facts.pop("register", False))):
            return 404, f'nodes "{name}" not found'
        return 200, {"clusterDNS": "10.43.0.10", "clusterDomain": "cluster.local"}


def discovery(path: str) -> dict[str, Any]:
    """Which groups and versions there are."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    version = {"groupVersion": "k3s.cattle.io/v1", "version": "v1"}
    groups = [{"name": "k3s.cattle.io", "versions": [version], "preferredVersion": version}]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def split_object_path(path: str) -> tuple[str, str]:
    """Resource and object name of an API path; the only objects in namespaces are those of kube-system."""
    group = r"/(?:api/v1|apis/k3s\.cattle\.io/v1)"
    match = re.fullmatch(group + r"(?:/namespaces/([^/]+)(?=/))?/([a-z]+)(?:/([^/]+))?", path)
    if not match or match.group(1) not in {None, "kube-system", "default"}:
        return "", ""
    return match.group(2), match.group(3) or ""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server
    timeout = 60

    def handle(self) -> None:
        """Shake hands in the connection's own thread, so that a silent client holds up nobody."""
        try:
            self.connection.settimeout(10)
            self.connection.do_handshake()
            self.connection.settimeout(self.timeout)
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep the journal for what matters."""

    def _who(self) -> str:
        """Who asks: the name in a client certificate, the user of a right token, or nobody."""
        certificate = self.connection.getpeercert()
        if certificate:
            return next((v for pair in certificate["subject"] for k, v in pair if k == "commonName"), "")
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            user, _, password = base64.b64decode(value).decode(errors="replace").partition(":")
            right = secrets.compare_digest(password.encode(), self.server.api.password.encode())
            return user if right and user in {"node", "server"} else ""
        return ""

    def _answer(self, code: int, value: Any) -> None:
        body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if method == "GET" and parts.path in {"/cacerts", "/ping"}:
            self._answer(200, self.server.api.ca if parts.path == "/cacerts" else "pong")
            return
        who = self._who()
        if not who:
            self._answer(401, status_object(401, "Unauthorized", "Unauthorized"))
        elif parts.path.startswith("/v1-k3s/"):
            self._answer(*self._join(method, parts.path, body))
        elif who in {"node", "server"} and parts.path not in {"/readyz", "/livez", "/healthz"}:
            self._answer(403, status_object(403, "Forbidden", f'User "{who}" cannot access {parts.path}'))
        elif method == "GET":
            self._answer(*self.server.api.get(parts.path, parse_qs(parts.query), self.headers.get("Accept", "")))
        elif method == "DELETE":
            self._answer(*self.server.api.delete(parts.path))
        else:
            self._answer(405, status_object(405, "MethodNotAllowed", "the stand-in for K3s is read-only"))

    def _join(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if method == "GET" and path == "/v1-k3s/config":
            return 200, {"ServerVersion": VERSION}
        if method == "POST" and path == "/v1-k3s/serving-kubelet.crt":
            name, password = self.headers.get("K3s-Node-Name", ""), self.headers.get("K3s-Node-Password", "")
            return self.server.api.join(name, password, json.loads(body))
        return 404, "404 page not found"

    def do_GET(self) -> None:
        """Serve."""
        self._serve("GET")

    def do_POST(self) -> None:
        """Serve."""
        self._serve("POST")

    def do_PUT(self) -> None:
        """Serve."""
        self._serve("PUT")

    def do_PATCH(self) -> None:
        """Serve."""
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        """Serve."""
        self._serve("DELETE")


class Server(ThreadingHTTPServer):
    """TLS with optional client certificates."""

    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, api: Api) -> None:
        self._context = context
        self.api = api
        super().__init__(address, Handler)

    def get_request(self) -> tuple[Any, Any]:
        """Wrap the connection; the handshake comes later."""
        connection, address = super().get_request()
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Say what went wrong in one line."""
        log("error", f"request of {client_address[0]} failed: {sys.exc_info()[1]!r}")


# ---------------------------------------------------------------------------------------------- server, agent, kubectl


def data_folder(options: dict[str, list[str]]) -> Path:
    """``/var/lib/rancher/k3s`` or what ``data-dir`` says."""
    return Path(first(options, "data-dir")) if "data-dir" in options else rooted("/var/lib/rancher/k3s")


def parse_token(token: str) -> tuple[str, str, str]:
    """CA hash (empty if the token has none), user and password of a join token."""
    match = re.fullmatch(r"K10([0-9a-f]{64})::([^:]+):(.+)", token)
    return (match.group(1), match.group(2), match.group(3)) if match else ("", "node", token)


def server_password(options: dict[str, list[str]], data: Path) -> str:
    """The cluster's password: given, or kept from the last start, or made now; a changed one is fatal, as with K3s."""
    kept = data / "server" / "token"
    known = parse_token(kept.read_text().strip())[2] if kept.is_file() else ""
    given = first(options, "token")
    if not given and "token-file" in options:
        given = Path(first(options, "token-file")).read_text().strip()
    wanted = parse_token(given)[2] if given else ""
    if known and wanted and known != wanted:
        raise FatalError(
            "starting kubernetes: preparing server: bootstrap data already found and encrypted with different token"
        )
    return wanted or known or secrets.token_hex(16)


def write_tokens(data: Path, ca: str, password: str) -> None:
    """``token``, and ``node-token`` beside it."""
    digest = hashlib.sha256(ca.encode()).hexdigest()
    write_private(data / "server" / "token", f"K10{digest}::server:{password}\n")
    link = data / "server" / "node-token"
    if not link.is_symlink():
        link.unlink(missing_ok=True)
        link.symlink_to("token")


def write_kubeconfig(options: dict[str, list[str]], tls: Path, port: int) -> None:
    """``k3s.yaml`` with the administrator's certificate."""
    encoded = {n: base64.b64encode((tls / n).read_bytes()).decode() for n in
               ("server-ca.crt", "client-admin.crt", "client-admin.key")}  # fmt: skip
    text = (
        "apiVersion: v1\nclusters:\n- cluster:\n"
        f"    certificate-authority-data: {encoded['server-ca.crt']}\n    server: https://127.0.0.1:{port}\n"
        "  name: default\ncontexts:\n- context:\n    cluster: default\n    user: default\n  name: default\n"
        "current-context: default\nkind: Config\npreferences: {}\nusers:\n- name: default\n  user:\n"
        f"    client-certificate-data: {encoded['client-admin.crt']}\n"
        f"    client-key-data: {encoded['client-admin.key']}\n"
    )
    given = first(options, "write-kubeconfig")
    path = Path(given) if given else rooted("/etc/rancher/k3s/k3s.yaml")
    write_private(path, text, int(first(options, "write-kubeconfig-mode", "600"), 8))


def node_password() -> str:
    """This node's own password, made at its first start."""
    path = rooted("/etc/rancher/node/password")
    if not path.is_file():
        write_private(path, secrets.token_hex(16) + "\n")
    return path.read_text().strip()


def apply_start_faults() -> None:
    """Wait or fail, if that is switched on."""
    switched = faults()
    STOP.wait(float(switched.get("start_delay", 0)))
    if switched.get("fail"):
        raise FatalError(str(switched["fail"]))


def run_server(options: dict[str, list[str]]) -> None:
    """Serve until told to stop."""
    if first(options, "server"):
        raise FatalError("the stand-in for K3s knows clusters with one server only")
    check_memory_cgroup()
    apply_start_faults()
    data, port = data_folder(options), int(first(options, "https-listen-port", "6443"))
    tls = data / "server" / "tls"
    password = server_password(options, data)
    make_certificates(tls, options.get("tls-san", []))
    ca = (tls / "server-ca.crt").read_text()
    write_tokens(data, ca, password)
    manifests = data / "server" / "manifests"
    manifests.mkdir(parents=True, exist_ok=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "serving-kube-apiserver.crt", tls / "serving-kube-apiserver.key")
    context.load_verify_locations(tls / "client-ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    cluster = Cluster(data)
    server = Server((first(options, "bind-address", "0.0.0.0"), port), context, Api(cluster, password, ca))  # noqa: S104
    threading.Thread(target=server.serve_forever, daemon=True).start()
    write_kubeconfig(options, tls, port)
    roles = ["control-plane", "master"]
    facts = node_facts(options, roles)
    if not cluster.check_password(facts["name"], node_password()):
        raise FatalError(REJECTED)
    cluster.heartbeat(facts, register=True)
    cluster.record_addons(manifests)
    log("info", f"{VERSION} is up and running; this is a stand-in for K3s and runs no pods")
    notify("READY=1")
    while not STOP.wait(float(faults().get("heartbeat_interval", 1.5))):
        cluster.heartbeat(node_facts(options, roles), register=False)
        cluster.record_addons(manifests)
    notify("STOPPING=1")
    server.shutdown()


class RefusedError(Exception):
    """The server did not let this node in, or cannot be reached yet."""


class Supervisor:
    """An agent's connection to its server, kept open between heartbeats."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise FatalError(f"invalid server URL {url}: it must begin with https://")
        self._url = url
        self._host, self._port = parts.hostname, parts.port or 6443
        self._hash, user, password = parse_token(token)
        self._user = user
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._connection: http.client.HTTPSConnection | None = None

    def connect(self) -> None:
        """Check the CA against the token, then the token against the server."""
        if faults().get("fail_join"):
            raise RefusedError(str(faults()["fail_join"]))
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname = False
        blind.verify_mode = ssl.CERT_NONE
        first_look = http.client.HTTPSConnection(self._host, self._port, timeout=10, context=blind)
        try:
            first_look.request("GET", "/cacerts")
            ca = first_look.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as reason:
            raise RefusedError(f'failed to get CA certs: Get "{self._url}/cacerts": {reason}') from reason
        finally:
            first_look.close()
        found = hashlib.sha256(ca.encode()).hexdigest()
        if self._hash and self._hash != found:
            raise RefusedError(f"token CA hash does not match the Cluster CA certificate hash: {self._hash} != {found}")
        if not self._hash:
            log(
                "warning",
                "Cluster CA certificate is not trusted by the host CA bundle, but the token does not include a CA "
                "hash. Use the full token from the server's node-token file to enable Cluster CA validation.",
            )
        context = ssl.create_default_context(cadata=ca)
        self._connection = http.client.HTTPSConnection(self._host, self._port, timeout=10, context=context)
        code, text = self.call("GET", "/v1-k3s/config")
        if code == 401:
            raise RefusedError(f"{self._url}/v1-k3s/config: 401 Unauthorized: the token is not the server's")
        if code != 200:
            raise RefusedError(f"{self._url}/v1-k3s/config: {code} {text}")

    def call(self, method: str, path: str, headers: dict[str, str] | None = None, body: str = "") -> tuple[int, str]:
        """One request; raises RefusedError when the server does not answer."""
        if self._connection is None:
            raise RefusedError("not connected")
        try:
            self._connection.request(method, path, body, {"Authorization": self._authorization, **(headers or {})})
            answer = self._connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as reason:
            self._connection.close()
            raise RefusedError(f"{self._url}{path}: {reason!r}") from reason

    def join(self, facts: dict[str, Any], password: str, *, register: bool) -> None:
        """Ask to be let in, or say that this node lives."""
        headers = {"K3s-Node-Name": facts["name"], "K3s-Node-Password": password, "K3s-Node-IP": facts["address"]}
        body = json.dumps({**facts, "register": register})
        code, text = self.call("POST", "/v1-k3s/serving-kubelet.crt", headers, body)
        if code == 403:
            raise RefusedError(text)
        if code != 200:
            raise RefusedError(f"{self._url}/v1-k3s/serving-kubelet.crt: {code} {text}")


def run_agent(options: dict[str, list[str]]) -> None:
    """Keep trying until the server lets this node in, then report to systemd and stay alive."""
    url, token = first(options, "server"), first(options, "token")
    if not token and "token-file" in options:
        token = Path(first(options, "token-file")).read_text().strip()
    if not url:
        raise FatalError("--server is required")
    if not token:
        raise FatalError("--token is required")
    check_memory_cgroup()
    apply_start_faults()
    supervisor, password = Supervisor(url, token), node_password()
    joined = announced = False
    while not STOP.is_set():
        try:
            if not joined:
                supervisor.connect()
            supervisor.join(node_facts(options, []), password, register=not announced)
            if not announced:
                log("info", f"{VERSION} agent is up and running; this is a stand-in for K3s and runs no pods")
                notify("READY=1")
            joined = announced = True
        except (RefusedError, ssl.SSLError) as reason:
            log("error", f"Failed to validate connection to cluster at {url}: {reason}")
            joined = False
        STOP.wait(float(faults().get("heartbeat_interval", 1.5)) if joined else 1.0)
    notify("STOPPING=1")


def api_call(method: str, path: str) -> tuple[int, str]:
    """One request with the administrator's certificate."""
    given = os.environ.get("KUBECONFIG")
    text = (Path(given) if given else rooted("/etc/rancher/k3s/k3s.yaml")).read_text()
    fields = dict(re.findall(r"^\s*([a-z-]+): (\S+)$", text, re.MULTILINE))
    parts = urlsplit(fields["server"])
    context = ssl.create_default_context(cadata=base64.b64decode(fields["certificate-authority-data"]).decode())
    bundle = rooted(f"/run/k3s-kubectl-{os.getpid()}-{secrets.token_hex(4)}.pem")
    pair = (base64.b64decode(fields[f"client-{part}-data"]).decode() for part in ("certificate", "key"))
    write_private(bundle, "".join(pair))
    try:
        context.load_cert_chain(bundle)
    finally:
        bundle.unlink()
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=10, context=context)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def kubectl(arguments: list[str]) -> int:
    """``get nodes|secrets|… [NAME] [-o json|wide|name]``, ``get --raw PATH``, ``delete node|secret NAME``."""
    parser = argparse.ArgumentParser(prog="k3s kubectl")
    parser.add_argument("verb", choices=["get", "delete"])
    parser.add_argument("kind", nargs="?", default="")
    parser.add_argument("names", nargs="*")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("-o", "--output", default="", choices=["", "json", "wide", "name"])
    parser.add_argument("--raw", default="")
    parser.add_argument("--no-headers", action="store_true")
    parser.add_argument("--ignore-not-found", action="store_true")
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--request-timeout", default="")
    switches = [re.sub(r"^(--(?:ignore-not-found|wait))=true$", r"\1", word) for word in arguments]
    kept = [word for word in switches if not re.fullmatch(r"--(?:ignore-not-found|wait)=false", word)]
    asked = parser.parse_intermixed_args(kept)
    aliases = {"node": "nodes", "no": "nodes", "secret": "secrets", "namespace": "namespaces", "ns": "namespaces"}
    kind = aliases.get(asked.kind, asked.kind)
    base = "/api/v1" if kind in {"nodes", "namespaces"} else f"/api/v1/namespaces/{asked.namespace}"
    paths = [asked.raw] if asked.raw else [f"{base}/{kind}/{n}" for n in asked.names] or [f"{base}/{kind}"]
    try:
        for path in paths:
            code, text = api_call("DELETE" if asked.verb == "delete" else "GET", path)
            if code == 404 and asked.ignore_not_found:
                continue
            if code >= 400:
                reason = json.loads(text)
                print(f"Error from server ({reason.get('reason')}): {reason.get('message')}", file=sys.stderr)
                return 1
            show(asked, kind, path, text)
    except (OSError, http.client.HTTPException) as reason:
        print(f"The connection to the server was refused - {reason}", file=sys.stderr)
        return 1
    return 0


def ctr(arguments: list[str]) -> int:
    """``images import FILE``: looks at the archive, keeps nothing."""
    words = [word for word in arguments if not word.startswith("-")]
    if words[:2] != ["images", "import"] or len(words) != 3:
        print("ctr: the stand-in for K3s knows 'images import FILE' only", file=sys.stderr)
        return 1
    try:
        with tarfile.open(words[2]) as archive:
            names = set(archive.getnames())
    except (OSError, tarfile.TarError) as reason:
        print(f"ctr: {reason}", file=sys.stderr)
        return 1
    if not names & {"manifest.json", "index.json"}:
        print("ctr: unrecognized image format", file=sys.stderr)
        return 1
    print(f"unpacking {words[2]} ... done (not kept: a stand-in for K3s)")
    return 0


def show(asked: argparse.Namespace, kind: str, path: str, text: str) -> None:
    """Print an answer in the form that was asked for."""
    if asked.raw or asked.output == "json":
        print(text)
        return
    singular = kind.removesuffix("s")
    if asked.verb == "delete":
        print(f'{singular} "{path.rpartition("/")[2]}" deleted')
        return
    loaded = json.loads(text)
    items: list[dict[str, Any]] = loaded.get("items", [loaded])
    if asked.output == "name" or kind != "nodes":
        print("\n".join(f"{singular}/{item['metadata']['name']}" for item in items))
        return
    table = render_table(items)
    shown = [i for i, c in enumerate(table["columnDefinitions"]) if c["priority"] == 0 or asked.output == "wide"]
    header = [] if asked.no_headers else [[str(c["name"]).upper() for c in table["columnDefinitions"]]]
    lines = [[str(line[i]) for i in shown] for line in [*header, *(row["cells"] for row in table["rows"])]]
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(len(shown))]
    for line in lines:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    if Path(sys.argv[0]).name == "kubectl":
        return kubectl(arguments)
    if not arguments or arguments[0] in {"--help", "-h", "help"}:
        print("usage: k3s --version | server | agent | kubectl | ctr (a stand-in for K3s)")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command in {"--version", "-v"}:
        print(f"k3s version {VERSION} (stand-in for K3s, runs no pods)\npython version {platform.python_version()}")
        return 0
    if command in {"kubectl", "ctr"}:
        return kubectl(rest) if command == "kubectl" else ctr(rest)
    roles = {"server": run_server, "agent": run_agent}
    if command not in roles:
        print(f"No help topic for '{command}'", file=sys.stderr)
        return 3
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: STOP.set())
    try:
        roles[command](load_options(rest))
    except (FatalError, OSError) as reason:
        log("fatal", str(reason))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
