"""Reads from a cluster's API with a kubeconfig's CA and client certificate, or a token."""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import os
import ssl
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from orchestrator.errors import DeployError
from orchestrator.topology.plain_yaml import load_plain


class KubernetesError(DeployError):
    """A cluster's API does not answer as it should, or its kubeconfig cannot be used."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            "A cluster's API does not answer.",
            detail=detail,
            resolution="See that the cluster's first machine runs and that its address can be reached from here.",
        )


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """How to reach a cluster.

    Attributes:
        server: URL of its API.
        ca: Certificate that signs the API's, as PEM; the usual authorities if empty.
        certificate: Who asks, as PEM; empty if it is told by a token.
        key: The certificate's key, as PEM.
        token: Bearer token; empty if there is a certificate.
    """

    server: str
    ca: str
    certificate: str = ""
    key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node as the API tells: whether it is Ready, why not, version and architecture."""

    name: str
    ready: bool
    reason: str
    version: str
    architecture: str


def load_kubeconfig(path: Path) -> Kubeconfig:
    """Read the first cluster and user of a kubeconfig.

    Raises:
        KubernetesError: If the file is not there or not a kubeconfig with a client certificate.
    """
    try:
        loaded = load_plain(path.read_text(encoding="utf-8"))
        cluster, user = loaded["clusters"][0]["cluster"], loaded["users"][0]["user"]
        return Kubeconfig(
            cluster["server"],
            _decode(cluster["certificate-authority-data"]),
            _decode(user["client-certificate-data"]),
            _decode(user["client-key-data"]),
        )
    except FileNotFoundError as reason:
        raise KubernetesError(f"The kubeconfig {path} is not there.") from reason
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError, ValueError, binascii.Error) as reason:
        raise KubernetesError(f"The kubeconfig {path} cannot be used: {reason!r}.") from reason


def parse_kubeconfig(text: str, where: str, context: str = "") -> Kubeconfig:
    """The cluster and the user of one context of a kubeconfig that somebody else wrote.

    Args:
        text: The file.
        where: What it is called in messages.
        context: Name of the context; the file's current one if empty.

    Raises:
        KubernetesError: If it is no kubeconfig, or wants something that is not done here: commands that fetch
            credentials, other files, connections that nobody verifies.
    """
    try:
        loaded = load_plain(text)
        contexts = {entry["name"]: entry["context"] for entry in loaded["contexts"]}
        clusters = {entry["name"]: entry["cluster"] for entry in loaded["clusters"]}
        users = {entry["name"]: entry.get("user") or {} for entry in loaded["users"]}
        name = context or loaded.get("current-context") or next(iter(contexts), "")
        if name not in contexts:
            raise KubernetesError(f"{where} has no context {name!r}; it has: {', '.join(contexts) or 'none'}.")
        cluster, user = clusters[contexts[name]["cluster"]], users[contexts[name]["user"]]
        obstacle = _obstacle(cluster, user)
        if obstacle:
            raise KubernetesError(f"{where}, context {name!r}: {obstacle}.")
        return Kubeconfig(
            str(cluster["server"]),
            _decode(cluster.get("certificate-authority-data", "")),
            _decode(user.get("client-certificate-data", "")),
            _decode(user.get("client-key-data", "")),
            str(user.get("token") or ""),
        )
    except (yaml.YAMLError, KeyError, IndexError, TypeError, AttributeError, ValueError, binascii.Error) as reason:
        # Of the cause only its kind is told: the text holds credentials.
        raise KubernetesError(f"{where} is no kubeconfig that can be used ({type(reason).__name__}).") from None


