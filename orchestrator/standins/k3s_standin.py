#!/usr/bin/env python3
"""Takes the place of the k3s binary: speaks its command line, its join protocol and a little of its API; runs no pods.

Standard library and the openssl command only. Settings that K3s does not have:

* ``K3S_STANDIN_ROOT``: folder that stands for ``/`` (files, ``/proc/cgroups``), so that it can run beside itself.
* ``/etc/k3s-standin.json``: faults, e.g. ``{"start_delay": 5, "fail": "disk is full", "fail_join": "…",
  "not_ready": "container runtime is down", "heartbeat_interval": 1.5, "grace_period": 5, "built_for": "arm64",
  "certificate_days": 3, "traces": false, "drain_blocked": true, "object_delay": 1, "objects": {"Deployment/web":
  {"reason": "ImagePullBackOff", "message": "…"}}}``; reasons are also CrashLoopBackOff, FailedScheduling, JobFailed.

Of a cluster's servers each keeps the state, and a majority decides, as with etcd; it is not Raft. As root on a machine
of its own a node makes what K3s makes there: interfaces, packet filter rules, mounts, processes that outlive it.

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
import io
import json
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.parse import unquote as unquote_url

KUBERNETES_VERSION = "v1.31.5"
VERSION = f"{KUBERNETES_VERSION}+k3s1-standin"
ROOT = Path(os.environ.get("K3S_STANDIN_ROOT", "/"))
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
        return str(json.loads(text.replace("\t", "\\t")))
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


# -------------------------------------------------------------------------------------------------------------- YAML


class YamlError(ValueError):
    """Text that is not YAML, or uses more of it than manifests do."""


_KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s\[\]{}"',&*!|>%@`#-][^#]*?|-[^\s#][^#]*?)\s*:(?:\s+|$)""")
_NUMBERS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    (r"[-+]?(?:0|[1-9][0-9]*)", int),
    (r"0o?[0-7]+", lambda text: int(text.replace("o", ""), 8)),
    (r"0x[0-9a-fA-F]+", lambda text: int(text, 16)),
    (r"[-+]?(?:[0-9]*\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+)(?:[eE][-+]?[0-9]+)?", float),
)


def parse_scalar(text: str) -> Any:
    """What a scalar stands for."""
    text = text.strip()
    if text[:1] in {'"', "'"}:
        return unquote(text)
    if text[:1] in {"&", "*", "!"}:
        raise YamlError(f"anchors and tags are more than this stand-in reads: {text}")
    if text[:1] in {"@", "`", "%"}:
        raise YamlError("found character that cannot start any token")
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return next((make(text) for pattern, make in _NUMBERS if re.fullmatch(pattern, text)), text)


def without_comment(line: str) -> str:
    """A line without what follows a ``#`` outside quotes."""
    quote = ""
    for at, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote and (sign == "'" or line[at - 1] != "\\") else quote
        elif sign in "\"'" and (at == 0 or line[at - 1] in " [{,:"):
            quote = sign
        elif sign == "#" and (at == 0 or line[at - 1] in " \t"):
            return line[:at].rstrip()
    return line.rstrip()


