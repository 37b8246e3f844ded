"""What it is started with: flags, environment and config.yaml, ranked and checked as K3s does it."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from k3s_standin.machine import rooted
from k3s_standin.process import FatalError
from k3s_standin.scalars import unquote

LIST_OPTIONS = {
    "node-label", "node-taint", "tls-san", "disable", "kubelet-arg", "kube-apiserver-arg", "kube-proxy-arg",
    "kube-controller-manager-arg", "kube-scheduler-arg", "etcd-arg",
}  # fmt: skip
OPTIONS = LIST_OPTIONS | {
    "server", "token", "token-file", "node-name", "node-ip", "node-external-ip", "data-dir", "config",
    "https-listen-port", "write-kubeconfig", "write-kubeconfig-mode", "flannel-iface", "flannel-backend",
    "cluster-cidr", "service-cidr", "cluster-init", "bind-address", "advertise-address", "debug",
    "protect-kernel-defaults", "cluster-reset", "cluster-domain", "cluster-dns", "agent-token", "snapshotter",
    "disable-cloud-controller", "disable-network-policy", "disable-helm-controller", "embedded-registry",
    "system-default-registry", "private-registry", "airgap-extra-registry", "disable-kube-proxy", "disable-scheduler",
    "disable-apiserver", "disable-controller-manager", "disable-etcd", "with-node-id", "secrets-encryption",
    "etcd-snapshot-schedule-cron", "etcd-snapshot-retention", "etcd-expose-metrics", "egress-selector-mode",
    "flannel-external-ip", "node-name-suffix", "resolv-conf", "prefer-bundled-bin", "selinux", "v", "log",
    "kubelet-config", "default-local-storage-path", "servicelb-namespace", "helm-job-image", "kine-tls",
}  # fmt: skip
ENVIRONMENT = {
    "K3S_URL": "server", "K3S_TOKEN": "token", "K3S_TOKEN_FILE": "token-file", "K3S_NODE_NAME": "node-name",
    "K3S_DATA_DIR": "data-dir", "K3S_CONFIG_FILE": "config", "K3S_KUBECONFIG_MODE": "write-kubeconfig-mode",
}  # fmt: skip


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
    options: dict[str, list[str]] = {}
    for part in (path, *sorted(path.with_name(path.name + ".d").glob("*.yaml"))):
        options.update(parse_config(part.read_text()) if part.is_file() else {})
    options.update(given)
    for name in options:
        if name not in OPTIONS:
            raise FatalError(f"flag provided but not defined: -{name}")
    return options


def first(options: dict[str, list[str]], name: str, default: str = "") -> str:
    """The (last given) value of an option."""
    values = options.get(name) or [default]
    return values[-1]


def data_folder(options: dict[str, list[str]]) -> Path:
    """``/var/lib/rancher/k3s`` or what ``data-dir`` says."""
    return rooted(first(options, "data-dir", "/var/lib/rancher/k3s"))


def node_name(options: dict[str, list[str]]) -> str:
    """What this machine is called in the cluster."""
    return first(options, "node-name", socket.gethostname()).lower()
