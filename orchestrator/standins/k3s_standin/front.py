"""What a server answers itself, what it hands to the one that decides, and what it knows."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any

from k3s_standin.api import Api, status_object
from k3s_standin.certificates import make_certificate
from k3s_standin.cluster import Cluster
from k3s_standin.controllers import Controllers
from k3s_standin.deploy_controller import Manifests
from k3s_standin.kinds import ApiError
from k3s_standin.process import STOP
from k3s_standin.store import LOST, REQUEST_TIMEOUT, QuorumError, Store

MISDIRECTED = 421
"""Status by which a server says that another one decides (RFC 9110)."""

REJECTED = (
    "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server "
    "node-passwd entry, try enabling a unique node name with the --with-node-id flag"
)


class Front:
    """One server's door: what it answers itself, what it hands to the server that decides, and what it knows."""

    def __init__(self, store: Store, password: str, tls: Path) -> None:
        self.store = store
        self.password = password
        self.tls = tls
        self.ca = (tls / "server-ca.crt").read_text()
        self.cluster = Cluster(store)
        self.controllers = Controllers(self.cluster)
        self.api = Api(self.cluster)
        self.manifests: dict[str, Manifests] = {}

    def decides(self) -> bool:
        """Whether this server decides."""
        return self.store.leader() == self.store.name

    def ask(self, question: dict[str, Any]) -> tuple[int, Any]:
        """Answer a question, or have the server answer it that decides; which one that is may change meanwhile."""
        end = time.monotonic() + REQUEST_TIMEOUT
        code, text = MISDIRECTED, ""
        while code == MISDIRECTED and time.monotonic() < end and not STOP.wait(0.2 if text else 0):
            if self.decides():
                return self.reply(question)
            try:
                code, text = self.store.call(self.store.leader(), "POST", "/v1-k3s/peer/ask", json.dumps(question))
            except (OSError, http.client.HTTPException):
                break
        if code == MISDIRECTED:
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
                self.cluster.nodes.add_member(question["name"], question["url"], question["settings"])
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
        if not self.cluster.nodes.check_password(name, password):
            return 403, REJECTED
        told = {key: value for key, value in facts.items() if key != "register"}
        if not self.cluster.nodes.heartbeat(told, register=bool(facts.get("register"))):
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