class FlowReader:
    """``[a, {b: c}]`` and quoted scalars, over as many lines as were joined before."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> Any:
        """The one value in the text."""
        value = self._value(",]}")
        if self._text[self._at :].strip():
            raise YamlError(f"did not find expected end of line: {self._text[self._at :].strip()[:40]}")
        return value

    def _skip(self) -> str:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _value(self, ends: str) -> Any:
        sign = self._skip()
        if sign == "[":
            return self._collection("]", mapping=False)
        if sign == "{":
            return self._collection("}", mapping=True)
        return parse_scalar(self._word(ends))

    def _word(self, ends: str) -> str:
        begin, sign = self._at, self._text[self._at : self._at + 1]
        if sign and sign in "\"'":
            pattern = r'"(?:[^"\\]|\\.)*"' if sign == '"' else r"'(?:[^']|'')*'"
            match = re.compile(pattern, re.DOTALL).match(self._text, begin)
            if not match:
                raise YamlError("found unexpected end of stream in a quoted scalar")
            self._at = match.end()
            return match.group()
        while self._at < len(self._text):
            sign, following = self._text[self._at], self._text[self._at + 1 : self._at + 2]
            if sign in ends and (sign != ":" or not following or following in " ,]}"):
                break
            self._at += 1
        return self._text[begin : self._at]

    def _collection(self, end: str, *, mapping: bool) -> Any:
        found: Any = {} if mapping else []
        self._at += 1
        while self._skip() != end:
            if not self._text[self._at :]:
                raise YamlError(f"did not find expected ',' or '{end}'")
            if mapping:
                key = parse_scalar(self._word_of_key())
                found[key if isinstance(key, str) else str(key)] = self._after_key()
            else:
                found.append(self._value(",]"))
            if self._skip() == ",":
                self._at += 1
            elif self._skip() != end:
                raise YamlError(f"did not find expected ',' or '{end}'")
        self._at += 1
        return found

    def _word_of_key(self) -> str:
        return self._word(":,}")

    def _after_key(self) -> Any:
        if self._skip() != ":":
            return None
        self._at += 1
        return self._value(",}")


class YamlReader:
    """One document in the YAML that manifests are written in: block and flow collections, all kinds of scalars."""

    def __init__(self, lines: list[tuple[int, str]]) -> None:
        self._lines = lines
        self._at = 0

    def read(self) -> Any:
        """The document's value."""
        first_line = self._peek()
        if first_line is None:
            return None
        value = self._node(first_line[0])
        if self._peek() is not None:
            self._fail("did not find expected key")
        return value

    def _fail(self, why: str) -> NoReturn:
        raise YamlError(f"line {self._lines[min(self._at, len(self._lines) - 1)][0]}: {why}")

    def _peek(self) -> tuple[int, str] | None:
        """Indentation and content of the next line that has any."""
        while self._at < len(self._lines):
            line = without_comment(self._lines[self._at][1])
            content = line.lstrip(" ")
            if content.startswith("\t"):
                self._fail("found character that cannot start any token")
            if content:
                return len(line) - len(content), content
            self._at += 1
        return None

    def _node(self, indent: int) -> Any:
        content = (self._peek() or (0, ""))[1]
        if content == "-" or content.startswith("- "):
            return self._sequence(indent)
        if content[0] not in "[{" and _KEY.match(content):
            return self._mapping(indent)
        self._at += 1
        return self._inline(content, indent - 1)

    def _sequence(self, indent: int) -> list[Any]:
        found: list[Any] = []
        while (line := self._peek()) and line[0] == indent and (line[1] == "-" or line[1].startswith("- ")):
            rest = line[1][1:].lstrip(" ")
            if rest and rest[0] not in "|>":
                number = self._lines[self._at][0]
                column = indent + len(line[1]) - len(rest)
                self._lines[self._at] = (number, " " * column + rest)
                found.append(self._node(column))
            else:
                self._at += 1
                found.append(self._below(rest, indent))
        self._check_end(indent)
        return found

    def _mapping(self, indent: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (line := self._peek()) and line[0] == indent and not line[1].startswith("- "):
            match = _KEY.match(line[1])
            if not match:
                self._fail("could not find expected ':'")
            key = parse_scalar(match.group(1))
            name = key if isinstance(key, str) else match.group(1)
            if name in found:
                self._fail(f"mapping key {json.dumps(name)} already defined")
            self._at += 1
            found[name] = self._below(line[1][match.end() :], indent)
        self._check_end(indent)
        return found

    def _check_end(self, indent: int) -> None:
        line = self._peek()
        if line and line[0] > indent:
            self._fail("did not find expected key")

    def _below(self, rest: str, indent: int) -> Any:
        """The value that begins after a key or a dash, or on the lines below it."""
        if rest:
            return self._block(rest, indent) if rest[0] in "|>" else self._inline(rest, indent)
        line = self._peek()
        if line and (line[0] > indent or (line[0] == indent and line[1].startswith("- "))):
            return self._node(line[0])
        return None

    def _inline(self, text: str, indent: int) -> Any:
        opening = text[0]
        while opening in "[{\"'" and not is_balanced(text):
            if self._at >= len(self._lines):
                self._fail("found unexpected end of stream")
            text += " " + without_comment(self._lines[self._at][1]).strip()
            self._at += 1
        if opening not in "[{\"'":
            while (line := self._peek()) and line[0] > indent:
                if _KEY.match(line[1]):
                    self._fail("mapping values are not allowed in this context")
                text += " " + line[1]
                self._at += 1
            if re.search(r":\s", text):
                self._fail("mapping values are not allowed in this context")
            return parse_scalar(text)
        try:
            return FlowReader(text).read()
        except YamlError as reason:
            self._fail(str(reason))

    def _block(self, header: str, indent: int) -> str:
        match = re.fullmatch(r"([|>])([-+]?)([1-9]?)([-+]?)", header)
        if not match:
            self._fail("did not find expected comment or line break")
        lines: list[str] = []
        width = indent + int(match.group(3)) if match.group(3) else 0
        while self._at < len(self._lines):
            raw = self._lines[self._at][1]
            depth = len(raw) - len(raw.lstrip(" "))
            if raw.strip() and not width:
                width = max(depth, indent + 1)
            if raw.strip() and depth < max(width, indent + 1):
                break
            lines.append(raw[width:] if raw.strip() else "")
            self._at += 1
        text = "\n".join(lines) if match.group(1) == "|" else re.sub(r"(?<=\S)\n(?=\S)", " ", "\n".join(lines))
        chomping = match.group(2) or match.group(4)
        return text.rstrip("\n") if chomping == "-" else text.rstrip("\n") + "\n" if chomping != "+" else text + "\n"


def is_balanced(text: str) -> bool:
    """Whether every bracket and quote that is opened is closed."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'', "", text)
    if re.search(r"""(?:^|[\s\[{,:])["']""", bare):
        return False
    return sum(bare.count(sign) for sign in "[{") <= sum(bare.count(sign) for sign in "]}")


def load_yaml(text: str) -> list[Any]:
    """Every document of a text."""
    documents: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(text.splitlines(), 1):
        if line.rstrip() == "---" or line.startswith("--- "):
            documents.append([(number, line[4:])] if line[4:].strip() else [])
        elif line.rstrip() == "...":
            documents.append([])
        elif not line.startswith("%"):
            documents[-1].append((number, line))
    return [value for lines in documents if lines and (value := YamlReader(lines).read()) is not None]


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


def certificate_days() -> str:
    """For how long certificates are made: a year, or what K3s's own variable or the faults say."""
    return str(faults().get("certificate_days", os.environ.get("CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS", "365")))


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
        "-set_serial", str(secrets.randbits(63)), "-days", certificate_days(), "-extfile", str(config),
        "-extensions", "ext", "-out", str(certificate),
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

UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
DUPLICATE = "duplicate node name found, please use a unique name for this node"
KUBELET_PORT = 10250


def node_facts(options: dict[str, list[str]], roles: list[str]) -> dict[str, Any]:
    """What a node says of itself."""
    release = rooted("/etc/os-release")
    system = parse_release(release.read_text()).get("PRETTY_NAME", "") if release.is_file() else ""
    machine_id = rooted("/etc/machine-id")
    boot_id = rooted("/proc/sys/kernel/random/boot_id")
    broken = faults().get("not_ready", "")
    return {
        "name": node_name(options),
        "address": first(options, "node-ip") or local_addresses()[0],
        "labels": options.get("node-label", []),
        "taints": options.get("node-taint", []),
        "roles": roles,
        "ready": not broken,
        "reason": str(broken),
        "info": {
            "architecture": machine_architecture(), "operatingSystem": "linux", "osImage": system,
            "kernelVersion": platform.release(), "kubeletVersion": VERSION, "kubeProxyVersion": VERSION,
            "containerRuntimeVersion": "none://standin",
            "machineID": machine_id.read_text().strip() if machine_id.is_file() else "",
            "systemUUID": "", "bootID": boot_id.read_text().strip() if boot_id.is_file() else "",
        },
    }  # fmt: skip


def machine_architecture() -> str:
    """The machine's architecture as Kubernetes names it."""
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(platform.machine(), platform.machine())


def parse_release(text: str) -> dict[str, str]:
    """os-release as a mapping."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key: value.strip().strip('"') for key, _, value in pairs}


def default_labels(facts: dict[str, Any]) -> dict[str, str]:
    """Labels that a node keeps up to date itself."""
    labels = {
        "kubernetes.io/arch": facts["info"]["architecture"], "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": facts["name"], "node.kubernetes.io/instance-type": "k3s",
    }  # fmt: skip
    return {**labels, **{f"node-role.kubernetes.io/{role}": "true" for role in facts["roles"]}}


def node_annotations(facts: dict[str, Any]) -> dict[str, str]:
    """Annotations that K3s gives a node."""
    return {"k3s.io/hostname": facts["name"], "k3s.io/internal-ip": facts["address"]}


def build_node(entry: dict[str, Any]) -> dict[str, Any]:
    """The Node object of what is known of a node, without its conditions."""
    facts = entry["facts"]
    spec: dict[str, Any] = {"providerID": f"k3s://{facts['name']}"}
    if entry["unschedulable"]:
        spec["unschedulable"] = True
    taints = [*entry["taints"], *([UNSCHEDULABLE] if entry["unschedulable"] else [])]
    if taints:
        spec["taints"] = taints
    addresses = [("InternalIP", facts["address"]), ("Hostname", facts["name"])]
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {
            "name": facts["name"], "uid": entry["uid"], "creationTimestamp": entry["created"],
            "labels": entry["labels"], "annotations": entry["annotations"],
        },
        "spec": spec,
        "status": {"addresses": [{"type": t, "address": a} for t, a in addresses], "nodeInfo": facts["info"]},
    }  # fmt: skip


def parse_taint(text: str) -> dict[str, str]:
    """``key=value:effect``."""
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect} if value else {"key": key, "effect": effect}


def age(created: str) -> str:
    """Time since ``created`` as kubectl shows it."""
    begun = datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    seconds = max(0, int((datetime.now(UTC) - begun).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def hold_ports(ports: tuple[int, ...]) -> list[socket.socket]:
    """Listen where kubelet and etcd listen, on a machine of its own; nobody is answered there."""
    held: list[socket.socket] = []
    for port in ports if is_machine() else ():
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("0.0.0.0", port))  # noqa: S104
        except OSError as reason:
            raise FatalError(f"listen tcp 0.0.0.0:{port}: bind: {(reason.strerror or '').lower()}") from reason
        listening.listen()
        held.append(listening)
    return held


def is_machine() -> bool:
    """Whether it runs as root on a machine of its own, not beside itself in a folder."""
    return str(ROOT) == "/" and os.geteuid() == 0


# ------------------------------------------------------------------------------- images, registries, traces of a node


def load_registries() -> dict[str, Any]:
    """``registries.yaml``; raises YamlError as K3s's reader does where it is not what it should be."""
    path = rooted("/etc/rancher/k3s/registries.yaml")
    if not path.is_file():
        return {}
    documents = load_yaml(path.read_text())
    loaded = documents[0] if documents else {}
    if not isinstance(loaded, dict):
        raise YamlError(f"yaml: unmarshal errors: cannot unmarshal {loaded!r} into registries.Registry")
    for section in ("mirrors", "configs"):
        entries = loaded.get(section) or {}
        if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values() if e is not None):
            raise YamlError(f"yaml: unmarshal errors: {section}: cannot unmarshal into a map of registries")
        for host, entry in entries.items():
            endpoints = (entry or {}).get("endpoint", [])
            if not isinstance(endpoints, list):
                raise YamlError(f"yaml: unmarshal errors: {section}: {host}: endpoint: cannot unmarshal into []string")
    return loaded


def write_registries(data: Path, registries: dict[str, Any]) -> None:
    """What containerd is told of the mirrors, one folder each."""
    folder = data / "agent" / "etc" / "containerd" / "certs.d"
    shutil.rmtree(folder, ignore_errors=True)
    for host, entry in (registries.get("mirrors") or {}).items():
        endpoints = (entry or {}).get("endpoint") or []
        text = "".join(f'[host."{e}"]\n  capabilities = ["pull", "resolve"]\n' for e in endpoints)
        write_private(folder / host / "hosts.toml", text or f'server = "https://{host}/v2"\n')


def image_names(path: Path) -> list[str]:
    """Names of the images in an archive; raises OSError or ValueError if it is none."""
    with path.open("rb") as stream:
        packed_by_zstd = stream.read(4) == b"\x28\xb5\x2f\xfd"
    if packed_by_zstd:
        if not shutil.which("zstd"):
            return [path.name.removesuffix(".tar.zst")]
        done = subprocess.run(["zstd", "-dcq", str(path)], capture_output=True, timeout=120, check=False)
        if done.returncode:
            raise ValueError(done.stderr.decode(errors="replace").strip())
        source: io.BufferedIOBase = io.BytesIO(done.stdout)
    else:
        source = path.open("rb")
    with source, tarfile.open(fileobj=source) as archive:
        names = set(archive.getnames())
        if "manifest.json" in names:
            listed = json.load(archive.extractfile("manifest.json") or io.BytesIO(b"[]"))
            return [tag for entry in listed for tag in entry.get("RepoTags") or []]
        if "index.json" in names:
            listed = json.load(archive.extractfile("index.json") or io.BytesIO(b"{}")).get("manifests", [])
            return [
                tag for entry in listed if (tag := (entry.get("annotations") or {}).get("io.containerd.image.name"))
            ]
    raise ValueError("unrecognized image format")


def imported_images(data: Path) -> Path:
    """Where the names of imported images are kept."""
    return data / "agent" / "containerd" / "standin-images.json"


def note_images(data: Path, names: list[str]) -> None:
    """Remember imported images."""
    path = imported_images(data)
    known = json.loads(path.read_text()) if path.is_file() else []
    write_private(path, json.dumps(sorted({*known, *names})))


def import_images(data: Path) -> None:
    """Import every archive of the images folder; one that cannot be read is passed over with a word, as with K3s."""
    folder = data / "agent" / "images"
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        if not re.search(r"\.(tar|tar\.gz|tgz|tar\.zst|tar\.bz2)$", path.name):
            continue
        try:
            note_images(data, image_names(path))
            log("info", f"Imported images from {path}")
        except (OSError, ValueError, tarfile.TarError) as reason:
            log("error", f"Error encountered while importing {path}: {reason}")


def prepare_node(data: Path, options: dict[str, list[str]]) -> None:
    """What the agent part does before its node is there."""
    import_images(data)
    if is_machine() and faults().get("traces", True):
        Traces(data, first(options, "flannel-backend", "vxlan")).make()


def are_registries_in_order(data: Path) -> bool:
    """Hand ``registries.yaml`` on; while it cannot be read a node has no configuration, and goes on asking for it."""
    try:
        write_registries(data, load_registries())
    except YamlError as reason:
        log("info", f"Waiting to retrieve agent configuration; server is not ready: {reason}")
        return False
    return True


def keep_certificates(data: Path, certificates: dict[str, str]) -> None:
    """The kubelet's certificates that the server made."""
    for name, content in certificates.items():
        write_private(data / "agent" / name, content)


class Traces:
    """What K3s leaves on a machine: programs, sockets, interfaces, packet filter rules, mounts, processes of pods."""

    def __init__(self, data: Path, backend: str) -> None:
        self._data = data
        self._backend = backend
        digest = hashlib.sha256(VERSION.encode()).hexdigest()
        self._programs = data / "data" / digest / "bin"
        self._pod = hashlib.sha256(b"svclb" + str(data).encode()).hexdigest()

    def make(self) -> None:
        """Everything, each thing only if it is not there."""
        self._write_files()
        self._make_interfaces()
        self._make_rules()
        self._make_mounts()
        self._start_shim()

    def _run(self, *command: str, text: str = "") -> bool:
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0

    def _write_files(self) -> None:
        self._programs.mkdir(parents=True, exist_ok=True)
        for name in ("k3s", "containerd", "runc", "containerd-shim-runc-v2"):
            if not (self._programs / name).is_symlink():
                (self._programs / name).symlink_to("/bin/sh")
        current = self._data / "data" / "current"
        if not current.is_symlink():
            current.symlink_to(self._programs.parent)
        network = {"name": "cbr0", "cniVersion": "1.0.0", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}
        # K3s has its own place; other plug-ins and older releases use the common one.
        for folder in (self._data / "agent" / "etc" / "cni" / "net.d", Path("/etc/cni/net.d")):
            write_private(folder / "10-flannel.conflist", json.dumps(network))
        Path("/run/flannel").mkdir(exist_ok=True)
        write_private(
            Path("/run/flannel/subnet.env"), "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.0.1/24\n", 0o644
        )
        write_private(Path("/var/lib/cni/networks/cbr0/10.42.0.2"), self._pod)
        write_private(Path("/var/lib/kubelet/cpu_manager_state"), "{}")
        Path("/run/k3s/containerd").mkdir(parents=True, exist_ok=True)
        Path("/var/log/pods").mkdir(exist_ok=True)
        Path("/var/log/containers").mkdir(exist_ok=True)
        write_private(Path(f"/var/log/pods/kube-system_svclb_{self._pod[:8]}/lb/0.log"), "")

    def _make_interfaces(self) -> None:
        if not Path("/sys/class/net/cni0").exists():
            self._run("ip", "link", "add", "cni0", "type", "bridge")
            self._run("ip", "address", "add", "10.42.0.1/24", "dev", "cni0")
            self._run("ip", "link", "set", "cni0", "up")
        name = {"vxlan": "flannel.1", "wireguard-native": "flannel-wg"}.get(self._backend)
        if name and not Path(f"/sys/class/net/{name}").exists():
            made = self._run("ip", "link", "add", name, "type", "vxlan", "id", "1", "dstport", "8472", "nolearning")
            if not made:
                self._run("ip", "link", "add", name, "type", "dummy")
            self._run("ip", "link", "set", name, "up")
        if not Path("/sys/class/net/veth0a1b2c3d").exists():
            self._run("ip", "link", "add", "veth0a1b2c3d", "type", "veth", "peer", "name", "veth0a1b2c3e")
            self._run("ip", "link", "set", "veth0a1b2c3d", "master", "cni0")

    def _make_rules(self) -> None:
        for tool in ("iptables", "ip6tables"):
            try:
                done = subprocess.run([f"{tool}-save"], capture_output=True, text=True, timeout=30, check=False)
            except OSError:
                continue
            if ":KUBE-SERVICES" not in done.stdout:
                self._run(f"{tool}-restore", "--noflush", text=RULES) or self._run(
                    f"{tool}-restore", "--noflush", text=re.sub(r" -m comment --comment \"[^\"]*\"", "", RULES)
                )

    def _make_mounts(self) -> None:
        with Path("/proc/self/mounts").open() as stream:
            mounted = {line.split()[1] for line in stream}
        pod = "-".join((self._pod[:8], self._pod[8:12], self._pod[12:16], self._pod[16:20], self._pod[20:32]))
        for place in (
            f"/var/lib/kubelet/pods/{pod}/volumes/kubernetes.io~projected/kube-api-access-x2k4v",
            f"/run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes/{self._pod}/shm",
            f"/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/{self._pod}/rootfs",
        ):
            if place not in mounted:
                Path(place).mkdir(parents=True, exist_ok=True)
                self._run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place)
        space = f"/run/netns/cni-{pod}"
        if space not in mounted:
            write_private(Path(space), "")
            self._run("unshare", f"--net={space}", "true")

    def _start_shim(self) -> None:
        """The process that keeps a pod's containers; it survives the service, whose unit says KillMode=process."""
        note = Path(f"/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/{self._pod}/shim.pid")
        with contextlib.suppress(OSError, ValueError):
            if b"containerd-shim" in Path(f"/proc/{note.read_text()}/cmdline").read_bytes():
                return
        shim = str(self._programs / "containerd-shim-runc-v2")
        script = "sleep infinity & wait"
        words = [
            "-c",
            script,
            "-namespace",
            "k8s.io",
            "-id",
            self._pod,
            "-address",
            "/run/k3s/containerd/containerd.sock",
        ]
        quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        child = subprocess.Popen([shim, *words], executable="/bin/sh", start_new_session=True, cwd="/", **quiet)
        write_private(note, str(child.pid))


RULES = """*mangle
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*filter
:KUBE-FORWARD - [0:0]
:KUBE-FIREWALL - [0:0]
:FLANNEL-FWD - [0:0]
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-7f1d2c3b4a596877665544aa - [0:0]
:FLANNEL-POSTRTG - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A POSTROUTING -s 10.42.0.2/32 -m comment --comment "name: \\"cbr0\\" id: \\"5f\\"" -j CNI-7f1d2c3b4a596877665544aa
-A CNI-HOSTPORT-MASQ -j MASQUERADE
-A KUBE-SERVICES -j KUBE-MARK-MASQ
COMMIT
"""


# ------------------------------------------------------------------------------------------------------------- store


class QuorumError(Exception):
    """Too few servers can be reached for a write or a read that counts."""


LOST = "etcdserver: request timed out"


def new_state() -> dict[str, Any]:
    """What a cluster knows: servers, nodes, node passwords, objects."""
    return {"version": 1, "members": {}, "nodes": {}, "passwords": {}, "objects": {}, "settings": {}}


class Store:
    """The cluster's state, in ``server/db/state.json`` and, where servers joined, on a majority of them.

    Not Raft: the server with the newest state among those that answer decides, the first in order of joining where
    several have it; it hands every change to the others and needs a majority with itself.
    """

    def __init__(self, data: Path, name: str, password: str) -> None:
        self._file = data / "server" / "db" / "state.json"
        self.name = name
        self._password = password
        self.lock = threading.RLock()
        self.state: dict[str, Any] = new_state()
        if self._file.is_file():
            self.state.update(json.loads(self._file.read_text()))
        self._known = json.dumps(self.state)
        self._answered: dict[str, int] = {}

    @property
    def members(self) -> dict[str, dict[str, str]]:
        """Servers that keep the state together, in the order in which they joined; none without embedded etcd."""
        members: dict[str, dict[str, str]] = self.state["members"]
        return members

    @property
    def voters(self) -> list[str]:
        """Members that have answered once; until then a new one learns, and does not count."""
        return [name for name, entry in self.members.items() if not entry.get("learner")]

    @property
    def needed(self) -> int:
        """How many servers are a majority."""
        return len(self.voters) // 2 + 1 if self.members else 1

    @property
    def alive(self) -> int:
        """How many servers that count answered last time, this one included."""
        return len({self.name, *self._answered} & set(self.voters)) if self.members else 1

    def has_quorum(self) -> bool:
        """Whether a majority answered last time, this server being one of it."""
        return self.alive >= self.needed and (not self.members or self.name in self.members)

    def need_quorum(self) -> None:
        """Raise QuorumError without a majority."""
        if not self.has_quorum():
            raise QuorumError(LOST)

    def leader(self) -> str:
        """Who decides, as of the last look around."""
        if not self.members:
            return self.name
        versions = {self.name: int(self.state["version"]), **self._answered}
        order = [name for name in self.voters if name in versions]
        return max(order, key=lambda name: (versions[name], -order.index(name)), default=self.name)

    def look_around(self) -> None:
        """Ask every other server for its version; who leads brings those that are behind up to date."""
        answered: dict[str, int] = {}
        for name in [n for n in self.members if n != self.name]:
            with contextlib.suppress(OSError, ValueError, KeyError, http.client.HTTPException):
                code, text = self.call(name, "GET", "/v1-k3s/peer/status", "", 1.5)
                if code == 200:
                    answered[name] = int(json.loads(text)["version"])
        self._answered = answered
        if self.leader() == self.name and self.has_quorum():
            with self.lock:
                for name in [n for n, version in answered.items() if version < self.state["version"]]:
                    self._hand_over(name, json.dumps(self.state))
                learned = [name for name in answered if self.members[name].pop("learner", None)]
                if learned:
                    self.save()

    def call(self, name: str, method: str, path: str, body: str, timeout: float = 10) -> tuple[int, str]:
        """One request of another server."""
        parts = urlsplit(self.members[name]["url"])
        context = ssl.create_default_context(cafile=str(self._file.parents[1] / "tls" / "server-ca.crt"))
        context.check_hostname = False
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
        secret = base64.b64encode(f"server:{self._password}".encode()).decode()
        try:
            connection.request(method, path, body, {"Authorization": f"Basic {secret}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _hand_over(self, name: str, text: str) -> bool:
        try:
            return self.call(name, "POST", "/v1-k3s/peer/state", text, 3)[0] == 200
        except (OSError, http.client.HTTPException):
            self._answered.pop(name, None)
            return False

    def adopt(self, text: str) -> bool:
        """Take the state that the leading server hands over, if it is newer."""
        given = json.loads(text)
        with self.lock:
            if int(given["version"]) <= int(self.state["version"]):
                return False
            self.state = {**new_state(), **given}
            self._keep()
            return True

    def _keep(self) -> None:
        self._known = json.dumps(self.state)
        write_private(self._file, self._known)

    def save(self) -> None:
        """Make a change count; raises QuorumError, and forgets the change, where too few servers take it."""
        self.state["version"] = int(self.state["version"]) + 1
        others = [name for name in self.members if name != self.name]
        if others:
            text = json.dumps(self.state)
            taken = {name for name in others if name in self._answered and self._hand_over(name, text)}
            if len({self.name, *taken} & set(self.voters)) < self.needed:
                self.state = json.loads(self._known)
                raise QuorumError(LOST)
            for name in list(self._answered):
                self._answered[name] = int(self.state["version"])
        self._keep()

    def reset(self) -> None:
        """Make this server the only member, as ``--cluster-reset`` does."""
        self.state["members"] = {name: entry for name, entry in self.members.items() if name == self.name}
        self.state["version"] = int(self.state["version"]) + 1
        self._keep()


# ----------------------------------------------------------------------------------------------------------- objects


class Kind(NamedTuple):
    """One kind of object as the API lists it."""

    version: str
    plural: str
    name: str
    namespaced: bool = True
    short: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """Path of its group and version."""
        return f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"


BUILT_IN = (
    Kind("v1", "nodes", "Node", namespaced=False, short=("no",)),
    Kind("v1", "namespaces", "Namespace", namespaced=False, short=("ns",)),
    Kind("v1", "secrets", "Secret"),
    Kind("v1", "configmaps", "ConfigMap", short=("cm",)),
    Kind("v1", "services", "Service", short=("svc",)),
    Kind("v1", "serviceaccounts", "ServiceAccount", short=("sa",)),
    Kind("v1", "pods", "Pod", short=("po",)),
    Kind("v1", "events", "Event", short=("ev",)),
    Kind("v1", "persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",)),
    Kind("v1", "persistentvolumes", "PersistentVolume", namespaced=False, short=("pv",)),
    Kind("apps/v1", "deployments", "Deployment", short=("deploy",)),
    Kind("apps/v1", "daemonsets", "DaemonSet", short=("ds",)),
    Kind("apps/v1", "statefulsets", "StatefulSet", short=("sts",)),
    Kind("apps/v1", "replicasets", "ReplicaSet", short=("rs",)),
    Kind("batch/v1", "jobs", "Job"),
    Kind("batch/v1", "cronjobs", "CronJob", short=("cj",)),
    Kind("rbac.authorization.k8s.io/v1", "roles", "Role"),
    Kind("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
    Kind("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", namespaced=False),
    Kind("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    Kind("networking.k8s.io/v1", "ingresses", "Ingress", short=("ing",)),
    Kind("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", short=("netpol",)),
    Kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", short=("pdb",)),
    Kind("storage.k8s.io/v1", "storageclasses", "StorageClass", namespaced=False, short=("sc",)),
    Kind("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", namespaced=False, short=("pc",)),
    Kind(
        "apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition",
        namespaced=False, short=("crd", "crds"),
    ),
    Kind("helm.cattle.io/v1", "helmcharts", "HelmChart"),
    Kind("helm.cattle.io/v1", "helmchartconfigs", "HelmChartConfig"),
    Kind("k3s.cattle.io/v1", "addons", "Addon"),
)  # fmt: skip
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
OWNER = "objectset.rio.cattle.io/owner-name"
NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


class ApiError(Exception):
    """An answer of the API that says no."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


def object_key(kind: Kind, namespace: str, name: str) -> str:
    """Under what an object is kept."""
    return f"{kind.version}|{kind.plural}|{namespace if kind.namespaced else ''}|{name}"


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386; directives of strategic merges are left out, lists are replaced."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(target: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902 with add, replace, remove and test on mappings."""
    result = json.loads(json.dumps(target))
    for operation in operations:
        parts = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].lstrip("/").split("/")]
        place = result
        for part in parts[:-1]:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if operation["op"] == "remove":
            place.pop(parts[-1], None)
        elif operation["op"] in {"add", "replace"}:
            place[parts[-1]] = operation["value"]
        elif place.get(parts[-1]) != operation["value"]:
            raise ApiError(422, "Invalid", "the server rejected our request due to an error in our request")
    return result


def new_uid() -> str:
    """A random identifier in the usual form."""
    digits = secrets.token_hex(16)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def wanted_replicas(owner: dict[str, Any]) -> int:
    """How many pods a workload asks for, one on each node for a DaemonSet not counted here."""
    spec = owner.get("spec", {})
    given = spec.get("parallelism" if owner["kind"] == "Job" else "replicas")
    return 1 if given is None else int(given)


class Cluster:
    """What the leading server decides on: nodes, node passwords, objects and the pods that come of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._seen: dict[str, float] = {}
        self._heard_since = time.monotonic()

    @property
    def _state(self) -> dict[str, Any]:
        return self.store.state

    # nodes

    def check_password(self, name: str, password: str) -> bool:
        """Whether ``name`` may be used: the first password seen for a name is the one that counts."""
        with self.store.lock:
            known = self._state["passwords"].get(name)
            if known:
                salt, _, digest = known.partition(":")
                return secrets.compare_digest(hashlib.sha256((salt + password).encode()).hexdigest(), digest)
            salt = secrets.token_hex(8)
            self._state["passwords"][name] = f"{salt}:{hashlib.sha256((salt + password).encode()).hexdigest()}"
            self.store.save()
            return True

    def heartbeat(self, facts: dict[str, Any], *, register: bool) -> bool:
        """Note that a node lives; ``register`` makes its object, without it a deleted node stays away.

        Labels and taints of the configuration count when the node is made, and never again, as with K3s.
        """
        name = facts["name"]
        with self.store.lock:
            known = self._state["nodes"].get(name)
            if known is None and not register:
                return False
            self._seen[name] = time.monotonic()
            if known is None:
                self._state["nodes"][name] = {
                    "uid": new_uid(), "created": now(), "facts": facts, "annotations": node_annotations(facts),
                    "labels": {**default_labels(facts), **dict(e.partition("=")[::2] for e in facts["labels"])},
                    "taints": [parse_taint(entry) for entry in facts["taints"]], "unschedulable": False,
                }  # fmt: skip
            elif known["facts"] != facts:
                known["facts"] = facts
                known["labels"].update(default_labels(facts))
                known["annotations"].update(node_annotations(facts))
            else:
                return True
            self.store.save()
        return True

    def nodes(self) -> list[dict[str, Any]]:
        """Every Node object, with the conditions as of now, by name."""
        grace = float(faults().get("grace_period", 5))
        with self.store.lock:
            return [self._with_conditions(name, entry, grace) for name, entry in sorted(self._state["nodes"].items())]

    def _with_conditions(self, name: str, entry: dict[str, Any], grace: float) -> dict[str, Any]:
        node = build_node(entry)
        silent = time.monotonic() - self._seen.get(name, self._heard_since) > grace
        facts = entry["facts"]
        status, reason, message = "True", "KubeletReady", "kubelet is posting ready status"
        if silent:
            status, reason, message = "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."
        elif not facts["ready"]:
            status, reason, message = "False", "KubeletNotReady", facts["reason"]
        node["metadata"]["resourceVersion"] = str(self._state["version"])
        node["status"]["conditions"] = [
            {"type": "Ready", "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now()}
        ]
        return node

    def begin_term(self) -> None:
        """Give every node its time to report anew, once this server decides."""
        self._heard_since = time.monotonic()
        self._seen = {}

    def _change_node(self, name: str, node: dict[str, Any]) -> None:
        entry = self._state["nodes"][name]
        taints = [t for t in node["spec"].get("taints") or [] if t["key"] != UNSCHEDULABLE["key"]]
        entry.update(
            labels=node["metadata"].get("labels", {}), annotations=node["metadata"].get("annotations", {}),
            taints=taints, unschedulable=bool(node["spec"].get("unschedulable")),
        )  # fmt: skip
        self.store.save()

    def _delete_node(self, name: str) -> None:
        entry = self._state["nodes"].pop(name)
        # K3s forgets the password, and takes the member out of etcd, with the node.
        self._state["passwords"].pop(name, None)
        for key, pod in list(self._state["objects"].items()):
            if pod["kind"] == "Pod" and pod["spec"].get("nodeName") == entry["facts"]["name"]:
                del self._state["objects"][key]
        if len(self.store.members) > 1:
            self.store.members.pop(name, None)
        self.store.save()

    # members of embedded etcd

    def add_member(self, name: str, url: str, settings: dict[str, str]) -> None:
        """Let a server in."""
        with self.store.lock:
            if not self.store.members:
                raise ApiError(
                    400, "BadRequest", "this server does not use embedded etcd: it was not started with cluster-init"
                )
            differing = sorted(k for k, v in self._state["settings"].items() if settings.get(k, v) != v)
            if differing:
                raise ApiError(
                    409, "Conflict", f"critical configuration value mismatch between servers: {', '.join(differing)}"
                )
            if name in self.store.members and self.store.members[name]["url"] != url:
                raise ApiError(409, "Conflict", DUPLICATE)
            if name in self.store.members or name in self._state["nodes"]:
                raise ApiError(409, "Conflict", DUPLICATE)
            self.store.members[name] = {"url": url, "joined": now(), "learner": "true"}
            self.store.save()

    # objects

    def kinds(self) -> list[Kind]:
        """Kinds that there are, those of custom resource definitions included."""
        found = list(BUILT_IN)
        for value in self._state["objects"].values():
            if value["kind"] != "CustomResourceDefinition":
                continue
            spec = value["spec"]
            served = [v["name"] for v in spec.get("versions", []) if v.get("served", True)]
            names = spec["names"]
            found += [
                Kind(
                    f"{spec['group']}/{version}", names["plural"], names["kind"],
                    namespaced=spec.get("scope") == "Namespaced", short=tuple(names.get("shortNames", ())),
                )
                for version in served
            ]  # fmt: skip
        return found

    def find_kind(self, version: str, name: str) -> Kind:
        """The kind that a manifest names."""
        for kind in self.kinds():
            if (kind.version, kind.name) == (version, name):
                return kind
        raise ApiError(404, "NotFound", f'no matches for kind "{name}" in version "{version}"')

    def objects(self, kind: Kind, namespace: str) -> list[dict[str, Any]]:
        """Every object of a kind, with its status as of now."""
        if kind.name == "Node":
            return self.nodes()
        with self.store.lock:
            found = [
                self._with_status(value)
                for key, value in sorted(self._state["objects"].items())
                if key.startswith(f"{kind.version}|{kind.plural}|{namespace}{'|' if namespace else ''}")
            ]
            if kind.name == "Namespace":
                made = {value["metadata"]["name"] for value in found}
                found += [
                    {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": n, "creationTimestamp": now()},
                     "status": {"phase": "Active"}}
                    for n in NAMESPACES if n not in made
                ]  # fmt: skip
            if kind.name == "Secret" and namespace in {"", "kube-system"}:
                found += [
                    {"kind": "Secret", "apiVersion": "v1", "type": "Opaque",
                     "metadata": metadata(f"{name}.node-password.k3s")}
                    for name in sorted(self._state["passwords"])
                ]  # fmt: skip
        return found

    def read(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """One object."""
        for value in self.objects(kind, namespace if kind.namespaced else ""):
            if value["metadata"]["name"] == name:
                return value
        raise ApiError(404, "NotFound", f'{group_plural(kind)} "{name}" not found')

    def put(
        self, value: dict[str, Any], namespace: str = "default", *, create: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """Make an object or give it another content; the object, and whether anything changed."""
        kind = self.find_kind(str(value.get("apiVersion", "")), str(value.get("kind", "")))
        details = dict(value.get("metadata") or {})
        name = details.get("name")
        if not name:
            raise ApiError(
                422,
                "Invalid",
                f'{kind.name} "" is invalid: metadata.name: Required value: name or generateName is required',
            )
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9.:]*[a-z0-9])?", str(name)):
            raise ApiError(
                422,
                "Invalid",
                f'{kind.name} "{name}" is invalid: metadata.name: Invalid value: "{name}": a lowercase RFC 1123 '
                "subdomain must consist of lower case alphanumeric characters, '-' or '.'",
            )
        namespace = (details.get("namespace") or namespace) if kind.namespaced else ""
        with self.store.lock:
            if namespace and namespace not in {n["metadata"]["name"] for n in self.objects(BUILT_IN[1], "")}:
                raise ApiError(404, "NotFound", f'namespaces "{namespace}" not found')
            key = object_key(kind, namespace, name)
            known = self._state["objects"].get(key)
            if known and create:
                raise ApiError(409, "AlreadyExists", f'{group_plural(kind)} "{name}" already exists')
            content = {k: v for k, v in value.items() if k not in {"metadata", "status"}}
            kept = {k: v for k, v in details.items() if k in {"labels", "annotations", "ownerReferences", "finalizers"}}
            before = {k: v for k, v in (known or {}).items() if k not in {"metadata", "standin"}}
            unchanged = known and before == content and all(known["metadata"].get(k) == v for k, v in kept.items())
            if known and unchanged:
                return known, False
            fresh: dict[str, Any] = {"uid": new_uid(), "creationTimestamp": now(), "generation": 0}
            made: dict[str, Any] = known["metadata"] if known else fresh
            generation = int(made["generation"]) + (0 if known and before == content else 1)
            metadata_now = {**made, **kept, "name": name, "generation": generation}
            if namespace:
                metadata_now["namespace"] = namespace
            metadata_now["resourceVersion"] = str(int(self._state["version"]) + 1)
            self._state["objects"][key] = {**content, "metadata": metadata_now, "standin": {"changed": time.time()}}
            self.store.save()
            return self._state["objects"][key], True

    def patch(self, kind: Kind, namespace: str, name: str, body: Any) -> dict[str, Any]:
        """Change an object by a merge patch or a list of operations."""
        with self.store.lock:
            old = self.read(kind, namespace, name)
            new = json_patch(old, body) if isinstance(body, list) else merge_patch(old, body)
            if kind.name == "Node":
                self._change_node(name, new)
            else:
                self.put({k: v for k, v in new.items() if k != "standin"}, namespace)
            return self.read(kind, namespace, name)

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Take an object away, and what it owns."""
        with self.store.lock:
            if kind.name == "Node" and name in self._state["nodes"]:
                self._delete_node(name)
                return
            if kind.name == "Secret" and self._state["passwords"].pop(name.removesuffix(".node-password.k3s"), None):
                self.store.save()
                return
            gone = self._state["objects"].pop(object_key(kind, namespace, name), None)
            if gone is None:
                raise ApiError(404, "NotFound", f'{group_plural(kind)} "{name}" not found')
            self._collect(gone)
            self.store.save()

    def _collect(self, gone: dict[str, Any]) -> None:
        """Take away what an object owned: pods of workloads, everything in a namespace, resources of a definition."""
        objects = self._state["objects"]
        for key, value in list(objects.items()):
            owners = {o["uid"] for o in value["metadata"].get("ownerReferences", [])}
            inside = gone["kind"] == "Namespace" and value["metadata"].get("namespace") == gone["metadata"]["name"]
            defined = gone["kind"] == "CustomResourceDefinition" and (
                value["kind"], value["apiVersion"].partition("/")[0]
            ) == (gone["spec"]["names"]["kind"], gone["spec"]["group"])  # fmt: skip
            about = value["kind"] == "Event" and value["involvedObject"].get("uid") == gone["metadata"]["uid"]
            concerned = gone["metadata"]["uid"] in owners or inside or defined or about
            if concerned and objects.pop(key, None):
                self._collect(value)

    # what comes of workloads

    def tick(self) -> None:
        """Do once what controllers and the scheduler do all the time."""
        with self.store.lock:
            changed = False
            for value in list(self._state["objects"].values()):
                if value["kind"] == "HelmChart":
                    changed |= self._tend_chart(value)
            for value in list(self._state["objects"].values()):
                if value["kind"] in WORKLOADS:
                    changed |= self._tend_pods(value)
            if changed:
                self.store.save()

    def _tend_chart(self, chart: dict[str, Any]) -> bool:
        name, namespace = f"helm-install-{chart['metadata']['name']}", chart["metadata"]["namespace"]
        key = object_key(self.find_kind("batch/v1", "Job"), namespace, name)
        known = self._state["objects"].get(key)
        if known and known["standin"]["of"] == chart["metadata"]["generation"]:
            return False
        if known:
            del self._state["objects"][key]
            self._collect(known)
        pod = {"containers": [{"name": "helm", "image": "rancher/klipper-helm:standin"}]}
        self._state["objects"][key] = {
            "apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 1000, "template": {"spec": pod}},
            "metadata": {
                "name": name, "namespace": namespace, "uid": new_uid(), "creationTimestamp": now(), "generation": 1,
                "labels": {"helmcharts.helm.cattle.io/chart": chart["metadata"]["name"]},
                "ownerReferences": [owner_reference(chart)],
            },
            "standin": {"changed": time.time(), "of": chart["metadata"]["generation"]},
        }  # fmt: skip
        return True

    def _tend_pods(self, owner: dict[str, Any]) -> bool:
        objects, generation = self._state["objects"], owner["metadata"]["generation"]
        pods = {k: p for k, p in objects.items() if p["kind"] == "Pod" and owns(owner, p)}
        stale = [k for k, p in pods.items() if p["standin"]["of"] != generation]
        for key in stale:
            del objects[key]
            del pods[key]
        if owner["kind"] == "DaemonSet":
            wanted = {node: node for node in self._places(owner, daemon=True)}
            there = {p["spec"]["nodeName"]: k for k, p in pods.items()}
            surplus = [k for node, k in there.items() if node not in wanted]
            missing = [node for node in wanted if node not in there]
        else:
            surplus = sorted(pods)[wanted_replicas(owner) :]
            missing = [""] * (wanted_replicas(owner) - len(pods))
        for key in surplus:
            del objects[key]
        for node in missing:
            self._make_pod(owner, node, len(pods))
        moved = self._place_pending(owner)
        return bool(stale or surplus or missing or moved)

    def _make_pod(self, owner: dict[str, Any], node: str, number: int) -> None:
        details, template = owner["metadata"], owner.get("spec", {}).get("template", {})
        end = str(number) if owner["kind"] == "StatefulSet" else secrets.token_hex(3)[:5]
        name = f"{details['name']}-{end}"
        spec = {**template.get("spec", {}), **({"nodeName": node} if node else {})}
        self._state["objects"][object_key(self.find_kind("v1", "Pod"), details["namespace"], name)] = {
            "apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {
                "name": name, "namespace": details["namespace"], "uid": new_uid(), "creationTimestamp": now(),
                "labels": template.get("metadata", {}).get("labels", {}), "ownerReferences": [owner_reference(owner)],
            },
            "standin": {"changed": time.time(), "of": details["generation"]},
        }  # fmt: skip

    def _place_pending(self, owner: dict[str, Any]) -> bool:
        pending = [
            p
            for p in self._state["objects"].values()
            if p["kind"] == "Pod" and owns(owner, p) and not p["spec"].get("nodeName")
        ]
        if not pending:
            return False
        places = self._places(owner)
        fault = object_fault(owner)
        if fault.get("reason") == "FailedScheduling":
            places = []
        for number, pod in enumerate(pending):
            if places:
                pod["spec"]["nodeName"] = places[number % len(places)]
                pod["standin"]["changed"] = time.time()
            else:
                total = len(self._state["nodes"])
                self.note_event(
                    pod,
                    "FailedScheduling",
                    fault.get("message") or f"0/{total} nodes are available: {total} node(s) were unschedulable.",
                )
        return bool(places)

    def _places(self, owner: dict[str, Any], *, daemon: bool = False) -> list[str]:
        """Nodes that a pod may go to."""
        pod = owner.get("spec", {}).get("template", {}).get("spec", {})
        found = []
        for node in self.nodes():
            selected = all(node["metadata"]["labels"].get(k) == v for k, v in (pod.get("nodeSelector") or {}).items())
            taints = [t for t in node["spec"].get("taints", []) if t["effect"] != "PreferNoSchedule"]
            if daemon:
                taints = [t for t in taints if t["key"] != UNSCHEDULABLE["key"]]
            ready = node["status"]["conditions"][0]["status"] == "True"
            if selected and all(tolerates(pod, taint) for taint in taints) and (ready or daemon):
                found.append(node["metadata"]["name"])
        return found

    def note_event(self, about: dict[str, Any], reason: str, message: str, kind: str = "Warning") -> None:
        """An Event, or one more of it; the caller saves."""
        details = about["metadata"]
        namespace = details.get("namespace", "default")
        name = f"{details['name']}.{hashlib.sha256((reason + message + details['uid']).encode()).hexdigest()[:16]}"
        key = object_key(self.find_kind("v1", "Event"), namespace, name)
        known = self._state["objects"].get(key)
        if known:
            return
        involved = {
            "kind": about["kind"],
            "name": details["name"],
            "namespace": namespace,
            "uid": details["uid"],
            "apiVersion": about["apiVersion"],
        }
        self._state["objects"][key] = {
            "apiVersion": "v1", "kind": "Event", "type": kind, "reason": reason, "message": message, "count": 1,
            "firstTimestamp": now(), "lastTimestamp": now(), "involvedObject": involved,
            "source": {"component": "k3s-standin"},
            "metadata": {"name": name, "namespace": namespace, "uid": new_uid(), "creationTimestamp": now()},
        }  # fmt: skip

    def _with_status(self, value: dict[str, Any]) -> dict[str, Any]:
        kind = value["kind"]
        shown = {k: v for k, v in value.items() if k != "standin"}
        if kind == "Pod":
            shown["status"] = pod_status(value, self._owner_of(value))
        elif kind in WORKLOADS:
            pods = [p for p in self._state["objects"].values() if p["kind"] == "Pod" and owns(value, p)]
            shown["status"] = workload_status(value, [pod_status(p, value) for p in pods])
        elif kind == "HelmChart":
            shown["status"] = {"jobName": f"helm-install-{value['metadata']['name']}"}
        elif kind == "Namespace":
            shown["status"] = {"phase": "Active"}
        return shown

    def _owner_of(self, pod: dict[str, Any]) -> dict[str, Any]:
        return next((v for v in self._state["objects"].values() if owns(v, pod)), {})


def owner_reference(owner: dict[str, Any]) -> dict[str, Any]:
    """What an owned object says of its owner."""
    name, uid = owner["metadata"]["name"], owner["metadata"]["uid"]
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name, "uid": uid, "controller": True}