def _obstacle(cluster: dict[str, Any], user: dict[str, Any]) -> str:
    """Why the two cannot be used, as a clause; empty if they can."""
    if cluster.get("insecure-skip-tls-verify"):
        return "it switches off the verification of who answers (insecure-skip-tls-verify)"
    if not str(cluster["server"]).startswith("https://"):
        return "its server is no https address"
    if "exec" in user or "auth-provider" in user:
        return "its user is told by a command (exec, auth-provider), which is not run here. Use a token of its own"
    files = [
        k
        for k in ("certificate-authority", "client-certificate", "client-key", "tokenFile")
        if {**cluster, **user}.get(k)
    ]
    if files:
        return f"it names other files ({', '.join(files)}); `kubectl config view --flatten --raw` puts them into one"
    if not user.get("token") and not user.get("client-certificate-data"):
        return "its user has neither a token nor a certificate"
    return ""


class KubernetesClient:
    """Verified TLS; with the cluster's own CA only, if it is known.

    Args:
        kubeconfig: Where and as whom.
        timeout: Seconds for one call, connecting included.
    """

    def __init__(self, kubeconfig: Kubeconfig, timeout: float) -> None:
        self._timeout = timeout
        parts = urlsplit(kubeconfig.server)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._server = kubeconfig.server
        self._headers = {"Accept": "application/json"}
        if kubeconfig.token:
            self._headers["Authorization"] = f"Bearer {kubeconfig.token}"
        try:
            self._context = ssl.create_default_context(cadata=kubeconfig.ca or None)
            if kubeconfig.certificate:
                _load_certificate(self._context, kubeconfig)
        except (ssl.SSLError, ValueError) as reason:
            raise KubernetesError(f"The certificates for {kubeconfig.server} cannot be used: {reason}.") from reason

    def read(self, path: str) -> tuple[int, str]:
        """GET ``path``; HTTP status and text.

        Raises:
            KubernetesError: If nothing answers in time, or with a certificate of somebody else.
        """
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._context)
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except ssl.SSLError as reason:
            raise KubernetesError(
                f"{self._server} shows a certificate that its kubeconfig does not know: {reason}."
            ) from reason
        except (OSError, http.client.HTTPException) as reason:
            why = f"nothing within {self._timeout:.1f} s" if isinstance(reason, TimeoutError) else str(reason)
            raise KubernetesError(f"{self._server} does not answer: {why or type(reason).__name__}.") from reason
        finally:
            connection.close()

    def _read_well(self, path: str) -> str:
        status, text = self.read(path)
        if status != 200:
            raise KubernetesError(f"{self._server}{path} answers with HTTP status {status}: {text[:200]}")
        return text

    def read_nodes(self) -> tuple[ClusterNode, ...]:
        """Every node, once ``/readyz`` says that the API is ready; for one call a client.

        Raises:
            KubernetesError: If the API does not answer or is not ready.
        """
        started = time.monotonic()
        self._read_well("/readyz")
        self._timeout = max(0.5, self._timeout - (time.monotonic() - started))
        text = self._read_well("/api/v1/nodes")
        try:
            return tuple(_parse_node(item) for item in json.loads(text)["items"])
        except (ValueError, KeyError, TypeError) as reason:
            raise KubernetesError(
                f"{self._server} answers with something that is not a list of nodes: {reason!r}."
            ) from reason


def _parse_node(item: dict[str, Any]) -> ClusterNode:
    ready: dict[str, Any] = next((c for c in item["status"].get("conditions", []) if c["type"] == "Ready"), {})
    details = item["status"].get("nodeInfo", {})
    return ClusterNode(
        name=item["metadata"]["name"],
        ready=ready.get("status") == "True",
        reason=ready.get("message") or ready.get("reason") or "it has not reported yet",
        version=details.get("kubeletVersion", ""),
        architecture=details.get("architecture", ""),
    )


def _decode(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


def _load_certificate(context: ssl.SSLContext, kubeconfig: Kubeconfig) -> None:
    # The ssl module takes a client certificate from a file only; it is gone again before the first connection.
    descriptor, name = tempfile.mkstemp(prefix="deploy-")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(kubeconfig.certificate + "\n" + kubeconfig.key)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()