def owns(owner: dict[str, Any], value: dict[str, Any]) -> bool:
    """Whether an object says that another is its owner."""
    return any(o["uid"] == owner["metadata"]["uid"] for o in value["metadata"].get("ownerReferences", []))


def tolerates(pod: dict[str, Any], taint: dict[str, str]) -> bool:
    """Whether a pod may go to a node with a taint."""
    return any(
        (not t.get("key") or t["key"] == taint["key"])
        and (t.get("operator") == "Exists" or t.get("value", "") == taint.get("value", ""))
        and t.get("effect") in {None, "", taint["effect"]}
        for t in pod.get("tolerations") or []
    )


def object_fault(value: dict[str, Any]) -> dict[str, Any]:
    """What is switched on for an object, by ``Kind/name`` or by its name."""
    switched = faults().get("objects", {})
    name = value.get("metadata", {}).get("name", "")
    found = switched.get(f"{value.get('kind', '')}/{name}", switched.get(name, {}))
    return found if isinstance(found, dict) else {"reason": str(found)}


def pod_status(pod: dict[str, Any], owner: dict[str, Any]) -> dict[str, Any]:
    """Waiting, running, ended or failed, as of now."""
    fault = object_fault(owner)
    if not fault and owner.get("kind") == "Job":
        chart = next((o for o in owner["metadata"].get("ownerReferences", []) if o["kind"] == "HelmChart"), None)
        fault = object_fault({"kind": "HelmChart", "metadata": chart}) if chart else {}
    containers = pod["spec"].get("containers", [])
    reason, message = str(fault.get("reason", "")), str(fault.get("message", ""))
    status: dict[str, Any] = {"phase": "Pending", "conditions": [], "startTime": pod["metadata"]["creationTimestamp"]}
    if not pod["spec"].get("nodeName"):
        scheduled = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message or "0 nodes are available",
        }
        return {**status, "conditions": [scheduled]}
    done = time.time() - pod["standin"]["changed"] >= float(faults().get("object_delay", 1))
    state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
    restarts = 0
    if reason == "CrashLoopBackOff":
        restarts, status["phase"] = 3, "Running"
        state = {"waiting": {"reason": reason, "message": message or "back-off 40s restarting failed container"}}
    elif reason in {"JobFailed", "Failed"}:
        status["phase"] = "Failed"
        state = {"terminated": {"reason": "Error", "exitCode": 1, "message": message}}
    elif reason and reason != "FailedScheduling":
        image = containers[0].get("image", "") if containers else ""
        state = {"waiting": {"reason": reason, "message": message or f'Back-off pulling image "{image}"'}}
    elif done and owner.get("kind") == "Job":
        status["phase"] = "Succeeded"
        state = {"terminated": {"reason": "Completed", "exitCode": 0}}
    elif done:
        status["phase"] = "Running"
        state = {"running": {"startedAt": now()}}
    ready = status["phase"] == "Running" and "running" in state
    status["conditions"] = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": str(ready)}]
    status["containerStatuses"] = [
        {
            "name": c.get("name", ""),
            "image": c.get("image", ""),
            "ready": ready,
            "restartCount": restarts,
            "state": state,
        }
        for c in containers
    ]
    return status


def workload_status(value: dict[str, Any], pods: list[dict[str, Any]]) -> dict[str, Any]:
    """How far a workload has come."""
    ready = sum(any(c["type"] == "Ready" and c["status"] == "True" for c in p["conditions"]) for p in pods)
    status: dict[str, Any] = {"observedGeneration": value["metadata"]["generation"]}
    if value["kind"] == "DaemonSet":
        names = ("desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled")
        return {**status, **dict.fromkeys(names, len(pods)), "numberReady": ready, "numberAvailable": ready}
    if value["kind"] == "Job":
        ended = [p["phase"] for p in pods if p["phase"] in {"Succeeded", "Failed"}]
        limit = int(value.get("spec", {}).get("backoffLimit", 6))
        status = {
            "active": len(pods) - len(ended),
            "succeeded": ended.count("Succeeded"),
            "failed": ended.count("Failed"),
        }
        if ended.count("Succeeded") >= int(value.get("spec", {}).get("completions", 1)):
            return {**status, "conditions": [{"type": "Complete", "status": "True"}], "completionTime": now()}
        if "Failed" in ended and limit < 1000:
            message = "Job has reached the specified backoff limit"
            return {
                **status,
                "conditions": [
                    {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": message}
                ],
            }
        return status
    status.update(replicas=len(pods), updatedReplicas=len(pods), readyReplicas=ready, availableReplicas=ready)
    if value["kind"] == "StatefulSet":
        return {**status, "currentRevision": "1", "updateRevision": "1", "currentReplicas": len(pods)}
    complete = ready == wanted_replicas(value)
    available = {
        "type": "Available",
        "status": str(complete),
        "reason": "MinimumReplicasAvailable" if complete else "MinimumReplicasUnavailable",
    }
    late = object_fault(value).get("deadline_exceeded")
    progress = {
        "type": "Progressing", "status": "False" if late else "True",
        "reason": "ProgressDeadlineExceeded" if late else "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated",
    }  # fmt: skip
    return {**status, "unavailableReplicas": wanted_replicas(value) - ready, "conditions": [available, progress]}


def group_plural(kind: Kind) -> str:
    """``deployments.apps``, as messages name a resource."""
    group = kind.version.rpartition("/")[0]
    return f"{kind.plural}.{group}" if group else kind.plural


def metadata(name: str) -> dict[str, str]:
    """Metadata of an object of kube-system."""
    uid = hashlib.sha256(name.encode()).hexdigest()[:32]
    return {"name": name, "namespace": "kube-system", "uid": uid, "creationTimestamp": now()}


# ------------------------------------------------------------------------------------------------- deploy controller


class Manifests:
    """Applies the files of one server's ``manifests`` folder as K3s's deploy controller does.

    A file is applied when its checksum is another than its Addon's, every file again when the server starts; objects
    that are no longer in a file are deleted; a file that is taken away changes nothing; ``NAME.skip`` makes it ignored.
    """

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._force = True

    def apply(self, cluster: Cluster, files: list[dict[str, Any]]) -> bool:
        """Look at every file once; whether all went well."""
        clean = True
        for file in files:
            path = Path(file["path"])
            if file["disabled"]:
                self._disable(cluster, path)
                continue
            if not self._force and self._times.get(file["path"]) == file["changed"]:
                continue
            try:
                self._deploy(cluster, path, base64.b64decode(file["content"]))
                self._times[file["path"]] = file["changed"]
            except (ApiError, YamlError) as reason:
                clean = False
                log("error", f"Failed to process config: failed to process {path}: {reason}")
        self._force = self._force and not clean
        return clean

    def _addon(self, cluster: Cluster, path: Path) -> dict[str, Any]:
        name = path.name.split(".")[0]
        kind = cluster.find_kind("k3s.cattle.io/v1", "Addon")
        try:
            return cluster.read(kind, "kube-system", name)
        except ApiError:
            made = {"apiVersion": kind.version, "kind": kind.name, "metadata": {"name": name}}
            return cluster.put({**made, "spec": {"source": str(path)}}, "kube-system")[0]

    def _deploy(self, cluster: Cluster, path: Path, content: bytes) -> None:
        addon = self._addon(cluster, path)
        digest = hashlib.sha256(content).hexdigest()
        if not self._force and addon["spec"].get("checksum") == digest:
            return
        try:
            values = parse_manifest(content.decode())
        except (YamlError, UnicodeDecodeError) as reason:
            self._note(cluster, addon, "ParseManifestFailed", f'Parse manifest at "{path}" failed: {reason}')
            raise YamlError(str(reason)) from reason
        log("info", f"Applying manifest at {path}")
        name = addon["metadata"]["name"]
        try:
            kept = {self._put(cluster, name, value) for value in in_order(values)}
        except ApiError as reason:
            self._note(cluster, addon, "ApplyManifestFailed", f'Applying manifest at "{path}" failed: {reason}')
            raise
        prune(cluster, name, kept)
        done = {"apiVersion": addon["apiVersion"], "kind": "Addon", "metadata": {"name": name}}
        cluster.put({**done, "spec": {"source": str(path), "checksum": digest}}, "kube-system")
        self._note(cluster, addon, "AppliedManifest", f'Applied manifest at "{path}"', "Normal")

    def _note(self, cluster: Cluster, addon: dict[str, Any], reason: str, message: str, kind: str = "Warning") -> None:
        with cluster.store.lock:
            cluster.note_event(addon, reason, message, kind)
            cluster.store.save()

    def _put(self, cluster: Cluster, addon: str, value: dict[str, Any]) -> str:
        details = value.get("metadata") or {}
        marked = {
            **details,
            "labels": {**(details.get("labels") or {})},
            "annotations": {**(details.get("annotations") or {}), OWNER: addon},
        }
        return str(cluster.put({**value, "metadata": marked})[0]["metadata"]["uid"])

    def _disable(self, cluster: Cluster, path: Path) -> None:
        """What ``disable`` names is deleted, file and all."""
        name = path.name.split(".")[0]
        prune(cluster, name, set())
        with contextlib.suppress(ApiError):
            cluster.delete(cluster.find_kind("k3s.cattle.io/v1", "Addon"), "kube-system", name)


def read_manifests(folder: Path, disabled: list[str]) -> list[dict[str, Any]]:
    """The files of the folder that count, those of disabled components taken away from it."""
    found = []
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    skipped = {p.name.removesuffix(".skip") for p in paths if p.name.endswith(".skip")}
    for path in paths:
        if path.name.startswith(".") or path.suffix not in {".yaml", ".yml", ".json"} or path.name in skipped:
            continue
        is_disabled = path.name.split(".")[0] in disabled
        with contextlib.suppress(FileNotFoundError):
            content = base64.b64encode(path.read_bytes()).decode()
            changed = path.stat().st_mtime_ns
            found.append({"path": str(path), "changed": changed, "content": content, "disabled": is_disabled})
            if is_disabled:
                path.unlink()
    return found


def prune(cluster: Cluster, addon: str, kept: set[str]) -> None:
    """Delete what an Addon brought and no longer brings."""
    with cluster.store.lock:
        values = [
            v for v in cluster.store.state["objects"].values()
            if v["metadata"].get("annotations", {}).get(OWNER) == addon and v["metadata"]["uid"] not in kept
        ]  # fmt: skip
        for value in values:
            with contextlib.suppress(ApiError):
                kind = cluster.find_kind(value["apiVersion"], value["kind"])
                cluster.delete(kind, value["metadata"].get("namespace", ""), value["metadata"]["name"])


def parse_manifest(text: str) -> list[dict[str, Any]]:
    """Every object of a manifest; lists are taken apart."""
    found: list[dict[str, Any]] = []
    for value in load_yaml(text):
        if not isinstance(value, dict) or not value.get("kind"):
            raise YamlError("Object 'Kind' is missing")
        if not value.get("apiVersion"):
            raise YamlError("Object 'apiVersion' is missing")
        found += value.get("items", []) if str(value["kind"]).endswith("List") else [value]
    return found


def in_order(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Namespaces and definitions first, as K3s applies them."""
    ranks = {"Namespace": 0, "CustomResourceDefinition": 1}
    return sorted(values, key=lambda value: ranks.get(str(value["kind"]), 2))


# --------------------------------------------------------------------------------------------------------------- API


def render_nodes(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """Nodes as the server prints them for kubectl."""
    columns = [
        ("Name", 0), ("Status", 0), ("Roles", 0), ("Age", 0), ("Version", 0), ("Internal-IP", 1), ("External-IP", 1),
        ("OS-Image", 1), ("Kernel-Version", 1), ("Container-Runtime", 1),
    ]  # fmt: skip
    rows = []
    for node in nodes:
        prefix = "node-role.kubernetes.io/"
        roles = sorted(label.removeprefix(prefix) for label in node["metadata"]["labels"] if label.startswith(prefix))
        ready = "Ready" if node["status"]["conditions"][0]["status"] == "True" else "NotReady"
        details = node["status"]["nodeInfo"]
        rows.append([
            node["metadata"]["name"], ready + (",SchedulingDisabled" if node["spec"].get("unschedulable") else ""),
            ",".join(roles) or "<none>", age(node["metadata"]["creationTimestamp"]), details["kubeletVersion"],
            node["status"]["addresses"][0]["address"], "<none>", details["osImage"], details["kernelVersion"],
            details["containerRuntimeVersion"],
        ])  # fmt: skip
    return render_table(columns, rows, nodes)


def render_objects(values: list[dict[str, Any]]) -> dict[str, Any]:
    """Any other objects, by name, state and age."""
    columns = [("Name", 0), ("Ready", 0), ("Status", 0), ("Age", 0)]
    rows = [
        [v["metadata"]["name"], readiness(v), state_word(v), age(v["metadata"].get("creationTimestamp", now()))]
        for v in values
    ]
    return render_table(columns, rows, values)


def readiness(value: dict[str, Any]) -> str:
    """How much of an object is ready, as kubectl shows it."""
    status = value.get("status", {})
    if value["kind"] == "Pod":
        states = status.get("containerStatuses", [])
        return f"{sum(s['ready'] for s in states)}/{len(states)}"
    if value["kind"] == "Job":
        return f"{status.get('succeeded', 0)}/1"
    if value["kind"] == "DaemonSet":
        return f"{status.get('numberReady', 0)}/{status.get('desiredNumberScheduled', 0)}"
    return f"{status.get('readyReplicas', 0)}/{wanted_replicas(value)}" if value["kind"] in WORKLOADS else ""


def state_word(value: dict[str, Any]) -> str:
    """One word on an object, as kubectl shows it."""
    status = value.get("status", {})
    states = [s["state"] for s in status.get("containerStatuses", [])]
    waiting = [s["waiting"]["reason"] for s in states if "waiting" in s]
    return str(waiting[0] if waiting else status.get("phase", ""))


def render_table(columns: list[tuple[str, int]], rows: list[list[str]], values: list[dict[str, Any]]) -> dict[str, Any]:
    """The API's form of a table."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "1"},
        "columnDefinitions": [
            {"name": n, "type": "string", "format": "name" if n == "Name" else "", "description": n, "priority": p}
            for n, p in columns
        ],
        "rows": [
            {
                "cells": cells,
                "object": {
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"],
                },
            }
            for cells, value in zip(rows, values, strict=True)
        ],
    }  # fmt: skip


def status_object(code: int, reason: str, message: str) -> dict[str, Any]:
    """Kubernetes's form of an answer without an object."""
    outcome = "Success" if code < 400 else "Failure"
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome, "message": message, "reason": reason,
        "code": code,
    }  # fmt: skip


def resource_list(version: str, kinds: list[Kind]) -> dict[str, Any]:
    """The kinds of a group and version."""
    verbs = ["create", "delete", "get", "list", "patch", "update"]
    listed = [
        {"name": k.plural, "singularName": k.name.lower(), "namespaced": k.namespaced, "kind": k.name, "verbs": verbs,
         "shortNames": list(k.short)}
        for k in kinds
    ]  # fmt: skip
    if version == "v1":
        listed.append({
            "name": "pods/eviction", "singularName": "", "namespaced": True, "kind": "Eviction", "group": "policy",
            "version": "v1", "verbs": ["create"],
        })  # fmt: skip
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": listed}


def discovery(path: str, kinds: list[Kind]) -> dict[str, Any]:
    """Which groups and versions there are."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    groups = []
    for group_version in dict.fromkeys(kind.version for kind in kinds if "/" in kind.version):
        group, _, version = group_version.partition("/")
        entry = {"groupVersion": group_version, "version": version}
        groups.append({"name": group, "versions": [entry], "preferredVersion": entry})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def matches(item: dict[str, Any], query: dict[str, list[str]]) -> bool:
    """Whether an object passes the label and field selectors of a list call (equality and existence only)."""
    labels = item["metadata"].get("labels", {})
    for term in filter(None, ",".join(query.get("labelSelector", [])).split(",")):
        key, sign, value = term.replace("==", "=").partition("=")
        if key.endswith("!"):
            if labels.get(key[:-1]) == value:
                return False
        elif key not in labels or (sign and labels[key] != value):
            return False
    for term in filter(None, ",".join(query.get("fieldSelector", [])).split(",")):
        key, _, value = term.replace("==", "=").partition("=")
        place: Any = item
        for part in key.split("."):
            place = place.get(part, {}) if isinstance(place, dict) else {}
        if (place or "") != value:
            return False
    return True


class Api:
    """Answers requests from what the cluster knows."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def answer(self, method: str, target: str, accept: str, body: str) -> tuple[int, Any]:
        """Status and JSON value or text for a request of somebody known."""
        parts = urlsplit(target)
        try:
            self.cluster.store.need_quorum()
            if method == "GET":
                return self._get(parts.path, parse_qs(parts.query), accept)
            return self._change(method, parts.path, json.loads(body) if body else {})
        except ApiError as reason:
            return reason.code, status_object(reason.code, reason.reason, str(reason))
        except QuorumError as reason:
            return 500, status_object(500, "InternalError", str(reason))
        except ValueError as reason:
            return 400, status_object(400, "BadRequest", f"the object provided is unrecognized: {reason}")

    def _get(self, path: str, query: dict[str, list[str]], accept: str) -> tuple[int, Any]:
        kinds = self.cluster.kinds()
        if path == "/version":
            return 200, {
                "major": "1", "minor": "31", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": f"linux/{platform.machine()}",
            }  # fmt: skip
        if path in {"/api", "/apis"}:
            return 200, discovery(path, kinds)
        of_group = [kind for kind in kinds if kind.prefix == path]
        if of_group:
            return 200, resource_list(of_group[0].version, of_group)
        kind, namespace, name, _ = self._find(path)
        if query.get("watch", ["false"])[0] in {"1", "true"}:
            return 405, status_object(405, "MethodNotAllowed", "the stand-in for K3s does not watch")
        as_table = "as=Table" in accept
        if name:
            found = self.cluster.read(kind, namespace, name)
            return 200, self._render(kind, [found]) if as_table else found
        values = [item for item in self.cluster.objects(kind, namespace) if matches(item, query)]
        listing = {"kind": f"{kind.name}List", "apiVersion": kind.version, "metadata": {"resourceVersion": "1"}}
        return 200, self._render(kind, values) if as_table else {**listing, "items": values}

    @staticmethod
    def _render(kind: Kind, values: list[dict[str, Any]]) -> dict[str, Any]:
        return render_nodes(values) if kind.name == "Node" else render_objects(values)

    def _find(self, path: str) -> tuple[Kind, str, str, str]:
        """Kind, namespace, name and what comes after it of an object's path."""
        for kind in self.cluster.kinds():
            place = rf"{re.escape(kind.prefix)}(?:/namespaces/([^/]+)(?=/))?/{kind.plural}"
            match = re.fullmatch(place + r"(?:/([^/]+))?(?:/(eviction|status))?", path)
            if match and (kind.namespaced or not match.group(1)):
                return kind, match.group(1) or "", unquote_url(match.group(2) or ""), match.group(3) or ""
        raise ApiError(404, "NotFound", "the server could not find the requested resource")

    def _change(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        kind, namespace, name, part = self._find(path)
        if part == "eviction":
            return self._evict(kind, namespace, name)
        if method == "DELETE" and name:
            self.cluster.delete(kind, namespace, name)
            return 200, status_object(200, "", "")
        if method == "PATCH" and name:
            return 200, self.cluster.patch(kind, namespace, name, body)
        if method == "POST" and not name:
            return 201, self.cluster.put(body, namespace or "default", create=True)[0]
        if method == "PUT" and name:
            return 200, self.cluster.put(body, namespace or "default")[0]
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _evict(self, kind: Kind, namespace: str, name: str) -> tuple[int, Any]:
        if faults().get("drain_blocked"):
            raise ApiError(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.")
        self.cluster.delete(kind, namespace, name)
        return 201, status_object(201, "", "")


class Front:
    """One server's door: what it answers itself, what it hands to the server that decides, and what it knows."""

    def __init__(self, store: Store, password: str, tls: Path) -> None:
        self.store = store
        self.password = password
        self.tls = tls
        self.ca = (tls / "server-ca.crt").read_text()
        self.cluster = Cluster(store)
        self.api = Api(self.cluster)
        self.manifests: dict[str, Manifests] = {}

    def decides(self) -> bool:
        """Whether this server decides."""
        return self.store.leader() == self.store.name

    def ask(self, question: dict[str, Any]) -> tuple[int, Any]:
        """Answer a question, or have the server answer it that decides."""
        if self.decides():
            return self.reply(question)
        try:
            code, text = self.store.call(self.store.leader(), "POST", "/v1-k3s/peer/ask", json.dumps(question))
        except (OSError, http.client.HTTPException):
            return 500, status_object(500, "InternalError", LOST)
        return code, json.loads(text) if text[:1] in {"{", "["} else text

    def reply(self, question: dict[str, Any]) -> tuple[int, Any]:
        """Answer as the server that decides."""
        try:
            self.store.need_quorum()
            if question["what"] == "api":
                return self.api.answer(question["method"], question["target"], question["accept"], question["body"])
            if question["what"] == "join":
                return self._join(question["name"], question["password"], question["facts"])
            if question["what"] == "member":
                self.cluster.add_member(question["name"], question["url"], question["settings"])
                return 200, {"members": self.store.members}
            if question["what"] == "manifests":
                applied = self.manifests.setdefault(question["name"], Manifests())
                return 200, {"clean": applied.apply(self.cluster, question["files"])}
        except QuorumError as reason:
            return 500, status_object(500, "InternalError", str(reason))
        except ApiError as reason:
            return reason.code, status_object(reason.code, reason.reason, str(reason))
        return 404, "404 page not found"

    def _join(self, name: str, password: str, facts: dict[str, Any]) -> tuple[int, Any]:
        if name != facts.get("name") or not password:
            return 400, "the node's name or password is missing"
        if not self.cluster.check_password(name, password):
            return 403, REJECTED
        told = {key: value for key, value in facts.items() if key != "register"}
        if not self.cluster.heartbeat(told, register=bool(facts.get("register"))):
            return 404, f'nodes "{name}" not found'
        servers = [entry["url"].removeprefix("https://") for entry in self.store.members.values()]
        return 200, {"clusterDNS": "10.43.0.10", "clusterDomain": "cluster.local", "servers": servers}

    def kubelet_certificates(self, name: str, address: str) -> dict[str, str]:
        """Certificates and keys of a node's kubelet, made for it."""
        with self.store.lock:
            make_certificate(
                self.tls, "of-a-kubelet", "server-ca", f"CN={name}",
                f"extendedKeyUsage=serverAuth\nsubjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1,IP:{address}",
            )  # fmt: skip
            serving = {
                f"serving-kubelet.{end}": (self.tls / f"of-a-kubelet.{end}").read_text() for end in ("crt", "key")
            }
            make_certificate(
                self.tls,
                "of-a-kubelet",
                "client-ca",
                f"O=system:nodes\nCN=system:node:{name}",
                "extendedKeyUsage=clientAuth",
            )
            client = {f"client-kubelet.{end}": (self.tls / f"of-a-kubelet.{end}").read_text() for end in ("crt", "key")}
            for end in ("crt", "key"):
                (self.tls / f"of-a-kubelet.{end}").unlink()
        return {**serving, **client}

    def bootstrap(self) -> dict[str, str]:
        """What a further server needs to be one of this cluster."""
        names = [f"{name}.{end}" for name in ("server-ca", "client-ca") for end in ("crt", "key")]
        return {name: (self.tls / name).read_text() for name in names}

    def state_of_health(self) -> tuple[int, str]:
        """What ``/readyz`` says."""
        if self.store.has_quorum():
            return 200, "ok"
        return 500, "[+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\nreadyz check failed\n"


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
            right = secrets.compare_digest(password.encode(), self.server.front.password.encode())
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
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        front = self.server.front
        if method == "GET" and path in {"/cacerts", "/ping"}:
            self._answer(200, front.ca if path == "/cacerts" else "pong")
            return
        who = self._who()
        if not who:
            self._answer(401, status_object(401, "Unauthorized", "Unauthorized"))
        elif path.startswith("/v1-k3s/"):
            self._answer(*self._supervise(who, method, path, body))
        elif path in {"/readyz", "/livez", "/healthz"}:
            self._answer(*front.state_of_health())
        elif who in {"node", "server"} or who.startswith("system:node:"):
            self._answer(403, status_object(403, "Forbidden", f'User "{who}" cannot access {path}'))
        else:
            accept = self.headers.get("Accept", "")
            asked = {"what": "api", "method": method, "target": self.path, "accept": accept, "body": body}
            self._answer(*front.ask(asked))

    def _supervise(self, who: str, method: str, path: str, body: str) -> tuple[int, Any]:
        """What nodes and other servers ask for."""
        front = self.server.front
        if (method, path) == ("GET", "/v1-k3s/config"):
            return 200, {"ServerVersion": VERSION}
        if (method, path) == ("GET", "/v1-k3s/readyz"):
            return front.state_of_health()
        if (method, path) == ("POST", "/v1-k3s/serving-kubelet.crt"):
            name, password = self.headers.get("K3s-Node-Name", ""), self.headers.get("K3s-Node-Password", "")
            facts = json.loads(body)
            code, value = front.ask({"what": "join", "name": name, "password": password, "facts": facts})
            if code == 200 and facts.get("register"):
                value = {**value, "certificates": front.kubelet_certificates(name, facts["address"])}
            return code, value
        return self._serve_peer(method, path, body) if who == "server" else (403, "Forbidden")

    def _serve_peer(self, method: str, path: str, body: str) -> tuple[int, Any]:
        front = self.server.front
        if (method, path) == ("GET", "/v1-k3s/server-bootstrap"):
            return 200, front.bootstrap()
        if (method, path) == ("GET", "/v1-k3s/peer/status"):
            return 200, {"version": front.store.state["version"], "name": front.store.name}
        if (method, path) == ("POST", "/v1-k3s/peer/state"):
            return (200, {}) if front.store.adopt(body) else (409, "this server has something newer")
        if (method, path) == ("POST", "/v1-k3s/peer/member"):
            return front.ask(json.loads(body))
        if (method, path) == ("POST", "/v1-k3s/peer/ask"):
            return (
                front.reply(json.loads(body)) if front.decides() else (500, status_object(500, "InternalError", LOST))
            )
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

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, front: Front) -> None:
        self._context = context
        self.front = front
        super().__init__(address, Handler)

    def get_request(self) -> tuple[Any, Any]:
        """Wrap the connection; the handshake comes later."""
        connection, address = super().get_request()
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Say what went wrong in one line."""
        log("error", f"request of {client_address[0]} failed: {sys.exc_info()[1]!r}")


# ------------------------------------------------------------------------------------------------------------ server


def data_folder(options: dict[str, list[str]]) -> Path:
    """``/var/lib/rancher/k3s`` or what ``data-dir`` says."""
    return rooted(first(options, "data-dir", "/var/lib/rancher/k3s"))


def parse_token(token: str) -> tuple[str, str, str]:
    """CA hash (empty if the token has none), user and password of a join token."""
    match = re.fullmatch(r"K10([0-9a-f]{64})::([^:]+):(.+)", token)
    return (match.group(1), match.group(2), match.group(3)) if match else ("", "node", token)


def given_token(options: dict[str, list[str]]) -> str:
    """The token of the configuration, or of the file that it names."""
    token = first(options, "token")
    if not token and "token-file" in options:
        token = Path(first(options, "token-file")).read_text().strip()
    return token


def server_password(options: dict[str, list[str]], data: Path) -> str:
    """The cluster's password: given, or kept from the last start, or made now; a changed one is fatal, as with K3s."""
    kept = data / "server" / "token"
    known = parse_token(kept.read_text().strip())[2] if kept.is_file() else ""
    given = given_token(options)
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


def node_name(options: dict[str, list[str]]) -> str:
    """What this machine is called in the cluster."""
    return first(options, "node-name", socket.gethostname()).lower()


def critical_settings(options: dict[str, list[str]]) -> dict[str, str]:
    """What has to be the same on every server."""
    defaults = {
        "cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16", "cluster-domain": "cluster.local",
        "flannel-backend": "vxlan",
    }  # fmt: skip
    disabled = ",".join(sorted(options.get("disable", [])))
    return {**{name: first(options, name, value) for name, value in defaults.items()}, "disable": disabled}


def own_url(options: dict[str, list[str]], port: int) -> str:
    """Where the other servers find this one."""
    address = first(options, "advertise-address") or first(options, "node-ip") or local_addresses()[0]
    return f"https://{address}:{port}"


def join_servers(options: dict[str, list[str]], data: Path, url: str) -> None:
    """Take CA and state from a server that is there; whatever stands against it is fatal, as with K3s."""
    state, name = data / "server" / "db" / "state.json", node_name(options)
    if state.is_file() and name in json.loads(state.read_text())["members"]:
        return
    start = "starting kubernetes: preparing server: "
    token = given_token(options)
    if not token:
        raise FatalError("--token is required to join a cluster")
    ca_hash, _, password = parse_token(token)
    supervisor = Supervisor(
        first(options, "server"), f"K10{ca_hash}::server:{password}" if ca_hash else password, user="server"
    )
    try:
        supervisor.connect()
        for file, content in json.loads(supervisor.read("/v1-k3s/server-bootstrap")).items():
            write_private(data / "server" / "tls" / file, content)
        asked = {"what": "member", "name": name, "url": url, "settings": critical_settings(options)}
        code, text = supervisor.call("POST", "/v1-k3s/peer/member", body=json.dumps(asked))
    except (RefusedError, ssl.SSLError) as reason:
        raise FatalError(f"{start}{reason}") from reason
    if code != 200:
        message = str(json.loads(text)["message"])
        if "critical configuration" in message:
            raise FatalError(f"{start}failed to validate server configuration: {message}")
        raise FatalError(
            f"starting kubernetes: preparing server: start managed database: joining etcd cluster: {message}"
        )
    write_private(state, json.dumps({**new_state(), "version": 0, "members": json.loads(text)["members"]}))
    write_tokens(data, (data / "server" / "tls" / "server-ca.crt").read_text(), password)


def begin_store(options: dict[str, list[str]], data: Path, password: str, url: str) -> Store:
    """The cluster's state; ``cluster-init`` turns a single server's into embedded etcd."""
    store = Store(data, node_name(options), password)
    if first(options, "cluster-reset") == "true":
        store.reset()
        raise FatalError(
            "Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. Backup and "
            "delete ${datadir}/server/db on each peer etcd server and rejoin the nodes"
        )
    if not store.members:
        store.state["settings"] = critical_settings(options)
        if first(options, "cluster-init") == "true":
            store.members[store.name] = {"url": url, "joined": now()}
            store.save()
    elif store.name in store.members and store.members[store.name]["url"] != url:
        known = [f"{name}={entry['url']}" for name, entry in store.members.items()]
        raise FatalError(
            "starting kubernetes: preparing server: this server is a not a member of the etcd cluster. Found "
            f"[{' '.join(known)}], expect: {store.name}={url}"
        )
    return store


def note_etcd(data: Path, store: Store) -> None:
    """What tells embedded etcd from K3s's other ways to keep its data: its folder."""
    if store.members:
        write_private(data / "server" / "db" / "etcd" / "name", f"{store.name}-{store.members[store.name]['joined']}\n")


def wait_for_quorum(store: Store) -> None:
    """A server whose etcd has no majority goes on waiting for one."""
    store.look_around()
    while not store.has_quorum() and not STOP.is_set():
        if store.name not in store.members:
            raise FatalError(
                f"starting kubernetes: preparing server: this server is a not a member of the etcd cluster. Found "
                f"{sorted(store.members)}, expect: {store.name}"
            )
        log(
            "error",
            f"Failed to test etcd connection: {store.alive} of {len(store.members)} members answer: "
            "context deadline exceeded",
        )
        STOP.wait(1)
        store.look_around()


def run_server(options: dict[str, list[str]]) -> None:
    """Serve until told to stop."""
    check_memory_cgroup()
    apply_start_faults()
    data, port = data_folder(options), int(first(options, "https-listen-port", "6443"))
    tls, url = data / "server" / "tls", own_url(options, port)
    password = server_password(options, data)
    if first(options, "server"):
        join_servers(options, data, url)
    make_certificates(tls, options.get("tls-san", []))
    write_tokens(data, (tls / "server-ca.crt").read_text(), password)
    store = begin_store(options, data, password, url)
    (data / "server" / "manifests").mkdir(parents=True, exist_ok=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "serving-kube-apiserver.crt", tls / "serving-kube-apiserver.key")
    context.load_verify_locations(tls / "client-ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    front = Front(store, password, tls)
    address = (first(options, "bind-address", "0.0.0.0"), port)  # noqa: S104
    try:
        server = Server(address, context, front)
    except OSError as reason:
        raise FatalError(f"listen tcp {address[0]}:{port}: bind: {str(reason.strerror).lower()}") from reason
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = hold_ports((2379, 2380, KUBELET_PORT) if store.members else (KUBELET_PORT,))
    wait_for_quorum(store)
    note_etcd(data, store)
    write_kubeconfig(options, tls, port)
    run_own_node(options, front, data)
    notify("STOPPING=1")
    server.shutdown()
    for held in ports:
        held.close()


def run_own_node(options: dict[str, list[str]], front: Front, data: Path) -> None:
    """The server's own node and controllers, until told to stop; K3s is ready before its own node is."""
    roles = ["control-plane", "etcd", "master"] if front.store.members else ["control-plane", "master"]
    sent: list[tuple[str, int]] = []
    announced = joined = deciding = False
    while not STOP.is_set():
        front.store.look_around()
        if front.decides() and not deciding:
            front.cluster.begin_term()
        deciding = front.decides()
        if joined or are_registries_in_order(data):
            joined = join_own_node(front, data, options, node_facts(options, roles), register=not joined) or joined
        sent = hand_in_manifests(front, data, options, sent)
        if deciding and front.store.has_quorum():
            with contextlib.suppress(QuorumError):
                front.cluster.tick()
        if not announced:
            log("info", f"{VERSION} is up and running; this is a stand-in for K3s and runs no pods")
            notify("READY=1")
            announced = True
        STOP.wait(float(faults().get("heartbeat_interval", 1.5)))


def join_own_node(
    front: Front, data: Path, options: dict[str, list[str]], facts: dict[str, Any], *, register: bool
) -> bool:
    """Register the server's own node, or say that it lives."""
    asked = {"what": "join", "name": facts["name"], "password": node_password()}
    code, answer = front.ask({**asked, "facts": {**facts, "register": register}})
    if code == 403:
        raise FatalError(REJECTED)
    if code != 200:
        log("error", f"Unable to update the status of node {facts['name']}: {answer}")
        return False
    if register:
        keep_certificates(data, front.kubelet_certificates(facts["name"], facts["address"]))
        prepare_node(data, options)
    return True


def hand_in_manifests(
    front: Front, data: Path, options: dict[str, list[str]], sent: list[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Have the files of this server's folder applied if there is anything new; what was handed in."""
    files = read_manifests(data / "server" / "manifests", options.get("disable", []))
    fresh = [(file["path"], file["changed"]) for file in files]
    if fresh == sent:
        return sent
    code, answer = front.ask({"what": "manifests", "name": front.store.name, "files": files})
    return fresh if code == 200 and answer["clean"] else []


# ------------------------------------------------------------------------------------------------------------- agent


class RefusedError(Exception):
    """The server did not let this node in, or cannot be reached yet."""


class Supervisor:
    """A connection to a server, kept open between heartbeats; another server is tried when one does not answer."""

    def __init__(self, url: str, token: str, *, user: str = "", others: list[str] | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise FatalError(f"invalid server URL {url}: it must begin with https://")
        self._servers = list(dict.fromkeys([f"{parts.hostname}:{parts.port or 443}", *(others or [])]))
        self._hash, told, password = parse_token(token)
        self._authorization = "Basic " + base64.b64encode(f"{user or told}:{password}".encode()).decode()
        self._connection: http.client.HTTPSConnection | None = None

    @property
    def url(self) -> str:
        """The server that is spoken to."""
        return f"https://{self._servers[0]}"

    def learn(self, servers: list[str]) -> None:
        """Note further servers."""
        self._servers = list(dict.fromkeys([self._servers[0], *servers, *self._servers]))

    def turn(self) -> None:
        """Try the next server first."""
        self._servers = [*self._servers[1:], self._servers[0]]

    def connect(self) -> None:
        """Check the CA against the token, then the token against the server."""
        if faults().get("fail_join"):
            raise RefusedError(str(faults()["fail_join"]))
        host, _, port = self._servers[0].rpartition(":")
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname = False
        blind.verify_mode = ssl.CERT_NONE
        first_look = http.client.HTTPSConnection(host, int(port), timeout=10, context=blind)
        try:
            first_look.request("GET", "/cacerts")
            ca = first_look.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as reason:
            raise RefusedError(f'failed to get CA certs: Get "{self.url}/cacerts": {reason}') from reason
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
        self._connection = http.client.HTTPSConnection(host, int(port), timeout=10, context=context)
        self.read("/v1-k3s/config")

    def read(self, path: str) -> str:
        """What the server has at ``path``; raises RefusedError if it does not give it."""
        code, text = self.call("GET", path)
        if code == 401:
            raise RefusedError(f"{self.url}{path}: 401 Unauthorized: the token is not the server's")
        if code != 200:
            raise RefusedError(f"{self.url}{path}: {code} {text}")
        return text

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
            raise RefusedError(f"{self.url}{path}: {reason!r}") from reason

    def join(self, facts: dict[str, Any], password: str, *, register: bool) -> dict[str, Any]:
        """Ask to be let in, or say that this node lives."""
        headers = {"K3s-Node-Name": facts["name"], "K3s-Node-Password": password, "K3s-Node-IP": facts["address"]}
        body = json.dumps({**facts, "register": register})
        code, text = self.call("POST", "/v1-k3s/serving-kubelet.crt", headers, body)
        if code == 403:
            raise RefusedError(text)
        if code != 200:
            raise RefusedError(f"{self.url}/v1-k3s/serving-kubelet.crt: {code} {text}")
        answer: dict[str, Any] = json.loads(text)
        return answer


def known_servers(data: Path) -> list[str]:
    """Servers that this agent has heard of, so that it finds another when its own is gone."""
    path = data / "agent" / "etc" / "k3s-agent-load-balancer.json"
    try:
        return [str(server) for server in json.loads(path.read_text())["ServerAddresses"]]
    except (OSError, ValueError, KeyError):
        return []


def run_agent(options: dict[str, list[str]]) -> None:
    """Keep trying until a server lets this node in, then report to systemd and stay alive."""
    url, token = first(options, "server"), given_token(options)
    if not url:
        raise FatalError("--server is required")
    if not token:
        raise FatalError("--token is required")
    check_memory_cgroup()
    apply_start_faults()
    data = data_folder(options)
    supervisor, password = Supervisor(url, token, others=known_servers(data)), node_password()
    ports = hold_ports((KUBELET_PORT,))
    joined = announced = False
    while not STOP.is_set():
        try:
            if not announced and not are_registries_in_order(data):
                STOP.wait(1)
                continue
            if not joined:
                supervisor.connect()
            answer = supervisor.join(node_facts(options, []), password, register=not announced)
            if answer.get("servers"):
                supervisor.learn(answer["servers"])
                listed = {"ServerURL": url, "ServerAddresses": answer["servers"]}
                write_private(data / "agent" / "etc" / "k3s-agent-load-balancer.json", json.dumps(listed))
            if not announced:
                keep_certificates(data, answer["certificates"])
                prepare_node(data, options)
                log("info", f"{VERSION} agent is up and running; this is a stand-in for K3s and runs no pods")
                notify("READY=1")
            joined = announced = True
        except (RefusedError, ssl.SSLError) as reason:
            log("error", f"Failed to validate connection to cluster at {supervisor.url}: {reason}")
            supervisor.turn()
            joined = False
        STOP.wait(float(faults().get("heartbeat_interval", 1.5)) if joined else 1.0)
    notify("STOPPING=1")
    for held in ports:
        held.close()


# ------------------------------------------------------------------------------------------------- kubectl and others


def api_call(method: str, path: str, body: Any = None) -> tuple[int, str]:
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
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=20, context=context)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class CommandError(Exception):
    """What kubectl prints before it ends with exit code 1."""


def call_well(method: str, path: str, body: Any = None) -> Any:
    """An answer's value; a refusal ends the command in kubectl's words."""
    code, text = api_call(method, path, body)
    if code < 400:
        return json.loads(text) if text[:1] in {"{", "["} else text
    if text[:1] == "{":
        loaded = json.loads(text)
        raise CommandError(f"Error from server ({loaded.get('reason')}): {loaded.get('message')}")
    raise CommandError(f"Error from server: {text.strip()}")


class Kubectl:
    """The part of kubectl that plays use: get, delete, apply, patch, label, taint, cordon, drain, uncordon, version."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._kinds: list[Kind] = []

    def run(self) -> int:
        """Do what was asked; the exit code."""
        verb = self._asked.verb
        if verb in {"cordon", "uncordon", "drain"}:
            return self._maintain(verb)
        run: dict[str, Callable[[], int]] = {
            "get": self._get, "delete": self._delete, "apply": self._apply, "patch": self._patch,
            "label": self._label, "annotate": self._label, "taint": self._taint, "version": self._version,
        }  # fmt: skip
        return run[verb]()

    # which objects

    def _all_kinds(self) -> list[Kind]:
        if not self._kinds:
            groups = ["v1", *(g["versions"][0]["groupVersion"] for g in call_well("GET", "/apis")["groups"])]
            for version in groups:
                prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
                for entry in call_well("GET", prefix)["resources"]:
                    if "/" not in entry["name"]:
                        short = tuple(entry["shortNames"])
                        self._kinds.append(Kind(version, entry["name"], entry["kind"], entry["namespaced"], short))
        return self._kinds

    def _kind(self, word: str) -> Kind:
        """The kind that somebody types: singular, plural, short, with its group or without."""
        name, _, group = word.lower().partition(".")
        known = [*BUILT_IN, *self._all_kinds()] if not any(name in names_of(k) for k in BUILT_IN) else BUILT_IN
        for kind in known:
            if name in names_of(kind) and (not group or group in {kind.version.rpartition("/")[0], kind.version}):
                return kind
        raise CommandError(f'error: the server doesn\'t have a resource type "{word}"')

    def _path(self, kind: Kind, name: str = "", namespace: str = "") -> str:
        inside = ""
        if kind.namespaced and not self._asked.all_namespaces:
            inside = f"/namespaces/{namespace or self._asked.namespace or 'default'}"
        return f"{kind.prefix}{inside}/{kind.plural}" + (f"/{name}" if name else "")

    def _from_files(self) -> Iterator[tuple[dict[str, Any], Kind | None, str]]:
        """Each object of the files with its kind, None if the server has none, and its path."""
        for file in self._asked.filename:
            text = sys.stdin.read() if file == "-" else Path(file).read_text()
            for value in parse_manifest(text):
                details = value.get("metadata") or {}
                kind = next(
                    (k for k in self._all_kinds() if (k.version, k.name) == (value["apiVersion"], value["kind"])), None
                )
                yield (
                    value,
                    kind,
                    self._path(kind, details.get("name", ""), details.get("namespace", "")) if kind else "",
                )

    def _named(self) -> list[tuple[Kind, str]]:
        """Kind and path of what the arguments name: ``KIND NAME…`` or ``KIND/NAME…``."""
        words = [self._asked.kind, *self._asked.names]
        if "/" in words[0]:
            pairs = [word.partition("/")[::2] for word in words]
            return [(self._kind(kind), self._path(self._kind(kind), name)) for kind, name in pairs]
        kind = self._kind(words[0])
        return [(kind, self._path(kind, name)) for name in words[1:]]

    def _query(self) -> str:
        pairs = {"labelSelector": self._asked.selector, "fieldSelector": self._asked.field_selector}
        given = {name: value for name, value in pairs.items() if value}
        return f"?{urlencode(given)}" if given else ""

    # verbs

    def _get(self) -> int:
        if self._asked.raw:
            code, text = api_call("GET", self._asked.raw)
            if code >= 400:
                raise CommandError(f"Error from server: {text}")
            print(text)
            return 0
        values, complaints = self._read_from_files() if self._asked.filename else self._read_named()
        if values is not None:
            show(self._asked, values)
        for complaint in complaints:
            print(complaint, file=sys.stderr)
        return 1 if complaints else 0

    def _read_from_files(self) -> tuple[list[dict[str, Any]], list[str]]:
        values, complaints = [], []
        for value, kind, path in self._from_files():
            if kind is None:
                complaints.append(f"error: resource mapping not found: {no_match(value)}")
                continue
            try:
                values.append(call_well("GET", path))
            except CommandError as reason:
                if "(NotFound)" not in str(reason) or not self._asked.ignore_not_found:
                    complaints.append(str(reason))
        self._asked.listed = True
        return values, complaints

    def _read_named(self) -> tuple[list[dict[str, Any]] | None, list[str]]:
        kinds = self._asked.kind.split(",")
        if self._asked.names or "/" in self._asked.kind:
            values, complaints = [], []
            for _, path in self._named():
                try:
                    values.append(call_well("GET", path))
                except CommandError as reason:
                    if "(NotFound)" not in str(reason) or not self._asked.ignore_not_found:
                        complaints.append(str(reason))
            self._asked.listed = len(values) > 1
            return (values or None), complaints
        self._asked.listed = True
        values = []
        for kind in map(self._kind, kinds):
            items = call_well("GET", self._path(kind) + self._query())["items"]
            values += [{"apiVersion": kind.version, "kind": kind.name, **item} for item in items]
        return values, []

    def _delete(self) -> int:
        given = self._from_files() if self._asked.filename else (({}, kind, path) for kind, path in self._named())
        failed = 0
        for value, kind, path in given:
            if kind is None:
                if not self._asked.ignore_not_found:
                    print(
                        f"error: {no_match(value)}",
                        file=sys.stderr,
                    )
                    failed = 1
                continue
            try:
                call_well("DELETE", path)
                name = group_plural(kind).replace(kind.plural, kind.name.lower(), 1)
                print(f'{name} "{path.rpartition("/")[2]}" deleted')
            except CommandError as reason:
                if "(NotFound)" not in str(reason) or not self._asked.ignore_not_found:
                    print(reason, file=sys.stderr)
                    failed = 1
        return failed

    def _apply(self) -> int:
        for value, kind, path in list(self._from_files()):
            if kind is None:
                raise CommandError(f"error: {no_match(value)}")
            there = api_call("GET", path)[0] == 200
            call_well("PUT" if there else "POST", path if there else path.rpartition("/")[0], value)
            print(f"{kind.name.lower()}/{path.rpartition('/')[2]} {'configured' if there else 'created'}")
        return 0

    def _patch(self) -> int:
        for kind, path in self._named():
            call_well("PATCH", path, json.loads(self._asked.patch))
            print(f"{kind.name.lower()}/{path.rpartition('/')[2]} patched")
        return 0

    def _label(self) -> int:
        """``label KIND NAME key=value key-``."""
        place = "labels" if self._asked.verb == "label" else "annotations"
        changes = [w for w in self._asked.names if "=" in w or w.endswith("-")]
        self._asked.names = [w for w in self._asked.names if w not in changes]
        for kind, path in self._named():
            wanted: dict[str, str | None] = {w[:-1]: None for w in changes if "=" not in w}
            wanted.update(dict(w.partition("=")[::2] for w in changes if "=" in w))
            known = call_well("GET", path)["metadata"].get(place) or {}
            clashing = [k for k, v in wanted.items() if v and known.get(k, v) != v]
            if clashing and not self._asked.overwrite:
                raise CommandError(
                    f"error: '{clashing[0]}' already has a value ({known[clashing[0]]}), and --overwrite is false"
                )
            changed = any(known.get(k) != v for k, v in wanted.items())
            if changed:
                call_well("PATCH", path, {"metadata": {place: wanted}})
            done = ("" if changed else "not ") + ("labeled" if place == "labels" else "annotated")
            print(f"{kind.name.lower()}/{path.rpartition('/')[2]} {done}")
        return 0

    def _taint(self) -> int:
        """``taint nodes NAME key=value:Effect key:Effect- key-``."""
        changes = [w for w in self._asked.names if ":" in w or w.endswith("-")]
        self._asked.names = [w for w in self._asked.names if w not in changes]
        for _, path in self._named():
            taints = call_well("GET", path)["spec"].get("taints", [])
            for word in changes:
                taint = parse_taint(word.rstrip("-")) if ":" in word else {"key": word.rstrip("-"), "effect": ""}
                same = [t for t in taints if t["key"] == taint["key"] and taint["effect"] in {"", t["effect"]}]
                if word.endswith("-"):
                    if not same:
                        raise CommandError(f'error: taint "{word.rstrip("-")}" not found')
                    taints = [t for t in taints if t not in same]
                elif same and same[0] != taint and not self._asked.overwrite:
                    raise CommandError(
                        f"error: node {path.rpartition('/')[2]} already has {taint['key']} taint(s) with same "
                        "effect(s) and --overwrite is false"
                    )
                else:
                    taints = [*(t for t in taints if t not in same), taint]
            call_well("PATCH", path, {"spec": {"taints": taints}})
            print(
                f"node/{path.rpartition('/')[2]} {'untainted' if all(w.endswith('-') for w in changes) else 'tainted'}"
            )
        return 0

    def _version(self) -> int:
        print(f"Client Version: {VERSION}\nServer Version: {call_well('GET', '/version')['gitVersion']}")
        return 0

    def _maintain(self, verb: str) -> int:
        node_kind = BUILT_IN[0]
        for word in [self._asked.kind, *self._asked.names]:
            name = word.removeprefix("node/")
            path = self._path(node_kind, name)
            is_cordoned = bool(call_well("GET", path)["spec"].get("unschedulable"))
            wanted = verb != "uncordon"
            if is_cordoned != wanted:
                call_well("PATCH", path, {"spec": {"unschedulable": wanted or None}})
            print(f"node/{name} {'' if is_cordoned != wanted else 'already '}{'cordoned' if wanted else 'uncordoned'}")
            if verb == "drain":
                self._drain(name)
        return 0

    def _drain(self, name: str) -> None:
        listed = call_well("GET", f"/api/v1/pods?{urlencode({'fieldSelector': f'spec.nodeName={name}'})}")["items"]
        owners = {p["metadata"]["uid"]: [o["kind"] for o in p["metadata"].get("ownerReferences", [])] for p in listed}
        daemons = [p for p in listed if "DaemonSet" in owners[p["metadata"]["uid"]]]
        if daemons and not self._asked.ignore_daemonsets:
            names = ", ".join(f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in daemons)
            raise CommandError(
                f'error: unable to drain node "{name}" due to error: cannot delete DaemonSet-managed Pods (use '
                f"--ignore-daemonsets to ignore): {names}, continuing command..."
            )
        end = time.monotonic() + (parse_duration(self._asked.timeout) or float("inf"))
        for pod in [p for p in listed if p not in daemons]:
            namespace, pod_name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            print(f"evicting pod {namespace}/{pod_name}", flush=True)
            path = f"/api/v1/namespaces/{namespace}/pods/{pod_name}/eviction"
            while (answer := api_call("POST", path, {}))[0] == 429:
                why = json.loads(answer[1])["message"]
                print(
                    f'error when evicting pods/"{pod_name}" -n "{namespace}" (will retry after 5s): {why}',
                    file=sys.stderr,
                )
                if time.monotonic() + 1 >= end:
                    raise CommandError(
                        f'error: unable to drain node "{name}" due to error: error when evicting pods/"{pod_name}" -n '
                        f'"{namespace}": global timeout reached: {self._asked.timeout}, continuing command...'
                    )
                time.sleep(1)
        print(f"node/{name} drained")


def no_match(value: dict[str, Any]) -> str:
    """What is said of an object whose kind the server does not know."""
    return f'no matches for kind "{value["kind"]}" in version "{value["apiVersion"]}"'


def names_of(kind: Kind) -> set[str]:
    """What one may call a kind."""
    return {kind.plural, kind.name.lower(), *kind.short}


def parse_duration(text: str) -> float:
    """``1m30s`` as seconds; 0 if there is none."""
    found = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in found)


def kubectl(arguments: list[str]) -> int:
    """Take kubectl's command line apart and do it."""
    parser = argparse.ArgumentParser(prog="k3s kubectl")
    verbs = ["get", "delete", "apply", "patch", "label", "annotate", "taint", "cordon", "uncordon", "drain", "version"]
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("kind", nargs="?", default="")
    parser.add_argument("names", nargs="*")
    parser.add_argument("-n", "--namespace", default="")
    parser.add_argument("-A", "--all-namespaces", action="store_true")
    parser.add_argument("-o", "--output", default="")
    parser.add_argument("-l", "--selector", default="")
    parser.add_argument("-f", "--filename", action="append", default=[])
    parser.add_argument("-p", "--patch", default="{}")
    for name in ("field-selector", "raw", "request-timeout", "type", "timeout", "grace-period", "kubeconfig"):
        parser.add_argument(f"--{name}", default="")
    switches = (
        "no-headers", "ignore-not-found", "wait", "overwrite", "ignore-daemonsets", "delete-emptydir-data", "force",
        "now", "client", "disable-eviction", "server-side", "force-conflicts",
    )  # fmt: skip
    for name in switches:
        parser.add_argument(f"--{name}", action="store_true")
    named = "|".join(switches)
    # A pod's removal is `key-`, which argparse would take for an option's value; a switch may be spelled =true.
    words = [re.sub(rf"^(--(?:{named}))=true$", r"\1", word) for word in arguments]
    asked = parser.parse_intermixed_args([w for w in words if not re.fullmatch(rf"--(?:{named})=false", w)])
    asked.listed = False
    if asked.kubeconfig:
        os.environ["KUBECONFIG"] = asked.kubeconfig
    try:
        return Kubectl(asked).run()
    except (CommandError, YamlError) as reason:
        print(reason, file=sys.stderr)
    except (OSError, http.client.HTTPException) as reason:
        print(f"The connection to the server was refused - {reason}", file=sys.stderr)
    return 1


def show(asked: argparse.Namespace, values: list[dict[str, Any]]) -> None:
    """Print objects in the form that was asked for."""
    listing = {"apiVersion": "v1", "items": values, "kind": "List", "metadata": {"resourceVersion": ""}}
    shown = listing if asked.listed else values[0]
    if asked.output.startswith("jsonpath="):
        print(read_jsonpath(shown, asked.output.removeprefix("jsonpath=")), end="")
    elif asked.output in {"json", "yaml"}:
        # JSON is YAML too.
        print(json.dumps(shown, indent=4))
    elif asked.output == "name":
        print("\n".join(f"{v['kind'].lower()}/{v['metadata']['name']}" for v in values))
    elif asked.output in {"", "wide"}:
        show_table(asked, values)
    else:
        raise CommandError(f"error: the stand-in for K3s does not print as {asked.output}")


def show_table(asked: argparse.Namespace, values: list[dict[str, Any]]) -> None:
    """Print objects as a table."""
    if not values:
        print("No resources found", file=sys.stderr)
        return
    table = render_nodes(values) if values[0]["kind"] == "Node" else render_objects(values)
    columns = table["columnDefinitions"]
    chosen = [i for i, c in enumerate(columns) if c["priority"] == 0 or asked.output == "wide"]
    header = [] if asked.no_headers else [[str(c["name"]).upper() for c in columns]]
    lines = [[str(line[i]) for i in chosen] for line in [*header, *(row["cells"] for row in table["rows"])]]
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(len(chosen))]
    for line in lines:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def read_jsonpath(value: Any, template: str) -> str:
    """``{.a.b[*].c}`` with text around it; no filters."""

    def follow(found: list[Any], path: str) -> list[Any]:
        for key, index in re.findall(r"\.((?:[\w/-]|\\\.)+)|\[(\*|[0-9]+)\]", path):
            if key:
                found = [
                    v[key.replace("\\.", ".")] for v in found if isinstance(v, dict) and key.replace("\\.", ".") in v
                ]
            else:
                found = [e for v in found for e in (v if index == "*" else v[int(index) : int(index) + 1])]
        return found

    def text(match: re.Match[str]) -> str:
        if match.group(1).startswith('"'):
            return str(json.loads(match.group(1)))
        if "?(" in match.group(1) or "range" in match.group(1):
            raise CommandError("error: the stand-in for K3s knows plain jsonpath only")
        return " ".join(v if isinstance(v, str) else json.dumps(v) for v in follow([value], match.group(1)))

    return re.sub(r"\{([^}]*)\}", text, template)


def ctr(arguments: list[str]) -> int:
    """``images import FILE`` looks at the archive and keeps its names; ``images ls`` lists them."""
    words = [word for word in arguments if not word.startswith("-") and word != "k8s.io"]
    data = data_folder({})
    if words[:1] in (["images"], ["image"], ["i"]) and words[1:2] in (["ls"], ["list"]):
        path = imported_images(data)
        print("\n".join(json.loads(path.read_text()) if path.is_file() else []))
        return 0
    if words[:2] != ["images", "import"] or len(words) != 3:
        print("ctr: the stand-in for K3s knows 'images import FILE' and 'images ls' only", file=sys.stderr)
        return 1
    try:
        note_images(data, image_names(Path(words[2])))
    except (OSError, ValueError, tarfile.TarError) as reason:
        print(f"ctr: {reason}", file=sys.stderr)
        return 1
    print(f"unpacking {words[2]} ... done (not kept: a stand-in for K3s)")
    return 0


def etcd_snapshot(arguments: list[str]) -> int:
    """``save [--name NAME]`` and ``ls``: copies of the state in ``server/db/snapshots``."""
    options = parse_flags([word for word in arguments if word not in {"save", "ls", "list"}])
    database = data_folder(options) / "server" / "db"
    folder = database / "snapshots"
    if {"ls", "list"} & set(arguments):
        for path in sorted(folder.glob("*")) if folder.is_dir() else []:
            print(path.name, f"file://{path}", path.stat().st_size)
        return 0
    state = json.loads((database / "state.json").read_text()) if (database / "state.json").is_file() else {}
    if not state.get("members"):
        log("fatal", "etcd datastore disabled")
        return 1
    name = f"{first(options, 'name', 'on-demand')}-{socket.gethostname()}-{int(time.time())}"
    write_private(folder / name, json.dumps(state))
    print(f"Snapshot {name} saved.")
    return 0


def certificate(arguments: list[str]) -> int:
    """``check`` tells when each certificate ends; ``rotate`` takes them away, so that the next start makes new ones."""
    data = data_folder({})
    paths = [*sorted((data / "server" / "tls").glob("*.crt")), *sorted((data / "agent").glob("*.crt"))]
    for path in paths:
        if arguments[:1] == ["rotate"] and "-ca" not in path.name:
            path.unlink()
        elif arguments[:1] == ["check"]:
            command = ["openssl", "x509", "-noout", "-enddate", "-in", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            log(
                "info",
                f"{path}: certificate {path.stem} is ok, expires at {done.stdout.strip().removeprefix('notAfter=')}",
            )
    return 0


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    program = Path(sys.argv[0]).name
    built_for = faults().get("built_for", machine_architecture())
    if built_for != machine_architecture():
        print(f"{sys.argv[0]}: cannot execute binary file: Exec format error", file=sys.stderr)
        return 126
    if program in {"kubectl", "ctr", "crictl"}:
        arguments = [program, *arguments]
    if not arguments or arguments[0] in {"--help", "-h", "help"}:
        print(
            "usage: k3s --version | server | agent | kubectl | ctr | etcd-snapshot | certificate (a stand-in for K3s)"
        )
        return 0
    command, rest = arguments[0], arguments[1:]
    if command in {"--version", "-v"}:
        print(f"k3s version {VERSION} (stand-in for K3s, runs no pods)\npython version {platform.python_version()}")
        return 0
    commands: dict[str, Callable[[list[str]], int]] = {
        "kubectl": kubectl, "ctr": ctr, "crictl": lambda words: ctr(["images", "ls"] if "images" in words else words),
        "etcd-snapshot": etcd_snapshot, "certificate": certificate,
    }  # fmt: skip
    if command in commands:
        return commands[command](rest)
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
